"""What a comparison found out about each candidate, with errors, as plain data for report.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.report.candidate_schema import CandidateData, EstimateData
from hf_leep.report.validation_schema import FineTunedData
from hf_leep.training.accuracy import accuracies
from hf_leep.training.records import Compared


@dataclass(frozen=True, eq=False)
class Judged:
    """Which examples are not independent draws.

    Attributes:
        choose: group of each choosing example, ``[b]``: its sentence, or the rows that it repeats.
        judge: group of each judging example, ``[m]``.
    """

    choose: Integers
    judge: Integers


def candidates_data(
    candidates: Sequence[CandidateData], joined: int | None, found: Sequence[Compared], groups: Judged
) -> list[FineTunedData]:
    """The rows of report.json.

    Args:
        candidates: the shortlist.
        joined: position of the one that is there by the second opinion alone; None without one.
        found: what the comparison found out about each.
        groups: the examples that belong together.
    """
    finalists = [k for k, one in enumerate(found) if one.correct is not None]
    estimates: dict[int, tuple[EstimateData, EstimateData]] = {}
    if finalists:
        correct = [c for c in (found[k].correct for k in finalists) if c is not None]
        means, errors, gaps, gap_errors = accuracies(correct, groups.judge)
        best = int(means.argmax())
        for i, k in enumerate(finalists):
            estimates[k] = estimate(means[i], errors[i]), estimate(gaps[best, i], gap_errors[best, i])
    order = places(found, {k: accuracy["value"] for k, (accuracy, _) in estimates.items()})
    return [
        {
            "id": candidate["id"],
            "revision": candidate["revision"],
            "rank": candidate["rank"],
            "second_opinion": k == joined,
            "reason": one.reason,
            "place": order.get(k),
            "round": None if one.chosen_by is None else len(one.chosen) + one.finalist,
            "learning_rate": one.learning_rate,
            "steps": one.steps or None,
            "choosing_accuracy": one.chosen_by,
            "behind_in_round": _behind(found, one, groups.choose),
            "seed_accuracies": [] if one.correct is None else [float(a) for a in one.correct.mean(axis=1)],
            "accuracy": estimates[k][0] if k in estimates else None,
            "behind_best": estimates[k][1] if k in estimates else None,
            "batch_size": one.batch_size,
            "micro_batch": None if one.micro_batch in (None, one.batch_size) else one.micro_batch,
            "keep_probability": one.keep_probability,
            "seconds": one.seconds,
        }
        for k, (candidate, one) in enumerate(zip(candidates, found, strict=True))
    ]


def places(found: Sequence[Compared], accuracy: dict[int, float]) -> dict[int, int]:
    """Position → place: finalists by accuracy, then the others by the round that they reached, and accuracy in it.

    Equal ones share a place. Candidates that could not be trained have none.

    Args:
        found: what the comparison found out about each candidate.
        accuracy: position → accuracy of each finalist.
    """
    merits = {
        k: (1, 0, accuracy[k]) if k in accuracy else (0, len(one.chosen), one.chosen_by)
        for k, one in enumerate(found)
        if one.chosen_by is not None
    }
    return {k: 1 + sum(other > merit for other in merits.values()) for k, merit in merits.items()}


def estimate(value: float, error: float) -> EstimateData:
    """A value with its standard error and the half-width of its interval."""
    return {"value": float(value), "standard_error": float(error), "half_width": critical_value() * float(error)}


def _behind(found: Sequence[Compared], one: Compared, groups: Integers) -> EstimateData | None:
    """How far a candidate that was left behind was behind the best of its last round, on the choosing rows."""
    if one.correct is not None or not one.chosen:
        return None
    rung = len(one.chosen) - 1
    rivals = [other.chosen[rung] for other in found if len(other.chosen) > rung]
    best = max(rivals, key=lambda correct: float(np.mean(correct)))
    _, _, gaps, errors = accuracies([best[None], one.chosen[rung][None]], groups)
    return estimate(gaps[0, 1], errors[0, 1])
