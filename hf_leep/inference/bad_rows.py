"""How many rows a pass may leave out; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from hf_leep.errors import CandidateError, TargetError, option
from hf_leep.records import BadRow
from hf_leep.text import counted, first_few


def check_number(rows: Sequence[BadRow], most: int) -> None:
    """Raise if there are more rows of one kind than may be left out.

    Args:
        rows: rows that cannot be read, or on which one model fails.
        most: number of rows that may be left out.

    Raises:
        TargetError: too many rows cannot be read.
        CandidateError: a model fails on too many rows.
    """
    if len(rows) <= most:
        return
    allowed = f"more than {option('skip_bad_rows')} allows"
    if rows[0].unreadable:
        raise TargetError(
            f"{counted(len(rows), 'row')} of those read so far cannot be used, {allowed}: {first_few(rows)}"
        )
    raise CandidateError(f"the forward pass fails on {counted(len(rows), 'row')} so far, {allowed}: {first_few(rows)}")
