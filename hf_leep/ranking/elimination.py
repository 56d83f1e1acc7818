"""Who is out of a race: the looks, the order of the rows, and which candidates are clearly behind at a look.

Candidates run on growing nested samples. At each look but the last, one is out when at least K others (`top`) are
clearly better on the rows that all have seen. Clearly is:

- **leave-one-out**: by the measure that checks the one asked for, so by leave-one-out LEEP for LEEP and NCE, whose
  in-sample scores flatter wide heads, the more so on few examples; other measures by themselves;
- **paired**: by the influence of the same examples (or of the same parts of them) on both scores, with Student's t
  for the number of values;
- **corrected**: one-sided at level α = (1 − confidence)/(L K (C − 1)) for L looks and C candidates (Bonferroni).
  Whoever is truly among the best K is out only if one of the at most C − 1 that are truly worse passes for better, at
  one of L looks: so with probability `confidence` all of the best K stay;
- **foreseen**: a leave-one-out score rises with the examples that its predictor has, and that of a wide head for
  longer, so a lead on few examples may be one of narrow heads. With D(m) the lead on m examples, the lead on all n is
  taken for D(m) − h log₂(n/m), where h = D(m/2) − D(m), if positive, is what it lost when the examples last doubled.
  The two estimates share half of their examples, so that the error of this is √(1 + log₂²(n/m)) times that of D(m).

Candidates whose error is not known neither put others out nor are put out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.measures import find
from hf_leep.options import Race
from hf_leep.ranking import ordering
from hf_leep.ranking.uncertainty import RESOLUTION, JointScores, critical_value
from hf_leep.records import RankedCandidate, Ranking, Result, Score

MOST_LOOKS = 5  # n/16, n/8, n/4, n/2, n: each loads every model again that is still in
FEWEST_EXAMPLES, FEWEST_PER_CLASS = 100, 2  # of the first look
_ALL_ROWS = (-MOST_LOOKS, False)  # the stage of those that ran all rows, before that of any look


@dataclass(frozen=True)
class Eliminated:
    """A candidate that is out.

    Attributes:
        index: which.
        by: the one that is ahead of it most clearly.
        gap: by how much, in the measure's unit.
        margin: half-width of the gap's interval at the race's level.
    """

    index: int
    by: int
    gap: float
    margin: float


def comparison_level(race: Race, num_looks: int, num_candidates: int) -> float:
    """One-sided level of one comparison at one look, so that all comparisons together have ``race.confidence``.

    Args:
        race: the options of the race.
        num_looks: looks at which candidates can be put out.
        num_candidates: candidates at the start.
    """
    return (1 - race.confidence) / (max(num_looks, 1) * race.top * max(num_candidates - 1, 1))


def judge_of(sort_by: str) -> str:
    """The measure that decides a race for a measure: the one that checks it, or itself."""
    return find(sort_by).checked_by or find(sort_by).name


def looks(num_rows: int, num_classes: int) -> tuple[int, ...]:
    """Rows that a candidate has run at each look: doubling, the last one all of them.

    Args:
        num_rows: rows in all.
        num_classes: target classes; the first look holds at least two rows a class, and 100.
    """
    fewest = max(FEWEST_EXAMPLES, FEWEST_PER_CLASS * num_classes)
    sizes = [num_rows]
    while len(sizes) < MOST_LOOKS and -(-sizes[-1] // 2) >= fewest:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(reversed(sizes))


def nested_order(labels: Integers | None, num_rows: int, rng: np.random.Generator) -> Integers:
    """An order of the rows of which each beginning is a stratified sample, ``[num_rows]``.

    A class of n_c rows comes for the j-th time after (j + u)/n_c of all rows, u being drawn once a class: so a
    beginning of m rows has m n_c/n of the class, up to one.

    Args:
        labels: class of each row, ``[num_rows]``; None where rows have no class of their own: the order is random.
        num_rows: how many.
        rng: where the randomness comes from.
    """
    order = rng.permutation(num_rows)
    if labels is None:
        return order
    _, codes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    offset = rng.random(len(counts))
    by_class = np.argsort(codes, kind="stable")
    turn = np.empty(num_rows)
    turn[by_class] = np.concatenate([(np.arange(count) + u) / count for count, u in zip(counts, offset, strict=True)])
    return order[np.argsort(turn, kind="stable")]


def out(
    scores: Sequence[Score],
    earlier: Sequence[Score],
    *,
    higher_is_better: bool,
    top: int,
    level: float,
    doublings: float,
) -> list[Eliminated]:
    """Who is clearly behind at a look.

    Args:
        scores: of the candidates still in, on the m rows that all have seen.
        earlier: of the same, on the first half of these rows.
        higher_is_better: the orientation of the measure.
        top: how many have to be better.
        level: one-sided, of one comparison.
        doublings: log₂(n/m), how often the rows double until all are seen.
    """
    known = [k for k, (now, before) in enumerate(zip(scores, earlier, strict=True)) if _known(now) and _known(before)]
    if len(known) < 2:
        return []
    sign = 1.0 if higher_is_better else -1.0
    joint = JointScores.of([scores[k] for k in known])
    gap, error = joint.differences()
    before, _ = JointScores.of([earlier[k] for k in known]).differences()
    lead = sign * gap  # [k, k]: of the row candidate over the column candidate
    lost = np.maximum(sign * before - lead, 0.0)
    quantile = critical_value(joint.num_values, 2 * level)
    certain = lead - doublings * lost - quantile * np.hypot(1.0, doublings) * error
    ahead = certain > RESOLUTION
    found = []
    for column in np.flatnonzero(ahead.sum(axis=0) >= top):
        best = int(np.argmax(np.where(ahead[:, column], certain[:, column], -np.inf)))
        margin = quantile * float(error[best, column])
        found.append(Eliminated(known[column], known[best], float(lead[best, column]), margin))
    return found


def order(results: Sequence[Result], sort_by: str, trail: Mapping[int, Sequence[Score]], top: int) -> Ranking:
    """Order the results of a race: those that ran all rows, by `hf_leep.ranking.rank`, then those put out, last first.

    Those put out at the same look are ordered among themselves, on the rows that they have seen; their tie groups
    follow those of whoever stayed longer. How far one is behind the best is told on the rows that both have seen.

    Whoever was put out is not among the best K, and no more is known: its rank is open from K + 1 to the last, and so
    is that of others beyond K, whom it may yet beat. The chance of being best is one among those that ran all rows.

    Args:
        results: one a candidate.
        sort_by: the measure.
        trail: position in ``results`` → the scores on ``sort_by`` at each look that the candidate came to.
        top: K, how many best ones were sought.
    """
    stages: dict[tuple[int, bool], list[int]] = {_ALL_ROWS: []}
    for index, result in enumerate(results):
        stop = result.stop  # an interruption puts nobody out: it comes before those that were
        stages.setdefault((-stop.look, stop.behind is not None) if stop else _ALL_ROWS, []).append(index)
    found = {stage: ordering.rank([results[i] for i in stages[stage]], sort_by) for stage in sorted(stages)}
    num_ranked = sum(len(part.places) for part in found.values())
    places: list[RankedCandidate] = []
    group = 0
    for stage, part in found.items():
        num_below = num_ranked - len(places) - len(part.places)
        for place in part.places:
            index = stages[stage][place.result]
            moved = replace(place, result=index, rank=len(places) + 1, tie_group=group + place.tie_group)
            if stage == _ALL_ROWS:
                if place.rank_interval:
                    low, high = place.rank_interval
                    moved = replace(moved, rank_interval=(low, high if high <= top else high + num_below))
            else:
                interval = (top + 1, num_ranked) if stage[1] else None
                moved = replace(moved, rank_interval=interval, probability_best=None)
                if places:
                    behind = _behind(trail[places[0].result][-stage[0]], trail[index][-stage[0]], sort_by)
                    moved = replace(moved, **behind)
            places.append(moved)
        group = max((place.tie_group for place in places), default=0)
    return replace(
        found[_ALL_ROWS],
        places=tuple(places),
        unranked=tuple(sorted(stages[stage][i] for stage, part in found.items() for i in part.unranked)),
        num_pairs=sum(part.num_pairs for part in found.values()),
        num_disagreements=sum(part.num_disagreements for part in found.values()),
    )


def _behind(best: Score, other: Score, sort_by: str) -> dict[str, Any]:
    """How far one is behind another, as `hf_leep.records.RankedCandidate` has it."""
    joint = JointScores.of([best, other])
    gap, error = joint.differences()
    sign = 1.0 if find(sort_by).higher_is_better else -1.0
    known = float(error[0, 1]) if np.isfinite(error[0, 1]) else None
    return {
        "behind_best": float(sign * gap[0, 1]),
        "behind_best_error": known,
        "behind_best_half_width": None if known is None else critical_value(joint.num_values) * known,
    }


def _known(score: Score) -> bool:
    return score.value is not None and score.influence is not None
