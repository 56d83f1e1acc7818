"""GBC, the Gaussian Bhattacharyya coefficient: how much the classes, as Gaussians, overlap.

Pándy, Agostinelli, Uijlings, Ferrari, Mensink: Transferability Estimation using Bhattacharyya Class Separability,
CVPR 2022: GBC = −Σ_{i≠j} exp(−D_ij) over ordered pairs of classes, with D_ij the Bhattacharyya distance of two
Gaussians, here spherical ones on the 64 leading principal axes of the features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife
from hf_leep.measures.rest import class_sums, rest
from hf_leep.measures.spectrum import Spectrum, spectrum

NUM_AXES = 64  # as in the paper
_SEARCHED = 256  # axes among which those of a part of the examples are searched
_ROUNDING = 1e-20  # variances and squared distances below this share of the total variance are rounding errors


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how little the classes overlap in feature space, dimensionless; higher is better, 0 is the best.

    With q principal axes, class means μ_y, class variances v_y (each pooled over the axes and divided by n_y − 1) and
    v = (v_i + v_j)/2: D_ij = ‖μ_i − μ_j‖²/(8v) + (q/2) log(v/√(v_i v_j)). Some published code omits the factor q, so
    that classes of different variance overlap too much, and sets variances to at least 1e-4, which depends on the
    scale of the features. Here a class of one example gets the pooled variance within the classes, or that of all the
    features if no class has two examples. A class of identical examples has variance 0 and overlaps only with a class
    at the same point.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        GBC in [−t(t − 1), 0]. Invariant to the order of rows, to shifting, rotating and rescaling the features as a
        whole, to constant columns and to renaming the labels.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + 64 t²) time; O(d·min(n, d) + t·d + block) memory.

    Not for: comparing targets, since it is a sum over pairs of classes, which grows with the square of their number.
    Not for n below many times 64, in particular not for comparing candidates of different width there, because the
    axes are chosen on the same examples: with n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns scores
    −18.7, −13.2 and −13.8.

    Reference: Pándy et al. 2022.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0.0], [2.0], [3.0], [5.0]]
        >>> round(measures.gbc(features, [0, 0, 1, 1]), 4)
        -1.1396
        >>> round(measures.gbc(features, [0, 1, 0, 1]), 4)
        -1.7897
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(spectrum(matrix, target, whitened=False, centred=True), target)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return GBC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    The leading 64 axes of a part of the examples are searched among the leading 256 of all of them.

    Args:
        features: as for `gbc`.
        labels: as for `gbc`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `gbc`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    points = np.empty((len(matrix), min(_SEARCHED, len(decomposed.eigenvalues))))
    for rows, block in decomposed.coordinate_blocks(_SEARCHED):
        points[rows] = block

    def score(kept: Kept) -> float:
        return _value(decomposed, target) if kept is None else _value_of(decomposed, points, target, kept)

    return jackknife(score, len(matrix), draws)


def _value(decomposed: Spectrum, target: Labels) -> float:
    leading = decomposed.eigenvalues[-NUM_AXES:]
    means = class_sums(decomposed, len(decomposed.eigenvalues) - len(leading)) / target.counts[:, None]
    squares = np.zeros(target.num_classes)  # Σ ‖f_i − μ_y‖² of each class
    for rows, block in decomposed.coordinate_blocks(NUM_AXES):
        squares += _squares(block, means, target.codes[rows])
    return _score(means, squares, float(leading.sum()), target)


def _value_of(decomposed: Spectrum, points: Float64, target: Labels, kept: NDArray[np.bool_]) -> float:
    """Return the score of the examples to use.

    Args:
        decomposed: spectral form of all the examples.
        points: their largest principal coordinates, ``[n, q]``.
        target: their labels.
        kept: which of them are used.
    """
    left = rest(decomposed, target, kept, _SEARCHED)
    if not len(left.mean):
        return _score(left.sums, np.zeros(left.target.num_classes), 0.0, left.target)
    if not left.is_accurate(decomposed):
        return _value(spectrum(decomposed.features[kept], left.target, whitened=False, centred=True), left.target)
    variances, axes = np.linalg.eigh(left.scatter)
    significant = variances > max(len(target), decomposed.features.shape[1]) * np.finfo(np.float64).eps * variances[-1]
    variances, axes = variances[significant][-NUM_AXES:], axes[:, significant][:, -NUM_AXES:]
    means = left.sums @ axes / left.target.counts[:, None]
    squares = _squares((points[kept] - left.mean) @ axes, means, left.target.codes)
    return _score(means, squares, float(variances.sum()), left.target)


def _squares(points: Float64, means: Float64, codes: Integers) -> Float64:
    """Return the sum of squared distances from the class mean in each class, ``[t]``."""
    difference = points - means[codes]
    return np.bincount(codes, weights=np.vecdot(difference, difference), minlength=len(means)).astype(np.float64)


def _score(means: Float64, squares: Float64, total: float, target: Labels) -> float:
    """Return GBC, given class means ``[t, q]``, squared distances from them, and from the mean of all, summed."""
    n, counts, num_axes = len(target), target.counts, means.shape[1]
    if target.num_classes < 2:
        return 0.0
    if not num_axes:  # features that do not vary: all classes are the same point
        return -float(target.num_classes * (target.num_classes - 1))
    variance = total / (max(n - 1, 1) * num_axes)
    pooled = float(squares.sum()) / ((n - len(counts)) * num_axes) if n > len(counts) else variance
    variances = np.where(counts > 1, squares / (np.maximum(counts - 1, 1) * num_axes), pooled)
    variances = np.where(variances > _ROUNDING * variance, variances, 0.0)
    return _overlap(means, variances, _ROUNDING * variance * num_axes)


def _overlap(means: Float64, variances: Float64, negligible: float) -> float:
    """Return −Σ_{i≠j} exp(−D_ij), block by block of classes; squared distances up to ``negligible`` count as 0."""
    from scipy.spatial.distance import cdist

    t, num_axes = means.shape
    height = max(1, arrays.BLOCK_BYTES // (8 * t))
    result = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # with variance 0 the distance is ∞, or 0 at the same point
        log_variances = np.log(variances)
        for start in range(0, t, height):
            rows = slice(start, min(start + height, t))
            squared = cdist(means[rows], means, "sqeuclidean")
            mean = (variances[rows, None] + variances) / 2
            distance = squared / (8 * mean)
            distance += num_axes / 2 * (np.log(mean) - (log_variances[rows, None] + log_variances) / 2)
            points = mean == 0
            distance[points] = np.where(squared[points] > negligible, np.inf, 0.0)
            coefficients = np.exp(-distance)
            coefficients[np.arange(len(coefficients)), np.arange(start, rows.stop)] = 0.0
            result -= float(coefficients.sum())
    return result


MEASURE = Measure(
    name="gbc",
    title="GBC",
    needs="features",
    unit="",
    reference="Pándy et al., CVPR 2022",
    summary="how little the classes overlap as spherical Gaussians; a sum over pairs of classes",
    function=gbc,
    influence=influence,
    resamples=True,
    shuffled_baseline=True,
)
