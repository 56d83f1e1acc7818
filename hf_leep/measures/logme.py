"""LogME, the log maximum evidence of a Bayesian linear model on the features.

You, Liu, Wang, Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021, equations
(1) and (2): for each class, y = 1[label = class] ~ N(0, β⁻¹I + α⁻¹FFᵀ), maximised over α, β > 0; the mean over the
classes, divided by n.

The evidence is evaluated in closed form on the eigenvalues of FFᵀ. The widely copied fixed-point code leaves
−(d−k)/2·log α out when the rank k is below d, which rewards noise at n < d; here nothing is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64
from hf_leep.measures.spectrum import spectrum

# λ = α/β is searched on this range times the mean eigenvalue. A class that a linear map fits without any error has
# evidence without bound as λ → 0; the range keeps it finite.
_LOG_RANGE = (np.log(1e-10), np.log(1e10))
_GRID = 64
_ZOOMS = 6  # the first look over the whole grid, then five into two grid steps


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how well a Bayesian linear model explains the classes, in nats per example and class; higher is better.

    Args:
        features: penultimate features, ``[n, d]``, used as they are (no centring, as in the paper).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        The mean log evidence; it is a density of 0/1 targets, so positive values are normal. Invariant to the order
        of rows, to rotating and to rescaling the features, and to renaming labels.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Reference: You et al. 2021, eq. (2).
    """
    return influence(features, labels)[0]


def influence(features: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """LogME and the influence of each example on it, ``[n]``, mean 0.

    At the maximum, α, β and the posterior mean m add nothing to first order, which leaves for a class
    ∂ log p/∂w_i = ½ log β − ½ log 2π − ½ β (y_i − f_iᵀm)² − ½ β f_iᵀ(αI + βFᵀF)⁻¹f_i.
    The score is that sum over n: no sum of terms alone, but its derivative is their mean.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    n = len(matrix)
    decomposed = spectrum(matrix, target, centred=False)
    squared = decomposed.eigenvalues  # σ² [k]
    z2 = decomposed.projections**2  # [k, t]
    residual = np.maximum(target.counts - z2.sum(axis=0), 0.0)  # ‖y‖² outside the column space [t]

    log_ratio = _maximise(squared, z2, residual, n)  # log(α/β) [t]
    evidence, beta = _evidence(log_ratio, squared, z2, residual, n)
    value = float(evidence.mean()) / n

    shrunk = squared[:, None] / (squared[:, None] + np.exp(log_ratio))  # σ²/(σ² + λ) [k, t]
    fitted_weights = decomposed.projections * shrunk
    indicator = np.eye(target.num_classes)
    values = np.empty(n)
    for rows, left in decomposed.left_blocks():
        error2 = (indicator[target.codes[rows]] - left @ fitted_weights) ** 2  # [b, t]
        leverage = (left * left) @ shrunk  # β fᵀA⁻¹f [b, t]
        values[rows] = -0.5 * (error2 * beta + leverage).mean(axis=1)
    return value, values - values.mean()


def _evidence(log_ratio: Float64, squared: Float64, z2: Float64, residual: Float64, n: int) -> tuple[Float64, Float64]:
    """Log evidence at λ = α/β and the best β for it: ``[..., t], [..., t]`` from log λ ``[..., t]``.

    log N(y; 0, β⁻¹ diag(w)) in the left basis, w = 1 + σ²/λ; the best β is n/(Σ z²/w + residual).
    """
    inverse = 1.0 / (1.0 + squared * np.exp(-log_ratio[..., None]))  # 1/w [..., t, k]
    fit = np.maximum((inverse * z2.T).sum(axis=-1) + residual, np.finfo(np.float64).tiny)
    beta = n / fit
    evidence = 0.5 * (n * np.log(beta) + np.log(inverse).sum(axis=-1) - n * (1 + np.log(2 * np.pi)))
    return evidence, beta


def _maximise(squared: Float64, z2: Float64, residual: Float64, n: int) -> Float64:
    """Log λ of the highest evidence, ``[t]``: a grid over the range, since there can be two maxima, then zooms."""
    scale = np.log(squared.mean()) if len(squared) else 0.0
    low = np.full(z2.shape[1], _LOG_RANGE[0] + scale)  # [t]
    high = np.full(z2.shape[1], _LOG_RANGE[1] + scale)
    points = np.linspace(0.0, 1.0, _GRID)
    for _ in range(_ZOOMS):
        best, best_value = low, np.full(len(low), -np.inf)
        for point in points:  # one grid column at a time keeps memory at O(t·k)
            at = low + (high - low) * point
            value, _ = _evidence(at, squared, z2, residual, n)
            better = value > best_value
            best, best_value = np.where(better, at, best), np.where(better, value, best_value)
        step = (high - low) / (_GRID - 1)
        low, high = np.maximum(best - step, low), np.minimum(best + step, high)
        points = np.linspace(0.0, 1.0, 16)
    return best
