"""The sufficient statistic of the feature measures: eigenvalues and projected class indicators.

With F [n, d] the features, column by column of mean 0 and length 1 or as they are, and F = U diag(σ) Vᵀ, H-score and
LogME depend on F only through σ² and Uᵀ 1[y=c]. Both come from the smaller of the two Gram matrices: FᵀF [d, d] where
n ≥ d, FFᵀ [n, n] otherwise, so memory is O(min(n, d)² + t·d + block).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped


@dataclass(frozen=True)
class Spectrum:
    """Spectral form of a feature matrix and its labels.

    Attributes:
        features: the matrix itself, ``[n, d]``.
        scale: what each value is multiplied by first.
        centre: what is then subtracted from each row, ``[d]``.
        eigenvalues: σ² > 0, ``[k]``, k the numerical rank.
        projections: Uᵀ 1[y=c], ``[k, t]``.
        basis: where n ≥ d, what turns a scaled and centred row into its row of U σ, ``[d, k]``; else U, ``[n, k]``.
        dual: whether ``basis`` is U.
    """

    features: FloatMatrix
    scale: float
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
                yield rows, (block * self.scale - self.centre) @ (self.basis / np.sqrt(self.eigenvalues))


def spectrum(
    features: FloatMatrix, target: Labels, *, whitened: bool, kept: NDArray[np.bool_] | None = None
) -> Spectrum:
    """Decompose features ``[n, d]``; directions below the rounding noise of the largest one are dropped.

    Args:
        features: the matrix.
        target: its labels; those of the kept rows, where some are left out.
        whitened: whether to centre each column and scale it to length 1, for a measure that does not depend on either:
            columns of very different size then lose no digits. Otherwise one scale is applied to all.
        kept: which rows count, ``[n]``; all by default.

    Raises:
        InputError: NaN or an infinity in the features.
    """
    n, d = len(target), features.shape[1]

    def blocks() -> Iterator[tuple[slice, Float64]]:
        """Rows that count, and where they stand among them."""
        start = 0
        for rows, block in arrays.row_blocks(features):
            chosen = block if kept is None else block[kept[rows]]
            yield slice(start, start + len(chosen)), chosen
            start += len(chosen)

    largest = 0.0
    for rows, block in blocks():
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
    scale = 1.0 / largest if largest > 0 else 1.0  # products of the largest doubles would overflow
    centre = np.zeros(d)
    if whitened:
        for _, block in blocks():
            centre += (block * scale).sum(axis=0) / n

    dual = n < d
    if dual:
        matrix = features.astype(np.float64) if kept is None else features[kept].astype(np.float64)
        matrix = matrix * scale - centre  # [n, d], smaller than the [d, d] matrix that it replaces
        if whitened:
            matrix *= _inverse_lengths((matrix * matrix).sum(axis=0), centre, n)
        squared, vectors = np.linalg.eigh(matrix @ matrix.T)
    else:
        gram, class_sums = np.zeros((d, d)), np.zeros((target.num_classes, d))
        for rows, block in blocks():
            block = block * scale - centre
            gram += block.T @ block
            add_grouped(class_sums, block, target.codes[rows])
        inverse = _inverse_lengths(np.diag(gram), centre, n) if whitened else np.ones(d)
        squared, vectors = np.linalg.eigh(gram * inverse * inverse[:, None])
        class_sums *= inverse

    able = squared > max(n, d) * np.finfo(np.float64).eps * max(squared[-1], 0.0)
    eigenvalues, basis = squared[able], vectors[:, able]
    if dual:
        projections = np.zeros((target.num_classes, len(eigenvalues)))
        add_grouped(projections, basis, target.codes)
        return Spectrum(features, scale, centre, eigenvalues, projections.T, basis, dual)
    projections = (basis.T @ class_sums.T) / np.sqrt(eigenvalues)[:, None]
    return Spectrum(features, scale, centre, eigenvalues, projections, basis * inverse[:, None], dual)


def _inverse_lengths(squares: Float64, centre: Float64, n: int) -> Float64:
    """1/length of each centred column, ``[d]``; 0 for a column that varies by rounding alone."""
    noise = n * ((8 + n) * np.finfo(np.float64).eps * np.abs(centre)) ** 2  # what a mean of n values is off by
    return np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > noise)
