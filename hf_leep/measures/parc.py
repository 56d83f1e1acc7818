"""PARC, pairwise annotation representation comparison: are examples with other labels further apart?

Bolya, Mittapalli, Hoffman: Scalable Diverse Model Selection for Accessible Transfer Learning, NeurIPS 2021:
Spearman's correlation over pairs of examples between 1 − corr(f_i, f_j) and 1 − corr(y_i, y_j), y one-hot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.resampling import Kept, jackknife

MAX_EXAMPLES = 2000  # two million pairs
SEED = 0
_DIGITS = 12  # correlations are compared to these, so that equal pairs of rows are ties whatever the rounding


def parc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how well distances between features follow the labels: Spearman's ρ; higher is better.

    The correlation of two rows of features is over the d columns, as they are: not standardised, and not reduced to
    32 principal axes first, which the paper adds to every measure alike. The label distance takes two values, 0 and
    t/(t − 1), so that the second ranking is "same class or not". Published code multiplies by 100.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        ρ in [−1, 1], with mean ranks for ties; 0 where either distance is the same for all pairs. A row that does not
        vary over its columns counts as uncorrelated with all others. With more than 2,000 examples, a random 2,000 of
        them are used, the same ones for every candidate (seed 0, by position). Invariant to the order of columns, to
        rescaling and shifting each row as a whole, to renaming labels and, up to 2,000 examples, to the order of rows;
        not to shifting a column.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d + m²·d + m² log m) time for m = min(n, 2000); O(m² + m·d + block) memory.

    Not for: few columns: two have a correlation of ±1, one has none. Nor for comparing targets: with p the share of
    pairs of different classes, the best that distances without ties can reach is √(3 p (1 − p)), which is small where
    classes are many.

    Reference: Bolya et al. 2021.
    """
    matrix = arrays.features(features)
    return _sorted_pairs(*_sample(matrix, arrays.labels(labels, len(matrix)))).correlation(None)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """PARC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    With more than 2,000 examples, of those used: the error is that of a score of 2,000.

    Args:
        features: as for `parc`.
        labels: as for `parc`.
        draws: which independent draw each example is of, ``[n]``.

    Errors: as for `parc`.
    """
    matrix = arrays.features(features)
    chosen = _chosen(len(matrix))
    rows, codes = _sample(matrix, arrays.labels(labels, len(matrix)))
    if draws is not None:
        present, draws = np.unique(draws[chosen], return_inverse=True)
        if len(present) < 2:
            draws = None

    return jackknife(_sorted_pairs(rows, codes).correlation, len(rows), draws)


def _chosen(n: int) -> Integers:
    """Positions of the examples used, ascending."""
    return np.sort(np.random.default_rng(SEED).permutation(n)[:MAX_EXAMPLES])


def _sample(matrix: FloatMatrix, target: Labels) -> tuple[Float64, Integers]:
    """Used rows, each of mean 0 and length 1, ``[m, d]``, and their classes; a row that does not vary becomes 0."""
    for rows, block in arrays.row_blocks(matrix):
        arrays.check_finite(block, rows.start)
    chosen = _chosen(len(matrix))
    unit = matrix[chosen].astype(np.float64)
    largest = np.abs(unit).max(axis=1, keepdims=True)
    unit /= np.where(largest > 0, largest, 1.0)  # squares of the largest doubles would overflow
    unit -= unit.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.vecdot(unit, unit))
    noise = 8 * unit.shape[1] * np.finfo(np.float64).eps
    unit *= np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > noise)[:, None]
    return unit, target.codes[chosen]


@dataclass(frozen=True)
class _Pairs:
    """All pairs of examples, by ascending distance of their features: sorted once for all the parts of the jackknife.

    Attributes:
        first: one example of each pair, ``[p]``.
        second: the other.
        differ: whether their classes differ.
        starts: where runs of equal distances start; the first is 0.
    """

    first: NDArray[np.int16]
    second: NDArray[np.int16]
    differ: NDArray[np.bool_]
    starts: Integers

    def correlation(self, kept: Kept) -> float:
        """Spearman's ρ between the distances of the kept examples and whether their classes differ, over all pairs."""
        meant = (
            np.ones(len(self.differ)) if kept is None else (kept[self.first] & kept[self.second]).astype(np.float64)
        )
        total = float(meant.sum())
        differ = float(meant @ self.differ)
        if differ in (0, total):
            return 0.0
        tied = np.add.reduceat(meant, self.starts)  # pairs of each run
        rank = np.cumsum(tied) - (tied + total) / 2  # mean rank of each run, less that of all
        spread = float(tied @ rank**2)
        if spread == 0:
            return 0.0
        meant *= self.differ
        share = differ / total
        return float(np.add.reduceat(meant, self.starts) @ rank / np.sqrt(spread * total * share * (1 - share)))


def _sorted_pairs(unit: Float64, codes: Integers) -> _Pairs:
    """Pairs of rows ``[m, d]``, by what their correlation lacks of 1."""
    m = len(unit)
    first, second = (places.astype(np.int16) for places in np.triu_indices(m, 1))
    distances = np.empty(len(first))
    height, filled = max(1, arrays.BLOCK_BYTES // (8 * m)), 0
    for start in range(0, m, height):
        rows = np.arange(start, min(start + height, m))
        pairs = rows[:, None] < np.arange(start, m)  # each pair once
        correlations = (unit[rows] @ unit[start:].T)[pairs]
        distances[filled : filled + len(correlations)] = 1 - correlations
        filled += len(correlations)
    distances = np.round(distances, _DIGITS)
    order = np.argsort(distances)
    distances, first, second = distances[order], first[order], second[order]
    starts = np.flatnonzero(np.append(True, distances[1:] != distances[:-1]))
    return _Pairs(first, second, codes[first] != codes[second], starts)
