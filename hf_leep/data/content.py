"""The content of the chosen rows as it is stored: its hashes, and repeated rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np

from hf_leep.arrays import Integers
from hf_leep.data.formats import ENDLESS, POINTED, POINTER
from hf_leep.errors import TargetError
from hf_leep.temporary import is_endless

_T = TypeVar("_T")

_ROWS_AT_ONCE = 256


def digests_of(found: datasets.Dataset, columns: Sequence[str], row_ids: Integers) -> list[bytes]:
    """A 16-byte hash of each chosen row's input as it is stored, not decoded.

    Args:
        found: the split.
        columns: the input columns.
        row_ids: the chosen rows, ``[n]``.

    Raises:
        TargetError: a row has no input, or its file cannot be read.
    """
    digests, problems = read_digests(found, columns, row_ids)
    for position, problem in problems.items():
        raise TargetError(f"row {row_ids[position]} of the split – {problem}; drop such rows first")
    return digests


def read_digests(
    found: datasets.Dataset, columns: Sequence[str], row_ids: Integers
) -> tuple[list[bytes], dict[int, str]]:
    """The same, and what is wrong with each row that cannot be read, by its position; its hash is empty.

    Args:
        found: the split.
        columns: the input columns.
        row_ids: the chosen rows, ``[n]``.
    """
    raw = found.select_columns(list(columns))
    for column in columns:
        if isinstance(feature := found.features[column], datasets.Image | datasets.Audio | datasets.Video):
            raw = raw.cast_column(column, type(feature)(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            raw = raw.cast_column(column, datasets.List(datasets.Image(decode=False), length=feature.length))
    digests: list[bytes] = []
    problems: dict[int, str] = {}
    for start in range(0, len(row_ids), _ROWS_AT_ONCE):
        batch = raw[row_ids[start : start + _ROWS_AT_ONCE].tolist()]
        for values in zip(*(batch[column] for column in columns), strict=True):
            digest = hashlib.blake2b(digest_size=16)
            try:
                for column, value in zip(columns, values, strict=True):
                    if value is None:
                        raise TargetError(f"nothing in column {column!r}")
                    content = _stored_bytes(value)
                    digest.update(
                        len(content).to_bytes(8, "little") + content
                    )  # the length keeps ("ab", "c") apart from ("a", "bc")
            except TargetError as error:
                problems[len(digests)] = error.marked()
                digests.append(b"")
            else:
                digests.append(digest.digest())
    return digests, problems


def _stored_bytes(value: object) -> bytes:
    if isinstance(value, Mapping) and "array" in value:  # samples of a sound
        return f"{value['sampling_rate']}\0".encode() + np.asarray(value["array"], dtype="<f8").tobytes()
    if isinstance(value, list):  # the words of a sentence, or the frames of a video
        parts = [b"" if part is None else _stored_bytes(part) for part in value]
        return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    if isinstance(value, Mapping):  # an undecoded image, sound or video: its bytes, or the path of its file
        return _file_content(value)
    return str(value).encode()


def _file_content(cell: Mapping[str, Any]) -> bytes:
    """The content of an undecoded image, sound or video.

    Raises:
        TargetError: there is none, or it is known to be something else.
    """
    content, path = cell["bytes"], cell["path"]
    if content is None and not path:
        raise TargetError("an image, a sound or a video has neither content nor a path")
    if content is None:
        if is_endless(Path(path)):
            raise TargetError(f"{path} is {ENDLESS}")
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise TargetError(f"cannot read {path}: {error.strerror}") from None
    name = Path(path).name if path else "its file"
    if not content:
        raise TargetError(f"{name} is empty")
    if content.startswith(POINTER):
        raise TargetError(f"{name} is {POINTED}")
    return bytes(content)


def count_duplicates(digests: Sequence[bytes], labels: Sequence[_T]) -> tuple[int, int]:
    """Count the rows that repeat an earlier row's input, and those of them that have another label.

    Args:
        digests: hash of each row's input.
        labels: label of each row.
    """
    first: dict[bytes, _T] = {}
    repeats = conflicts = 0
    for digest, label in zip(digests, labels, strict=True):
        if digest in first:
            repeats += 1
            conflicts += first[digest] != label
        else:
            first[digest] = label
    return repeats, conflicts
