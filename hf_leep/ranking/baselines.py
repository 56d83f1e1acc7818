"""Baselines that need no labels: whether the order merely follows size, popularity, stated accuracy or width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep.ranking.consensus import oriented
from hf_leep.ranking.correlation import kendall_tau
from hf_leep.ranking.ordering import Ranking
from hf_leep.records import Result


@dataclass(frozen=True)
class Baseline:
    """How far the order of the candidates follows a quantity that does not depend on the labels.

    Attributes:
        name: ``parameters``, ``downloads``, ``stated accuracy`` (that on its own task), ``source classes`` or
            ``stable rank``.
        kendall: Kendall's tau-b of the score with it; None where it is not defined.
        num_candidates: ranked candidates for which it is known.
    """

    name: str
    kendall: float | None
    num_candidates: int


def baselines(results: Sequence[Result], ranking: Ranking) -> tuple[Baseline, ...]:
    """Compare the order with each baseline that is known for some ranked candidate.

    Stable rank is known if it is among the measures.
    """
    ranked = [results[candidate.index] for candidate in ranking.ranked]
    score = oriented(ranked, ranking.sort_by)
    quantities: dict[str, Sequence[float | None]] = {
        "parameters": [result.candidate.num_parameters for result in ranked],
        "downloads": [result.candidate.downloads for result in ranked],
        "stated accuracy": [result.candidate.stated_accuracy for result in ranked],
        "source classes": [result.num_source_classes for result in ranked],
    }
    if ranking.sort_by != "stable-rank":
        quantities["stable rank"] = list(oriented(ranked, "stable-rank"))
    found = []
    for name, values in quantities.items():
        other = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        both = np.isfinite(other) & np.isfinite(score)
        if both.any():
            found.append(Baseline(name, kendall_tau(score[both], other[both]), int(both.sum())))
    return tuple(found)
