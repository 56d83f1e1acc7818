"""A process that makes inputs for a model in another one: ``python -m hf_leep.inference.feeder NUMBER``.

Its standard input is a socket. It uses one thread of torch and none of the tokenizers' own, and ends when the process
that started it closes the socket or dies.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_leep.errors import CandidateError, HfLeepError, one_line
from hf_leep.inference import chunks
from hf_leep.inference.channel import Channel
from hf_leep.inference.protocols import Collate, Row, Rows
from hf_leep.inference.reading import collate_rows, read_rows
from hf_leep.inference.shared_memory import Block

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 64  # bytes
_MIN_IMAGE_BLOCK = 2**24  # bytes
_MAX_IMAGE_BLOCKS = 8  # of one process
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")  # whoever sends them to all processes means the run, which ends this one


def main() -> None:
    """Make chunks until the socket is closed."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=os.dup(0)))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    waiting: queue.SimpleQueue[tuple[object, list[int]]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(channel, waiting), daemon=True).start()
    import torch

    import_module("transformers")  # the processors need it
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")  # it is read, or named
    channel.send(chunks.Ready())
    maker = _Maker(channel, int(sys.argv[1]))
    while True:
        maker.handle(*waiting.get())


def _read(channel: Channel, waiting: queue.SimpleQueue[tuple[object, list[int]]]) -> None:
    try:
        while True:
            waiting.put(channel.receive())
    except (EOFError, OSError):
        os._exit(0)


class _Maker:
    """Makes chunks of the rows and with the processor that were opened last."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._rows: Rows | None = None
        self._collate: Collate | None = None
        self._unusable: BaseException | None = None
        self._images = _Images(number, 0)
        self._blocks = _OutputBlocks()

    def handle(self, message: object, files: list[int]) -> None:
        """Do what a message asks for."""
        if isinstance(message, chunks.MakeChunk):
            self._make(message)
        elif isinstance(message, chunks.ReleaseBlock):
            self._blocks.release(message.number)
        elif isinstance(message, chunks.ShareBlock):
            self._images.others[message.name] = Block.open(files[0], message.size)
        elif isinstance(message, chunks.OpenRows):
            self._images.clear(message.budget)
            self._rows = self._unpickled(message.rows)
        elif isinstance(message, chunks.OpenProcessor):
            self._collate = self._unpickled(message.collate)

    def _unpickled(self, content: bytes) -> Any:
        """What a pickle holds; such as a class of the caller's own script cannot be found here."""
        try:
            made = pickle.loads(content)  # noqa: S301 - from hf_leep itself
        except BaseException as error:  # unpickling raises errors of any kind, as processors do
            self._unusable = error
            return None
        self._unusable = None
        return made

    def _make(self, chunk: chunks.MakeChunk) -> None:
        start = time.thread_time()
        if self._rows is None or self._collate is None:
            error = CandidateError(one_line(self._unusable or RuntimeError("nothing is open")))
            self._channel.send(chunks.Failed(chunk.ticket, error, unusable=True))
            return
        try:
            rows = read_rows(self._rows, chunk.positions, self._images.load(chunk.images))
            inputs = collate_rows(self._rows, self._collate, chunk.positions, rows)
            number, tensors = self._blocks.store(inputs)
        except BaseException as error:  # errors of any kind; a panic of a tokenizer's Rust code is no Exception
            self._channel.send(chunks.Failed(chunk.ticket, _sendable(error)))
            return
        new = {
            position: stored
            for position, row in zip(chunk.positions, rows, strict=True)
            if position not in chunk.images and (stored := self._images.keep(row)) is not None
        }
        blocks = {**self._blocks.take_new(), **self._images.take_new()}
        made = chunks.Made(
            chunk.ticket,
            number,
            tensors,
            time.thread_time() - start,
            new,
            {number: block.size for number, block in blocks.items()},
            self._blocks.take_dropped(),
        )
        self._channel.send(made, [block.fd for block in blocks.values()])


def _sendable(error: BaseException) -> Exception:
    """An error that survives pickling: itself, or its text."""
    if not isinstance(error, Exception):
        return CandidateError(f"{type(error).__name__}: {one_line(error)}")
    try:
        if isinstance(error, HfLeepError) or str(pickle.loads(pickle.dumps(error))) == str(error):  # noqa: S301 - own
            return error
    except Exception:  # pickling raises errors of any kind
        return RuntimeError(one_line(error))
    return RuntimeError(one_line(error))


class _OutputBlocks:
    """The blocks in which inputs are handed over; each is used again when it is released."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._free: list[int] = []
        self._new: dict[int, Block] = {}
        self._dropped: list[int] = []
        self._num_made = 0

    def store(self, inputs: Mapping[str, torch.Tensor]) -> tuple[int, list[chunks.StoredTensor]]:
        """Copy inputs into a block."""
        arrays = {name: x.detach().numpy() for name, x in inputs.items()}
        tensors, size = [], 0
        for name, array in arrays.items():
            tensors.append(chunks.StoredTensor(name, array.dtype.str, array.shape, size))
            size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        number = self._free_block(max(size, _ALIGNMENT))
        memory = self._blocks[number].memory
        for tensor in tensors:
            array = arrays[tensor.name]
            np.ndarray(array.shape, array.dtype, memory, tensor.offset)[...] = array
        return number, tensors

    def release(self, number: int) -> None:
        """Use a block again."""
        if number in self._blocks:
            self._free.append(number)

    def take_new(self) -> dict[int, Block]:
        """The blocks that were made since the last call."""
        new, self._new = self._new, {}
        return new

    def take_dropped(self) -> list[int]:
        """The numbers of blocks that were given up since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _free_block(self, size: int) -> int:
        for number in self._free:
            if self._blocks[number].size >= size:
                self._free.remove(number)
                return number
        for number in self._free:  # too small for this processor's inputs
            self._blocks.pop(number).close()
        self._dropped += self._free
        self._free.clear()
        self._num_made += 1
        number = -self._num_made  # blocks of images have numbers above 0
        self._blocks[number] = self._new[number] = Block.create(size)
        return number


class _Images:
    """Decoded images in blocks that all processes see."""

    def __init__(self, number: int, budget: int) -> None:
        self._number = number
        self._own: dict[chunks.BlockName, Block] = {}
        self._new: dict[int, Block] = {}
        self._last, self._used = 0, 0
        self.others: dict[chunks.BlockName, Block] = {}
        self._bytes_left = budget
        self._block_size = 0

    def clear(self, budget: int) -> None:
        """Forget all images: there are other rows now."""
        for block in (*self._own.values(), *self.others.values()):
            block.close()
        self._own.clear()
        self.others.clear()
        self._bytes_left, self._used = budget, 0
        self._block_size = max(_MIN_IMAGE_BLOCK, budget // _MAX_IMAGE_BLOCKS)

    def load(self, images: Mapping[int, chunks.StoredImage]) -> dict[int, Row]:
        """Rows of stored images."""
        from PIL import Image

        rows: dict[int, Row] = {}
        for position, stored in images.items():
            block = self._own.get(stored.block) or self.others[stored.block]
            pixels = memoryview(block.memory)[stored.offset : stored.offset + stored.num_bytes]
            rows[position] = {stored.column: Image.frombytes(stored.mode, stored.size, pixels)}
        return rows

    def keep(self, row: Row) -> chunks.StoredImage | None:
        """Keep a row of one image; None for another row, or if there is no room."""
        from PIL import Image

        if len(row) != 1:
            return None
        ((column, image),) = row.items()
        if not isinstance(image, Image.Image) or image.mode not in chunks.CHANNELS:
            return None
        size = image.width * image.height * chunks.CHANNELS[image.mode]
        block = self._own.get((self._number, self._last))
        if block is None or self._used + size > block.size:
            block = self._make_block()
            if block is None or size > block.size:
                return None
        stored = chunks.StoredImage((self._number, self._last), self._used, column, image.mode, image.size)
        block.memory[self._used : self._used + size] = image.tobytes()
        self._used += size
        return stored

    def take_new(self) -> dict[int, Block]:
        """The blocks that were made since the last call."""
        new, self._new = self._new, {}
        return new

    def _make_block(self) -> Block | None:
        size = min(self._block_size, self._bytes_left)
        if size <= 0:
            return None
        try:
            block = Block.create(size)
        except MemoryError:
            self._bytes_left = 0
            return None
        self._bytes_left -= size
        self._last += 1
        self._used = 0
        self._own[self._number, self._last] = self._new[self._last] = block
        return block


if __name__ == "__main__":
    main()
