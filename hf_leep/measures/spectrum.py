"""The sufficient statistic of the feature measures: eigenvalues and projected class indicators.

With F [n, d] the features (centred or not) and F = U diag(σ) Vᵀ, H-score and LogME depend on F only through σ² and
Uᵀ 1[y=c]. Both come from the smaller of the two Gram matrices: FᵀF [d, d] where n ≥ d, FFᵀ [n, n] otherwise, so memory
is O(min(n, d)² + t·d + block).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped


@dataclass(frozen=True)
class Spectrum:
    """Spectral form of a feature matrix and its labels.

    Attributes:
        features: the matrix itself, ``[n, d]``.
        centre: what is subtracted from each row, ``[d]``.
        eigenvalues: σ² > 0, ``[k]``, k the numerical rank.
        projections: Uᵀ 1[y=c], ``[k, t]``.
        basis: V ``[d, k]`` if n ≥ d, else U ``[n, k]``.
        dual: whether ``basis`` is U.
    """

    features: FloatMatrix
    centre: Float64
    eigenvalues: Float64
    projections: Float64
    basis: Float64
    dual: bool

    def left_blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, U[rows])`` with U ``[n, k]`` the left singular vectors."""
        for rows, block in arrays.row_blocks(self.features):
            if self.dual:
                yield rows, self.basis[rows]
            else:
                yield rows, (block - self.centre) @ (self.basis / np.sqrt(self.eigenvalues))


def spectrum(features: FloatMatrix, target: Labels, *, centred: bool) -> Spectrum:
    """Decompose features ``[n, d]``; directions below the rounding noise of the largest one are dropped.

    Raises:
        InputError: NaN or an infinity in the features.
    """
    n, d = features.shape
    total = np.zeros(d)
    for rows, block in arrays.row_blocks(features):
        arrays.check_finite(block, rows.start)
        total += block.sum(axis=0)
    centre = total / n if centred else np.zeros(d)

    dual = n < d
    if dual:
        rows_of_f = features.astype(np.float64) - centre  # [n, d], smaller than the [d, d] matrix that it replaces
        squared, vectors = np.linalg.eigh(rows_of_f @ rows_of_f.T)
    else:
        gram, class_sums = np.zeros((d, d)), np.zeros((target.num_classes, d))
        for rows, block in arrays.row_blocks(features):
            block -= centre
            gram += block.T @ block
            add_grouped(class_sums, block, target.codes[rows])
        squared, vectors = np.linalg.eigh(gram)

    kept = squared > max(n, d) * np.finfo(np.float64).eps * max(squared[-1], 0.0)
    eigenvalues, basis = squared[kept], vectors[:, kept]
    if dual:
        projections = np.zeros((target.num_classes, len(eigenvalues)))
        add_grouped(projections, basis, target.codes)
        projections = projections.T
    else:
        projections = (basis.T @ class_sums.T) / np.sqrt(eigenvalues)[:, None]
    return Spectrum(features, centre, eigenvalues, projections, basis, dual)
