"""Leave-one-out k-nearest-neighbours accuracy, a simple baseline for the measures of features.

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
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, half_samples, labels_of

NEIGHBOURS = 5
_TIE = 1e-12  # squared distances closer than this, relative to the largest squared length, are equal up to rounding
_BLOCK_BYTES = 4 * arrays.BLOCK_BYTES  # a block of distances: high enough for the matrix product to run at full speed
_MANY = 0.1  # if more than this share of pairs may be neighbours, all distances are computed
_GROUPS = 256  # of others, of which the nearest are compared first
_UNDERFLOW = 1e-30  # more than float32 loses by underflow if the features are at most 1


def knn(features: ArrayLike, labels: ArrayLike, neighbours: int = NEIGHBOURS, draws: Integers | None = None) -> float:
    """Score the share of examples that their nearest neighbours classify correctly; higher is better.

    Ties are not broken by position. If several examples are as far away as the k-th, they share the remaining votes
    equally. If several classes have the most votes, each counts as predicted with the same probability. So the score
    is the expected accuracy of a rule that breaks ties at random.

    Args:
        features: penultimate features, ``[n, d]``; distances are Euclidean, on the features as they are.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        neighbours: k ≥ 1; fewer if an example has fewer than k possible neighbours.
        draws: index of the draw that each example belongs to, 0 … g−1 with g ≥ 2, all occurring, ``[n]``. Examples of
            the same draw, such as the words of a sentence, are not neighbours of each other. By default each example
            is its own draw.

    Returns:
        A in [0, 1], dimensionless. Invariant to the order of rows, to rotating, shifting and rescaling the features
        and to renaming the labels; not to repeating rows, nor to rescaling a single column. The only example of a
        class counts as classified wrongly.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, fewer than two classes, or k below 1.

    Cost: O(n²·d) time; O(n·d + block) memory.

    Not for: n far beyond 100,000; data in which most classes have fewer than k/2 examples; data with repeated rows,
    where an example has its own copy as a neighbour; features of which one column has a far larger unit, since that
    column alone determines the distances.

    Reference: Fix & Hodges 1951; leave-one-out.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
        >>> measures.knn(features, [0, 0, 0, 1, 1, 1], neighbours=1)
        1.0
        >>> measures.knn(features, [0, 1, 0, 1, 0, 1], neighbours=1)
        0.0
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)), neighbours, draws)


def influence(
    features: ArrayLike, labels: ArrayLike, draws: Integers | None = None, neighbours: int = NEIGHBOURS
) -> tuple[float, Float64]:
    """Return the accuracy and its deviations on `resampling.half_samples`, ``[10]``, mean 0.

    An example counts both by itself and as a neighbour of others, so the standard deviation of the terms alone is 10
    to 33 % too small. A jackknife is 33 % or more too large, because accuracy is not a smooth function of so few
    neighbours. Halves are off by up to 17 %, on the safe side.

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
    """Return the mean probability that the others classify an example correctly; 0 if an example has no others."""
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
        terms[rows] = _chance_of_true_class(squared, others, k, points.tie, target, rows)
    return float(terms.mean())


class _Points:
    """Centred features, and their distances from each other.

    Distances in float32, with a margin for rounding errors, show which examples can be among the nearest; only the
    distances of those are computed in float64.

    Attributes:
        tie: squared distances that differ by less than this are equal.
    """

    def __init__(self, matrix: FloatMatrix) -> None:
        self._matrix = matrix
        self._scale, self._centre, self._lengths = _centred(matrix)
        self.tie = _TIE * float(self._lengths.max())
        self._float32 = np.empty(matrix.shape, np.float32)
        for rows, block in arrays.row_blocks(matrix):
            self._float32[rows] = block * self._scale - self._centre

    def nearest(self, rows: slice, k: int, draws: Integers) -> tuple[Float64, Integers]:
        """Return squared distances ``[b, m]`` of some rows to others, and the positions of those others, ``[b, m]``.

        The m others of a row contain its k nearest and all examples tied with them. Distances are infinite for
        examples of the same draw, and in the unused columns of a row with fewer than m others.
        """
        same = draws[rows, None] == draws
        possible = self._possible_neighbours(rows, k, same)
        if np.count_nonzero(possible) > _MANY * possible.size:
            squared = self._to_all(rows)
            squared[same] = np.inf
            return squared, np.broadcast_to(np.arange(len(draws)), squared.shape)
        example, other = np.nonzero(possible)
        counts = np.bincount(example, minlength=len(possible))
        column = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)
        squared = np.full((len(possible), counts.max()), np.inf)
        others = np.zeros(squared.shape, dtype=np.int64)
        others[example, column] = other
        step = max(1, arrays.BLOCK_BYTES // (8 * self._matrix.shape[1]))
        for start in range(0, len(example), step):
            pairs = slice(start, start + step)
            difference = self._float64(example[pairs] + rows.start) - self._float64(other[pairs])
            squared[example[pairs], column[pairs]] = np.vecdot(difference, difference)
        return squared, others

    def _possible_neighbours(self, rows: slice, k: int, same: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which others may be among the k nearest, ``[b, n]``.

        A float32 product of x and y is off by less than ε|x||y|, a squared distance by less than 2ε(|x|² + |y|²). So,
        apart from what depends on x alone, |y|²(1 − 2ε) − 2xy is a lower bound of the squared distance, and the upper
        bounds of any k others are a limit that the k nearest do not exceed.
        """
        error = (len(self._centre) + 8) * float(np.finfo(np.float32).eps)
        lengths = self._lengths.astype(np.float32)
        lower = (-2 * self._float32[rows]) @ self._float32.T
        lower += (1 - 2 * error) * lengths
        np.copyto(lower, np.inf, where=same)
        width = len(lengths) // _GROUPS
        if width > 1 and k <= _GROUPS // 4:
            # Any k others are a limit: here the nearest of k groups, which are found in a tenth of the time.
            nearest = lower[:, : width * _GROUPS].reshape(len(lower), width, _GROUPS).min(axis=1)
            limit = np.partition(nearest, k - 1, axis=1)[:, k - 1] + 4 * error * lengths.max()
        else:
            closest = np.argpartition(lower, k - 1, axis=1)[:, :k]
            limit = (np.take_along_axis(lower, closest, axis=1) + 4 * error * lengths[closest]).max(axis=1)
        limit += 4 * error * lengths[rows] + (self.tie + _UNDERFLOW)
        return np.asarray(lower <= limit[:, None])

    def _float64(self, rows: Integers) -> Float64:
        return self._matrix[rows].astype(np.float64) * self._scale - self._centre

    def _to_all(self, rows: slice) -> Float64:
        """Return squared distances of some rows to all, ``[b, n]``."""
        own = self._matrix[rows].astype(np.float64) * self._scale - self._centre  # [b, d]
        squared = np.empty((len(own), len(self._matrix)))
        for columns, block in arrays.row_blocks(self._matrix):
            block = block * self._scale - self._centre
            squared[:, columns] = self._lengths[rows, None] + self._lengths[columns] - 2 * (own @ block.T)
        return squared


def _centred(matrix: FloatMatrix) -> tuple[float, Float64, Float64]:
    """Return a scale, the mean of the scaled rows ``[d]`` and squared lengths of the scaled, centred rows ``[n]``.

    Centring keeps distances accurate if the features have a large mean; scaling keeps squares from overflowing.
    """
    largest = 0.0
    for rows, block in arrays.row_blocks(matrix):
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max()))
    scale = arrays.scale_of(largest)
    centre = np.zeros(matrix.shape[1])
    for _, block in arrays.row_blocks(matrix):
        centre += (block * scale).sum(axis=0) / len(matrix)
    lengths = np.empty(len(matrix))
    for rows, block in arrays.row_blocks(matrix):
        block = block * scale - centre
        lengths[rows] = np.vecdot(block, block)
    return scale, centre, lengths


def _chance_of_true_class(
    squared: Float64, others: Integers, k: int, tie: float, target: Labels, rows: slice
) -> Float64:
    """Return the probability that the k nearest of each row predict its class, ``[b]``."""
    farthest = np.partition(squared, k - 1, axis=1)[:, k - 1, None]  # distance of the k-th
    closer, tied = squared < farthest - tie, np.abs(squared - farthest) <= tie  # tied with the k-th
    remaining = k - closer.sum(axis=1)  # votes that those tied with the k-th share
    share = remaining / tied.sum(axis=1)

    example, neighbour = np.nonzero(closer | tied)
    weights = np.where(closer[example, neighbour], 1.0, share[example])
    t = target.num_classes
    votes = np.bincount(
        example * t + target.codes[others[example, neighbour]], weights, minlength=len(squared) * t
    ).reshape(-1, t)
    winning = votes >= votes.max(axis=1, keepdims=True) - 1e-9  # votes are sums of fractions, exact up to rounding
    true_class = winning[np.arange(len(squared)), target.codes[rows]]
    return np.asarray(true_class / winning.sum(axis=1), dtype=np.float64)


MEASURE = Measure(
    name="knn",
    title="leave-one-out kNN",
    needs="features",
    unit="",
    reference="Fix & Hodges 1951, leave-one-out, k = 5",
    summary="share of examples that their five nearest neighbours classify correctly",
    function=knn,
    influence=influence,
    resamples=True,
)
