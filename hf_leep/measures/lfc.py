"""LFC, label-feature correlation: whether examples with similar features have the same class.

Deshpande, Achille, Ravichandran, Li, Zancato, Fowlkes, Bhotika, Soatto, Perona: A Linearized Framework and a New
Benchmark for Model Selection for Fine-Tuning, 2021 (arXiv 2102.00084): the correlation of the entries of K = FFᵀ with
those of the label matrix L, L_ij = 1 where y_i = y_j and −1 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.draws import Draws
from hf_leep.measures.measure import Measure
from hf_leep.measures.spectrum import gram


def lfc(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Score the correlation of feature similarity and class equality over all pairs, dimensionless; higher is better.

    Pearson's correlation of the n² entries of FFᵀ with those of L. As in the paper, the n pairs of an example with
    itself are included, and the features are not centred, so their mean is part of K. (Copies of the paper's code
    divide by spectral norms, which gives no correlation; this implementation divides by Frobenius norms.)

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. Two examples
            of the same draw, such as words of a sentence, are not compared. By default each example is its own draw.

    Returns:
        r in [−1, 1]; 0 if all pairs of examples are equally similar. Invariant to the order of rows, to rotating and
        rescaling the features, to renaming the labels and to repeating the data set; not to shifting the features.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d)) time; O(d·min(n, d) + t·d + block) memory. With draws of m examples O(n·m·d) time more, and
    a block holds at least one whole draw.

    Not for: features with a large mean or one direction of large variance, which then determines the score, whatever a
    linear head could make of the other directions. Not for comparing candidates of different width on few examples,
    because the pairs of an example with itself count: with n = 200 and 5 balanced classes, noise of 8, 64 and 512
    columns scores 0.03, 0.07 and 0.12.

    Reference: Deshpande et al. 2021.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]
        >>> round(measures.lfc(features, [0, 0, 1, 1]), 4)
        0.9878
        >>> round(measures.lfc(features, [0, 1, 0, 1]), 4)
        0.0122
    """
    return influence(features, labels, draws)[0]


def influence(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> tuple[float, Float64]:
    """Return LFC and the influence of each example on it, ``[n]`` values of mean 0.

    With the means over the pairs A of K_ij 1[y_i = y_j], M of K_ij, Q of K_ij² and P of 1[y_i = y_j]:
    r = (A − M P)/√((Q − M²)(P − P²)). If x_i is the sum over the c_i pairs of example i, such a mean is
    x̄ = Σ_i x_i/Σ_i c_i and has the influence 2 n (x_i − c_i x̄)/Σ_i c_i, which the chain rule combines. With
    s_y = Σ_{i: y_i=y} f_i, the sums over all n pairs of an example are s_{y_i}ᵀf_i, (Σ_y s_y)ᵀf_i, f_iᵀFᵀF f_i and
    n_{y_i}; those over the other examples of its draw are subtracted.

    Args and errors: as for `lfc`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    moments = _moments(matrix, Draws(target.codes, target.counts, arrays.draws(draws, len(matrix))))
    pairs = float(moments.pairs.sum())
    a, m, q, p = (float(x.sum()) / pairs for x in (moments.own, moments.mean, moments.square, moments.alike))
    covariance, variance, label_variance = a - m * p, q - m * m, p - p * p
    if variance <= 1e-12 * q:  # K is constant, up to rounding errors
        return 0.0, np.zeros(len(matrix))
    root = np.sqrt(variance * label_variance)
    value = covariance / root
    share = 2 * len(matrix) / pairs
    of_a, of_m = share * (moments.own - a * moments.pairs), share * (moments.mean - m * moments.pairs)  # [n] each
    of_q, of_p = share * (moments.square - q * moments.pairs), share * (moments.alike - p * moments.pairs)
    values = (of_a - p * of_m - m * of_p) / root
    values -= 0.5 * value * ((of_q - 2 * m * of_m) / variance + (1 - 2 * p) * of_p / label_variance)
    return float(min(max(value, -1.0), 1.0)), values - values.mean()


@dataclass(frozen=True)
class _Moments:
    """Sums over the pairs of each example, ``[n]`` each, with the features divided by their largest value.

    Attributes:
        own: of K_ij over the pairs of one class.
        mean: of K_ij.
        square: of K_ij².
        alike: number of pairs of one class.
        pairs: number of pairs.
    """

    own: Float64
    mean: Float64
    square: Float64
    alike: Float64
    pairs: Float64


def _moments(matrix: FloatMatrix, drawn: Draws) -> _Moments:
    n, d = matrix.shape
    products = gram(matrix).uncentred() if n > d else np.empty((0, 0))
    largest = 0.0
    for rows, values in arrays.row_blocks(matrix):
        arrays.check_finite(values, rows.start)
        largest = max(largest, float(np.abs(values).max()))
    scale = arrays.scale_of(largest)  # the fourth powers of large float64 numbers overflow; that of `gram`, too

    sums, square = np.zeros((len(drawn.counts), d)), np.empty(n)
    for rows, values in arrays.row_blocks(matrix):
        values *= scale
        add_grouped(sums, values, drawn.codes[rows])
    scaled = matrix.astype(np.float64) * scale if n <= d else None  # [n, d], smaller than [d, d]
    own, mean = np.empty(n), np.empty(n)
    for block in drawn.blocks(matrix):
        values = block.values
        values *= scale
        own[block.rows] = np.vecdot(sums[block.codes], values)
        mean[block.rows] = values @ sums.sum(axis=0)
        if scaled is None:
            square[block.rows] = np.vecdot(values @ products, values)
        else:
            square[block.rows] = ((values @ scaled.T) ** 2).sum(axis=1)
        if block.draw is not None:
            itself = np.vecdot(values, values)
            own[block.rows] += itself - np.vecdot(block.of_class(values), values)
            mean[block.rows] += itself - np.vecdot(block.of_draw(values), values)
            square[block.rows] += itself**2 - _squares_within(values, block.draw)
    return _Moments(own, mean, square, drawn.others * drawn.prior + 1 - 1 / len(drawn.counts), drawn.others)


def _squares_within(values: Float64, draw: Integers) -> Float64:
    """Return Σ_j K_ij² over the rows of the same draw as each row, itself included, ``[b]``."""
    parts = np.split(values, np.flatnonzero(np.diff(draw)) + 1)
    return np.concatenate([((part @ part.T) ** 2).sum(axis=1) for part in parts])


MEASURE = Measure(
    name="lfc",
    title="LFC",
    needs="features",
    unit="",
    reference="Deshpande et al. 2021 (arXiv 2102.00084)",
    summary="correlation of feature similarity and class equality over all pairs of examples",
    function=lfc,
    influence=influence,
    takes_draws=True,
    shuffled_baseline=True,
)
