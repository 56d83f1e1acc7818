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


def parc(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
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
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. Two examples
            of the same draw, such as words of a sentence, are not compared. By default each example is its own draw.

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
    return _prepared(features, labels, draws)[0].correlation(None)


def influence(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> tuple[float, Float64]:
    """Return PARC and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    With more than 2,000 examples, the standard error is that of a score of 2,000 examples. Columns are standardised
    once, over all of these.

    Args:
        features: as for `parc`.
        labels: as for `parc`.
        draws: as for `parc`.

    Errors: as for `parc`.
    """
    pairs, number, index = _prepared(features, labels, draws)
    if index is not None and not index.any():  # one draw is left in the sample
        index = None
    return jackknife(pairs.correlation, number, index)


def _prepared(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None) -> tuple[_Pairs, int, Integers | None]:
    """Return the pairs of the examples that are scored, their number, and the draw of each, ``[m]``."""
    matrix = arrays.features(features)
    index = arrays.draws(draws, len(matrix))
    unit, codes = _sample(matrix, arrays.labels(labels, len(matrix)))
    if index is not None:
        index = np.unique(index[_positions_used(len(matrix))], return_inverse=True)[1]
    return _sorted_pairs(unit, codes, index), len(unit), index


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
    """The pairs of examples of different draws, by ascending distance of their features.

    They are sorted once for all parts of the jackknife.

    Attributes:
        first: position of one example of each pair, ``[p]``.
        second: position of the other.
        differ: whether their classes differ.
        tied: positions of the pairs whose distance another pair has, too.
        starts: where each run of equal distances starts among them.
    """

    first: NDArray[np.int16]
    second: NDArray[np.int16]
    differ: NDArray[np.bool_]
    tied: Integers
    starts: Integers

    def correlation(self, kept: Kept) -> float:
        """Return Spearman's ρ of distance and difference of class, over the pairs of the examples to use."""
        used = np.ones(len(self.differ), dtype=np.bool_) if kept is None else kept[self.first] & kept[self.second]
        place = np.cumsum(used, dtype=np.int32)  # 1, 2, …: the rank of each pair that is used, if there are no ties
        total = int(place[-1]) if len(place) else 0
        chosen = used & self.differ
        differ = int(np.count_nonzero(chosen))
        if differ in (0, total):
            return 0.0
        ranks = float(place[chosen].sum(dtype=np.int64))  # of the pairs that differ
        squares = (float(total) ** 3 - total) / 12  # of all ranks, minus their mean
        if len(self.tied):  # they get the mean rank of their run
            counts = np.add.reduceat(used[self.tied].astype(np.float64), self.starts)
            among = np.add.reduceat(chosen[self.tied].astype(np.int64), self.starts)
            first = self.tied[self.starts]
            mean = place[first] - used[first] + (counts + 1) / 2
            ranks += float(among @ mean) - float((place[self.tied] * chosen[self.tied]).sum(dtype=np.int64))
            squares -= float((counts**3 - counts).sum()) / 12
        if squares <= 0:
            return 0.0
        share = differ / total
        return (ranks - differ * (total + 1) / 2) / float(np.sqrt(squares * total * share * (1 - share)))


def _sorted_pairs(unit: Float64, codes: Integers, draws: Integers | None) -> _Pairs:
    """Return the pairs of rows ``[m, d]`` of different draws, sorted by 1 − their correlation."""
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
    if draws is not None:
        apart = draws[first] != draws[second]
        distances, first, second = distances[apart], first[apart], second[apart]
    distances = np.round(distances, _DIGITS)
    order = np.argsort(distances)
    distances, first, second = distances[order], first[order], second[order]
    equal = distances[1:] == distances[:-1]
    tied = np.flatnonzero(np.append(False, equal) | np.append(equal, False))
    starts = np.flatnonzero(~np.append(False, equal)[tied])
    return _Pairs(first, second, codes[first] != codes[second], tied, starts)


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
    takes_draws=True,
)
