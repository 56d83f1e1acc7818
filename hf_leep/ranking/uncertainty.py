"""How certain the order is, from the joint sampling distribution of scores on the same examples."""

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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every candidate compared with every other, row with column, ``[K, K]``.

    Attributes:
        better: whether the row is better beyond the paired error of this pair.
        known: whether a candidate's own error is known, ``[K]``.
    """

    better: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, joint: JointScores) -> Comparison:
        """Compare scores that are oriented so that higher is better."""
        gap, error = joint.differences()
        each = np.maximum(critical_value(joint.num_values) * error, RESOLUTION)
        return cls(gap > each, np.isfinite(np.diag(joint.covariance)))

    def __and__(self, other: Comparison) -> Comparison:
        """Keep what the comparisons by two measures agree about."""
        return Comparison(self.better & other.better, self.known & other.known)

    def settles_first(self) -> bool:
        """Return whether the first candidate is better than all others whose error is known; it has to come first."""
        return bool(self.known[0] and (self.better[0, 1:] | ~self.known[1:]).all())
