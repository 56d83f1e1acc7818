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
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.measure import Measure


def lfc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score the correlation of feature similarity and class equality over all pairs, dimensionless; higher is better.

    Pearson's correlation of the n² entries of FFᵀ with those of L. As in the paper, the n pairs of an example with
    itself are included, and the features are not centred, so their mean is part of K. (Copies of the paper's code
    divide by spectral norms, which gives no correlation; this implementation divides by Frobenius norms.)

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        r in [−1, 1]; 0 if all pairs of examples are equally similar. Invariant to the order of rows, to rotating and
        rescaling the features, to renaming the labels and to repeating the data set; not to shifting the features.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d)) time; O(d·min(n, d) + t·d + block) memory.

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
    return influence(features, labels)[0]


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """Return LFC and the influence of each example on it, ``[n]`` values of mean 0.

    With s_y = Σ_{i: y_i=y} f_i/n, s = Σ_y s_y, C = FᵀF/n, π the class frequencies: r = (A − M P)/√((Q − M²)(P − P²))
    with A = Σ_y ‖s_y‖², M = ‖s‖², Q = ‖C‖², P = Σ_y π_y². All four are moments with the influences 2 (s_{y_i}ᵀf_i −
    A), 2 (sᵀf_i − M), 2 (f_iᵀ C f_i − Q) and 2 (π_{y_i} − P), which the chain rule combines.

    Args and errors: as for `lfc`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    moments = _moments(matrix, target)
    frequency = target.counts / len(target)
    a, m, q, p = (float(x.mean()) for x in (moments.own, moments.mean, moments.square, frequency[target.codes]))
    covariance, variance, label_variance = a - m * p, q - m * m, p - p * p
    if variance <= 1e-12 * q:  # K is constant, up to rounding errors
        return 0.0, np.zeros(len(matrix))
    root = np.sqrt(variance * label_variance)
    value = covariance / root
    of_a, of_m, of_q = 2 * (moments.own - a), 2 * (moments.mean - m), 2 * (moments.square - q)  # influences [n]
    of_p = 2 * (frequency[target.codes] - p)
    values = (of_a - p * of_m - m * of_p) / root
    values -= 0.5 * value * ((of_q - 2 * m * of_m) / variance + (1 - 2 * p) * of_p / label_variance)
    return float(min(max(value, -1.0), 1.0)), values - values.mean()


@dataclass(frozen=True)
class _Moments:
    """What each example contributes to the moments, ``[n]`` each, with the features divided by their largest value.

    Attributes:
        own: s_{y_i}ᵀ f_i, with mean A.
        mean: sᵀ f_i, with mean M.
        square: f_iᵀ C f_i, with mean Q.
    """

    own: Float64
    mean: Float64
    square: Float64


def _moments(matrix: FloatMatrix, target: Labels) -> _Moments:
    n, d = matrix.shape
    largest = 0.0
    for rows, block in arrays.row_blocks(matrix):
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max()))
    scale = arrays.scale_of(largest)  # the fourth powers of large float64 numbers overflow

    sums, square = np.zeros((target.num_classes, d)), np.empty(n)
    gram = np.zeros((d, d))
    for rows, block in arrays.row_blocks(matrix):
        block *= scale
        add_grouped(sums, block, target.codes[rows])
        if n >= d:
            gram += block.T @ block
    sums /= n
    scaled = matrix.astype(np.float64) * scale if n < d else None  # [n, d], smaller than [d, d]
    own, mean = np.empty(n), np.empty(n)
    for rows, block in arrays.row_blocks(matrix):
        block *= scale
        own[rows] = np.vecdot(sums[target.codes[rows]], block)
        mean[rows] = block @ sums.sum(axis=0)
        if scaled is None:
            square[rows] = np.vecdot(block @ gram, block) / n
        else:
            square[rows] = ((block @ scaled.T) ** 2).sum(axis=1) / n
    return _Moments(own, mean, square)


MEASURE = Measure(
    name="lfc",
    title="LFC",
    needs="features",
    unit="",
    reference="Deshpande et al. 2021 (arXiv 2102.00084)",
    summary="correlation of feature similarity and class equality over all pairs of examples",
    function=lfc,
    influence=influence,
    shuffled_baseline=True,
)
