"""A candidate of a race, and which of them are out after a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hf_leep.measures import find
from hf_leep.ranking import elimination
from hf_leep.ranking.elimination import Eliminated
from hf_leep.records import Extraction, Score
from hf_leep.runs.plan import Step


@dataclass
class Racer:
    """A candidate of the race.

    Attributes:
        step: the candidate.
        kept: its passes over the rows of single looks, if they are not in the store, by the index of the look.
        from_store: whether earlier runs made all of its passes so far.
        scores: its scores at each look, on all rows so far.
        first_half: its score on the first half of the rows of the first look.
        heads: the accuracy of a linear head on its features at each look.
        left_out: the rows that were left out at each look, of those that it ran.
        left_out_of_all: the rows that were left out when it had its result.
        untrained: whether it was never trained, as its first pass found.
    """

    step: Step
    kept: dict[int, Extraction] = field(default_factory=dict)
    from_store: bool = True
    scores: list[Mapping[str, Score]] = field(default_factory=list)
    first_half: Score | None = None
    heads: list[Score | None] = field(default_factory=list)
    left_out: list[list[int]] = field(default_factory=list)
    left_out_of_all: list[int] = field(default_factory=list)
    untrained: bool = False


def eliminate(racers: Sequence[Racer], decided_by: str, top: int, level: float, doublings: float) -> list[Eliminated]:
    """The candidates that are out after a look, by their scores at it and at the look before.

    Args:
        racers: the candidates still in the race.
        decided_by: the measure that decides.
        top: number of best candidates that are wanted.
        level: confidence level of each comparison.
        doublings: how often the rows so far can be doubled until they are all rows.
    """
    now = [racer.scores[-1][decided_by] for racer in racers]
    before = [racer.scores[-2][decided_by] if len(racer.scores) > 1 else racer.first_half for racer in racers]
    return elimination.eliminated(
        now,
        [score or Score(None) for score in before],
        untrained=[racer.untrained for racer in racers],
        higher_is_better=find(decided_by).higher_is_better,
        top=top,
        level=level,
        doublings=doublings,
    )
