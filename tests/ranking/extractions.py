"""Extractions of made-up predictions: what scores and orders are tested on."""

import numpy as np

from hf_leep.records import Candidate, Extraction, Run

RUN = Run("sha256:0", "pil", "float32", "cpu", 32, 1.0, 1)


def extraction(name, probabilities, labels, features=None):
    missing = {"probabilities": "no trained head"} if probabilities is None else {}
    return Extraction(Candidate(name), probabilities, features, labels, RUN, missing)


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def signal(rng, y, s, strength):
    """Source probabilities that tell the classes apart more or less well."""
    return softmax(strength * np.eye(s)[y % s] + rng.normal(size=(len(y), s)))
