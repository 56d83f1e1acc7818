"""What the processes besides the main one do: run their share of each pass, and say nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import HfLeepError, ProcessError, UserError
from hf_leep.inference.processes import Processes
from hf_leep.report import Report
from hf_leep.runs.config import RunConfig
from hf_leep.runs.job import Job, PassRequest

_LOG = logging.getLogger("hf_leep")


@dataclass(frozen=True)
class StartMessage:
    """What the main process tells first.

    Attributes:
        revision: of the data set, pinned where it is on the Hub.
        fingerprint: of the rows and labels that every process must have.
    """

    revision: str | None
    fingerprint: str


def follow(team: Processes, recipe: RunConfig, in_memory: Mapping[str, tuple[str, Any, Any]]) -> Report:
    """Do what the main process says until it is done, and return its report.

    Args:
        team: the processes.
        recipe: the run.
        in_memory: the candidates in memory, by name.

    Raises:
        HfLeepError: the run ended without a report; the main process says why.
    """
    opening = team.tell()
    job: Job | None = None
    problem: Exception | None = None
    if isinstance(opening, StartMessage):
        try:
            job = recipe.at(opening.revision).job(team=team)
            if job.target.fingerprint != opening.fingerprint:
                raise UserError(f"process {team.index} reads other rows than the main one: is its data set the same?")
        except Exception as error:  # told with the first pass, in which all processes take part
            problem = error
        part = job  # the rows of the last order: its feed serves the candidates that run on them
        while isinstance(order := team.tell(), PassRequest):
            try:
                if job is not None and part is not None and not _same(order.positions, part.positions):
                    part = job if order.positions is None else job.part(order.positions)
                _run(order, team, part, problem, in_memory)
            except ProcessError:
                raise
            except Exception as error:  # the main process knows, and says so
                _LOG.debug("process %d: %s", team.index, error)
        opening = order
    if isinstance(opening, Report):
        return opening
    raise HfLeepError("the run ended without a report; the main process says why")


def _same(a: Integers | None, b: Integers | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _run(
    order: PassRequest,
    team: Processes,
    job: Job | None,
    problem: Exception | None,
    in_memory: Mapping[str, tuple[str, Any, Any]],
) -> None:
    if job is None or problem is not None:

        def give_up() -> None:
            raise problem or AssertionError

        team.together(give_up)
        return
    model = in_memory.get(order.candidate.id) if order.snapshot is None else None
    job.run_share(order, lambda _rows: None, model[1:] if model else None)
