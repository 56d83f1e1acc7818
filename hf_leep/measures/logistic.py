"""Multinomial logistic regression with a quadratic penalty, in the principal coordinates of the features.

For the measures that are read off such a fit. The optimum depends on features F [n, d] only through their principal
coordinates Z = U diag(σ) [n, k] (components of the weights outside them are penalised and help nothing), and in these
the curvature is nearly diagonal, so that L-BFGS with that diagonal taken out needs few steps at any conditioning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.spectrum import Spectrum, spectrum

_STEPS = 500
_FLAT = 1e-7  # gradient, in coordinates where the curvature is about 1, below which the optimum is reached
_SOLVED = 1e-3  # relative residual of a linear system that only an error is read off
_DUAL_ROWS = 1024


@dataclass(frozen=True)
class Design:
    """Centred features as a logistic regression reads them.

    Attributes:
        decomposed: their spectral form.
        unit: what the principal coordinates are multiplied by.
        squares: sums of squares of the coordinates and of the constant 1 after them, ``[k + 1]``.
        log_square: logarithm of the squared length, in the features' own unit, of what here has length 1.
    """

    decomposed: Spectrum
    unit: float
    squares: Float64
    log_square: float

    def __len__(self) -> int:
        """Number of examples n."""
        return len(self.decomposed.features)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, what `lifted` weights are multiplied by)``: scaled features, or U where n < d."""
        if self.decomposed.dual:
            for start in range(0, len(self.decomposed.basis), _DUAL_ROWS):
                rows = slice(start, min(start + _DUAL_ROWS, len(self.decomposed.basis)))
                yield rows, self.decomposed.basis[rows]
        else:
            for rows, block in arrays.row_blocks(self.decomposed.features):
                block *= self.decomposed.scale
                block -= self.decomposed.centre
                yield rows, block

    def lifted(self, weights: Float64) -> Float64:
        """Weights of coordinates ``[k, t]`` as weights of what `blocks` yields."""
        if self.decomposed.dual:
            return weights * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.decomposed.basis @ (self.unit * weights))

    def lowered(self, gradient: Float64) -> Float64:
        """The transposed map of `lifted`: gradients of those weights as gradients of coordinates, ``[k, t]``."""
        if self.decomposed.dual:
            return gradient * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.unit * (self.decomposed.basis.T @ gradient))

    def squared_lengths(self, kept: NDArray[np.bool_] | None) -> Float64:
        """Squared distance of each row from the mean of the kept ones, ``[n]``."""
        weights = self.decomposed.eigenvalues if self.decomposed.dual else np.ones(self.decomposed.basis.shape[0])
        mean = np.zeros(len(weights))
        for rows, block in self.blocks():
            mean += block.sum(axis=0) if kept is None else kept[rows] @ block
        mean /= len(self) if kept is None else kept.sum()
        lengths = np.empty(len(self))
        for rows, block in self.blocks():
            lengths[rows] = (block - mean) ** 2 @ weights
        return self.unit**2 * lengths

    def logits(self, weights: Float64) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, logits [b, t])`` of weights ``[k + 1, t]``, the last row those of the constant."""
        lifted = self.lifted(weights[:-1])
        for rows, block in self.blocks():
            yield rows, block @ lifted + weights[-1]


def design(matrix: FloatMatrix, target: Labels) -> Design:
    """Prepare features ``[n, d]``, centred and scaled to a mean squared length of 1.

    Args:
        matrix: the features.
        target: their labels.

    Raises:
        InputError: NaN or an infinity in the features.
    """
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    total = float(decomposed.eigenvalues.sum())
    unit = float(np.sqrt(len(target) / total)) if total > 0 else 1.0
    log_square = -2 * float(np.log(unit) + np.log(decomposed.scale))
    return Design(decomposed, unit, np.append(unit**2 * decomposed.eigenvalues, len(target)), log_square)


def fit(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    *,
    offset: Float64 | None = None,
    kept: NDArray[np.bool_] | None = None,
    start: Float64 | None = None,
) -> Float64:
    """Weights ``[k + 1, t]`` that minimise Σ_i −log softmax(W z_i + offset)_{y_i} + ½ Σ_j penalty_j ‖W_j‖².

    Args:
        prepared: features, from `design`.
        target: their labels.
        penalty: of each coordinate and of the constant, ``[k + 1]``; 0 allowed for the constant where every class
            occurs among the kept rows.
        offset: added to the logits of each class, ``[t]``; none by default.
        kept: which rows count, ``[n]``; all by default.
        start: weights to start from.
    """
    from scipy.optimize import minimize

    shape = (len(penalty), target.num_classes)
    curvature = (1 - 1 / shape[1]) / shape[1]  # p (1 − p), were all classes alike
    step = 1.0 / np.sqrt(curvature * prepared.squares + penalty)[:, None]

    def objective(flat: Float64) -> tuple[float, Float64]:
        weights = flat.reshape(shape) * step
        lifted, constant = prepared.lifted(weights[:-1]), weights[-1] if offset is None else weights[-1] + offset
        loss, slope, slope_of_constant = 0.0, np.zeros_like(lifted), np.zeros(shape[1])
        for rows, block in prepared.blocks():
            codes = target.codes[rows]
            if kept is not None:
                block, codes = block[kept[rows]], codes[kept[rows]]
            log_p = log_softmax(block @ lifted + constant)
            at = np.arange(len(codes))
            loss -= float(log_p[at, codes].sum())
            residual = np.exp(log_p, out=log_p)
            residual[at, codes] -= 1.0
            slope += block.T @ residual
            slope_of_constant += residual.sum(axis=0)
        gradient = np.vstack([prepared.lowered(slope), slope_of_constant]) + penalty[:, None] * weights
        return loss + 0.5 * float(penalty @ (weights * weights).sum(axis=1)), (gradient * step).ravel()

    first = np.zeros(shape) if start is None else start / step
    found = minimize(
        objective, first.ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": _STEPS, "maxcor": 10, "ftol": 0.0, "gtol": _FLAT},
    )  # fmt: skip
    return np.asarray(found.x.reshape(shape) * step)


def solved(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    weights: Float64,
    right: Float64,
    *,
    offset: Float64 | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> Float64:
    """Solution V ``[k + 1, t]`` of H V = ``right``, H the curvature of what `fit` minimises; conjugate gradients.

    Args:
        prepared: as for `fit`, and so are the others.
        target: labels.
        penalty: of each coordinate and of the constant.
        weights: where the curvature is taken, ``[k + 1, t]``.
        right: right-hand side, ``[k + 1, t]``.
        offset: added to the logits.
        kept: which rows count.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    shape = right.shape
    curvature = (1 - 1 / shape[1]) / shape[1]
    inverse = 1.0 / (curvature * prepared.squares + penalty)[:, None]
    lifted, constant = prepared.lifted(weights[:-1]), weights[-1] if offset is None else weights[-1] + offset

    def curved(flat: Float64) -> Float64:
        direction = flat.reshape(shape)
        moved, slope, slope_of_constant = prepared.lifted(direction[:-1]), np.zeros_like(lifted), np.zeros(shape[1])
        for rows, block in prepared.blocks():
            if kept is not None:
                block = block[kept[rows]]
            p = np.exp(log_softmax(block @ lifted + constant))
            change = block @ moved + direction[-1]
            change -= np.vecdot(p, change)[:, None]
            change *= p
            slope += block.T @ change
            slope_of_constant += change.sum(axis=0)
        return np.asarray(
            np.vstack([prepared.lowered(slope), slope_of_constant]) + penalty[:, None] * direction
        ).ravel()

    size = (right.size, right.size)
    found, _ = cg(
        LinearOperator(size, matvec=curved, dtype=np.float64), right.ravel(), rtol=_SOLVED, maxiter=_STEPS,
        M=LinearOperator(size, matvec=lambda flat: (flat.reshape(shape) * inverse).ravel(), dtype=np.float64),
    )  # fmt: skip
    return np.asarray(found.reshape(shape))


def log_softmax(logits: Float64) -> Float64:
    """Logarithms of the softmax of each row, ``[b, t]``; overwrites its input."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits
