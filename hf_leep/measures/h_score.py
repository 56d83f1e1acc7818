"""H-score, the share of the feature variance that lies between the classes.

Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas: An Information-Theoretic Approach to Transferability in Task Transfer
Learning, ICIP 2019: H(f) = tr(cov(f)⁺ cov(E[f|Y])).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.spectrum import Spectrum, spectrum

_WELL_CONDITIONED = 1e-7  # smallest eigenvalue, relative to the largest, from which rounding errors do not matter


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how far apart the classes lie in feature space, dimensionless; higher is better.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        H in [0, min(t − 1, d)]. Invariant to the order of rows, to invertible affine maps of the features, to renaming
        the labels and to repeating the data set.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + n·t·min(n, d)) time; O(d·min(n, d) + t·d + block) memory.

    Not for: fewer than many times d examples, in particular not for comparing candidates of different width there. The
    expected score of Gaussian noise is (t − 1) d/(n − 1). With n ≤ d, noise and all features in general position score
    t − 1, the maximum.

    Reference: Bao et al. 2019.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0.0], [1.0], [4.0], [5.0]]
        >>> round(measures.h_score(features, [0, 0, 1, 1]), 4)
        0.9412
        >>> round(measures.h_score(features, [0, 1, 0, 1]), 4)
        0.0588
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(_decomposed(matrix, target), target)


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """Return the H-score and the influence of each example on it, ``[n]`` values of mean 0.

    With f centred, C its covariance, μ_y the class means and B = Σ_y π_y μ_y μ_yᵀ: H = tr(C⁺B), and the derivatives of
    the three moments give IF_i = 2 μ_{y_i}ᵀ C⁺ f_i − μ_{y_i}ᵀ C⁺ μ_{y_i} − f_iᵀ C⁺ B C⁺ f_i. A first-order result: do
    not rely on it unless n is several times d. It does not cover the in-sample bias, which grows with d/n.

    Args and errors: as for `h_score`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    n = len(matrix)
    decomposed = _decomposed(matrix, target)
    # In the basis where C⁺ is n·I: whitened class means m_y = Uᵀ1[y]/n_y, f_i = U_i, all [k, t] or [b, k].
    means = decomposed.projections / target.counts
    within = n * (means * means).sum(axis=0)  # μ_yᵀ C⁺ μ_y [t]
    between = means * np.sqrt(target.counts)  # B = between·betweenᵀ/n in this basis
    values = np.empty(n)
    for rows, left in decomposed.left_blocks():
        codes = target.codes[rows]
        cross = n * np.vecdot(left, means.T[codes])
        values[rows] = 2 * cross - within[codes] - n * ((left @ between) ** 2).sum(axis=1)
    return _value(decomposed, target), values - values.mean()


def _decomposed(matrix: FloatMatrix, target: Labels) -> Spectrum:
    """Return the centred decomposition, which other measures share, or if it may be inaccurate the whitened one.

    The score depends only on the space that the columns span, so if no direction is lost both give the same.
    """
    if len(matrix) > matrix.shape[1]:
        centred = spectrum(matrix, target, whitened=False, centred=True)
        eigenvalues = centred.eigenvalues
        varying = int(centred.basis.any(axis=1).sum())
        if len(eigenvalues) == varying and (not varying or eigenvalues[0] > _WELL_CONDITIONED * eigenvalues[-1]):
            return centred
    return spectrum(matrix, target, whitened=True)


def _value(decomposed: Spectrum, target: Labels) -> float:
    shares = (decomposed.projections**2 / target.counts).sum()
    # min(t − 1, rank) is an exact upper bound, which the sum can exceed by a rounding error.
    return min(float(shares), float(min(target.num_classes - 1, len(decomposed.eigenvalues))))


MEASURE = Measure(
    name="h-score",
    title="H-score",
    needs="features",
    unit="",
    reference="Bao et al., ICIP 2019",
    summary="share of feature variance between the classes; too high when n is not many times d",
    function=h_score,
    influence=influence,
    saturates_at="t − 1",
    shuffled_baseline=True,
    shares_vote_with="regularised-h-score",
)
