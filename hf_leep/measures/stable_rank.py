"""Stable rank of the features: how many directions carry their variance. A baseline that ignores the labels.

Rudelson, Vershynin: Sampling from Large Matrices: an Approach through Geometric Functional Analysis, Journal of the
ACM 54, 2007, where it is called the numerical rank: ‖F‖²_F/‖F‖²₂, the sum of the squared singular values divided by
the largest one. Here of the centred features: tr(C)/λ_max(C), C their covariance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64
from hf_leep.measures.measure import Measure
from hf_leep.measures.spectrum import spectrum


def stable_rank(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the stable rank of the features, in directions; higher counts as better.

    A baseline: a measure that orders candidates no better than this one has learnt nothing from the labels. That
    higher is better is a convention (features that collapse to few directions usually transfer badly), not a theorem.
    The features are centred, since a large mean would make every stable rank 1.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``; checked as for other measures, but not used.

    Returns:
        tr(C)/λ_max(C) in [1, min(n − 1, d)]; 0 for constant features. Invariant to the order of rows, to rotating,
        shifting and rescaling the features, to the labels and to repeating the data set.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³) time; O(d·min(n, d) + t·d + block) memory.

    Not for: choosing a checkpoint. It ignores the labels, and white noise scores high, higher the wider it is.

    Reference: Rudelson & Vershynin 2007.

    Examples:
        >>> from hf_leep import measures
        >>> round(measures.stable_rank([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0, 0, 1, 1]), 4)
        2.0
    """
    return influence(features, labels)[0]


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """Return the stable rank S and the influence of each example on it, ``[n]`` values of mean 0.

    (‖f_i‖² − S (vᵀf_i)²)/λ_max with v the first principal direction and f centred. A first-order result: too small if
    the two largest variances differ by less than their standard errors.

    Args and errors: as for `stable_rank`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    n = len(matrix)
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    if len(decomposed.eigenvalues) == 0:
        return 0.0, np.zeros(n)
    largest = decomposed.eigenvalues[-1]
    value = max(float(decomposed.eigenvalues.sum() / largest), 1.0)
    values = np.empty(n)
    for rows, coordinates in decomposed.coordinate_blocks():
        squared = coordinates * coordinates
        values[rows] = n * (squared.sum(axis=1) - value * squared[:, -1]) / largest
    return value, values - values.mean()


MEASURE = Measure(
    name="stable-rank",
    title="stable rank",
    needs="features",
    unit="",
    reference="Rudelson & Vershynin, Journal of the ACM 2007",
    summary="directions that carry the features' variance; a baseline that ignores the labels",
    function=stable_rank,
    influence=influence,
    votes=False,
)
