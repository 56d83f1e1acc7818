"""Columns of texts that stand for pictures or sounds: names of files, addresses, or their content as text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import datasets

from hf_leep.errors import TargetError, option
from hf_leep.text import counted, form

_LOOKED_AT = 200  # rows
_NAMES = 20  # of files, to see whether texts are such names
_LONGEST_NAME = 200  # bytes; file systems take 255
_FOLDERS = 100  # beside a data file, to look for them
_FILES: Sequence[tuple[str, type[datasets.Image | datasets.Audio | datasets.Video], tuple[str, ...]]] = (
    ("pictures", datasets.Image, (
        ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif", ".jpe", ".jp2",
        ".tga", ".avif",
    )),
    ("sounds", datasets.Audio, (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a", ".au")),
    ("videos", datasets.Video, (".mp4", ".avi", ".mkv", ".mov", ".mpeg", ".mpg", ".webm", ".m4v")),
)  # fmt: skip
_SUFFIXES = tuple(suffix for _, _, suffixes in _FILES for suffix in suffixes)
_UNREAD = (
    ".heic",
    ".heif",
    ".dcm",
    ".nii",
    ".nii.gz",
    ".npy",
    ".npz",
    ".pt",
    ".pdf",
    ".txt",
    ".docx",
    ".html",
    ".mid",
)
_ENCODED = ("data:image/", "data:audio/", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")  # PNG, JPEG, GIF, and WebP or WAV


def open_named_files(
    found: datasets.Dataset, folder: Path | None, chosen: Sequence[str], most_missing: int = 0
) -> tuple[datasets.Dataset, list[str]]:
    """Turn columns of texts that name pictures or sounds into columns of these files, where the files are there.

    Args:
        found: the split.
        folder: where relative names start; None where no files are beside the data.
        chosen: columns that the user named as inputs; if there are any, no others are looked at.
        most_missing: number of files that may be missing; their rows are left out later.

    Returns:
        The split, and what a reader of the report must know about it.

    Raises:
        TargetError: a column names such files, and some of them are missing.
    """
    said: list[str] = []
    if folder is None:
        return found, said
    for column, names in _first_names(found, chosen or found.column_names).items():
        for kind, media, suffixes in _FILES:
            if not names or not all(name.lower().endswith(suffixes) for name in names):
                continue
            paths = [_path_of(folder, name) if name else None for name in found[column]]
            missing = [path for path in paths if path is not None and not Path(path).is_file()]
            if len(missing) == sum(path is not None for path in paths):
                continue
            if len(missing) > most_missing:
                raise TargetError(
                    f"column {column!r} names {counted(len(missing), 'file')} that {form(len(missing), 'is', 'are')} "
                    f"not there, such as {missing[0]}: drop such rows first, or leave them out with "
                    f"{option('skip_bad_rows')} {len(missing)}"
                )
            found = _with_column(found, column, paths).cast_column(column, media())
            said.append(f"column {column!r} holds paths of files, which were read as {kind}")
    return found, said


def _with_column(found: datasets.Dataset, column: str, values: Sequence[str | None]) -> datasets.Dataset:
    """Replace the texts of a column.

    The table stays in one piece: of two side by side, a worker cannot open one that has lost all its columns.
    """
    import pyarrow as pa

    table = found.with_format("arrow")[:]
    at = table.schema.get_field_index(column)
    table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return datasets.Dataset(table, info=found.info, split=found.split)


def check_not_named(found: datasets.Dataset, inputs: Sequence[str], folder: Path | None) -> None:
    """Check that the inputs are no names or addresses of files, nor their content as text.

    Args:
        found: the split, after `open_named_files`.
        inputs: the input columns.
        folder: where relative names start; None where no files are beside the data.

    Raises:
        TargetError: they are.
    """
    other = f"or choose another column with {option('input')}"
    for column, names in _first_names(found, inputs).items():
        if names and all(name.startswith(_ENCODED) for name in names):
            raise TargetError(
                f"column {column!r} holds files as text (base64), such as {names[0][:20]}…: save the files and give "
                f"their paths, {other}"
            )
        _check_not_beside(column, names, folder)
        for kind, _, suffixes in _FILES:
            others = [name for name in names if not name.lower().endswith(suffixes)]
            if 2 * len(others) >= len(names):
                continue
            if others:
                what = f"names of {kind}, and others, such as {others[0][:80]!r}: drop the others first"
            elif any("://" in name for name in names):
                what = f"addresses of {kind}, such as {names[0][:80]}: download them first, and give the paths"
            elif folder is None:
                what = f"names of {kind}, such as {names[0][:80]}, without the files: give a CSV file of paths"
            else:
                first = _path_of(folder, names[0])
                what = f"names of {kind}, and none of the files is there: {first} would be the first; give their paths"
            raise TargetError(f"column {column!r} holds {what}, {other}")


def _check_not_beside(column: str, names: Sequence[str], folder: Path | None) -> None:
    """Check that texts are no names of files of another kind, nor of files without their folder or suffix."""
    if names and all(name.lower().endswith(_UNREAD) for name in names):
        raise TargetError(
            f"column {column!r} holds names of files such as {names[0][:80]!r}, which are not read: convert "
            f"pictures to PNG and sounds to WAV, put texts into the table, or choose another column with "
            f"{option('input')}"
        )
    if folder is None or not names:
        return
    found = [_beside(folder, name) for name in names[:_NAMES]]
    first = found[0]
    if first is None or None in found:
        return
    if not first.name.lower().endswith(_SUFFIXES):
        raise TargetError(
            f"column {column!r} holds names of files, such as {names[0][:80]!r}, whose suffix is not read: "
            f"convert them, or choose another column with {option('input')}"
        )
    raise TargetError(
        f"column {column!r} holds names of files without their folder or suffix: "
        f"{_how_to_join(first.relative_to(folder), names[0], f'df[{column!r}]')}, or choose another column with "
        f"{option('input')}"
    )


def check_not_numbered(found: datasets.Dataset, folder: Path | None) -> None:
    """Check that no column of whole numbers, such as ``id``, stands for files, such as 1.jpg.

    Args:
        found: a split without a column that could be the input.
        folder: where the files would be; None where no files are beside the data.

    Raises:
        TargetError: one does.
    """
    if folder is None:
        return
    numbered = [name for name, feature in found.features.items() if "int" in str(getattr(feature, "dtype", ""))]
    rows = found.select_columns(numbered)[:_NAMES] if numbered else {}
    for column, values in rows.items():
        numbers = [number for number in values if number is not None]
        if not numbers or len(set(numbers)) < len(numbers):
            continue
        first = _beside(folder, str(numbers[0]))
        if first is not None and all(_beside(folder, str(number)) for number in numbers[1:]):
            raise TargetError(
                f"column {column!r} holds the numbers of files: "
                f"{_how_to_join(first.relative_to(folder), str(numbers[0]), f'df[{column!r}].astype(str)')}"
            )


def _how_to_join(path: Path, name: str, names: str) -> str:
    """How to make a column of paths, by one of them, its name in the table, and code for all names."""
    text = str(path)
    after = next((suffix for suffix in _SUFFIXES if text.endswith(name + suffix)), "")
    before = text.removesuffix(name + after)
    joined = " + ".join(part for part in (before and repr(before), names, after and repr(after)) if part)
    return f"{name[:80]!r} is {path}. Make a column of their paths, as df['path'] = {joined} does"


def _beside(folder: Path, name: str) -> Path | None:
    """A file of a name, or of a name and a suffix, in a folder or in one of its folders; None if there is none."""
    if len(name.encode()) > _LONGEST_NAME or "\0" in name or not name.strip(" ./"):
        return None
    with os.scandir(folder) as held:
        inner = sorted(entry.name for entry in held if entry.is_dir())[:_FOLDERS]
    for parent in (folder, *(folder / one for one in inner)):
        for suffix in ("", *_SUFFIXES):
            if (path := parent / f"{name}{suffix}").is_file():
                return path
    return None


def _first_names(found: datasets.Dataset, columns: Sequence[str]) -> dict[str, list[str]]:
    """The texts of the first rows of those of some columns that hold texts."""
    features = found.features
    held = {name: features[name] for name in found.column_names if name in columns}
    texts = [name for name, one in held.items() if isinstance(one, datasets.Value) and "string" in one.dtype]
    rows = found.select_columns(texts)[:_LOOKED_AT] if texts else {}
    return {column: [name.strip() for name in names if name and name.strip()] for column, names in rows.items()}


def _path_of(folder: Path, name: str) -> str:
    """The path of a file, without spaces around it; one that was written on Windows may have backslashes."""
    name = name.strip()
    path = folder / name
    return str(folder / name.replace("\\", "/") if "\\" in name and not path.exists() else path)
