"""Which rows a process runs next. Batches are formed first and then assigned to the processes in turn.

A batch therefore holds the same rows for any number of processes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.inference.batch_size import BatchSetting, BatchSizeSearch


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows to run at once.

    Attributes:
        positions: which rows, ``[b]``.
        setting: how to run them.
    """

    positions: Integers
    setting: BatchSetting


def examples_of(offsets: Integers | None, positions: Integers) -> Integers:
    """The examples of some rows, in the order in which a batch of these rows returns them.

    Args:
        offsets: number of examples before each row, and of all, ``[n + 1]``; None if each row is one example.
        positions: the rows.
    """
    if offsets is None:
        return positions
    return np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in positions])


class BatchSampler:
    """The batches of one process. They are halved when memory runs out.

    Args:
        order: all rows in the order in which they are run, ``[n]``.
        search: decides the size of each batch.
        index: index of this process, from 0.
        num_processes: number of processes.
    """

    def __init__(self, order: Integers, search: BatchSizeSearch, index: int = 0, num_processes: int = 1) -> None:
        self._order = order
        self._search = search
        self._index = index
        self._num_processes = num_processes
        self._num_assigned = 0  # rows, to any process
        self._max_batch_size = len(order)
        self._waiting: deque[Batch] = deque()

    @property
    def max_batch_size(self) -> int:
        """The largest batch size that memory may suffice for; n until a batch has been halved."""
        return self._max_batch_size

    @property
    def finished(self) -> bool:
        """Whether every row has been assigned to a process and this process has no batch left."""
        return not self._waiting and self._num_assigned >= len(self._order)

    def next(self) -> Batch | None:
        """Take the next batch.

        Returns:
            None when this process has no more batches, or when the search has to choose a setting first.
        """
        batch = next(iter(self.upcoming(1)), None)
        if batch is not None:
            self._waiting.popleft()
        return batch

    def upcoming(self, count: int) -> list[Batch]:
        """The batches that `next` will return, as far as they can be known.

        Args:
            count: the largest number of batches.
        """
        while len(self._waiting) < count and self._num_assigned < len(self._order):
            setting = self._search.next_setting()
            if setting is None:
                break
            start = self._num_assigned + self._index * setting.batch_size
            self._num_assigned += self._num_processes * setting.batch_size
            positions = self._order[start : start + setting.batch_size]
            self._waiting += [Batch(rows, setting) for rows in _split(positions, self._max_batch_size)]
        return [self._waiting[k] for k in range(min(count, len(self._waiting)))]

    def halve(self, batch: Batch) -> bool:
        """Put a batch back as two halves, and halve later batches of its size too.

        Returns:
            Whether the batch could be halved: it has more than one row.
        """
        if len(batch.positions) < 2:
            return False
        self._max_batch_size = len(batch.positions) // 2
        batches = [batch, *self._waiting]
        self._waiting = deque(
            Batch(rows, b.setting) for b in batches for rows in _split(b.positions, self._max_batch_size)
        )
        return True


def _split(positions: Integers, size: int) -> list[Integers]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]
