"""The sufficient statistic of the feature measures: eigenvalues, projected targets and principal coordinates.

With F [n, d] the features, as they are, or of mean 0 in each column, or of length 1 as well, and F = U diag(σ) Vᵀ,
H-score and LogME depend on F only through σ² and UᵀY, Y the class indicators 1[y=c] or real targets; other measures
need rows of U diag(σ), the principal coordinates. All come from the smaller of the two Gram matrices: FᵀF [d, d] where
n ≥ d, FFᵀ [n, n] otherwise, from a copy of the fewer rows, so memory is O(d·min(n, d) + t·d + block).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped

_DUAL_ROWS = 1024


@dataclass(frozen=True)
class Spectrum:
    """Spectral form of a feature matrix and its labels.

    Attributes:
        features: the matrix itself, ``[n, d]``.
        scale: what each value is multiplied by first.
        centre: what is then subtracted from each row, ``[d]``.
        eigenvalues: σ² > 0, ``[k]``, k the numerical rank.
        projections: UᵀY, ``[k, t]``.
        basis: where n ≥ d, what turns a scaled and centred row into its row of U σ, ``[d, k]``; else U, ``[n, k]``.
        dual: whether ``basis`` is U.
        kept: which rows count, ``[n]``; None for all.
    """

    features: FloatMatrix
    scale: float
    centre: Float64
    eigenvalues: Float64
    projections: Float64
    basis: Float64
    dual: bool
    kept: NDArray[np.bool_] | None = None

    def left_blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, U[rows])`` with U ``[n, k]`` the left singular vectors of the rows that count."""
        for rows, block in kept_blocks(self.features, self.kept):
            if self.dual:
                yield rows, self.basis[rows]
            else:
                yield rows, (block * self.scale - self.centre) @ (self.basis / np.sqrt(self.eigenvalues))

    def coordinate_blocks(self, largest: int | None = None) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, principal coordinates [b, k])``: U diag(σ) of the rows that count, in scaled features.

        Args:
            largest: only this many, those of the largest σ; in ascending order of σ.
        """
        first = 0 if largest is None else max(len(self.eigenvalues) - largest, 0)
        if self.dual:
            coordinates = self.basis[:, first:] * np.sqrt(self.eigenvalues[first:])
            for start in range(0, len(coordinates), _DUAL_ROWS):
                rows = slice(start, min(start + _DUAL_ROWS, len(coordinates)))
                yield rows, coordinates[rows]
        else:
            for rows, block in kept_blocks(self.features, self.kept):
                yield rows, (block * self.scale - self.centre) @ self.basis[:, first:]

    def point_blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, points)``, as far apart as the scaled features of the rows that count, at no cost but a pass.

        Features less their mean, ``[b, d]``; where n < d their principal coordinates, ``[b, k]``. A block is valid
        until the next one.
        """
        if self.dual:
            yield from self.coordinate_blocks()
            return
        varies = self.basis.any(axis=1)
        for rows, block in kept_blocks(self.features, self.kept):
            block *= self.scale
            block -= self.centre
            block[:, ~varies] = 0.0
            yield rows, block


def kept_blocks(features: FloatMatrix, kept: NDArray[np.bool_] | None) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, block)`` over the rows that count, and where they stand among them."""
    start = 0
    for rows, block in arrays.row_blocks(features):
        chosen = block if kept is None else block[kept[rows]]
        yield slice(start, start + len(chosen)), chosen
        start += len(chosen)


def spectrum(
    features: FloatMatrix,
    target: Labels | Float64,
    *,
    whitened: bool,
    centred: bool = False,
    kept: NDArray[np.bool_] | None = None,
) -> Spectrum:
    """Decompose features ``[n, d]``; directions below the rounding noise of the largest one are dropped.

    Args:
        features: the matrix.
        target: its labels, or real targets Y ``[n, t]``; those of the kept rows, where some are left out.
        whitened: whether to centre each column and scale it to length 1, for a measure that does not depend on either:
            columns of very different size then lose no digits. Otherwise one scale is applied to all.
        centred: whether to centre each column and keep its length; columns that vary by rounding alone become 0.
        kept: which rows count, ``[n]``; all by default.

    Raises:
        InputError: NaN or an infinity in the features.
    """
    n, d = len(target), features.shape[1]
    num_targets = target.num_classes if isinstance(target, Labels) else target.shape[1]
    largest = 0.0
    for rows, block in kept_blocks(features, kept):
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
    scale = 1.0 / largest if largest > 0 else 1.0  # products of the largest doubles would overflow
    centre = np.zeros(d)
    if whitened or centred:
        for _, block in kept_blocks(features, kept):
            centre += (block * scale).sum(axis=0) / n

    dual = n < d
    if dual:
        matrix = features.astype(np.float64) if kept is None else features[kept].astype(np.float64)
        matrix = matrix * scale - centre  # [n, d], smaller than the [d, d] matrix that it replaces
        if whitened or centred:
            matrix *= _factors((matrix * matrix).sum(axis=0), centre, n, whitened=whitened)
        squared, vectors = np.linalg.eigh(matrix @ matrix.T)
    else:
        gram, sums = np.zeros((d, d)), np.zeros((num_targets, d))
        for rows, block in kept_blocks(features, kept):
            block = block * scale - centre
            gram += block.T @ block
            _add_products(sums, block, target, rows)
        factors = _factors(np.diag(gram), centre, n, whitened=whitened) if whitened or centred else np.ones(d)
        squared, vectors = np.linalg.eigh(gram * factors * factors[:, None])
        sums *= factors

    able = squared > max(n, d) * np.finfo(np.float64).eps * max(squared[-1], 0.0)
    eigenvalues, basis = squared[able], vectors[:, able]
    if dual:
        projections = np.zeros((num_targets, len(eigenvalues)))
        _add_products(projections, basis, target, slice(None))
        return Spectrum(features, scale, centre, eigenvalues, projections.T, basis, dual, kept)
    projections = (basis.T @ sums.T) / np.sqrt(eigenvalues)[:, None]
    return Spectrum(features, scale, centre, eigenvalues, projections, basis * factors[:, None], dual, kept)


def _add_products(total: Float64, block: Float64, target: Labels | Float64, rows: slice) -> None:
    """Add Yᵀ·block to ``total [t, k]``, Y the rows' class indicators or targets."""
    if isinstance(target, Labels):
        add_grouped(total, block, target.codes[rows])
    else:
        total += target[rows].T @ block


def _factors(squares: Float64, centre: Float64, n: int, *, whitened: bool) -> Float64:
    """What to multiply each centred column by, ``[d]``: 1/length or 1, 0 where it varies by rounding alone."""
    noise = n * ((8 + n) * np.finfo(np.float64).eps * np.abs(centre)) ** 2  # what a mean of n values is off by
    lengths = np.sqrt(squares) if whitened else np.ones_like(squares)
    return np.divide(1.0, lengths, out=np.zeros_like(squares), where=squares > noise)
