"""Tables for a terminal: which columns fit, and names cut so that they fit and stay different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hf_leep.text import shortened

if TYPE_CHECKING:
    from rich.table import Table

Column = tuple[str, list[str]]  # a heading, in one or more lines, and the cells under it
NAMES = "candidate"  # heading of the names, which are cut in their middle; other texts fold
_GAP = 2  # spaces between two columns


def fitting(
    columns: Sequence[Column], expendable: Iterable[str], width: int | None, foldable: Mapping[str, int]
) -> list[Column]:
    """The columns without those that have to be left out so that the others fit.

    Args:
        columns: headings with their cells.
        expendable: headings of columns that may be left out, the first of them first.
        width: how many characters a line has; None for as many as it takes.
        foldable: heading → characters of a column whose cells are cut or fold beyond so many.
    """

    def needed(heading: str, cells: list[str]) -> int:
        longest = max(map(len, [*heading.split("\n"), *cells]))
        return min(foldable.get(heading, longest), longest)

    left = list(columns)
    for heading in expendable:
        if width is None or sum(needed(*column) + _GAP for column in left) - _GAP <= width:
            break
        left = [column for column in left if column[0] != heading]
    return left


def table(
    columns: Sequence[Column], width: int | None, foldable: Mapping[str, int], styles: Sequence[str | None] = ()
) -> Table:
    """A table for a terminal: texts to the left, numbers to the right.

    Args:
        columns: headings with their cells.
        width: how many characters a line has; None for as many as the table takes, such as in a file. Names that are
            too long are cut, if they stay different; otherwise, and in other columns of text, they fold.
        foldable: heading → least number of characters of a column of texts.
        styles: the style of each row; none by default.
    """
    from rich.table import Table
    from rich.text import Text

    widths = [_width(*column) for column in columns]
    total = sum(widths) + _GAP * (len(columns) - 1)
    made = Table(box=None, header_style="bold", pad_edge=False, width=total if width is None else min(total, width))
    cells_of = []
    for (heading, cells), own in zip(columns, widths, strict=True):
        if heading in foldable:
            least = min(foldable[heading], own)
            made.add_column(heading, overflow="fold", no_wrap=width is None, min_width=least)
        else:
            made.add_column(heading, justify="right", no_wrap=True)
        if heading == NAMES and width is not None and total > width:
            others = sum(
                min(foldable.get(other, there), there) + _GAP
                for (other, _), there in zip(columns, widths, strict=True)
                if other != NAMES
            )
            cells_of.append(shortened(cells, max(width - others, least)) or cells)
        else:
            cells_of.append(cells)
    for row in range(len(columns[0][1])):
        made.add_row(*(Text(cells[row]) for cells in cells_of), style=styles[row] if styles else None)
    return made


def _width(heading: str, cells: Sequence[str]) -> int:
    """How many characters of a terminal a column takes."""
    from rich.cells import cell_len

    return max(map(cell_len, [*heading.split("\n"), *cells]))
