"""Multinomial logistic regression with a quadratic penalty, in the principal coordinates of the features.

For the measures that are read off such a fit. The optimum depends on features F [n, d] only through their principal
coordinates Z = U diag(σ) [n, k] (components of the weights outside them are penalised and help nothing), and in these
the curvature is nearly diagonal, so that conjugate gradients with that diagonal taken out solve a Newton step in few
products. Loss and gradient, which say where the optimum is, are in float64, from the features themselves; the
curvature, which only says how to get there, is taken from a copy of Z in float32 where it is large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.spectrum import Spectrum, spectrum

_STEPS = 50  # of Newton's method
_PRODUCTS = 500  # of the curvature with a direction, in one of them
# The optimum is reached where no step would gain more than ½ n·this² of the summed loss. What is read off the weights
# (as the held-out loss of other examples) is then off by about this much an example.
_FLAT = 1e-5
_FAR, _NEAR = 0.25, 0.05  # relative residual of a Newton step that has far to go, or not
_SOLVED = 1e-3  # and of a linear system that only an error is read off
_FLATTEST = 1e-8  # least curvature of a coordinate in the preconditioner, against that of even probabilities
_SMALL = 2**20  # numbers in Z, up to which they are kept in float64
_ROWS = 2048


@dataclass(frozen=True)
class Design:
    """Centred features as a logistic regression reads them.

    Attributes:
        decomposed: their spectral form.
        unit: what the principal coordinates are multiplied by.
        squares: sums of squares of the coordinates and of the constant 1 after them, ``[k + 1]``.
        log_square: logarithm of the squared length, in the features' own unit, of what here has length 1.
        coordinates: the coordinates and the constant 1 after them, ``[n, k + 1]``, in float32 where they are many.
    """

    decomposed: Spectrum
    unit: float
    squares: Float64
    log_square: float
    coordinates: FloatMatrix

    def __len__(self) -> int:
        """Number of examples n."""
        return len(self.decomposed.features)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, what `lifted` weights are multiplied by)``: scaled features, or U where n < d."""
        if self.decomposed.dual:
            for rows in _blocks_of(len(self)):
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
    shape = (len(target), len(decomposed.eigenvalues) + 1)
    coordinates = np.ones(shape, np.float64 if shape[0] * shape[1] <= _SMALL else np.float32)
    for rows, block in decomposed.coordinate_blocks():
        coordinates[rows, :-1] = unit * block
    return Design(decomposed, unit, np.append(unit**2 * decomposed.eigenvalues, len(target)), log_square, coordinates)


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
    shape = (len(penalty), target.num_classes)
    n = len(target) if kept is None else int(kept.sum())
    weights = np.zeros(shape) if start is None else start
    point = _point(prepared, target, penalty, weights, offset, kept)
    for _ in range(_STEPS):
        curvature = _Curvature(prepared, penalty, point.probabilities)
        decrement = float((point.gradient**2 / curvature.diagonal).sum())  # twice what a step would gain, roughly
        if decrement <= n * _FLAT**2:
            break
        direction = curvature.solved(-point.gradient, _FAR if decrement > 0.01 * n else _NEAR)
        slope = float((point.gradient * direction).sum())
        if not slope < 0:  # by rounding, where hardly any curvature is left
            direction, slope = -point.gradient / curvature.diagonal, -decrement
        step, further = 1.0, _point(prepared, target, penalty, weights + direction, offset, kept)
        while further.loss > point.loss + 1e-4 * step * slope and step > 1e-6:
            step /= 4
            further = _point(prepared, target, penalty, weights + step * direction, offset, kept)
        if not further.loss < point.loss:  # as low as rounding lets it become
            break
        weights, point = weights + step * direction, further
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
    point = _point(prepared, target, penalty, weights, offset, kept)
    return _Curvature(prepared, penalty, point.probabilities).solved(right, _SOLVED)


@dataclass(frozen=True)
class _Point:
    """What the objective is like at some weights.

    Attributes:
        loss: the objective.
        gradient: its gradient, ``[k + 1, t]``.
        probabilities: softmax of the logits, ``[n, t]``, 0 in rows that do not count; of the coordinates' type.
    """

    loss: float
    gradient: Float64
    probabilities: FloatMatrix


def _point(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    weights: Float64,
    offset: Float64 | None,
    kept: NDArray[np.bool_] | None,
) -> _Point:
    probabilities = np.empty((len(target), target.num_classes), prepared.coordinates.dtype)
    lifted, constant = prepared.lifted(weights[:-1]), weights[-1] if offset is None else weights[-1] + offset
    loss, slope, slope_of_constant = 0.0, np.zeros_like(lifted), np.zeros(target.num_classes)
    for rows, block in prepared.blocks():
        log_p = log_softmax(block @ lifted + constant)
        at, codes = np.arange(len(block)), target.codes[rows]
        counts = np.ones(len(block)) if kept is None else kept[rows].astype(np.float64)
        loss -= float(counts @ log_p[at, codes])
        residual = np.exp(log_p, out=log_p)
        residual *= counts[:, None]
        probabilities[rows] = residual
        residual[at, codes] -= counts
        slope += block.T @ residual
        slope_of_constant += residual.sum(axis=0)
    gradient = np.vstack([prepared.lowered(slope), slope_of_constant]) + penalty[:, None] * weights
    return _Point(loss + 0.5 * float(penalty @ (weights * weights).sum(axis=1)), gradient, probabilities)


class _Curvature:
    """Second derivative of the objective at a point, as products with directions ``[k + 1, t]``.

    Attributes:
        diagonal: its diagonal, not quite 0 anywhere, ``[k + 1, t]``.
    """

    def __init__(self, prepared: Design, penalty: Float64, probabilities: FloatMatrix) -> None:
        self._coordinates, self._penalty, self._p = prepared.coordinates, penalty[:, None], probabilities
        t = probabilities.shape[1]
        self.diagonal = np.zeros((len(penalty), t))
        for rows in _blocks_of(len(probabilities)):
            p = probabilities[rows]
            self.diagonal += np.square(self._coordinates[rows]).T @ (p - p * p)
        even = (1 - 1 / t) / t * prepared.squares[:, None]
        self.diagonal = np.maximum(self.diagonal, _FLATTEST * even) + self._penalty

    def solved(self, right: Float64, tolerance: float) -> Float64:
        """What the curvature turns into ``right``, by conjugate gradients up to a relative residual."""
        from scipy.sparse.linalg import LinearOperator, cg

        shape, root = right.shape, np.sqrt(self.diagonal)
        scaled = LinearOperator(
            (right.size, right.size),
            matvec=lambda flat: (self._times(flat.reshape(shape) / root) / root).ravel(),
            dtype=np.float64,
        )
        found, _ = cg(scaled, (right / root).ravel(), rtol=tolerance, maxiter=_PRODUCTS)
        return np.asarray(found.reshape(shape) / root)

    def _times(self, direction: Float64) -> Float64:
        moved = direction.astype(self._p.dtype)
        slope = np.zeros(direction.shape)
        for rows in _blocks_of(len(self._p)):
            z, p = self._coordinates[rows], self._p[rows]
            change = z @ moved
            change *= p
            change -= p * change.sum(axis=1, keepdims=True)
            slope += z.T @ change
        return slope + self._penalty * direction


def _blocks_of(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        yield slice(start, min(start + _ROWS, n))


def log_softmax(logits: Float64) -> Float64:
    """Logarithms of the softmax of each row, ``[b, t]``; overwrites its input."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits
