"""Regularised H-score: the H-score with the covariance shrunk towards a multiple of the identity.

Ibrahim, Ponomareva, Mazumder: Newer is not always better: Rethinking transferability metrics, their peculiarities,
stability and performance, 2021: H_α(f) = tr(Σ_α⁻¹ (1 − α) cov(E[f|Y])), Σ_α = (1 − α) Σ + α μ I, μ = tr(Σ)/d. The
shrinkage α is the one of Ledoit and Wolf: A well-conditioned estimator for large-dimensional covariance matrices,
2004.

On a steep spectrum α is small, and where n is not many times d, H_α then comes close to its largest value for any
labels: an untrained text encoder (n = 160, d = 384, 10 classes) scored 6.9 of 9 where its shuffled labels scored 5.9,
and came first before trained ones. A ranking warns of that (`by_chance`), and the score can be adjusted for it, as in
Hubert, Arabie: Comparing Partitions, Journal of Classification 1985.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import row_dot
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.rest import rest
from hf_leep.measures.spectrum import Spectrum, kept_blocks, spectrum

_ROUNDING = 1e-9  # share of the range that is left above chance, below which all labels score the same
_SINGULAR = 1e-9  # a covariance that is shrunk less may have no inverse


def regularised_h_score(features: ArrayLike, labels: ArrayLike, *, adjusted: bool = False) -> float:
    """Score how far apart the classes lie in feature space, dimensionless; higher is better.

    A centred direction u of length 1 explains Σ_y (uᵀ1[y])²/n_y of the labels, (t − 1)/(n − 1) on average over their
    orders. With the weights g_k = (1 − α) λ_k/((1 − α) λ_k + α μ) of the principal axes, H_α of shuffled labels is on
    average E = (t − 1)/(n − 1) Σ_k g_k. Candidates differ in E, from nearly 0 to nearly t − 1. The adjusted score,
    (t − 1) (H_α − E)/(t − 1 − E), is 0 on average for labels that have nothing to do with the features, and t − 1
    where H_α is.

    d counts the columns that vary, in μ = tr(Σ)/d as well as in α: a constant column would lower μ, so that all other
    directions are shrunk less, and raise the score. Published code counts such columns.

    Both covariances are divided by n, as Ledoit and Wolf do. Published code divides that of the class means by n − 1,
    so its scores are higher by the factor n/(n − 1).

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        adjusted: whether to adjust for chance.

    Returns:
        H_α in [0, min(t − 1, d)], at most the H-score, which it equals for α = 0. The adjusted score is at most H_α,
        below 0 where the classes are less far apart than those of shuffled labels are on average, and 0 where all
        labels would score the same. Invariant to the order of rows, to shifting, rotating and rescaling the features
        as a whole (rotated, a constant column counts in d), to constant columns and to renaming the labels; not to
        rescaling a single column, nor to repeating the data set, which lowers α.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³) time; O(d·min(n, d) + t·d + block) memory.

    Not for: comparing candidates if the features of some have nearly equal variance in all directions. Their α is
    close to 1, and the factor 1 − α in the definition moves the score towards 0, however well the classes are
    separated.

    Reference: Ibrahim et al. 2021, the shrinkage-based H-score.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0.0, 0.0], [1.0, 0.0], [4.0, 3.0], [5.0, 3.0]]
        >>> round(measures.regularised_h_score(features, [0, 0, 1, 1]), 4)
        0.9489
        >>> round(measures.regularised_h_score(features, [0, 1, 0, 1]), 4)
        0.3004
        >>> round(measures.regularised_h_score(features, [0, 1, 0, 1], adjusted=True), 4)
        -0.1989
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(spectrum(matrix, target, whitened=False, centred=True), target, adjusted=adjusted)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return the regularised H-score and the pseudo-values of its jackknife, ``[10]``, mean 0.

    See `resampling.jackknife`. The closed form is a first-order result, which is too small unless n is many times d;
    this measure is meant for smaller n.

    Args:
        features: as for `regularised_h_score`.
        labels: as for `regularised_h_score`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `regularised_h_score`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    decomposed = spectrum(matrix, target, whitened=False, centred=True)

    lengths = np.empty(len(matrix))  # ‖f_i‖²
    for rows, block in decomposed.point_blocks():
        lengths[rows] = row_dot(block, block)

    def score(kept: Kept) -> float:
        return _value(decomposed, target) if kept is None else _value_of(decomposed, target, lengths, kept)

    return jackknife(score, len(matrix), draws)


def by_chance(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the score that shuffled labels have on average, as a share of the largest one, E/(t − 1) in [0, 1].

    Args:
        features: as for `regularised_h_score`.
        labels: as for `regularised_h_score`.

    Errors: as for `regularised_h_score`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    weights, _ = _weights(spectrum(matrix, target, whitened=False, centred=True))
    return float(weights.sum()) / max(len(target) - 1, 1)


def shrinkage(features: ArrayLike) -> float:
    """Return the shrinkage α of Ledoit and Wolf, in [0, 1], for features ``[n, d]``.

    Raises:
        InputError: wrong shapes, NaN or infinite values.
    """
    matrix = arrays.features(features)
    nothing: Float64 = np.zeros((len(matrix), 0))
    decomposed = spectrum(matrix, nothing, whitened=False, centred=True)
    return _shrinkage(decomposed, decomposed.eigenvalues / len(matrix))


def _weights(decomposed: Spectrum) -> tuple[Float64, Float64]:
    """Return (1 − α) λ/((1 − α) λ + α μ) of the principal axes, and their variances λ, ``[k]``."""
    variances = decomposed.eigenvalues / (
        len(decomposed.features) if decomposed.kept is None else int(decomposed.kept.sum())
    )
    alpha = _shrinkage(decomposed, variances)
    if alpha >= 1:
        return np.zeros_like(variances), variances
    shrunk = (1 - alpha) * variances
    return shrunk / (shrunk + alpha * variances.sum() / max(decomposed.num_varying, 1)), variances


def _value(decomposed: Spectrum, target: Labels, *, adjusted: bool = False) -> float:
    weights, variances = _weights(decomposed)
    # In principal coordinates the class means are σ Uᵀ1[y]/n_y, so axis k adds its part of the H-score,
    # Σ_y (Uᵀ1[y])²/n_y, times its weight.
    shares = (decomposed.projections**2 / target.counts).sum(axis=1)
    value = min(float((shares * weights).sum()), float(min(target.num_classes - 1, len(variances))))
    if not adjusted:
        return value
    largest = float(target.num_classes - 1)
    chance = largest * float(weights.sum()) / max(len(target) - 1, 1)
    left = largest - chance
    return largest * (value - chance) / left if left > _ROUNDING * largest else 0.0


def _value_of(decomposed: Spectrum, target: Labels, lengths: Float64, kept: NDArray[np.bool_]) -> float:
    """Return the score of the examples to use, from the decomposition and the labels of all."""
    left, d = rest(decomposed, target, kept), decomposed.num_varying
    if not left.is_accurate(decomposed):
        return _value_of_part(decomposed.features, target, kept)
    n = len(left.target)
    # from the mean of the kept [n]
    around = lengths - 2 * decomposed.product(left.mean) + float(left.mean @ left.mean)
    fourth, trace = float(np.square(around[kept]).sum()), left.variation / n
    alpha = _intensity(n, d, fourth / n, left.square_of_scatter() / n**2, trace)
    if alpha >= 1:
        return 0.0
    if alpha < _SINGULAR:  # the covariance may have no inverse
        return _value_of_part(decomposed.features, target, kept)
    solved = left.solved((1 - alpha) / n, alpha * trace / d, left.sums.T)
    value = (1 - alpha) / n * float((solved.T * left.sums / left.target.counts[:, None]).sum())
    return min(value, float(min(left.target.num_classes - 1, len(left.mean))))


def _value_of_part(matrix: FloatMatrix, target: Labels, kept: NDArray[np.bool_]) -> float:
    """Return the score of the examples to use, from a decomposition of their own."""
    remaining = labels_of(target, kept)
    return _value(spectrum(matrix, remaining, whitened=False, centred=True, kept=kept), remaining)


def _shrinkage(decomposed: Spectrum, variances: Float64) -> float:
    """Return α, given the decomposed features and the eigenvalues of their covariance, ``[k]``."""
    n, fourth = 0, 0.0  # Σ_i ‖f_i‖⁴
    for _, block in kept_blocks(decomposed.features, decomposed.kept):
        shifted = block * decomposed.scale - decomposed.centre
        fourth += float(np.square(row_dot(shifted, shifted)).sum())
        n += len(block)
    return _intensity(n, decomposed.num_varying, fourth / n, float(variances @ variances), float(variances.sum()))


def _intensity(n: int, d: int, fourth: float, squares: float, total: float) -> float:
    """Return α, given the mean of ‖f_i‖⁴, ‖Σ‖² and tr Σ."""
    distance = squares - total**2 / max(d, 1)  # ‖Σ − μI‖²
    error = (fourth - squares) / n  # estimated squared error of Σ
    if d <= 1 or distance <= 0 or error <= 0:  # Σ is a multiple of I, or has no error
        return 0.0
    return float(min(error / distance, 1.0))


MEASURE = Measure(
    name="regularised-h-score",
    title="regularised H-score",
    needs="features",
    unit="",
    reference="Ibrahim et al., 2021, the shrinkage-based H-score",
    summary="H-score with the covariance shrunk as Ledoit and Wolf do; for n not many times d",
    function=regularised_h_score,
    influence=influence,
    resamples=True,
    shuffled_baseline=True,
    by_chance=by_chance,
)
