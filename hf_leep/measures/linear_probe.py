"""Linear probe: the held-out log-likelihood of a logistic regression on the features.

Alain, Bengio: Understanding Intermediate Layers Using Linear Classifier Probes, ICLR 2017 workshop:
p(y|f) = softmax(W f + b)_y, fitted with an L2 penalty and cross-fitted: each example is scored by a probe that was
fitted without it, L = (1/n) Σ_i log p_{−fold(i)}(y_i|f_i).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers, Labels
from hf_leep.measures.design import Design, design, log_softmax
from hf_leep.measures.logistic import Parts, fits, systems
from hf_leep.measures.measure import Measure

FOLDS = 5
# Weights of the likelihood relative to the penalty ½‖W‖², for features of mean squared length 1: from so small that
# the probe equals the class prior to so large that classes at a hundredth of a length from each other are separated.
STRENGTHS: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)

_CLEARLY = 2.0  # a strength that is worse by so many standard errors is clearly worse
_MOST_GROWTH = 2.0  # how many times larger an error the next strength may give
_PATH_TOLERANCE = 1e-3  # of the fits that only show which strength is best, in nats per example


def linear_probe(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Score how well a linear head predicts labels that it was not fitted to, in nats; higher is better.

    Five folds, stratified by class. Each probe is the class prior of its own training rows (with one pseudo-example)
    times exp(W f), with W penalised and f centred and divided by its root mean square length. The strength is the one
    in `STRENGTHS`, or 0 (the class prior alone), with the highest held-out likelihood. Strengths are tried in
    ascending order as long as the likelihood rises; a strength that is worse by two standard errors in the first fold
    is not tried in the others, since strong fits take longest. Choosing among seven strengths hardly raises the score,
    and no fixed strength suits both noise and good features.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. The examples
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
    return float(_cross_fitted(design(matrix), target, arrays.draws(draws, len(matrix))).terms.mean())


def influence(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> tuple[float, Float64]:
    """Return the held-out log-likelihood in nats and the influence of each example on it, ``[n]`` values of mean 0.

    An example contributes its own term, and it changes the probes that score the others. With ℓ = −log p, H_F the
    Hessian of fold F's fit and ∇ℓ(F) the gradient of the loss of that probe on its own fold, at its weights W_F:

        IF_j = log p_{−fold(j)}(y_j|f_j) + Σ_{F ∌ j} ∇ℓ(F)ᵀ H_F⁻¹ ∇ℓ_j(W_F), centred.

    The standard deviation of the terms alone is 20 % too small for n = 10 d. The share of the class prior is left out,
    since it is 0 for a calibrated probe.

    The chosen strength adds nothing to first order, because it maximises the likelihood. But strengths are far apart,
    and a stronger fit varies more. Where the next one is not clearly worse, other samples would choose it. The
    influence is then that at the next one, if its error is larger, scaled down to twice the error at the chosen one.
    With the chosen strength alone, intervals held in only 78 % of samples with 2 examples a feature
    (`tests/benchmarks/coverage.py`). With 60 to 100 examples, errors are up to twice too large.

    Args and errors: as for `linear_probe`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    prepared = design(matrix)
    fitted = _cross_fitted(prepared, target, arrays.draws(draws, len(matrix)))
    values = _influence_of(prepared, target, fitted)
    if (next_one := fitted.next_stronger) is not None:
        worse = fitted.terms - next_one.terms
        if worse.mean() <= _CLEARLY * worse.std() / np.sqrt(len(worse)):
            stronger, most = _influence_of(prepared, target, next_one), _MOST_GROWTH * values.std()
            if stronger.std() > values.std():
                values = stronger * min(1.0, most / stronger.std())
    return float(fitted.terms.mean()), values


def _influence_of(prepared: Design, target: Labels, fitted: _CrossFitted) -> Float64:
    """Return the influence of each example at one strength, ``[n]``, mean 0."""
    values, weights = fitted.terms.copy(), fitted.weights
    if weights is not None:  # otherwise the class prior alone
        penalty, kept = np.full(len(prepared.squares), 1 / fitted.strength), fitted.parts.kept
        held_out = _gradients(prepared, target, weights, Parts(~kept, fitted.parts.offsets))
        directions = systems(prepared, target, penalty, fitted.parts, weights, held_out)  # H⁻¹ ∇ℓ(F)
        shape = (-1, *directions.shape[1:])
        lifted = prepared.lifted(directions[:-1].reshape(len(directions) - 1, -1))
        for (rows, residual), (_, block) in zip(
            _residuals(prepared, target, weights, fitted.parts), prepared.blocks(), strict=True
        ):
            moved = np.vecdot(residual, (block @ lifted).reshape(shape) + directions[-1])  # [b, folds]
            values[rows] += (moved * kept[:, rows].T).sum(axis=1)
    return np.asarray(values - values.mean())


@dataclass(frozen=True)
class _CrossFitted:
    """The result for one strength.

    Attributes:
        terms: held-out log-likelihood of each example, ``[n]``.
        parts: for each of f folds, which rows its probe is fitted to, and their log class prior.
        weights: weights of each probe, ``[k + 1, f, t]``; None if the class prior alone is best.
        strength: the strength; 0 for the class prior alone.
        next_stronger: for the best strength, the result for the next one, roughly fitted; None where that was not
            tried in all folds.
    """

    terms: Float64
    parts: Parts
    weights: Float64 | None
    strength: float
    next_stronger: _CrossFitted | None = None


def _cross_fitted(prepared: Design, target: Labels, draws: Integers | None) -> _CrossFitted:
    fold = folds(target, draws)
    kept = fold != np.arange(fold.max() + 1)[:, None]
    parts = Parts(kept, np.array([_log_prior(target, training) for training in kept]))
    best, next_stronger = _CrossFitted(parts.offsets[fold, target.codes], parts, None, 0.0), None
    for strength in STRENGTHS if len(prepared.squares) > 1 else ():
        penalty, first, others = np.full(len(prepared.squares), 1 / strength), parts.chosen(slice(1)), slice(1, None)
        start = best.weights
        weights = fits(prepared, target, penalty, first, None if start is None else start[:, :1], _PATH_TOLERANCE)
        terms = _log_likelihood(prepared, target, weights, first)[:, 0]
        gain = (terms - best.terms)[fold == 0]
        if gain.mean() < -_CLEARLY * gain.std() / np.sqrt(len(gain)):
            break
        # From one strength to the next, weights change alike in all folds.
        start = np.repeat(weights, len(parts), axis=1) if start is None else start + weights - start[:, :1]
        rest = fits(prepared, target, penalty, parts.chosen(others), start[:, others], _PATH_TOLERANCE)
        weights = np.concatenate([weights, rest], axis=1)
        terms = _log_likelihood(prepared, target, weights, parts)[np.arange(len(target)), fold]
        found = _CrossFitted(terms, parts, weights, strength)
        if not terms.sum() > best.terms.sum():
            next_stronger = found
            break
        best = found
    if best.weights is None:
        return replace(best, next_stronger=next_stronger)
    weights = fits(prepared, target, np.full(len(prepared.squares), 1 / best.strength), parts, best.weights)
    terms = _log_likelihood(prepared, target, weights, parts)[np.arange(len(target)), fold]
    return _CrossFitted(terms, parts, weights, best.strength, next_stronger)


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


def _logits(prepared: Design, weights: Float64, parts: Parts) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, logits [b, f, t])`` for the weights of each fold, ``[k + 1, f, t]``."""
    lifted = prepared.lifted(weights[:-1].reshape(len(weights) - 1, -1))
    for rows, block in prepared.blocks():
        yield rows, (block @ lifted).reshape(-1, *weights.shape[1:]) + weights[-1] + parts.offsets


def _log_likelihood(prepared: Design, target: Labels, weights: Float64, parts: Parts) -> Float64:
    """Return the log-likelihood of the labels of all rows by each probe, ``[n, f]``."""
    terms = np.empty((len(target), len(parts)))
    for rows, logits in _logits(prepared, weights, parts):
        log_p = log_softmax(logits)
        terms[rows] = log_p[np.arange(len(log_p)), :, target.codes[rows]]
    return terms


def _residuals(prepared: Design, target: Labels, weights: Float64, parts: Parts) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, probabilities minus the class indicator [b, f, t])``."""
    for rows, logits in _logits(prepared, weights, parts):
        residual = np.exp(log_softmax(logits))
        residual[np.arange(len(residual)), :, target.codes[rows]] -= 1.0
        yield rows, residual


def _gradients(prepared: Design, target: Labels, weights: Float64, parts: Parts) -> Float64:
    """Return the gradient of the loss of each part's rows by its weights, ``[k + 1, f, t]``."""
    gradient = np.zeros_like(weights)
    slope = np.zeros_like(prepared.lifted(weights[:-1].reshape(len(weights) - 1, -1)).T)
    for (rows, residual), (_, block) in zip(
        _residuals(prepared, target, weights, parts), prepared.blocks(), strict=True
    ):
        residual *= parts.kept[:, rows].T[..., None]
        slope += residual.reshape(len(residual), -1).T @ block
        gradient[-1] += residual.sum(axis=0)
    gradient[:-1] = prepared.lowered(slope.T).reshape(-1, *weights.shape[1:])
    return gradient


MEASURE = Measure(
    name="linear-probe",
    title="linear probe",
    needs="features",
    unit="nats",
    reference="Alain & Bengio, ICLR 2017 workshop, cross-fitted",
    summary="held-out log-likelihood of a logistic regression on the features",
    function=linear_probe,
    influence=influence,
    mean_of="log-likelihoods",
    takes_draws=True,
)
