"""LFC, label-feature correlation: how far examples that are alike in features are alike in class.

Deshpande, Achille, Ravichandran, Li, Zancato, Fowlkes, Bhotika, Soatto, Perona: A Linearized Framework and a New
Benchmark for Model Selection for Fine-Tuning, 2021 (arXiv 2102.00084): the correlation of the entries of
K = FFᵀ and of the label matrix L, L_ij = 1 where y_i = y_j and −1 elsewhere, each less its mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped


def lfc(features: ArrayLike, labels: ArrayLike) -> float:
    """Score the correlation of feature similarity and class equality over all pairs, dimensionless; higher is better.

    Pearson's correlation of the n² entries of FFᵀ with those of L, the n pairs of an example with itself included,
    as in the paper. (Copies of the paper's code divide by spectral norms, which is no correlation; here it is the
    Frobenius norm.) The features are not centred: their mean is part of K, as in the paper.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        r in [−1, 1]; 0 for features that are alike in all pairs. Invariant to the order of rows, to rotating and
        rescaling the features, to renaming labels and to repeating the data set; not to shifting the features.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d)) time; O(d·min(n, d) + t·d + block) memory.

    Not for: features with a large mean, or one direction of large variance, which decides it whatever a linear head
    could make of the others. Nor for candidates of different width on few examples, since the pairs of an example with
    itself count: at n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns scores 0.03, 0.07 and 0.12.

    Reference: Deshpande et al. 2021.
    """
    return influence(features, labels)[0]


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """LFC and the influence of each example on it: value and ``[n]`` values of mean 0.

    With s_y = Σ_{i: y_i=y} f_i/n, s = Σ_y s_y, C = FᵀF/n, π the class frequencies: r = (A − M P)/√((Q − M²)(P − P²))
    with A = Σ_y ‖s_y‖², M = ‖s‖², Q = ‖C‖², P = Σ_y π_y². All four are moments, and their influences
    2 (s_{y_i}ᵀf_i − A), 2 (sᵀf_i − M), 2 (f_iᵀ C f_i − Q) and 2 (π_{y_i} − P) go through the chain rule.

    Args and errors: as for `lfc`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    found = _moments(matrix, target)
    frequency = target.counts / len(target)
    a, m, q, p = (float(values.mean()) for values in (found.own, found.mean, found.square, frequency[target.codes]))
    covariance, spread, label_spread = a - m * p, q - m * m, p - p * p
    if spread <= 1e-12 * q:  # by rounding alone: K is constant
        return 0.0, np.zeros(len(matrix))
    root = np.sqrt(spread * label_spread)
    value = covariance / root
    of_a, of_m, of_q = 2 * (found.own - a), 2 * (found.mean - m), 2 * (found.square - q)
    of_p = 2 * (frequency[target.codes] - p)
    values = (of_a - p * of_m - m * of_p) / root
    values -= 0.5 * value * ((of_q - 2 * m * of_m) / spread + (1 - 2 * p) * of_p / label_spread)
    return min(max(value, -1.0), 1.0), values - values.mean()


@dataclass(frozen=True)
class _Moments:
    """Each example's share in the moments, ``[n]`` each, of features divided by their largest value.

    Attributes:
        own: s_{y_i}ᵀ f_i, of mean A.
        mean: sᵀ f_i, of mean M.
        square: f_iᵀ C f_i, of mean Q.
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
    scale = 1.0 / largest if largest > 0 else 1.0  # fourth powers of the largest doubles would overflow

    sums, square = np.zeros((target.num_classes, d)), np.empty(n)
    gram = np.zeros((d, d))
    for rows, block in arrays.row_blocks(matrix):
        block *= scale
        add_grouped(sums, block, target.codes[rows])
        if n >= d:
            gram += block.T @ block
    sums /= n
    whole = matrix.astype(np.float64) * scale if n < d else None  # [n, d], smaller than [d, d]
    own, mean = np.empty(n), np.empty(n)
    for rows, block in arrays.row_blocks(matrix):
        block *= scale
        own[rows] = np.vecdot(sums[target.codes[rows]], block)
        mean[rows] = block @ sums.sum(axis=0)
        if whole is None:
            square[rows] = np.vecdot(block @ gram, block) / n
        else:
            square[rows] = ((block @ whole.T) ** 2).sum(axis=1) / n
    return _Moments(own, mean, square)
