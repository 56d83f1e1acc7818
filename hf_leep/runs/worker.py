"""The process in which candidates are judged, loaded and run: ``python -m hf_leep.runs.worker``.

It reads calls from its standard input and writes answers to its standard output, as in `hf_leep.runs.messages`. It
ends with the process that started it, and the kernel chooses it first when memory runs out.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import sys
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from hf_leep.errors import CandidateError, HfLeepError
from hf_leep.runs.messages import LOG, Answer, Event, Failure, Ready, Work, receive, send
from hf_leep.runs.plan import reason_of

_MODULES = (  # those that judge every kind of candidate
    "torch",
    "transformers",
    "transformers.modeling_utils",
    "hf_leep.inference.forward",
    "hf_leep.models.zero_shot",
)
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")  # whoever sends them to all processes means the run, which ends its worker
_SET_SIGNAL_AT_DEATH_OF_PARENT = 1  # of prctl
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def main() -> None:
    """Answer calls until the standard input ends."""
    requests, answers = _take_over_streams()
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _be_lost_first()
    waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    for module in _MODULES:
        import_module(module)
    tell = _Telling(answers)
    logging.getLogger("hf_leep").addHandler(_Forwarding(tell))
    logging.getLogger("hf_leep").propagate = False
    tell(Ready())
    while True:
        work = waiting.get()
        answer = _do(work, tell)
        del work  # nothing of a candidate is kept while the next one is awaited
        tell(answer)
        if isinstance(answer, Failure) and answer.ended:
            os._exit(1)
        del answer
        _give_back_memory()


class _Telling:
    """Sends messages, from any thread."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers, self._lock = answers, threading.Lock()

    def __call__(self, message: object) -> None:
        with self._lock:
            send(self._answers, message)

    def event(self, name: str, *arguments: object) -> None:
        self(Event(name, arguments))


class _Forwarding(logging.Handler):
    """Sends log records to the run."""

    def __init__(self, tell: _Telling) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._tell.event(LOG, record.levelno, record.getMessage())


def _do(work: Work, tell: _Telling) -> Answer | Failure:
    try:
        return Answer(work.function(*work.arguments, **{name: partial(tell.event, name) for name in work.events}))
    except BaseException as error:  # a panic of Rust code is no Exception, and what it leaves behind is not trusted
        ended = not isinstance(error.__cause__ or error, Exception)
        return Failure(error if isinstance(error, HfLeepError) else CandidateError(reason_of(error)), ended)


def _take_over_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the two pipes, and leave nothing to others: what a library prints goes to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # a service without stderr
        os.dup2(nothing, 1)
    return requests, answers


def _read(requests: BinaryIO, waiting: queue.SimpleQueue[Work]) -> None:
    """Read calls; the process ends when whoever started it closes the pipe or dies."""
    while True:
        try:
            work: Any = receive(requests)
        except (EOFError, OSError):
            os._exit(0)
        except BaseException as error:  # a call that cannot be unpickled is answered, too, and the next one is read
            work = Work(_fail, (reason_of(error),), ())
        waiting.put(work)


def _give_back_memory() -> None:
    """Let the kernel have what a pass has freed: the C library (glibc) would keep it while the run scores the pass."""
    if _trim is not None:
        _trim(0)


def _fail(reason: str) -> None:
    raise CandidateError(reason)


def _be_lost_first() -> None:
    """Become the kernel's first choice when memory runs out, and end with the parent even in native code (Linux)."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_DEATH_OF_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    main()
