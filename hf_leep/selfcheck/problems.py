"""Made-up problems that the measures are checked on."""

from __future__ import annotations

import numpy as np

from hf_leep.arrays import Float64, Integers


def clouds(rng: np.random.Generator, n: int, d: int) -> tuple[Float64, Integers]:
    """Features of three classes, whose means are the same on every call with the same number of columns."""
    y = np.concatenate([np.arange(3), rng.integers(0, 3, n - 3)])
    return rng.normal(size=(n, d)) + np.random.default_rng(d).normal(size=(3, d))[y], y


def problem(rng: np.random.Generator, n: int = 300, s: int = 12) -> tuple[Float64, Integers]:
    """Source probabilities that contain information about the labels; the labels have gaps."""
    y = np.array([0, 2, 7])[rng.integers(0, 3, n)]
    logits = rng.normal(size=(n, s)) + 1.5 * np.eye(max(8, s))[y][:, :s]
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), y


def entropy(y: Integers) -> float:
    """Entropy of the class frequencies, in nats."""
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(frequency * np.log(frequency)).sum())
