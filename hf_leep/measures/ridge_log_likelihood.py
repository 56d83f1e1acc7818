"""Left-out log-likelihood of the closed-form head: a ridge classifier on centred and scaled features.

Hoerl, Kennard: Ridge Regression: Biased Estimation for Nonorthogonal Problems, Technometrics 1970; with examples left
out by the identity behind PRESS, Allen: The Relationship between Variable Selection and Data Augmentation and a Method
for Prediction, Technometrics 1974; with one temperature, Guo et al.: On Calibration of Modern Neural Networks, ICML
2017: L = max over λ, τ of (1/n) Σ_i log softmax(τ ŷ_(−i))_{y_i}, within 2/n nats.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from hf_leep.arrays import Float64
from hf_leep.measures.measure import Measure
from hf_leep.measures.ridge_head import fitted


def ridge_log_likelihood(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Score how well a linear head predicts labels that it was not fitted to, in nats; higher is better.

    The head of `ridge`: every example is predicted by a ridge regression on all the others. Its class values times a
    temperature are the logits. The temperature is the one with the highest score, and so is the penalty, except that a
    larger one is kept if it costs at most 2/n nats. Two numbers chosen from n examples hardly raise the score: noise
    is above the floor by 0.0004 to 0.003 nats for n = 200 and by 0.013 for n = d = 100 with two classes.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. The examples
            of a draw, such as the words of a sentence, are left out together. By default each example is its own draw.

    Returns:
        L in [−log t, 0]. Invariant to the order of rows and columns, to shifting each column, to rescaling all columns
        alike and to renaming the labels; not to rotating the features, nor to repeating rows. The score is 0 if every
        left-out decision is right.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d)) time, then O(n·d·t) for each of 17 strengths; O(min(n, d)·d + n·t + t·d) memory. With draws
    of m examples also O(n·m·(m + min(n, d))) time for each strength.

    Not for: classes of one example, which the head that predicts it has never seen; data with repeated rows, where an
    example is predicted by its own copy; comparing targets, whose floors −log t differ.

    Reference: hf_leep; ridge regression (Hoerl & Kennard 1970) with Allen's PRESS (1974) and a temperature.

    Examples:
        >>> import numpy as np
        >>> from hf_leep import measures
        >>> labels = np.repeat([0, 1], 10)
        >>> features = np.linspace(0, 1, 20)[:, None]
        >>> round(measures.ridge_log_likelihood(features, np.roll(labels, 1)), 2)
        -0.52

        Features that do not vary score the floor:

        >>> round(measures.ridge_log_likelihood(np.ones((20, 1)), labels), 4)
        -0.6931
    """
    return min(float(fitted(features, labels, draws).log_likelihood.mean()), 0.0)


def influence(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> tuple[float, Float64]:
    """Return the log-likelihood in nats and the influence of each example on it, ``[n]`` values of mean 0.

    See `RidgeHead.log_likelihood_influence`. The standard deviation of the terms alone is 5 to 30 % too small, because
    the examples share one head.

    Args:
        features: as for `ridge_log_likelihood`.
        labels: as for `ridge_log_likelihood`.
        draws: as for `ridge_log_likelihood`.

    Raises:
        InputError: as for `ridge_log_likelihood`.
    """
    head = fitted(features, labels, draws)
    return min(float(head.log_likelihood.mean()), 0.0), head.log_likelihood_influence()


MEASURE = Measure(
    name="ridge-log-likelihood",
    title="ridge log-likelihood",
    needs="features",
    unit="nats",
    reference="hf_leep, after Hoerl & Kennard 1970, Allen 1974 and Guo et al., ICML 2017",
    summary="left-out log-likelihood of a linear head on the features, calibrated by a temperature",
    function=ridge_log_likelihood,
    influence=influence,
    mean_of="log-likelihoods",
    takes_draws=True,
    instead="leave-one-out-leep",
    shares_vote_with="ridge",
)
