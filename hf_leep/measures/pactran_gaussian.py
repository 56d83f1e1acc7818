"""PACTran-Gaussian: a PAC-Bayesian bound on the loss of a linear head, from its fit and the flatness around it.

Ding, Chen, Levinboim, Changpinyo, Soricut: PACTran: PAC-Bayesian Metrics for Estimating the Transferability of
Pretrained Models to Classification Tasks, ECCV 2022, the metric that they call PACTran-Gaussian: with a prior
N(0, σ₀² I) on the weights W [d, t] of a softmax regression, and a posterior N(W*, σ² I) with the best σ²,

    bound = RER + (t d/(2β)) log(1 + (β σ₀²/(t d)) Tr H),   RER = min_{W, b} L(W, b) + ‖W‖²/(2 β σ₀²),

L the mean cross-entropy, W* its minimiser with the penalty, and Tr H the trace of the Hessian of L in W there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.design import Design, design, log_softmax
from hf_leep.measures.logistic import TOLERANCE, Parts, fit, fits
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife_parts, pseudo_values

STRENGTH = 1.0  # λ = β σ₀²/n
# Of the fit to many examples, see `logistic.TOLERANCE`. It is rough, because the bound is a minimum but for the
# flatness term, whose weight is 5 t/n: the score was off by at most 5e-6.
_ROUGH_TOLERANCE = 1e-4
# Fits to parts of the examples only make the standard error, and the bound is a minimum, which an error of the weights
# changes to second order. It is accurate to this share of the standard error of the mean loss.
_PART_ACCURACY = 0.03
PER_FEATURE = 0.1  # β/(n d), so that σ₀² = 10 λ/d; with λ = 1, the middle one of the settings in the paper's code


def pactran_gaussian(features: ArrayLike, labels: ArrayLike, strength: float = STRENGTH) -> float:
    """Score the bound on the loss of a linear head under a Gaussian prior, in nats per example; higher is better.

    This is the negative of the paper's bound, which bounds a loss. The authors' code computes it for λ = β σ₀²/n of
    0.1, 1 and 10, each with two priors: σ₀² of 10/d and 1/d for λ = 0.1, of 100/d and 10/d for λ = 1, and of 1000/d
    and 100/d for λ = 10, so that β is n d/100 or n d/10 for every λ. Here λ is 1 and β is n d/10; another λ keeps this
    β and has σ₀² = 10 λ/d. As in that code the features are centred and the constant b has no prior. That code omits
    the factor 1/n in Tr H and includes the constant; here the formula is the paper's, with H the Hessian of the mean
    loss in the weights that have the prior: Tr H = (1/n) Σ_i ‖f_i‖² (1 − Σ_y p(y|f_i)²). d counts the columns that
    vary.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        strength: λ > 0: RER is the mean loss + ‖W‖²/(2 λ n), and σ₀² = 10 λ/d.

    Returns:
        −bound in (−∞, 0]; −Ĥ(Y), the negative entropy of the classes, for features that do not vary. Invariant to the
        order of rows, to shifting and rotating the features, to constant columns and to renaming the labels, up to the
        solver's tolerance (1e-5); not to rescaling the features.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, fewer than two classes, or a λ that is not
            positive and finite.

    Cost: O(n·d·min(n, d)) time, then up to a few hundred passes of O(n·d·t); O(n·(d + t)) memory.

    Not for: comparing candidates of different width on few examples, since the fit is in-sample: only the flatness
    term, of the order (5 t/n) log(1 + n ‖f‖²/(t d)), distinguishes noise that fits from features that fit. With n =
    200 and 5 balanced classes, noise of 8, 64 and 512 columns scores −1.94, −1.16 and −0.13 (floor −1.61). Not for
    candidates whose features have different units.

    Reference: Ding et al. 2022, PACTran-Gaussian.

    Examples:
        >>> import numpy as np
        >>> from hf_leep import measures
        >>> labels = np.repeat([0, 1], 10)
        >>> features = 5.0 * labels[:, None] + np.linspace(0, 5, 20)[:, None]
        >>> round(measures.pactran_gaussian(features, labels), 3)
        -0.603
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _Bound(matrix, target, strength).value(None)


def influence(
    features: ArrayLike, labels: ArrayLike, draws: Integers | None = None, strength: float = STRENGTH
) -> tuple[float, Float64]:
    """Return PACTran-Gaussian in nats and the pseudo-values of its `resampling.jackknife`, ``[10]``, mean 0.

    Args:
        features: as for `pactran_gaussian`.
        labels: as for `pactran_gaussian`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.
        strength: as for `pactran_gaussian`.

    Errors: as for `pactran_gaussian`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    bound, parts = _Bound(matrix, target, strength), jackknife_parts(len(matrix), draws)
    return pseudo_values(bound.value(None), bound.values(parts))


class _Bound:
    """The bound for any part of the examples; a fit to a part starts from the weights fitted to all of them."""

    def __init__(self, matrix: FloatMatrix, target: Labels, strength: float) -> None:
        if not 0 < strength < np.inf:
            raise InputError(f"strength must be positive and finite, got {strength!r}")
        self.strength, self.target, self.prepared = strength, target, design(matrix)
        self.full_fit: Float64 | None = None  # weights fitted to all the examples
        self.flatness_weight = self.target.num_classes / (2 * PER_FEATURE * len(self.target))
        self.tolerance = max(_ROUGH_TOLERANCE / (1 + self.flatness_weight) ** 4, TOLERANCE)  # of the next fit

    def value(self, kept: Kept) -> float:
        """Return the score of the examples to use."""
        target, classes = _relabelled(self.target, kept)
        if target.num_classes < 2:
            return 0.0
        start = None if self.full_fit is None else self.full_fit[:, classes]
        weights = fit(self.prepared, target, self._penalty(), kept=kept, start=start, tolerance=self.tolerance)
        if kept is None:
            self.full_fit = weights
            spread = _log_likelihood(self.prepared, target, weights).std()
            rough = float(np.sqrt(2 * _PART_ACCURACY * spread / np.sqrt(len(target))))
            self.tolerance = max(rough / (1 + self.flatness_weight) ** 2, self.tolerance)
        return self._score(target, weights, kept)

    def values(self, parts: NDArray[np.bool_]) -> Float64:
        """Return the score of several parts of the examples, ``[p, n] -> [p]``; after that of all of them."""
        complete = np.array([len(np.unique(self.target.codes[kept])) == self.target.num_classes for kept in parts])
        result = np.array([0.0 if whole else self.value(kept) for whole, kept in zip(complete, parts, strict=True)])
        if complete.any() and self.full_fit is not None:
            together = Parts(parts[complete], np.zeros((int(complete.sum()), self.target.num_classes)))
            start = np.repeat(self.full_fit[:, None], len(together), axis=1)
            weights = fits(self.prepared, self.target, self._penalty(), together, start, self.tolerance)
            result[complete] = [
                self._score(_relabelled(self.target, kept)[0], weights[:, part], kept)
                for part, kept in enumerate(together.kept)
            ]
        return result

    def _penalty(self) -> Float64:
        prior = float(np.exp(np.clip(-np.log(self.strength) - self.prepared.log_square, -400, 400)))
        return np.append(np.full(len(self.prepared.squares) - 1, prior), 0.0)

    def _score(self, target: Labels, weights: Float64, kept: Kept) -> float:
        """Return the score of the examples to use at the weights fitted to them."""
        n, t = int(target.counts.sum()), target.num_classes
        fitted = _fitted(self.prepared, target, weights, kept)
        risk = (fitted.loss + 0.5 * float(self._penalty() @ (weights**2).sum(axis=1))) / n
        if fitted.curvature == 0:
            return -risk
        scale = self.strength * n / (t * self.prepared.decomposed.num_varying)  # β σ₀²/(t d)
        # log_square is the logarithm of the squared unit of length in the design
        flatness = np.logaddexp(0.0, np.log(scale) + self.prepared.log_square + np.log(fitted.curvature / n))
        return -risk - t / (2 * PER_FEATURE * n) * float(flatness)


def _log_likelihood(prepared: Design, target: Labels, weights: Float64) -> Float64:
    """Return the log-likelihood of the label of each example, ``[n]``."""
    terms = np.empty(len(target))
    for rows, logits in prepared.logits(weights):
        terms[rows] = log_softmax(logits)[np.arange(len(logits)), target.codes[rows]]
    return terms


@dataclass(frozen=True)
class _Fitted:
    """Sums over the examples at the fitted weights: the loss, and the trace of the Hessian in the design's unit."""

    loss: float
    curvature: float


def _fitted(prepared: Design, target: Labels, weights: Float64, kept: Kept) -> _Fitted:
    lengths = prepared.squared_lengths(kept)
    loss = curvature = 0.0
    for rows, logits in prepared.logits(weights):
        chosen = slice(None) if kept is None else kept[rows]
        log_p, codes = log_softmax(logits[chosen]), target.codes[rows][chosen]
        loss -= float(log_p[np.arange(len(codes)), codes].sum())
        p = np.exp(log_p)
        curvature += float(lengths[rows][chosen] @ (p * (1 - p)).sum(axis=1))
    return _Fitted(loss, curvature)


def _relabelled(target: Labels, kept: Kept) -> tuple[Labels, Integers]:
    """Return labels over the classes that the examples to use have, and which classes those are.

    There is a label for every row; that of a row that is not used means nothing. A class without examples would move
    its constant, which has no prior, to −∞.
    """
    if kept is None:
        return target, np.arange(target.num_classes)
    counts = np.bincount(target.codes[kept], minlength=target.num_classes)
    classes = np.flatnonzero(counts)
    position = np.zeros(target.num_classes, dtype=np.int64)
    position[classes] = np.arange(len(classes))
    return Labels(position[target.codes], target.classes[classes], counts[classes]), classes


MEASURE = Measure(
    name="pactran-gaussian",
    title="PACTran-Gaussian",
    needs="features",
    unit="nats",
    reference="Ding et al., ECCV 2022, PACTran-Gaussian, λ = 1",
    summary="bound on the loss of a linear head, from its fit and the flatness around it; in-sample",
    function=pactran_gaussian,
    influence=influence,
    resamples=True,
    mean_of="log-likelihoods",
    shuffled_baseline=True,
)
