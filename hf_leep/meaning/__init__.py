"""What scores mean, from the arrays of one pass or the results of all: why, how far by calibration, by whose vote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_leep import arrays
from hf_leep.errors import InputError
from hf_leep.meaning.baselines import baselines
from hf_leep.meaning.calibration import calibrate, reordered
from hf_leep.meaning.consensus import agreements, consensus, voters
from hf_leep.meaning.explanation import explain
from hf_leep.meaning.sizes import sizes
from hf_leep.meaning.terms import Predictor
from hf_leep.records import Calibration, Explanation, Extraction, HardExample, Meaning, ServedClass, Source

__all__ = ["agreements", "baselines", "consensus", "interpret", "reordered", "restored", "sizes", "voters"]


def interpret(extraction: Extraction) -> Meaning:
    """Say what a pass's predictions mean for the labels; nothing where there is no head, or its outputs are broken.

    Costs O(n·s) time in row blocks, and O(t·s + block) memory beyond the pass.
    """
    if extraction.probabilities is None:
        return Meaning()
    try:
        theta = arrays.probabilities(extraction.probabilities)
        target = arrays.labels(extraction.labels, len(theta))
        predictor = Predictor.of(theta, target.codes, target.num_classes)
    except InputError:  # the scores say so
        return Meaning()
    calibration, level, terms = calibrate(predictor)
    return Meaning(calibration, explain(predictor, level, terms))


def restored(data: Mapping[str, Any]) -> Meaning:
    """The meaning that ``dataclasses.asdict`` and a way through JSON made plain data of."""
    calibration, explanation = data["calibration"], data["explanation"]
    if calibration is not None:
        curve = tuple((float(tau), float(value)) for tau, value in calibration["curve"])
        calibration = Calibration(**{**calibration, "curve": curve})
    if explanation is not None:
        classes = tuple(
            ServedClass(**{**served, "sources": tuple(Source(**source) for source in served["sources"])})
            for served in explanation["classes"]
        )
        examples = tuple(HardExample(**example) for example in explanation["examples"])
        explanation = Explanation(**{**explanation, "classes": classes, "examples": examples})
    return Meaning(calibration, explanation)
