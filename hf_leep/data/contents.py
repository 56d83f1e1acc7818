"""What the columns of a split hold: holes, empty texts, classes that a slice lost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, option
from hf_leep.records import BadRow
from hf_leep.text import first_few, form

_LOOKED_AT = 20  # sounds or pictures
# Of pictures: the peak up to which another range is likely (0 and 1, or 14 bits), and the largest value. I is I;16.
_RANGES = {"L": (1, 255), "RGB": (1, 255), "I": (2**14, 2**16 - 1)}
_LOUD = 100.0  # far beyond what filters and gains make of samples between −1 and 1


def without_holes(
    found: datasets.Dataset, inputs: Sequence[str], label: str, most: int
) -> tuple[Integers, list[BadRow]]:
    """The rows that have an input and a label, and those that may be left out because they do not.

    Args:
        found: the split.
        inputs: the input columns.
        label: the label column.
        most: number of rows that may be left out.

    Returns:
        Positions of the rows to use, ascending, and the other rows.

    Raises:
        TargetError: more rows than may be left out lack their input or their label, or these are all rows of a class.
    """
    empty = np.zeros(len(found), dtype=bool)
    reasons: dict[int, str] = {}
    for column in (*inputs, label):
        values = found.select_columns([column]).with_format("arrow")[:].column(0)
        if not values.null_count:
            continue
        here = pc.is_null(values).to_numpy()
        empty |= here
        if values.null_count == len(found):
            other = option("label") if column == label else option("input")
            raise TargetError(f"column {column!r} is empty in all rows: choose another with {other}")
        if values.null_count > most or empty.sum() > most:
            what, number = "no label" if column == label else "nothing", values.null_count
            them = form(number, "it", "them")
            raise TargetError(
                f"{number} of {len(found)} rows {form(number, 'has', 'have')} {what} in column {column!r}, "
                f"{form(number, '', 'the first of them ')}row {np.flatnonzero(here)[0]}: drop {them} first, or leave "
                f"{them} out with {option('skip_bad_rows')} {empty.sum()}"
            )
        reasons |= dict.fromkeys(np.flatnonzero(here).tolist(), f"nothing in column {column!r}")
    bad = [BadRow(row, f"row {row} of the split", reason, drawn=False) for row, reason in sorted(reasons.items())]
    kept = np.flatnonzero(~empty)
    if bad:
        check_lost(_classes(found, label), _classes(found.select(kept), label), bad)
    return kept, bad


def check_lost(before: Sequence[str], after: Sequence[str], bad: Sequence[BadRow]) -> None:
    """Check that no class goes with the rows that are left out.

    Args:
        before: classes of all rows.
        after: classes of the rows that are left.
        bad: the rows that are left out.

    Raises:
        TargetError: some class does.
    """
    if lost := [name for name in before if name not in set(after)]:
        raise TargetError(
            f"{option('skip_bad_rows')} would leave out all rows of {', '.join(map(repr, lost[:5]))}: fix them, or "
            f"drop these classes first ({first_few(bad)})"
        )


def check_slice(found: datasets.Dataset, whole: datasets.Dataset, column: str) -> None:
    """Check that a slice of a split holds all classes of the split.

    Args:
        found: the slice.
        whole: the split.
        column: the label column.

    Raises:
        TargetError: it does not.
    """
    here, there = (_classes(rows, column) for rows in (found, whole))
    lost = [name for name in there if name not in here]
    if lost:
        names = ", ".join(repr(name) for name in lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise TargetError(
            f"the slice holds {len(here)} of the {len(there)} classes of the split, without {names}: its rows are "
            f"sorted by class. Take the whole split and {option('max_samples')} {len(found)}: that samples every class"
        )


def _classes(rows: datasets.Dataset, column: str) -> list[str]:
    """The classes that occur in a column, by name."""
    values = rows.select_columns([column]).with_format("arrow")[:].column(0)
    feature = rows.features[column]
    if isinstance(feature, datasets.List | datasets.LargeList):
        values, feature = pc.list_flatten(values), feature.feature
    held = sorted(pc.unique(pc.drop_null(values)).to_pylist())
    if isinstance(feature, datasets.ClassLabel):
        return [str(feature.names[value]) for value in held if 0 <= value < feature.num_classes]
    return [str(value) for value in held]


def check_repeated(codes: Integers, feature: object, column: str) -> None:
    """Check that some class has more than one example; a column of other values than classes seldom has.

    Args:
        codes: class of each row, ``[n]``.
        feature: feature of the label column; the classes of a ClassLabel are classes, however few rows they have.
        column: the label column.

    Raises:
        TargetError: each row has a class of its own.
    """
    if isinstance(feature, datasets.ClassLabel):
        return
    if len(codes) > 2 and len(np.unique(codes)) == len(codes):
        raise TargetError(
            f"each of the {len(codes)} rows has another value in column {column!r}, so it holds no classes: "
            f"are {option('label')} and {option('input')} swapped?"
        )


def single_rows(codes: Integers, feature: object, column: str) -> list[str]:
    """A warning where most classes have one row, as those of a column of ids or texts have.

    Args:
        codes: class of each row, ``[n]``.
        feature: feature of the label column; the classes of a ClassLabel are classes, however few rows they have.
        column: the label column.
    """
    counts = np.unique(codes, return_counts=True)[1]
    single = int((counts == 1).sum())
    if isinstance(feature, datasets.ClassLabel) or 2 * single <= len(counts) or 2 * len(counts) <= len(codes):
        return []
    return [
        f"{single} of the {len(counts)} classes have a single row: choose another {option('label')} if column "
        f"{column!r} holds ids or texts rather than classes"
    ]


def empty_texts(found: datasets.Dataset, inputs: Sequence[str], rows: Integers) -> list[str]:
    """A warning on texts that are empty or hold only spaces, for models read nothing in them.

    Args:
        found: the split.
        inputs: the input columns.
        rows: the rows to look at.
    """
    said = []
    for column in inputs:
        feature = found.features[column]
        if not isinstance(feature, datasets.Value) or "string" not in feature.dtype:
            continue
        texts = found.select_columns([column]).select(rows).with_format("arrow")[:].column(0)
        empty = np.flatnonzero(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).to_numpy())
        if len(empty):
            first = f"row {rows[empty[0]]}"
            are = form(len(empty), "is empty or holds", "are empty or hold")
            said.append(f"{len(empty)} of {len(rows)} texts in column {column!r} {are} only spaces, such as {first}")
    return said


def odd_sounds(found: datasets.Dataset, inputs: Sequence[str], rows: Integers) -> list[str]:
    """A warning on sounds whose samples seem to be stored in another range than their type has.

    Args:
        found: the split.
        inputs: the input columns.
        rows: the rows; the first of them are looked at.
    """
    for column in inputs:
        feature = found.features[column]
        if isinstance(feature, datasets.Audio):
            kind, peak = "float", _peak_of_files(found, column, rows[:_LOOKED_AT])
        else:
            samples = feature.get("array") if isinstance(feature, dict) else None
            kind = getattr(getattr(samples, "feature", None), "dtype", "")
            if not kind.startswith(("float", "int32")):
                continue
            sounds = found.select_columns([column])[rows[:_LOOKED_AT].tolist()][column]
            peak = max((_peak(sound["array"]) for sound in sounds if sound and sound["array"]), default=0.0)
        if kind.startswith("float") and peak > _LOUD:
            return [
                f"samples in column {column!r} reach {peak:,.5g}, where samples of type {kind} lie between −1 and 1: "
                "divide them by the range that they were recorded in, such as 32768"
            ]
        if kind == "int32" and 0 < peak <= 2**15:
            return [
                f"samples in column {column!r} reach {peak:,.0f} of the 2,147,483,647 of int32, so they are read as "
                "near silence: store samples of 16 bits as int16"
            ]
    return []


def _peak(samples: ArrayLike) -> float:
    """The largest absolute value of samples; NaN, None and infinities, which are named with their row later, aside."""
    wave = np.asarray(samples, dtype=np.float64)
    return float(np.abs(wave[np.isfinite(wave)]).max(initial=0.0))


def _peak_of_files(found: datasets.Dataset, column: str, rows: Integers) -> float:
    """The largest absolute sample of those files that are WAV of floats; others hardly hold more than 1."""
    peak = 0.0
    for sound in found.select_columns([column]).cast_column(column, datasets.Audio(decode=False)).select(rows)[column]:
        with suppress(OSError, TypeError):  # a bad row, which is named later
            peak = max(peak, _peak(_floats_of_wav(sound["bytes"] or Path(sound["path"]).read_bytes())))
    return peak


def _floats_of_wav(content: bytes) -> NDArray[np.floating]:
    """The samples of a WAV file of floats, ``[samples × channels]``; none of any other file."""
    kind, start = np.dtype("<f4"), 12
    while content[:4] == b"RIFF" and start + 8 <= len(content):
        name, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        chunk = content[start + 8 : start + 8 + size]
        if name == b"fmt ":
            form = chunk[24:26] if chunk[:2] == b"\xfe\xff" else chunk[:2]  # the extensible header names it later
            if form != b"\x03\0":
                break
            kind = np.dtype("<f8" if chunk[14:16] == b"\x40\0" else "<f4")
        elif name == b"data":
            return np.frombuffer(chunk, kind, len(chunk) // kind.itemsize)
        start += 8 + size + size % 2
    return np.empty(0)


def odd_pictures(found: datasets.Dataset, inputs: Sequence[str], rows: Integers) -> list[str]:
    """Warnings on pictures whose values use a small part of their range, and on those of several pages or frames.

    Args:
        found: the split.
        inputs: the input columns.
        rows: the rows; the first of them are looked at.
    """
    from PIL import Image

    said = []
    for column in inputs:
        if not isinstance(found.features[column], datasets.Image):
            continue
        stored = found.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        several, peaks = 0, set()
        for cell in stored.select(rows[:_LOOKED_AT])[column]:
            source = cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"])
            with suppress(Exception), Image.open(source) as picture:  # a bad row is named later
                # Phones store a second picture in a JPEG (MPO), which is no page.
                several += picture.format != "MPO" and getattr(picture, "is_animated", False)
                mode = picture.mode.partition(";")[0]
                if mode in _RANGES and picture.format not in ("JPEG", "MPO"):
                    peaks.add((int(np.max(picture.getextrema())), *_RANGES[mode]))
        if peaks and all(0 < peak <= low for peak, low, _ in peaks):
            peak, _, most = max(peaks)
            said.append(
                f"pixels in column {column!r} reach {peak:,} of {most:,}, so they are read as nearly black: store "
                "them in the whole range of their type"
            )
        if several:
            said.append(
                f"{several} of the first {min(_LOOKED_AT, len(rows))} pictures in column {column!r} "
                f"{form(several, 'has', 'have')} several frames or pages: the first of them is read"
            )
    return said


def absent_classes(feature: object, occurring: Sequence[str]) -> list[str]:
    """A note on classes that a data set declares and that have no rows.

    Args:
        feature: feature of the label column.
        occurring: names of the classes that have rows.
    """
    feature = getattr(feature, "feature", feature)
    if not isinstance(feature, datasets.ClassLabel) or len(feature.names) <= len(occurring):
        return []
    absent = [name for name in map(str, feature.names) if name not in set(occurring)]
    names = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
    have = form(len(absent), "has", "have")
    return [
        f"{len(absent)} of the {len(feature.names)} classes that the data set declares {have} no rows here: {names}"
    ]
