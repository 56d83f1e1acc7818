"""What a candidate's predictions mean for the target: which source classes predict what, and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Integers
from hf_leep.errors import InputError
from hf_leep.explain.calibration import calibrate, count_reordered
from hf_leep.explain.explanation import explain, renumbered
from hf_leep.explain.predictor import Predictor
from hf_leep.measures.draws import Draws
from hf_leep.records import (
    Calibration,
    ClassQuality,
    DoubtfulExample,
    Explanation,
    Extraction,
    Interpretation,
    RelatedClass,
    SourceClass,
    SourceContribution,
)

__all__ = ["count_reordered", "interpret", "restored"]


def interpret(extraction: Extraction, examples: Integers | None = None) -> Interpretation:
    """Interpret the predictions of a pass; the result is empty without a head, or where its outputs are invalid.

    It is also empty if all examples belong to one draw.


    Takes O(n·s) time in blocks of rows, and O(t·s + block) memory beyond the pass.

    Args:
        extraction: the pass.
        examples: where the pass is over some of the target's examples, the position of each among all, ``[n]``.
    """
    if extraction.probabilities is None:
        return Interpretation()
    try:
        theta = arrays.probabilities(extraction.probabilities)
        target = arrays.labels(extraction.labels, len(theta))
        drawn = Draws(target.codes, target.counts, arrays.draws(extraction.draws, len(theta)))
        predictor = Predictor.of(theta, drawn)
    except InputError:  # the scores have this as their reason
        return Interpretation()
    calibration, weight_index, terms = calibrate(predictor)
    explanation = explain(predictor, weight_index, terms)
    # Some classes may not occur in a part of the examples; those that do were numbered anew.
    positions = np.arange(len(theta)) if examples is None else examples
    return Interpretation(calibration, renumbered(explanation, target.classes.astype(np.int64), positions))


def restored(data: Mapping[str, Any]) -> Interpretation:
    """Rebuild an interpretation from plain data: what ``dataclasses.asdict`` makes of it, as read back from JSON."""
    calibration, explanation = data["calibration"], data["explanation"]
    if calibration is not None:
        curve = tuple((float(tau), float(value)) for tau, value in calibration["curve"])
        calibration = Calibration(**{**calibration, "curve": curve})
    if explanation is not None:
        classes = tuple(
            ClassQuality(
                **{**quality, "sources": tuple(SourceContribution(**source) for source in quality["sources"])}
            )
            for quality in explanation["classes"]
        )
        examples = tuple(DoubtfulExample(**example) for example in explanation["examples"])
        source_classes = tuple(
            SourceClass(**{**source, "targets": tuple(RelatedClass(**target) for target in source["targets"])})
            for source in explanation["source_classes"]
        )
        parts = {"classes": classes, "examples": examples, "source_classes": source_classes}
        explanation = Explanation(**{**explanation, **parts})
    return Interpretation(calibration, explanation)
