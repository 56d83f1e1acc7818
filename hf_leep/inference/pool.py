"""The processes that make inputs for a model, seen from the process that runs it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hf_leep.errors import CandidateError, one_line, option
from hf_leep.inference import chunks
from hf_leep.inference.channel import Channel
from hf_leep.inference.shared_memory import Block

if TYPE_CHECKING:
    from hf_leep.inference.protocols import Collate, Rows

POSSIBLE = hasattr(socket, "send_fds")
"""Whether this system can hand open files to another process; Windows cannot."""
INTERPRETER = [sys.executable]
"""The command that a process is started with."""
_WAITING = 2  # chunks that a process has been asked for at a time: it need not wait for the next one
_KEPT_BYTES = str(2**28)  # of freed memory, by the C library (glibc)
_SECONDS = 10.0  # for a process that closed its socket to end


class UnusableError(Exception):
    """Rows or processor cannot be sent to another process."""


@dataclass(eq=False)
class Chunk:
    """The inputs of some rows, as they are in the memory of the process that made them.

    Attributes:
        arrays: name → array, in shared memory until `release`.
        seconds: processor time that it took to make.
    """

    arrays: Mapping[str, NDArray[np.generic]]
    seconds: float
    _process: _Process
    _block: int

    def release(self) -> None:
        """Let the memory be used again: the arrays have been copied."""
        with contextlib.suppress(OSError):
            self._process.channel.send(chunks.ReleaseBlock(self._block))


@dataclass(frozen=True, eq=False)
class _Call:
    """A chunk that was asked for."""

    ticket: int
    rows: int
    positions: Sequence[int]
    made: Future[Chunk]


@dataclass(eq=False)
class _Process:
    """A process, and what it has been sent."""

    number: int
    popen: subprocess.Popen[bytes]
    channel: Channel
    is_ready: bool = False
    rows: int = 0
    processor: int = 0
    calls: dict[int, _Call] = field(default_factory=dict)
    blocks: dict[int, Block] = field(default_factory=dict)
    known: set[chunks.BlockName] = field(default_factory=set)


class Pool:
    """Processes that decode rows and make inputs of them. They are started by `start`, and end with this process.

    Rows that one of them has decoded are known to all: decoded images are in memory that all of them see.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        self._processes: list[_Process] = []
        self._size, self._num_started = 0, 0
        self._waiting: deque[_Call] = deque()
        self._num_calls = 0
        self._rows: tuple[int, chunks.OpenRows] = (0, chunks.OpenRows(b"", 0))
        self._processor: tuple[int, chunks.OpenProcessor] = (0, chunks.OpenProcessor(b""))
        self._images: dict[int, chunks.StoredImage] = {}
        self._image_blocks: dict[chunks.BlockName, Block] = {}
        self._row_files: list[Block] = []
        self._end = weakref.finalize(self, _end, self._processes)

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        """A copy in another process has no processes of its own yet."""
        return Pool, ()

    @property
    def size(self) -> int:
        """Number of processes that are wanted; 0 until `start`."""
        return self._size

    @property
    def is_ready(self) -> bool:
        """Whether all processes can make chunks."""
        with self._lock:
            return 0 < self._size <= sum(process.is_ready for process in self._processes)

    def start(self, size: int) -> None:
        """Start processes, as many as are missing; it does not wait for them.

        Args:
            size: how many there shall be.

        Raises:
            CandidateError: one cannot be started.
        """
        with self._lock:
            self._size = size
            while len(self._processes) < size:
                self._processes.append(self._started())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all processes are ready, or one of them has ended.

        Args:
            timeout: seconds.

        Returns:
            Whether they are ready.
        """
        with self._ready:
            self._ready.wait_for(lambda: self.is_ready or len(self._processes) < self._size, timeout)
            return self.is_ready

    def end(self) -> None:
        """End all processes; what was asked for and is not made yet fails."""
        with self._lock:
            processes, self._size = list(self._processes), 0
        for process in processes:
            process.popen.kill()
            self._lose(process)

    def open(self, owner: int, rows: Rows, collate: Collate, budget: int) -> None:
        """Say what the next chunks are made of.

        Args:
            owner: a number of the rows; decoded images of rows with another number are forgotten.
            rows: the rows.
            collate: makes inputs of them.
            budget: bytes of decoded images to keep, in all processes together.

        Raises:
            UnusableError: rows or processor cannot be pickled.
        """
        try:
            processor = chunks.OpenProcessor(pickle.dumps(collate))
        except Exception as error:  # pickling raises errors of any kind
            raise UnusableError(one_line(error)) from None
        with self._lock:
            if self._rows[0] != owner:
                self._open_rows(owner, rows, budget)
            if self._processor[1].collate != processor.collate:
                self._processor = self._processor[0] + 1, processor

    def make(self, positions: Sequence[int]) -> Future[Chunk]:
        """Ask for the inputs of some rows.

        Args:
            positions: which rows.

        Returns:
            The chunk to come, or what making it raised: `UnusableError` if no chunk of these rows or with this
            processor can be made in another process, and CandidateError if the process that made it has ended.
        """
        with self._lock:
            self._num_calls += 1
            call = _Call(self._num_calls, self._rows[0], positions, Future())
            is_lost = not self._processes  # the last one died since the caller looked
            if not is_lost:
                self._waiting.append(call)
                self._hand_out()
        if is_lost:
            _fail(
                call,
                CandidateError(
                    f"all processes that read rows have ended: {option('execution.workers')} 0 reads the rows without "
                    "such processes"
                ),
            )
        return call.made

    def _open_rows(self, owner: int, rows: Rows, budget: int) -> None:
        files: list[Block] = []

        def new_file(size: int) -> str:
            files.append(Block.create(size))
            return f"/proc/{os.getpid()}/fd/{files[-1].fd}"

        try:
            opened = chunks.OpenRows(pickle.dumps(rows.for_processes(new_file)), budget // max(1, self._size))
        except Exception as error:  # pickling raises errors of any kind
            raise UnusableError(one_line(error)) from None
        self._images.clear()
        for block in (*self._image_blocks.values(), *self._row_files):
            block.close()
        self._image_blocks.clear()
        self._rows, self._row_files = (owner, opened), files

    def _started(self) -> _Process:
        ours, theirs = socket.socketpair()
        self._num_started += 1
        with theirs:
            try:
                popen = subprocess.Popen(  # noqa: S603 - this interpreter
                    [*INTERPRETER, "-P", "-m", "hf_leep.inference.feeder", str(self._num_started)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # a terminal's Ctrl-C is for the run, which ends its processes
                )
            except OSError as error:
                ours.close()
                raise CandidateError(f"no process can be started to read rows ({error})") from None
        process = _Process(self._num_started, popen, Channel(ours))
        # The thread must not keep the pool: when nothing else does, the processes end.
        threading.Thread(target=_listen, args=(weakref.ref(self), process), daemon=True).start()
        return process

    def _receive(self, process: _Process, message: object, files: list[int]) -> None:
        with self._lock:
            if isinstance(message, chunks.Ready):
                process.is_ready = True
                self._ready.notify_all()
            elif isinstance(message, chunks.Failed):
                call = process.calls.pop(message.ticket)
                error = UnusableError(str(message.error)) if message.unusable else message.error
                _fail(call, error)
            elif isinstance(message, chunks.Made):
                self._take(process, message, files)
            self._hand_out()

    def _take(self, process: _Process, made: chunks.Made, files: list[int]) -> None:
        for number in made.dropped_blocks:
            process.blocks.pop(number).close()
        for (number, size), fd in zip(made.new_blocks.items(), files, strict=True):
            block = Block.open(fd, size)
            if number < 0:
                process.blocks[number] = block
            else:
                self._image_blocks[process.number, number] = block
        call = process.calls.pop(made.ticket)
        if call.rows == self._rows[0]:
            self._images.update(made.images)
        memory = process.blocks[made.block].memory
        arrays = {t.name: np.ndarray(t.shape, np.dtype(t.dtype), memory, t.offset) for t in made.tensors}
        chunk = Chunk(arrays, made.seconds, process, made.block)
        if not call.made.set_running_or_notify_cancel():
            chunk.release()
            return
        call.made.set_result(chunk)

    def _hand_out(self) -> None:
        """Give each process that has little to do the next chunk."""
        while self._waiting:
            free = [p for p in self._processes if p.is_ready and len(p.calls) < _WAITING]
            if not free:
                return
            process = min(free, key=lambda p: len(p.calls))
            call = self._waiting.popleft()
            if call.made.cancelled():
                continue
            process.calls[call.ticket] = call
            with contextlib.suppress(OSError):  # the thread that listens to it sees that it has ended
                self._send(process, call)

    def _send(self, process: _Process, call: _Call) -> None:
        if process.rows != self._rows[0]:
            process.rows, process.processor = self._rows[0], 0
            process.known.clear()
            process.channel.send(self._rows[1])
        if process.processor != self._processor[0]:
            process.processor = self._processor[0]
            process.channel.send(self._processor[1])
        images = {i: stored for i in call.positions if (stored := self._images.get(i)) is not None}
        for name in {stored.block for stored in images.values()}:
            if name[0] != process.number and name not in process.known:
                process.known.add(name)
                block = self._image_blocks[name]
                process.channel.send(chunks.ShareBlock(name, block.size), [block.fd])
        process.channel.send(chunks.MakeChunk(call.ticket, call.positions, images))

    def _lose(self, process: _Process) -> None:
        """A process has ended: what it was asked for fails, and `start` starts another one."""
        how = _how_it_ended(process.popen)
        with self._lock:
            if process not in self._processes:
                return
            self._processes.remove(process)
            calls = [*process.calls.values()]
            process.calls.clear()
            if not self._processes:
                calls += self._waiting
                self._waiting.clear()
            self._ready.notify_all()
        process.channel.close()
        for block in process.blocks.values():
            block.close()
        for call in calls:
            rows = f"the row at position {call.positions[0]}"
            if len(call.positions) > 1:
                rows = f"the rows at positions {call.positions[0]} to {call.positions[-1]}"
            _fail(
                call,
                CandidateError(
                    f"a process that reads rows {how} while it was at {rows}: {option('execution.workers')} 0 reads "
                    "them without such processes",
                    out_of_memory=process.popen.returncode == -signal.SIGKILL,
                ),
            )


def _fail(call: _Call, error: Exception) -> None:
    if call.made.set_running_or_notify_cancel():
        call.made.set_exception(error)


def _listen(pool: weakref.ref[Pool], process: _Process) -> None:
    """Take what a process sends, until it ends or nobody wants it."""
    while True:
        try:
            message, files = process.channel.receive()
        except (EOFError, OSError):
            message, files = None, []
        owner = pool()
        if owner is None:
            return
        if message is None:
            owner._lose(process)
            return
        owner._receive(process, message, files)
        del owner


def _end(processes: list[_Process]) -> None:
    for process in processes:
        process.popen.kill()
    for process in processes:
        process.channel.close()
        process.popen.wait()


def _how_it_ended(popen: subprocess.Popen[bytes]) -> str:
    try:
        code = popen.wait(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        return "closed its connection"
    if code == -signal.SIGKILL:
        return "was killed, as by the kernel when memory runs out,"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def _environment() -> dict[str, str]:
    """That of this process, with one thread; modules are found where this process finds them."""
    folders = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {
        **os.environ,
        "PYTHONPATH": folders,
        "OMP_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",  # a process that opens a GPU takes hundreds of megabytes of it
        "RUST_BACKTRACE": "0",
        # Images take megabytes each: given back to the kernel every time, they cost a fifth of the processor time.
        "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
        "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
    }
