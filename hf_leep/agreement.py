"""How well an order of scores predicts an order of accuracies.

Vigna: A weighted correlation index for rankings with ties, WWW 2015, for the weighted tau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.errors import InputError
from hf_leep.ranking import CONFIDENCE_Z


@dataclass(frozen=True)
class Agreement:
    """Correlations of k scores with k accuracies, each in [−1, 1]; None where it is not defined, never NaN.

    With fewer than two candidates, or scores or accuracies that are all the same, there is no correlation at all.

    Attributes:
        num_candidates: the number k of pairs.
        pearson: Pearson's r, of the values and not only their order.
        pearson_interval: its 95 % interval after Fisher, tanh(artanh r ± 1.96/√(k − 3)); needs k ≥ 4.
        pearson_p_value: two-sided, for normal values that are uncorrelated; needs k ≥ 3.
        kendall: tau-b, of the order alone; pairs tied on one side only pull it towards 0.
        kendall_p_value: two-sided, for orders that are independent; exact for up to 33 candidates without ties,
            otherwise the normal approximation, rough for small k.
        weighted_tau: exchanges weighted 1/r + 1/r′ by the ranks of the two candidates, 1 the best; the mean of
            weighting by the scores' ranks and by the accuracies' (scipy's ``rank=True``, its default, which most
            published comparisons of transferability measures call τ_w).
        weighted_tau_by_accuracy: the same weighted by the accuracies' ranks alone (scipy's ``rank=None`` with the
            accuracies first): a mistake about the truly best candidates costs most, whatever their scores.
    """

    num_candidates: int
    pearson: float | None = None
    pearson_interval: tuple[float, float] | None = None
    pearson_p_value: float | None = None
    kendall: float | None = None
    kendall_p_value: float | None = None
    weighted_tau: float | None = None
    weighted_tau_by_accuracy: float | None = None


def agreement(scores: Sequence[float], accuracies: Sequence[float]) -> Agreement:
    """Compare scores with the accuracies that they should predict, both higher for better.

    Args:
        scores: one a candidate, ``[k]``, any unit.
        accuracies: of the same candidates in the same order, ``[k]``, any unit.

    Returns:
        The correlations, invariant to the order of candidates. Pearson's r is invariant to shifting and positive
        scaling of either side, the others to any increasing transformation.

    Raises:
        InputError: sequences that are not one-dimensional, differ in length, or hold a value that is no finite number.
    """
    x, y = _values(scores, "scores"), _values(accuracies, "accuracies")
    if len(x) != len(y):
        raise InputError(f"got {len(x)} scores but {len(y)} accuracies; each candidate needs one of both")
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return Agreement(len(x))

    from scipy.stats import kendalltau, weightedtau

    r = _pearson(x, y)
    kendall = kendalltau(x, y)
    return Agreement(
        num_candidates=len(x),
        pearson=r,
        pearson_interval=_fisher_interval(r, len(x)),
        pearson_p_value=_pearson_p_value(r, len(x)),
        kendall=_within(kendall.statistic),
        kendall_p_value=float(kendall.pvalue),
        weighted_tau=_within(weightedtau(y, x, rank=True).statistic),
        weighted_tau_by_accuracy=_within(weightedtau(y, x, rank=None).statistic),
    )


def kendall_tau(scores: Sequence[float] | Float64, others: Sequence[float] | Float64) -> float | None:
    """Kendall's tau-b alone, as `agreement` has it, without scipy and so at no cost of importing it.

    Args:
        scores: one a candidate, ``[k]``.
        others: of the same candidates in the same order, ``[k]``.

    Returns:
        Σ sign(x_i − x_j) sign(y_i − y_j) over the pairs that are not tied, normalised; None where there is no order:
        fewer than two candidates, or all the same on one side.

    Raises:
        InputError: as for `agreement`.
    """
    x, y = _values(scores, "scores"), _values(others, "others")
    if len(x) != len(y):
        raise InputError(f"got {len(x)} scores but {len(y)} others; each candidate needs one of both")
    a, b = np.sign(np.subtract.outer(x, x)), np.sign(np.subtract.outer(y, y))
    length = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return _within(float((a * b).sum()) / length) if length else None


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


def _pearson(x: Float64, y: Float64) -> float:
    """Pearson's r of two sequences ``[k]``, neither of them constant."""
    return _within(float(_unit(x) @ _unit(y)))


def _unit(values: Float64) -> Float64:
    """Centre to mean 0 and scale to length 1."""
    # Scaled by a power of two, which is exact, so that squares neither overflow nor vanish; then shifted, which is
    # exact for nearby values, so that a small spread survives a large offset.
    scaled = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    shifted = scaled - scaled[0]
    centred = shifted - shifted.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _fisher_interval(r: float, k: int) -> tuple[float, float] | None:
    if k < 4:
        return None
    if abs(r) == 1.0:  # the limit
        return r, r
    half = CONFIDENCE_Z / math.sqrt(k - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _pearson_p_value(r: float, k: int) -> float | None:
    """Student's t with k − 2 degrees of freedom: P(|T| > |r|√((k − 2)/(1 − r²))) = I_{1 − r²}((k − 2)/2, 1/2)."""
    if k < 3:
        return None
    from scipy.special import betainc

    return float(betainc((k - 2) / 2, 0.5, (1 - r) * (1 + r)))


def _within(value: float) -> float:
    """The value without what rounding put beyond ±1."""
    return min(max(float(value), -1.0), 1.0)
