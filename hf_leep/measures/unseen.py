"""How much variance is added to a score for errors that the examples happen not to contain.

Where a head is almost always right, the few examples that it gets wrong carry the whole variance of a score. With 0.5 %
of them wrong, every third sample of 200 contains none: its influence values are all 0, and so is the error that they
give. So three more wrong examples count in the variance, as in the rule of three: an event that none of n examples
shows has a frequency of at most 3/n at 95 % (Hanley & Lippman-Hand, JAMA 1983). With k wrong examples among n, of mean
squared effect L², the variance is then (k + 3) L²/n², whose intervals are close to the exact ones of a Poisson
distribution. The three count less the more errors there are, and not at all from 50 on, so that the scores of ordinary
heads keep their errors (`tests/benchmarks/near_perfect.py`).

The variance is added to that of each score on its own, so that it also counts in differences: two candidates that make
the same errors, or none, on these examples need not do so on others.
"""

from __future__ import annotations

from math import log

import numpy as np

from hf_leep.arrays import Float64

ROWS = 3.0  # how many more wrong examples count in the variance
ENOUGH = 50  # errors from which on none are added
# An example whose influence is below this, in nats, may be an error. Good but not perfect predictions of 100 examples
# have enough of them for their errors to stay the same within some percent.
_LOSS = -0.35


def of_log_likelihoods(influence: Float64) -> float:
    """Return the variance to add to that of a mean log-likelihood, in nats².

    Of the largest effect L that one wrong example has on the sum of n log-likelihoods it is assumed that it is at most
    1 + log n. That is so for LEEP with one-hot predictions: the right class has at most n − 1 of n examples in the
    source class, log(1/n) is the term of the wrong one, and the terms of all others lose 1 together. Scores whose
    parameters are chosen by their value, as a prior weight or a temperature, choose a milder prediction where one
    example is wrong. The mean squared effect combines this bound, as one example, with those that were seen.

    The number of errors is the smaller of two: how many examples have an influence that an error could have, and how
    many carry the variance, (Σ IF²)²/Σ IF⁴; 0 where all values are 0.

    Args:
        influence: influence of each example or draw on the score, ``[n]``, mean 0.
    """
    n = len(influence)
    squares = influence * influence
    total, fourth = float(squares.sum()), float((squares * squares).sum())
    carriers = total * total / fourth if fourth > 0 else 0.0
    wrong = influence < _LOSS
    errors = min(carriers, float(np.count_nonzero(wrong)))
    squared_effect = (float(squares[wrong].sum()) + (1 + log(n)) ** 2) / (errors + 1)
    return _rows(errors) * squared_effect / n**2


def of_accuracy(accuracy: float, num_draws: int) -> float:
    """Return the variance to add to that of an accuracy, whose outcomes have an effect of 1.

    Near accuracy 0 the few right ones count as the wrong ones do near 1.

    Args:
        accuracy: share of right decisions, in [0, 1].
        num_draws: number of independent examples.
    """
    return _rows(num_draws * min(accuracy, 1 - accuracy)) / num_draws**2


def _rows(errors: float) -> float:
    return ROWS * max(0.0, 1 - errors / ENOUGH)
