"""Multinomial logistic regression with a quadratic penalty, in the principal coordinates of the features.

For the measures that use such a fit. The optimum depends on the features F [n, d] only through their principal
coordinates Z = U diag(σ) [n, k], since components of the weights outside them are penalised and change no prediction.
In these coordinates the Hessian is nearly diagonal, so conjugate gradients with the diagonal as preconditioner solve a
Newton step in few products. The loss and its gradient, which determine the optimum, are computed in float64 from the
features themselves. The Hessian, which only determines the way there, uses a float32 copy of Z if that is large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.spectrum import Spectrum, spectrum

_MAX_STEPS = 50  # of Newton's method
_MAX_PRODUCTS = 500  # of the Hessian with a direction, per step
# The optimum is reached when no step would lower the summed loss by more than ½ n·tolerance². Quantities computed from
# the weights, such as the held-out loss of other examples, are then off by about the tolerance per example.
TOLERANCE = 1e-5
_FAR_RESIDUAL, _NEAR_RESIDUAL = 0.25, 0.05  # relative residual of a Newton step far from the optimum, or near it
_SYSTEM_RESIDUAL = 1e-3  # relative residual of a linear system that is solved for a standard error
_MIN_CURVATURE = 1e-8  # of a coordinate in the preconditioner, relative to that of equal probabilities
_MAX_FLOAT64 = 2**20  # up to this many numbers, Z is kept in float64 for all purposes
_MAX_EXACT = 2**23  # and up to this many, in float64 for the loss and its gradient
_ROWS = 2048


@dataclass(frozen=True)
class Design:
    """Centred features in the form that a logistic regression uses.

    Attributes:
        decomposed: their spectral form.
        unit: factor of the principal coordinates.
        squares: sums of squares of the coordinates and of the constant 1 that follows them, ``[k + 1]``.
        log_square: log of the squared length, in the unit of the features, that has length 1 here.
        coordinates: the coordinates and then the constant 1, ``[n, k + 1]``; in float32 if there are many.
        exact: the coordinates in float64, ``[n, k]``; None if there are too many, or if n ≤ d.
    """

    decomposed: Spectrum
    unit: float
    squares: Float64
    log_square: float
    coordinates: FloatMatrix
    exact: Float64 | None

    def __len__(self) -> int:
        """Return the number of examples n."""
        return len(self.decomposed.features)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, block)``, where ``block @ lifted(weights)`` are logits: coordinates, scaled features or U."""
        if self.exact is not None:
            for rows in _blocks_of(len(self)):
                yield rows, self.exact[rows]
        elif self.decomposed.dual:
            for rows in _blocks_of(len(self)):
                yield rows, self.decomposed.basis[rows]
        else:
            for rows, block in arrays.row_blocks(self.decomposed.features):
                block *= self.decomposed.scale
                block -= self.decomposed.centre
                yield rows, block

    def lifted(self, weights: Float64) -> Float64:
        """Convert weights of coordinates ``[k, t]`` to weights of the blocks that `blocks` yields."""
        if self.exact is not None:
            return weights
        if self.decomposed.dual:
            return weights * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.decomposed.basis @ (self.unit * weights))

    def lowered(self, gradient: Float64) -> Float64:
        """Convert gradients of those weights to gradients of weights of coordinates ``[k, t]``."""
        if self.exact is not None:
            return gradient
        if self.decomposed.dual:
            return gradient * (self.unit * np.sqrt(self.decomposed.eigenvalues))[:, None]
        return np.asarray(self.unit * (self.decomposed.basis.T @ gradient))

    def squared_lengths(self, kept: NDArray[np.bool_] | None) -> Float64:
        """Return the squared distance of each row from the mean of the rows to use, ``[n]``."""
        width = len(self.decomposed.basis) if self.exact is None else self.exact.shape[1]
        scales = np.ones(width)
        if self.exact is None and self.decomposed.dual:
            scales = self.decomposed.eigenvalues
        mean = np.zeros(len(scales))
        for rows, block in self.blocks():
            mean += block.sum(axis=0) if kept is None else kept[rows] @ block
        mean /= len(self) if kept is None else kept.sum()
        lengths = np.empty(len(self))
        for rows, block in self.blocks():
            lengths[rows] = (block - mean) ** 2 @ scales
        return lengths if self.exact is not None else self.unit**2 * lengths

    def logits(self, weights: Float64) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, logits [b, t])`` for weights ``[k + 1, t]``, whose last row is the constant's."""
        lifted = self.lifted(weights[:-1])
        for rows, block in self.blocks():
            yield rows, block @ lifted + weights[-1]


def design(matrix: FloatMatrix, target: Labels) -> Design:
    """Prepare features ``[n, d]``: centred, and scaled to a mean squared length of 1.

    Args:
        matrix: the features.
        target: their labels.

    Raises:
        InputError: NaN or infinite values in the features.
    """
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    total = float(decomposed.eigenvalues.sum())
    unit = float(np.sqrt(len(target) / total)) if total > 0 else 1.0
    log_square = -2 * float(np.log(unit) + np.log(decomposed.scale))
    shape = (len(target), len(decomposed.eigenvalues) + 1)
    size = shape[0] * shape[1]
    coordinates = np.ones(shape, np.float64 if size <= _MAX_FLOAT64 else np.float32)
    exact = None
    if size <= _MAX_FLOAT64:
        exact = coordinates[:, :-1]
    elif size <= _MAX_EXACT and not decomposed.dual:
        exact = np.empty((shape[0], shape[1] - 1))
    for rows, block in decomposed.coordinate_blocks():
        block *= unit
        coordinates[rows, :-1] = block
        if exact is not None:
            exact[rows] = block
    squares = np.append(unit**2 * decomposed.eigenvalues, len(target))
    return Design(decomposed, unit, squares, log_square, coordinates, exact)


def fit(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    *,
    offset: Float64 | None = None,
    kept: NDArray[np.bool_] | None = None,
    start: Float64 | None = None,
    tolerance: float = TOLERANCE,
) -> Float64:
    """Return the weights ``[k + 1, t]`` that minimise Σ_i −log softmax(W z_i + offset)_{y_i} + ½ Σ_j penalty_j ‖W_j‖².

    Args:
        prepared: features, from `design`.
        target: their labels.
        penalty: of each coordinate and of the constant, ``[k + 1]``; that of the constant may be 0 if every class
            occurs among the rows to use.
        offset: added to the logits of each class, ``[t]``; 0 by default.
        kept: which rows are used, ``[n]``; all by default.
        start: initial weights; 0 by default.
        tolerance: see `TOLERANCE`.
    """
    shape = (len(penalty), target.num_classes)
    n = len(target) if kept is None else int(kept.sum())
    weights = np.zeros(shape) if start is None else start
    point = _evaluated(prepared, target, penalty, weights, offset, kept)
    for _ in range(_MAX_STEPS):
        hessian = _Hessian(prepared, penalty, point.probabilities)
        decrement = float((point.gradient**2 / hessian.diagonal).sum())  # about twice what a step would gain
        if decrement <= n * tolerance**2:
            break
        direction = hessian.solved(-point.gradient, _FAR_RESIDUAL if decrement > 0.01 * n else _NEAR_RESIDUAL)
        slope = float((point.gradient * direction).sum())
        if not slope < 0:  # a rounding error, where the loss is almost linear
            direction, slope = -point.gradient / hessian.diagonal, -decrement
        step, following = 1.0, _evaluated(prepared, target, penalty, weights + direction, offset, kept)
        while following.loss > point.loss + 1e-4 * step * slope and step > 1e-6:
            step /= 4
            following = _evaluated(prepared, target, penalty, weights + step * direction, offset, kept)
        if not following.loss < point.loss:  # the loss cannot be lowered further in float64
            break
        weights, point = weights + step * direction, following
    return weights


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
    """Return V ``[k + 1, t]`` with H V = ``right``, H the Hessian of what `fit` minimises, by conjugate gradients.

    Args:
        prepared: as for `fit`, and so are the following.
        target: labels.
        penalty: of each coordinate and of the constant.
        weights: where the Hessian is taken, ``[k + 1, t]``.
        right: right-hand side, ``[k + 1, t]``.
        offset: added to the logits.
        kept: which rows are used.
    """
    point = _evaluated(prepared, target, penalty, weights, offset, kept)
    return _Hessian(prepared, penalty, point.probabilities).solved(right, _SYSTEM_RESIDUAL)


@dataclass(frozen=True)
class _Evaluation:
    """The objective at some weights.

    Attributes:
        loss: its value.
        gradient: its gradient, ``[k + 1, t]``.
        probabilities: softmax of the logits, ``[n, t]``, 0 in rows that are not used; in the dtype of the coordinates.
    """

    loss: float
    gradient: Float64
    probabilities: FloatMatrix


def _evaluated(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    weights: Float64,
    offset: Float64 | None,
    kept: NDArray[np.bool_] | None,
) -> _Evaluation:
    probabilities = np.empty((len(target), target.num_classes), prepared.coordinates.dtype)
    lifted, constant = prepared.lifted(weights[:-1]), weights[-1] if offset is None else weights[-1] + offset
    loss, slope, slope_of_constant = 0.0, np.zeros_like(lifted), np.zeros(target.num_classes)
    for rows, block in prepared.blocks():
        log_p = log_softmax(block @ lifted + constant)
        at, codes = np.arange(len(block)), target.codes[rows]
        used = np.ones(len(block)) if kept is None else kept[rows].astype(np.float64)
        loss -= float(used @ log_p[at, codes])
        residual = np.exp(log_p, out=log_p)
        residual *= used[:, None]
        probabilities[rows] = residual
        residual[at, codes] -= used
        slope += block.T @ residual
        slope_of_constant += residual.sum(axis=0)
    gradient = np.vstack([prepared.lowered(slope), slope_of_constant]) + penalty[:, None] * weights
    return _Evaluation(loss + 0.5 * float(penalty @ (weights * weights).sum(axis=1)), gradient, probabilities)


class _Hessian:
    """The Hessian of the objective, as a linear operator on directions ``[k + 1, t]``.

    Attributes:
        diagonal: its diagonal, bounded away from 0, ``[k + 1, t]``.
    """

    def __init__(self, prepared: Design, penalty: Float64, probabilities: FloatMatrix) -> None:
        self._coordinates, self._penalty, self._p = prepared.coordinates, penalty[:, None], probabilities
        t = probabilities.shape[1]
        self.diagonal = np.zeros((len(penalty), t))
        for rows in _blocks_of(len(probabilities)):
            p = probabilities[rows]
            self.diagonal += np.square(self._coordinates[rows]).T @ (p - p * p)
        equal = (1 - 1 / t) / t * prepared.squares[:, None]  # the diagonal if all probabilities were 1/t
        self.diagonal = np.maximum(self.diagonal, _MIN_CURVATURE * equal) + self._penalty

    def solved(self, right: Float64, tolerance: float) -> Float64:
        """Return the direction whose product with the Hessian is ``right``, up to a relative residual."""
        from scipy.sparse.linalg import LinearOperator, cg

        shape, root = right.shape, np.sqrt(self.diagonal)
        scaled = LinearOperator(
            (right.size, right.size),
            matvec=lambda flat: (self._times(flat.reshape(shape) / root) / root).ravel(),
            dtype=np.float64,
        )
        solution, _ = cg(scaled, (right / root).ravel(), rtol=tolerance, maxiter=_MAX_PRODUCTS)
        return np.asarray(solution.reshape(shape) / root)

    def _times(self, direction: Float64) -> Float64:
        narrow = direction.astype(self._p.dtype)
        slope = np.zeros(direction.shape)
        for rows in _blocks_of(len(self._p)):
            z, p = self._coordinates[rows], self._p[rows]
            change = z @ narrow
            change *= p
            change -= p * change.sum(axis=1, keepdims=True)
            slope += z.T @ change
        return slope + self._penalty * direction


def _blocks_of(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        yield slice(start, min(start + _ROWS, n))


def log_softmax(logits: Float64) -> Float64:
    """Return the logarithm of the softmax of each row, ``[b, t]``; overwrites its input."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits
