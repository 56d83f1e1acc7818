"""The examples that a jackknife keeps, from a decomposition of all of them.

With Z = F V [n, k] the principal coordinates of all the examples, ZᵀZ = diag(σ²). So without the rows G the Gram
matrix is diag(σ²) − Z_GᵀZ_G, and only the rows that are left out have to be read. What a measure needs of that matrix,
such as a determinant, takes a Cholesky factor of it: a fifteenth of the time of its eigenvectors.
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
        scatter: Σ (z − mean)(z − mean)ᵀ over them, ``[k, k]``.
        sums: Σ (z − mean) over those of each class, ``[t, k]``.
    """

    target: Labels
    mean: Float64
    scatter: Float64
    sums: Float64

    def is_accurate(self, decomposed: Spectrum) -> bool:
        """Whether the rest varies enough for a difference of two scatters; otherwise decompose it by itself."""
        return bool(np.trace(self.scatter) > _CANCELLED * decomposed.eigenvalues.sum())


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
    size = len(remaining)
    mean = -left_out.sum(axis=0) / size  # that of all the examples is 0
    scatter = -(left_out.T @ left_out)
    scatter.flat[:: len(scatter) + 1] += decomposed.eigenvalues[first:]
    scatter -= size * np.outer(mean, mean)
    return Rest(remaining, mean, scatter, sums - remaining.counts[:, None] * mean)


def class_sums(decomposed: Spectrum, first: int = 0) -> Float64:
    """Return the sums of the principal coordinates of each class, ``[t, k − first]``, without the first ones."""
    return np.asarray((decomposed.projections[first:] * np.sqrt(decomposed.eigenvalues[first:])[:, None]).T)
