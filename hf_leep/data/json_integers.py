"""Whole numbers in JSON that no 64 bits hold, such as long ids: read as texts, so that no digit is lost.

``datasets`` reads them as floats, and different ids then become the same number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_leep.data import packed

_LONG = re.compile(rb"[\s:,\[]-?\d{19,}\s*[,}\]]")  # may also be in a text: parsing decides
SMALLEST, LARGEST = -(2**63), 2**63 - 1
"""The range of int64, which is the type of whole numbers in tables."""


def as_texts(path: Path) -> Path:
    """The same rows with columns of such numbers as texts, in the cache of ``datasets``; itself if there are none.

    Args:
        path: JSON lines, or one list of objects.
    """
    with path.open("rb") as lines:
        if not any(_LONG.search(line) for line in lines):
            return path
    try:
        rows = _rows(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON: datasets says so
        return path
    columns = _columns(rows)
    if not columns:
        return path
    return packed.kept(path, "hf_leep_integers", lambda copy: _write(copy, rows, columns))


def _rows(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        rows: list[Any] = json.loads(text)
        return rows
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _columns(rows: Iterable[Any]) -> set[str]:
    """The columns that hold only whole numbers and nulls, some of them beyond int64."""
    large, others = set(), set()
    for row in rows:
        if not isinstance(row, dict):
            return set()
        for name, value in row.items():
            if type(value) is not int:
                others |= {name} if value is not None else set()
            elif not SMALLEST <= value <= LARGEST:
                large.add(name)
    return large - others


def _write(path: Path, rows: Iterable[dict[str, Any]], columns: set[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            texts = {name: str(row[name]) for name in columns & row.keys() if row[name] is not None}
            file.write(json.dumps({**row, **texts}) + "\n")
