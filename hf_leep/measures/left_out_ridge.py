"""Ridge regression of the class indicators with every example left out, for all strengths from one decomposition.

Hoerl, Kennard: Ridge Regression: Biased Estimation for Nonorthogonal Problems, Technometrics 1970; left out by the
identity behind PRESS, Allen: The Relationship between Variable Selection and Data Augmentation and a Method for
Prediction, Technometrics 1974. With centred and scaled features F = U diag(σ) Vᵀ, Y [n, t] the class indicators,
ȳ the class frequencies and g_k = σ_k²/(σ_k² + λ),

    ŷ = ȳ + U diag(g) UᵀY,   h_ii = 1/n + Σ_k U_ik² g_k,   ŷ_(−i) = y_i − (y_i − ŷ_i)/(1 − h_ii),

which is exact, but for the scales of the columns: those are of all examples. A column of length l is divided by
√(l² + m²), m the mean length of the columns that vary. Divided by l, a column that is constant on almost all examples
would be as long as the others, with its length made by the few that differ, and each of them would look far less
extreme than it is to a head fitted without it. On drawings seen by networks of photographs (10 to 100 a class), such
heads claimed log-likelihoods of −0.2 to −0.6 where fresh examples had −0.2 to −2.3; with m the two agree.

Examples D of one draw, as the words of a sentence, are left out together,
ŷ_(−D) = y_D − (I − H_DD)⁻¹ (y_D − ŷ_D). I − H_DD is computed as
I − 11ᵀ/n − U_D U_Dᵀ + U_D diag(λ/(σ² + λ)) U_Dᵀ, which loses no digits where H_DD comes close to I.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.spectrum import Spectrum, spectrum


@dataclass(frozen=True, eq=False)
class Batch:
    """What is known of some examples at one strength.

    Attributes:
        rows: which they are, whole draws one after the other, ``[b]``.
        left_out: class values ŷ_(−D), whose rows sum to 1, ``[b, t]``.
        residuals: left-out residuals y − ŷ_(−D), ``[b, t]``.
        frequencies: class frequencies ȳ_(−D) of the others, ``[b, t]``.
        inverse: (I − H_DD)⁻¹ of each draw of m examples, ``[b / m, m, m]``.
    """

    rows: Integers
    left_out: Float64
    residuals: Float64
    frequencies: Float64
    inverse: Float64

    def spread(self, matrix: Float64) -> Float64:
        """(I − H_DD)⁻¹ times the rows of each draw, ``[b, t]``."""
        return _times(self.inverse, matrix)


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Ridge regressions of the class indicators on centred and scaled features, one for each strength.

    Attributes:
        decomposed: the features, each column centred and divided by √(l² + m²).
        target: their labels.
        frequencies: class frequencies ȳ, ``[t]``.
        batches: rows of draws of one size, ``[number of draws, m]`` each; together all rows.
    """

    decomposed: Spectrum
    target: Labels
    frequencies: Float64
    batches: tuple[Integers, ...]

    @classmethod
    def of(cls, features: FloatMatrix, target: Labels, draws: Integers | None = None) -> RidgePath:
        """Decompose features ``[n, d]``.

        Args:
            features: the matrix.
            target: its labels.
            draws: which draw each example is of, 0 … g−1 with g ≥ 2, all occurring, ``[n]``; each is one of its own by
                default.

        Raises:
            InputError: NaN or an infinity in the features.
        """
        decomposed = spectrum(features, target, whitened=True, softened=True)
        height = max(1, arrays.BLOCK_BYTES // (8 * max(features.shape[1], target.num_classes)))
        return cls(decomposed, target, target.counts / len(target), tuple(_batches(len(target), draws, height)))

    @property
    def unit(self) -> float:
        """The largest σ², or 1 where nothing varies: what strengths are multiples of."""
        return float(self.decomposed.eigenvalues.max(initial=0.0)) or 1.0

    @property
    def entries(self) -> int:
        """Numbers in the inverses of one strength."""
        return sum(rows.shape[0] * rows.shape[1] ** 2 for rows in self.batches)

    def inverses(self, strengths: Sequence[float]) -> list[list[Float64]]:
        """(I − H_DD)⁻¹ of the draws of each batch, ``[number of draws, m, m]``, a list for each strength.

        Args:
            strengths: λ, in units of the largest σ².
        """
        n, unit = len(self.target), self.unit
        eigenvalues = self.decomposed.eigenvalues
        lost = np.stack([s * unit / (eigenvalues + s * unit) for s in strengths], axis=1)  # 1 − g [k, strengths]
        to_left = self._lifted(np.eye(len(eigenvalues))) if not self.decomposed.dual else None
        found: list[list[Float64]] = [[] for _ in strengths]
        for rows in self.batches:
            number, m = rows.shape
            left = self._points(rows.ravel())  # U_D
            left = left if to_left is None else left @ to_left
            if m == 1:
                squares = left * left
                unexplained = (1 - 1 / n - squares.sum(axis=1))[:, None] + squares @ lost
                for kept, column in zip(found, unexplained.T, strict=True):
                    kept.append(1 / column[:, None, None])
                continue
            left = left.reshape(number, m, -1)
            right = left.transpose(0, 2, 1)
            rest = np.eye(m) - 1 / n - left @ right
            for kept, share in zip(found, lost.T, strict=True):
                kept.append(np.linalg.inv(rest + (left * share) @ right))
        return found

    def left_out(self, strength: float, inverses: list[Float64]) -> Iterator[Batch]:
        """Yield what each example is predicted without its draw.

        Args:
            strength: λ, in units of the largest σ².
            inverses: those of this strength, from `inverses`.
        """
        n, counts = len(self.target), self.target.counts
        weights = self._lifted(self._gains(strength)[:, None] * self.decomposed.projections)
        for draws, inverse in zip(self.batches, inverses, strict=True):
            rows, m = draws.ravel(), draws.shape[1]
            indicators = np.zeros((len(rows), len(counts)))
            indicators[np.arange(len(rows)), self.target.codes[rows]] = 1.0
            fitted = self.frequencies + self._points(rows) @ weights
            residuals = _times(inverse, indicators - fitted)
            of_draw = indicators.reshape(-1, m, len(counts)).sum(axis=1)
            others = np.repeat((counts - of_draw) / (n - m), m, axis=0)
            yield Batch(rows, indicators - residuals, residuals, others, inverse)

    def smoothed(self, strength: float, pieces: Iterator[tuple[Integers, Float64]]) -> Iterator[Float64]:
        """Yield the rows of H M of each batch, ``[b, t]``, M given as ``(rows, M[rows])`` batch by batch."""
        t = self.target.num_classes
        total, products = np.zeros(t), np.zeros((self._width, t))
        for rows, piece in pieces:
            products += self._points(rows).T @ piece
            total += piece.sum(axis=0)
        weights = self._lifted(self._gains(strength)[:, None] * self._lowered(products))
        for draws in self.batches:
            yield self._points(draws.ravel()) @ weights + total / len(self.target)

    def _gains(self, strength: float) -> Float64:
        """The share g of each direction that is kept, ``[k]``."""
        eigenvalues = self.decomposed.eigenvalues
        return eigenvalues / (eigenvalues + strength * self.unit)

    @property
    def _width(self) -> int:
        return len(self.decomposed.eigenvalues) if self.decomposed.dual else len(self.decomposed.basis)

    def _points(self, rows: Integers) -> Float64:
        """What `_lifted` weights are multiplied by, ``[b, d]``: scaled and centred features, or U where n < d."""
        if self.decomposed.dual:
            return self.decomposed.basis[rows]
        points = np.asarray(self.decomposed.features[rows], dtype=np.float64)
        points *= self.decomposed.scale
        points -= self.decomposed.centre
        return points

    def _lifted(self, weights: Float64) -> Float64:
        """Weights of the columns of U, ``[k, t]``, as weights of what `_points` returns."""
        if self.decomposed.dual:
            return weights
        return np.asarray(self.decomposed.basis @ (weights / np.sqrt(self.decomposed.eigenvalues)[:, None]))

    def _lowered(self, products: Float64) -> Float64:
        """The transposed map of `_lifted`, ``[k, t]``."""
        if self.decomposed.dual:
            return products
        return np.asarray((self.decomposed.basis.T @ products) / np.sqrt(self.decomposed.eigenvalues)[:, None])


def _times(inverse: Float64, matrix: Float64) -> Float64:
    number, m, _ = inverse.shape
    if m == 1:
        return np.asarray(inverse[:, 0] * matrix)
    return np.asarray((inverse @ matrix.reshape(number, m, -1)).reshape(matrix.shape))


def _batches(n: int, draws: Integers | None, height: int) -> Iterator[Integers]:
    """Yield rows of draws of one size, ``[number of draws, m]``, about ``height`` rows at a time."""
    if draws is None:
        for start in range(0, n, height):
            yield np.arange(start, min(start + height, n))[:, None]
        return
    sizes = np.bincount(draws)
    by_draw = np.split(np.argsort(draws, kind="stable"), np.cumsum(sizes)[:-1])
    for m in np.unique(sizes):
        of_size = np.stack([by_draw[draw] for draw in np.flatnonzero(sizes == m)])
        step = max(1, height // int(m))
        for start in range(0, len(of_size), step):
            yield of_size[start : start + step]
