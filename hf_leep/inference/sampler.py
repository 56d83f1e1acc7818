"""Which rows a process runs next: batches are formed first, and then dealt to the processes in turn.

So a batch holds the same rows however many processes there are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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


class BatchSampler:
    """The batches of one process, halved where memory does not suffice.

    Args:
        order: all rows in the order in which they are run, ``[n]``.
        pace: what decides how many at a time.
        index: which process this is, from 0.
        num_processes: how many there are.
    """

    def __init__(self, order: Integers, pace: BatchSizeSearch, index: int = 0, num_processes: int = 1) -> None:
        self._order = order
        self._pace = pace
        self._index = index
        self._num_processes = num_processes
        self._dealt = 0
        self._limit = len(order)
        self._waiting: deque[Batch] = deque()

    @property
    def limit(self) -> int:
        """Rows that memory is known to suffice for, or not known not to."""
        return self._limit

    @property
    def finished(self) -> bool:
        """Whether every row has been dealt to a process, and no batch of this one is left."""
        return not self._waiting and self._dealt >= len(self._order)

    def next(self) -> Batch | None:
        """The next batch; None where there is none, or none is certain before the trials are decided."""
        found = self.peek()
        if found is not None:
            self._waiting.popleft()
        return found

    def peek(self) -> Batch | None:
        """What `next` will give."""
        while not self._waiting and self._dealt < len(self._order):
            setting = self._pace.deal()
            if setting is None:
                return None
            start = self._dealt + self._index * setting.batch_size
            self._dealt += self._num_processes * setting.batch_size
            mine = self._order[start : start + setting.batch_size]
            self._waiting += [Batch(part, setting) for part in _parts(mine, self._limit)]
        return self._waiting[0] if self._waiting else None

    def halve(self, batch: Batch) -> bool:
        """Take a batch back, to be run in halves like all later ones of its size; say whether that is possible."""
        if len(batch.positions) < 2:
            return False
        self._limit = len(batch.positions) // 2
        again = [batch, *self._waiting]
        self._waiting = deque(Batch(part, b.setting) for b in again for part in _parts(b.positions, self._limit))
        return True


def _parts(positions: Integers, limit: int) -> list[Integers]:
    return [positions[start : start + limit] for start in range(0, len(positions), limit)]
