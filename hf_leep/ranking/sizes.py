"""Size and score: the best candidate of each size, and how far the order of the candidates follows their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hf_leep.ranking.consensus import oriented
from hf_leep.ranking.correlation import kendall_tau
from hf_leep.ranking.ordering import Ranking
from hf_leep.records import Result

BOUNDS = (10**7, 10**8, 10**9)  # parameters at which a new band begins


@dataclass(frozen=True)
class SizeBand:
    """The ranked candidates in a range of sizes.

    Attributes:
        low: fewest parameters, 0 for the first band.
        high: number of parameters at which the next band begins, None for the last band.
        num_candidates: number of ranked candidates.
        best: position in the results of the one that is ranked highest.
    """

    low: int
    high: int | None
    num_candidates: int
    best: int


@dataclass(frozen=True)
class Sizes:
    """How score and size go together.

    Attributes:
        bands: the bands that have candidates, small to large.
        num_unknown: ranked candidates whose number of parameters is not known.
        kendall: Kendall's tau-b of score and number of parameters; None where it is not defined.
        num_candidates: candidates that tau is computed over.
    """

    bands: tuple[SizeBand, ...]
    num_unknown: int
    kendall: float | None
    num_candidates: int


def sizes(results: Sequence[Result], ranking: Ranking) -> Sizes:
    """Group ranked candidates by size, and compare their order with the order by size."""
    ranked = [candidate.index for candidate in ranking.ranked]
    sized = [i for i in ranked if results[i].candidate.num_parameters]
    parameters = np.array([results[i].candidate.num_parameters for i in sized], dtype=np.float64)
    edges = (0, *BOUNDS, None)
    bands = []
    for low, high in pairwise(edges):
        within = (parameters >= (low or 0)) & (parameters < (high or np.inf))
        inside = [sized[k] for k in np.flatnonzero(within)]
        if inside:  # ranked order, so the first is the best
            bands.append(SizeBand(low or 0, high, len(inside), inside[0]))
    scores = oriented([results[i] for i in sized], ranking.sort_by)
    finite = np.isfinite(scores)  # in a race, candidates that did not run all rows are not compared
    kendall = kendall_tau(scores[finite], parameters[finite])
    return Sizes(tuple(bands), len(ranked) - len(sized), kendall, int(finite.sum()))
