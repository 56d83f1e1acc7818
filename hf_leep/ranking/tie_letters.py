"""Letters for candidates that are not told apart, and tie groups.

A compact letter display (Piepho: An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons, Journal
of Computational and Graphical Statistics 2004): two candidates share a letter exactly where they are not told apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_WRITTEN = re.compile(r"([a-z])([0-9]*)")


def tie_letters(better: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[str | None]:
    """Return each candidate's letters, such as ``ab``, ``[K]``; None for one whose error is not known.

    Each letter stands for a set of candidates no two of which are told apart, so these are the cliques of a graph.
    The number of all largest cliques can grow exponentially with K. Only as many are formed as are needed to cover
    each pair that is not told apart, one after the other, and those that the others make superfluous are left out
    again (Gramm, Guo, Hüffner, Niedermeier, Piepho & Schmid: Algorithms for compact letter displays, Computational
    Statistics & Data Analysis 2007). So there are at most K(K − 1)/2 letters or K; where pairs are told apart by
    their distance alone, at most K. Letters are in the order of the candidates. After ``z`` come ``a2`` to ``z2``,
    then ``a3`` and so on.

    A pair's result does not depend on the other candidates, so a candidate that is added makes no two share a letter
    that did not share one before.

    Args:
        better: whether the row is better than the column, ``[K, K]``, candidates in order.
        known: whether a candidate's error is known, ``[K]``.
    """
    positions = np.flatnonzero(known)
    alike = ~(better | better.T)[np.ix_(positions, positions)]
    np.fill_diagonal(alike, False)
    found: list[str | None] = [None] * len(known)
    found_known = [""] * len(positions)
    for number, clique in enumerate(sorted(_needed(alike, _covering(alike)))):
        for member in clique:
            found_known[member] += _letter(number)
    for position, letters in zip(positions, found_known, strict=True):
        found[position] = letters
    return found


def tie_groups(better: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[int | None]:
    """Return each candidate's tie group, ``[K]``, from 1; None for one whose error is not known.

    A group ends where every candidate above, whose error is known, is better than every one below. So candidates of
    different groups always differ, while those of one group may differ too, if others between them link them.

    Args:
        better: whether the row is better than the column, ``[K, K]``, candidates in order.
        known: whether a candidate's error is known, ``[K]``.
    """
    found: list[int | None] = [None] * len(known)
    positions = np.flatnonzero(known)
    better = better[np.ix_(positions, positions)]
    group = 1
    for k, position in enumerate(positions):
        if k and better[:k, k:].all():
            group += 1
        found[position] = group
    return found


def continued(letters: Sequence[str | None], earlier: Iterable[str | None]) -> list[str | None]:
    """Return letters that go on after others, so that no candidate shares one with those.

    Args:
        letters: the letters of each candidate, from ``a``.
        earlier: the letters of the candidates before them.
    """
    start = 1 + max((number for one in earlier for number in _numbers(one or "")), default=-1)
    return [None if one is None else "".join(_letter(start + number) for number in _numbers(one)) for one in letters]


def _letter(number: int) -> str:
    return _ALPHABET[number % 26] + (str(number // 26 + 1) if number >= 26 else "")


def _numbers(letters: str) -> list[int]:
    return [_ALPHABET.index(letter) + 26 * (int(block or 1) - 1) for letter, block in _WRITTEN.findall(letters)]


def _covering(alike: NDArray[np.bool_]) -> list[list[int]]:
    """Return cliques, each with its members in order, that contain each pair that is alike, and each candidate.

    Sets of candidates are the bits of integers, which makes hundreds of candidates a matter of milliseconds.
    """
    neighbours = [sum(1 << int(k) for k in np.flatnonzero(row)) for row in alike]
    uncovered, cliques = list(neighbours), []
    for first, around in enumerate(neighbours):
        if not around:
            cliques.append([first])
        while later := uncovered[first] >> (first + 1):
            members, common = 1 << first, around
            choice = _lowest(later) + first + 1
            while True:
                members |= 1 << choice
                common &= neighbours[choice]
                if not common:
                    break
                choice = _lowest(common & uncovered[first] or common)
            clique = _bits(members)
            for member in clique:
                uncovered[member] &= ~members
            cliques.append(clique)
    return cliques


def _needed(alike: NDArray[np.bool_], cliques: list[list[int]]) -> list[list[int]]:
    """Leave out the cliques all of whose pairs are in others, too."""
    times = np.zeros(alike.shape, np.int64)  # in how many cliques a pair is
    for clique in cliques:
        times[np.ix_(clique, clique)] += 1
    kept = []
    for clique in reversed(cliques):
        own = np.ix_(clique, clique)
        shared = times[own] > 1
        np.fill_diagonal(shared, True)
        if len(clique) > 1 and shared.all():
            times[own] -= 1
        else:
            kept.append(clique)
    return kept


def _lowest(bits: int) -> int:
    """Return the position of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1


def _bits(bits: int) -> list[int]:
    """Return the positions of the bits that are set, in order."""
    found = []
    while bits:
        found.append(_lowest(bits))
        bits &= bits - 1
    return found
