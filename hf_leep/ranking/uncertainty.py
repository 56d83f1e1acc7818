"""How sure the places of a ranking are, from the joint sampling distribution of scores on the same examples.

Rank intervals as in Mogstad, Romano, Shaikh & Wilhelm: Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries, Review of Economic Studies 2024, section 3: a rank's
confidence set counts the candidates that differ by simultaneous intervals of all pairwise differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64
from hf_leep.records import Score

LEVEL = 0.05  # of every interval: 95 %
RESOLUTION = 1e-5  # what a float32 pass can vary by with batch size and order: smaller differences are none
NUM_DRAWS = 10_000  # a share of them is known to 0.5 %
_NUM_MAXIMA = 2_000  # a level of 5 % to 0.5 %
_ENOUGH_VALUES = 100  # influence values, below which a covariance of many candidates is not known well enough
_EXAMPLES_AT_ONCE = 4096
_CELLS_AT_ONCE = 2**18  # a block of draws stays in the cache


@dataclass(frozen=True, eq=False)
class JointScores:
    """Scores of several candidates on the same examples, and how they vary together.

    Attributes:
        values: the scores, ``[K]``; NaN where there is none.
        covariance: of their sampling errors, ``[K, K]``; NaN where it is not known.
        num_values: influence values behind each error: examples, draws of several examples, or resamples; 0 where no
            error is known.
    """

    values: Float64
    covariance: Float64
    num_values: int

    @classmethod
    def of(cls, scores: Sequence[Score]) -> JointScores:
        """Put scores together; in chunks of the examples, so that it holds O(K² + chunk) memory beside them."""
        values = np.array([np.nan if s.value is None else s.value for s in scores], dtype=np.float64)
        covariance = np.full((len(scores), len(scores)), np.nan)
        # Of as many values each: resamples of another number say nothing of how two scores vary together.
        n = max((len(s.influence) for s in scores if s.influence is not None), default=0)
        known = [k for k, s in enumerate(scores) if s.influence is not None and len(s.influence) == n]
        influence = [found for k in known if (found := scores[k].influence) is not None]
        if not influence:
            return cls(values, covariance, 0)
        product = np.zeros((len(influence), len(influence)))  # Σ_i IF_a IF_b; each IF has mean 0
        for start in range(0, n, _EXAMPLES_AT_ONCE):
            chunk = np.array([row[start : start + _EXAMPLES_AT_ONCE] for row in influence], dtype=np.float64)
            product += chunk @ chunk.T
        covariance[np.ix_(known, known)] = product / (n - 1) / n
        return cls(values, covariance, n)

    def differences(self) -> tuple[Float64, Float64]:
        """Row minus column, and its standard error, infinite where it is not known: two ``[K, K]``."""
        own = np.diag(self.covariance)
        errors = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * self.covariance, 0.0))
        errors[np.isnan(errors)] = np.inf
        np.fill_diagonal(errors, 0.0)
        return np.subtract.outer(self.values, self.values), errors

    def draws(self, number: int, rng: np.random.Generator) -> Iterator[Float64]:
        """Errors of all scores drawn together, in parts ``[b, K]`` of bounded size; all have to be known.

        Student's t, since the covariance is an estimate itself.
        """
        scales, axes = np.linalg.eigh(self.covariance)
        root = (axes * np.sqrt(np.maximum(scales, 0.0))).T  # [K, K]
        freedom, step = self.num_values - 1, max(1, _CELLS_AT_ONCE // len(scales))
        for start in range(0, number, step):
            size = min(step, number - start)
            spread = np.sqrt(freedom / rng.chisquare(freedom, size))
            yield spread[:, None] * (rng.standard_normal((size, len(scales))) @ root)


def critical_value(num_values: int, level: float = LEVEL) -> float:
    """How many standard errors an interval reaches to either side: Student's t with ``num_values − 1`` degrees.

    1.96 for a level of 5 % and errors of many examples; 2.26 for those of ten resamples.

    Args:
        num_values: influence values that the error is of; 0 where none are known, which counts as many.
        level: probability of missing, on both sides together.
    """
    from scipy.special import ndtri, stdtrit

    if num_values < 2:
        return float(-ndtri(level / 2))
    return float(-stdtrit(num_values - 1, level / 2))


def simultaneous_value(joint: JointScores, rng: np.random.Generator) -> float:
    """The same for the differences of all pairs at once: they all hold with 95 %.

    The quantile of the largest |difference|/error over all pairs, of draws with that covariance; where the errors are
    of a few resamples, which tell too little of it, Šidák's bound, which holds for any.

    Args:
        joint: the scores; candidates without a known error do not count.
        rng: makes the draws.
    """
    known = np.flatnonzero(np.isfinite(np.diag(joint.covariance)))
    num_pairs = len(known) * (len(known) - 1) // 2
    if num_pairs < 2:
        return critical_value(joint.num_values)
    if joint.num_values < _ENOUGH_VALUES:
        return critical_value(joint.num_values, -np.expm1(np.log1p(-LEVEL) / num_pairs))
    some = JointScores(joint.values[known], joint.covariance[np.ix_(known, known)], joint.num_values)
    error = some.differences()[1]
    own = np.diag(some.covariance)
    rounding = 1e-6 * np.sqrt(own[:, None] + own[None, :])  # copies of one candidate differ by nothing else
    scale = np.divide(1.0, error, out=np.zeros_like(error), where=error > rounding).astype(np.float32)
    largest = np.concatenate([_largest(drawn, scale) for drawn in some.draws(_NUM_MAXIMA, rng)])
    return max(float(np.quantile(largest, 1 - LEVEL)), critical_value(joint.num_values))


def _largest(drawn: Float64, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest |difference|·scale over all pairs of columns, of each draw, ``[b]``.

    In float32, one candidate against all later ones at a time: of 500 candidates ten times as fast as all at once.
    """
    by_candidate = np.ascontiguousarray(drawn.T, dtype=np.float32)  # [K, b]
    largest = np.zeros(len(drawn), np.float32)
    for i in range(len(scale) - 1):
        gap = by_candidate[i + 1 :] - by_candidate[i]
        np.abs(gap, out=gap)
        gap *= scale[i, i + 1 :, None]
        np.maximum(largest, gap.max(axis=0), out=largest)
    return largest


def chances_of_being_best(joint: JointScores, rng: np.random.Generator) -> Float64 | None:
    """Probability of each candidate to be the best, ``[K]``; None where an error is not known.

    The share of draws from the joint sampling distribution, centred at the scores, in which it has the highest one:
    how often the choice would fall on it if such examples were drawn again, not a belief about the truth. Candidates
    that differ by less than `RESOLUTION` share a draw.

    Args:
        joint: the scores, higher for better.
        rng: makes the draws.
    """
    if not len(joint.values) or not np.isfinite(joint.covariance).all() or np.isnan(joint.values).any():
        return None
    best = np.zeros(len(joint.values))
    for drawn in joint.draws(NUM_DRAWS, rng):
        scores = joint.values + drawn
        first = scores >= scores.max(axis=1, keepdims=True) - RESOLUTION
        best += (first / first.sum(axis=1, keepdims=True)).sum(axis=0)
    return best / NUM_DRAWS


@dataclass(frozen=True, eq=False)
class Comparison:
    """Each candidate with each, row with column, ``[K, K]``.

    Attributes:
        ahead: whether it is better beyond the paired error of the two.
        surely: whether it is, for all pairs at once.
        times: by how many times the examples would have to be more for it to be just ahead: (critical value · error /
            gap)², as errors shrink with √n and the gap, as an estimate, stays; infinite where it is not above, or
            where nothing is known of the error.
    """

    ahead: NDArray[np.bool_]
    surely: NDArray[np.bool_]
    times: Float64

    @classmethod
    def of(cls, joint: JointScores) -> Comparison:
        """Compare scores, higher for better."""
        gap, error = joint.differences()
        each = np.maximum(critical_value(joint.num_values) * error, RESOLUTION)
        at_once = np.maximum(simultaneous_value(joint, np.random.default_rng(0)) * error, RESOLUTION)
        ratio = np.full_like(gap, np.inf)
        np.divide(each, gap, out=ratio, where=gap > RESOLUTION)
        return cls(gap > each, gap > at_once, ratio**2)

    def __and__(self, other: Comparison) -> Comparison:
        """What two measures agree about."""
        return Comparison(self.ahead & other.ahead, self.surely & other.surely, np.maximum(self.times, other.times))

    def rank_intervals(self) -> list[tuple[int, int]]:
        """Smallest and largest rank of each candidate, ``[K]``; all intervals hold together with 95 %.

        Where two measures have to agree, it is so for the ranks by either.
        """
        above, below = self.surely.sum(axis=0), self.surely.sum(axis=1)
        return [(int(a) + 1, len(above) - int(b)) for a, b in zip(above, below, strict=True)]

    def settling(self, places: int) -> float | None:
        """Times the examples that would settle the first places, one by one; None where no number would.

        Settled is a place whose candidate, and all above, differ from all below: where a tie group ends.

        Args:
            places: how many, fewer than K; candidates have to be in order, the best first.
        """
        needed = max(float(self.times[:place, place:].max()) for place in range(1, places + 1))
        return needed if np.isfinite(needed) else None
