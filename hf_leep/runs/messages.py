"""Messages between a run and its worker: Python objects through a pipe, whose arrays are not copied on the way."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from hf_leep.errors import HfLeepError

LOG = "log"
"""The event of a log record: its level and its message."""

_SIZE = struct.Struct("!Q")


@dataclass(frozen=True)
class Work:
    """A call that the worker is asked for.

    Attributes:
        function: a function of a module.
        arguments: its arguments.
        events: names of its keyword arguments that are functions of the run: calling one sends an `Event`.
    """

    function: Callable[..., object]
    arguments: tuple[object, ...]
    events: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    """The worker has imported what it needs."""


@dataclass(frozen=True)
class Event:
    """Something to tell while a call is at work; each one is a sign of life."""

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Answer:
    """What a call returned."""

    value: object


@dataclass(frozen=True)
class Failure:
    """What a call raised.

    Attributes:
        error: the error.
        ended: whether the worker ends, since what was raised is no ``Exception``.
    """

    error: HfLeepError
    ended: bool


def send(stream: BinaryIO, message: object) -> None:
    """Write a message.

    Args:
        stream: the pipe.
        message: any object that can be pickled.

    Raises:
        OSError: the other end is closed.
    """
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(body), *(array.raw() for array in arrays)]
    stream.write(b"".join(_SIZE.pack(number) for number in (len(parts), *map(len, parts))))
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> object:
    """Read a message. Only for pipes whose other end is hf_leep itself: a pickle can run any code.

    Args:
        stream: the pipe.

    Raises:
        EOFError: the other end is closed.
    """
    sizes = [_number(stream) for _ in range(_number(stream))]
    body, *arrays = [_exactly(stream, size) for size in sizes]
    return pickle.loads(body, buffers=arrays)  # noqa: S301 - the other end is hf_leep itself


def _number(stream: BinaryIO) -> int:
    (number,) = _SIZE.unpack(_exactly(stream, _SIZE.size))
    return int(number)


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    content = bytearray(size)
    view, start = memoryview(content), 0
    while start < size:
        num_read = stream.readinto(view[start:])  # type: ignore[attr-defined]
        if not num_read:
            raise EOFError
        start += num_read
    return content
