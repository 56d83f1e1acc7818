"""Carry out a plan: run what has to be run, score it, and let no bad candidate stop the others."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hf_leep import hub
from hf_leep.errors import CandidateError, ProcessError, UserError
from hf_leep.records import Result
from hf_leep.runs import plan
from hf_leep.runs.job import Job
from hf_leep.runs.plan import Plan, Step
from hf_leep.text import plain

_LOG = logging.getLogger("hf_leep")
_T = TypeVar("_T")


def carry_out(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool
) -> dict[str, Result]:
    """Do what was planned: name → result.

    An interruption, SIGTERM among them, and the death of another process end the run: what is finished is kept.
    """
    scored: dict[str, Result] = {}
    with supplied(planned, job, budget, prefetch, evict, progress) as supply:
        try:
            with terminable():
                for step in planned.steps:
                    if step.reason is not None:
                        scored[step.name] = Result(step.candidate, reason=step.reason, headless=step.headless)
                        continue
                    with supply.running(step, len(job.rows)):
                        scored[step.name] = attempt(
                            step, partial(job.result, step, supply.fetch(step), supply.advance)
                        )
                    supply.done(step)
        except (KeyboardInterrupt, ProcessError) as stop:
            stopped(planned, scored, stop)
            keep_going(job, stop)
    return scored


class Downloads:
    """What candidates are run with: their checkpoints as they arrive, and the bar that counts their rows."""

    def __init__(self, planned: Plan, job: Job, budget: int | None, evict: bool, bar: Any, arriving: Any) -> None:
        self._job, self._evict, self._bar, self._arriving = job, evict, bar, arriving
        self._left = None if budget is None else budget - planned.download_bytes
        self._users = Counter(step.snapshot.pinned for step in planned.steps if step.snapshot and step.reason is None)
        self.advance: Callable[[int], object] = bar.update

    def fetch(self, step: Step) -> Callable[[hub.Snapshot], Path]:
        """How a candidate's checkpoint comes here."""
        return self._unplanned if step.stored else self._arriving.take

    @contextlib.contextmanager
    def running(self, step: Step, num_rows: int) -> Iterator[None]:
        """Show a candidate's name; in the end the bar stands as if it had run so many rows."""
        self._bar.set_description(plain(Path(step.name).name[-30:]))
        before = self._bar.n
        yield
        self._bar.update(before + num_rows - self._bar.n)

    def done(self, step: Step) -> None:
        """A candidate is not run any more: its download can go, where that is wanted."""
        if step.snapshot:
            self._users[step.snapshot.pinned] -= 1
            if self._evict and not self._users[step.snapshot.pinned]:
                with contextlib.suppress(Exception):  # what cannot be removed stays; the scores matter
                    hub.evict(step.snapshot, self._job.client)

    def _unplanned(self, snapshot: hub.Snapshot) -> Path:
        """Bring a checkpoint whose pass was thought to be in the store, and turned out damaged."""
        if self._left is not None and snapshot.download_bytes > self._left:
            raise CandidateError("its stored pass is damaged, and the budget does not hold its download: run it again")
        self._left = None if self._left is None else self._left - snapshot.download_bytes
        return hub.fetch(snapshot, self._job.client)


@contextlib.contextmanager
def supplied(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool
) -> Iterator[Downloads]:
    """Bring what a plan needs, the next candidates while one runs, and show how far it is."""
    needed = [step.snapshot for step in planned.steps if step.snapshot and step.reason is None and not step.stored]
    running = sum(step.reason is None for step in planned.steps)
    with (
        progress_bar(running * len(job.rows), progress, "row") as bar,
        progress_bar(planned.download_bytes, progress and planned.download_bytes > 0, "B", "downloaded") as bytes_bar,
        hub.Prefetcher(needed, job.client, prefetch, bytes_bar.update) as arriving,
    ):
        yield Downloads(planned, job, budget, evict, bar, arriving)


def keep_going(job: Job, stop: BaseException) -> None:
    """See that a run that was stopped still gets to its report."""
    if job.team.size > 1:
        # The launcher ends all processes when one dies, and waits for a while: time for the report.
        _ignore_termination()
        _LOG.warning("%s: what is finished is kept; run the same command again to go on", stop)


def attempt(step: Step, run: Callable[[], _T]) -> _T | Result:
    """What came of running a candidate; whatever it raises, its reason is a result of its own."""
    try:
        return run()
    except (UserError, ProcessError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return Result(step.candidate, reason=plan.reason_of(error))


def stopped(planned: Plan, scored: dict[str, Result], stop: BaseException) -> None:
    """Name the candidates that a run did not come to.

    Raises:
        KeyboardInterrupt: nothing is finished, so there is no report to keep.
    """
    if isinstance(stop, KeyboardInterrupt) and not any(result.scores for result in scored.values()):
        raise stop
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
