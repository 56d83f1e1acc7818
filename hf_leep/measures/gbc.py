"""GBC, the Gaussian Bhattacharyya coefficient: how much the classes, as Gaussians, overlap.

Pándy, Agostinelli, Uijlings, Ferrari, Mensink: Transferability Estimation using Bhattacharyya Class Separability,
CVPR 2022: GBC = −Σ_{i≠j} exp(−D_ij) over ordered pairs of classes, with D_ij the Bhattacharyya distance of two
Gaussians, here spherical ones on the 64 leading principal axes of the features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import spectrum

NUM_AXES = 64  # as in the paper
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
    return _value(matrix, arrays.labels(labels, len(matrix)))


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return GBC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    Args:
        features: as for `gbc`.
        labels: as for `gbc`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `gbc`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return jackknife(lambda kept: _value(matrix, labels_of(target, kept), kept), len(matrix), draws)


def _value(matrix: FloatMatrix, target: Labels, kept: Kept = None) -> float:
    means, variances, total = _moments(matrix, target, kept)
    num_axes = means.shape[1]
    if target.num_classes < 2:
        return 0.0
    if not num_axes:  # features that do not vary: all classes are the same point
        return -float(target.num_classes * (target.num_classes - 1))
    return _overlap(means, variances, _ROUNDING * total * num_axes)


def _moments(matrix: FloatMatrix, target: Labels, kept: Kept) -> tuple[Float64, Float64, float]:
    """Return class means ``[t, q]``, class variances ``[t]`` and the variance of all, each an average over q axes."""
    n, counts = len(target), target.counts
    decomposed = spectrum(matrix, target, whitened=False, centred=True, kept=kept)
    leading = decomposed.eigenvalues[-NUM_AXES:]
    means = ((decomposed.projections[-NUM_AXES:] * np.sqrt(leading)[:, None]) / counts).T
    num_axes = len(leading)
    squares = np.zeros(target.num_classes)  # Σ ‖f_i − μ_y‖² of each class
    for rows, block in decomposed.coordinate_blocks(NUM_AXES):
        codes = target.codes[rows]
        difference = block - means[codes]
        squares += np.bincount(codes, weights=np.vecdot(difference, difference), minlength=len(squares))
    total = float(leading.sum()) / (max(n - 1, 1) * max(num_axes, 1))
    pooled = float(squares.sum()) / ((n - len(counts)) * max(num_axes, 1)) if n > len(counts) else total
    of_class = squares / (np.maximum(counts - 1, 1) * max(num_axes, 1))
    variances = np.where(counts > 1, of_class, pooled)
    return means, np.where(variances > _ROUNDING * total, variances, 0.0), total


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
