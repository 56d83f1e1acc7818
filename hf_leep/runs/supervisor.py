"""The run's side of its worker: start it, call functions in it, notice that it is lost, and start another."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from hf_leep.errors import ProcessError, UserError, WorkerError, one_line, option
from hf_leep.inference.processes import check_available, num_launched
from hf_leep.runs.messages import LOG, Answer, Event, Failure, Ready, Work, receive, send

_T = TypeVar("_T")
_LOG = logging.getLogger("hf_leep")
_START_SECONDS = 900.0  # to import torch and transformers, on however slow a disk
_TRIES = 2  # to start a worker and to open the rows in it: what was killed on the way may be killed by chance
_TICK_SECONDS = 2.0  # at most between two looks at the process
_BLOCKED = ("SIGINT", "SIGTERM", "SIGHUP")  # a worker ignores them, and must not get one before it can say so
INTERPRETER = [sys.executable]
"""The command that a worker is started with."""


class Worker:
    """A process in which candidates are judged, loaded and run, and which may be lost.

    A context manager; leaving it ends the process. The process is started by `begin` or with the first call.

    Args:
        timeout: seconds without a sign of life, an event or an answer, after which it is given up.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._ready = False  # whether the process has said so
        self._prepared: object = None  # the rows that the process has opened
        self._unknown: object = None  # rows that none can open
        self._starting = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.end()

    def begin(self) -> None:
        """Start the process and do not wait for it: it imports its libraries while the caller reads its rows.

        Raises:
            ProcessError: no process can be started.
        """
        self._start()

    def call(self, function: Callable[..., _T], *arguments: object, **events: Callable[..., object]) -> _T:
        """Call a function in the worker.

        Args:
            function: a function of a module.
            arguments: its arguments, which are pickled.
            events: functions that it gets as keyword arguments; they are called here.

        Returns:
            What the function returned.

        Raises:
            WorkerError: the worker ended, raised what is no ``Exception``, or gave no sign of life.
            ProcessError: no worker can be started.
            KeyboardInterrupt: another thread called `stop`.
            HfLeepError: what the function raised; any other error as a CandidateError.
        """
        try:
            process = self._running()
            self._send(process, Work(function, arguments, tuple(events)))
            answer = self._answer(process, self._timeout, events)
        except BaseException as error:  # an interruption, too: what it is at is of no use any more
            self.end()
            if self._stopped and isinstance(error, WorkerError | ProcessError):
                raise KeyboardInterrupt from None
            raise
        if isinstance(answer, Failure):
            if answer.ended:
                self.end()
                raise WorkerError(answer.error.marked())
            raise answer.error
        if isinstance(answer, Ready):
            raise AssertionError  # it is the first message alone
        return cast(_T, answer.value)

    def prepare(self, rows: object, call: Callable[[], object]) -> bool:
        """Let this process open rows, unless it has opened the same ones.

        Args:
            rows: what stands for them; the same object is the same rows.
            call: lets it open them.

        Returns:
            Whether it could; False where they need what the caller's program alone defines, such as a feature of its
            own.

        Raises:
            ProcessError: the worker was lost meanwhile, for which no candidate is to blame.
            UserError: a device is not available.
        """
        if self._unknown is rows:
            return False
        for tries_left in reversed(range(_TRIES)):
            self._running()
            if self._prepared is rows:
                return True
            try:
                call()
            except WorkerError as error:
                if not tries_left:
                    raise ProcessError(f"the worker cannot read the rows ({error.marked()})") from None
            except (UserError, ProcessError):
                raise
            except Exception as error:  # whatever pickle raises, here or there
                self._unknown = rows
                why = (
                    "cannot be written for it"
                    if isinstance(error, OSError)
                    else "need what this program alone defines"
                )
                _LOG.warning(
                    "no worker can read the rows, which %s (%s): candidates run in this process, and one that crashes "
                    "ends the run",
                    why,
                    one_line(error),
                )
                return False
            else:
                self._prepared = rows
        return True

    def stop(self) -> None:
        """Interrupt the call that another thread is at, and all that it makes from now on."""
        with self._starting:
            self._stopped = True
            process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the process, if one is running."""
        process, self._process, self._prepared, self._ready = self._process, None, None, False
        if process is None:
            return
        process.kill()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()  # but not for its standard output, which a process that it has started may hold open

    def _running(self) -> subprocess.Popen[bytes]:
        if self._ready and self._process is not None and self._process.poll() is None:
            return self._process
        for tries_left in reversed(range(_TRIES)):
            process = self._process if self._process is not None and not self._ready else self._start()
            try:
                if not isinstance(self._answer(process, _START_SECONDS, {}), Ready):
                    raise AssertionError  # it is the first message of every worker
            except WorkerError as error:
                if process.poll() is None:  # no fault of an option: this is no candidate
                    raise ProcessError(f"no worker can be started in {_START_SECONDS:g} seconds") from None
                if not tries_left:
                    raise ProcessError(f"no worker can be started ({error.marked()})") from None
                self.end()
            else:
                self._ready = True
                return process
        raise AssertionError  # the last try returned or raised

    def _start(self) -> subprocess.Popen[bytes]:
        self.end()
        self._messages = queue.SimpleQueue()
        with self._starting, _signals_blocked():
            if self._stopped:
                raise KeyboardInterrupt
            try:
                process = subprocess.Popen(  # noqa: S603 - this interpreter
                    [*INTERPRETER, "-P", "-m", "hf_leep.runs.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=_environment(),
                )
            except OSError as error:
                raise ProcessError(f"no worker can be started ({error})") from None
            self._process = process
        threading.Thread(target=_read, args=(process.stdout, self._messages), daemon=True).start()
        return process

    def _send(self, process: subprocess.Popen[bytes], work: Work) -> None:
        try:
            send(cast(BinaryIO, process.stdin), work)
        except OSError:
            raise _ended(process) from None

    def _answer(
        self, process: subprocess.Popen[bytes], timeout: float, events: dict[str, Callable[..., object]]
    ) -> Ready | Answer | Failure:
        silent = 0.0
        while True:
            tick = min(_TICK_SECONDS, timeout - silent)
            before = time.monotonic()
            try:
                message = self._messages.get(timeout=tick)
            except queue.Empty:
                if process.poll() is not None:
                    raise _ended(process) from None
                silent += min(time.monotonic() - before, 2 * tick)  # this process may have been stopped meanwhile
                if silent >= timeout:
                    raise WorkerError(
                        f"it gave no sign of life for {timeout:g} seconds ({option('execution.candidate_timeout')})"
                    ) from None
                continue
            silent = 0.0
            if isinstance(message, Event) and message.name == LOG:
                _LOG.log(*message.arguments)  # type: ignore[arg-type]
            elif isinstance(message, Event):
                events[message.name](*message.arguments)
            elif isinstance(message, Ready | Answer | Failure):
                return message
            else:
                raise _ended(process)


@contextlib.contextmanager
def open_worker(timeout: float, device: str | None, *, at_once: bool = False) -> Iterator[Worker | None]:
    """The worker of a run; none for one of several launched processes.

    Args:
        timeout: as of `Worker`.
        device: the device that was asked for; None for the best one available.
        at_once: start it now instead of with its first call.

    Raises:
        UserError: the device is not available.
    """
    if num_launched() > 1:
        check_available(device)
        yield None
        return
    with Worker(timeout) as worker:
        if at_once:
            worker.begin()
        if device in ("cuda", "mps"):
            worker.call(check_available, device)
        yield worker


def _environment() -> dict[str, str]:
    """That of this process; the worker finds the modules where this process does."""
    folders = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**os.environ, "PYTHONPATH": folders, "RUST_BACKTRACE": "0"}  # a panic is a row with its reason


def _read(stream: BinaryIO, messages: queue.SimpleQueue[object]) -> None:
    """Pass on what the worker sends; None when it ends."""
    with stream:
        try:
            while True:
                messages.put(receive(stream))
        except BaseException:  # it has ended, or sent what cannot be read
            messages.put(None)


def _ended(process: subprocess.Popen[bytes]) -> WorkerError:
    """What became of a process that has closed its pipe."""
    try:
        code = process.wait(timeout=_TICK_SECONDS)
    except subprocess.TimeoutExpired:
        return WorkerError("its process closed the connection")
    if code == -getattr(signal, "SIGKILL", 9):
        return WorkerError("its process was killed, as by the kernel when memory runs out", out_of_memory=True)
    if code < 0:
        with contextlib.suppress(ValueError):
            return WorkerError(f"its process crashed: {signal.Signals(-code).name}")
    return WorkerError(f"its process ended with exit code {code}")


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start a process that gets none of the signals that a terminal or a service manager sends to all processes."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in _BLOCKED])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
