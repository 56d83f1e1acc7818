"""What the other processes of a launcher (torchrun, accelerate) do: they run their share of each pass, silently."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import HfLeepError, ProcessError, UserError
from hf_leep.inference.processes import Processes
from hf_leep.inference.shards import Shard
from hf_leep.report import Report
from hf_leep.runs.config import RunConfig
from hf_leep.runs.job import Job
from hf_leep.runs.passes import PassRequest

_LOG = logging.getLogger("hf_leep")


@dataclass(frozen=True)
class StartMessage:
    """The first message of the main process.

    Attributes:
        revision: commit of the data set, if it is on the Hub.
        fingerprint: fingerprint of the rows and labels that every process must have.
    """

    revision: str | None
    fingerprint: str


def run_shares(processes: Processes, config: RunConfig, in_memory: Mapping[str, tuple[str, object, object]]) -> Report:
    """Run this process's share of every pass that the main process requests, until it sends its report.

    Args:
        processes: the processes of the run.
        config: the run.
        in_memory: the candidates in memory, by name.

    Raises:
        HfLeepError: the run ended without a report; the main process says why.
        ProcessError: another process has died.
    """
    message = processes.broadcast()
    if isinstance(message, StartMessage):
        whole = _open(processes, config, message)
        job = whole  # of the rows of the last request: its loader serves the next candidates on the same rows
        while isinstance(message := processes.broadcast(), PassRequest):
            if isinstance(whole, Job) and isinstance(job, Job) and not _equal(message.positions, job.positions):
                job = whole if message.positions is None else whole.select(message.positions)
            try:
                _run_share(message, processes, job, in_memory)
            except ProcessError:
                raise
            except Exception as error:  # the main process gets it too, and reports it
                _LOG.debug("process %d: %s", processes.index, error)
    if isinstance(message, Report):
        return message
    raise HfLeepError("the run ended without a report; the main process says why")


def _open(processes: Processes, config: RunConfig, message: StartMessage) -> Job | Exception:
    """Read the rows; an error is kept for the first pass, in which all processes exchange their errors."""
    try:
        job = config.at(message.revision).job(processes=processes)
        if job.target.fingerprint != message.fingerprint:
            raise UserError(f"process {processes.index} reads other rows than the main one: is its data set the same?")
    except Exception as error:
        return error
    return job


def _equal(a: Integers | None, b: Integers | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _run_share(
    request: PassRequest,
    processes: Processes,
    job: Job | Exception,
    in_memory: Mapping[str, tuple[str, object, object]],
) -> None:
    if isinstance(job, Exception):
        problem = job

        def fail() -> None:
            raise problem

        processes.run_in_all(fail)
        return
    if request.folder is None:
        raise AssertionError  # a request that is sent to other processes names the folder for their rows
    model = in_memory.get(request.candidate.id) if request.snapshot is None else None
    output = Shard(request.folder, processes.index)
    job.runner.run_share(request, output, lambda _rows: None, model[1:] if model else None)
