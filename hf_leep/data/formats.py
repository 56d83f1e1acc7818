"""What a data file really holds, by its first bytes: files are often something other than their suffix says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_leep.errors import TargetError

POINTER = b"version https://git-lfs.github.com/spec/"
"""The start of what Git LFS leaves in place of a file."""
POINTED = "a Git LFS pointer, not the file itself: run git lfs pull in the folder of the clone"
_LOOKED_AT = 4096  # bytes
_BINARY = (".parquet", ".arrow")
_STARTS: Sequence[tuple[bytes, str]] = (
    (POINTER, POINTED),
    (b"\x1f\x8b", "packed by gzip: unpack it first"),
    (b"BZh", "packed by bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "packed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it first"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save the sheet as CSV UTF-8"),
    (b"SQLite format 3\0", "an SQLite database: save the table as CSV or parquet"),
)
_NAMED_OTHERWISE: Sequence[tuple[bytes, str]] = ((b"PAR1", ".parquet"), (b"ARROW1", ".arrow"))
_WIDE: Sequence[tuple[bytes, str]] = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16, as Excel's Unicode text is"),
    (b"\xfe\xff", "UTF-16"),
)


ENDLESS = "a pipe, a socket, a device or a link into /proc, not a file"


def check(path: Path) -> None:
    """Check that a file is not known to be something other than its suffix says.

    Args:
        path: the file.

    Raises:
        TargetError: it is; the message says what to do.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    for bytes_of, what in _STARTS:
        if start.startswith(bytes_of):
            raise TargetError(f"{path.name} is {what}")
    suffix = path.suffix.lower()
    for bytes_of, right in _NAMED_OTHERWISE:
        if start.startswith(bytes_of) and suffix != right:
            raise TargetError(f"{path.name} is not a {suffix} file: rename it to {path.stem}{right}")
    if suffix in _BINARY:
        return
    if start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise TargetError(f"{path.name} is a page of HTML, not data: download the file itself")
    wide = next((name for mark, name in _WIDE if start.startswith(mark)), None)
    if wide is None and 4 * start.count(0) > len(start):
        wide = "UTF-16 or UTF-32 without a mark"
    if wide is not None:
        raise TargetError(f"{path.name} is not UTF-8 ({wide}): save it as UTF-8")


def check_utf8(path: Path) -> None:
    """Check that a file of text is UTF-8.

    Args:
        path: the file.

    Raises:
        TargetError: it is not.
    """
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(2**20):
                pass
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None


def not_utf8(path: Path, error: UnicodeDecodeError) -> TargetError:
    """The error of a file that is not UTF-8.

    Args:
        path: the file.
        error: what Python raised.
    """
    return TargetError(
        f"{path.name} is not UTF-8 (it cannot be decoded at byte {error.object[error.start]:#04x}): save it as UTF-8"
    )
