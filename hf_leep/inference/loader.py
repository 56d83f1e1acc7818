"""Rows → the tensors of a batch. Rows are decoded and processed once for all candidates, as far as memory allows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np
import torch

from hf_leep.arrays import Integers
from hf_leep.inference.memory import available_memory
from hf_leep.inference.pool import Pool
from hf_leep.inference.protocols import Classifier, Row, Rows
from hf_leep.inference.reading import collate_rows, read_rows
from hf_leep.inference.sampler import examples_of

_SHARE_OF_MEMORY, _MAX_BYTES = 0.25, 4 * 2**30
_NUMBERS = count(1)  # of loaders
_DECODED_SHARE = 0.25  # of the budget; the rest is for processed rows, which save more work


class Loader:
    """Reads the rows of a run for all its candidates.

    The rows that one candidate's pass decoded and processed are kept for the next candidates, as many as the memory
    budget allows; the others are read again. Processed rows are kept only where the processor handles each row
    independently of the rest of its batch.

    Args:
        rows: the chosen rows.
        budget: bytes to keep; by default a quarter of the free memory, at most 4 GiB; 0 to keep nothing.
        num_sharing: number of processes that share this machine's memory.
    """

    def __init__(self, rows: Rows, budget: int | None = None, num_sharing: int = 1) -> None:
        self._rows = rows
        if budget is None:
            budget = min(int(_SHARE_OF_MEMORY * available_memory()), _MAX_BYTES) // num_sharing
        self._number = next(_NUMBERS)
        self._lock = threading.RLock()  # a batch with bad rows is made row by row beside the next one
        self._budget_decoded = self._bytes_left_decoded = int(_DECODED_SHARE * budget)
        self._budget_processed = budget - self._budget_decoded
        self._decoded: dict[int, Row] = {}
        self._processed: OrderedDict[str, _ProcessedRows] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self._rows)

    def examples(self, positions: Integers) -> Integers:
        """The examples of some rows, in the order in which a batch of these rows returns them."""
        return examples_of(self._rows.offsets, positions)

    def order(self) -> Integers:
        """The order in which to run the rows, ``[n]``: the longest texts first.

        Texts of a batch are then of similar length, which saves padding, and a batch that does not fit into memory is
        noticed at the start.
        """
        lengths = self._rows.lengths()
        return np.arange(len(self)) if lengths is None else np.argsort(-lengths, kind="stable")

    def where(self, position: int) -> str:
        """Which row it is, for messages.

        Args:
            position: its position among the rows.
        """
        return self._rows.where(position)

    def batch(self, classifier: Classifier, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make a classifier's inputs from some rows.

        Args:
            classifier: the classifier.
            positions: which rows.

        Raises:
            TargetError: a row cannot be decoded.
        """
        with self._lock:
            new = self.missing(classifier, positions)
            inputs = self._collated(classifier, new) if new else {}
            return self.complete(classifier, positions, new, inputs)

    def missing(self, classifier: Classifier, positions: Sequence[int]) -> list[int]:
        """Those of some rows whose inputs are not kept.

        Args:
            classifier: the classifier.
            positions: which rows.
        """
        kept = self._processed.get(classifier.processor) if self._keeps(classifier) else None
        return [i for i in positions if kept is None or not kept.has(i)]

    def complete(
        self, classifier: Classifier, positions: Sequence[int], new: Sequence[int], inputs: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Add the inputs that are kept to those that are new, and keep these.

        Args:
            classifier: the classifier.
            positions: the rows of the batch.
            new: those of them whose inputs are new, in the same order.
            inputs: the new inputs.
        """
        if not self._keeps(classifier):
            return inputs
        with self._lock:
            kept = self._processed.get(classifier.processor)
            if kept is None:
                kept = self._make_room(classifier.processor, inputs)
            self._processed.move_to_end(classifier.processor)
            kept.keep(new, inputs)
            return inputs if len(new) == len(positions) else kept.combine(positions, new, inputs)

    def open(self, pool: Pool, classifier: Classifier) -> None:
        """Let other processes read these rows, and keep what they decode.

        Args:
            pool: the processes.
            classifier: makes inputs of the rows.

        Raises:
            UnusableError: the rows or the processor cannot be sent to another process.
        """
        self._decoded.clear()
        self._bytes_left_decoded = 0
        pool.open(self._number, self._rows, classifier.collate, self._budget_decoded)

    def _keeps(self, classifier: Classifier) -> bool:
        return classifier.row_wise and self._budget_processed > 0

    def _collated(self, classifier: Classifier, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = read_rows(self._rows, positions, self._decoded)
        for position, row in zip(positions, rows, strict=True):
            self._keep_decoded(position, row)
        return collate_rows(self._rows, classifier.collate, positions, rows)

    def _keep_decoded(self, position: int, row: Row) -> None:
        size = sum(map(_image_bytes, row.values()))
        if 0 < size <= self._bytes_left_decoded and position not in self._decoded:
            self._bytes_left_decoded -= size
            self._decoded[position] = row

    def _make_room(self, processor: str, inputs: Mapping[str, torch.Tensor]) -> _ProcessedRows:
        """Reserve memory for the rows of a new processor; the least recently used ones are dropped for it."""
        needed = len(self) * sum(x[0].numel() * x.element_size() for x in inputs.values() if len(x))
        while self._processed and needed > self._bytes_left_processed():
            self._processed.popitem(last=False)
        size = min(len(self), self._bytes_left_processed() * len(self) // max(needed, 1))
        kept = self._processed[processor] = _ProcessedRows(inputs, size)
        return kept

    def _bytes_left_processed(self) -> int:
        return self._budget_processed - sum(kept.num_bytes for kept in self._processed.values())


class _ProcessedRows:
    """Processed rows of one processor: those at the first ``size`` positions.

    They are copied by numpy in one thread. When torch copied them with threads of its own, the model running beside it
    slowed down by more than keeping the rows saved.
    """

    def __init__(self, inputs: Mapping[str, torch.Tensor], size: int) -> None:
        self._arrays = {name: np.empty((size, *x.shape[1:]), dtype=x.numpy().dtype) for name, x in inputs.items()}
        self._is_kept = np.zeros(size, dtype=bool)
        self.num_bytes = sum(x.nbytes for x in self._arrays.values())

    def has(self, position: int) -> bool:
        return position < len(self._is_kept) and bool(self._is_kept[position])

    def keep(self, positions: Sequence[int], inputs: Mapping[str, torch.Tensor]) -> None:
        fitting = [k for k, position in enumerate(positions) if position < len(self._is_kept)]
        if not fitting or any(x.shape[1:] != self._arrays[name].shape[1:] for name, x in inputs.items()):
            return
        kept = [positions[k] for k in fitting]
        for name, x in inputs.items():
            self._arrays[name][_index(kept)] = x.numpy()[_index(fitting)]
        self._is_kept[kept] = True

    def combine(
        self, positions: Sequence[int], new: Sequence[int], inputs: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The inputs of a batch of kept and new rows: a copy, since a model may change its inputs."""
        is_new = set(new)
        places_of_kept = [k for k, position in enumerate(positions) if position not in is_new]
        places_of_new = [k for k, position in enumerate(positions) if position in is_new]
        batch = {}
        for name, array in self._arrays.items():
            x = np.empty((len(positions), *array.shape[1:]), dtype=array.dtype)
            x[_index(places_of_kept)] = array[_index([positions[k] for k in places_of_kept])]
            if places_of_new:
                x[_index(places_of_new)] = inputs[name].numpy()
            batch[name] = torch.from_numpy(x)
        return batch


def _image_bytes(value: object) -> int:
    """Memory of a decoded image; 0 for other inputs, which are not kept."""
    if hasattr(value, "getbands") and hasattr(value, "width") and hasattr(value, "height"):
        return int(value.width * value.height * len(value.getbands()))
    return 0


def _index(positions: Sequence[int]) -> slice | list[int]:
    """An index for these positions: a slice when they are consecutive, which copies much faster."""
    first, last = positions[0], positions[-1]
    return slice(first, last + 1) if list(positions) == list(range(first, last + 1)) else list(positions)
