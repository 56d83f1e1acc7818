"""H-score, the share of feature variance that lies between the classes.

Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas: An Information-Theoretic Approach to Transferability in Task Transfer
Learning, ICIP 2019: H(f) = tr(cov(f)⁺ cov(E[f|Y])).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64
from hf_leep.measures.spectrum import spectrum


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how far the classes lie apart in feature space, dimensionless; higher is better.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        H in [0, min(t − 1, d)]. Invariant to the order of rows, to invertible affine maps of the features, to
        renaming labels and to repeating the data set.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + n·t·min(n, d)) time; O(d·min(n, d) + t·d + block) memory.

    Not for: n that is not many times d, nor there for candidates of different width: Gaussian noise scores
    (t − 1) d/(n − 1) in the mean, and t − 1, the maximum, where n ≤ d, as do any features in general position.

    Reference: Bao et al. 2019.
    """
    return influence(features, labels)[0]


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """H-score and the influence of each example on it, ``[n]``, mean 0.

    With f centred, C its covariance, μ_y the class means, B = Σ_y π_y μ_y μ_yᵀ: H = tr(C⁺B), and differentiating the
    three moments gives IF_i = 2 μ_{y_i}ᵀ C⁺ f_i − μ_{y_i}ᵀ C⁺ μ_{y_i} − f_iᵀ C⁺ B C⁺ f_i. A first-order result: not
    to be trusted when n is not several times d, and blind to the score's in-sample bias, which grows with d/n.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    n = len(matrix)
    decomposed = spectrum(matrix, target, whitened=True)
    # In the basis where C⁺ is n·I: whitened class means m_y = Uᵀ1[y]/n_y, f_i = U_i, all [k, t] or [b, k].
    means = decomposed.projections / target.counts
    # Its bound, min(t − 1, rank), is exact; rounding can put the sum a residue above it.
    value = min(float((decomposed.projections * means).sum()), float(min(len(target.counts) - 1, len(means))))

    within = n * (means * means).sum(axis=0)  # μ_yᵀ C⁺ μ_y [t]
    between = means * np.sqrt(target.counts)  # B = between·betweenᵀ/n in this basis
    values = np.empty(n)
    for rows, left in decomposed.left_blocks():
        codes = target.codes[rows]
        cross = n * np.vecdot(left, means.T[codes])
        values[rows] = 2 * cross - within[codes] - n * ((left @ between) ** 2).sum(axis=1)
    return value, values - values.mean()
