"""LogME, the log maximum evidence of a Bayesian linear model on the features.

You, Liu, Wang, Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021, equations
(1) and (2): for each class, y = 1[label = class] ~ N(0, β⁻¹I + α⁻¹FFᵀ), maximised over α, β > 0; the mean over the
classes, divided by n.

The evidence is computed in closed form from the eigenvalues of FFᵀ. The widely copied fixed-point code omits the term
−(d−k)/2·log α when the rank k is below d, which rewards noise for n < d; this implementation does not.
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import standard_error as _standard_error
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of
from hf_leep.measures.spectrum import Spectrum, spectrum

# λ = α/β is searched from far below the smallest eigenvalue of FFᵀ to far above the largest. The evidence of a class
# that a linear map fits without error grows without bound as λ → 0; the range keeps it finite.
_MARGIN = np.log(1e8)
_GRID = 96
_FINER, _ZOOMS = 16, 7  # then this many points between the neighbours of the best point, this many times


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
    return jackknife(lambda kept: _value(matrix, labels_of(target, kept), kept), len(matrix), draws)


def _value(matrix: FloatMatrix, target: Labels, kept: Kept = None) -> float:
    n = len(target)
    decomposed = spectrum(matrix, target, whitened=False, kept=kept)
    return float(_evidence_of(decomposed, target.counts.astype(np.float64), n).mean()) / n


def _evidence_of(decomposed: Spectrum, norms: Float64, n: int) -> Float64:
    """Return the highest log evidence of each target ``[t]``; ``norms`` are ‖y‖² ``[t]``."""
    z2 = decomposed.projections**2  # [k, t]
    residual = np.maximum(norms - z2.sum(axis=0), 0.0)  # ‖y‖² outside the column space [t]
    return _maximum(decomposed.eigenvalues, z2, residual, n)


def _evidence(log_ratio: Float64, squared: Float64, z2: Float64, residual: Float64, n: int) -> Float64:
    """Return the log evidence of each target at λ = α/β with the best β for it, ``[t]``, given log λ ``[t]``.

    log N(y; 0, β⁻¹ diag(w)) in the basis of the left singular vectors, w = 1 + σ²/λ; the best β is n/(Σ z²/w +
    residual).
    """
    inverse = 1.0 / (1.0 + squared * np.exp(-log_ratio[:, None]))  # 1/w [t, k]
    fit = np.maximum((inverse * z2.T).sum(axis=1) + residual, np.finfo(np.float64).tiny)
    return np.asarray(0.5 * (n * np.log(n / fit) + np.log(inverse).sum(axis=1) - n * (1 + np.log(2 * np.pi))))


def _maximum(squared: Float64, z2: Float64, residual: Float64, n: int) -> Float64:
    """Return the highest log evidence over λ, ``[t]``.

    A grid over the whole range, since there can be two maxima, then ever finer grids around the best point.
    """
    ends = np.log([squared[0], squared[-1]]) if len(squared) else np.zeros(2)
    low = np.full(z2.shape[1], ends[0] - _MARGIN)  # [t]
    high = np.full(z2.shape[1], ends[1] + _MARGIN)
    count = _GRID
    best_value = _evidence(np.full(len(low), np.inf), squared, z2, residual, n)  # λ = ∞: the features are not used
    for _ in range(1 + _ZOOMS):
        step, best = (high - low) / (count - 1), low
        for k in range(count):  # one grid point at a time keeps memory at O(t·k)
            value = _evidence(low + k * step, squared, z2, residual, n)
            best = np.where(value >= best_value, low + k * step, best)
            best_value = np.maximum(value, best_value)
        low, high, count = np.maximum(best - step, low), np.minimum(best + step, high), _FINER
    return best_value


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
