"""TransRate: the coding rate of the features minus that of the features given the class.

Huang, Huang, Rong, Yang, Wei: Frustratingly Easy Transferability Estimation, ICML 2022:
TrR(Z, Y) = R(Z) − Σ_y π_y R(Z_y), R(Z) = ½ log det(I + ZᵀZ/(n ε)), Z the centred features, Z_y those of a class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife
from hf_leep.measures.rest import rest
from hf_leep.measures.spectrum import Spectrum, spectrum

DISTORTION = 1e-4  # ε of the paper, for features of total variance 1
_ROWS = 2048


def transrate(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how much of the features' coding rate the class explains, in nats; higher is better.

    This is the paper's definition: the rate of a class has the weight π_y, so classes may differ in size, and uses
    second moments about the mean of all features. One thing is added: the features are scaled to total variance 1, so
    that the paper's ε = 1e-4 means the same for all candidates. The paper's listing does not scale them, and weights
    the classes by 1/t. The authors' code does something else again: it scales each row to length 1, and divides each
    rate by the rank of its features. Some other implementations scale to ‖Z‖ = 1, which moves the score to 0 as n
    grows.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        TrR in [0, ½ min(n − 1, d) log(1 + 10⁴)]; at least 0 because log det is concave. Invariant to the order of
        rows, to shifting, rotating and rescaling the features as a whole, to repeating the data set and to renaming
        the labels.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + Σ_y min(n_y, d)³) time; O(d·min(n, d) + t·d + block) memory.

    Not for: classes with few examples compared with d, in particular not for comparing candidates of different width
    there. A class of n_y < d examples spans n_y directions whatever the features are, so noise scores high, and higher
    the smaller the classes and the larger d. With n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns
    scores 0.4, 54 and 261.

    Reference: Huang et al. 2022.

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0, 0], [1, 0], [5, 0], [6, 0], [0, 5], [0, 6]]
        >>> round(measures.transrate(features, [0, 0, 1, 1, 2, 2]), 4)
        1.7437
        >>> round(measures.transrate(features, [0, 1, 2, 0, 1, 2]), 4)
        0.2218
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(spectrum(matrix, target, whitened=False, centred=True), target, None)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return TransRate in nats and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    Args:
        features: as for `transrate`.
        labels: as for `transrate`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `transrate`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    return jackknife(lambda kept: _value(decomposed, target, kept), len(matrix), draws)


def _value(decomposed: Spectrum, target: Labels, kept: Kept) -> float:
    """Return the score of the examples to use; the decomposition and the labels are those of all."""
    if kept is None:
        rows, n = np.arange(len(target)), len(target)
        variance, centre = float(decomposed.eigenvalues.sum()) / n, decomposed.centre
    else:
        left = rest(decomposed, target, kept)
        if not left.is_accurate(decomposed):
            part = spectrum(decomposed.features[kept], left.target, whitened=False, centred=True)
            return _value(part, left.target, None)
        rows, n = np.flatnonzero(kept), len(left.target)
        variance, centre = float(np.trace(left.scatter)) / n, _centre(decomposed, kept)
    if not variance > 0:  # features that do not vary
        return 0.0
    factor = 1 / (DISTORTION * variance)
    if kept is None:
        total = 0.5 * float(np.log1p(factor / n * decomposed.eigenvalues).sum())
    else:
        total = _half_log_determinant(left.scatter, factor / n)
    codes = target.codes[rows]
    counts = np.bincount(codes)
    rows = rows[np.argsort(codes, kind="stable")]
    within = sum(
        float(count) / n * _rate(decomposed, rows[end - count : end], centre, factor)
        for count, end in zip(counts, np.cumsum(counts), strict=True)
        if count
    )
    return max(total - within, 0.0)  # a negative value is a rounding error


def _centre(decomposed: Spectrum, kept: NDArray[np.bool_]) -> Float64:
    """Return the mean of the scaled features of the rows to use, ``[d]``."""
    total = np.zeros_like(decomposed.centre)
    for rows, block in arrays.row_blocks(decomposed.features):
        total += kept[rows] @ block
    return np.asarray(total * (decomposed.scale / kept.sum()))


def _rate(decomposed: Spectrum, rows: Integers, centre: Float64, factor: float) -> float:
    """Return ½ log det(I + factor·ZᵀZ/m) of m rows, from the smaller Gram matrix."""
    m, d = len(rows), len(centre)
    if m < d:
        shifted = decomposed.features[rows].astype(np.float64) * decomposed.scale - centre
        gram = shifted @ shifted.T
    else:
        gram = np.zeros((d, d))
        for start in range(0, m, _ROWS):
            shifted = decomposed.features[rows[start : start + _ROWS]].astype(np.float64) * decomposed.scale - centre
            gram += shifted.T @ shifted
    return _half_log_determinant(gram, factor / m)


def _half_log_determinant(gram: Float64, factor: float) -> float:
    """Return ½ log det(I + factor·gram); overwrites its input."""
    gram *= factor
    gram.flat[:: len(gram) + 1] += 1.0
    return float(np.log(np.diag(np.linalg.cholesky(gram))).sum())


MEASURE = Measure(
    name="transrate",
    title="TransRate",
    needs="features",
    unit="nats",
    reference="Huang et al., ICML 2022",
    summary="coding rate that the class explains; too high where a class has fewer examples than features",
    function=transrate,
    influence=influence,
    resamples=True,
    shuffled_baseline=True,
)
