"""Carry out a plan: run what has to be run, score it, and let no bad candidate stop the others."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hf_leep import hub, plan
from hf_leep.card.text import plain
from hf_leep.errors import CandidateError, ProcessError, UserError
from hf_leep.job import Job
from hf_leep.plan import Plan, Step
from hf_leep.records import Result

_LOG = logging.getLogger("hf_leep")


def carry_out(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool
) -> dict[str, Result]:
    """Do what was planned: name → result.

    An interruption, SIGTERM among them, and the death of another process end the run: what is finished is kept.
    """
    scored: dict[str, Result] = {}
    needed = [step for step in planned.steps if step.snapshot and step.reason is None and not step.stored]
    users = Counter(step.snapshot.place for step in planned.steps if step.snapshot and step.reason is None)
    running = sum(step.reason is None for step in planned.steps)
    left = None if budget is None else budget - planned.download_bytes

    def unplanned(snapshot: hub.Snapshot) -> Path:
        """Bring a checkpoint whose pass was thought to be in the store, and turned out damaged."""
        nonlocal left
        if left is not None and snapshot.download_bytes > left:
            raise CandidateError("its stored pass is damaged, and the budget does not hold its download: run it again")
        left = None if left is None else left - snapshot.download_bytes
        return hub.fetch(snapshot, job.client)

    with (
        progress_bar(running * len(job.rows), progress, "row") as bar,
        progress_bar(planned.download_bytes, progress and planned.download_bytes > 0, "B", "downloaded") as bytes_bar,
        hub.Prefetcher([s.snapshot for s in needed if s.snapshot], job.client, prefetch, bytes_bar.update) as arriving,
    ):
        try:
            with terminable():
                for step in planned.steps:
                    if step.reason is not None:
                        scored[step.name] = Result(step.candidate, reason=step.reason, headless=step.headless)
                        continue
                    bar.set_description(plain(Path(step.name).name[-30:]))
                    before = bar.n
                    scored[step.name] = _result(step, job, unplanned if step.stored else arriving.take, bar.update)
                    bar.update(before + len(job.rows) - bar.n)
                    if step.snapshot:
                        users[step.snapshot.place] -= 1
                        if evict and not users[step.snapshot.place]:
                            with contextlib.suppress(Exception):  # what cannot be removed stays; the scores matter
                                hub.evict(step.snapshot, job.client)
        except (KeyboardInterrupt, ProcessError) as stop:
            stopped(planned, scored, stop)
            if job.team.size > 1:
                # The launcher ends all processes when one dies, and waits for a while: time for the report.
                _ignore_termination()
                _LOG.warning("%s: what is finished is kept; run the same command again to go on", stop)
    return scored


def _result(step: Step, job: Job, fetch: Callable[[hub.Snapshot], Path], advance: Callable[[int], object]) -> Result:
    try:
        return job.result(step, fetch, advance)
    except (UserError, ProcessError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return Result(step.candidate, reason=plan.reason_of(error))


def stopped(planned: Plan, scored: dict[str, Result], stop: BaseException) -> None:
    """Name the candidates that a run did not come to."""
    for step in planned.steps:
        scored.setdefault(step.name, Result(step.candidate, reason=f"not run: {str(stop) or 'interrupted'}"))


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Take SIGTERM for an interruption: a scheduler that ends the run costs only what is not finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt("the run was told to end")


def _ignore_termination() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def progress_bar(total: int, show: bool, unit: str, description: str | None = None) -> Any:
    """A progress bar on stderr, silent where it is not wanted."""
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    return tqdm(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        desc=description,
        disable=None if show else True,
        dynamic_ncols=True,
    )
