"""Orders of the same candidates by several measures: their consensus, and how far they agree.

The consensus is Copeland's (1951): in each pair of candidates the one that more measures rank higher wins, and
candidates are ordered by pairs won minus pairs lost. Scores on different measures are never compared.

- Where more than half of the measures order all candidates in the same way, that order is the consensus, whatever the
  others say: a measure that fails, or that orders candidates the wrong way round, changes nothing if two others agree.
- A measure does not vote on a pair if one of its scores is missing, or if they are equal.
- A candidate that was never trained loses against each that was, whatever the measures say.
- A measure by which no candidate is better than chance does not vote.
- Related measures have one vote between them, cast by one of them: leave-one-out LEEP votes for LEEP, NCE and
  PACTran-Dirichlet, and regularised H-score for H-score, if it is among the measures. A measure that ignores the
  labels does not vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.measures import find
from hf_leep.ranking.correlation import kendall_tau
from hf_leep.ranking.scoring import half_width
from hf_leep.ranking.uncertainty import RESOLUTION
from hf_leep.records import Result


@dataclass(frozen=True)
class ConsensusRank:
    """A candidate's rank in the consensus.

    Attributes:
        rank: 1 for the best; tied candidates share the better rank.
        won: pairs in which more measures rank it higher.
        lost: pairs in which more measures rank the other candidate higher.
    """

    rank: int
    won: int
    lost: int


@dataclass(frozen=True)
class MeasurePair:
    """How far two measures agree about the order of the candidates.

    Attributes:
        measures: the two measures.
        kendall: Kendall's tau-b of their scores, oriented so that higher is better; None where it is not defined.
        num_candidates: candidates that have a score on both.
    """

    measures: tuple[str, str]
    kendall: float | None
    num_candidates: int


def voters(measures: Sequence[str]) -> tuple[str, ...]:
    """Return the measures that vote in a consensus of some measures: one of each family of related measures.

    In a family this is the measure that checks the others, which is always computed; else the one that the family is
    named by, if it is among the measures, or the first of them that is.
    """
    found = [find(name) for name in measures]
    names = {measure.checked_by or measure.name for measure in found}
    voter_of: dict[str, str] = {}  # family → the measure that votes
    for measure in found:
        family = measure.checked_by or measure.shares_vote_with or measure.name
        if measure.votes:
            voter_of.setdefault(family, family if family in names else measure.name)
    return tuple(voter_of.values())


def informative(
    results: Sequence[Result], measures: Sequence[str], floors: Mapping[str, float] = MappingProxyType({})
) -> tuple[str, ...]:
    """Return the measures by which some candidate says more about the labels than chance: the others order noise.

    A measure without a floor is always among them.

    Args:
        results: one for each candidate.
        measures: names of measures.
        floors: measure → the score of predictions that know only the class frequencies. A score that was also
            computed with shuffled labels has that one as its floor.
    """
    return tuple(name for name in measures if _some_above_floor(results, name, floors.get(name)))


def _some_above_floor(results: Sequence[Result], measure: str, floor: float | None) -> bool:
    sign = 1.0 if find(measure).higher_is_better else -1.0
    scored = [s for result in results if (s := result.scores.get(measure)) is not None and s.value is not None]
    for score in scored:
        bar = floor if score.shuffled is None else score.shuffled
        if bar is None or sign * (score.value or 0.0) > sign * bar + (half_width(score) or 0.0):
            return True
    return not scored


def consensus(results: Sequence[Result], measures: Sequence[str]) -> list[ConsensusRank | None]:
    """Order candidates by pairwise majority votes of some measures.

    Args:
        results: one for each candidate.
        measures: the measures that vote; no two of them related.

    Returns:
        A rank for each result, None for those that have no score on any of the measures.
    """
    majority = np.zeros((len(results), len(results)), dtype=np.int64)
    scored = np.zeros(len(results), dtype=bool)
    for values in (oriented(results, name) for name in measures):
        gap = np.subtract.outer(values, values)  # NaN where a score is missing: no vote
        majority += (gap > RESOLUTION).astype(np.int64) - (gap < -RESOLUTION)
        scored |= ~np.isnan(values)
    never = np.array([result.candidate.untrained for result in results], dtype=bool)
    for ahead, behind, sign in ((~never, never, 1), (never, ~never, -1)):
        majority[np.ix_(ahead & scored, behind & scored)] = sign
    won, lost = (majority > 0).sum(axis=1), (majority < 0).sum(axis=1)
    net = won - lost
    return [
        ConsensusRank(1 + int((net[scored] > net[i]).sum()), int(won[i]), int(lost[i])) if scored[i] else None
        for i in range(len(results))
    ]


def agreements(results: Sequence[Result], measures: Sequence[str]) -> list[MeasurePair]:
    """Compare the orders by each pair of measures, over the candidates that have a score on both."""
    values = {name: oriented(results, name) for name in measures}
    found = []
    for a, b in combinations(measures, 2):
        both = ~np.isnan(values[a]) & ~np.isnan(values[b])
        found.append(MeasurePair((a, b), kendall_tau(values[a][both], values[b][both]), int(both.sum())))
    return found


def oriented(results: Sequence[Result], measure: str) -> Float64:
    """Return the scores on a measure, oriented so that higher is better, ``[k]``; NaN where there is none."""
    scores = [result.scores.get(measure) for result in results]
    sign = 1.0 if find(measure).higher_is_better else -1.0
    return np.array([np.nan if s is None or s.value is None else sign * s.value for s in scores])
