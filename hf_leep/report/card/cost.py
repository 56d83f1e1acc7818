"""Score against cost: which candidates are the best of all that cost as little."""

from __future__ import annotations

from dataclasses import dataclass

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.wording import to_choose_from
from hf_leep.report.schema import ReportData


@dataclass(frozen=True)
class Point:
    """A candidate with what it costs.

    Attributes:
        name: what to call it.
        candidate: the candidate.
        cost: number of parameters, or seconds.
        score: on the measure that makes the order.
        best: whether no candidate that costs as little or less has as good a score.
    """

    name: str
    candidate: RankedData
    cost: float
    score: float
    best: bool


def points(data: ReportData) -> tuple[str, list[Point]] | None:
    """What the cost is, ``parameters`` or ``seconds``, and the candidates by cost; None with fewer than two.

    Parameters count where they are known of two candidates, seconds of the forward pass elsewhere. Candidates that a
    race stopped are left out, since their scores are of other examples, and so are untrained ones beside others.

    Args:
        data: the content of report.json.
    """
    for unit in ("parameters", "seconds"):
        found = []
        for name, candidate in to_choose_from(data):
            score = candidate["scores"][data["sort_by"]]["value"]
            cost = _cost(candidate, unit)
            if cost and score is not None and not candidate["stopped"]:
                found.append((name, candidate, cost, score))
        if len(found) > 1:
            return unit, _with_best(found, 1 if data["measure_details"][data["sort_by"]]["higher_is_better"] else -1)
    return None


def _cost(candidate: RankedData, unit: str) -> float | None:
    if unit == "parameters":
        return candidate["num_parameters"]
    return candidate["run"]["seconds"] if candidate["run"] else None


def _with_best(found: list[tuple[str, RankedData, float, float]], sign: int) -> list[Point]:
    """The points by cost, those of one cost with the best score first."""
    made: list[Point] = []
    highest = float("-inf")
    for name, candidate, cost, score in sorted(found, key=lambda one: (one[2], -sign * one[3])):
        made.append(Point(name, candidate, cost, score, sign * score > highest))
        highest = max(highest, sign * score)
    return made
