"""How many rows at a time, and in which memory format: chosen by timing the first batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TRIES = 3  # batches of each setting; the first one warms up
_WORTH_IT = 8  # times as many rows as the trials take
# Batch size and memory format; on two CPU cores large batches fall out of the cache, and channels last suits
# convolutions. The first one is taken where there are too few rows to try.
_CPU_IMAGES = ((16, True), (8, True), (32, True), (32, False))
_GPU_IMAGES = ((64, True), (128, True), (256, True), (128, False))
_CPU_OTHERS, _GPU_OTHERS = ((32, False),), ((64, False), (128, False), (256, False))


@dataclass(frozen=True)
class BatchSetting:
    """How a batch is run.

    Attributes:
        batch_size: rows.
        channels_last: whether images lie in memory with their channels last.
    """

    batch_size: int
    channels_last: bool = False


class BatchSizeSearch:
    """Choose a setting: each one is tried on a few of the real batches, and the fastest runs the rest.

    The results of the trials count like all others: no row is run twice. Several processes try the same settings at
    the same time, and decide on one together.
    """

    def __init__(
        self, batch_size: int | None, *, images: bool, on_cpu: bool, num_rows: int, num_processes: int = 1
    ) -> None:
        """Take what is known.

        Args:
            batch_size: what the user wants; None to choose.
            images: whether the inputs are images.
            on_cpu: whether the model runs on a CPU.
            num_rows: rows n of all processes.
            num_processes: processes that share the rows.
        """
        choices = (_CPU_IMAGES if on_cpu else _GPU_IMAGES) if images else (_CPU_OTHERS if on_cpu else _GPU_OTHERS)
        if batch_size is not None:
            options = [BatchSetting(batch_size, images and choices[0][1])]
        else:
            options = [BatchSetting(size, last) for size, last in choices]
            if num_rows < _WORTH_IT * _TRIES * num_processes * sum(option.batch_size for option in options):
                options = options[:1]
        self._trials = [option for option in options for _ in range(_TRIES)] if len(options) > 1 else []
        self._dealt = 0
        self._seconds: dict[BatchSetting, list[float]] = {}
        self._chosen = None if self._trials else options[0]

    def deal(self) -> BatchSetting | None:
        """How to run the next batch; None as long as that hangs on how long the trials take."""
        if self._dealt == len(self._trials):
            return self._chosen
        self._dealt += 1
        return self._trials[self._dealt - 1]

    @property
    def chosen(self) -> BatchSetting | None:
        """What runs the rest; None while there are trials."""
        return self._chosen

    def took(self, setting: BatchSetting, seconds: float) -> None:
        """Tell how long the model took for a batch, for each of its rows."""
        if self._chosen is None:
            self._seconds.setdefault(setting, []).append(seconds)

    @property
    def fastest(self) -> Mapping[BatchSetting, float]:
        """Of each setting tried: the seconds a row of its best batch, the first one aside."""
        return {setting: min(seconds[1:] or seconds) for setting, seconds in self._seconds.items()}

    def decide(self, fastest: Sequence[Mapping[BatchSetting, float]]) -> None:
        """Choose what is fastest for all processes together, from the `fastest` of each."""
        self._chosen = min(fastest[0], key=lambda setting: max(of_process[setting] for of_process in fastest))
