"""PARC, pairwise annotation representation comparison: are examples of different classes further apart?

Bolya, Mittapalli, Hoffman: Scalable Diverse Model Selection for Accessible Transfer Learning, NeurIPS 2021:
Spearman's correlation over pairs of examples of 1 − corr(f_i, f_j) with 1 − corr(y_i, y_j), y one-hot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife

MAX_EXAMPLES = 2000  # two million pairs
SEED = 0
_ROUNDING = 1e-9  # a row whose standardised columns differ by less is constant
_DIGITS = 12  # correlations are rounded to these, so that equal pairs of rows are ties despite rounding errors


def parc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how well distances between features follow the labels: Spearman's ρ; higher is better.

    The correlation of two rows of features is over the columns that vary, each centred and divided by its standard
    deviation, as in the authors' code; the paper's definition does not say so. On 152 draws of real data (the pool of
    `tests/benchmarks/choice.py`), the first of six to eight candidates was then 1.7 points of accuracy behind the
    best, and 2.5 with the columns as they are, where a few columns with a large mean or variance decide all
    correlations (difference 0.8 ± 0.3). Kendall's τ with the accuracy was 0.74 and 0.69. The features are not reduced
    to 32 principal axes, which the paper does for every measure: that gave 1.5 points and a τ of 0.69. The label
    distance takes two values, 0 and t/(t − 1), so the second ranking is "same class or not". Published code multiplies
    the score by 100.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        ρ in [−1, 1], with mean ranks for ties; 0 if either distance is the same for all pairs. A row whose columns are
        all equal, once standardised, counts as uncorrelated with all others. From more than 2,000 examples, a random
        2,000 are used, the same ones for every candidate (seed 0, by position). Invariant to the order of columns, to
        shifting and rescaling each column, to constant columns, to renaming the labels and, up to 2,000 examples, to
        the order of rows; not to rotating the features.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d + m²·d + m² log m) time for m = min(n, 2000); O(m² + m·d + block) memory.

    Not for: few columns, since the correlation of two columns is ±1, and one column has none. Not for comparing
    targets: with p the share of pairs of different classes, the best possible score of distances without ties is √(3 p
    (1 − p)), which is small if there are many classes.

    Reference: Bolya et al. 2021.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[1, 2, 3], [1, 3, 4], [3, 2, 1], [4, 2, 1]]
        >>> round(measures.parc(features, [0, 0, 1, 1]), 4)
        0.8281
        >>> round(measures.parc(features, [0, 1, 1, 0]), 4)
        -0.207
    """
    matrix = arrays.features(features)
    return _sorted_pairs(*_sample(matrix, arrays.labels(labels, len(matrix)))).correlation(None)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return PARC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    With more than 2,000 examples, the standard error is that of a score of 2,000 examples. Columns are standardised
    once, over all of these.

    Args:
        features: as for `parc`.
        labels: as for `parc`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `parc`.
    """
    matrix = arrays.features(features)
    chosen = _positions_used(len(matrix))
    rows, codes = _sample(matrix, arrays.labels(labels, len(matrix)))
    if draws is not None:
        present, draws = np.unique(draws[chosen], return_inverse=True)
        if len(present) < 2:
            draws = None

    return jackknife(_sorted_pairs(rows, codes).correlation, len(rows), draws)


def _positions_used(n: int) -> Integers:
    """Return the positions of the examples that are scored, ascending."""
    return np.sort(np.random.default_rng(SEED).permutation(n)[:MAX_EXAMPLES])


def _sample(matrix: FloatMatrix, target: Labels) -> tuple[Float64, Integers]:
    """Return the rows that are scored, with mean 0 and length 1, ``[m, d]``, and their classes.

    The columns are standardised first. A row whose columns are then all equal becomes 0.
    """
    for rows, block in arrays.row_blocks(matrix):
        arrays.check_finite(block, rows.start)
    chosen = _positions_used(len(matrix))
    unit = _standardised(matrix[chosen].astype(np.float64))
    if not unit.shape[1]:
        return unit, target.codes[chosen]
    unit -= unit.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.vecdot(unit, unit))
    noise = _ROUNDING * np.sqrt(unit.shape[1])
    unit *= np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > noise)[:, None]
    return unit, target.codes[chosen]


def _standardised(columns: Float64) -> Float64:
    """Return the columns that vary, with mean 0 and standard deviation 1, ``[m, d]``; may overwrite its input."""
    largest = np.abs(columns).max(axis=0)
    columns *= [arrays.scale_of(float(each)) for each in largest]  # squares of the largest numbers would overflow
    varies = np.ptp(columns, axis=0) > 16 * np.finfo(np.float64).eps * np.abs(columns).max(axis=0)  # beyond rounding
    columns = columns[:, varies]
    columns -= columns.mean(axis=0)
    columns /= np.ptp(columns, axis=0)
    columns /= columns.std(axis=0)
    return columns


@dataclass(frozen=True)
class _Pairs:
    """All pairs of examples, by ascending distance of their features: sorted once for all parts of the jackknife.

    Attributes:
        first: position of one example of each pair, ``[p]``.
        second: position of the other.
        differ: whether their classes differ.
        starts: where each run of equal distances starts; the first is 0.
    """

    first: NDArray[np.int16]
    second: NDArray[np.int16]
    differ: NDArray[np.bool_]
    starts: Integers

    def correlation(self, kept: Kept) -> float:
        """Return Spearman's ρ of distance and difference of class, over the pairs of the examples to use."""
        used = np.ones(len(self.differ)) if kept is None else (kept[self.first] & kept[self.second]).astype(np.float64)
        total = float(used.sum())
        differ = float(used @ self.differ)
        if differ in (0, total):
            return 0.0
        tied = np.add.reduceat(used, self.starts)  # number of pairs in each run of equal distances
        rank = np.cumsum(tied) - (tied + total) / 2  # mean rank of each run, minus the mean rank of all pairs
        squares = float(tied @ rank**2)
        if squares == 0:
            return 0.0
        used *= self.differ
        share = differ / total
        return float(np.add.reduceat(used, self.starts) @ rank / np.sqrt(squares * total * share * (1 - share)))


def _sorted_pairs(unit: Float64, codes: Integers) -> _Pairs:
    """Return the pairs of rows ``[m, d]``, sorted by 1 − their correlation."""
    m = len(unit)
    first, second = (positions.astype(np.int16) for positions in np.triu_indices(m, 1))
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


MEASURE = Measure(
    name="parc",
    title="PARC",
    needs="features",
    unit="",
    reference="Bolya et al., NeurIPS 2021",
    summary="rank correlation of feature and label distances over pairs of at most 2,000 examples",
    function=parc,
    influence=influence,
    resamples=True,
)
