"""Computations that the measures share: grouped sums and row-wise products over blocks of rows.

Sums are accumulated in float64. Memory beyond the inputs is O(t·s + block), whatever the number of rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Integers


def add_grouped(total: Float64, block: Float64, codes: Integers, weights: Float64 | None = None) -> None:
    """Add each row of a block to the row of its class: ``total[codes[i]] += weights[i]·block[i]``.

    A product with a sparse one-hot matrix, since ``+=`` with an index array adds only one of the rows of a repeated
    class.

    Args:
        total: running sums, ``[t, s]``; changed in place.
        block: rows, ``[b, s]``.
        codes: class of each row, ``[b]``.
        weights: weight of each row, ``[b]``; 1 by default.
    """
    from scipy.sparse import csc_array

    size = len(codes)
    values = np.ones(size) if weights is None else weights
    if len(total) <= size:
        total += csc_array((values, codes, np.arange(size + 1)), shape=(len(total), size)) @ block
    else:  # more classes than rows in the block: add to the classes that occur only
        present, position = np.unique(codes, return_inverse=True)
        total[present] += csc_array((values, position, np.arange(size + 1)), shape=(len(present), size)) @ block


def row_dot(a: Float64, b: Float64) -> Float64:
    """Return inner products of matching rows, ``[b, s], [b, s] -> [b]``; either argument may be one row ``[s]``."""
    return np.asarray(np.vecdot(a, b))


def divide(numerator: Float64, denominator: Float64) -> Float64:
    """Return the quotient, and 0 where the denominator is 0: leaving out a column without mass is exact."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)


def standard_error(influence: NDArray[np.floating]) -> float:
    """Return the standard error of a score from its influence values: their standard deviation, divided by √n."""
    return float(np.std(influence, ddof=1, dtype=np.float64) / np.sqrt(len(influence)))


def summed_by_draw(influence: Float64, draws: Integers) -> Float64:
    """Return the influence of each draw of several examples, ``[g]``, mean 0: the sum over its examples, times g/n.

    Its std/√g is the cluster-robust standard error, √(g/(g − 1) Σ_k S_k²)/n with S_k the sum over draw k. If each draw
    is one example, the values stay as they are.

    Args:
        influence: influence of each example, ``[n]``, mean 0.
        draws: index of the draw that each example belongs to, 0 … g−1, all occurring, ``[n]``.
    """
    sums: Float64 = np.bincount(draws, weights=influence).astype(np.float64)
    return sums * (len(sums) / len(influence))
