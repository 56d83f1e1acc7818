"""Standard errors by scoring parts of the examples, for measures without an accurate closed form.

Both functions draw the parts from the number of examples alone, so all candidates get the same parts, and the error of
a difference between two candidates is a paired one. Both use each example once or not at all: the bootstrap repeats
examples, and a score that is fitted and evaluated on the same examples would count the copies as evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Integers, Labels

NUM_PARTS = 10  # a standard error from ten values is itself accurate to 1/√18 = 24 %
Kept: TypeAlias = NDArray[np.bool_] | None  # which examples are used, [n]; None for all


def jackknife(score: Callable[[Kept], float], n: int, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return a score and the pseudo-values of its delete-a-group jackknife, ``[10]``, mean 0.

    The standard error is std/√10. For scores that depend smoothly on the examples. With fewer than 20 draws, each
    draw is a group.

    Args:
        score: returns the score of the examples to use, a boolean ``[n]`` or None for all; it must be finite even if
            all of them have the same class.
        n: number of examples.
        draws: index of the draw that each example belongs to, 0 … g−1, all occurring, ``[n]``; the examples of a draw
            are left out together. By default each example is its own draw.
    """
    return pseudo_values(score(None), np.array([score(kept) for kept in jackknife_parts(n, draws)]))


def jackknife_parts(n: int, draws: Integers | None = None) -> NDArray[np.bool_]:
    """Return the examples that each score of the `jackknife` uses, ``[10, n]``.

    Args:
        n: as for `jackknife`.
        draws: as for `jackknife`.
    """
    draws, number = _with_default(n, draws)
    count = NUM_PARTS if number >= 2 * NUM_PARTS else number
    group = (np.random.default_rng(number).permutation(number) % count)[draws]
    return np.asarray(group != np.arange(count)[:, None])


def pseudo_values(value: float, without: Float64) -> tuple[float, Float64]:
    """Return a score and the pseudo-values of its `jackknife`, given the scores of its parts, ``[10]``."""
    pseudo = len(without) * value - (len(without) - 1) * without
    return value, pseudo - pseudo.mean()


def half_samples(score: Callable[[Kept], float], n: int, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return a score and its deviations on ten random halves of the examples, ``[10]``, mean 0.

    The standard error is std/√10. For scores with random variation of their own, such as an iterative fit that may end
    elsewhere: the jackknife would triple that variation. Without replacement, scores of m of g draws have a standard
    deviation of √((g − m)/m) times the standard error, which is the standard error itself for m = g/2.

    Args:
        score: as for `jackknife`.
        n: as for `jackknife`.
        draws: as for `jackknife`; the examples of a draw stay together.
    """
    draws, number = _with_default(n, draws)
    generator, size = np.random.default_rng(number), number // 2
    scatter = np.array([score((generator.permutation(number) < size)[draws]) for _ in range(NUM_PARTS)])
    scatter *= np.sqrt(NUM_PARTS * size / (number - size))
    return score(None), scatter - scatter.mean()


def labels_of(target: Labels, kept: Kept) -> Labels:
    """Return the labels of the examples to use, encoded over the classes that occur among them."""
    if kept is None:
        return target
    present, codes, counts = np.unique(target.codes[kept], return_inverse=True, return_counts=True)
    return Labels(codes, target.classes[present], counts)


def _with_default(n: int, draws: Integers | None) -> tuple[Integers, int]:
    """Return the draw of each example, by default its own, and the number of draws."""
    return (np.arange(n), n) if draws is None else (draws, int(draws.max()) + 1)
