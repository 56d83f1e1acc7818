"""Regularised H-score: the H-score with the covariance shrunk towards a multiple of the identity.

Ibrahim, Ponomareva, Mazumder: Newer is not always better: Rethinking transferability metrics, their peculiarities,
stability and performance, 2021: H_α(f) = tr(Σ_α⁻¹ (1 − α) cov(E[f|Y])), Σ_α = (1 − α) Σ + α μ I,
μ = tr(Σ)/d, with α of Ledoit and Wolf: A well-conditioned estimator for large-dimensional covariance matrices, 2004.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import row_dot
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import kept_blocks, spectrum


def regularised_h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how far the classes lie apart in feature space, dimensionless; higher is better.

    Both covariances are divided by n, as Ledoit and Wolf's is; published code divides that of the class means by
    n − 1, and is higher by n/(n − 1).

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        H_α in [0, min(t − 1, d)], at most the H-score, which it is for α = 0. Invariant to the order of rows, to
        shifting, rotating and rescaling the features as a whole and to renaming labels; not to rescaling a single
        column, nor to repeating the data set, which lowers α.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³) time; O(d·min(n, d) + t·d + block) memory.

    Not for: comparing features of which some are nearly isotropic: there α comes close to 1, and the factor 1 − α of
    the definition takes the score to 0, however well the classes are apart.

    Reference: Ibrahim et al. 2021, the shrinkage-based H-score.
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)))


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Regularised H-score and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    A closed form exists, but a first-order one, which is too small where n is not many times d: what this measure is
    made for.

    Args:
        features: as for `regularised_h_score`.
        labels: as for `regularised_h_score`.
        draws: which independent draw each example is of, ``[n]``.

    Errors: as for `regularised_h_score`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return jackknife(lambda kept: _value(matrix, labels_of(target, kept), kept), len(matrix), draws)


def shrinkage(features: ArrayLike) -> float:
    """Return α of Ledoit and Wolf, in [0, 1], for features ``[n, d]``.

    Raises:
        InputError: wrong shapes, NaN or an infinity.
    """
    matrix = arrays.features(features)
    nothing: Float64 = np.zeros((len(matrix), 0))
    decomposed = spectrum(matrix, nothing, whitened=False, centred=True)
    return _shrinkage(matrix, None, decomposed.scale, decomposed.centre, decomposed.eigenvalues / len(matrix))


def _value(matrix: FloatMatrix, target: Labels, kept: Kept = None) -> float:
    decomposed = spectrum(matrix, target, whitened=False, centred=True, kept=kept)
    variances = decomposed.eigenvalues / len(target)  # of the principal axes [k]
    alpha = _shrinkage(matrix, kept, decomposed.scale, decomposed.centre, variances)
    # In the principal axes the class means are σ Uᵀ1[y]/n_y, so that axis k adds its share of the H-score, Σ_y
    # (Uᵀ1[y])²/n_y, times (1 − α) λ/((1 − α) λ + α μ).
    shares = (decomposed.projections**2 / target.counts).sum(axis=1)
    own = (1 - alpha) * variances
    value = float((shares * own / (own + alpha * variances.sum() / matrix.shape[1])).sum()) if alpha < 1 else 0.0
    return min(value, float(min(target.num_classes - 1, len(variances))))


def _shrinkage(matrix: FloatMatrix, kept: Kept, scale: float, centre: Float64, variances: Float64) -> float:
    """α from the features and the eigenvalues of their covariance ``[k]``."""
    n, fourth = 0, 0.0  # Σ_i ‖f_i‖⁴
    for _, block in kept_blocks(matrix, kept):
        shifted = block * scale - centre
        fourth += float(np.square(row_dot(shifted, shifted)).sum())
        n += len(block)
    squares = float(variances @ variances)
    distance = squares - float(variances.sum()) ** 2 / matrix.shape[1]  # ‖Σ − μI‖²
    error = (fourth / n - squares) / n  # of Σ, estimated
    if matrix.shape[1] == 1 or distance <= 0 or error <= 0:  # Σ is a multiple of I, or known without error
        return 0.0
    return float(min(error / distance, 1.0))
