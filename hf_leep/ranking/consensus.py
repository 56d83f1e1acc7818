"""Orders of the same candidates by several measures: their consensus, and how far they agree.

The consensus is Copeland's (1951): each pair of candidates is won by the one that more measures put first, and
candidates are ordered by pairs won minus pairs lost. No raw score meets one of another measure.

- Where more than half of the measures order all candidates alike, that is the consensus, whatever the others say: a
  measure that fails, or that is upside down, changes nothing beside two that agree.
- A measure has no say on a pair of which it lacks a score, or whose scores are equal.
- Measures that are kin have one vote, with the score of one of them: LEEP, NCE and PACTran-Dirichlet vote as
  leave-one-out LEEP, H-score votes as regularised H-score, where that is there. One that looks at no label has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.measures import find
from hf_leep.ranking.correlation import kendall_tau
from hf_leep.ranking.uncertainty import RESOLUTION
from hf_leep.records import Result


@dataclass(frozen=True)
class Votes:
    """A candidate's place by consensus.

    Attributes:
        rank: 1 for the best; equal candidates share the better place.
        won: pairs in which more measures put it first.
        lost: pairs in which more measures put the other first.
    """

    rank: int
    won: int
    lost: int


@dataclass(frozen=True)
class Pair:
    """How far two measures order the candidates alike.

    Attributes:
        measures: the two.
        kendall: Kendall's tau-b of their scores, higher being better in both; None where it is not defined.
        num_candidates: candidates that both score.
    """

    measures: tuple[str, str]
    kendall: float | None
    num_candidates: int


def voters(measures: Sequence[str]) -> tuple[str, ...]:
    """The independent measures behind some measures: of those that are kin, one.

    The one that checks the others, which is always computed; else the one that speaks for them, if it is among the
    measures, or the first of them.
    """
    found = [find(name) for name in measures]
    names = {measure.checked_by or measure.name for measure in found}
    spoken: dict[str, str] = {}  # kind → the measure that votes
    for measure in found:
        kind = measure.checked_by or measure.shares_vote_with or measure.name
        if measure.votes:
            spoken.setdefault(kind, kind if kind in names else measure.name)
    return tuple(spoken.values())


def consensus(results: Sequence[Result], measures: Sequence[str]) -> list[Votes | None]:
    """Order candidates by the majority of some measures, pair by pair.

    Args:
        results: one a candidate.
        measures: those that vote, independent of one another.

    Returns:
        A standing for each result, None for those that no measure scores.
    """
    majority = np.zeros((len(results), len(results)), dtype=np.int64)
    scored = np.zeros(len(results), dtype=bool)
    for values in (oriented(results, name) for name in measures):
        gap = np.subtract.outer(values, values)  # NaN where either has none: neither is ahead
        majority += (gap > RESOLUTION).astype(np.int64) - (gap < -RESOLUTION)
        scored |= ~np.isnan(values)
    won, lost = (majority > 0).sum(axis=1), (majority < 0).sum(axis=1)
    net = won - lost
    return [
        Votes(1 + int((net[scored] > net[i]).sum()), int(won[i]), int(lost[i])) if scored[i] else None
        for i in range(len(results))
    ]


def agreements(results: Sequence[Result], measures: Sequence[str]) -> list[Pair]:
    """Compare the orders of each two measures, over the candidates that both score."""
    values = {name: oriented(results, name) for name in measures}
    found = []
    for a, b in combinations(measures, 2):
        both = ~np.isnan(values[a]) & ~np.isnan(values[b])
        found.append(Pair((a, b), kendall_tau(values[a][both], values[b][both]), int(both.sum())))
    return found


def oriented(results: Sequence[Result], measure: str) -> Float64:
    """Scores on a measure, the better the higher, ``[k]``; NaN where there is none."""
    scores = [result.scores.get(measure) for result in results]
    sign = 1.0 if find(measure).higher_is_better else -1.0
    return np.array([np.nan if s is None or s.value is None else sign * s.value for s in scores])
