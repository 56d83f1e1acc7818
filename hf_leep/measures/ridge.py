"""Left-out accuracy of the closed-form head: a ridge classifier on centred and scaled features.

Hoerl, Kennard: Ridge Regression: Biased Estimation for Nonorthogonal Problems, Technometrics 1970; with examples left
out by the identity behind PRESS, Allen: The Relationship between Variable Selection and Data Augmentation and a Method
for Prediction, Technometrics 1974: A = (1/n) Σ_i 1[y_i = argmax_y (ȳ + r_(−i) (ŷ_(−i) − ȳ_(−i)))_y] with
r_(−i)² = ȳ (1 − ȳ) / (ȳ_(−i) (1 − ȳ_(−i))), class by class.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from hf_leep.arrays import Float64
from hf_leep.measures.measure import Measure
from hf_leep.measures.ridge_head import fitted


def ridge(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Score the share of examples that a linear head classifies correctly without them; higher is better.

    The head is a ridge regression of the class indicators on centred features, each divided by √(l² + m²), with l its
    length and m the mean length of the features that vary. Every example is predicted by a head that was fitted to all
    the others. The decision corrects for the class of the example that is left out, which has one example fewer than
    it should: otherwise noise with 5 balanced classes is right in 5 to 7 % of cases, where chance is 20 %. If several
    classes have the highest value, each counts as predicted with the same probability.

    The strength of the penalty is chosen by left-out log-likelihood (see `ridge_log_likelihood`), not by accuracy,
    which would be too optimistic: on noise with n = 200, d = 256 and 5 balanced classes, the highest accuracy of 33
    strengths was 22.6 % on average, and this score 20.0 %.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. The examples
            of a draw, such as the words of a sentence, are left out together. By default each example is its own draw.

    Returns:
        A in [0, 1], dimensionless. Invariant to the order of rows and columns, to shifting each column, to rescaling
        all columns alike and to renaming the labels; not to rotating the features, nor to repeating rows. Features
        that do not vary score the share of the most frequent class, or 1/t if all are equally frequent.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d)) time, then O(n·d·t) for each of 17 strengths; O(min(n, d)·d + n·t + t·d) memory. With draws
    of m examples also O(n·m·(m + min(n, d))) time for each strength.

    Not for: classes of one example, which always counts as classified wrongly; data with repeated rows, where an
    example is predicted by its own copy.

    Reference: hf_leep; ridge regression (Hoerl & Kennard 1970) with Allen's PRESS (1974).

    Examples:
        >>> import numpy as np
        >>> from hf_leep import measures
        >>> labels = np.repeat([0, 1], 10)
        >>> measures.ridge(np.linspace(0, 1, 20)[:, None], labels)
        1.0
        >>> measures.ridge(np.ones((20, 1)), labels)
        0.5
    """
    return float(fitted(features, labels, draws).correct.mean())


def influence(features: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> tuple[float, Float64]:
    """Return the accuracy and the influence of each example on it, ``[n]`` values of mean 0.

    See `RidgeHead.correct_influence`. The standard deviation of the outcomes alone is 5 to 20 % too small, because the
    examples share one head.

    Args:
        features: as for `ridge`.
        labels: as for `ridge`.
        draws: as for `ridge`.

    Raises:
        InputError: as for `ridge`.
    """
    head = fitted(features, labels, draws)
    return float(head.correct.mean()), head.correct_influence()


MEASURE = Measure(
    name="ridge",
    title="ridge accuracy",
    needs="features",
    unit="",
    reference="hf_leep, after Hoerl & Kennard 1970 and Allen 1974",
    summary="share of examples that a linear head fitted to all the others classifies correctly",
    function=ridge,
    influence=influence,
    mean_of="outcomes",
    takes_draws=True,
)
