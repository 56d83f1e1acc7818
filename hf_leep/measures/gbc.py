"""GBC, the Gaussian Bhattacharyya coefficient: how far the classes, as Gaussians, overlap.

Pándy, Agostinelli, Uijlings, Ferrari, Mensink: Transferability Estimation using Bhattacharyya Class Separability,
CVPR 2022: GBC = −Σ_{i≠j} exp(−D_ij) over ordered pairs of classes, with D the Bhattacharyya
distance of two Gaussians, here spherical, on the 64 leading principal axes of the features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import spectrum

NUM_AXES = 64  # as in the paper
_NOTHING = 1e-20  # of the total variance: below this a spread or a distance is a rounding residue


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how little the classes overlap in feature space, dimensionless; higher is better, 0 the best.

    With q principal axes, class means μ_y and variances v_y, each pooled over the axes and divided by n_y − 1, and
    v = (v_i + v_j)/2: D_ij = ‖μ_i − μ_j‖²/(8v) + (q/2) log(v/√(v_i v_j)). Some published code leaves the factor q
    out, which makes classes of different spread overlap too much, and puts a floor of 1e-4 under variances, which
    depends on the features' scale. Here a class of one example takes the variance within all the classes together,
    or, where no class has two examples, that of all the features; a class of equal examples has variance 0, and
    overlaps with nothing but a class of the same point.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        GBC in [−t(t − 1), 0]. Invariant to the order of rows, to shifting, rotating and rescaling the features as a
        whole, to constant columns and to renaming labels.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + 64 t²) time; O(d·min(n, d) + t·d + block) memory.

    Not for: comparing targets: it is a sum over pairs of classes, and grows with their number squared. Nor for n that
    is not many times 64, least of all for candidates of different width, since the axes are chosen on the same
    examples: at n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns scores −18.7, −13.2 and −13.8.

    Reference: Pándy et al. 2022.
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)))


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """GBC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    Args:
        features: as for `gbc`.
        labels: as for `gbc`.
        draws: which independent draw each example is of, ``[n]``.

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
    if not num_axes:  # features that do not vary: all the classes are one point
        return -float(target.num_classes * (target.num_classes - 1))
    return _overlap(means, variances, _NOTHING * total * num_axes)


def _moments(matrix: FloatMatrix, target: Labels, kept: Kept) -> tuple[Float64, Float64, float]:
    """Class means ``[t, q]``, class variances ``[t]`` and the variance of all, each an average over q axes."""
    n, counts = len(target), target.counts
    decomposed = spectrum(matrix, target, whitened=False, centred=True, kept=kept)
    leading = decomposed.eigenvalues[-NUM_AXES:]
    means = ((decomposed.projections[-NUM_AXES:] * np.sqrt(leading)[:, None]) / counts).T
    num_axes = len(leading)
    squares = np.zeros(target.num_classes)  # Σ ‖f_i − μ_y‖² of each class
    for rows, block in decomposed.coordinate_blocks(NUM_AXES):
        codes = target.codes[rows]
        apart = block - means[codes]
        squares += np.bincount(codes, weights=np.vecdot(apart, apart), minlength=len(squares))
    total = float(leading.sum()) / (max(n - 1, 1) * max(num_axes, 1))
    pooled = float(squares.sum()) / ((n - len(counts)) * max(num_axes, 1)) if n > len(counts) else total
    own = squares / (np.maximum(counts - 1, 1) * max(num_axes, 1))
    variances = np.where(counts > 1, own, pooled)
    return means, np.where(variances > _NOTHING * total, variances, 0.0), total


def _overlap(means: Float64, variances: Float64, nothing: float) -> float:
    """−Σ_{i≠j} exp(−D_ij), a block of classes against all at a time; squared distances up to ``nothing`` are 0."""
    from scipy.spatial.distance import cdist

    t, num_axes = means.shape
    height = max(1, arrays.BLOCK_BYTES // (8 * t))
    result = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # variance 0: distance ∞, or the same point
        log_variances = np.log(variances)
        for start in range(0, t, height):
            rows = slice(start, min(start + height, t))
            apart = cdist(means[rows], means, "sqeuclidean")
            mean = (variances[rows, None] + variances) / 2
            distance = apart / (8 * mean)
            distance += num_axes / 2 * (np.log(mean) - (log_variances[rows, None] + log_variances) / 2)
            points = mean == 0
            distance[points] = np.where(apart[points] > nothing, np.inf, 0.0)
            coefficients = np.exp(-distance)
            coefficients[np.arange(len(coefficients)), np.arange(start, rows.stop)] = 0.0
            result -= float(coefficients.sum())
    return result
