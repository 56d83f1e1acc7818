"""Split rows into three parts: to train on, to choose by, and to judge on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import UserError

CHOOSE_SHARE, JUDGE_SHARE = 0.2, 0.2  # the rest is for training
_SMALLEST = 10  # rows of a part, below which an accuracy on it says nothing


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of the rows of each part, ascending.

    Attributes:
        train: rows that every network is trained on, ``[a]``.
        choose: rows that learning rates and survivors are chosen by; finalists are trained on them as well, ``[b]``.
        judge: rows that are never trained on and choose nothing, ``[c]``.
    """

    train: Integers
    choose: Integers
    judge: Integers


def split_rows(classes: Integers | None, groups: Integers, seed: int) -> Split:
    """Split rows into training, choosing and judging: 60, 20 and 20 % of each class.

    Rows of one group, such as repeats of one image, stay together. Of a class with few groups, training gets the first
    and judging the second.

    Args:
        classes: class of each row, ``[m]``; None where a row holds several labels, as a sentence does: then the split
            is random.
        groups: group of each row, 0 … g−1, ``[m]``.
        seed: seed of the split.

    Raises:
        UserError: a part would have fewer than ten rows.
    """
    rng = np.random.default_rng(seed)
    first = np.unique(groups, return_index=True)[1]  # a row of each group
    strata = np.zeros(len(first), dtype=np.int64) if classes is None else classes[first]
    part = np.zeros(len(first), dtype=np.int64)  # of each group: 0 train, 1 choose, 2 judge
    owed = np.zeros(2)  # what rounding has taken from choosing and judging so far
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        owed += np.array([CHOOSE_SHARE, JUDGE_SHARE]) * len(members)
        judge = min(max(round(owed[1]), 0), len(members) - 1)
        choose = min(max(round(owed[0]), 0), len(members) - 1 - judge)
        owed -= (choose, judge)
        part[members[:judge]], part[members[judge : judge + choose]] = 2, 1
    train, choose_rows, judge_rows = (np.flatnonzero(part[groups] == k) for k in range(3))
    if min(len(choose_rows), len(judge_rows)) < _SMALLEST:
        raise UserError(
            f"{len(groups)} rows are too few to fine-tune on: a fifth of them is for choosing, a fifth for testing, "
            f"and each must have at least {_SMALLEST} rows; rank more rows first"
        )
    return Split(train, choose_rows, judge_rows)
