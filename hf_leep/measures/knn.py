"""Leave-one-out k-nearest-neighbours accuracy: the honest baseline of the feature measures.

Fix, Hodges: Discriminatory Analysis. Nonparametric Discrimination: Consistency Properties, 1951 (reprinted in
International Statistical Review 57, 1989), the k-nearest-neighbour rule; leaving one out after Cover, Hart: Nearest
Neighbor Pattern Classification, IEEE Transactions on Information Theory 13, 1967, equation (1) for k = 1:
A = (1/n) Σ_i 1[y_i = the majority class of the k examples nearest to f_i among all the others].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.resampling import Kept, half_samples, labels_of

NEIGHBOURS = 5
_TIE = 1e-12  # squared distances closer than this, relative to the largest squared length, are equal up to rounding
_BLOCK_BYTES = 4 * arrays.BLOCK_BYTES  # of distances: tall enough for the matrix product to run at full speed


def knn(features: ArrayLike, labels: ArrayLike, neighbours: int = NEIGHBOURS) -> float:
    """Score the share of examples that their nearest neighbours classify rightly; higher is better.

    Ties are split, never broken by position: where several examples are as far away as the k-th, they share the
    places that are left; where several classes have most votes, each counts as chosen with equal chance. So the score
    is the expected accuracy of a rule that breaks ties by lot.

    Args:
        features: penultimate features, ``[n, d]``; distances are Euclidean, of the features as they are.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        neighbours: k ≥ 1; n − 1 where there are no more others.

    Returns:
        A in [0, 1], dimensionless. Invariant to the order of rows, to rotating, shifting and rescaling the features
        and to renaming labels; not to repeated rows, which let an example see its own copy, nor to rescaling single
        columns. An example alone in its class counts as wrong. O(n²·d) time and O(n·block) memory, whatever t: not
        for n far beyond 100,000, and of little use where most classes have fewer than k/2 examples.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes, k below 1.

    Reference: Fix & Hodges 1951; leave-one-out.
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)), neighbours)


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
        draws: which independent draw each example is of, ``[n]``.
        neighbours: as for `knn`.

    Errors: as for `knn`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))

    def score(kept: Kept) -> float:
        return _value(matrix if kept is None else matrix[kept], labels_of(target, kept), neighbours)

    return half_samples(score, len(matrix), draws)


def _value(matrix: FloatMatrix, target: Labels, neighbours: int) -> float:
    """Mean chance of an example to be classified rightly by the others; 0 for one that has none."""
    if neighbours < 1:
        raise InputError(f"neighbours must be at least 1, got {neighbours!r}")
    n, k = len(matrix), min(neighbours, len(matrix) - 1)
    if k == 0:
        return 0.0
    scale, centre, lengths = _centred(matrix)

    terms = np.empty(n)
    height = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        squared = _squared_distances(matrix, rows, scale, centre, lengths)  # [b, n]
        terms[rows] = _rightly(squared, k, _TIE * lengths.max(), target, rows)
    return float(terms.mean())


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


def _squared_distances(matrix: FloatMatrix, rows: slice, scale: float, centre: Float64, lengths: Float64) -> Float64:
    """Squared distances of some rows to all, ``[b, n]``; infinite to themselves."""
    own = matrix[rows].astype(np.float64) * scale - centre  # [b, d]
    squared = np.empty((len(own), len(matrix)))
    for columns, block in arrays.row_blocks(matrix):
        block = block * scale - centre
        squared[:, columns] = lengths[rows, None] + lengths[columns] - 2 * (own @ block.T)
    squared[np.arange(len(own)), np.arange(rows.start, rows.stop)] = np.inf
    return squared


def _rightly(squared: Float64, k: int, tie: float, target: Labels, rows: slice) -> Float64:
    """Chance that the k nearest of each row outvote the other classes for its own, ``[b]``."""
    farthest = np.partition(squared, k - 1, axis=1)[:, k - 1, None]  # distance of the k-th
    closer, level = squared < farthest - tie, np.abs(squared - farthest) <= tie
    left = k - closer.sum(axis=1)  # places for those at the distance of the k-th
    share = left / level.sum(axis=1)

    example, neighbour = np.nonzero(closer | level)
    weights = np.where(closer[example, neighbour], 1.0, share[example])
    t = target.num_classes
    voted = np.bincount(example * t + target.codes[neighbour], weights, minlength=len(squared) * t).reshape(-1, t)
    winning = voted >= voted.max(axis=1, keepdims=True) - 1e-9  # votes are sums of shares
    own = winning[np.arange(len(squared)), target.codes[rows]]
    return np.asarray(own / winning.sum(axis=1), dtype=np.float64)
