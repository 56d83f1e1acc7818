"""Examples that are drawn together, such as the words of a sentence: what is left of a sum without them.

A predictor that scores an example must not have been estimated from it, nor from others of its draw: where labels are
alike within a sentence, the other words of a sentence give its topic away. So a draw is left out as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.measures.blocks import add_grouped


@dataclass(frozen=True, eq=False)
class Draws:
    """The classes of the examples, and which of them are drawn together.

    Attributes:
        codes: class of each example, 0 … t−1, ``[n]``.
        counts: number of examples of each class, ``[t]``; in a subsample some may be 0.
        index: draw of each example, 0 … g−1, ``[n]``; None where each example is a draw of its own.
    """

    codes: Integers
    counts: Integers
    index: Integers | None

    @cached_property
    def others(self) -> Float64:
        """N − n_k + 1: the number of examples in other draws, and one pseudo-example, ``[n]``."""
        n = len(self.codes)
        if self.index is None:
            return np.full(n, float(n))
        return np.asarray(n + 1.0 - np.bincount(self.index)[self.index], dtype=np.float64)

    @cached_property
    def prior(self) -> Float64:
        """The frequency of each example's class in other draws, (n_y − n_ky + 1/t)/(n − n_k + 1), never 0, ``[n]``."""
        t = len(self.counts)
        if self.index is None:
            return np.asarray((self.counts[self.codes] - 1 + 1 / t) / self.others)
        pairs, sizes = np.unique(self.index * t + self.codes, return_inverse=True, return_counts=True)[1:]
        return np.asarray((self.counts[self.codes] - sizes[pairs] + 1 / t) / self.others)

    def blocks(self, matrix: FloatMatrix, block_bytes: int = arrays.BLOCK_BYTES) -> Iterator[Block]:
        """Yield the rows of a matrix ``[n, s]`` in float64: as many whole draws as fit into a block, at least one.

        Args:
            matrix: one row for each example.
            block_bytes: size of a block.
        """
        if self.index is None:
            for rows, values in arrays.row_blocks(matrix, block_bytes):
                yield Block(rows, values, self.codes[rows], None, None)
            return
        height = max(1, block_bytes // (8 * matrix.shape[1]))
        order, ends = np.argsort(self.index, kind="stable"), np.cumsum(np.bincount(self.index))
        start = 0
        while start < len(order):
            last = max(np.searchsorted(ends, start + height, side="right") - 1, np.searchsorted(ends, start, "right"))
            chosen = order[start : ends[last]]
            draw, codes = self.index[chosen] - self.index[chosen[0]], self.codes[chosen]
            pair = np.unique(draw * len(self.counts) + codes, return_inverse=True)[1]
            yield Block(chosen, matrix[chosen].astype(np.float64), codes, draw, pair)
            start = int(ends[last])


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a matrix.

    Attributes:
        rows: which they are: positions ``[b]``, or a slice.
        values: the rows, ``[b, s]``, valid until the next block.
        codes: class of each, ``[b]``.
        draw: draw of each, ascending from 0, ``[b]``; None where each row is a draw of its own.
        pair: number of each row's pair of draw and class, from 0, ``[b]``.
    """

    rows: slice | Integers
    values: Float64
    codes: Integers
    draw: Integers | None
    pair: Integers | None

    def of_draw(self, values: Float64) -> Float64:
        """For each row, the sum over all rows of its draw, itself included, of ``[b]`` or ``[b, s]``."""
        return values if self.draw is None else _sums(values, self.draw)

    def of_class(self, values: Float64) -> Float64:
        """The same over the rows of its draw that have its class."""
        return values if self.pair is None else _sums(values, self.pair)


def _sums(values: Float64, group: Integers) -> Float64:
    if values.ndim == 1:
        return np.asarray(np.bincount(group, weights=values)[group], dtype=np.float64)
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    add_grouped(total, values, group)
    return total[group]
