"""Which candidate's true score is the highest, and how many examples it takes at least to tell.

A score is a draw around its true score, its expectation over samples of this size. That the highest score is the one
that chance favoured most is allowed for by empirical Bayes (Efron & Morris: Stein's Estimation Rule and Its
Competitors, Journal of the American Statistical Association 1973): true scores are taken as a sample of a normal
distribution around an unknown mean, so gaps as small as the errors shrink. How far they shrink is averaged over, with
the uniform prior on the shrinkage (Strawderman: Proper Bayes Minimax Estimators of the Multivariate Normal Mean,
Annals of Mathematical Statistics 1971), weighted by how well each amount explains the scores.

``tests/benchmarks/certainty.py`` compares what this says with what came true; docs/certainty.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64
from hf_leep.ranking.uncertainty import RESOLUTION, JointScores, critical_value, miss_probability

NUM_DRAWS = 10_000  # a share of these has a standard error of at most 0.5 %
POWER = 0.8  # probability with which so many examples settle the first place
# Errors behind the first. A candidate so far behind is not the best, and does not say how close to it the others are.
_FAR_BEHIND = 5.0
_NUM_SHRINKAGES = 40
_CELLS_AT_ONCE = 2**18  # so that a block of draws fits into the cache


@dataclass(frozen=True, eq=False)
class TrueScores:
    """What scores say of the true scores of those candidates that may be the best, among those with a known error.

    Attributes:
        candidates: their positions, ``[k]``; of candidates with equal scores, the first alone.
        copies: how many candidates each of them stands for, itself included, ``[k]``.
        values: their scores less the mean of these, ``[k]``.
        axes: independent contrasts of the candidates, ``[k, k − 1]``; the columns are orthonormal.
        variances: variance of the sampling error of each contrast, ``[k − 1]``.
        spreads: variance of the true scores for each amount of shrinkage, ``[g]``.
        weights: posterior probability of each amount, ``[g]``.
        num_values: as of `JointScores`.
    """

    candidates: NDArray[np.intp]
    copies: NDArray[np.intp]
    values: Float64
    axes: Float64
    variances: Float64
    spreads: Float64
    weights: Float64
    num_values: int

    @classmethod
    def of(cls, joint: JointScores) -> TrueScores | None:
        """Take together what the scores say, higher being better; None where no candidate's error is known."""
        equal_to = first_equals(joint)
        different = np.flatnonzero(_known(joint) & (equal_to == np.arange(len(equal_to))))
        if not len(different):
            return None
        near = _near_first(joint, different)
        k = len(near)
        contrasts = np.linalg.qr(np.column_stack([np.ones(k), np.eye(k)[:, : k - 1]]))[0][:, 1:]  # [k, k − 1]
        found, turned = np.linalg.eigh(contrasts.T @ joint.covariance[np.ix_(near, near)] @ contrasts)
        axes, variances = contrasts @ turned, np.maximum(found, 0.0)
        values = joint.values[near] - joint.values[near].mean()
        kept = (np.arange(_NUM_SHRINKAGES) + 0.5) / _NUM_SHRINKAGES  # share of a gap that is left of it
        spreads = (variances.mean() if k > 1 else 0.0) * kept / (1 - kept)
        total = spreads[:, None] + variances
        with np.errstate(divide="ignore", invalid="ignore"):
            misfit = np.where(total > 0, np.log(total) + (values @ axes) ** 2 / total, 0.0).sum(axis=1)
        weights = np.exp((misfit.min() - misfit) / 2)
        copies = np.bincount(equal_to, minlength=len(equal_to))[near]
        return cls(near, copies, values, axes, variances, spreads, weights / weights.sum(), joint.num_values)

    def draws(self, number: int, rng: np.random.Generator) -> Iterator[Float64]:
        """Draw true scores, up to what all of them share, in blocks ``[b, k]`` of bounded size.

        Given the variance of the errors they are normal. That variance is itself an estimate, so it is drawn as well.
        """
        k, degrees = len(self.candidates), max(self.num_values - 1, 1)
        means = self.values @ self.axes
        for start in range(0, number, step := max(1, _CELLS_AT_ONCE // k)):
            size = min(step, number - start)
            variances = self.variances * (degrees / rng.chisquare(degrees, size))[:, None]
            spreads = rng.choice(self.spreads, size, p=self.weights)[:, None]
            total = spreads + variances
            kept = np.divide(spreads, total, out=np.ones_like(total), where=total > 0)
            contrasts = kept * means + np.sqrt(kept * variances) * rng.standard_normal((size, k - 1))
            yield contrasts @ self.axes.T


def first_equals(joint: JointScores) -> NDArray[np.intp]:
    """Return the position of the first candidate that has the same scores as each, its own if there is none, ``[K]``.

    Two candidates have the same scores if these differ by at most `RESOLUTION`, and so do those of single examples
    (their standard deviation), or if the errors are correlated by 1 but for rounding. That is so of exact copies.
    """
    if not len(joint.values):
        return np.zeros(0, np.intp)
    gap, error = joint.differences()
    own = np.sqrt(np.maximum(np.diag(joint.covariance), 0.0))
    rounding = 1e-6 * (own[:, None] + own[None, :])
    most = np.maximum(rounding, RESOLUTION / np.sqrt(max(joint.num_values, 1)))
    alike = (np.abs(gap) <= RESOLUTION) & (error <= most)
    found: NDArray[np.intp] = np.argmax(alike | np.eye(len(alike), dtype=np.bool_), axis=1)
    return found


def probabilities_of_being_best(joint: JointScores, rng: np.random.Generator) -> Float64:
    """Estimate the probability that each candidate's true score is the highest, ``[K]``.

    A probability given these examples, in the sense of `TrueScores`: not how often the choice would be the same if
    examples were drawn again. Candidates with equal scores share the probability that one of them would have alone.
    One that is far behind the first has probability 0, and changes nothing for the others.

    Only candidates whose error is known are compared. The others get NaN, and change nothing for the rest.

    Args:
        joint: the scores, oriented so that higher is better.
        rng: generator of the draws.
    """
    shares = np.full(len(joint.values), np.nan)
    true = TrueScores.of(joint)
    if true is None:
        return shares
    best = np.zeros(len(true.candidates))
    for scores in true.draws(NUM_DRAWS, rng):
        first = scores >= scores.max(axis=1, keepdims=True) - RESOLUTION
        best += (first / first.sum(axis=1, keepdims=True)).sum(axis=0)
    shares[_known(joint)] = 0.0
    shares[true.candidates] = best / NUM_DRAWS / true.copies
    return shares[first_equals(joint)]


def growth_at_least(joint: JointScores) -> float:
    """Return by which factor the sample has to grow at least to settle the first place, by these scores.

    With so many times the examples, the best candidate is told apart from all others with a probability of at most
    `POWER`, of those whose error is known. The bound is too high in at most 1 − `CONFIDENCE` of samples, whatever the
    gaps. Two candidates whose true scores differ by δ, with a paired error ε, take ((1.96 + 0.84)·ε/δ)² times the
    examples. Here δ is the most that the examples leave possible: the upper end of a one-sided interval, by Bonferroni
    for all differences of the best candidate at once. Which candidate is the best is not known either, so the least
    over all that may be it counts.

    Gaps are taken to stay as they are. Where they shrink as the sample grows, as those of in-sample scores do between
    heads of unlike width, it takes more examples than that.

    Args:
        joint: the scores, oriented so that higher is better.

    Returns:
        The factor: below 1 where it says nothing, as with more than a few candidates near the first; infinite where
        all that may be the best have an equal.
    """
    known = np.flatnonzero(_known(joint))
    near = _near_first(joint, known) if len(known) else known
    if len(near) < 2:
        return 0.0
    gap, error = (matrix[np.ix_(near, near)] for matrix in joint.differences())
    needed = critical_value(joint.num_values) + critical_value(miss=2 * (1 - POWER))
    most = gap + critical_value(joint.num_values, 2 * miss_probability() / (len(near) - 1)) * error
    growth = np.full_like(gap, np.inf)
    np.divide(needed * error, most, out=growth, where=most > RESOLUTION)
    np.fill_diagonal(growth, 0.0)
    return float(growth.max(axis=1).min()) ** 2


def _known(joint: JointScores) -> NDArray[np.bool_]:
    """Return whether a candidate's score and its error are known, ``[K]``."""
    return np.asarray(np.isfinite(joint.values) & np.isfinite(np.diag(joint.covariance)))


def _near_first(joint: JointScores, among: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which of some candidates are not far behind the one of them that has the highest score."""
    gap, error = joint.differences()
    first = among[np.argmax(joint.values[among])]
    # With few resamples the quantiles of Student's t are as much wider as the error is uncertain.
    far = _FAR_BEHIND * critical_value(joint.num_values) / critical_value()
    near: NDArray[np.intp] = among[gap[first, among] <= np.maximum(far * error[first, among], RESOLUTION)]
    return near
