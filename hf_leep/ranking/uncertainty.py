"""How certain the ranks are, from the joint sampling distribution of scores on the same examples.

Rank intervals follow Mogstad, Romano, Shaikh & Wilhelm: Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries, Review of Economic Studies 2024, section 3: the confidence
set of a rank counts the candidates whose scores differ by simultaneous intervals of all pairwise differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64
from hf_leep.records import Score

# The confidence level of every interval, tie group and rank interval, and of the words that describe them. A race has
# a level of its own, which the user may choose: `hf_leep.ranking.elimination.RaceRules`.
CONFIDENCE = 0.95
RESOLUTION = 1e-5  # scores of float32 passes vary by this much with batch size and order: smaller gaps count as none
NUM_DRAWS = 10_000  # a share of these has a standard error of at most 0.5 %
_NUM_MAXIMA = 2_000  # the share of draws above the 95 % quantile has a standard error of 0.5 %
ENOUGH_VALUES = 100  # with fewer influence values the covariance of many candidates is too uncertain
_EXAMPLES_AT_ONCE = 4096
_CELLS_AT_ONCE = 2**18  # so that a block of draws fits into the cache


@dataclass(frozen=True, eq=False)
class JointScores:
    """Scores of several candidates on the same examples, and how they vary together.

    Attributes:
        values: the scores, ``[K]``; NaN where there is none.
        covariance: covariance of their sampling errors, ``[K, K]``; NaN where it is not known.
        num_values: number of influence values that each error is computed from: examples, draws of several examples,
            or resamples; 0 where no error is known.
    """

    values: Float64
    covariance: Float64
    num_values: int

    @classmethod
    def of(cls, scores: Sequence[Score]) -> JointScores:
        """Combine scores; works in chunks of the examples, so that it needs O(K² + chunk) additional memory."""
        values = np.array([np.nan if s.value is None else s.value for s in scores], dtype=np.float64)
        covariance = np.full((len(scores), len(scores)), np.nan)
        # Only scores with the same number of influence values can be paired.
        n = max((len(s.influence) for s in scores if s.influence is not None), default=0)
        known = [k for k, s in enumerate(scores) if s.influence is not None and len(s.influence) == n]
        influence = [found for k in known if (found := scores[k].influence) is not None]
        if not influence:
            return cls(values, covariance, 0)
        product = np.zeros((len(influence), len(influence)))  # Σ_i IF_a IF_b; each IF has mean 0
        for start in range(0, n, _EXAMPLES_AT_ONCE):
            chunk = np.array([row[start : start + _EXAMPLES_AT_ONCE] for row in influence], dtype=np.float64)
            product += chunk @ chunk.T
        product /= (n - 1) * n
        product.flat[:: len(product) + 1] += [scores[k].unseen for k in known]
        covariance[np.ix_(known, known)] = product
        return cls(values, covariance, n)

    def differences(self) -> tuple[Float64, Float64]:
        """Compute row minus column and its standard error, infinite where it is not known: two ``[K, K]``."""
        own = np.diag(self.covariance)
        errors = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * self.covariance, 0.0))
        errors[np.isnan(errors)] = np.inf
        np.fill_diagonal(errors, 0.0)
        return np.subtract.outer(self.values, self.values), errors

    def draws(self, number: int, rng: np.random.Generator) -> Iterator[Float64]:
        """Draw errors of all scores jointly, in blocks ``[b, K]`` of bounded size; all errors must be known.

        The draws follow Student's t distribution, since the covariance is itself an estimate.
        """
        scales, axes = np.linalg.eigh(self.covariance)
        root = (axes * np.sqrt(np.maximum(scales, 0.0))).T  # [K, K]
        degrees, step = self.num_values - 1, max(1, _CELLS_AT_ONCE // len(scales))
        for start in range(0, number, step):
            size = min(step, number - start)
            spread = np.sqrt(degrees / rng.chisquare(degrees, size))
            yield spread[:, None] * (rng.standard_normal((size, len(scales))) @ root)


def miss_probability() -> float:
    """Return 1 − `CONFIDENCE`: the probability that an interval misses what it estimates, on either side."""
    return round(1 - CONFIDENCE, 12)  # 0.05, where the difference is 0.050000000000000044


def critical_value(num_values: int = 0, miss: float | None = None) -> float:
    """Return how many standard errors an interval extends to either side: a quantile of Student's t.

    At 95 % this is 1.96 for errors from many examples (more exactly 1.959964), and 2.26 for errors from ten resamples.

    Args:
        num_values: number of influence values that the error is computed from, one more than the degrees of freedom.
            Below 2, where it is not known, the quantile of the normal distribution is used.
        miss: probability that the interval misses, both sides together; by default 1 − `CONFIDENCE`.
    """
    miss = miss_probability() if miss is None else miss
    if num_values < 2:
        return -NormalDist().inv_cdf(miss / 2)
    from scipy.special import stdtrit

    return float(-stdtrit(num_values - 1, miss / 2))


def simultaneous_critical_value(joint: JointScores, rng: np.random.Generator) -> float:
    """Return the critical value for the differences of all pairs at once.

    With it the intervals of all differences hold together with probability `CONFIDENCE`. It is the quantile of the
    largest |difference|/error over all pairs, estimated from draws with the covariance of the scores. Where the errors
    are computed from a few resamples, the covariance is too uncertain for this; Šidák's bound, which holds for any
    covariance, is used instead.

    Args:
        joint: the scores; candidates without a known error are left out.
        rng: generator of the draws.
    """
    known = np.flatnonzero(np.isfinite(np.diag(joint.covariance)))
    num_pairs = len(known) * (len(known) - 1) // 2
    if num_pairs < 2:
        return critical_value(joint.num_values)
    if joint.num_values < ENOUGH_VALUES:
        return critical_value(joint.num_values, -np.expm1(np.log1p(-miss_probability()) / num_pairs))
    some = JointScores(joint.values[known], joint.covariance[np.ix_(known, known)], joint.num_values)
    error = some.differences()[1]
    own = np.diag(some.covariance)
    rounding = 1e-6 * np.sqrt(own[:, None] + own[None, :])  # copies of one candidate differ by rounding alone
    scale = np.divide(1.0, error, out=np.zeros_like(error), where=error > rounding).astype(np.float32)
    largest = np.concatenate([_largest(drawn, scale) for drawn in some.draws(_NUM_MAXIMA, rng)])
    return max(float(np.quantile(largest, 1 - miss_probability())), critical_value(joint.num_values))


def _largest(drawn: Float64, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest |difference|·scale over all pairs of columns, for each draw, ``[b]``.

    In float32, and one candidate against all later ones at a time: with 500 candidates this is ten times as fast as
    all pairs at once.
    """
    by_candidate = np.ascontiguousarray(drawn.T, dtype=np.float32)  # [K, b]
    largest = np.zeros(len(drawn), np.float32)
    for i in range(len(scale) - 1):
        gap = by_candidate[i + 1 :] - by_candidate[i]
        np.abs(gap, out=gap)
        gap *= scale[i, i + 1 :, None]
        np.maximum(largest, gap.max(axis=0), out=largest)
    return largest


def probabilities_of_being_best(joint: JointScores, rng: np.random.Generator) -> Float64 | None:
    """Estimate the probability of each candidate to be the best, ``[K]``; None where an error is not known.

    It is the share of draws from the joint sampling distribution, centred at the scores, in which the candidate has
    the highest score: how often it would be chosen if such examples were drawn again, not a belief about the truth.
    Candidates that differ by less than `RESOLUTION` share a draw.

    Args:
        joint: the scores, oriented so that higher is better.
        rng: generator of the draws.
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
    """Every candidate compared with every other, row with column, ``[K, K]``.

    Attributes:
        better: whether the row is better beyond the paired error of this pair.
        simultaneously_better: whether it is better beyond the wider error that holds for all pairs at once.
        growth: the factor by which the sample would have to grow for the row to be just better:
            (critical value · error / gap)². Errors shrink with √n, and the gap is taken as it is estimated. Infinite
            where the row is not above the column, or where the error is not known.
    """

    better: NDArray[np.bool_]
    simultaneously_better: NDArray[np.bool_]
    growth: Float64

    @classmethod
    def of(cls, joint: JointScores) -> Comparison:
        """Compare scores that are oriented so that higher is better."""
        gap, error = joint.differences()
        each = np.maximum(critical_value(joint.num_values) * error, RESOLUTION)
        all_pairs = simultaneous_critical_value(joint, np.random.default_rng(0))
        at_once = np.maximum(all_pairs * error, RESOLUTION)
        ratio = np.full_like(gap, np.inf)
        np.divide(each, gap, out=ratio, where=gap > RESOLUTION)
        return cls(gap > each, gap > at_once, ratio**2)

    def __and__(self, other: Comparison) -> Comparison:
        """Keep what the comparisons by two measures agree about."""
        return Comparison(
            self.better & other.better,
            self.simultaneously_better & other.simultaneously_better,
            np.maximum(self.growth, other.growth),
        )

    def rank_intervals(self) -> list[tuple[int, int]]:
        """Return the lowest and the highest possible rank of each candidate, ``[K]``.

        All intervals hold together with probability `CONFIDENCE`. Where two measures have to agree, this is so for
        the ranks by either of them.
        """
        above, below = self.simultaneously_better.sum(axis=0), self.simultaneously_better.sum(axis=1)
        return [(int(a) + 1, len(above) - int(b)) for a, b in zip(above, below, strict=True)]

    def growth_needed(self, top: int) -> float | None:
        """Return the factor by which the sample would have to grow to settle the first ranks; None if none would.

        A rank is settled where its candidate, and all above it, are better than all below: where a tie group ends.

        Args:
            top: how many of the first ranks, one by one; fewer than K. Candidates have to be in order, best first.
        """
        needed = max(float(self.growth[:rank, rank:].max()) for rank in range(1, top + 1))
        return needed if np.isfinite(needed) else None
