"""The chosen rows of a split, read and decoded on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc

from hf_leep.arrays import Integers
from hf_leep.data import jpeg
from hf_leep.data.source import in_file
from hf_leep.data.words import Words
from hf_leep.errors import TargetError, one_line

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Rows:
    """The chosen rows, read and decoded on demand.

    Attributes:
        dataset: the split, with the input columns only.
        row_ids: positions of the chosen rows in it, ``[n]``.
        source: what the positions refer to, for messages.
        words: where words are labelled, those of the chosen rows; a row's input is then
            ``{"words": [...], "labelled": [positions of the labelled words]}``.
        reduced: whether JPEGs are decoded at reduced size (see `hf_leep.data.jpeg`).
    """

    dataset: datasets.Dataset
    row_ids: Integers
    source: str = "the split"
    words: Words | None = None
    reduced: bool = False

    def __len__(self) -> int:
        """Number of chosen rows n."""
        return len(self.row_ids)

    @property
    def offsets(self) -> Integers | None:
        """Where words are labelled, the number of words before each row, and at the end of all, ``[rows + 1]``."""
        return None if self.words is None else self.words.offsets

    def subset(self, positions: Integers) -> Rows:
        """Some of these rows.

        Args:
            positions: positions of the rows, ascending.
        """
        words = None if self.words is None else self.words.of(positions)
        return replace(self, row_ids=self.row_ids[positions], words=words)

    def lengths(self) -> Integers | None:
        """Number of characters in each row's texts, or of its words, ``[n]``; None for other inputs."""
        texts = [name for name, feature in self.dataset.features.items() if isinstance(feature, datasets.Value)]
        if len(texts) != len(self.dataset.features) and self.words is None:
            return None
        stored = self.dataset.with_format("arrow")
        parts = []
        for start in range(0, len(self), _ROWS_AT_ONCE):
            table = stored[self.row_ids[start : start + _ROWS_AT_ONCE].tolist()]
            if self.words is not None:
                parts.append(pc.list_value_length(table.column(0)).to_numpy())
            else:
                parts.append(sum(pc.utf8_length(table[name]).to_numpy() for name in texts))
        return np.concatenate(parts).astype(np.int64)

    def __getitem__(self, index: int) -> dict[str, object]:
        """Decode one row: its inputs by column.

        Raises:
            TargetError: it cannot be decoded.
        """
        row_id = int(self.row_ids[index])
        try:
            row = self._decoded(self._read_from[row_id])
        except Exception as error:  # decoders raise errors of any kind
            text = re.sub(
                r"Image size \((\d+) pixels\) exceeds limit of (\d+) pixels.*",
                r"it has \1 pixels, more than \2: scale it down",
                one_line(error),
            )
            raise TargetError(f"{self.where(index)} cannot be decoded ({text})") from None
        return self._shaped(index, row)

    def read(self, indices: Sequence[int]) -> list[dict[str, object]]:
        """Decode some rows, which are read from Arrow at once: one at a time takes several times as long.

        Args:
            indices: their positions among the chosen rows.

        Raises:
            TargetError: one of them cannot be decoded.
        """
        if len(indices) < 2:
            return [self[index] for index in indices]
        try:
            columns = self._read_from[self.row_ids[list(indices)].tolist()]
            rows = [
                self._decoded({column: values[k] for column, values in columns.items()}) for k in range(len(indices))
            ]
        except Exception:  # decoders raise errors of any kind: the row is found, and named, one at a time
            return [self[index] for index in indices]
        return [self._shaped(index, row) for index, row in zip(indices, rows, strict=True)]

    def for_processes(self, new_file: Callable[[int], str]) -> Rows:
        """The same rows as other processes can open them: in files that are there.

        Args:
            new_file: number of bytes → path of a file to write to.

        Raises:
            OSError: there is no room for a file.
        """
        files = [Path(file["filename"]) for file in self.dataset.cache_files]
        if files and all(file.is_file() for file in files):
            return self
        return replace(self, dataset=in_file(self.dataset, Path(new_file(self.dataset.data.nbytes))))

    def where(self, index: int) -> str:
        """Which row it is, with the name of its file where it has one, for messages.

        Args:
            index: its position among the chosen rows.
        """
        names = [name for value in self._stored(index).values() if (name := _named(value))]
        return f"row {int(self.row_ids[index])} of {self.source}" + (f" ({names[0]})" if names else "")

    @cached_property
    def _read_from(self) -> datasets.Dataset:
        """The split, with images that are not decoded where that is done here."""
        if not self.reduced:
            return self.dataset
        rows = self.dataset
        for column in self._images:
            rows = rows.cast_column(column, datasets.Image(decode=False))
        return rows

    @cached_property
    def _images(self) -> list[str]:
        return [name for name, feature in self.dataset.features.items() if isinstance(feature, datasets.Image)]

    def _decoded(self, row: Mapping[str, object]) -> dict[str, object]:
        if not self.reduced:
            return dict(row)
        return {column: jpeg.decode(value) if column in self._images else value for column, value in row.items()}

    def _shaped(self, index: int, row: Mapping[str, object]) -> dict[str, object]:
        """A row that was read, as processors take it."""
        if self.words is None:
            return {column: _scaled(value, self.dataset.features[column], column) for column, value in row.items()}
        start, end = self.words.offsets[index], self.words.offsets[index + 1]
        labelled = self.words.places[start:end].tolist()
        return {column: {"words": words, "labelled": labelled} for column, words in row.items()}

    def _stored(self, index: int) -> dict[str, object]:
        """A row as it is stored, not decoded."""
        rows = self.dataset.select([int(self.row_ids[index])])
        for column, feature in self.dataset.features.items():
            if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
                rows = rows.cast_column(column, type(feature)(decode=False))
        return dict(rows[0])


def _named(value: object) -> str | None:
    """The name of the file of a cell that is not decoded."""
    path = value.get("path") if isinstance(value, Mapping) else None
    return Path(path).name if isinstance(path, str) else None


def _scaled(value: object, feature: object, column: str) -> object:
    """The samples of a sound between −1 and 1, where they are stored as integers; any other value as it is.

    Raises:
        TargetError: 64-bit integers, which are no format of sounds: nobody knows their range.
    """
    samples = feature.get("array") if isinstance(feature, Mapping) else None
    kind = getattr(getattr(samples, "feature", None), "dtype", "")
    if not isinstance(value, dict) or value.get("array") is None or "int" not in kind:
        return value
    if kind.endswith("64"):
        raise TargetError(
            f"column {column!r} holds samples of type {kind}, whose range is not known: store them as int16, or as "
            "floats between −1 and 1"
        )
    info = np.iinfo(kind)
    half = (int(info.max) + 1 - int(info.min)) / 2
    wave = np.asarray(value["array"], dtype=np.float64) - (half if kind.startswith("u") else 0)
    return {**value, "array": (wave / half).astype(np.float32)}
