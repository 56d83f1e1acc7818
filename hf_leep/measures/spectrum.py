"""The sufficient statistic of the feature measures: eigenvalues, projected targets and principal coordinates.

With F [n, d] the features (as they are, or with columns of mean 0, or of mean 0 and length 1) and F = U diag(σ) Vᵀ,
H-score and LogME depend on F only through σ² and UᵀY, with Y the class indicators 1[y=c] or real targets. Other
measures need rows of U diag(σ), the principal coordinates. All come from the smaller of the two Gram matrices: FᵀF
[d, d] if n > d, otherwise FFᵀ [n, n] from a copy of F. So memory is O(d·min(n, d) + t·d + block).

The decomposition does not depend on the labels, and several measures need the same one: within `shared`, each is
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped

_DUAL_ROWS = 1024
_NEGLIGIBLE = 1e-280  # squared length of a centred column, of features of at most 1, whose products would underflow
_T = TypeVar("_T")


@dataclass(frozen=True)
class Spectrum:
    """Spectral form of a feature matrix and its labels.

    Attributes:
        features: the matrix itself, ``[n, d]``.
        scale: factor of all the values.
        centre: what is then subtracted from each row, ``[d]``.
        eigenvalues: σ² > 0, ``[k]``, ascending, k the numerical rank.
        projections: UᵀY, ``[k, t]``.
        basis: if n > d, the matrix that maps a scaled and centred row to its row of U σ, ``[d, k]``; else U, ``[n,
            k]``.
        dual: whether ``basis`` is U.
        num_varying: number of columns that vary, d′ ≤ d; d where the columns are not centred.
        kept: which rows are used, ``[n]``; None for all.
    """

    features: FloatMatrix
    scale: float
    centre: Float64
    eigenvalues: Float64
    projections: Float64
    basis: Float64
    dual: bool
    num_varying: int
    kept: NDArray[np.bool_] | None = None

    def left_blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, U[rows])`` with U ``[n, k]`` the left singular vectors of the rows that are used."""
        for rows, block in kept_blocks(self.features, self.kept):
            if self.dual:
                yield rows, self.basis[rows]
            else:
                yield rows, (block * self.scale - self.centre) @ (self.basis / np.sqrt(self.eigenvalues))

    def coordinate_blocks(self, largest: int | None = None) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, principal coordinates [b, k])``: U diag(σ) of the rows that are used, of the scaled features.

        Args:
            largest: use only this many coordinates, those of the largest σ; in ascending order of σ.
        """
        first = 0 if largest is None else max(len(self.eigenvalues) - largest, 0)
        if self.dual:
            coordinates = self.basis[:, first:] * np.sqrt(self.eigenvalues[first:])
            for start in range(0, len(coordinates), _DUAL_ROWS):
                rows = slice(start, min(start + _DUAL_ROWS, len(coordinates)))
                yield rows, coordinates[rows]
        else:
            for rows, block in kept_blocks(self.features, self.kept):
                yield rows, (block * self.scale - self.centre) @ self.basis[:, first:]

    def coordinates(self, rows: NDArray[np.bool_], largest: int | None = None) -> Float64:
        """Return the principal coordinates ``[m, k]`` of chosen rows, ``[n]``, where all rows are used.

        Args:
            rows: the rows.
            largest: as for `coordinate_blocks`.
        """
        first = 0 if largest is None else max(len(self.eigenvalues) - largest, 0)
        if self.dual:
            return self.basis[rows, first:] * np.sqrt(self.eigenvalues[first:])
        block = self.features[rows].astype(np.float64)
        block *= self.scale
        block -= self.centre
        return np.asarray(block @ self.basis[:, first:])

    def product(self, weights: Float64) -> Float64:
        """Return the principal coordinates of all rows times weights, ``[k, q] -> [n, q]`` or ``[k] -> [n]``."""
        if self.dual:
            return self.basis @ (np.sqrt(self.eigenvalues) * weights.T).T
        lifted = self.basis @ weights
        result = np.empty((len(self.features), *weights.shape[1:]))
        for rows, block in arrays.row_blocks(self.features):
            result[rows] = block @ lifted
        return np.asarray(result * self.scale - self.centre @ lifted)

    def point_blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, points)``, with the distances of the scaled features of the rows that are used, in one pass.

        Features minus their mean, ``[b, d]``; if n ≤ d, their principal coordinates, ``[b, k]``. A block is valid
        until the next one.
        """
        if self.dual:
            yield from self.coordinate_blocks()
            return
        constant = ~self.basis.any(axis=1)
        for rows, block in kept_blocks(self.features, self.kept):
            block *= self.scale
            block -= self.centre
            block[:, constant] = 0.0
            yield rows, block


def kept_blocks(features: FloatMatrix, kept: NDArray[np.bool_] | None) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, block)`` of the rows that are used; ``rows`` are their positions among the used ones."""
    start = 0
    for rows, block in arrays.row_blocks(features):
        chosen = block if kept is None else block[kept[rows]]
        yield slice(start, start + len(chosen)), chosen
        start += len(chosen)


def spectrum(
    features: FloatMatrix,
    target: Labels | Float64,
    *,
    whitened: bool,
    softened: bool = False,
    centred: bool = False,
    kept: NDArray[np.bool_] | None = None,
) -> Spectrum:
    """Decompose features ``[n, d]``; directions below the rounding error of the largest one are dropped.

    Args:
        features: the matrix.
        target: its labels, or real targets Y ``[n, t]``; those of the rows that are used.
        whitened: whether to centre each column and scale it to length 1, for a measure that depends on neither: then
            columns of very different size lose no precision. Otherwise all columns get the same scale.
        softened: with ``whitened``, divide a column of length l by √(l² + m²) instead, m the mean length of the
            columns that vary: no row then decides the scale of a column that is constant on most of the others.
        centred: whether to centre each column and keep its length; columns that vary only by rounding errors become 0.
        kept: which rows are used, ``[n]``; all by default.

    Raises:
        InputError: NaN or infinite values in the features.
    """
    axes = _axes(features, kept, _Scaling(whitened, softened, centred))
    num_targets = target.num_classes if isinstance(target, Labels) else target.shape[1]
    if axes.dual:
        projections = np.zeros((num_targets, len(axes.eigenvalues)))
        _add_products(projections, axes.basis, target, slice(None))
        projections = projections.T
    else:
        sums = np.zeros((num_targets, features.shape[1]))
        for rows, block in kept_blocks(features, kept):
            block *= axes.scale
            block -= axes.centre
            _add_products(sums, block, target, rows)
        projections = (axes.basis.T @ sums.T) / np.sqrt(axes.eigenvalues)[:, None]
    return Spectrum(
        features,
        axes.scale,
        axes.centre,
        axes.eigenvalues,
        projections,
        axes.basis,
        axes.dual,
        axes.num_varying,
        kept,
    )


@dataclass(frozen=True)
class _Scaling:
    """How columns are centred and scaled; arguments of `spectrum`."""

    whitened: bool
    softened: bool
    centred: bool


@dataclass(frozen=True)
class _Axes:
    """What a `Spectrum` has that does not depend on the labels; its attributes mean the same."""

    scale: float
    centre: Float64
    eigenvalues: Float64
    basis: Float64
    dual: bool
    num_varying: int


@dataclass(frozen=True)
class _Shared:
    """What has been computed of one matrix."""

    features: FloatMatrix | None
    found: dict[Hashable, object]


_shared: ContextVar[_Shared | None] = ContextVar("decompositions of the matrix that is being scored", default=None)


@contextmanager
def shared(features: FloatMatrix | None) -> Iterator[None]:
    """Keep what is computed of a matrix until the block ends, for all measures that are computed in it.

    Args:
        features: the matrix, ``[n, d]``; None for none. Measures have to get this very array, and nothing may change
            it.
    """
    token = _shared.set(_Shared(features, {}))
    try:
        yield
    finally:
        _shared.reset(token)


def remembered(features: FloatMatrix, key: Hashable, compute: Callable[[], _T]) -> _T:
    """Return what ``compute`` returns; within `shared`, it is called once for each key.

    Args:
        features: the matrix that it is computed of; only the one of `shared` counts.
        key: what it is, and all that it depends on but the matrix.
        compute: how it is computed.
    """
    memory = _shared.get()
    if memory is None or memory.features is not features:
        return compute()
    if key not in memory.found:
        memory.found[key] = compute()
    return cast(_T, memory.found[key])


def _axes(features: FloatMatrix, kept: NDArray[np.bool_] | None, scaling: _Scaling) -> _Axes:
    """Return the decomposition of the rows that are used, computed or shared."""
    if kept is not None:
        return _decomposed(features, kept, scaling)
    return remembered(features, scaling, lambda: _decomposed(features, None, scaling))


def _decomposed(features: FloatMatrix, kept: NDArray[np.bool_] | None, scaling: _Scaling) -> _Axes:
    n, d = len(features) if kept is None else int(kept.sum()), features.shape[1]
    centred = scaling.whitened or scaling.centred
    dual = n <= d
    if dual:
        scale, centre = _moments(features, kept, centred=centred)
        matrix = features.astype(np.float64) if kept is None else features[kept].astype(np.float64)
        matrix = matrix * scale - centre  # [n, d], smaller than the [d, d] matrix that it replaces
        factors = _factors((matrix * matrix).sum(axis=0), centre, n, scaling) if centred else np.ones(d)
        matrix *= factors
        squared, basis = np.linalg.eigh(matrix @ matrix.T)
    else:
        products = gram(features, kept)
        scale, centre = products.scale, products.centre if centred else np.zeros(d)
        factors = _factors(np.diag(products.centred), centre, n, scaling) if centred else np.ones(d)
        matrix = products.centred * factors * factors[:, None] if centred else products.uncentred()
        squared, basis = np.linalg.eigh(matrix)
        basis *= factors[:, None]

    significant = squared > max(n, d) * np.finfo(np.float64).eps * max(squared[-1], 0.0)
    num_varying = int(np.count_nonzero(factors))
    return _Axes(scale, centre, squared[significant], basis[:, significant], dual, num_varying)


@dataclass(frozen=True)
class Gram:
    """The products of the columns of scaled features.

    Attributes:
        scale: factor of all the values.
        centre: mean of the scaled columns, ``[d]``.
        centred: products of the columns minus their means, ``[d, d]``.
        size: number of rows.
    """

    scale: float
    centre: Float64
    centred: Float64
    size: int

    def uncentred(self) -> Float64:
        """Return the products of the scaled columns, ``[d, d]``."""
        return np.asarray(self.centred + self.size * np.outer(self.centre, self.centre))


def gram(features: FloatMatrix, kept: NDArray[np.bool_] | None = None) -> Gram:
    """Return the products of the columns of features ``[n, d]``; within `shared`, those of all rows are computed once.

    Args:
        features: the matrix.
        kept: which rows are used, ``[n]``; all by default.

    Raises:
        InputError: NaN or infinite values in the features.
    """

    def compute() -> Gram:
        scale, centre = _moments(features, kept, centred=True)
        total = np.zeros((features.shape[1], features.shape[1]))
        for _, block in kept_blocks(features, kept):
            block = block * scale - centre
            total += block.T @ block
        return Gram(scale, centre, total, len(features) if kept is None else int(kept.sum()))

    return compute() if kept is not None else remembered(features, "gram", compute)


def _moments(features: FloatMatrix, kept: NDArray[np.bool_] | None, *, centred: bool) -> tuple[float, Float64]:
    """Return the factor of all the values and the means of the scaled columns, ``[d]``; 0 if they are not centred."""
    n = len(features) if kept is None else int(kept.sum())
    largest, centre = 0.0, np.zeros(features.shape[1])
    for rows, block in kept_blocks(features, kept):
        arrays.check_finite(block, rows.start)
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
    scale = arrays.scale_of(largest)  # products of the largest float64 numbers would overflow
    if centred:
        for _, block in kept_blocks(features, kept):
            centre += (block * scale).sum(axis=0) / n
    return scale, centre


def _add_products(total: Float64, block: Float64, target: Labels | Float64, rows: slice) -> None:
    """Add Yᵀ·block to ``total [t, k]``, with Y the class indicators or targets of the rows."""
    if isinstance(target, Labels):
        add_grouped(total, block, target.codes[rows])
    else:
        total += target[rows].T @ block


def _factors(squares: Float64, centre: Float64, n: int, scaling: _Scaling) -> Float64:
    """Return the factor of each centred column, ``[d]``: 1/length, 1/√(l² + m²), 1, or 0 if it is constant."""
    noise = n * ((8 + n) * np.finfo(np.float64).eps * np.abs(centre)) ** 2  # rounding error of a mean of n values
    varies = squares > np.maximum(noise, _NEGLIGIBLE)
    divisors = np.sqrt(squares) if scaling.whitened else np.ones_like(squares)
    if scaling.softened and varies.any():
        divisors = np.sqrt(squares + divisors[varies].mean() ** 2)
    return np.divide(1.0, divisors, out=np.zeros_like(squares), where=varies)
