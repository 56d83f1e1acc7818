"""Compare the first candidate with all others by the accuracy of a linear head on their features.

LEEP scores what a candidate's own classes say about the target's. Where the target is far from what the candidates
were trained on, that says little, and the order can be wrong although its errors are small. A linear head, whose
accuracy is computed with each example left out (the measure ``ridge``), needs the same pass and sees the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hf_leep.measures import find
from hf_leep.ranking import uncertainty
from hf_leep.ranking.ordering import Ranking
from hf_leep.ranking.scoring import HEAD_MEASURE
from hf_leep.ranking.uncertainty import JointScores, critical_value, miss_probability
from hf_leep.records import Result, Score

PRECISE = 0.02  # accuracy: with a smaller margin, the rows are enough to say that no head is clearly better
_NUM_DRAWS = 4_000


@dataclass(frozen=True)
class SecondOpinion:
    """What the accuracies of linear heads say about the first candidate of a ranking.

    Attributes:
        measure: the measure of the accuracies.
        verdict: ``contradicted`` if another candidate's head is more accurate beyond the margin; ``agrees`` if the
            first candidate's head is the most accurate, or the margin is at most `PRECISE`; else ``too few rows``.
        first: position of the first candidate in the list of results.
        best: position of the candidate whose head is the most accurate.
        gap: by how much its accuracy exceeds that of the first candidate, in [0, 1]; 0 where it is the first itself.
        standard_error: paired standard error of the gap.
        margin: how large a gap the rows allow if no candidate's head is more accurate than the first one's, for all
            candidates at once.
        num_compared: how many candidates have an accuracy on all rows.
    """

    measure: str
    verdict: Literal["contradicted", "agrees", "too few rows"]
    first: int
    best: int
    gap: float
    standard_error: float
    margin: float
    num_compared: int


def second_opinion(results: Sequence[Result], ranking: Ranking) -> SecondOpinion | None:
    """Compare the accuracy of the first candidate's head with those of all others.

    A candidate that was never trained contradicts none that was.

    If all heads were equally accurate, ``contradicted`` would come out with probability 1 − `uncertainty.CONFIDENCE`,
    however many candidates there are.

    Args:
        results: one for each candidate.
        ranking: their order.

    Returns:
        The comparison; None where the first candidate, or every other one, has no accuracy with an error, and where
        the order is by a score of the same head.
    """
    if not ranking.ranked or HEAD_MEASURE in (ranking.sort_by, find(ranking.sort_by).shares_vote_with):
        return None
    first = ranking.ranked[0].index
    scores = _accuracies(results, first)
    if len(scores) < 2:
        return None
    others = [i for i in scores if i != first]
    joint = JointScores.of([scores[first], *(scores[i] for i in others)])
    gaps, errors = (matrix[1:, 0] for matrix in joint.differences())
    known = np.isfinite(errors)
    if not known.any():
        return None
    margins = _one_sided_critical_value(joint, np.random.default_rng(0)) * np.where(known, errors, np.inf)
    beaten = gaps > np.maximum(margins, uncertainty.RESOLUTION)
    if beaten.any():
        at = int(np.argmax(np.where(beaten, gaps, -np.inf)))
        return _described("contradicted", first, others[at], gaps[at], errors[at], margins[at], len(scores))
    at = int(np.argmax(np.where(known, gaps, -np.inf)))
    margin = float(margins[known].max())
    if gaps[at] <= 0:
        return _described("agrees", first, first, 0.0, 0.0, margin, len(scores))
    verdict: Literal["agrees", "too few rows"] = "agrees" if margin <= PRECISE else "too few rows"
    return _described(verdict, first, others[at], gaps[at], errors[at], margins[at], len(scores))


def _described(
    verdict: Literal["contradicted", "agrees", "too few rows"],
    first: int,
    best: int,
    gap: float,
    error: float,
    margin: float,
    num_compared: int,
) -> SecondOpinion:
    return SecondOpinion(HEAD_MEASURE, verdict, first, best, float(gap), float(error), float(margin), num_compared)


def _accuracies(results: Sequence[Result], first: int) -> dict[int, Score]:
    """The accuracies, with their errors, of the first candidate's head and of all others on the same examples."""
    known = {
        i: result.head_accuracy
        for i, result in enumerate(results)
        if result.head_accuracy is not None
        and result.head_accuracy.influence is not None
        and (results[first].candidate.untrained or not result.candidate.untrained)
    }
    lengths = {i: len(score.influence) for i, score in known.items() if score.influence is not None}
    return {i: score for i, score in known.items() if lengths[i] == lengths.get(first)}


def _one_sided_critical_value(joint: JointScores, rng: np.random.Generator) -> float:
    """Return the quantile of the largest (other − first)/error over all others, if all are equal.

    Where the errors are computed from a few resamples, Bonferroni's bound is used instead.
    """
    own = np.diag(joint.covariance)
    known = np.flatnonzero(np.isfinite(own))
    num_others = len(known) - 1
    bound = critical_value(joint.num_values, 2 * miss_probability() / num_others)
    if joint.num_values < uncertainty.ENOUGH_VALUES:
        return bound
    some = JointScores(joint.values[known], joint.covariance[np.ix_(known, known)], joint.num_values)
    error = some.differences()[1][1:, 0]
    rounding = 1e-6 * np.sqrt(own[known][1:] + own[known][0])  # copies of one candidate differ by rounding alone
    scale = np.divide(1.0, error, out=np.zeros_like(error), where=error > rounding)
    largest = [((drawn[:, 1:] - drawn[:, :1]) * scale).max(axis=1) for drawn in some.draws(_NUM_DRAWS, rng)]
    simulated = float(np.quantile(np.concatenate(largest), 1 - miss_probability()))
    return min(max(simulated, critical_value(joint.num_values, 2 * miss_probability())), bound)
