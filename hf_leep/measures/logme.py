"""LogME, the log maximum evidence of a Bayesian linear model on the features.

You, Liu, Wang, Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021, equations
(1) and (2): for each class, y = 1[label = class] ~ N(0, β⁻¹I + α⁻¹FFᵀ), maximised over α, β > 0; the mean over the
classes, divided by n.

The evidence is computed in closed form from the eigenvalues of FFᵀ. The widely copied fixed-point code omits the term
−(d−k)/2·log α when the rank k is below d, which rewards noise for n < d; this implementation does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import add_grouped
from hf_leep.measures.blocks import standard_error as _standard_error
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.rest import class_sums
from hf_leep.measures.spectrum import Spectrum, spectrum

# λ = α/β is searched from far below the smallest eigenvalue of FFᵀ to far above the largest. The evidence of a class
# that a linear map fits without error grows without bound as λ → 0; the range keeps it finite.
_MARGIN = np.log(1e8)
_GRID = 96
_FINER, _ZOOMS = 16, 7  # then this many points between the neighbours of the best point, this many times
# In parts of the examples log λ is searched this far around that of all, at this many points; unless those of the
# classes span twice as much, or some are lower than the largest eigenvalue by this much, which loses digits.
_REACH, _POINTS, _WIDEST, _DEEPEST = 1.0, 21, 10.0, 25.0


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how well a Bayesian linear model explains the classes, in nats per example and class; higher is better.

    Args:
        features: penultimate features, ``[n, d]``, used as they are (not centred, as in the paper).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        The mean log evidence, any real number. It is a density of 0/1 targets, so positive values are normal.
        Invariant to the order of rows, to rotating and rescaling the features, and to renaming the labels; not to
        shifting the features, nor to repeating the data set.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³) time, and O(t·min(n, d)) for each of some 200 points of the search over α/β;
    O(d·min(n, d) + t·d + block) memory.

    Not for: comparing targets, since the density of their 0/1 columns depends on their classes. Not for features that
    fit a class without error in fewer directions than examples: the evidence has no maximum then, and the score
    depends on where the search ends.

    Reference: You et al. 2021, eq. (2).

    Examples:
        >>> from hf_leep import measures
        >>> features = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.2], [0.8, 0.0]]
        >>> round(measures.logme(features, [0, 0, 1, 1]), 4)
        -0.3379
        >>> round(measures.logme(features, [0, 1, 0, 1]), 4)
        -1.0604
    """
    matrix = arrays.features(features)
    return _value(matrix, arrays.labels(labels, len(matrix)))


@overload
def logme_regression(features: ArrayLike, targets: ArrayLike, *, standard_error: Literal[False] = False) -> float: ...


@overload
def logme_regression(
    features: ArrayLike, targets: ArrayLike, *, standard_error: Literal[True]
) -> tuple[float, float]: ...


def logme_regression(
    features: ArrayLike, targets: ArrayLike, *, standard_error: bool = False
) -> float | tuple[float, float]:
    """Score how well a Bayesian linear model explains real-valued targets, in nats per example; higher is better.

    Args:
        features: penultimate features, ``[n, d]``, used as they are (not centred, as in the paper).
        targets: real numbers ``[n]``, or several for each example, ``[n, m]``; used as they are. The model has no
            intercept, so centre the targets unless the features contain a constant column.
        standard_error: whether to return the standard error too, from the delete-a-group jackknife as for `logme`;
            this takes eleven times as long.

    Returns:
        The mean over the m targets of the log evidence divided by n. It is a density: multiplying a target by c lowers
        its evidence by log |c| for every candidate, so compare scores between candidates, not between targets.
        Invariant to the order of rows and to rotating and rescaling the features.

    Raises:
        InputError: wrong shapes, NaN or infinite values, or a target that is the same for all examples.

    Cost: as for `logme`, with m targets in place of t classes.

    Not for: comparing data sets, or one target in two units. Not for targets that the features fit without error, as
    for `logme`.

    Reference: You et al. 2021, eq. (2).

    Examples:
        >>> from hf_leep import measures
        >>> features = [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]
        >>> round(measures.logme_regression(features, [0.1, 0.9, 2.2, 2.8]), 4)
        -0.7996
    """
    matrix = arrays.features(features)
    target = arrays.real_targets(targets, len(matrix))
    scale = np.abs(target).max(axis=0)  # the squares of the largest float64 numbers would overflow
    target /= scale

    def score(kept: Kept) -> float:
        used = target if kept is None else target[kept]
        evidence = _evidence_of(
            spectrum(matrix, used, whitened=False, kept=kept), (used * used).sum(axis=0), len(used)
        )
        return float((evidence / len(used) - np.log(scale)).mean())

    if not standard_error:
        return score(None)
    value, pseudo = jackknife(score, len(matrix))
    return value, _standard_error(pseudo)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return LogME in nats and the pseudo-values of its delete-a-group jackknife, ``[10]`` values of mean 0.

    The evidence is not a sum over examples, and unless n is many times d its derivative by an example's weight gives
    standard errors that are far too small (a third of the true ones for n < d). So the score is computed again without
    each of 10 groups of examples. The groups depend on n alone and are the same for all candidates, so std/√10 of a
    difference of pseudo-values is a paired standard error. With fewer than 20 examples, each example is a group.

    Args:
        features: as for `logme`.
        labels: as for `logme`.
        draws: index of the draw that each example belongs to, 0 … g−1, all occurring, ``[n]``; the examples of a draw
            are left out together. By default each example is its own draw.

    Errors: as for `logme`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    # In a part of the examples, the evidence of a class is searched around the λ that is best for all of them.
    decomposed = spectrum(matrix, target, whitened=False)
    z2, residual = _coordinates(decomposed, target.counts.astype(np.float64))
    log_ratio, evidence = _maximum(decomposed.eigenvalues, z2, residual, len(matrix))
    search = _Search.around(log_ratio, decomposed.eigenvalues)

    def score(kept: Kept) -> float:
        if kept is None:
            return float(evidence.mean()) / len(matrix)
        if search is None:
            return _value(matrix, labels_of(target, kept), kept)
        return _without(decomposed, target, kept, search)

    return jackknife(score, len(matrix), draws)


def _value(matrix: FloatMatrix, target: Labels, kept: Kept = None) -> float:
    n = len(target)
    decomposed = spectrum(matrix, target, whitened=False, kept=kept)
    return float(_evidence_of(decomposed, target.counts.astype(np.float64), n).mean()) / n


def _evidence_of(decomposed: Spectrum, norms: Float64, n: int) -> Float64:
    """Return the highest log evidence of each target ``[t]``; ``norms`` are ‖y‖² ``[t]``."""
    return _maximum(decomposed.eigenvalues, *_coordinates(decomposed, norms), n)[1]


def _coordinates(decomposed: Spectrum, norms: Float64) -> tuple[Float64, Float64]:
    """Return the squared coordinates of each target, ``[k, t]``, and ‖y‖² outside the column space, ``[t]``."""
    z2 = decomposed.projections**2
    return z2, np.maximum(norms - z2.sum(axis=0), 0.0)


def _evidence(log_ratio: Float64, squared: Float64, z2: Float64, residual: Float64, n: int) -> Float64:
    """Return the log evidence of each target at λ = α/β with the best β for it, ``[t]``, given log λ ``[t]``.

    log N(y; 0, β⁻¹ diag(w)) in the basis of the left singular vectors, w = 1 + σ²/λ; the best β is n/(Σ z²/w +
    residual).
    """
    inverse = 1.0 / (1.0 + squared * np.exp(-log_ratio[:, None]))  # 1/w [t, k]
    fit = np.maximum((inverse * z2.T).sum(axis=1) + residual, np.finfo(np.float64).tiny)
    return np.asarray(0.5 * (n * np.log(n / fit) + np.log(inverse).sum(axis=1) - n * (1 + np.log(2 * np.pi))))


def _maximum(squared: Float64, z2: Float64, residual: Float64, n: int) -> tuple[Float64, Float64]:
    """Return the log λ of the highest log evidence, ``[t]``, and that evidence, ``[t]``.

    A grid over the whole range, since there can be two maxima, then ever finer grids around the best point.
    """
    ends = np.log([squared[0], squared[-1]]) if len(squared) else np.zeros(2)
    low = np.full(z2.shape[1], ends[0] - _MARGIN)  # [t]
    high = np.full(z2.shape[1], ends[1] + _MARGIN)
    count = _GRID
    best = np.full(len(low), np.inf)  # λ = ∞: the features are not used
    best_value = _evidence(best, squared, z2, residual, n)
    for _ in range(1 + _ZOOMS):
        step = (high - low) / (count - 1)
        for k in range(count):  # one grid point at a time keeps memory at O(t·k)
            value = _evidence(low + k * step, squared, z2, residual, n)
            best = np.where(value >= best_value, low + k * step, best)
            best_value = np.maximum(value, best_value)
        around = np.where(np.isfinite(best), best, low)
        low, high, count = np.maximum(around - step, low), np.minimum(around + step, high), _FINER
    return best, best_value


@dataclass(frozen=True)
class _Search:
    """Where to search the evidence of each class in parts of the examples.

    As a function of log λ, the evidence is analytic up to a distance of π from the real line, so few values at
    Chebyshev's nodes determine it.

    Attributes:
        nodes: log λ at which the evidence of all classes is computed, ``[m]``.
        weights: weights of those values in the evidence at equidistant points around the best λ, ``[t, p, m]``.
    """

    nodes: Float64
    weights: Float64

    @classmethod
    def around(cls, log_ratio: Float64, squared: Float64) -> _Search | None:
        """Return the search for classes with the best log λ given, ``[t]``; None if some are too far from the others.

        That is where the features are not used, or fit the class without error: λ then lies at an end of its range.
        """
        if not len(squared) or not np.isfinite(log_ratio).all():
            return None
        if log_ratio.min() < max(np.log(squared[0]) - _MARGIN + 2 * _REACH, np.log(squared[-1]) - _DEEPEST):
            return None
        middle = (log_ratio.min() + log_ratio.max()) / 2
        radius = log_ratio.max() - middle + _REACH
        if radius > _WIDEST:
            return None
        number = 6 + int(4 * radius)  # the values between the nodes are then accurate to 1e-6
        angles = np.pi * (np.arange(number) + 0.5) / number
        points = log_ratio[:, None] + np.linspace(-_REACH, _REACH, _POINTS)  # [t, p]
        # The polynomial Σ_j c_j T_j with the values at the nodes: c by orthogonality, T_j(cos φ) = cos jφ.
        orders = np.arange(len(angles))
        at_nodes = np.cos(np.outer(orders, angles)) * np.where(orders, 2, 1)[:, None] / len(angles)
        at_points = np.cos(orders * np.arccos(np.clip((points - middle) / radius, -1, 1))[..., None])
        return cls(middle + radius * np.cos(angles), at_points @ at_nodes)

    def highest(self, values: Float64, classes: NDArray[np.bool_]) -> Float64:
        """Return the highest value near the best λ of some classes, given values at the nodes, ``[m, t] -> [t]``."""
        near = np.einsum("tpm,mt->tp", self.weights[classes], values)
        best = np.clip(near.argmax(axis=1), 1, near.shape[1] - 2)
        before, at, after = (near[np.arange(len(near)), best + step] for step in (-1, 0, 1))
        curvature = 2 * at - before - after  # the parabola through three points
        gain = np.divide((after - before) ** 2, 8 * curvature, out=np.zeros_like(at), where=curvature > 0)
        return np.asarray(np.where((at >= before) & (at >= after), at + gain, near.max(axis=1)))


def _without(decomposed: Spectrum, target: Labels, kept: NDArray[np.bool_], search: _Search) -> float:
    """Return the score of the examples to use, from the decomposition and labels of all, see `measures.rest`.

    The matrices to invert have the size of the part that is left out: with D = (Λ + λ)⁻¹ and Z_G its coordinates,
    (Λ − Z_GᵀZ_G + λ)⁻¹ = D + D Z_Gᵀ M⁻¹ Z_G D and det(Λ − Z_GᵀZ_G + λ) = det(Λ + λ) det M, M = I − Z_G D Z_Gᵀ.
    """
    from scipy.linalg import solve_triangular

    left_out = decomposed.coordinates(~kept)
    counts = np.bincount(target.codes[kept], minlength=target.num_classes)
    present, n = counts > 0, int(kept.sum())
    sums = class_sums(decomposed)
    add_grouped(sums, -left_out, target.codes[~kept])
    sums = sums[present].T  # Fᵀ1[y=c] of the examples to use [k, t]
    ratios = np.exp(search.nodes)
    if len(left_out) > left_out.shape[1]:  # a matrix of the size of the features is the smaller one
        squared, axes = np.linalg.eigh(np.diag(decomposed.eigenvalues) - left_out.T @ left_out)
        squared = np.maximum(squared, 0.0)
        explained = (1 / (squared + ratios[:, None])) @ np.square(axes.T @ sums)  # [m, t]
        log_determinant = np.log1p(squared / ratios[:, None]).sum(axis=1)
    else:
        explained, log_determinant = np.empty((len(ratios), sums.shape[1])), np.empty(len(ratios))
        for at, ratio in enumerate(ratios):
            weight = 1 / (decomposed.eigenvalues + ratio)
            weighted = left_out * weight
            root = np.linalg.cholesky(np.eye(len(left_out)) - weighted @ left_out.T)
            rotated = solve_triangular(root, weighted @ sums, lower=True)
            explained[at] = weight @ sums**2 + np.square(rotated).sum(axis=0)
            log_determinant[at] = -np.log(ratio * weight).sum() + 2 * np.log(np.diag(root)).sum()
    fit = np.maximum(counts[present] - explained, np.finfo(np.float64).tiny)
    values = 0.5 * (n * np.log(n / fit) - log_determinant[:, None] - n * (1 + np.log(2 * np.pi)))
    unused = 0.5 * n * (np.log(n / counts[present]) - 1 - np.log(2 * np.pi))  # λ = ∞
    return float(np.maximum(search.highest(values, present), unused).mean()) / n


MEASURE = Measure(
    name="logme",
    title="LogME",
    needs="features",
    unit="nats",
    reference="You et al., ICML 2021, eq. (2)",
    summary="evidence of a Bayesian linear model on the features; needs no head",
    function=logme,
    influence=influence,
    resamples=True,
)
