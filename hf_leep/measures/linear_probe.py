"""Linear probe: the held-out log-likelihood of a logistic regression on the features.

Alain, Bengio: Understanding Intermediate Layers Using Linear Classifier Probes, ICLR 2017 workshop:
p(y|f) = softmax(W f + b)_y, fitted with an L2 penalty and cross-fitted: each example is scored by a probe that was
fitted without it, L = (1/n) Σ_i log p_{−fold(i)}(y_i|f_i).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers, Labels
from hf_leep.measures.logistic import Design, design, fit, log_softmax, solved
from hf_leep.measures.measure import Measure

FOLDS = 5
# Weights of the likelihood relative to the penalty ½‖W‖², for features of mean squared length 1: from so small that
# the probe equals the class prior to so large that classes at a hundredth of a length from each other are separated.
STRENGTHS: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)


def linear_probe(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> float:
    """Score how well a linear head predicts labels that it was not fitted to, in nats; higher is better.

    Five folds, stratified by class. Each probe is the class prior of its own training rows (with one pseudo-example)
    times exp(W f), with W penalised and f centred and divided by its root mean square length. The strength is the one
    in `STRENGTHS`, or 0 (the class prior alone), with the highest held-out likelihood. Strengths are tried in
    ascending order as long as the likelihood rises; a strength that is worse by one standard error in the first fold
    is not tried in the others, since strong fits take longest. Choosing among seven strengths hardly raises the score,
    and no fixed strength suits both noise and good features.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: index of the draw that each example belongs to, 0 … g−1 with g ≥ 2, all occurring, ``[n]``. The examples
            of a draw, such as the words of a sentence, are in the same fold. By default each example is its own draw.

    Returns:
        L in (−∞, 0], never below its floor, the held-out log-likelihood of the class prior. Invariant to rotating,
        shifting and rescaling the features and to renaming the labels, up to the solver's tolerance (1e-5). The folds
        depend on n and the labels alone and are the same for all candidates. Another order of rows gives other folds,
        which changes the score by a fraction of its standard error.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d)) time, then some hundred passes of O(n·d·t); O(n·(d + t)) memory. The slowest measure.

    Not for: classes of one example, which the probe that scores it has never seen; data with repeated rows, where one
    copy may be fitted and the other scored.

    Reference: Alain & Bengio 2017, cross-fitted.

    Examples:
        >>> import numpy as np
        >>> from hf_leep import measures
        >>> labels = np.repeat([0, 1], 10)
        >>> features = np.linspace(0, 1, 20)[:, None]
        >>> round(measures.linear_probe(features, np.roll(labels, 1)), 2)
        -0.49

        Features that do not vary score the class prior:

        >>> round(measures.linear_probe(np.ones((20, 1)), labels), 4)
        -0.6931
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return float(_cross_fitted(design(matrix, target), target, draws).terms.mean())


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return the held-out log-likelihood in nats and the influence of each example on it, ``[n]`` values of mean 0.

    An example contributes its own term, and it changes the probes that score the others. With ℓ = −log p, H_F the
    Hessian of fold F's fit and ∇ℓ(F) the gradient of the loss of that probe on its own fold, at its weights W_F:

        IF_j = log p_{−fold(j)}(y_j|f_j) + Σ_{F ∌ j} ∇ℓ(F)ᵀ H_F⁻¹ ∇ℓ_j(W_F), centred.

    The standard deviation of the terms alone is 20 % too small for n = 10 d. The chosen strength adds nothing to first
    order, because it maximises the likelihood; the class prior's share is left out, since it is 0 for a calibrated
    probe.

    Args and errors: as for `linear_probe`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    prepared = design(matrix, target)
    fitted = _cross_fitted(prepared, target, draws)
    values = fitted.terms.copy()
    for (training, offset), weights in zip(fitted.parts, fitted.weights, strict=True):
        if weights is None:  # the class prior alone
            continue
        penalty = np.full(len(prepared.squares), 1 / fitted.strength)
        held_out = _gradient(prepared, target, weights, offset, ~training)
        direction = solved(prepared, target, penalty, weights, held_out, offset=offset, kept=training)  # H⁻¹ ∇ℓ(F)
        lifted = prepared.lifted(direction[:-1])
        for (rows, residual), (_, block) in zip(
            _residuals(prepared, target, weights, offset), prepared.blocks(), strict=True
        ):
            values[rows] += training[rows] * np.vecdot(residual, block @ lifted + direction[-1])
    return float(fitted.terms.mean()), values - values.mean()


@dataclass(frozen=True)
class _CrossFitted:
    """The result for the best strength.

    Attributes:
        terms: held-out log-likelihood of each example, ``[n]``.
        parts: for each fold, which rows its probe is fitted to, ``[n]``, and their log class prior, ``[t]``.
        weights: weights of each probe, ``[k + 1, t]``; None if the class prior alone is best.
        strength: the strength; 0 for the class prior alone.
    """

    terms: Float64
    parts: list[tuple[NDArray[np.bool_], Float64]]
    weights: list[Float64 | None]
    strength: float


def _cross_fitted(prepared: Design, target: Labels, draws: Integers | None) -> _CrossFitted:
    fold = folds(target, draws)
    parts = [(fold != part, _log_prior(target, fold != part)) for part in range(fold.max() + 1)]
    terms = np.empty(len(target))
    for training, offset in parts:
        terms[~training] = offset[target.codes[~training]]
    best = _CrossFitted(terms, parts, [None] * len(parts), 0.0)
    for strength in STRENGTHS if len(prepared.squares) > 1 else ():
        penalty, terms = np.full(len(prepared.squares), 1 / strength), np.empty(len(target))
        weights: list[Float64] = []
        for (training, offset), previous in zip(parts, best.weights, strict=True):
            start = previous
            if weights:  # from one strength to the next, weights change alike in all folds
                first = best.weights[0]
                start = weights[0] if previous is None or first is None else previous + weights[0] - first
            fitted = fit(prepared, target, penalty, offset=offset, kept=training, start=start)
            terms[~training] = _log_likelihood(prepared, target, fitted, offset, ~training)
            weights.append(fitted)
            gain = (terms - best.terms)[~training]
            if len(weights) == 1 and gain.mean() < -gain.std() / np.sqrt(len(gain)):
                return best
        if not terms.sum() > best.terms.sum():
            break
        best = _CrossFitted(terms, parts, [*weights], strength)
    return best


def folds(target: Labels, draws: Integers | None = None) -> Integers:
    """Return the fold of each example, 0 … min(5, g) − 1, ``[n]``: stratified by class, with a seeded shuffle.

    Args:
        target: labels.
        draws: index of the draw that each example belongs to, 0 … g−1, ``[n]``. All examples of a draw get the same
            fold; the draw counts as one of its rarest class. By default each example is its own draw.
    """
    draws = np.arange(len(target)) if draws is None else draws
    number = int(draws.max()) + 1
    order = np.random.default_rng(number).permutation(number)
    position = _ranks(order)
    # Classes are identified by their first position and their size, so renaming them changes nothing.
    first = np.full(target.num_classes, number)
    np.minimum.at(first, target.codes, position[draws])
    first_row = np.unique(target.codes, return_index=True)[1]
    by_rarity = np.lexsort((first_row, first, target.counts))
    rarest = np.full(number, target.num_classes)
    np.minimum.at(rarest, draws, _ranks(by_rarity)[target.codes])
    class_rank = _ranks(np.lexsort((first_row, first)))[by_rarity[rarest]]  # of each draw
    fold = np.empty(number, dtype=np.int64)
    fold[order[np.argsort(class_rank[order], kind="stable")]] = np.arange(number) % min(FOLDS, number)
    return np.asarray(fold[draws])


def _ranks(order: Integers) -> Integers:
    """Return the position of each item in an order."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def _log_prior(target: Labels, training: NDArray[np.bool_]) -> Float64:
    """Return the log frequency of each class in the training rows, with 1/t pseudo-examples per class, ``[t]``."""
    t = target.num_classes
    counts = np.bincount(target.codes[training], minlength=t)
    return np.asarray(np.log((counts + 1 / t) / (training.sum() + 1)))


def _log_likelihood(
    prepared: Design, target: Labels, weights: Float64, offset: Float64, chosen: NDArray[np.bool_]
) -> Float64:
    """Return the log-likelihood of the labels of the chosen rows."""
    terms = np.empty(len(target))
    for rows, logits in prepared.logits(weights):
        log_p = log_softmax(logits + offset)
        terms[rows] = log_p[np.arange(len(log_p)), target.codes[rows]]
    return terms[chosen]


def _residuals(prepared: Design, target: Labels, weights: Float64, offset: Float64) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, probabilities minus the class indicator [b, t])``."""
    for rows, logits in prepared.logits(weights):
        residual = np.exp(log_softmax(logits + offset))
        residual[np.arange(len(residual)), target.codes[rows]] -= 1.0
        yield rows, residual


def _gradient(
    prepared: Design, target: Labels, weights: Float64, offset: Float64, chosen: NDArray[np.bool_]
) -> Float64:
    """Return the gradient of the chosen rows' loss by the weights, ``[k + 1, t]``."""
    slope, slope_of_constant = np.zeros_like(prepared.lifted(weights[:-1])), np.zeros(target.num_classes)
    for (rows, residual), (_, block) in zip(
        _residuals(prepared, target, weights, offset), prepared.blocks(), strict=True
    ):
        residual *= chosen[rows, None]
        slope += block.T @ residual
        slope_of_constant += residual.sum(axis=0)
    return np.vstack([prepared.lowered(slope), slope_of_constant])


MEASURE = Measure(
    name="linear-probe",
    title="linear probe",
    needs="features",
    unit="nats",
    reference="Alain & Bengio, ICLR 2017 workshop, cross-fitted",
    summary="held-out log-likelihood of a logistic regression on the features",
    function=linear_probe,
    influence=influence,
    takes_draws=True,
)
