"""TransRate: the coding rate of the features minus that of the features given the class.

Huang, Huang, Rong, Yang, Wei: Frustratingly Easy Transferability Estimation, ICML 2022:
TrR(Z, Y) = R(Z) − Σ_y π_y R(Z_y), R(Z) = ½ log det(I + ZᵀZ/(n ε)), Z the centred features, Z_y those of a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers, Labels
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import jackknife_parts, pseudo_values
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
    return _value(spectrum(matrix, target, whitened=False, centred=True), target)


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
    return pseudo_values(_value(decomposed, target), _values(decomposed, target, jackknife_parts(len(matrix), draws)))


def _value(decomposed: Spectrum, target: Labels) -> float:
    n = len(target)
    variance = float(decomposed.eigenvalues.sum()) / n
    if not variance > 0:  # features that do not vary
        return 0.0
    factor = 1 / (DISTORTION * variance)
    total = 0.5 * float(np.log1p(factor / n * decomposed.eigenvalues).sum())
    within = sum(
        len(one) / n * _half_log_determinant(one.gram, factor / len(one)) for one in _classes(decomposed, target)
    )
    return max(total - within, 0.0)  # a negative value is a rounding error


def _values(decomposed: Spectrum, target: Labels, parts: NDArray[np.bool_]) -> Float64:
    """Return the scores of parts of the examples, ``[p, n] -> [p]``, given the decomposition of all of them.

    The Gram matrix of a class is computed once for all parts.
    """
    found, factors, kept = np.zeros(len(parts)), np.zeros(len(parts)), parts.copy()
    means = np.zeros((len(decomposed.eigenvalues), len(parts)))
    for part, used in enumerate(parts):
        left = rest(decomposed, target, used)
        if not left.is_accurate(decomposed):
            alone = spectrum(decomposed.features[used], left.target, whitened=False, centred=True)
            found[part], kept[part] = _value(alone, left.target), False
            continue
        size = len(left.target)
        factors[part], means[:, part] = size / (DISTORTION * left.variation), left.mean
        found[part] = 0.5 * left.log_determinant(factors[part] / size)
    sizes, along = kept.sum(axis=1), decomposed.product(means)  # along: of each example with each mean [n, p]
    for one in _classes(decomposed, target):
        for part, used in enumerate(kept):
            chosen = used[one.rows]
            if count := int(chosen.sum()):
                gram = one.around(means[:, part], chosen, along[one.rows, part])
                found[part] -= count / sizes[part] * _half_log_determinant(gram, factors[part] / count)
    return np.maximum(found, 0.0)  # a negative value is a rounding error


@dataclass(frozen=True)
class _Class:
    """The examples of a class.

    Attributes:
        decomposed: the decomposition of all the examples.
        rows: theirs, ``[m]``.
        gram: the smaller Gram matrix of their centred features, ``[m, m]`` or ``[d, d]``.
        total: the sum of these features, ``[d]``.
    """

    decomposed: Spectrum
    rows: Integers
    gram: Float64
    total: Float64

    def __len__(self) -> int:
        """Return the number of examples m."""
        return len(self.rows)

    def around(self, mean: Float64, chosen: NDArray[np.bool_], along: Float64) -> Float64:
        """Return the Gram matrix of some of the examples around another mean.

        Args:
            mean: the other mean, in principal coordinates, ``[k]``.
            chosen: which examples, ``[m]``.
            along: their products with that mean, ``[m]``.
        """
        if len(self) < len(self.total):
            shifts = along[chosen]
            return self.gram[np.ix_(chosen, chosen)] - shifts[:, None] - shifts + mean @ mean
        shift = self.decomposed.basis @ mean  # [d], since there are more examples than features
        gram, rest_of_total = self.gram.copy(), self.total.copy()
        for block in _blocks(self.decomposed, self.rows[~chosen]):
            gram -= block.T @ block
            rest_of_total -= block.sum(axis=0)
        cross = np.outer(rest_of_total, shift)
        return gram - cross - cross.T + int(chosen.sum()) * np.outer(shift, shift)


def _classes(decomposed: Spectrum, target: Labels) -> Iterator[_Class]:
    order, end, d = np.argsort(target.codes, kind="stable"), 0, len(decomposed.centre)
    for count in target.counts:
        rows, end = order[end : end + count], end + int(count)
        gram, total = np.zeros((d, d)) if count >= d else np.empty((0, 0)), np.zeros(d)
        for block in _blocks(decomposed, rows, whole=bool(count < d)):
            total += block.sum(axis=0)
            gram = gram + block.T @ block if count >= d else block @ block.T
        yield _Class(decomposed, rows, gram, total)


def _blocks(decomposed: Spectrum, rows: Integers, *, whole: bool = False) -> Iterator[Float64]:
    """Yield centred features of some examples, ``[b, d]``, or of all of them at once."""
    step = max(len(rows), 1) if whole else _ROWS
    for start in range(0, len(rows), step):
        block = decomposed.features[rows[start : start + step]].astype(np.float64)
        block *= decomposed.scale
        block -= decomposed.centre
        yield block


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
