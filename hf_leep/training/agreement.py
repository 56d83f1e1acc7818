"""What a validation adds to report.json: the accuracies of trained heads, and how scores agree with accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.ranking.correlation import agreement
from hf_leep.ranking.ordering import paired_differences
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.records import Score
from hf_leep.report.candidate_schema import CandidateData, EstimateData, RankedData
from hf_leep.report.letters import told_apart
from hf_leep.report.schema import ReportData
from hf_leep.report.validation_schema import AgreementData, ComparedPairsData, ValidationData

_OF_THE_SAME_HEAD = {"ridge", "ridge-log-likelihood"}  # measures that would be compared with themselves


def validation_data(
    report: ReportData, ranked: Sequence[RankedData], trials: Sequence[Score], asked: int | None
) -> ValidationData:
    """The validation as plain data.

    Args:
        report: the content of report.json.
        ranked: the candidates that heads were trained on.
        trials: the accuracy of each, or why it has none.
        asked: the number of candidates that was asked for; None for all.
    """
    done = [k for k, trial in enumerate(trials) if trial.value is not None]
    gaps, errors = paired_differences([trials[k] for k in done])
    accuracy = np.array([trials[k].value for k in done])
    best = int(accuracy.argmax()) if done else 0
    known = np.isfinite(errors)
    behind = {
        k: _estimate(float(gaps[best, i]), float(errors[best, i]) if known[best, i] else None)
        for i, k in enumerate(done)
    }
    trained = [ranked[k] for k in done]
    return {
        "judged_by": "accuracy of a linear head, each example left out",
        "top": len(ranked),
        "asked": asked,
        "num_ranked": sum(candidate["rank"] is not None for candidate in report["candidates"]),
        "candidates": [
            {
                "id": candidate["id"],
                "revision": candidate["revision"],
                "rank": candidate["rank"],
                "reason": trial.reason,
                "accuracy": None if trial.value is None else _estimate(trial.value, trial.standard_error),
                "place": None if k not in behind else 1 + int((accuracy > trial.value).sum()),
                "behind_best": behind.get(k),
            }
            for k, (candidate, trial) in enumerate(zip(ranked, trials, strict=True))
        ],
        "agreement": {
            measure: agreement_with(accuracy, trained, measure, report)
            for measure in report["measures"]
            if measure not in _OF_THE_SAME_HEAD
        },
        "pairs": _pairs(trained, gaps, critical_value() * errors),
    }


def _estimate(value: float, standard_error: float | None) -> EstimateData:
    half_width = None if standard_error is None else critical_value() * standard_error
    return {"value": value, "standard_error": standard_error, "half_width": half_width}


def agreement_with(
    outcome: Float64, candidates: Sequence[CandidateData], measure: str, report: ReportData
) -> AgreementData:
    """How the scores of candidates agree with what came of their training.

    Args:
        outcome: what came of each, higher is better, ``[c]``.
        candidates: the candidates.
        measure: the measure. Candidates without a score, or which a race stopped and scored on fewer rows, are left
            out.
        report: the content of report.json.
    """
    sign = 1.0 if report["measure_details"][measure]["higher_is_better"] else -1.0
    scores = [None if candidate["stopped"] else candidate["scores"].get(measure) for candidate in candidates]
    known = {k: sign * value for k, score in enumerate(scores) if score and (value := score["value"]) is not None}
    found = agreement(list(known.values()), outcome[list(known)])
    return {
        "num_candidates": found.num_candidates,
        "pearson": found.pearson,
        "pearson_interval": None if found.pearson_interval is None else list(found.pearson_interval),
        "pearson_p_value": found.pearson_p_value,
        "kendall": found.kendall,
        "kendall_interval": None if found.kendall_interval is None else list(found.kendall_interval),
        "kendall_p_value": found.kendall_p_value,
        "weighted_tau": found.weighted_tau,
        "weighted_tau_by_accuracy": found.weighted_tau_by_accuracy,
    }


def _pairs(candidates: Sequence[RankedData], gaps: Float64, margins: Float64) -> ComparedPairsData:
    """Pairs that the ranking tells apart: in the order of accuracy, against it, or not told apart by accuracy."""
    counts = {"confirmed": 0, "contradicted": 0, "open": 0}
    for i, j in combinations(range(len(candidates)), 2):
        if told_apart(candidates[i], candidates[j]):
            told = abs(gaps[i, j]) > margins[i, j]
            counts["open" if not told else "confirmed" if gaps[i, j] > 0 else "contradicted"] += 1
    return {
        "told_apart": sum(counts.values()),
        "confirmed": counts["confirmed"],
        "contradicted": counts["contradicted"],
        "open": counts["open"],
    }
