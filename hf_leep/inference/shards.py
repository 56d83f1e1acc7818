"""What each process writes of a pass, and how the main one makes whole arrays of it.

A shard is appended to, row by row: it takes the disk that it needs and no more, and a full disk is an error, not the
end of the process as it would be in memory mapped to a file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import UserError

_ROWS_AT_ONCE = 8192


class Shard:
    """The rows of one process; whatever has been put into it is on disk.

    Args:
        folder: where the shards of a pass lie; made where it is missing.
        index: which process this is.
    """

    def __init__(self, folder: Path, index: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._index = index

    def put(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Append rows ``[b, …]`` of an array, and which rows of the whole they are, ``[b]``."""
        for kind, content in (("values", values.astype("<f4")), ("rows", positions.astype("<i8"))):
            with (self._folder / f"{name}.{self._index}.{kind}").open("ab") as stream:
                stream.write(content.tobytes())


def gather(
    folder: Path, names: list[str], n: int, allocate: Callable[[str, tuple[int, ...]], NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Make whole arrays of the shards.

    Args:
        folder: where they lie.
        names: of the arrays.
        n: rows of the whole.
        allocate: makes a float32 array from name and shape.

    Returns:
        name → ``[n, …]``.

    Raises:
        UserError: rows are missing.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    for name in names:
        there = np.zeros(n, dtype=bool)
        for path in sorted(folder.glob(f"{name}.*.rows")):
            rows = np.fromfile(path, dtype="<i8")
            content = path.with_suffix(".values")
            width = content.stat().st_size // 4 // len(rows)
            values = np.memmap(content, dtype="<f4", mode="r", shape=(len(rows), width))
            if name not in arrays:
                arrays[name] = allocate(name, (n, width))
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                arrays[name][rows[part]] = values[part]
            there[rows] = True
        if not there.all():
            raise UserError(
                f"{n - there.sum()} of {n} rows are missing from {folder}: is HF_HOME on a disk that all machines of "
                "this run share?"
            )
    return arrays
