"""How much variance is added to a score for errors that the examples happen not to contain.

Where a head is almost always right, the few examples that it gets wrong carry the whole variance of a score. With
0.5 % wrong, more than every third sample of 200 contains none: all influence values are 0, and so is the error that
they give. So three more wrong examples count in the variance, as in the rule of three: an event that none of n
examples shows has a frequency of at most 3/n at 95 % (Hanley & Lippman-Hand, JAMA 1983). With k wrong examples of mean
squared effect L² on the sum, the variance of the mean is then about (k + 3) L²/n², and its intervals are close to the
exact ones of a Poisson distribution. The three count less the more errors there are, and not at all from 30 on, so
that the scores of ordinary heads keep their errors (`tests/benchmarks/near_perfect.py`).

The variance is added to that of each score on its own, so that it also counts in differences: two candidates that make
the same errors on these examples, or none, need not do so on others.
"""

from __future__ import annotations

from math import log

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.measures.blocks import standard_error

ROWS = 3.0  # how many more wrong examples count in the variance
ENOUGH = 30  # errors from which on none are added
_WRONG = log(2)  # loss of an example whose class has half of the probability


def of_log_likelihoods(value: float, influence: Float64) -> float:
    """Return the variance to add to that of a mean log-likelihood, in nats².

    One wrong example is assumed to change the sum of n log-likelihoods by at most L = 1 + log n. That is so for LEEP
    with one-hot predictions: the term of the wrong example is log(1/m) where m ≤ n examples share its source class,
    and the terms of the other m − 1 lose 1 together. Scores that choose a prior weight or a temperature choose a
    milder prediction where an example is wrong. The mean squared effect is that of the errors which the examples
    contain and of one more of size L.

    The loss of an example is minus its value and influence. The number of errors k is the smaller of two: how many
    losses ℓ are above log 2, and how many examples carry the losses, (Σ ℓ²)²/Σ ℓ⁴. It is 0 where there is no loss.

    Args:
        value: the score, at most 0.
        influence: influence of each example or draw on the score, ``[n]``, mean 0.
    """
    n = len(influence)
    losses = np.maximum(-(value + influence), 0.0)
    wrong = losses > _WRONG
    squares = losses * losses
    fourth = float((squares * squares).sum())
    carriers = float(squares.sum()) ** 2 / fourth if fourth > 0 else 0.0
    errors = min(carriers, float(np.count_nonzero(wrong)))
    squared_effect = (float((influence[wrong] ** 2).sum()) + (1 + log(n)) ** 2) / (errors + 1)
    return _rows(errors) * squared_effect / n**2


def of_resampled_log_likelihood(value: float, influence: Float64, num_draws: int) -> float:
    """Return the same for a score whose standard error SE comes from resamples, in nats².

    The losses of single examples are not known then. A wrong example loses at most L, so there are at least as many
    errors as the sum of the losses holds L, and fewer errors give wider intervals. Their squared effects sum up to
    n² SE².

    Args:
        value: the score, at most 0.
        influence: the values of the resamples, mean 0.
        num_draws: number of independent examples.
    """
    largest = 1 + log(num_draws)
    errors = num_draws * max(-value, 0.0) / largest
    squared_effect = ((num_draws * standard_error(influence)) ** 2 + largest**2) / (errors + 1)
    return _rows(errors) * squared_effect / num_draws**2


def of_accuracy(accuracy: float, num_draws: int) -> float:
    """Return the variance to add to that of an accuracy; a wrong example has an effect of 1 on the sum.

    Near accuracy 0 the few right ones count as the wrong ones do near 1.

    Args:
        accuracy: share of right decisions, or mean probability of the right class, in [0, 1].
        num_draws: number of independent examples.
    """
    return of_errors(num_draws * min(accuracy, 1 - accuracy), num_draws)


def of_errors(errors: float, num_draws: int) -> float:
    """Return the same, given the number of draws that are wrong, or right if those are fewer."""
    return _rows(errors) / num_draws**2


def _rows(errors: float) -> float:
    return ROWS * max(0.0, 1 - errors / ENOUGH)
