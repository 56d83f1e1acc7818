"""What scores mean, from the arrays of one pass or the results of all: why, how far by calibration, by whose vote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Integers
from hf_leep.errors import InputError
from hf_leep.explain.calibration import calibrate, reordered
from hf_leep.explain.explanation import explain, placed
from hf_leep.explain.predictor import Predictor
from hf_leep.records import (
    Calibration,
    ClassQuality,
    DoubtfulExample,
    Explanation,
    Extraction,
    Interpretation,
    RelatedClass,
    Source,
    SourceClass,
)

__all__ = ["interpret", "reordered", "restored"]


def interpret(extraction: Extraction, examples: Integers | None = None) -> Interpretation:
    """Say what a pass's predictions mean for the labels; nothing where there is no head, or its outputs are broken.

    Costs O(n·s) time in row blocks, and O(t·s + block) memory beyond the pass.

    Args:
        extraction: the pass.
        examples: where it is of some of the target's examples alone, the position of each among all, ``[n]``.
    """
    if extraction.probabilities is None:
        return Interpretation()
    try:
        theta = arrays.probabilities(extraction.probabilities)
        target = arrays.labels(extraction.labels, len(theta))
        predictor = Predictor.of(theta, target.codes, target.num_classes)
    except InputError:  # the scores say so
        return Interpretation()
    calibration, level, terms = calibrate(predictor)
    explanation = explain(predictor, level, terms)
    # Of a part some classes may be missing, and those that occur have been numbered anew.
    everything = np.arange(len(theta)) if examples is None else examples
    return Interpretation(calibration, placed(explanation, target.classes.astype(np.int64), everything))


def restored(data: Mapping[str, Any]) -> Interpretation:
    """The meaning that ``dataclasses.asdict`` and a way through JSON made plain data of."""
    calibration, explanation = data["calibration"], data["explanation"]
    if calibration is not None:
        curve = tuple((float(tau), float(value)) for tau, value in calibration["curve"])
        calibration = Calibration(**{**calibration, "curve": curve})
    if explanation is not None:
        classes = tuple(
            ClassQuality(**{**served, "sources": tuple(Source(**source) for source in served["sources"])})
            for served in explanation["classes"]
        )
        examples = tuple(DoubtfulExample(**example) for example in explanation["examples"])
        used = tuple(
            SourceClass(**{**source, "targets": tuple(RelatedClass(**target) for target in source["targets"])})
            for source in explanation["source_classes"]
        )
        explanation = Explanation(**{**explanation, "classes": classes, "examples": examples, "source_classes": used})
    return Interpretation(calibration, explanation)
