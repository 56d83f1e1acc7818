"""Sampling errors by scoring again on parts of the examples, for measures without a sound closed form.

Both ways draw their parts from the number of examples alone, so that the parts are the same for all candidates and
the error of a difference is a paired one. Both keep each example once or not at all: the naive bootstrap repeats
examples, which a score that is fitted and evaluated on the same examples takes for evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Integers, Labels

NUM_PARTS = 10  # a standard error from ten values is itself known to 1/√18 = 24 %
Kept: TypeAlias = NDArray[np.bool_] | None  # which examples count, [n]; None for all


def jackknife(score: Callable[[Kept], float], n: int, draws: Integers | None = None) -> tuple[float, Float64]:
    """Score, and pseudo-values of the delete-a-group jackknife, ``[10]`` of mean 0: std/√10 is the standard error.

    For scores that move smoothly with the examples. With fewer than 20 draws each is a group of its own.

    Args:
        score: the score of the kept examples; finite also where all of them are of one class.
        n: number of examples.
        draws: which independent draw each example is of, 0 … g−1, all occurring, ``[n]``: the examples of one are left
            out together. Each example is a draw of its own by default.
    """
    draws, number = _numbered(n, draws)
    count = NUM_PARTS if number >= 2 * NUM_PARTS else number
    group = (np.random.default_rng(number).permutation(number) % count)[draws]
    value = score(None)
    without = np.array([score(group != g) for g in range(count)])
    pseudo = count * value - (count - 1) * without
    return value, pseudo - pseudo.mean()


def half_samples(score: Callable[[Kept], float], n: int, draws: Integers | None = None) -> tuple[float, Float64]:
    """Score, and its scatter over ten random halves, ``[10]`` of mean 0: std/√10 is the standard error.

    For scores with noise of their own (an iterative fit that may end elsewhere): the jackknife would multiply that
    noise by three. Without replacement, scores of m of g draws spread by √((g − m)/m) of the standard error, so by all
    of it where m = g/2.

    Args:
        score: as for `jackknife`.
        n: as for `jackknife`.
        draws: as for `jackknife`; the examples of one draw stay together.
    """
    draws, number = _numbered(n, draws)
    generator, size = np.random.default_rng(number), number // 2
    scatter = np.array([score((generator.permutation(number) < size)[draws]) for _ in range(NUM_PARTS)])
    scatter *= np.sqrt(NUM_PARTS * size / (number - size))
    return score(None), scatter - scatter.mean()


def labels_of(target: Labels, kept: Kept) -> Labels:
    """Labels of the kept examples, over the classes that occur in them."""
    if kept is None:
        return target
    present, codes, counts = np.unique(target.codes[kept], return_inverse=True, return_counts=True)
    return Labels(codes, target.classes[present], counts)


def _numbered(n: int, draws: Integers | None) -> tuple[Integers, int]:
    """Draw of each example, and how many there are."""
    return (np.arange(n), n) if draws is None else (draws, int(draws.max()) + 1)
