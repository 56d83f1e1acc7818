"""How many rows at a time, and in which memory format: chosen by timing the first batches."""

from __future__ import annotations

from dataclasses import dataclass

_TRIES = 3  # batches of each setting; the first one warms up
_WORTH_IT = 8  # times as many rows as the trials take
# Batch size and memory format; on two CPU cores large batches fall out of the cache, and channels last suits
# convolutions. The first one is taken where there are too few rows to try.
_CPU_IMAGES = ((16, True), (8, True), (32, True), (32, False))
_GPU_IMAGES = ((64, True), (128, True), (256, True), (128, False))
_CPU_OTHERS, _GPU_OTHERS = ((32, False),), ((64, False), (128, False), (256, False))


@dataclass(frozen=True)
class Setting:
    """How a batch is run.

    Attributes:
        batch_size: rows.
        channels_last: whether images lie in memory with their channels last.
    """

    batch_size: int
    channels_last: bool = False


class Pace:
    """Choose a setting: each one is tried on a few of the real batches, and the fastest runs the rest.

    The results of the trials count like all others: no row is run twice.
    """

    def __init__(self, batch_size: int | None, *, images: bool, on_cpu: bool, num_rows: int) -> None:
        """Take what is known.

        Args:
            batch_size: what the user wants; None to choose.
            images: whether the inputs are images.
            on_cpu: whether the model runs on a CPU.
            num_rows: rows n.
        """
        choices = (_CPU_IMAGES if on_cpu else _GPU_IMAGES) if images else (_CPU_OTHERS if on_cpu else _GPU_OTHERS)
        if batch_size is not None:
            options = [Setting(batch_size, images and choices[0][1])]
        else:
            options = [Setting(size, last) for size, last in choices]
            if num_rows < _WORTH_IT * _TRIES * sum(option.batch_size for option in options):
                options = options[:1]
        self._trials = [option for option in options for _ in range(_TRIES)] if len(options) > 1 else []
        self._next = 0
        self._seconds: dict[Setting, list[float]] = {}
        self._chosen = options[0]

    @property
    def setting(self) -> Setting:
        """How to run the next batch."""
        return self._trials[self._next] if self._next < len(self._trials) else self._chosen

    @property
    def following(self) -> Setting | None:
        """How the batch after the next one will be run; None while that is not decided."""
        if self._next + 1 < len(self._trials):
            return self._trials[self._next + 1]
        return None if self._next < len(self._trials) else self._chosen

    def took(self, seconds: float) -> None:
        """Tell how long the model took for the batch, for each of its rows."""
        if self._next >= len(self._trials):
            return
        self._seconds.setdefault(self._trials[self._next], []).append(seconds)
        self._next += 1
        if self._next == len(self._trials):
            self._chosen = min(self._seconds, key=lambda option: min(self._seconds[option][1:]))

    def halve(self) -> bool:
        """Go on with half as many rows, for want of memory; say whether that is possible."""
        size = self.setting.batch_size
        self._trials, self._next = [], 0
        self._chosen = Setting(max(1, size // 2), self._chosen.channels_last)
        return size > 1
