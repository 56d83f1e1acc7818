"""SFDA, self-challenging Fisher discriminant analysis.

Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo: Not All Models Are Equal: Predicting Model Transferability in a
Self-challenging Fisher Space, ECCV 2022: a regularised Fisher discriminant gives p(y|x); each example is mixed with
the means of the other classes, the more so the lower its p(y|x); the mean p(y_i|x_i) of a second discriminant, fitted
to the mixed features, is the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import Spectrum, spectrum

STRENGTH = 5.0  # a of λ = exp(−a σ)
_MIN_SHRINKAGE = 1e-10  # lower bound of λ
_MANY = 200  # coordinates from which Lanczos's iterations are faster than a full tridiagonal form
_FLOOR = 1e-12  # lower bound of the variance within classes in each direction, relative to the features' mean variance


def sfda(features: ArrayLike, labels: ArrayLike) -> float:
    """Score the mean probability of the true class in a self-challenged Fisher discriminant; higher is better.

    With S the covariance within classes, σ its largest eigenvalue, λ = max(exp(−5 σ), 1e-10) and
    S_λ = (1 − λ) S + λ tr(S)/d·I, d the number of columns that vary, the discriminant is p(y|x) ∝ π_y N(x; μ_y, S_λ).
    This equals the paper's Bayes rule in Fisher space, because the directions that the paper leaves out do not
    separate the classes. The mixing is x → w x + (1 − w) m, with m the mean of the means of the other classes and
    w = softmax(p(·|x))_y; the second discriminant uses the λ of the first.

    Where the paper and its authors' code differ, this follows the code: S is an average over examples, not a sum
    (whose λ would always be 0); the regularisation is in the unit of the features; w is a softmax of probabilities, so
    it lies in (1/(1 + e(t − 1)), e/(e + t − 1)). Two points differ from that code: σ is exact, not from three steps of
    power iteration, and the input is not overwritten.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        A score in [0, 1]. Invariant to the order of rows, to shifting and rotating the features, to constant
        columns, to renaming the labels and to repeating the data set; not to rescaling the features, since λ depends
        on their unit.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + n·t·min(n, d)) time; O(d·min(n, d) + t·d + n + block) memory.

    Not for: n that is not many times d, if the features are large (σ of 5 or more). Almost nothing is shrunk then, and
    any features separate the classes, including noise, up to the maximal score of 1. Not for comparing candidates of
    different width on few examples: with n = 200 and 5 balanced classes, noise of 8, 64 and 512 columns scores 0.20,
    0.35 and 1. Not for candidates whose features have different units.

    Reference: Shao et al. 2022.

    Examples:
        >>> from hf_leep import measures
        >>> round(measures.sfda([[0.0], [0.2], [0.4], [0.3], [0.5], [0.7]], [0, 0, 0, 1, 1, 1]), 4)
        0.5673
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _value(_centred(matrix, target), target, None)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return SFDA and the pseudo-values of its jackknife, ``[10]``, mean 0; see `resampling.jackknife`.

    With n ≤ d, if nothing is shrunk, the score is 1 and its standard error 0: neither depends on the features.

    Args:
        features: as for `sfda`.
        labels: as for `sfda`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `sfda`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    source = _centred(matrix, target)
    return jackknife(lambda kept: _value(source, labels_of(target, kept), kept), len(matrix), draws)


@dataclass(frozen=True)
class _Points:
    """Some of the examples, as they are or mixed, block by block: m of n examples with q coordinates each.

    Attributes:
        source: spectral form of all the examples.
        kept: which examples are used, ``[n]``; None for all.
        target: their labels, ``[m]``.
        others: for each class, the mean of the means of the other classes, ``[t, q]``; None for unmixed points.
        weights: w, the weight of the example itself in its mixture, ``[m]``; None for unmixed points.
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
            positions = slice(end, end + len(chosen))
            end, codes = positions.stop, self.target.codes[positions]
            if self.others is not None and self.weights is not None:
                weight = self.weights[positions, None]
                chosen = weight * chosen + (1 - weight) * self.others[codes]
            yield codes, positions, chosen


def _centred(matrix: FloatMatrix, target: Labels) -> Spectrum:
    return spectrum(matrix, target, whitened=False, centred=True)


def _value(source: Spectrum, target: Labels, kept: Kept) -> float:
    if target.num_classes < 2:
        return 1.0
    n, d = len(source.features), source.num_varying
    if not len(source.eigenvalues):  # features that do not vary: p(y|x) = π_y
        return float(((target.counts / len(target)) ** 2).sum())
    floor = _FLOOR * float(source.eigenvalues.sum()) / n / d
    plain = _Points(source, kept, target)
    means, within = _moments(plain)
    shrinkage = _shrinkage(within, source.scale)
    weights = _true_class_probability(plain, means, _ridged(within, shrinkage, floor, d), softened=True)
    others = (means.sum(axis=0) - means) / (target.num_classes - 1)
    mixed = _Points(source, kept, target, others, weights)
    means, within = _moments(mixed)
    return float(_true_class_probability(mixed, means, _ridged(within, shrinkage, floor, d), softened=False).mean())


def _moments(points: _Points) -> tuple[Float64, Float64]:
    """Return the class means ``[t, q]`` and the covariance within classes ``[q, q]``."""
    q = len(points.source.basis) if not points.source.dual else len(points.source.eigenvalues)
    means, within = np.zeros((points.target.num_classes, q)), np.zeros((q, q))
    for codes, _, block in points.blocks():
        add_grouped(means, block, codes)
    means /= points.target.counts[:, None]
    for codes, _, block in points.blocks():
        difference = block - means[codes]
        within += difference.T @ difference
    return means, within / len(points.target)


def _shrinkage(within: Float64, scale: float) -> float:
    """Return λ for a covariance within classes of scaled features, ``[q, q]``."""
    bound = _exponential(float(within.diagonal().max()), scale)  # σ is no smaller than the largest variance
    return max(bound if bound <= _MIN_SHRINKAGE else _exponential(_largest_eigenvalue(within), scale), _MIN_SHRINKAGE)


def _exponential(variance: float, scale: float) -> float:
    """Return exp(−5 v) for a variance v of scaled features, in the unit of the unscaled ones."""
    if not variance > 0:
        return 1.0
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(-STRENGTH * np.exp(np.log(variance) - 2 * np.log(scale))))


def _largest_eigenvalue(matrix: Float64) -> float:
    from scipy.linalg import eigvalsh
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    if len(matrix) >= _MANY:
        start = np.random.default_rng(0).normal(size=len(matrix))
        try:
            return float(eigsh(matrix, 1, which="LA", v0=start, return_eigenvectors=False)[0])
        except ArpackNoConvergence:
            pass
    last = len(matrix) - 1
    return float(eigvalsh(matrix, subset_by_index=[last, last])[0])


def _ridged(within: Float64, shrinkage: float, floor: float, num_features: int) -> Float64:
    """Return S_λ, ``[k, k]``."""
    result = (1 - shrinkage) * within
    result.flat[:: len(result) + 1] += max(shrinkage * float(np.trace(within)) / num_features, floor)
    return np.asarray(result)


def _true_class_probability(points: _Points, means: Float64, covariance: Float64, *, softened: bool) -> Float64:
    """Return p(y_i|x_i) of each example, ``[n]``, or if ``softened`` the softmax of all p(·|x_i) at y_i."""
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


MEASURE = Measure(
    name="sfda",
    title="SFDA",
    needs="features",
    unit="",
    reference="Shao et al., ECCV 2022",
    summary="mean probability of the right class in a self-challenged Fisher discriminant; 1 for noise when n ≤ d",
    function=sfda,
    influence=influence,
    resamples=True,
    mean_of="outcomes",
    saturates_at="1",
    shuffled_baseline=True,
)
