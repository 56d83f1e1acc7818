"""The progress bars of a run, on stderr."""

from __future__ import annotations

from typing import Protocol, Self


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
        disable=None if show else True,
        dynamic_ncols=True,
    )
    return bar
