"""The progress bars of a run, on stderr."""

from __future__ import annotations

import shutil
import sys
from typing import Protocol, Self

_NUMBERS = 48  # characters of a bar beside its name, such as ``:  33%|███ | 400/1200 [00:12<00:24, 33.33row/s]``
_SHORTEST, _LONGEST = 10, 30  # characters of a name


class ProgressBar(Protocol):
    """A bar of tqdm."""

    n: int

    def update(self, n: int = 1) -> object:
        """Move it forward."""

    def set_description(self, desc: str) -> None:
        """Show a text before it."""

    def __enter__(self) -> Self:
        """Return the bar."""

    def __exit__(self, *_: object) -> None:
        """Close the bar."""


def progress_bar(total: int, show: bool, unit: str, description: str | None = None, leave: bool = True) -> ProgressBar:
    """A progress bar on stderr.

    Args:
        total: the number of steps.
        show: whether to show it.
        unit: what is counted; ``B`` for bytes.
        description: the text before it.
        leave: whether it stays on the screen once it is closed.
    """
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    bar: ProgressBar = tqdm(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        desc=description,
        leave=leave,
        disable=not show or (False if _is_widget(tqdm) else None),  # None: only where stderr is no terminal
        dynamic_ncols=True,
    )
    return bar


def label(name: str) -> str:
    """The end of a name, as much of it as leaves room for a bar and its numbers on one line of the terminal."""
    return name[-max(_SHORTEST, min(_LONGEST, shutil.get_terminal_size().columns - _NUMBERS)) :]


def note(text: str, show: bool, always: bool = False) -> None:
    """Print a line where no bar can be seen: in a pipe, a log, or a notebook without ipywidgets.

    Args:
        text: the line.
        show: whether bars are wanted at all; HF_HUB_DISABLE_PROGRESS_BARS hides lines, too.
        always: print it beside bars, too.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, tqdm

    if show and not are_progress_bars_disabled() and (always or not (sys.stderr.isatty() or _is_widget(tqdm))):
        print(text, file=sys.stderr, flush=True)


def _is_widget(bar: type) -> bool:
    """Whether bars of a class are widgets of a notebook, which need no terminal to be seen."""
    return any(base.__module__ == "tqdm.notebook" for base in bar.__mro__)
