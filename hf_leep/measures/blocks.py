"""The kernels shared by the measures: grouped sums and row-wise products over row blocks.

Everything is summed in float64 and holds O(t·s + block) memory beyond its inputs, whatever the number of rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Integers


def add_grouped(total: Float64, block: Float64, codes: Integers, weights: Float64 | None = None) -> None:
    """Add each row of a block to the row of its class: ``total[codes[i]] += weights[i]·block[i]``.

    A sparse one-hot product, since fancy-index ``+=`` drops repeated classes.

    Args:
        total: running sums ``[t, s]``, changed in place.
        block: rows ``[b, s]``.
        codes: class of each row ``[b]``.
        weights: weight of each row ``[b]``, 1 by default.
    """
    from scipy.sparse import csc_array

    size = len(codes)
    values = np.ones(size) if weights is None else weights
    if len(total) <= size:
        total += csc_array((values, codes, np.arange(size + 1)), shape=(len(total), size)) @ block
    else:  # more classes than rows in the block: touch only the classes that occur
        present, position = np.unique(codes, return_inverse=True)
        total[present] += csc_array((values, position, np.arange(size + 1)), shape=(len(present), size)) @ block


def row_dot(a: Float64, b: Float64) -> Float64:
    """Inner product of matching rows: ``[b, s], [b, s] -> [b]``; either may be one row ``[s]``."""
    return np.asarray(np.vecdot(a, b))


def divide(numerator: Float64, denominator: Float64) -> Float64:
    """Quotient with 0 where the denominator is 0: a column of zero mass is dropped, which is exact."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)


def standard_error(influence: NDArray[np.floating]) -> float:
    """Standard error of a statistic from its per-example influence values ``[n]``: std / √n."""
    return float(np.std(influence, ddof=1, dtype=np.float64) / np.sqrt(len(influence)))


def summed_by_draw(influence: Float64, draws: Integers) -> Float64:
    """Influence of each draw of several examples, ``[g]``, mean 0: that of its examples, summed, times g/n.

    Its std/√g is the cluster-robust standard error, √(g/(g − 1) Σ_k S_k²)/n with S_k the sum over draw k. Where each
    draw is one example, nothing changes.

    Args:
        influence: influence of each example, ``[n]``, mean 0.
        draws: which draw each example is of, 0 … g−1, all occurring, ``[n]``.
    """
    sums: Float64 = np.bincount(draws, weights=influence).astype(np.float64)
    return sums * (len(sums) / len(influence))
