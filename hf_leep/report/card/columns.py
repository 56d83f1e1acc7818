"""Which columns of a table fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Column = tuple[str, list[str]]  # a heading, in one or more lines, and the cells under it


def fitting(
    columns: Sequence[Column], expendable: Iterable[str], width: int | None, foldable: Mapping[str, int]
) -> list[Column]:
    """The columns without those that have to be left out so that the others fit.

    Args:
        columns: headings with their cells.
        expendable: headings of columns that may be left out, the first of them first.
        width: how many characters a line has; None for as many as it takes.
        foldable: heading → characters of a column whose cells fold beyond so many.
    """

    def needed(heading: str, cells: list[str]) -> int:
        longest = max(map(len, [*heading.split("\n"), *cells]))
        return min(foldable.get(heading, longest), longest)

    left = list(columns)
    for heading in expendable:
        if width is None or sum(needed(*column) + 2 for column in left) - 2 <= width:
            break
        left = [column for column in left if column[0] != heading]
    return left
