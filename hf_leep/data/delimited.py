"""CSV and TSV files: read as people write them, with nothing lost without a word.

A first pass over the file decides how it is quoted and what its columns hold; ``datasets`` then reads it. Every cell
is read as text, so that None, null, NA and 007 stay what they are. Columns of whole numbers without leading zeros
become integers, or stay texts if some are beyond int64, as long ids are. Other columns of numbers become floats. An
empty cell is a missing value.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import datasets

from hf_leep.data import formats
from hf_leep.data.json_integers import LARGEST, SMALLEST
from hf_leep.errors import TargetError
from hf_leep.text import counted

_WHOLE = re.compile(r"0|-?[1-9]\d*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_CODE = r"[+-]?0\d"  # the start of a number with leading zeros, such as 007
_MAX_CELL = 2**30  # characters


@dataclass(frozen=True)
class Layout:
    """How a file is written.

    Attributes:
        columns: column name → ``int64``, ``float64`` or ``string``.
        separator: what stands between cells.
        quoted: whether quotation marks around a cell are part of the format, rather than of the text.
        num_rows: rows below the header.
    """

    columns: Mapping[str, str]
    separator: str
    quoted: bool
    num_rows: int


def read(path: Path, separator: str) -> datasets.Dataset:
    """Read a file.

    Args:
        path: the file.
        separator: what stands between its cells.

    Raises:
        TargetError: it cannot be read without losing rows, or has none.
    """
    return read_files([path], separator)


def read_files(paths: Sequence[Path], separator: str) -> datasets.Dataset:
    """Read files of the same columns as one split.

    Args:
        paths: the files.
        separator: what stands between their cells.

    Raises:
        TargetError: one of them cannot be read without losing rows, or they have no rows.
    """
    parts = [_load(path, layout) for path in paths if (layout := scan(path, separator)).num_rows]
    if not parts:
        raise TargetError(f"{paths[0]}: there are no rows")
    if len(parts) == 1:
        return parts[0]
    names = parts[0].column_names
    for path, part in zip(paths, parts, strict=False):
        if part.column_names != names:
            raise TargetError(f"{path.name} has the columns {part.column_names}, and {paths[0].name} has {names}")
    held = [part.features for part in parts]
    common = datasets.Features(
        {name: held[0][name] if len({str(one[name]) for one in held}) == 1 else _STRING for name in names}
    )
    return datasets.concatenate_datasets([part.cast(common) for part in parts])


_STRING = datasets.Value("string")


def _load(path: Path, layout: Layout) -> datasets.Dataset:
    from glob import escape

    rows = datasets.load_dataset(
        "csv",
        data_files=escape(str(path)),
        split="train",
        sep=layout.separator,
        quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
        features=datasets.Features(dict.fromkeys(layout.columns, _STRING)),
        keep_default_na=False,
        na_values=[""],
        skip_blank_lines=True,
        encoding="utf-8-sig",
    )
    if len(rows) != layout.num_rows:
        raise TargetError(
            f"{path.name} has {counted(layout.num_rows, 'row')}, and {len(rows)} of them could be read: save it as "
            "parquet"
        )
    return rows.cast(datasets.Features({name: datasets.Value(kind) for name, kind in layout.columns.items()}))


def typed(rows: datasets.Dataset) -> datasets.Dataset:
    """Give columns of cells, read as texts, the types that `read` gives them.

    Args:
        rows: the rows, all of whose columns hold texts.
    """
    kinds = {name: _kind_of([cell for cell in rows[name] if cell]) for name in rows.column_names}
    return rows.cast(datasets.Features({name: datasets.Value(kind) for name, kind in kinds.items()}))


def _kind_of(cells: Sequence[str]) -> str:
    if not cells or any(re.match(_CODE, cell) for cell in cells):
        return "string"
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return "string" if any(map(_is_long, cells)) else "int64"
    return "float64" if all(_NUMBER.fullmatch(cell) for cell in cells) else "string"


def _is_long(cell: str) -> bool:
    """Whether a whole number is beyond int64."""
    return len(cell) > 18 and (len(cell) > 20 or not SMALLEST <= int(cell) <= LARGEST)


def scan(path: Path, separator: str) -> Layout:
    """Find out how a file is written.

    Args:
        path: the file.
        separator: what stands between its cells.

    Raises:
        TargetError: it is not UTF-8, its rows have more cells than its header, or a quotation mark swallows rows.
    """
    try:
        try:
            return _scan(path, separator, quoted=True)
        except csv.Error as error:
            try:
                # A quotation mark that is part of a text; without quoting, every line must then be a row.
                return _scan(path, separator, quoted=False)
            except (csv.Error, _UnevenError):
                raise TargetError(
                    f"a quotation mark inside a cell of {path.name} is not doubled, and would join rows ({error}): "
                    "save the file with all quotation marks doubled, or as JSON lines or parquet"
                ) from None
    except _UnevenError as error:
        raise TargetError(f"{path.name}: {error}") from None
    except UnicodeDecodeError as error:
        raise formats.not_utf8(path, error) from None


class _UnevenError(Exception):
    """A row has more cells than the header."""


def _scan(path: Path, separator: str, *, quoted: bool) -> Layout:
    with _opened(path) as lines:
        reader = csv.reader(
            lines,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=quoted,
        )
        header = next((row for row in reader if any(map(_filled, row))), [])
        if len(header) == 1 and not quoted:
            raise csv.Error("one column")
        _check_header(path, header, separator)
        header = [name or f"Unnamed: {k}" for k, name in enumerate(header)]  # as pandas names its own index
        whole, number = [True] * len(header), [True] * len(header)
        filled, long = [False] * len(header), [False] * len(header)
        count = 0
        for row in reader:
            if not row or (len(row) == 1 < len(header) and not _filled(row[0])):  # pandas skips both
                continue
            count += 1
            if len(row) > len(header) or (not quoted and len(row) != len(header)):
                raise _UnevenError(_uneven(reader.line_num, row, header))
            for k, cell in enumerate(row):
                if not cell:
                    continue
                filled[k] = True
                if whole[k] and not _WHOLE.fullmatch(cell):
                    whole[k] = False
                elif whole[k] and _is_long(cell):
                    long[k] = True
                if number[k] and not whole[k] and not _NUMBER.fullmatch(cell):
                    number[k] = False
    columns = {}
    for k, name in enumerate(header):
        exact = whole[k] and not long[k]
        plain = exact or (number[k] and not whole[k] and not _keeps_zeros(path, separator, quoted, k))
        columns[name] = "string" if not plain or not filled[k] else "int64" if exact else "float64"
    return Layout(columns, separator, quoted, count)


def _filled(cell: str) -> bool:
    return bool(cell.strip(" \t"))


def _uneven(line: int, row: Sequence[str], header: Sequence[str]) -> str:
    """What to do about a row that has another number of cells than the header."""
    said = f"line {line} has {counted(len(row), 'cell')} and the header {len(header)}: "
    if len(header) == 1:
        return f"{said}remove what stands above the header, such as {header[0][:40]!r}"
    if len(row) > len(header) and not any(row[len(header) :]):
        return f"{said}remove the separator at the end of the lines, or put one at the end of the header"
    return f"{said}put cells that hold the separator between quotation marks"


def _keeps_zeros(path: Path, separator: str, quoted: bool, column: int) -> bool:
    """Whether a column of numbers has leading zeros, as codes such as 007 have."""
    with _opened(path) as lines:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        cells = (row[column] for row in islice(reader, 1, None) if len(row) > column)
        return any(re.match(_CODE, cell) for cell in cells)


def _check_header(path: Path, header: Sequence[str], separator: str) -> None:
    if not header:
        raise TargetError(f"{path}: there are no rows")
    if re.fullmatch(r"sep=.?", header[0].strip()):
        line = separator.join(header).strip()
        raise TargetError(f"{path.name} starts with {line!r}, a line that is for Excel alone: remove it")
    twice = sorted({name for name in header if header.count(name) > 1 and name})
    if twice:
        raise TargetError(f"{path.name} has several columns called {twice[0]!r}: rename all but one")
    for other, called in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "vertical bars")):
        if other != separator and "".join(header).count(other) >= len(header):
            raise TargetError(
                f"{path.name} separates its columns by {called}: save it with "
                f"{'tabs' if separator == chr(9) else 'commas'}, or give datasets.load_dataset('csv', "
                f"data_files={path.name!r}, sep={other!r}) in Python"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[str]]:
    before = csv.field_size_limit(_MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield (line.replace("\0", "") for line in file)
    finally:
        csv.field_size_limit(before)
