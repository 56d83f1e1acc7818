"""The examples that a jackknife keeps, from a decomposition of all of them.

With Z = F V [n, k] the principal coordinates of all the examples, ZᵀZ = diag(σ²). So without the rows G the Gram
matrix is diag(σ²) − Z_GᵀZ_G, and only the rows that are left out have to be read. What a measure needs of that matrix,
such as a determinant, takes a Cholesky factor of it, or of a matrix of the size of G if that is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Labels
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.resampling import labels_of
from hf_leep.measures.spectrum import Spectrum

_CANCELLED = 1e-4  # share of the variation of all the examples


@dataclass(frozen=True)
class Rest:
    """Some of the examples, in principal coordinates of all of them.

    Attributes:
        target: their labels, ``[m]``, over the classes that occur among them.
        mean: their mean, ``[k]``.
        eigenvalues: σ² of all the examples, ``[k]``.
        removed: what is taken from them, U ``[g, k]``: the scatter Σ (z − mean)(z − mean)ᵀ over the rest is
            diag(σ²) − UᵀU.
        sums: Σ (z − mean) over those of each class, ``[t, k]``.
    """

    target: Labels
    mean: Float64
    eigenvalues: Float64
    removed: Float64
    sums: Float64

    def is_accurate(self, decomposed: Spectrum) -> bool:
        """Whether the rest varies enough for a difference of two scatters; otherwise decompose it by itself."""
        return self.variation > _CANCELLED * float(decomposed.eigenvalues.sum())

    @property
    def variation(self) -> float:
        """The trace of the scatter."""
        return float(self.eigenvalues.sum() - np.vdot(self.removed, self.removed))

    @property
    def scatter(self) -> Float64:
        """The scatter, ``[k, k]``."""
        result = -(self.removed.T @ self.removed)
        result.flat[:: len(result) + 1] += self.eigenvalues
        return np.asarray(result)

    def square_of_scatter(self) -> float:
        """Return the sum of the squares of the scatter's entries."""
        u = self.removed
        inner = u @ u.T if len(u) < u.shape[1] else u.T @ u
        return float(self.eigenvalues @ (self.eigenvalues - 2 * np.square(u).sum(axis=0)) + np.vdot(inner, inner))

    def log_determinant(self, factor: float) -> float:
        """Return log det(I + factor·scatter)."""
        if len(self.removed) >= len(self.eigenvalues):
            return _log_determinant(np.eye(len(self.eigenvalues)) + factor * self.scatter)
        scales = 1 + factor * self.eigenvalues
        return float(np.log(scales).sum()) + _log_determinant(self._capacitance(factor, scales)[0])

    def solved(self, factor: float, ridge: float, right: Float64) -> Float64:
        """Return (factor·scatter + ridge·I)⁻¹ right, ``[k, t]``, for positive numbers."""
        from scipy.linalg import cho_factor, cho_solve

        if len(self.removed) >= len(self.eigenvalues):
            matrix = factor * self.scatter
            matrix.flat[:: len(matrix) + 1] += ridge
            return np.asarray(cho_solve(cho_factor(matrix, lower=True), right))
        scales = factor * self.eigenvalues + ridge
        capacitance, weighted = self._capacitance(factor, scales)
        inner = cho_solve(cho_factor(capacitance, lower=True), weighted @ right)
        return np.asarray(right / scales[:, None] + factor * (weighted.T @ inner))

    def _capacitance(self, factor: float, scales: Float64) -> tuple[Float64, Float64]:
        """Return I − factor·U D Uᵀ ``[g, g]`` and U D, with D the inverse of the diagonal matrix of the scales.

        det(D⁻¹ − factor·UᵀU) = det D⁻¹ times its determinant, and the inverse is D + factor·D Uᵀ (I − …)⁻¹ U D.
        """
        weighted = self.removed / scales
        result = -factor * (weighted @ self.removed.T)
        result.flat[:: len(result) + 1] += 1.0
        return result, weighted


def rest(decomposed: Spectrum, target: Labels, kept: NDArray[np.bool_], largest: int | None = None) -> Rest:
    """Return what is left without some of the examples.

    Args:
        decomposed: centred features of all the examples, and their class sums.
        target: labels of all the examples.
        kept: which of them are used, ``[n]``.
        largest: use only this many coordinates, those of the largest σ; in ascending order of σ.
    """
    first = 0 if largest is None else max(len(decomposed.eigenvalues) - largest, 0)
    left_out = decomposed.coordinates(~kept, largest)
    remaining = labels_of(target, kept)
    sums = class_sums(decomposed, first)
    add_grouped(sums, -left_out, target.codes[~kept])
    sums = sums[np.isin(target.classes, remaining.classes)]
    size, total = len(remaining), left_out.sum(axis=0)
    mean = -total / size  # that of all the examples is 0
    # size·mean·meanᵀ = Z_Gᵀ (1 1ᵀ/size) Z_G, and I + 1 1ᵀ/size is the square of I + shift·1 1ᵀ.
    number = len(left_out)
    shift = (np.sqrt(1 + number / size) - 1) / max(number, 1)
    removed = left_out + shift * total
    return Rest(remaining, mean, decomposed.eigenvalues[first:], removed, sums - remaining.counts[:, None] * mean)


def class_sums(decomposed: Spectrum, first: int = 0) -> Float64:
    """Return the sums of the principal coordinates of each class, ``[t, k − first]``, without the first ones."""
    return np.asarray((decomposed.projections[first:] * np.sqrt(decomposed.eigenvalues[first:])[:, None]).T)


def _log_determinant(matrix: Float64) -> float:
    """Return that of a positive definite matrix."""
    return 2 * float(np.log(np.diag(np.linalg.cholesky(matrix))).sum())
