"""The checks as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING

from hf_leep.selfcheck.checks import Check, passed

if TYPE_CHECKING:
    from rich.console import Group


def terminal(checks: Sequence[Check]) -> Group:
    """The checks as a rich renderable, those of each measure under its name, and how many passed.

    Args:
        checks: the checks, those of one measure next to each other.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("claim")
    table.add_column("off by", justify="right", no_wrap=True)
    table.add_column("allowed", justify="right", no_wrap=True)
    for measure, claims in groupby(checks, lambda check: check.measure):
        table.add_row("", Text(measure, style="bold"))
        for check in claims:
            mark = Text("✓", style="bold green") if check.passed else Text("✗", style="bold red")
            table.add_row(mark, Text(check.claim), f"{check.difference:.1e}", f"{check.tolerance:.0e}")
    return Group(table, Text(f"\n{passed(checks)}, hf_leep {version('hf-leep')}"))
