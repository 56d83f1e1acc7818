"""Ctrl-C, SIGTERM and SIGHUP under the command line, which alone asks for handlers; a Python caller keeps its own."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_REASONS = {"SIGINT": "", "SIGTERM": "the run was told to end", "SIGHUP": "its terminal was closed"}


@dataclass
class Interruption:
    """The first signal that came while handlers were set.

    Attributes:
        number: its number; None if none came.
    """

    number: int | None = None


@dataclass
class _State:
    current: Interruption | None = None
    num_held: int = 0


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[Interruption]:
    """Let the signals that end a program raise KeyboardInterrupt; those that are ignored stay ignored (nohup)."""
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {}
    outer, _state.current = _state.current, found
    for name in _REASONS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _interrupt)
    try:
        yield found
    finally:
        _state.current = outer
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Finish what takes a moment, such as a report: the first signal is noted, and only a second one raises."""
    _state.num_held += 1
    try:
        yield
    finally:
        _state.num_held -= 1


def came() -> bool:
    """Whether a signal came since handlers were set."""
    return _state.current is not None and _state.current.number is not None


def _interrupt(number: int, _frame: object) -> None:
    name = signal.Signals(number).name
    if name == "SIGHUP":
        _silence_closed_terminal()
    first = _state.current is not None and _state.current.number is None
    if _state.current is not None and first:
        _state.current.number = number
    if not (first and _state.num_held):
        raise KeyboardInterrupt(*filter(None, [_REASONS[name]]))


def _silence_closed_terminal() -> None:
    """Let what is printed from now on go nowhere, where it would raise an error instead."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, stream)
                os.close(nothing)
