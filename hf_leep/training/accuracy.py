"""Accuracies of fine-tuned networks and their differences, with errors for the judging rows and for the seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Float64, Integers
from hf_leep.measures import unseen


def accuracies(
    correct: Sequence[NDArray[np.bool_]], groups: Integers | None = None
) -> tuple[Float64, Float64, Float64, Float64]:
    """Mean accuracy of each network over its seeds, the differences of all pairs, and the standard errors of both.

    The variance of an accuracy is that of the judging rows, of the network's mean outcome on each, plus that of its
    seeds. The variance between seeds is pooled over the networks, since three seeds tell little of one alone. Two
    networks are judged on the same rows, so the rows' part of a difference is that of the paired outcomes. That of the
    rows allows for errors that they happen not to contain (`hf_leep.measures.unseen`): a network that is right on all
    of them has an error, too, and so has its difference from another one.

    Args:
        correct: whether each judging example is classified rightly for each seed, ``[seeds, m]``, one for each of K
            networks.
        groups: group of each example, such as the sentence of a word, ``[m]``; None where examples are independent.

    Returns:
        Accuracies ``[K]`` in [0, 1], their standard errors ``[K]``, differences ``[K, K]`` (row minus column), and
        their standard errors ``[K, K]``.
    """
    outcomes = np.array([c.mean(axis=0) for c in correct])  # [K, m]
    means = np.array([c.sum() / c.size for c in correct])  # as many right out of as many: the very same number
    seeds = np.array([len(c) for c in correct])
    spreads = [c.mean(axis=1).var(ddof=1) for c in correct if len(c) > 1]
    between_seeds = (float(np.mean(spreads)) if spreads else 0.0) / seeds  # [K]
    influence, wrong, right = outcomes - means[:, None], 1 - outcomes, outcomes
    if groups is not None:
        dense = np.unique(groups, return_inverse=True)[1]
        number = dense.max() + 1
        summed = np.array([np.bincount(dense, row, minlength=number) for row in influence])
        influence = summed * number / len(groups)
        wrong, right = (_largest(part, dense) for part in (wrong, right))
    n = influence.shape[1]
    covariance = influence @ influence.T / (n - 1) / n
    rare = np.minimum(wrong.sum(axis=1), right.sum(axis=1))  # groups that are wrong, or right if those are fewer
    own = np.diag(covariance) + [unseen.of_errors(float(k), n) for k in rare]
    errors = np.sqrt(own + between_seeds)
    paired = np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0) + between_seeds[:, None] + between_seeds
    np.fill_diagonal(paired, 0.0)
    return means, errors, np.subtract.outer(means, means), np.sqrt(paired)


def _largest(values: Float64, groups: Integers) -> Float64:
    """The largest value of each network in each group, ``[K, g]``."""
    found = np.zeros((len(values), int(groups.max()) + 1))
    for row, into in zip(values, found, strict=True):
        np.maximum.at(into, groups, row)
    return found
