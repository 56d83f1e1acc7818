"""The confidence interval of one score, which may extend further to one side than to the other."""

from __future__ import annotations

from math import sqrt

from hf_leep.measures import Measure
from hf_leep.ranking.uncertainty import critical_value


def interval(
    measure: Measure, value: float, standard_error: float, unseen: float, num_values: int, num_draws: int
) -> tuple[float, float]:
    """Return the lowest and the highest value that the examples leave open, at the level of all intervals.

    - A mean log-likelihood: errors that the examples do not contain would lower it. The interval extends below the
      score by all of its error, above by the part that comes from these examples, and at most to 0.
    - An accuracy: Wilson's interval (Journal of the American Statistical Association 1927), for as many independent
      outcomes as have the variance that these examples show, and at most as many as there are draws.
    - Other scores: the same to either side.

    Args:
        measure: the measure.
        value: the score.
        standard_error: its standard error.
        unseen: the part of its square that stands for errors which the examples do not contain.
        num_values: number of influence values, see `critical_value`.
        num_draws: number of independent draws: of examples, or of groups of them.
    """
    critical = critical_value(num_values)
    seen = max(standard_error**2 - unseen, 0.0)
    if measure.mean_of == "outcomes":
        return _wilson(value, seen, critical, num_draws)
    low, high = value - critical * standard_error, value + critical * sqrt(seen)
    return low, min(high, 0.0) if measure.mean_of == "log-likelihoods" else high


def _wilson(accuracy: float, variance: float, critical: float, num_draws: int) -> tuple[float, float]:
    spread = accuracy * (1 - accuracy)
    number = min(spread / variance, num_draws) if variance > 0 and spread > 0 else num_draws
    more = critical**2 / number
    centre = (accuracy + more / 2) / (1 + more)
    half = sqrt(more * (spread + more / 4)) / (1 + more)
    return max(min(centre - half, accuracy), 0.0), min(max(centre + half, accuracy), 1.0)
