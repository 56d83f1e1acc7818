"""Carry out a plan on this machine: run and score each candidate; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from hf_leep import hub
from hf_leep.errors import (
    CandidateError,
    HubLimitError,
    ProcessError,
    UserError,
    lacks_memory,
    name_options,
    one_line,
    option,
)
from hf_leep.records import Result
from hf_leep.runs import plan
from hf_leep.runs.bars import ProgressBar, label, note, progress_bar
from hf_leep.runs.job import Fetch, Job
from hf_leep.runs.memory import Memory
from hf_leep.runs.passes import errors_of_candidates
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.side_by_side import Lanes, open_lanes
from hf_leep.text import number, plain

_LOG = logging.getLogger("hf_leep")
_T = TypeVar("_T")


def carry_out(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool, jobs: int = 1
) -> dict[str, Result]:
    """Carry out a plan.

    An interruption and the death of another process end the run; what is finished is kept.

    Args:
        planned: the plan.
        job: the run.
        budget: bytes that may be downloaded; None for no limit.
        prefetch: number of next candidates that are downloaded while one runs.
        evict: remove each downloaded checkpoint once it is scored.
        progress: show bars.
        jobs: number of candidates at a time.

    Returns:
        Name → result.

    Raises:
        KeyboardInterrupt: the run was interrupted before any candidate was scored.
        UserError: the device is not available, or a row cannot be decoded.
    """
    results: dict[str, Result] = {}
    made: dict[str, bool] = {}  # name → whether its pass was stored before, of those whose pass comes first
    try:
        with (
            sigterm_interrupts() if job.processes.size > 1 else contextlib.nullcontext(),
            open_lanes(planned, job, jobs, progress) as lanes,
            open_downloads(planned, job, budget, prefetch, evict, progress) as downloads,
        ):
            score = partial(_score, planned, job, downloads, results, made, progress)
            if job.left_out.most:
                try:
                    _find_bad_rows(planned, lanes, downloads, results, made)
                except (KeyboardInterrupt, ProcessError, HubLimitError):
                    downloads.stop()  # or other threads would wait for theirs
                    with lanes.stopped() as one_after_another:
                        score(one_after_another, only_made=True)
                    raise
            score(lanes)
    except (KeyboardInterrupt, ProcessError, HubLimitError) as error:
        add_not_run(planned, results, error)
        wait_for_report(job, error)
    return results


def _find_bad_rows(
    planned: Plan, lanes: Lanes, downloads: Downloads, results: dict[str, Result], made: dict[str, bool]
) -> None:
    """Run all passes before anything is scored, so that all are scored without the same rows."""

    def find(job: Job, step: Step) -> bool | Result:
        with downloads.running(step, len(job.rows)):
            run = partial(job.find_bad_rows, step, downloads.fetch(step), downloads.advance)
            found = attempt(step, run, job.memory, lanes.tries_again(step))
        downloads.done(step)
        return found

    for step, found in lanes.each([step for step in planned.in_order if step.is_run], find):
        if isinstance(found, Result):
            results[step.name] = step.as_planned(found)
        else:
            made[step.name] = found


def _score(
    planned: Plan,
    job: Job,
    downloads: Downloads,
    results: dict[str, Result],
    made: dict[str, bool],
    progress: bool,
    lanes: Lanes,
    only_made: bool = False,
) -> None:
    """Score the candidates that have no result yet; those whose pass is not made run it first."""
    job.left_out.settle(job.target)

    def score(job: Job, step: Step) -> Result | None:
        if not step.is_run:
            return step.skipped()
        if step.name in results:
            return results[step.name]
        if only_made and step.name not in made:
            return None
        with downloads.running(step, 0 if step.name in made else len(job.rows)):
            run = partial(job.result, step, downloads.fetch(step), downloads.advance)
            result = step.as_planned(attempt(step, run, job.memory, lanes.tries_again(step)))
        if step.name in made:
            return replace(result, from_store=result.from_store and made[step.name])
        downloads.done(step)
        return result

    for number_done, (step, result) in enumerate(lanes.each(planned.in_order, score), 1):
        if result is not None:
            results[step.name] = result
            note_result(number_done, len(planned.steps), result, progress and job.processes.is_main, job.flags)


def note_result(number_done: int, number_of_all: int, result: Result, show: bool, flags: bool) -> None:
    """Print what came of a candidate in a line, for a log.

    Args:
        number_done: how many candidates are done, this one included.
        number_of_all: how many there are.
        result: its result.
        show: as of `hf_leep.runs.bars.note`.
        flags: name options as on the command line.
    """
    name = plain(Path(result.candidate.id).name if result.candidate.id.count("/") > 1 else result.candidate.id)
    if result.reason is not None:
        said = plain(name_options(result.reason, flags=flags))
    else:
        said = ", ".join(f"{key} {number(score.value)}" for key, score in result.scores.items())
        if result.stop is not None and result.num_examples is not None:
            said += f" (stopped after {result.num_examples:,} examples)"
        said += " (from the store)" if result.from_store else ""
    failed = result.reason is not None
    note(f"[{number_done}/{number_of_all}] {f'✗ {name} – {said}' if failed else f'{name}: {said}'}", show)


class Downloads:
    """The checkpoints of a run as they are downloaded, and the progress bar of its rows.

    Args:
        planned: the plan.
        job: the run.
        budget: bytes that may be downloaded; None for no limit.
        evict: remove each downloaded checkpoint after its last use.
        bar: counts the rows.
        prefetcher: downloads the planned checkpoints.
    """

    def __init__(
        self,
        planned: Plan,
        job: Job,
        budget: int | None,
        evict: bool,
        bar: ProgressBar,
        prefetcher: hub.Prefetcher,
    ) -> None:
        self._client, self._evict, self._bar, self._prefetcher = job.client, evict, bar, prefetcher
        self._timeout = job.timeout
        self._bytes_left = None if budget is None else budget - planned.download_bytes
        self._num_uses = Counter(step.snapshot.pinned for step in planned.steps if step.snapshot and step.is_run)
        self._lock = threading.RLock()
        self._names: list[str] = []  # of the candidates at work
        self._here = threading.local()  # num_run: the rows that were run by this thread

    def advance(self, num_rows: int) -> None:
        """Count rows that were run, or that need not be, by this thread."""
        with self._lock:
            self._here.num_run = getattr(self._here, "num_run", 0) + num_rows
            self._bar.update(num_rows)

    def fetch(self, step: Step) -> Fetch:
        """How to download a candidate's checkpoint."""
        return self._fetch_unplanned if step.stored else self._prefetcher.take

    def stop(self) -> None:
        """Download no more; what waits for a download is interrupted."""
        self._prefetcher.stop()

    @contextlib.contextmanager
    def running(self, step: Step, num_rows: int) -> Iterator[None]:
        """Show a candidate's name; at the end, count the rows that this thread did not have to run."""
        name = label(plain(Path(step.name).name))
        with self._lock:
            self._names.append(name)
            self._describe()
        before = getattr(self._here, "num_run", 0)
        try:
            yield
            self.advance(before + num_rows - getattr(self._here, "num_run", 0))
        except Exception:  # it may be run again
            self.advance(before - getattr(self._here, "num_run", 0))
            raise
        finally:
            with self._lock:
                self._names.remove(name)
                if self._names:
                    self._describe()

    def done(self, step: Step) -> None:
        """Remove a candidate's download, if that is wanted and no other candidate needs it."""
        if step.snapshot is None:
            return
        with self._lock:
            self._num_uses[step.snapshot.pinned] -= 1
            if self._evict and not self._num_uses[step.snapshot.pinned]:
                try:
                    hub.evict(step.snapshot, self._client)
                except Exception as error:  # a file that cannot be removed is no reason to lose the scores
                    _LOG.warning("the download of %s cannot be removed (%s)", plain(step.name), one_line(error))

    def _describe(self) -> None:
        more = f" and {len(self._names) - 1} more" if len(self._names) > 1 else ""
        self._bar.set_description(self._names[0] + more)

    def _fetch_unplanned(self, snapshot: hub.Snapshot) -> Path:
        """Download a checkpoint whose pass was in the store when the plan was made, and is damaged."""
        with self._lock:
            if self._bytes_left is not None and snapshot.download_bytes > self._bytes_left:
                limit = option("hub.max_download")
                raise CandidateError(
                    f"its stored pass is damaged, and its download would exceed {limit}: run it again"
                )
            self._bytes_left = None if self._bytes_left is None else self._bytes_left - snapshot.download_bytes
        return hub.fetch_within(snapshot, self._client, self._timeout)


@contextlib.contextmanager
def open_downloads(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool
) -> Iterator[Downloads]:
    """Download what a plan needs, the next candidates while one runs, and show bars; the arguments of `carry_out`."""
    needed = [step.snapshot for step in planned.in_order if step.snapshot and step.is_run and not step.stored]
    running = sum(step.is_run for step in planned.steps)
    with (
        progress_bar(running * len(job.rows), progress, "row") as bar,
        progress_bar(planned.download_bytes, progress and planned.download_bytes > 0, "B", "downloaded") as bytes_bar,
        hub.Prefetcher(needed, job.client, prefetch, bytes_bar.update, job.timeout) as prefetcher,
    ):
        yield Downloads(planned, job, budget, evict, bar, prefetcher)


def wait_for_report(job: Job, error: BaseException) -> None:
    """Let a run of several processes write its report after it was stopped.

    When one process dies, the launcher sends SIGTERM to all others and waits for a while before it kills them.
    """
    if job.processes.size > 1:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _LOG.warning("%s; what is finished is kept: run the same command again to go on", error)


def attempt(step: Step, run: Callable[[], _T], memory: Memory, again: bool = False) -> _T | Result:
    """Run a candidate, and remember it if it ends the process that runs it.

    Args:
        step: the candidate.
        run: runs it.
        memory: what is remembered of it.
        again: whether it is run again if memory runs out: then the error is raised, and the candidate is not blamed.

    Returns:
        What it returned or, if it raised an error, a result with the reason.

    Raises:
        ProcessError: another process has died.
        HubLimitError: the Hub allows no more requests.
        UserError: the error is not the candidate's.
        Exception: memory ran out, and the candidate is run again.
    """
    try:
        with memory.running(step.snapshot, blame=not again), errors_of_candidates():
            return run()
    except (UserError, ProcessError, HubLimitError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        if again and lacks_memory(error):
            _LOG.warning(
                "memory may have run out for %s while others ran: it is run again at the end, alone", plain(step.name)
            )
            raise
        return Result(step.candidate, reason=plan.reason_of(error))


def add_not_run(planned: Plan, results: dict[str, Result], error: BaseException) -> None:
    """Add a result with the reason for each candidate that a stopped run did not reach.

    Raises:
        KeyboardInterrupt: nothing is finished, so there is nothing to report.
    """
    if isinstance(error, KeyboardInterrupt) and not any(result.scores for result in results.values()):
        raise error
    for step in planned.steps:
        reason = step.reason or f"not run: {str(error) or 'interrupted'}"
        results.setdefault(step.name, replace(step.skipped(), reason=reason))


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM as an interruption: a launcher sends it to all processes when one of them has died."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt("the run was told to end")
