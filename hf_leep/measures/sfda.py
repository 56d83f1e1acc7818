"""SFDA, self-challenging Fisher discriminant analysis.

Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo: Not All Models Are Equal: Predicting Model Transferability in a
Self-challenging Fisher Space, ECCV 2022: a regularised Fisher discriminant gives p(y|x); each example is
mixed with the means of the other classes, the more the less it is recognised; a second discriminant, on the mixed
features, scores the mean p(y_i|x_i).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import Spectrum, spectrum

STRENGTH = 5.0  # a of λ = exp(−a σ)
_LEAST = 1e-10  # λ is not let below this
_FLOOR = 1e-12  # of the features' mean variance: no class varies less in any direction


def sfda(features: ArrayLike, labels: ArrayLike) -> float:
    """Score the mean probability of the right class in a self-challenged Fisher discriminant; higher is better.

    With S the covariance within classes, λ = max(exp(−5 σ), 1e-10), σ its largest eigenvalue, and
    S_λ = (1 − λ) S + λ tr(S)/d·I, p(y|x) ∝ π_y N(x; μ_y, S_λ): that is the paper's Bayes rule in Fisher space, for the
    directions that it leaves out tell the classes not apart. The mixing is x → w x + (1 − w) m, m the mean of the
    means of the other classes, w = softmax(p(·|x))_y, and λ is that of the first discriminant.

    The paper and its authors' code differ; where they do, this is the code: S is an average over examples, not a
    sum (whose λ would always be 0); the ridge is in the unit of the features; w is a softmax of the probabilities, so
    that it lies in (1/(1 + e(t − 1)), e/(e + t − 1)). σ is exact here, where that code takes three steps of power
    iteration; and the input is left alone, where that code overwrites it.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        A score in [0, 1]. Invariant to the order of rows, to shifting and rotating the features and to renaming
        labels; not to rescaling them, since λ depends on their unit. Repeating the data set changes nothing.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + n·t·min(n, d)) time; O(d·min(n, d) + t·d + n + block) memory.

    Not for: n that is not many times d, if the features are large (σ of 5 or more): hardly anything is shrunk then,
    and any features are told apart, noise included, up to the full score of 1. Nor for candidates of different width
    on few examples: at n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns scores 0.20, 0.35 and 1. Nor for
    candidates whose features have other units.

    Reference: Shao et al. 2022.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(_centred(matrix, target), target, None)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """SFDA and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    Where n ≤ d and nothing is shrunk, the score is 1 and its error 0: neither says anything about the features.

    Args:
        features: as for `sfda`.
        labels: as for `sfda`.
        draws: which independent draw each example is of, ``[n]``.

    Errors: as for `sfda`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    source = _centred(matrix, target)
    return jackknife(lambda kept: _value(source, labels_of(target, kept), kept), len(matrix), draws)


@dataclass(frozen=True)
class _Points:
    """Some of the examples, as they are or mixed, block by block: m of n, each a point of q coordinates.

    Attributes:
        source: spectral form of all the examples.
        kept: which are meant, ``[n]``; None for all.
        target: their labels, ``[m]``.
        others: for each class, the mean of the means of the other classes, ``[t, q]``; None for points as they are.
        weights: w, the share of itself that each keeps, ``[m]``.
    """

    source: Spectrum
    kept: Kept
    target: Labels
    others: Float64 | None = None
    weights: Float64 | None = None

    def blocks(self) -> Iterator[tuple[Integers, slice, Float64]]:
        """Yield (classes [b], positions among the m, points [b, q])."""
        end = 0
        for rows, block in self.source.point_blocks():
            chosen = block if self.kept is None else block[self.kept[rows]]
            if not len(chosen):
                continue
            these = slice(end, end + len(chosen))
            end, codes = these.stop, self.target.codes[these]
            if self.others is not None and self.weights is not None:
                own = self.weights[these, None]
                chosen = own * chosen + (1 - own) * self.others[codes]
            yield codes, these, chosen


def _centred(matrix: FloatMatrix, target: Labels) -> Spectrum:
    return spectrum(matrix, target, whitened=False, centred=True)


def _value(source: Spectrum, target: Labels, kept: Kept) -> float:
    if target.num_classes < 2:
        return 1.0
    n, d = source.features.shape
    if not len(source.eigenvalues):  # features that do not vary: p(y|x) = π_y
        return float(((target.counts / len(target)) ** 2).sum())
    floor = _FLOOR * float(source.eigenvalues.sum()) / n / d
    plain = _Points(source, kept, target)
    means, within = _moments(plain)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):  # the features' own unit
        largest = _largest_eigenvalue(within) / np.float64(source.scale) ** 2
    shrunk = max(float(np.exp(-STRENGTH * largest)), _LEAST)
    own = _own_probability(plain, means, _ridged(within, shrunk, floor, d), softened=True)
    others = (means.sum(axis=0) - means) / (target.num_classes - 1)
    mixed = _Points(source, kept, target, others, own)
    means, within = _moments(mixed)
    return float(_own_probability(mixed, means, _ridged(within, shrunk, floor, d), softened=False).mean())


def _moments(points: _Points) -> tuple[Float64, Float64]:
    """Class means ``[t, q]`` and the covariance within classes ``[q, q]``."""
    q = len(points.source.basis) if not points.source.dual else len(points.source.eigenvalues)
    means, within = np.zeros((points.target.num_classes, q)), np.zeros((q, q))
    for codes, _, block in points.blocks():
        add_grouped(means, block, codes)
    means /= points.target.counts[:, None]
    for codes, _, block in points.blocks():
        apart = block - means[codes]
        within += apart.T @ apart
    return means, within / len(points.target)


def _largest_eigenvalue(matrix: Float64) -> float:
    from scipy.linalg import eigvalsh

    last = len(matrix) - 1
    return float(eigvalsh(matrix, subset_by_index=[last, last])[0])


def _ridged(within: Float64, shrunk: float, floor: float, num_features: int) -> Float64:
    """S_λ ``[k, k]``."""
    result = (1 - shrunk) * within
    result.flat[:: len(result) + 1] += max(shrunk * float(np.trace(within)) / num_features, floor)
    return np.asarray(result)


def _own_probability(points: _Points, means: Float64, covariance: Float64, *, softened: bool) -> Float64:
    """p(y_i|x_i) of each example ``[n]``, or the softmax of all p(·|x_i) at y_i."""
    from scipy.linalg import cho_factor, cho_solve

    coefficients = cho_solve(cho_factor(covariance, lower=True), means.T)  # S_λ⁻¹ μ_y [k, t]
    constant = np.log(points.target.counts / len(points.target)) - 0.5 * np.vecdot(means, coefficients.T)
    result = np.empty(len(points.target))
    for codes, rows, block in points.blocks():
        probability = _softmax(block @ coefficients + constant)
        if softened:
            probability = _softmax(probability)
        result[rows] = probability[np.arange(len(codes)), codes]
    return result


def _softmax(values: Float64) -> Float64:
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))
