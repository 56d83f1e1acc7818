"""Files to which several processes write their rows of a pass, and the arrays that the main process makes of them.

Rows are appended to a shard. A full disk therefore raises an error; it does not kill the process, as it would with
memory mapped to a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import UserError
from hf_leep.inference.outputs import Allocate
from hf_leep.text import form

_ROWS_AT_ONCE = 8192


class Shard:
    """The rows of one process, on disk as soon as they are written.

    Args:
        folder: the folder of all shards of a pass; it is made if it is missing.
        index: index of the process.
    """

    def __init__(self, folder: Path, index: int) -> None:
        self._folder = folder
        self._index = index

    def write(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Append rows ``[b, …]`` of an array, and their positions ``[b]``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for kind, content in (("values", values.astype("<f4")), ("rows", positions.astype("<i8"))):
            with (self._folder / f"{name}.{self._index}.{kind}").open("ab") as stream:
                stream.write(content.tobytes())


class Shards:
    """The rows of several processes: those of the main one go to its own shard, and `arrays` reads the shards of all.

    Args:
        folder: the folder of the shards, on a disk that all machines of the run share.
        num_rows: number of rows n of the arrays.
        allocate: makes the arrays.
    """

    def __init__(self, folder: Path, num_rows: int, allocate: Allocate) -> None:
        self.folder: Path | None = folder
        self._folder = folder
        self._num_rows = num_rows
        self._allocate = allocate
        self._own = Shard(folder, 0)

    def write(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Append rows to the main process's shard."""
        self._own.write(name, positions, values)

    def arrays(self, names: Sequence[str], left_out: Integers) -> Mapping[str, NDArray[np.float32]]:
        """Make whole arrays of the shards of all processes: name → ``[n, …]``; rows that were left out are NaN.

        Raises:
            UserError: rows are missing.
        """
        return {name: self._array(name, left_out) for name in names}

    def _array(self, name: str, left_out: Integers) -> NDArray[np.float32]:
        array: NDArray[np.float32] | None = None
        written = np.zeros(self._num_rows, dtype=bool)
        for path in sorted(self._folder.glob(f"{name}.*.rows")):
            rows = np.fromfile(path, dtype="<i8")
            content = path.with_suffix(".values")
            width = content.stat().st_size // 4 // len(rows)
            values = np.memmap(content, dtype="<f4", mode="r", shape=(len(rows), width))
            if array is None:
                array = self._allocate(name, (self._num_rows, width))
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                array[rows[part]] = values[part]
            written[rows] = True
        if array is not None:
            array[left_out] = np.nan
            written[left_out] = True
        if array is None or not written.all():
            missing = self._num_rows - int(written.sum())
            raise UserError(
                f"{missing} of {self._num_rows} rows {form(missing, 'is', 'are')} missing from {self._folder}: is "
                "HF_HOME on a disk that all machines of this run share?"
            )
        return array
