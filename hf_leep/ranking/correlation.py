"""How well scores predict accuracies: correlations with intervals and p-values.

Vigna: A weighted correlation index for rankings with ties, WWW 2015, for the weighted tau. Fieller, Hartley, Pearson:
Tests for rank correlation coefficients I, Biometrika 1957, for the interval of Kendall's tau. Zou: Toward using
confidence intervals to compare correlations, Psychological Methods 2007, equation (13), for the difference of two
correlations with the same accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.errors import InputError
from hf_leep.ranking.uncertainty import critical_value, miss_probability

_KENDALL_VARIANCE = 0.437  # of artanh τ, times k − 4: Fieller, Hartley & Pearson
_NO_RESIDUAL = 1e-9  # residuals shorter than this, of values scaled to length 1, are rounding errors
_ROUNDING = 1e-12
_RESAMPLES = 1000
_FEWEST_RESAMPLED = 5  # resamples of fewer pairs are nearly all the same


@dataclass(frozen=True)
class Correlation:
    """A correlation of k pairs, in [−1, 1], or a difference of two.

    Attributes:
        value: the correlation.
        interval: its interval at the level `hf_leep.ranking.uncertainty.CONFIDENCE`; None where k is too small, or the
            value is ±1.
        p_value: two-sided, under the hypothesis of no correlation; None where k is too small, or where the method has
            none.
    """

    value: float
    interval: tuple[float, float] | None
    p_value: float | None


@dataclass(frozen=True)
class Agreement:
    """Correlations of k scores with k accuracies, each in [−1, 1]; None where one is not defined, never NaN.

    With fewer than two candidates, or where all scores or all accuracies are equal, no correlation is defined. In the
    intervals z is the critical value of the normal distribution, 1.96 at 95 %.

    Attributes:
        num_candidates: the number k of pairs.
        pearson: Pearson's r, which depends on the values and not only on their order.
        pearson_interval: its interval after Fisher, tanh(artanh r ± z/√(k − 3)); needs k ≥ 4, and |r| < 1, since at ±1
            the formula gives an interval of width 0 for any k.
        pearson_p_value: two-sided, under the hypothesis of normal values without correlation; needs k ≥ 3.
        kendall: Kendall's tau-b, which depends on the order alone; pairs that are tied on one side bring it closer to
            0.
        kendall_interval: its interval, tanh(artanh τ ± z √(0.437/(k − 4))), an approximation for few ties and |τ|
            below 0.8; needs k ≥ 5 and |τ| < 1.
        kendall_p_value: two-sided, under the hypothesis of independent orders; exact for up to 33 candidates without
            ties, otherwise the normal approximation, which is rough for small k.
        weighted_tau: Kendall's tau with exchanges weighted by 1/r + 1/r′ for the ranks of the two candidates, 1 for
            the best; the mean of weighting by the scores' ranks and by the accuracies' (scipy's ``rank=True``, its
            default, which most published comparisons of transferability measures call τ_w).
        weighted_tau_by_accuracy: the same weighted by the accuracies' ranks alone (scipy's ``rank=None`` with the
            accuracies first): mistakes about the candidates that are truly best cost most, whatever their scores.
    """

    num_candidates: int
    pearson: float | None = None
    pearson_interval: tuple[float, float] | None = None
    pearson_p_value: float | None = None
    kendall: float | None = None
    kendall_interval: tuple[float, float] | None = None
    kendall_p_value: float | None = None
    weighted_tau: float | None = None
    weighted_tau_by_accuracy: float | None = None


def agreement(scores: Sequence[float] | Float64, accuracies: Sequence[float] | Float64) -> Agreement:
    """Compare scores with the accuracies that they should predict; higher is better in both.

    Args:
        scores: one for each candidate, ``[k]``, in any unit.
        accuracies: those of the same candidates in the same order, ``[k]``, in any unit.

    Returns:
        The correlations, invariant to the order of candidates. Pearson's r is invariant to shifting and positive
        scaling of either side, the others to any increasing transformation.

    Raises:
        InputError: the sequences are not one-dimensional, differ in length, or contain a value that is not finite.
    """
    x, y = _values(scores, "scores"), _values(accuracies, "accuracies")
    if len(x) != len(y):
        raise InputError(f"got {len(x)} scores but {len(y)} accuracies; each candidate needs both")
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return Agreement(len(x))

    from scipy.stats import kendalltau, weightedtau

    r = _pearson(x, y)
    kendall = kendalltau(x, y)
    tau = _within(kendall.statistic)
    return Agreement(
        num_candidates=len(x),
        pearson=r,
        pearson_interval=_fisher_interval(r, len(x)),
        pearson_p_value=_pearson_p_value(r, len(x)),
        kendall=tau,
        kendall_interval=_interval(tau, _KENDALL_VARIANCE, len(x) - 4),
        kendall_p_value=float(kendall.pvalue),
        weighted_tau=_within(weightedtau(y, x, rank=True).statistic),
        weighted_tau_by_accuracy=_within(weightedtau(y, x, rank=None).statistic),
    )


def kendall_tau(scores: Sequence[float] | Float64, others: Sequence[float] | Float64) -> float | None:
    """Compute Kendall's tau-b alone, the same as in `agreement`, without importing scipy.

    Args:
        scores: one for each candidate, ``[k]``.
        others: those of the same candidates in the same order, ``[k]``.

    Returns:
        Σ sign(x_i − x_j) sign(y_i − y_j) over the pairs that are not tied, normalised; None where there is no order:
        with fewer than two candidates, or where all values of one side are equal.

    Raises:
        InputError: as for `agreement`.
    """
    x, y = _values(scores, "scores"), _values(others, "others")
    if len(x) != len(y):
        raise InputError(f"got {len(x)} scores but {len(y)} others; each candidate needs both")
    a, b = np.sign(np.subtract.outer(x, x)), np.sign(np.subtract.outer(y, y))
    length = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return _within(float((a * b).sum()) / length) if length else None


def partial_correlation(
    scores: Sequence[float] | Float64,
    accuracies: Sequence[float] | Float64,
    given: Sequence[float] | Float64,
    *,
    by_rank: bool = False,
    resampled: np.random.Generator | None = None,
) -> Correlation | None:
    """Compute Pearson's r of the residuals of scores and accuracies after linear regression on a third quantity.

    Args:
        scores: one for each candidate or task, ``[k]``.
        accuracies: those of the same, ``[k]``.
        given: the quantity to control for, such as the log of the number of classes, ``[k]``.
        by_rank: use ranks instead of all three, ties sharing their mean: Spearman's partial correlation, which does
            not assume linear relations and is invariant to increasing transformations of the values.
        resampled: generator of the resamples of a bootstrap over the pairs, whose percentiles then are the interval;
            this assumes neither normal residuals nor residuals of equal spread. By default Fisher's formula is used.

    Returns:
        r with Fisher's interval for k − 1 pairs, which needs k ≥ 5, and Student's p-value with k − 3 degrees of
        freedom, which needs k ≥ 4; or with the percentile interval of 1,000 resamples, which needs k ≥ 5, and no
        p-value. None where there are no residuals to correlate: with fewer than three pairs, a third quantity that is
        constant, or one that explains a side exactly.

    Raises:
        InputError: as for `agreement`.
    """
    x, y, z = _values(scores, "scores"), _values(accuracies, "accuracies"), _values(given, "given")
    if not len(x) == len(y) == len(z):
        raise InputError(f"got {len(x)} scores, {len(y)} accuracies and {len(z)} given values; each needs all three")
    if len(x) < 3 or any(v.min() == v.max() for v in (x, y, z)):
        return None
    values = np.stack([_unit(v) for v in (x, y, z)])  # [3, k]
    r = float(_partial(values[:, None], by_rank)[0])
    if math.isnan(r):
        return None
    if resampled is None:
        return Correlation(r, _fisher_interval(r, len(x) - 1), _pearson_p_value(r, len(x) - 1))
    if len(x) < _FEWEST_RESAMPLED or _is_one(r):
        return Correlation(r, None, None)
    found = _partial(values[:, resampled.integers(len(x), size=(_RESAMPLES, len(x)))], by_rank)
    return Correlation(r, percentile_interval(found), None)


def percentile_interval(resamples: Float64) -> tuple[float, float] | None:
    """Return the percentile interval of a bootstrap: at 95 % the 2.5 and 97.5 % percentiles of the resampled values.

    Args:
        resamples: the quantity in each resample; NaN where it is not defined.

    Returns:
        The interval; None if the quantity is not defined in any resample.
    """
    known = resamples[~np.isnan(resamples)]
    if not len(known):
        return None
    outside = 100 * miss_probability() / 2  # 2.5 %
    low, high = np.percentile(known, (outside, 100 - outside))
    return float(low), float(high)


def reliability(first: Sequence[float] | Float64, second: Sequence[float] | Float64) -> float | None:
    """Compute how reliable accuracies measured on all images are, from measurements on two disjoint halves of them.

    This is the formula of Spearman and Brown (1910), 2r/(1 + r) with r the correlation of the halves, each of which
    has twice the noise variance of the whole. No score can be expected to correlate with the accuracies more than the
    square root of the reliability.

    Args:
        first: accuracies on one half, one for each task, ``[k]``.
        second: accuracies on the other half, ``[k]``.

    Returns:
        The reliability, at most 1; None where r is not defined, or not positive.

    Raises:
        InputError: as for `agreement`.
    """
    r = agreement(first, second).pearson
    return 2 * r / (1 + r) if r is not None and r > 0 else None


def difference(
    scores: Sequence[float] | Float64, others: Sequence[float] | Float64, accuracies: Sequence[float] | Float64
) -> Correlation | None:
    """Compute by how much one measure's Pearson correlation with accuracy exceeds another's, on the same candidates.

    Args:
        scores: scores on the one measure, one for each candidate or task, ``[k]``.
        others: scores on the other measure, ``[k]``.
        accuracies: accuracies of the same candidates or tasks, ``[k]``.

    Returns:
        r₁ − r₂ and Zou's interval, which takes into account that both correlations use the same accuracies and that
        the measures may be correlated; no p-value. None where one of the correlations or its interval is not defined.

    Raises:
        InputError: as for `agreement`.
    """
    one, other, between = agreement(scores, accuracies), agreement(others, accuracies), agreement(scores, others)
    r1, r2, r12 = one.pearson, other.pearson, between.pearson
    first, second = one.pearson_interval, other.pearson_interval
    if r1 is None or r2 is None or r12 is None or first is None or second is None:
        return None
    rest = (1 - r1 * r1) * (1 - r2 * r2)
    shared = ((r12 - r1 * r2 / 2) * (1 - r1 * r1 - r2 * r2 - r12 * r12) + r12**3) / rest if rest else 1.0
    shared = _within(shared)

    def half(a: float, b: float) -> float:
        return math.sqrt(max(a * a + b * b - 2 * shared * a * b, 0.0))

    gap = r1 - r2
    return Correlation(
        gap, (gap - half(r1 - first[0], second[1] - r2), gap + half(first[1] - r1, r2 - second[0])), None
    )


def _values(values: Sequence[float] | Float64, name: str) -> Float64:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers [k]; leave out candidates that have none") from None
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional [k], got shape {array.shape}")
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise InputError(f"{name} hold {array[first]} at position {first}; leave out candidates without a value")
    return array


def _partial(values: Float64, by_rank: bool) -> Float64:
    """Compute the partial correlation of b resamples of scores, accuracies and given, ``[3, b, k]`` → ``[b]``.

    NaN where a side has no residuals.
    """
    if by_rank:
        from scipy.stats import rankdata

        values = rankdata(values, axis=-1)
    centred = values - values.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, z = centred / lengths
        residuals = [side - (side * z).sum(axis=-1, keepdims=True) * z for side in (x, y)]
        lengths_left = [np.linalg.norm(side, axis=-1) for side in residuals]
        found = (residuals[0] * residuals[1]).sum(axis=-1) / (lengths_left[0] * lengths_left[1])
    found[~((lengths_left[0] >= _NO_RESIDUAL) & (lengths_left[1] >= _NO_RESIDUAL))] = np.nan
    return np.asarray(np.clip(found, -1.0, 1.0))


def _pearson(x: Float64, y: Float64) -> float:
    """Compute Pearson's r of two sequences ``[k]``, neither of them constant."""
    return _within(float(_unit(x) @ _unit(y)))


def _unit(values: Float64) -> Float64:
    """Centre to mean 0 and scale to length 1."""
    # Scaling by a power of two is exact and keeps squares from overflowing or underflowing. Subtracting a nearby value
    # is exact, too, and keeps a small spread on a large offset from being lost.
    scaled = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    shifted = scaled - scaled[0]
    centred = shifted - shifted.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _fisher_interval(r: float, k: int) -> tuple[float, float] | None:
    return _interval(r, 1.0, k - 3)


def _interval(value: float, variance: float, weight: int) -> tuple[float, float] | None:
    """Compute tanh(artanh value ± z √(variance/weight)); None at ±1, where its width would be 0 for any k."""
    if weight < 1 or _is_one(value):
        return None
    half = critical_value() * math.sqrt(variance / weight)
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def _pearson_p_value(r: float, k: int) -> float | None:
    """Compute the p-value by Student's t with k − 2 degrees of freedom.

    P(|T| > |r|√((k − 2)/(1 − r²))) = I_{1 − r²}((k − 2)/2, 1/2), the regularised incomplete beta function.
    """
    if k < 3:
        return None
    from scipy.special import betainc

    return float(betainc((k - 2) / 2, 0.5, (1 - r) * (1 + r)))


def _is_one(value: float) -> bool:
    """Whether a correlation is ±1, up to rounding."""
    return 1 - abs(value) < _ROUNDING


def _within(value: float) -> float:
    """Clip a correlation that rounding brought beyond ±1."""
    return min(max(float(value), -1.0), 1.0)
