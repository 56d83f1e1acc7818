"""Pools of candidates with and without a head: which measure makes the order."""

from __future__ import annotations

from collections.abc import Sequence

from hf_leep.measures import find

AUTO = "auto"  # what --sort-by can be, beside the name of a measure

FEATURE_MEASURE = "logme"


def order_of(measures: Sequence[str], num_headless: int) -> tuple[tuple[str, ...], str]:
    """The measures to compute, and the one that makes the order, where it is left to hf_leep.

    The first measure, if all candidates can have it; where it needs a head that some lack, one measure of features for
    all of them. A score of one measure is never compared with one of another.

    Args:
        measures: those that are asked for.
        num_headless: candidates that are known to have no head.
    """
    if not num_headless or find(measures[0]).needs == "features":
        return tuple(measures), measures[0]
    return tuple(dict.fromkeys((*measures, FEATURE_MEASURE))), FEATURE_MEASURE
