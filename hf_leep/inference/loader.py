"""Rows → the tensors of a batch: decoded once a run and processed once a processor, as far as memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import torch

from hf_leep.arrays import Integers
from hf_leep.inference.sampler import Batch

_SHARE_OF_MEMORY, _MOST_BYTES = 0.25, 4 * 2**30
_DECODED_SHARE = 0.25  # of the budget; the rest is for processed rows, which spare more work


class Loader:
    """The rows of a run, for all its candidates.

    What one candidate's pass decoded and processed is kept for the next ones, for as many rows as the budget holds;
    the others are read again. Only the inputs of row-wise processors are kept: those whose result for a row does not
    depend on the rest of its batch.
    """

    def __init__(self, rows: Any, budget: int | None = None, sharers: int = 1) -> None:
        """Take the rows.

        Args:
            rows: the chosen rows, indexable, each a dict of the input columns.
            budget: bytes to keep; a quarter of the memory that is free now, and at most 4 GiB, by default; 0 to keep
                nothing.
            sharers: processes that share this machine's memory.
        """
        self.rows = rows
        if budget is None:
            budget = min(int(_SHARE_OF_MEMORY * psutil.virtual_memory().available), _MOST_BYTES) // sharers
        self._left_decoded = int(_DECODED_SHARE * budget)
        self._budget_processed = budget - self._left_decoded
        self._decoded: dict[int, Mapping[str, Any]] = {}
        self._processed: OrderedDict[str, _Shared] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.rows)

    @property
    def groups(self) -> Integers | None:
        """Row of each example, where a row holds several; None where each is one."""
        offsets = getattr(self.rows, "offsets", None)
        return None if offsets is None else np.repeat(np.arange(len(self)), np.diff(offsets))

    def places(self, positions: Integers) -> Integers:
        """Examples of some rows, in the order in which a batch of these rows gives them."""
        offsets = getattr(self.rows, "offsets", None)
        if offsets is None:
            return positions
        return np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in positions])

    def order(self) -> Integers:
        """The order in which rows are best run, ``[n]``: the longest texts first, so that like goes with like.

        A batch is as long as its longest text; and what does not fit into memory shows at once.
        """
        lengths = self.rows.lengths() if hasattr(self.rows, "lengths") else None
        return np.arange(len(self)) if lengths is None else np.argsort(-lengths, kind="stable")

    def batch(self, classifier: Any, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make a classifier's inputs of some rows.

        Args:
            classifier: has ``collate``, ``row_wise`` and ``processor``.
            positions: which rows.

        Raises:
            TargetError: a row cannot be decoded.
        """
        if not classifier.row_wise or not self._budget_processed:
            return dict(classifier.collate([self._row(i) for i in positions]))
        shared = self._processed.get(classifier.processor)
        fresh = [i for i in positions if shared is None or not shared.has(i)]
        made = dict(classifier.collate([self._row(i) for i in fresh])) if fresh else {}
        if shared is None:
            shared = self._share(classifier.processor, made)
        self._processed.move_to_end(classifier.processor)
        shared.keep(fresh, made)
        return made if len(fresh) == len(positions) else shared.put_together(positions, fresh, made)

    def _row(self, position: int) -> Mapping[str, Any]:
        known = self._decoded.get(position)
        if known is not None:
            return known
        row: Mapping[str, Any] = self.rows[position]
        size = sum(v.width * v.height * len(v.getbands()) for v in row.values() if hasattr(v, "getbands"))
        if 0 < size <= self._left_decoded:
            self._left_decoded -= size
            self._decoded[position] = row
        return row

    def _share(self, processor: str, made: Mapping[str, torch.Tensor]) -> _Shared:
        """Room for the rows of another processor; those used least recently make room for it."""
        needed = len(self) * sum(x[0].numel() * x.element_size() for x in made.values() if len(x))
        while self._processed and needed > self._budget_processed - sum(s.num_bytes for s in self._processed.values()):
            self._processed.popitem(last=False)
        left = self._budget_processed - sum(s.num_bytes for s in self._processed.values())
        shared = self._processed[processor] = _Shared(made, min(len(self), left * len(self) // max(needed, 1)))
        return shared


class _Shared:
    """Processed rows of one processor: those at the first ``size`` positions.

    Copied by numpy, in this thread alone: where torch copied with threads of its own beside the model's, the model
    slowed down by more than sharing saved.
    """

    def __init__(self, made: Mapping[str, torch.Tensor], size: int) -> None:
        self._arrays = {name: np.empty((size, *x.shape[1:]), dtype=x.numpy().dtype) for name, x in made.items()}
        self._there = np.zeros(size, dtype=bool)
        self.num_bytes = sum(x.nbytes for x in self._arrays.values())

    def has(self, position: int) -> bool:
        return position < len(self._there) and bool(self._there[position])

    def keep(self, positions: Sequence[int], made: Mapping[str, torch.Tensor]) -> None:
        fitting = [k for k, position in enumerate(positions) if position < len(self._there)]
        if not fitting or any(x.shape[1:] != self._arrays[name].shape[1:] for name, x in made.items()):
            return
        places = [positions[k] for k in fitting]
        for name, x in made.items():
            self._arrays[name][_span(places)] = x.numpy()[_span(fitting)]
        self._there[places] = True

    def put_together(
        self, positions: Sequence[int], fresh: Sequence[int], made: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The inputs of a batch, of kept rows and fresh ones: a copy, for a model may change what it is given."""
        unknown = set(fresh)
        kept = [k for k, position in enumerate(positions) if position not in unknown]
        new = [k for k, position in enumerate(positions) if position in unknown]
        batch = {}
        for name, array in self._arrays.items():
            x = np.empty((len(positions), *array.shape[1:]), dtype=array.dtype)
            x[_span(kept)] = array[_span([positions[k] for k in kept])]
            if new:
                x[_span(new)] = made[name].numpy()
            batch[name] = torch.from_numpy(x)
        return batch


def _span(places: Sequence[int]) -> Any:
    """An index of places: a slice where they follow each other, which is much faster to copy."""
    first, last = places[0], places[-1]
    return slice(first, last + 1) if list(places) == list(range(first, last + 1)) else list(places)


class ReadAhead:
    """Make the inputs of the next batch while the model runs another, in a thread."""

    def __init__(self, feed: Loader, classifier: Any) -> None:
        """Take the rows and whose inputs to make of them."""
        self._feed, self._classifier = feed, classifier
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[Batch, Future[dict[str, torch.Tensor]]] | None = None

    def __enter__(self) -> ReadAhead:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the thread end."""
        self._thread.shutdown(cancel_futures=True)

    def start(self, batch: Batch) -> Future[dict[str, torch.Tensor]]:
        """Begin with a batch."""
        made = self._thread.submit(self._feed.batch, self._classifier, batch.positions.tolist())
        self._ahead = batch, made
        return made

    def take(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The inputs of a batch, which may have been begun."""
        ready = self._ahead is not None and self._ahead[0] is batch
        return (self._ahead[1] if ready and self._ahead else self.start(batch)).result()
