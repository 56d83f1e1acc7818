"""Centred features in their principal coordinates, the form that a logistic regression is fitted in.

The optimum depends on the features F [n, d] only through their principal coordinates Z = U diag(σ) [n, k], since
components of the weights outside them are penalised and change no prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix
from hf_leep.measures.spectrum import Spectrum, remembered, spectrum

_MAX_FLOAT64 = 2**20  # up to this many numbers, Z is kept in float64 for all purposes
_MAX_EXACT = 2**23  # and up to this many, in float64 for the loss and its gradient
_ROWS = 2048


@dataclass(frozen=True)
class Design:
    """Centred features in the form that a logistic regression uses.

    Attributes:
        decomposed: their spectral form.
        unit: factor of the principal coordinates.
        squares: sums of squares of the coordinates and of the constant 1 that follows them, ``[k + 1]``.
        log_square: log of the squared length, in the unit of the features, that has length 1 here.
        coordinates: the coordinates and then the constant 1, ``[n, k + 1]``; in float32 if there are many.
        exact: the coordinates in float64, ``[n, k]``; None if there are too many, or if n ≤ d.
    """

    decomposed: Spectrum
    unit: float
    squares: Float64
    log_square: float
    coordinates: FloatMatrix
    exact: Float64 | None

    def __len__(self) -> int:
        """Return the number of examples n."""
        return len(self.decomposed.features)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, block)``, where ``block @ lifted(weights)`` are logits: coordinates, scaled features or U."""
        if self.exact is not None:
            for rows in blocks_of(len(self)):
                yield rows, self.exact[rows]
        elif self.decomposed.dual:
            for rows in blocks_of(len(self)):
                yield rows, self.decomposed.basis[rows]
        else:
            for rows, block in arrays.row_blocks(self.decomposed.features):
                block *= self.decomposed.scale
                block -= self.decomposed.centre
                yield rows, block

    def coordinate_blocks(self) -> Iterator[tuple[slice, FloatMatrix]]:
        """Yield ``(rows, block)`` of ``coordinates``."""
        for rows in blocks_of(len(self)):
            yield rows, self.coordinates[rows]

    def lifted(self, weights: Float64) -> Float64:
        """Convert weights of coordinates ``[k, t]`` to weights of the blocks that `blocks` yields."""
        if self.exact is not None:
            return weights
        if self.decomposed.dual:
            return weights * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.decomposed.basis @ (self.unit * weights))

    def lowered(self, gradient: Float64) -> Float64:
        """Convert gradients of those weights to gradients of weights of coordinates ``[k, t]``."""
        if self.exact is not None:
            return gradient
        if self.decomposed.dual:
            return gradient * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.unit * (self.decomposed.basis.T @ gradient))

    def squared_lengths(self, kept: NDArray[np.bool_] | None) -> Float64:
        """Return the squared distance of each row from the mean of the rows to use, ``[n]``."""
        width = len(self.decomposed.basis) if self.exact is None else self.exact.shape[1]
        scales = np.ones(width)
        if self.exact is None and self.decomposed.dual:
            scales = self.decomposed.eigenvalues
        mean = np.zeros(len(scales))
        for rows, block in self.blocks():
            mean += block.sum(axis=0) if kept is None else kept[rows] @ block
        mean /= len(self) if kept is None else kept.sum()
        lengths = np.empty(len(self))
        for rows, block in self.blocks():
            lengths[rows] = (block - mean) ** 2 @ scales
        return lengths if self.exact is not None else self.unit**2 * lengths

    def logits(self, weights: Float64) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, logits [b, t])`` for weights ``[k + 1, t]``, whose last row is the constant's."""
        lifted = self.lifted(weights[:-1])
        for rows, block in self.blocks():
            yield rows, block @ lifted + weights[-1]


def design(matrix: FloatMatrix) -> Design:
    """Prepare features ``[n, d]``: centred, and scaled to a mean squared length of 1.

    Args:
        matrix: the features.

    Raises:
        InputError: NaN or infinite values in the features.
    """
    if matrix.size > _MAX_EXACT:  # too large to be kept
        return _designed(matrix)
    return remembered(matrix, "design", lambda: _designed(matrix))


def _designed(matrix: FloatMatrix) -> Design:
    n = len(matrix)
    nothing: Float64 = np.zeros((n, 0))
    decomposed = spectrum(matrix, nothing, whitened=False, centred=True)
    total = float(decomposed.eigenvalues.sum())
    unit = float(np.sqrt(n / total)) if total > 0 else 1.0
    log_square = -2 * float(np.log(unit) + np.log(decomposed.scale))
    shape = (n, len(decomposed.eigenvalues) + 1)
    size = shape[0] * shape[1]
    coordinates = np.ones(shape, np.float64 if size <= _MAX_FLOAT64 else np.float32)
    exact = None
    if size <= _MAX_FLOAT64:
        exact = coordinates[:, :-1]
    elif size <= _MAX_EXACT and not decomposed.dual:
        exact = np.empty((shape[0], shape[1] - 1))
    for rows, block in decomposed.coordinate_blocks():
        block *= unit
        coordinates[rows, :-1] = block
        if exact is not None:
            exact[rows] = block
    squares = np.append(unit**2 * decomposed.eigenvalues, n)
    return Design(decomposed, unit, squares, log_square, coordinates, exact)


def blocks_of(n: int) -> Iterator[slice]:
    """Yield n rows in blocks."""
    for start in range(0, n, _ROWS):
        yield slice(start, min(start + _ROWS, n))


def log_softmax(logits: Float64) -> Float64:
    """Return the logarithm of the softmax over the last axis, ``[..., t]``; overwrites its input."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits
