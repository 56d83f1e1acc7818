"""The batches of a pass, made while the model runs the batches before them.

By default a thread makes the next batch. Where that is slower than the model, other processes make parts of the next
batches: the same arrays to the last bit, since each part is made by the same code, with one thread.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from hf_leep.inference.loader import Loader
from hf_leep.inference.memory import available_memory
from hf_leep.inference.pool import POSSIBLE, Chunk, Pool, UnusableError
from hf_leep.inference.processes import num_cores
from hf_leep.inference.protocols import Classifier
from hf_leep.inference.sampler import Batch

_LOG = logging.getLogger("hf_leep")
_MIN_CHUNK = 8  # rows, of processors that handle each row independently
_AHEAD = 2  # batches that are ready or being made, beside the one that the model runs
_TIMED = 3  # batches, before the number of processes is chosen
_WORTH = 1.2  # times as fast as one thread, or no process is started
_START_SECONDS = 20.0  # that processes must save, which take a while to start
_WAIT_SECONDS = 120.0  # for processes that the user asked for
_MEMORY = 2**29  # bytes that a process takes, once it has imported torch and transformers
_MOST = 16  # processes, if their number is chosen here


@dataclass(eq=False)
class _Coming:
    """A batch that is being made."""

    batch: Batch
    inputs: Future[dict[str, torch.Tensor]]
    chunks: Sequence[Future[Chunk]]


class Feed:
    """Makes the inputs of the next batches while the model runs the current one.

    Args:
        loader: reads the rows.
        classifier: makes inputs of them.
        pool: other processes that make inputs.
        workers: their number; 0 for none, None to choose it by timing the first batches.
        pin: moves inputs to memory from which a device copies them by itself.
        num_sharing: number of processes that share the cores of this machine.
    """

    def __init__(
        self,
        loader: Loader,
        classifier: Classifier,
        pool: Pool | None = None,
        workers: int | None = 0,
        pin: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = lambda inputs: inputs,
        num_sharing: int = 1,
    ) -> None:
        self._loader, self._classifier, self._pin = loader, classifier, pin
        self._pool = pool if POSSIBLE else None
        self._workers, self._num_sharing = workers, num_sharing
        self._coming: list[_Coming] = []
        self._together_wanted = bool(workers)  # whether other processes make inputs of this pass
        self._opened = self._unusable = False
        self._thread_seconds: list[float] = []  # for each row, of batches that the thread made alone
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Feed:
        """Return this object."""
        # A library may round differently with several threads, and other processes have one each. Setting the number
        # changes the default of threads to come, so it is set back here.
        num_threads = torch.get_num_threads()
        self._executor.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(num_threads)
        if self._workers and not POSSIBLE:
            _LOG.warning("workers need Linux or macOS: this process alone reads the rows")
        if self._pool is not None and self._workers:
            self._pool.start(self._workers)
            if not self._pool.wait(_WAIT_SECONDS):
                _LOG.warning("the processes that read rows have not started: this process reads them until they have")
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the batch being made, and end the thread."""
        for coming in self._coming:
            _drop(coming)
        self._executor.shutdown(cancel_futures=True)

    @property
    def depth(self) -> int:
        """How many batches to make ahead."""
        if self._pool is None or not self._together_wanted or self._unusable:
            return 1
        return _AHEAD if self._classifier.row_wise else self._pool.size + 1

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The inputs of a batch, whether or not it was started.

        Raises:
            TargetError: a row cannot be decoded.
            CandidateError: a process that made inputs has ended.
        """
        while self._coming and self._coming[0].batch is not batch:
            _drop(self._coming.pop(0))  # its rows are run in smaller batches
        if not self._coming:
            self.start([batch])
        return self._coming.pop(0).inputs.result()

    def start(self, batches: Sequence[Batch]) -> None:
        """Start to make the inputs of the batches that come next, in this order."""
        known = {id(coming.batch) for coming in self._coming}
        self._coming += [self._started(batch) for batch in batches if id(batch) not in known]

    def choose(self, model_seconds: float, model_threads: int, rows_left: int) -> None:
        """Start other processes if the model waits for its inputs, and if they would pay.

        Args:
            model_seconds: seconds that the model takes for a row.
            model_threads: cores of this machine that it keeps busy.
            rows_left: number of rows that are still to be run.
        """
        if self._pool is None or self._workers is not None or self._together_wanted or self._unusable:
            return
        if len(self._thread_seconds) < _TIMED or rows_left < 1:
            return
        own = float(np.median(self._thread_seconds[1:]))
        saved = 0.0 if self._pool.is_ready else _START_SECONDS
        cores = max(1, num_cores() // self._num_sharing)
        size = worthwhile(own, model_seconds, model_threads, cores, saved / rows_left)
        size = min(size, _MOST, self._pool.size + int(available_memory() // (2 * _MEMORY)))
        if size > 1:
            self._pool.start(max(size, self._pool.size))
            self._together_wanted = True

    def _started(self, batch: Batch) -> _Coming:
        positions = batch.positions.tolist()
        new = self._loader.missing(self._classifier, positions)
        if not new or self._pool is None or not self._is_open(self._pool):
            return _Coming(batch, self._executor.submit(self._alone, positions), ())
        size = len(new)
        if self._classifier.row_wise:
            size = max(_MIN_CHUNK, math.ceil(len(new) / self._pool.size))
        chunks = [self._pool.make(new[start : start + size]) for start in range(0, len(new), size)]
        return _Coming(batch, self._executor.submit(self._together, positions, new, chunks), chunks)

    def _is_open(self, pool: Pool) -> bool:
        """Whether other processes can make inputs now."""
        if self._unusable or not self._together_wanted or not pool.is_ready:
            return False
        if not self._opened:
            try:
                self._loader.open(pool, self._classifier)
            except UnusableError as error:
                self._give_up(error)
                return False
            self._opened = True
        return True

    def _give_up(self, error: Exception) -> None:
        if not self._unusable:
            self._unusable = True
            _LOG.warning("this process alone reads the rows, since they or a processor cannot be sent: %s", error)

    def _alone(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make a batch in this thread."""
        num_new = len(self._loader.missing(self._classifier, positions))
        start = time.thread_time()
        inputs = self._loader.batch(self._classifier, positions)
        if num_new:
            self._thread_seconds.append((time.thread_time() - start) / num_new)
        return self._pin(inputs)

    def _together(
        self, positions: Sequence[int], new: Sequence[int], chunks: Sequence[Future[Chunk]]
    ) -> dict[str, torch.Tensor]:
        """Make a batch of what other processes make."""
        try:
            made = [chunk.result() for chunk in chunks]
        except Exception as error:
            _release(chunks)
            if not isinstance(error, UnusableError):
                raise
            self._give_up(error)
            return self._alone(positions)
        inputs = _joined(made)
        return self._pin(self._loader.complete(self._classifier, positions, new, inputs))


def worthwhile(own: float, model: float, model_threads: int, cores: int, at_least: float = 0.0) -> int:
    """How many processes shall make inputs; 0 where one thread beside the model is fast enough.

    Args:
        own: processor seconds that one thread takes to make a row's inputs.
        model: seconds that the model takes for a row.
        model_threads: cores that the model keeps busy meanwhile.
        cores: number of cores.
        at_least: seconds that processes must save on a row.
    """
    possible = max(model, (own + model * model_threads) / cores)  # if all cores are always busy
    if own < _WORTH * possible or own - possible < at_least:
        return 0
    return min(cores, math.ceil(own / possible))


def _joined(chunks: Sequence[Chunk]) -> dict[str, torch.Tensor]:
    """The inputs of several chunks in one batch, copied from the memory that they were handed over in."""
    inputs = {}
    for name in chunks[0].arrays:
        parts = [chunk.arrays[name] for chunk in chunks]
        # A copy made by numpy: one by torch would take threads from the model.
        inputs[name] = torch.from_numpy(parts[0].copy() if len(parts) == 1 else np.concatenate(parts))
    for chunk in chunks:
        chunk.release()
    return inputs


def _drop(coming: _Coming) -> None:
    """Forget a batch that is not wanted any more."""
    if coming.inputs.cancel():  # else the thread is at it, and takes its chunks
        _release(coming.chunks)


def _release(chunks: Sequence[Future[Chunk]]) -> None:
    """Let the memory of chunks be used again when they come."""
    for chunk in chunks:
        if not chunk.cancel():
            chunk.add_done_callback(_release_one)


def _release_one(chunk: Future[Chunk]) -> None:
    if not chunk.cancelled() and chunk.exception() is None:
        chunk.result().release()
