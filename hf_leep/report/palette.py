"""The colours of plots and of report.html, for a light and a dark ground.

Groups of candidates differ by more than 15 (CIEDE2000) for readers with normal and with deficient colour vision, which
the tests simulate. Where grey stands for a group, its shape differs as well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours as #rrggbb.

    Attributes:
        ground: the background.
        band: behind every second group.
        grid: lines of a grid and borders.
        ink: text, and candidates whose error is not known.
        quiet: secondary text and lines, and candidates that were stopped, whose marks are hollow.
        groups: tie groups, in turn.
    """

    ground: str
    band: str
    grid: str
    ink: str
    quiet: str
    groups: tuple[str, str]


LIGHT = Palette("#ffffff", "#f3f4f6", "#d8dce2", "#1f2937", "#667080", ("#1d63c4", "#c55a00"))
DARK = Palette("#0d1117", "#1a212b", "#363e49", "#e6edf3", "#9aa4b0", ("#58a6ff", "#f0883e"))
