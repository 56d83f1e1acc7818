"""Choose the batch size and the memory format by timing the first batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TRIALS = 3  # batches of each setting; the first one warms up
_MIN_ROWS = 8  # times as many rows as the trials take, or there are no trials
# Batch size and channels last. On two CPU cores large batches fall out of the cache, and channels last suits
# convolutions. The first setting is used where there are too few rows for trials.
_CPU_IMAGES = ((16, True), (8, True), (32, True), (32, False))
_GPU_IMAGES = ((64, True), (128, True), (256, True), (128, False))
_CPU_OTHERS, _GPU_OTHERS = ((32, False),), ((64, False), (128, False), (256, False))


@dataclass(frozen=True)
class BatchSetting:
    """How a batch is run.

    Attributes:
        batch_size: number of rows.
        channels_last: whether images lie in memory with their channels last.
    """

    batch_size: int
    channels_last: bool = False


class BatchSizeSearch:
    """Try several settings on a few real batches each; the fastest one runs the remaining rows.

    The outputs of the trials are kept, so no row is run twice. Several processes try the same settings at the same
    time and choose one together.

    Args:
        batch_size: the batch size that the user asked for; None to search.
        images: whether the inputs are images.
        on_cpu: whether the model runs on a CPU.
        num_rows: number of rows n, of all processes.
        num_processes: number of processes that share the rows.
    """

    def __init__(
        self, batch_size: int | None, *, images: bool, on_cpu: bool, num_rows: int, num_processes: int = 1
    ) -> None:
        choices = (_CPU_IMAGES if on_cpu else _GPU_IMAGES) if images else (_CPU_OTHERS if on_cpu else _GPU_OTHERS)
        if batch_size is not None:
            settings = [BatchSetting(batch_size, images and choices[0][1])]
        else:
            settings = [BatchSetting(size, last) for size, last in choices]
            if num_rows < _MIN_ROWS * _TRIALS * num_processes * sum(setting.batch_size for setting in settings):
                settings = settings[:1]
        self._trials = [setting for setting in settings for _ in range(_TRIALS)] if len(settings) > 1 else []
        self._num_started = 0
        self._seconds: dict[BatchSetting, list[float]] = {}
        self._chosen = None if self._trials else settings[0]

    def next_setting(self) -> BatchSetting | None:
        """The setting for the next batch; None when all trials have started and `choose` has not been called yet."""
        if self._num_started == len(self._trials):
            return self._chosen
        self._num_started += 1
        return self._trials[self._num_started - 1]

    @property
    def chosen(self) -> BatchSetting | None:
        """The setting for the remaining rows; None before `choose`."""
        return self._chosen

    def record(self, setting: BatchSetting, seconds: float) -> None:
        """Record the time of a batch.

        Args:
            setting: how it was run.
            seconds: seconds per row.
        """
        if self._chosen is None:
            self._seconds.setdefault(setting, []).append(seconds)

    @property
    def best_seconds(self) -> Mapping[BatchSetting, float]:
        """Setting → seconds per row of its fastest batch in this process, not counting the first batch."""
        return {setting: min(seconds[1:] or seconds) for setting, seconds in self._seconds.items()}

    def choose(self, best_seconds: Sequence[Mapping[BatchSetting, float]]) -> None:
        """Choose the setting that is fastest in the process where it is slowest.

        Args:
            best_seconds: the `best_seconds` of each process.
        """
        self._chosen = min(best_seconds[0], key=lambda setting: max(times[setting] for times in best_seconds))
