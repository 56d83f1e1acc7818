"""Tables that are packed by gzip, bzip2, xz or zstd: unpacked once, and read as if they had never been packed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import IO, cast

import datasets
import pyarrow as pa

from hf_leep import temporary
from hf_leep.errors import TargetError, one_line

_OPENERS: Mapping[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda path: cast("IO[bytes]", gzip.GzipFile(path)),
    ".bz2": lambda path: cast("IO[bytes]", bz2.BZ2File(path)),
    ".xz": lambda path: cast("IO[bytes]", lzma.LZMAFile(path)),  # noqa: SIM115 - closed by the caller
    ".zst": lambda path: pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"),
}


def inner_suffix(path: PurePath) -> str:
    """The suffix of a table in small letters, without that of its packing: ``.csv`` for ``a.CSV`` and ``a.csv.gz``.

    Args:
        path: the file.
    """
    return PurePath(path.stem).suffix.lower() if path.suffix.lower() in _OPENERS else path.suffix.lower()


def unpacked(path: Path) -> Path:
    """The same file unpacked, in the cache of ``datasets``; itself if it is not packed.

    Args:
        path: the file; it is unpacked if its suffix says that it is packed.

    Raises:
        TargetError: it cannot be unpacked.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        return path

    def unpack(copy: Path) -> None:
        with opener(path) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)

    try:
        return kept(path, "hf_leep_unpacked", unpack, path.stem)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TargetError(f"{path.name} cannot be unpacked ({one_line(error)})") from None


def kept(path: Path, kind: str, write: Callable[[Path], None], name: str | None = None) -> Path:
    """What was made from a file, in the cache of ``datasets``; it is made again only if the file has changed.

    Args:
        path: the file.
        kind: the folder of the cache.
        write: makes it at a path; whatever it raises leaves nothing.
        name: its name; that of the file by default.
    """
    real = path.resolve(strict=True)
    known = f"{real}\0{real.stat().st_size}\0{real.stat().st_mtime_ns}"
    folder = Path(datasets.config.HF_DATASETS_CACHE, kind, hashlib.sha256(known.encode()).hexdigest()[:20])
    made = folder / (name or path.name)
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        written = temporary.beside(made)
        try:
            write(written)
            os.replace(written, made)
        finally:
            temporary.remove(written)  # of a file that is cut off, or on a full disk
    return made
