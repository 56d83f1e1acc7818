"""Run several candidates at a time (`--jobs`): each in a worker of its own, while this process writes and reports."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from hf_leep.errors import HubLimitError, ProcessError, lacks_memory
from hf_leep.inference.processes import num_cores
from hf_leep.runs.bars import note
from hf_leep.runs.job import Job
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.supervisor import Worker
from hf_leep.runs.threads import one_blas_thread

_T = TypeVar("_T")
_SECONDS = 10.0  # that a stopped run waits for its threads; what one is at then is a long measure, and not stored
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by which users choose the number of torch's threads
_LATER = (ProcessError, HubLimitError)  # raised when the candidates that are at work are done


@dataclass(eq=False)
class _Lane:
    """A thread that works at one candidate after another, with a worker of its own."""

    job: Job
    tasks: queue.SimpleQueue[Callable[[Job], object] | None] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None


class Lanes:
    """Works at several candidates at a time; with a single job at one after another, in the thread of the caller.

    A context manager. Leaving it by an error interrupts what is at work.

    Args:
        jobs: the run, once for each candidate at a time, each with a worker of its own.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._lanes = [_Lane(job) for job in jobs]
        self._done: queue.SimpleQueue[tuple[_Lane, object, BaseException | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Start the threads. They last as long as this block, since a worker ends with the thread that started it."""
        if len(self._lanes) > 1:
            for lane in self._lanes:
                # Daemon threads: the end of this process does not wait for what was interrupted.
                lane.thread = threading.Thread(target=self._work, args=(lane,), daemon=True)
                lane.thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End the threads."""
        if error is not None:
            self.stop()
        for lane in self._lanes:
            lane.tasks.put(None)

    def each(self, steps: Sequence[Step], work: Callable[[Job, Step], _T]) -> Iterator[tuple[Step, _T]]:
        """Do something with each of several candidates.

        A candidate at which an earlier run was killed runs alone: if it kills this one too, no other is blamed. So
        does one that ran out of memory beside others, when they are done.

        Args:
            steps: the candidates.
            work: what to do, in any thread.

        Yields:
            Each candidate and what ``work`` returned, in the order in which they are done.

        Raises:
            ProcessError: no worker can be started; candidates that are at work are done first.
            HubLimitError: the Hub allows no more requests; candidates that are at work are done first.
            BaseException: what else ``work`` raised, at once.
        """
        if len(self._lanes) == 1:
            for step in steps:
                yield step, work(self._lanes[0].job, step)
            return
        waiting, running = deque(steps), dict[_Lane, Step]()
        failure: BaseException | None = None
        self._start(waiting, running, work)
        while running:
            lane, made, error = self._done.get()
            step = running.pop(lane)
            again = error is not None and lacks_memory(error) and self.tries_again(step)
            if error is not None and not again and not isinstance(error, _LATER):
                raise error
            if again and failure is None:
                waiting.append(replace(step, suspect=True))
            elif error is not None and not again:
                failure = failure or error
                waiting.clear()
            self._start(waiting, running, work)
            if error is None:
                yield step, cast(_T, made)
        if failure is not None:
            raise failure

    def tries_again(self, step: Step) -> bool:
        """Whether a candidate that runs out of memory is run again: others, which run beside it, may be the cause.

        Args:
            step: the candidate.
        """
        return len(self._lanes) > 1 and not step.suspect

    def _start(self, waiting: deque[Step], running: dict[_Lane, Step], work: Callable[[Job, Step], object]) -> None:
        """Give each lane that has nothing to do a candidate."""
        for lane in self._lanes:
            if lane in running or not waiting:
                continue
            if running and any(step.suspect for step in (waiting[0], *running.values())):
                return
            running[lane] = step = waiting.popleft()
            if step.suspect:  # alone in memory, too
                for other in self._lanes:
                    if other is not lane and other.job.worker is not None:
                        other.job.worker.end()
            lane.tasks.put(lambda job, step=step: work(job, step))  # type: ignore[misc]

    def stop(self) -> None:
        """Interrupt what is at work in other threads, and wait for them for a while."""
        threads = [lane.thread for lane in self._lanes if lane.thread is not None]
        if not threads:
            return
        for lane in self._lanes:
            lane.job.stopped.set()
            if lane.job.worker is not None:
                lane.job.worker.stop()
            lane.tasks.put(None)
        end = time.monotonic() + _SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        # A thread that is still at a long measure ends with this process, and cannot say that it was interrupted.
        self._lanes[0].job.memory.attempts.abandon()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Lanes]:
        """Interrupt what is at work in other threads; what is left to do is done by the caller's thread alone."""
        self.stop()
        job = self._lanes[0].job
        if len(self._lanes) == 1 or job.worker is None:
            yield self
            return
        with Worker(job.timeout) as worker:  # the others are of no use any more
            yield Lanes([replace(job, worker=worker, stopped=threading.Event())])

    def _work(self, lane: _Lane) -> None:
        while (task := lane.tasks.get()) is not None:
            try:
                made, error = cast(Any, task(lane.job)), None
            except BaseException as raised:  # it is raised in the thread that waits
                made, error = None, raised
            self._done.put((lane, made, error))
            del task, made, error  # nothing of a candidate is kept while the next one is awaited


@contextlib.contextmanager
def open_lanes(planned: Plan, job: Job, number: int, progress: bool) -> Iterator[Lanes]:
    """Prepare to run candidates at a time; where the rows cannot be sent to workers, one after another.

    Args:
        planned: the plan.
        job: the run.
        number: how many candidates at a time.
        progress: say so on stderr.

    Raises:
        ProcessError: no worker can be started.
    """
    number = min(number, sum(step.is_run for step in planned.steps))
    with contextlib.ExitStack() as workers:
        jobs = [job]
        if number > 1 and job.worker is not None:
            shared = replace(
                job,
                num_sharing=job.num_sharing * number,
                num_threads=threads_of_each(number),
                progress=False,
                stopped=threading.Event(),
            )
            new = [workers.enter_context(Worker(job.timeout)) for _ in range(number - 1)]
            jobs = [replace(shared, worker=worker) for worker in (job.worker, *new)]
            in_workers = any(step.is_run and step.snapshot is not None and not step.stored for step in planned.steps)
            if in_workers and not jobs[0].isolation.opens_rows():
                jobs = [job]
            else:
                note(f"{number} candidates at a time, {_threads(shared.num_threads)}", progress, always=True)
        # From another thread than the main one OpenBLAS takes no limit, so the lanes find it set.
        limited = one_blas_thread() if len(jobs) > 1 else contextlib.nullcontext()
        with limited, Lanes(jobs) as lanes:
            yield lanes


def threads_of_each(number: int) -> int | None:
    """Threads of torch in each of several workers that share the cores; None where the environment says how many.

    Args:
        number: number of workers.
    """
    return None if any(os.environ.get(name) for name in _VARIABLES) else max(1, num_cores() // number)


def _threads(number: int | None) -> str:
    if number is None:
        return next(f"each with {name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name))
    return "each with one thread" if number == 1 else f"each with {number} threads"
