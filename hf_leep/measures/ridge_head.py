"""The closed-form head: a ridge classifier on scaled features, judged by left-out predictions alone.

One decomposition of the features serves all strengths (`left_out_ridge`). For each, the logits of an example are τ
ŷ_(−i), with the temperature τ of the highest left-out log-likelihood (Guo et al.: On Calibration of Modern Neural
Networks, ICML 2017, with examples left out in place of a validation set). The strength of the highest one is chosen,
or a larger one if it is at most 2/n nats worse. Accuracy is that of the same head, so nothing was chosen by the
outcomes that it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.design import log_softmax
from hf_leep.measures.left_out_ridge import Batch, RidgePath
from hf_leep.measures.spectrum import remembered

# λ in units of the largest σ². On photographs and digits, seen by five networks, weaker penalties gained at most
# 0.0003 nats on average, and a grid twice as fine 0.0005. If n ≈ d, weaker penalties fit noise exactly, and the
# outcomes then depend so much on one another that errors are far too small. Stronger ones gained nothing; on noise
# they always name the most frequent class.
STRENGTHS: tuple[float, ...] = tuple(10.0 ** (k / 4 - 4) for k in range(17))
LARGEST_TEMPERATURE = 1e6  # reached where the left-out predictions make no error
_TIE = 1e-12  # votes closer than this are equal up to rounding
# A smaller strength is chosen only if all examples together gain this many nats. Otherwise noise with n = d, where
# strengths give very different heads, would be right too often: 53.7 % with n = 100 and two classes, now 52.2 %.
_GAIN = 2.0
_STEPS = 60  # of Newton's method for a temperature
_ROUGH, _FINE = 1e-3, 1e-10  # relative size of the last one: to compare strengths, and for the chosen one
_KEPT = 2**24  # numbers in the inverses of several strengths, and in the predictions of a head that is kept
_FLOAT64 = 2**21  # numbers up to which predictions are in float64

_Slopes: TypeAlias = Callable[[Batch], Float64]


@dataclass(frozen=True, eq=False)
class RidgeHead:
    """A fitted ridge classifier, as its left-out predictions show it.

    Attributes:
        strength: the chosen λ, in units of the largest σ²: one of `STRENGTHS`.
        temperature: the chosen τ, from 0 to `LARGEST_TEMPERATURE`.
        predictions: class values ŷ_(−i) of each example by a head that was fitted without it, ``[n, t]``; each row
            sums to 1. In float32 where they are many.
        correct: whether the left-out decision is the example's class, ``[n]``: 1 or 0, or its share of a tie.
        log_likelihood: log softmax(τ ŷ_(−i)) of the example's class, ``[n]``.
        path: the regressions behind it.
        inverses: those of ``path`` at the chosen strength.
    """

    strength: float
    temperature: float
    predictions: FloatMatrix
    correct: Float64
    log_likelihood: Float64
    path: RidgePath
    inverses: list[Float64]

    @classmethod
    def fit(cls, features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> RidgeHead:
        """Decompose the features once, try all `STRENGTHS` and keep the best.

        Args:
            features: penultimate features, ``[n, d]``.
            labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
            draws: which independent draw each example is of, 0 … g−1 with g ≥ 2, all occurring, ``[n]``: the examples
                of one, as the words of a sentence, are left out together. Each is a draw of its own by default.

        Raises:
            InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.
        """
        matrix = arrays.features(features)
        target = arrays.labels(labels, len(matrix))
        path = RidgePath.of(matrix, target, draws)
        predictions = np.empty((len(target), target.num_classes), _precision(target))
        strength, temperature, inverses = _best(path, predictions)
        correct = np.empty(len(target))
        for batch in path.left_out(strength, inverses):
            predictions[batch.rows] = batch.left_out
            votes, at = _votes(path, batch), (np.arange(len(batch.rows)), target.codes[batch.rows])
            winning = votes >= votes.max(axis=1, keepdims=True) - _TIE
            correct[batch.rows] = winning[at] / winning.sum(axis=1)
        temperature, _ = _tempered(predictions, target, temperature, _FINE)
        terms = np.empty(len(target))
        for rows, block in arrays.row_blocks(predictions):
            block *= temperature
            terms[rows] = log_softmax(block)[np.arange(len(block)), target.codes[rows]]
        return cls(strength, temperature, predictions, correct, terms, path, inverses)

    def correct_influence(self) -> Float64:
        """Influence of each example on the mean of ``correct``, ``[n]``, mean 0.

        As `log_likelihood_influence`. An outcome is a step function of the margin between the example's class and the
        strongest other class. Its slope is the density of the margins at 0, estimated by a Gaussian kernel of
        Silverman's width.
        """
        codes, n = self.path.target.codes, len(self.correct)
        margins, rivals = np.empty(n), np.empty(n, dtype=np.int64)
        for batch in self.path.left_out(self.strength, self.inverses):
            votes, at = _votes(self.path, batch), np.arange(len(batch.rows))
            own = votes[at, codes[batch.rows]]
            votes[at, codes[batch.rows]] = -np.inf
            rivals[batch.rows] = votes.argmax(axis=1)
            margins[batch.rows] = own - votes.max(axis=1)
        low, high = np.quantile(margins, [0.25, 0.75])
        spreads = [spread for spread in (float(margins.std()), float(high - low) / 1.349) if spread > 0]
        width = 1.06 * min(spreads) * n**-0.2 if spreads else 1.0
        density = np.exp(-0.5 * (margins / width) ** 2) / (width * np.sqrt(2 * np.pi)) if spreads else np.zeros(n)

        def slopes(batch: Batch) -> Float64:
            found, at = np.zeros(batch.left_out.shape), np.arange(len(batch.rows))
            found[at, codes[batch.rows]] = density[batch.rows]
            found[at, rivals[batch.rows]] = -density[batch.rows]
            return found * _unshrunk(self.path, batch)

        return self._influence(self.correct, slopes)

    def log_likelihood_influence(self) -> Float64:
        """Influence of each example on the mean of ``log_likelihood``, ``[n]``, mean 0, in nats.

        An example contributes its own term ℓ_j, and it changes the head that predicts the others. With S_i the slope
        of ℓ_i in ŷ_(−i) and h_ij the entries of the hat matrix H, to first order

            IF_j = ℓ_j + ½ Σ_{i ≠ j} h_ij/(1 − h_ii) S_i·(y_j − ŷ_(−j)), centred.

        The left-out residual stands for y_j − ŷ_j, as in MacKinnon & White, Journal of Econometrics 1985 (HC3): the
        residual of an example with high leverage says little about it. What two examples do to each other's terms is
        in the influence of both, so the second part counts half. Without the ½ errors are 1.1 to 1.5 times too large;
        the standard deviation of the terms alone is 0.7 to 1 times the right one (`tests/benchmarks/coverage.py`).
        λ and τ contribute nothing to first order, because the score is a maximum over both.
        """

        def slopes(batch: Batch) -> Float64:
            found = -self.temperature * np.exp(log_softmax(self.temperature * batch.left_out))
            found[np.arange(len(batch.rows)), self.path.target.codes[batch.rows]] += self.temperature
            return found

        return self._influence(self.log_likelihood, slopes)

    def _influence(self, terms: Float64, slopes: _Slopes) -> Float64:
        def pieces() -> Iterator[tuple[Integers, Float64]]:
            for batch in self.path.left_out(self.strength, self.inverses):
                yield batch.rows, batch.spread(slopes(batch))

        values = terms.copy()
        for batch, moved in zip(
            self.path.left_out(self.strength, self.inverses), self.path.smoothed(self.strength, pieces()), strict=True
        ):
            slope = slopes(batch)
            moved -= batch.spread(slope) - slope  # the part of its own draw, H_DD (I − H_DD)⁻¹ = (I − H_DD)⁻¹ − I
            values[batch.rows] += 0.5 * np.vecdot(moved, batch.residuals)
        return np.asarray(values - values.mean())


def fitted(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> RidgeHead:
    """Return `RidgeHead.fit`; within `spectrum.shared`, both measures of one head fit it once.

    Args:
        features: as for `RidgeHead.fit`.
        labels: as for `RidgeHead.fit`.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones.
    """
    matrix = arrays.features(features)
    target, index = arrays.labels(labels, len(matrix)), arrays.draws(draws, len(matrix))
    if len(target) * target.num_classes > _KEPT:  # too large to be kept
        return RidgeHead.fit(matrix, labels, index)
    key = ("ridge head", target.codes.tobytes(), None if index is None else index.tobytes())
    return remembered(matrix, key, lambda: RidgeHead.fit(matrix, labels, index))


def mixture(first: Float64, second: Float64) -> tuple[float, Float64]:
    """Weight w of the first of two predictors, and log(w p + (1 − w) q) of each example, ``[n]``, at that weight.

    The w in [0, 1] with the highest mean, from the left-out predictions of both. The mean is concave in w, so that
    expectation and maximisation (Dempster, Laird, Rubin 1977), or as here a bisection of its slope, find the maximum.

    Args:
        first: log probability log p of each example's class, ``[n]``.
        second: that of the other predictor, log q, ``[n]``.
    """
    top = np.maximum(first, second)
    p, q = np.exp(first - top), np.exp(second - top)

    def slope(weight: float) -> float:
        mixed = weight * p + (1 - weight) * q
        return float(np.divide(p - q, mixed, out=np.full_like(p, np.inf), where=mixed > 0).mean())

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    weight = round((low + high) / 2, 9)
    return weight, np.log(weight * p + (1 - weight) * q) + top


def _precision(target: Labels) -> type[np.floating]:
    return np.float64 if len(target) * target.num_classes <= _FLOAT64 else np.float32


def _votes(path: RidgePath, batch: Batch) -> Float64:
    """What an example's class is decided by, ȳ + r (ŷ_(−D) − ȳ_(−D)) with r from `_unshrunk`, ``[b, t]``.

    In ȳ_(−D) the class of an example that is left out has fewer examples than others, and would lose votes to them for
    that alone: without this correction noise of 5 balanced classes is right in 5 to 7 % of cases.
    """
    return np.asarray(path.frequencies + _unshrunk(path, batch) * (batch.left_out - batch.frequencies))


def _unshrunk(path: RidgePath, batch: Batch) -> Float64:
    """√(ȳ (1 − ȳ) / (ȳ_(−D) (1 − ȳ_(−D)))), ``[b, t]``; 1 for a class of which nothing or all is left.

    On noise, a class value varies as much as the indicators of the class, which vary less once one of its few examples
    is left out: without this factor noise of 20 classes of 5 examples is right in 3.5 to 4 % of cases, not 5 %.
    """
    whole, rest = path.frequencies * (1 - path.frequencies), batch.frequencies * (1 - batch.frequencies)
    return np.sqrt(np.divide(whole, rest, out=np.ones_like(rest), where=rest > 0))


def _best(path: RidgePath, predictions: FloatMatrix) -> tuple[float, float, list[Float64]]:
    """Strength and temperature of the highest left-out log-likelihood, and the inverses there.

    Args:
        path: the regressions.
        predictions: room for those of one strength, ``[n, t]``.
    """
    highest, temperature = -np.inf, 1.0
    descending, step = STRENGTHS[::-1], max(1, _KEPT // path.entries)
    best: tuple[float, float, list[Float64]] = descending[0], 0.0, []
    for start in range(0, len(descending), step):
        some = descending[start : start + step]
        for strength, inverses in zip(some, path.inverses(some), strict=True):
            for batch in path.left_out(strength, inverses):
                predictions[batch.rows] = batch.left_out
            found, value = _tempered(predictions, path.target, temperature or 1.0, _ROUGH)
            temperature = found
            if value > highest + _GAIN / len(path.target):
                highest, best = value, (strength, found, inverses)
    return best


def _tempered(predictions: FloatMatrix, target: Labels, start: float, tolerance: float) -> tuple[float, float]:
    """Temperature of the highest mean log-likelihood, which is concave in it, and that mean.

    Args:
        predictions: class values, ``[n, t]``; each row sums to 1.
        target: labels.
        start: where to start, positive.
        tolerance: relative size of the last step of Newton's method.
    """
    own = predictions[np.arange(len(target)), target.codes].mean(dtype=np.float64)
    if own <= 1 / target.num_classes + _TIE:  # the slope at 0
        return 0.0, -float(np.log(target.num_classes))
    tau, low, high = start, 0.0, np.inf
    value = 0.0
    for _ in range(_STEPS):
        value, slope, curvature = _moments(predictions, target, tau)
        low, high = (tau, high) if slope > 0 else (low, tau)
        step = slope / curvature if curvature > 0 else np.inf
        further = min(max(tau + step, tau / 8), 8 * tau, LARGEST_TEMPERATURE)
        if not low <= further <= high:
            further = np.sqrt(low * high) if low > 0 else high / 2
        if abs(further - tau) <= tolerance * tau:
            return further, value + 0.5 * slope * (further - tau)
        tau = further
    return tau, value


def _moments(predictions: FloatMatrix, target: Labels, tau: float) -> tuple[float, float, float]:
    """Mean log-likelihood at a temperature, its first derivative, and its second with the sign turned."""
    value = slope = curvature = 0.0
    for rows, block in arrays.row_blocks(predictions):
        own = block[np.arange(len(block)), target.codes[rows]]
        top = block.max(axis=1, keepdims=True)
        weights = block - top
        weights *= tau
        np.exp(weights, out=weights)
        total = weights.sum(axis=1)
        weights *= block
        mean = weights.sum(axis=1) / total
        value += float((tau * (own - top[:, 0]) - np.log(total)).sum())
        slope += float((own - mean).sum())
        curvature += float((np.vecdot(weights, block) / total - mean * mean).sum())
    return value / len(target), slope / len(target), curvature / len(target)
