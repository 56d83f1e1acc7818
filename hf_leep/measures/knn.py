"""Leave-one-out k-nearest-neighbours accuracy: the honest baseline of the feature measures.

Fix, Hodges: Discriminatory Analysis. Nonparametric Discrimination: Consistency Properties, 1951 (reprinted in
International Statistical Review 57, 1989), the k-nearest-neighbour rule; leaving one out after Cover, Hart: Nearest
Neighbor Pattern Classification, IEEE Transactions on Information Theory 13, 1967 for k = 1:
A = (1/n) Σ_i 1[y_i = the majority class of the k examples nearest to f_i among all the others].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.resampling import Kept, half_samples, labels_of

NEIGHBOURS = 5
_TIE = 1e-12  # squared distances closer than this, relative to the largest squared length, are equal up to rounding
_BLOCK_BYTES = 4 * arrays.BLOCK_BYTES  # of distances: tall enough for the matrix product to run at full speed
_MANY = 0.1  # share of pairs that may be candidates before all are measured
_UNDERFLOW = 1e-30  # more than float32 loses to underflow, in features of at most 1


def knn(features: ArrayLike, labels: ArrayLike, neighbours: int = NEIGHBOURS, draws: Integers | None = None) -> float:
    """Score the share of examples that their nearest neighbours classify rightly; higher is better.

    Ties are split, never broken by position: where several examples are as far away as the k-th, they share the
    places that are left, each with a part of a vote; where several classes have most votes, each counts as chosen with
    equal chance. So the score is the expected accuracy of a rule that draws lots between equal votes.

    Args:
        features: penultimate features, ``[n, d]``; distances are Euclidean, of the features as they are.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        neighbours: k ≥ 1; as many as each example has others, where these are fewer.
        draws: which independent draw each example is of, 0 … g−1 with g ≥ 2, all occurring, ``[n]``: the examples of
            its own draw, as the words of its sentence, are no neighbours of an example. Each example is a draw of its
            own by default.

    Returns:
        A in [0, 1], dimensionless. Invariant to the order of rows, to rotating, shifting and rescaling the features
        and to renaming labels; not to repeated rows, nor to rescaling single columns. An example alone in its class
        counts as wrong.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes, k below 1.

    Cost: O(n²·d) time; O(n·d + block) memory.

    Not for: n far beyond 100,000; classes most of which have fewer than k/2 examples; data with repeated rows, where
    an example sees its own copy; features of which one column has a far larger unit, which alone decides distances.

    Reference: Fix & Hodges 1951; leave-one-out.
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)), neighbours, draws)


def influence(
    features: ArrayLike, labels: ArrayLike, draws: Integers | None = None, neighbours: int = NEIGHBOURS
) -> tuple[float, Float64]:
    """Accuracy and its scatter over halves of the examples, ``[10]``, mean 0; see `resampling.half_samples`.

    An example counts by itself and as a neighbour of others, so that the spread of the terms alone is too small, by a
    tenth to a third. A jackknife is too large by a third or more, for accuracy is no smooth function of so few
    neighbours. Halves err by up to a sixth, on the side of caution.

    Args:
        features: as for `knn`.
        labels: as for `knn`.
        draws: as for `knn`.
        neighbours: as for `knn`.

    Errors: as for `knn`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))

    def score(kept: Kept) -> float:
        if kept is None:
            return _value(matrix, target, neighbours, draws)
        return _value(matrix[kept], labels_of(target, kept), neighbours, None if draws is None else draws[kept])

    return half_samples(score, len(matrix), draws)


def _value(matrix: FloatMatrix, target: Labels, neighbours: int, draws: Integers | None) -> float:
    """Mean chance of an example to be classified rightly by the others; 0 where one has none."""
    if neighbours < 1:
        raise InputError(f"neighbours must be at least 1, got {neighbours!r}")
    n = len(matrix)
    draws = np.arange(n) if draws is None else draws
    k = min(neighbours, n - int(np.bincount(draws).max()))
    if k == 0:
        return 0.0
    points = _Points(matrix)
    terms = np.empty(n)
    height = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        squared, others = points.nearest(rows, k, draws)
        terms[rows] = _rightly(squared, others, k, points.tie, target, rows)
    return float(terms.mean())


class _Points:
    """Centred features, and how far they are from each other.

    Distances in float32 say which of the others can be among the nearest, with room for their rounding; those are
    measured in float64.

    Attributes:
        tie: squared distances closer than this are equal.
    """

    def __init__(self, matrix: FloatMatrix) -> None:
        self._matrix = matrix
        self._scale, self._centre, self._lengths = _centred(matrix)
        self.tie = _TIE * float(self._lengths.max())
        self._rough = np.empty(matrix.shape, np.float32)
        for rows, block in arrays.row_blocks(matrix):
            self._rough[rows] = block * self._scale - self._centre

    def nearest(self, rows: slice, k: int, draws: Integers) -> tuple[Float64, Integers]:
        """Squared distances ``[b, m]`` of some rows to others that hold the k nearest and their ties; which they are.

        Infinite for those of the same draw, and where a row has fewer than m such others.
        """
        same = draws[rows, None] == draws
        within = self._within(rows, k, same)
        if np.count_nonzero(within) > _MANY * within.size:
            squared = self._to_all(rows)
            squared[same] = np.inf
            return squared, np.broadcast_to(np.arange(len(draws)), squared.shape)
        example, other = np.nonzero(within)
        counts = np.bincount(example, minlength=len(within))
        place = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)
        squared = np.full((len(within), counts.max()), np.inf)
        others = np.zeros(squared.shape, dtype=np.int64)
        others[example, place] = other
        step = max(1, arrays.BLOCK_BYTES // (8 * self._matrix.shape[1]))
        for start in range(0, len(example), step):
            some = slice(start, start + step)
            apart = self._exact(example[some] + rows.start) - self._exact(other[some])
            squared[example[some], place[some]] = np.vecdot(apart, apart)
        return squared, others

    def _within(self, rows: slice, k: int, same: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which others may be among the k nearest, ``[b, n]``.

        A float32 product of x and y is off by less than ε|x||y|, a squared distance by less than 2ε(|x|² + |y|²). So
        |y|²(1 − 2ε) − 2xy is a lower bound, but for what depends on x alone, and any k of the upper bounds reach
        beyond the k nearest.
        """
        error = (len(self._centre) + 8) * float(np.finfo(np.float32).eps)
        lengths = self._lengths.astype(np.float32)
        lower = self._rough[rows] @ self._rough.T
        lower *= -2
        lower += (1 - 2 * error) * lengths
        lower[same] = np.inf
        closest = np.argpartition(lower, k - 1, axis=1)[:, :k]
        upper = np.take_along_axis(lower, closest, axis=1) + 4 * error * lengths[closest]
        reach = upper.max(axis=1) + 4 * error * lengths[rows] + (self.tie + _UNDERFLOW)
        return np.asarray(lower <= reach[:, None])

    def _exact(self, rows: Integers) -> Float64:
        return self._matrix[rows].astype(np.float64) * self._scale - self._centre

    def _to_all(self, rows: slice) -> Float64:
        """Squared distances of some rows to all, ``[b, n]``."""
        own = self._matrix[rows].astype(np.float64) * self._scale - self._centre  # [b, d]
        squared = np.empty((len(own), len(self._matrix)))
        for columns, block in arrays.row_blocks(self._matrix):
            block = block * self._scale - self._centre
            squared[:, columns] = self._lengths[rows, None] + self._lengths[columns] - 2 * (own @ block.T)
        return squared


def _centred(matrix: FloatMatrix) -> tuple[float, Float64, Float64]:
    """Scale, mean of the scaled rows ``[d]`` and squared lengths of the scaled and centred rows ``[n]``.

    Centring costs distances no digits where features have a large mean, and scaling keeps squares from overflowing.
    """
    largest = 0.0
    for rows, block in arrays.row_blocks(matrix):
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max()))
    scale = 1.0 / largest if largest > 0 else 1.0
    centre = np.zeros(matrix.shape[1])
    for _, block in arrays.row_blocks(matrix):
        centre += (block * scale).sum(axis=0) / len(matrix)
    lengths = np.empty(len(matrix))
    for rows, block in arrays.row_blocks(matrix):
        block = block * scale - centre
        lengths[rows] = np.vecdot(block, block)
    return scale, centre, lengths


def _rightly(squared: Float64, others: Integers, k: int, tie: float, target: Labels, rows: slice) -> Float64:
    """Chance that the k nearest of each row outvote the other classes for its own, ``[b]``."""
    farthest = np.partition(squared, k - 1, axis=1)[:, k - 1, None]  # distance of the k-th
    closer, level = squared < farthest - tie, np.abs(squared - farthest) <= tie
    left = k - closer.sum(axis=1)  # places for those at the distance of the k-th
    share = left / level.sum(axis=1)

    example, neighbour = np.nonzero(closer | level)
    weights = np.where(closer[example, neighbour], 1.0, share[example])
    t = target.num_classes
    voted = np.bincount(
        example * t + target.codes[others[example, neighbour]], weights, minlength=len(squared) * t
    ).reshape(-1, t)
    winning = voted >= voted.max(axis=1, keepdims=True) - 1e-9  # votes are sums of shares
    own = winning[np.arange(len(squared)), target.codes[rows]]
    return np.asarray(own / winning.sum(axis=1), dtype=np.float64)
