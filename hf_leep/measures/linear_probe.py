"""Linear probe: the held-out log-likelihood of a logistic regression on the features.

Alain, Bengio: Understanding Intermediate Layers Using Linear Classifier Probes, ICLR 2017 workshop:
p(y|f) = softmax(W f + b)_y; fitted with an L2 penalty, cross-fitted: each example is scored by a probe that was
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

FOLDS = 5
# Weights of the likelihood against the penalty ½‖W‖², for features of mean squared length 1: from so little that
# the probe is the class prior to so much that classes are told apart at a hundredth of a length.
STRENGTHS: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)


def linear_probe(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> float:
    """Score how well a linear head predicts labels that it was not fitted to, in nats; higher is better.

    Five folds, stratified by class. Each probe is the class prior of its own training rows (with one pseudo-example)
    times exp(W f), W penalised, f centred and divided by its root mean square length. The strength is the one in
    `STRENGTHS`, or none at all, with the highest held-out likelihood: stronger ones are tried as long as they help;
    one that is worse by a standard error in the first fold is given up there, as its fits take the longest. One
    number chosen from seven raises the score by next to nothing, and no fixed one serves both noise and good features.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: which independent draw each example is of, 0 … g−1 with g ≥ 2, all occurring, ``[n]``: the examples of
            one, as the words of a sentence, are in one fold. Each example is a draw of its own by default.

    Returns:
        L in (−∞, 0], never below the held-out log-likelihood of the class prior, its floor. Invariant to rotating,
        shifting and rescaling the features and to renaming labels, up to the solver's tolerance (1e-5). Folds are
        drawn from n and the labels alone, the same for all candidates; another order of rows makes other folds, which
        moves the score by a fraction of its standard error.

    Raises:
        InputError: wrong shapes, NaN or an infinity, negative labels, fewer than two classes.

    Cost: O(n·d·min(n, d)) time, then some hundred passes of O(n·d·t); O(n·(d + t)) memory. The slowest measure.

    Not for: classes of one example, which the probe that scores them has never seen; nor data with repeated rows, of
    which one can be fitted and its copy scored.

    Reference: Alain & Bengio 2017, cross-fitted.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return float(_cross_fitted(design(matrix, target), target, draws).terms.mean())


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Held-out log-likelihood and the influence of each example: value in nats and ``[n]`` values of mean 0.

    An example adds its own term, and it moves the probes that score the others. With ℓ = −log p, H_F the curvature
    of fold F's fit and ∇ℓ(F) the gradient of what that probe loses on its own fold, at its weights W_F:

        IF_j = log p_{−fold(j)}(y_j|f_j) + Σ_{F ∌ j} ∇ℓ(F)ᵀ H_F⁻¹ ∇ℓ_j(W_F), centred.

    std of the terms alone is a fifth too small at n = 10 d. The chosen strength adds nothing to first order, being a
    maximum; the class prior's share is left out, being 0 for a calibrated probe.

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
        lost = _gradient(prepared, target, weights, offset, ~training)
        towards = solved(prepared, target, penalty, weights, lost, offset=offset, kept=training)  # H⁻¹ ∇ℓ(F)
        lifted = prepared.lifted(towards[:-1])
        for (rows, residual), (_, block) in zip(
            _residuals(prepared, target, weights, offset), prepared.blocks(), strict=True
        ):
            values[rows] += training[rows] * np.vecdot(residual, block @ lifted + towards[-1])
    return float(fitted.terms.mean()), values - values.mean()


@dataclass(frozen=True)
class _CrossFitted:
    """What came of the best strength.

    Attributes:
        terms: held-out log-likelihood of each example, ``[n]``.
        parts: for each fold, which rows its probe was fitted to, ``[n]``, and their log class prior, ``[t]``.
        weights: each probe's weights, ``[k + 1, t]``; None where the class prior alone is best.
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
        for (training, offset), before in zip(parts, best.weights, strict=True):
            start = before
            if weights:  # from one strength to the next, weights move alike in all the folds
                first = best.weights[0]
                start = weights[0] if before is None or first is None else before + weights[0] - first
            found = fit(prepared, target, penalty, offset=offset, kept=training, start=start)
            terms[~training] = _log_likelihood(prepared, target, found, offset, ~training)
            weights.append(found)
            gained = (terms - best.terms)[~training]
            if len(weights) == 1 and gained.mean() < -gained.std() / np.sqrt(len(gained)):
                return best
        if not terms.sum() > best.terms.sum():
            break
        best = _CrossFitted(terms, parts, [*weights], strength)
    return best


def folds(target: Labels, draws: Integers | None = None) -> Integers:
    """Fold of each example, 0 … min(5, g) − 1, ``[n]``: every class dealt out in a seeded order of the rows.

    Args:
        target: labels.
        draws: which independent draw each example is of, 0 … g−1, ``[n]``: a draw is dealt out as a whole, as one of
            the rarest class in it. Each example is a draw of its own by default.
    """
    draws = np.arange(len(target)) if draws is None else draws
    number = int(draws.max()) + 1
    order = np.random.default_rng(number).permutation(number)
    place = _ranks(order)
    # Classes are told apart by where they come and how many they are, whatever their names.
    first = np.full(target.num_classes, number)
    np.minimum.at(first, target.codes, place[draws])
    first_row = np.unique(target.codes, return_index=True)[1]
    by_rarity = np.lexsort((first_row, first, target.counts))
    rarest = np.full(number, target.num_classes)
    np.minimum.at(rarest, draws, _ranks(by_rarity)[target.codes])
    class_place = _ranks(np.lexsort((first_row, first)))[by_rarity[rarest]]  # of each draw
    fold = np.empty(number, dtype=np.int64)
    fold[order[np.argsort(class_place[order], kind="stable")]] = np.arange(number) % min(FOLDS, number)
    return np.asarray(fold[draws])


def _ranks(order: Integers) -> Integers:
    """Place of each item in an order."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def _log_prior(target: Labels, training: NDArray[np.bool_]) -> Float64:
    """Log frequency of each class among the training rows and one pseudo-example of equal parts, ``[t]``."""
    t = target.num_classes
    counts = np.bincount(target.codes[training], minlength=t)
    return np.asarray(np.log((counts + 1 / t) / (training.sum() + 1)))


def _log_likelihood(
    prepared: Design, target: Labels, weights: Float64, offset: Float64, chosen: NDArray[np.bool_]
) -> Float64:
    """Log-likelihood of the chosen rows' labels."""
    found = np.empty(len(target))
    for rows, logits in prepared.logits(weights):
        log_p = log_softmax(logits + offset)
        found[rows] = log_p[np.arange(len(log_p)), target.codes[rows]]
    return found[chosen]


def _residuals(prepared: Design, target: Labels, weights: Float64, offset: Float64) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, probabilities less the indicator of the class [b, t])``."""
    for rows, logits in prepared.logits(weights):
        residual = np.exp(log_softmax(logits + offset))
        residual[np.arange(len(residual)), target.codes[rows]] -= 1.0
        yield rows, residual


def _gradient(
    prepared: Design, target: Labels, weights: Float64, offset: Float64, chosen: NDArray[np.bool_]
) -> Float64:
    """Gradient of the chosen rows' loss by the weights, ``[k + 1, t]``."""
    slope, slope_of_constant = np.zeros_like(prepared.lifted(weights[:-1])), np.zeros(target.num_classes)
    for (rows, residual), (_, block) in zip(
        _residuals(prepared, target, weights, offset), prepared.blocks(), strict=True
    ):
        residual *= chosen[rows, None]
        slope += block.T @ residual
        slope_of_constant += residual.sum(axis=0)
    return np.vstack([prepared.lowered(slope), slope_of_constant])
