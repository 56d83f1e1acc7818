"""Multinomial logistic regression with a quadratic penalty, in the principal coordinates of the features.

For the measures that use such a fit. In these coordinates the Hessian is nearly diagonal, so conjugate gradients with
the diagonal as preconditioner solve a Newton step in few products. If Z is large, fits use float32 until they are near
the optimum. There the loss and its gradient, which determine it, are computed in float64, and only the Hessian, which
determines the way there, in float32. Fits to several parts of the examples run side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.design import Design, blocks_of

_MAX_STEPS = 50  # of Newton's method
_MAX_PRODUCTS = 500  # of the Hessian with a direction, per step
# The optimum is reached when no step would lower the summed loss by more than ½ n·tolerance². Quantities computed from
# the weights, such as the held-out loss of other examples, are then off by about the tolerance per example.
TOLERANCE = 1e-5
_NARROW_TOLERANCE = 1e-3  # of fits in float32
# Conjugate gradients end with an iteration that gains less than this share of what all have gained: in Newton's method
# far from the optimum, near it, and at the least; and in a linear system that is solved for a standard error.
_FAR_GAIN, _NEAR_GAIN, _LEAST_GAIN, _SYSTEM_GAIN = 0.3, 0.15, 5e-3, 1e-6
_MIN_CURVATURE = 1e-8  # of a coordinate in the preconditioner, relative to that of equal probabilities
_MAX_PROBABILITIES = 2**23  # of fits that run side by side


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
        prepared: features, from `design.design`.
        target: their labels.
        penalty: of each coordinate and of the constant, ``[k + 1]``; that of the constant may be 0 if every class
            occurs among the rows to use.
        offset: added to the logits of each class, ``[t]``; 0 by default.
        kept: which rows are used, ``[n]``; all by default.
        start: initial weights; 0 by default.
        tolerance: see `TOLERANCE`.
    """
    parts = _parts(prepared, target, offset, kept)
    return fits(prepared, target, penalty, parts, None if start is None else start[:, None], tolerance)[:, 0]


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
    parts = _parts(prepared, target, offset, kept)
    return systems(prepared, target, penalty, parts, weights[:, None], right[:, None])[:, 0]


@dataclass(frozen=True)
class Parts:
    """Parts of the examples, one fit each. Fits that run side by side read the coordinates once for all of them.

    Attributes:
        kept: which rows each part uses, ``[p, n]``.
        offsets: what is added to the logits in each part, ``[p, t]``.
    """

    kept: NDArray[np.bool_]
    offsets: Float64

    def __len__(self) -> int:
        """Return the number of parts p."""
        return len(self.kept)

    def chosen(self, which: slice | Integers | NDArray[np.bool_]) -> Parts:
        """Return some of the parts."""
        return Parts(self.kept[which], self.offsets[which])


def fits(
    prepared: Design,
    target: Labels,
    penalty: Float64,
    parts: Parts,
    start: Float64 | None = None,
    tolerance: float = TOLERANCE,
) -> Float64:
    """Return the weights of several fits, ``[k + 1, p, t]``, each as from `fit`.

    Args:
        prepared: as for `fit`.
        target: as for `fit`.
        penalty: as for `fit`.
        parts: the rows and offsets of each fit.
        start: initial weights, ``[k + 1, p, t]``; 0 by default.
        tolerance: as for `fit`.
    """
    weights = np.zeros((len(penalty), len(parts), target.num_classes)) if start is None else start.copy()
    narrow = prepared.coordinates.dtype == np.float32
    for some in _side_by_side(target, parts):
        problem, found = _Problem(prepared, target, penalty, parts.chosen(some), narrow), weights[:, some]
        if narrow:
            found = _newton(problem, found, max(tolerance, _NARROW_TOLERANCE))
        if not narrow or tolerance < _NARROW_TOLERANCE:
            found = _newton(replace(problem, narrow=False), found, tolerance)
        weights[:, some] = found
    return weights


def systems(
    prepared: Design, target: Labels, penalty: Float64, parts: Parts, weights: Float64, right: Float64
) -> Float64:
    """Return the solutions of several systems, ``[k + 1, p, t]``, each as from `solved`.

    Args:
        prepared: as for `fit`.
        target: as for `fit`.
        penalty: as for `fit`.
        parts: the rows and offsets of each fit.
        weights: where the Hessians are taken, ``[k + 1, p, t]``.
        right: right-hand sides, ``[k + 1, p, t]``.
    """
    result = np.empty_like(right)
    for some in _side_by_side(target, parts):
        point = _evaluated(_Problem(prepared, target, penalty, parts.chosen(some), narrow=False), weights[:, some])
        hessian = _Hessian(prepared, penalty, point.probabilities)
        result[:, some] = hessian.solved(right[:, some], np.full(right[:, some].shape[1], _SYSTEM_GAIN))
    return result


def _parts(prepared: Design, target: Labels, offset: Float64 | None, kept: NDArray[np.bool_] | None) -> Parts:
    rows = np.ones(len(prepared), dtype=np.bool_) if kept is None else kept
    offsets = np.zeros(target.num_classes) if offset is None else offset
    return Parts(rows[None], offsets[None])


def _side_by_side(target: Labels, parts: Parts) -> Iterator[slice]:
    """Yield parts whose probabilities fit into memory together."""
    step = max(1, _MAX_PROBABILITIES // (len(target) * target.num_classes))
    for start in range(0, len(parts), step):
        yield slice(start, min(start + step, len(parts)))


@dataclass(frozen=True)
class _Problem:
    """What p fits have in common; arguments of `fits`.

    Attributes:
        prepared: features.
        target: labels.
        penalty: of each coordinate and of the constant.
        parts: the rows and offsets of each fit.
        narrow: whether the loss and its gradient are computed in float32.
    """

    prepared: Design
    target: Labels
    penalty: Float64
    parts: Parts
    narrow: bool

    def chosen(self, which: Integers | NDArray[np.bool_]) -> _Problem:
        """Return the problem of some parts."""
        return replace(self, parts=self.parts.chosen(which))


def _newton(problem: _Problem, start: Float64, tolerance: float) -> Float64:
    """Return fitted weights ``[k + 1, p, t]``, by Newton's method with a line search in each part."""
    result, active = start.copy(), np.arange(len(problem.parts))
    weights, point = start, _evaluated(problem, start)
    for _ in range(_MAX_STEPS):
        if not len(active):
            break
        size = problem.parts.kept[active].sum(axis=1)
        hessian = _Hessian(problem.prepared, problem.penalty, point.probabilities)
        decrement = (point.gradient**2 / hessian.diagonal).sum(axis=(0, 2))  # about twice what a step would gain
        going = decrement > size * tolerance**2
        if not going.all():
            active, weights, point, hessian = (
                active[going],
                weights[:, going],
                point.chosen(going),
                hessian.chosen(going),
            )
            decrement, size = decrement[going], size[going]
        if not len(active):
            break
        some = problem.chosen(active)
        # Near the optimum, a step as accurate as is needed for it to be the last one.
        near = np.clip(0.3 * size * tolerance**2 / decrement, _LEAST_GAIN, _NEAR_GAIN)
        direction = hessian.solved(-point.gradient, np.where(decrement > 0.01 * size, _FAR_GAIN, near))
        slope = (point.gradient * direction).sum(axis=(0, 2))
        rising = ~(slope < 0)  # a rounding error, where the loss is almost linear
        direction[:, rising] = (-point.gradient / hessian.diagonal)[:, rising]
        slope[rising] = -decrement[rising]
        step, following = np.ones(len(active)), _evaluated(some, weights + direction)
        while (far := (following.loss > point.loss + 1e-4 * step * slope) & (step > 1e-6)).any():
            step[far] /= 4
            tried = weights[:, far] + step[far, None] * direction[:, far]
            following.replace(far, _evaluated(some.chosen(far), tried))
        lower = following.loss < point.loss  # otherwise the loss cannot be lowered further in this precision
        weights = (weights + step[:, None] * direction)[:, lower]
        active, point = active[lower], following.chosen(lower)
        result[:, active] = weights
    return result


@dataclass(frozen=True)
class _Evaluation:
    """The objective of p parts at some weights.

    Attributes:
        loss: its value, ``[p]``.
        gradient: its gradient, ``[k + 1, p, t]``.
        probabilities: softmax of the logits, ``[n, p, t]``, 0 in rows that are not used; in the dtype of the
            coordinates.
    """

    loss: Float64
    gradient: Float64
    probabilities: FloatMatrix

    def chosen(self, which: NDArray[np.bool_]) -> _Evaluation:
        if which.all():
            return self
        return _Evaluation(self.loss[which], self.gradient[:, which], self.probabilities[:, which])

    def replace(self, which: NDArray[np.bool_], other: _Evaluation) -> None:
        self.loss[which] = other.loss
        self.gradient[:, which] = other.gradient
        self.probabilities[:, which] = other.probabilities


def _evaluated(problem: _Problem, weights: Float64) -> _Evaluation:
    prepared, target, parts = problem.prepared, problem.target, problem.parts
    size, number, t = weights.shape
    flat = weights.reshape(size, number * t)
    lifted: FloatMatrix
    if problem.narrow:
        lifted, blocks, constant = flat.astype(np.float32), prepared.coordinate_blocks(), parts.offsets
    else:
        lifted, blocks, constant = prepared.lifted(flat[:-1]), prepared.blocks(), weights[-1] + parts.offsets
    constant, used = constant.astype(lifted.dtype), parts.kept.T.astype(lifted.dtype)  # [p, t], [n, p]
    probabilities = np.empty((len(target), number, t), prepared.coordinates.dtype)
    loss, slope, slope_of_constant = np.zeros(number), np.zeros(lifted.T.shape), np.zeros((number, t))
    for rows, block in blocks:
        p = (block @ lifted).reshape(-1, number, t)
        p += constant
        at, codes = np.arange(len(block)), target.codes[rows]
        p -= p.max(axis=2, keepdims=True)
        own = p[at, :, codes]
        np.exp(p, out=p)
        total = p.sum(axis=2)
        loss += (used[rows] * (np.log(total) - own)).sum(axis=0, dtype=np.float64)
        p *= (used[rows] / total)[..., None]
        probabilities[rows] = p
        p[at, :, codes] -= used[rows]  # the residual
        slope += p.reshape(len(block), number * t).T @ block
        if not problem.narrow:
            slope_of_constant += p.sum(axis=0)
    gradient = np.empty_like(weights)
    if problem.narrow:
        gradient[:] = slope.T.reshape(weights.shape)
    else:
        gradient[:-1] = prepared.lowered(slope.T).reshape(size - 1, number, t)
        gradient[-1] = slope_of_constant
    gradient += problem.penalty[:, None, None] * weights
    return _Evaluation(loss + 0.5 * problem.penalty @ (weights * weights).sum(axis=2), gradient, probabilities)


class _Hessian:
    """The Hessians of the objective of p parts, as a linear operator on directions ``[k + 1, p, t]``.

    Attributes:
        diagonal: their diagonals, bounded away from 0, ``[k + 1, p, t]``.
    """

    def __init__(
        self, prepared: Design, penalty: Float64, probabilities: FloatMatrix, diagonal: Float64 | None = None
    ) -> None:
        self._prepared, self._penalty, self._p = prepared, penalty, probabilities
        _, number, t = probabilities.shape
        if diagonal is not None:
            self.diagonal = diagonal
            return
        sums = np.zeros((number * t, len(penalty)))
        for rows in blocks_of(len(probabilities)):
            p = probabilities[rows].reshape(-1, number * t)
            sums += (p - p * p).T @ np.square(prepared.coordinates[rows])
        equal = (1 - 1 / t) / t * prepared.squares  # the diagonal if all probabilities were 1/t
        diagonal = (np.maximum(sums, _MIN_CURVATURE * equal) + penalty).T
        self.diagonal = np.ascontiguousarray(diagonal).reshape(len(penalty), number, t)

    def chosen(self, which: NDArray[np.bool_]) -> _Hessian:
        """Return the Hessians of some parts."""
        return _Hessian(self._prepared, self._penalty, self._p[:, which], self.diagonal[:, which])

    def solved(self, right: Float64, least: Float64) -> Float64:
        """Return the directions whose products with the Hessians are nearly ``right``.

        Conjugate gradients in each part, in coordinates in which the diagonal is 1. Each iteration lowers the
        quadratic function that the solution minimises.

        Args:
            right: right-hand sides, ``[k + 1, p, t]``.
            least: end with an iteration that lowers it by less than this share of what all have, ``[p]``.
        """
        root = np.sqrt(self.diagonal)
        residual = right / root
        solution, direction = np.zeros_like(residual), residual.copy()
        square = (residual * residual).sum(axis=(0, 2))
        gained = np.zeros(len(square))
        operator, going = self, np.flatnonzero(square > 0)
        if len(going) < len(square):
            operator = self.chosen(square > 0)
        for _ in range(_MAX_PRODUCTS):
            if not len(going):
                break
            along = direction[:, going]
            product = operator.times(along / root[:, going]) / root[:, going]
            curvature = (along * product).sum(axis=(0, 2))
            # No step along a direction in which single precision sees no curvature.
            length = np.divide(square[going], curvature, out=np.zeros_like(curvature), where=curvature > 0)
            solution[:, going] += length[:, None] * along
            rest = residual[:, going] - length[:, None] * product
            gain = length * square[going]
            gained[going] += gain
            following = (rest * rest).sum(axis=(0, 2))
            residual[:, going] = rest
            direction[:, going] = rest + (following / square[going])[:, None] * along
            square[going] = following
            left = (gain > least[going] * gained[going]) & (following > 0)
            if not left.all():
                going, operator = going[left], operator.chosen(left)
        return np.asarray(solution / root)

    def times(self, direction: Float64) -> Float64:
        """Return the products of the Hessians with directions."""
        narrow = direction.reshape(len(direction), self._p[0].size).astype(self._p.dtype)
        slope = np.zeros(narrow.T.shape)
        for rows in blocks_of(len(self._p)):
            z, p = self._prepared.coordinates[rows], self._p[rows]
            change = (z @ narrow).reshape(p.shape)
            change *= p
            change -= p * change.sum(axis=2, keepdims=True)
            slope += change.reshape(len(z), self._p[0].size).T @ z
        return slope.T.reshape(direction.shape) + self._penalty[:, None, None] * direction
