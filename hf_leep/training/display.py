"""Show on stderr how far a comparison is: a bar, and a line for each round that is finished with what it cost."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from hf_leep.text import duration, plain
from hf_leep.training.records import Progress

_NAME_WIDTH = 30


class Display:
    """A bar for the round that is under way; a context manager.

    Where stderr is no terminal there is no bar, only the lines of the rounds.

    Args:
        show: whether to show anything.
    """

    def __init__(self, show: bool) -> None:
        from huggingface_hub.utils import are_progress_bars_disabled

        self._shown = show and not are_progress_bars_disabled()
        console = Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not (self._shown and console.is_terminal),
            transient=True,
        )
        self._task = self._bars.add_task("timing the candidates", total=None)
        self._round: Progress | None = None
        self._began = self._told = time.perf_counter()
        self._num_trained = 0

    def __enter__(self) -> Display:
        """Show the bar."""
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        """Remove the bar; a last round that was finished has its line, too."""
        self._bars.stop()
        if kind is None:
            self._finish_round()

    def tell(self, progress: Progress) -> None:
        """Show the training that begins."""
        if self._round is None or progress.rung != self._round.rung:
            self._finish_round()
            self._began, self._num_trained = time.perf_counter(), 0
            self._bars.reset(self._task, total=progress.num_trials * progress.steps)
        self._round, self._told = progress, time.perf_counter()
        self._num_trained += 1
        left = "" if progress.seconds_left is None else f", {duration(max(0.0, progress.seconds_left))} left"
        name = escape(plain(progress.candidate)[-_NAME_WIDTH:])
        self._bars.update(
            self._task,
            description=f"round {progress.rung} of {progress.num_rungs}: {name} at {progress.learning_rate:g}{left}",
        )

    def advance(self, steps: int) -> None:
        """Move the bar by some optimiser steps."""
        self._bars.advance(self._task, steps)

    def _finish_round(self) -> None:
        if self._round is None or not self._shown:
            return
        done, now, left = self._round, time.perf_counter(), ""
        if done.seconds_left is not None:
            left = f"; {duration(max(0.0, done.seconds_left - (now - self._told)))} of the budget left"
        trainings = "1 training" if self._num_trained == 1 else f"{self._num_trained} trainings"
        steps = "1 step" if done.steps == 1 else f"{done.steps} steps"
        print(
            f"round {done.rung} of {done.num_rungs}: {trainings} of {steps} took {duration(now - self._began)}{left}",
            file=sys.stderr,
        )
