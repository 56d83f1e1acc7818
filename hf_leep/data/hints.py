"""What to do about columns that are laid out in another way than one class a row."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import datasets
import pyarrow.compute as pc

_WEIGHTS = ("weight", "weights", "sample_weight", "class_weight")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar")


def about_no_label(found: datasets.Dataset) -> str:
    """What to do where no column can be the label, as the end of a message; empty if nothing is known.

    Args:
        found: the split.
    """
    for name, feature in found.features.items():
        if isinstance(feature, datasets.List | datasets.LargeList) and _is_plain(feature.feature):
            return f"; {name!r} holds lists, and a score needs one label a row: {_one_of_several(name)}"
    for name, feature in found.features.items():
        if isinstance(feature, datasets.Value) and "float" in feature.dtype:
            return f"; if {name!r} holds ratings or classes, save them as whole numbers or as words, such as '4 stars'"
    for name, feature in found.features.items():
        if isinstance(feature, datasets.Json):
            return f"; {name!r} holds values of several types: save all of them as words, or all as whole numbers"
    return ""


def about_nested(found: datasets.Dataset) -> str:
    """What to do where rows hold rows, as the end of a message; empty if they do not.

    Args:
        found: the split.
    """
    for name, feature in found.features.items():
        if isinstance(feature, dict) and feature:
            inner = ", ".join(list(feature)[:4])
            return (
                f"; {name!r} holds columns of its own ({inner}): Dataset.flatten() makes them columns of the data set"
            )
    return ""


def about_one_row(found: datasets.Dataset) -> str:
    """What to do where a whole file was read as one row, as the end of a message; empty if it was not.

    Args:
        found: the split.
    """
    if len(found) != 1:
        return ""
    return "; the file was read as one row: save it as JSON lines, one row a line"


def about_choice(found: datasets.Dataset, possible: Sequence[str]) -> str:
    """What to do where several columns of 0 and 1 could be the label, as the end of a message; else empty.

    Args:
        found: the split.
        possible: the columns that could be the label.
    """
    if not all(_is_whole(found.features[name]) for name in possible):
        return ""
    table = found.select_columns(list(possible)).with_format("arrow")[:]
    if not all(_is_binary(table.column(name)) for name in possible):
        return ""
    total = sum(table.column(name).to_numpy().astype(int) for name in possible)
    if (total == 1).all():
        joined = f"df['label'] = df[{list(possible)}].idxmax(axis=1)"
        return f"; they are 0 or 1, and one of them is 1 in each row: join them, as {joined} does"
    return "; they are 0 or 1, and several of them may be 1: each is a label of its own, so choose one"


def about_suffix(suffix: str) -> str:
    """What to do with a file that is not read, as the end of a message; empty if nothing is known.

    Args:
        suffix: its suffix.
    """
    if suffix in _SPREADSHEETS:
        return "; save the sheet as CSV UTF-8"
    return "; unpack it first" if suffix in _PACKED else ""


def notes(found: datasets.Dataset, column: str, class_names: Sequence[str]) -> list[str]:
    """What to look at in the labels of a split, for the report.

    Args:
        found: the split.
        column: the label column.
        class_names: the classes of its rows.
    """
    said = []
    alike = defaultdict(list)
    for name in class_names:
        alike[" ".join(name.casefold().split())].append(name)
    for names in [names for names in alike.values() if len(names) > 1][:1]:
        said.append(
            f"the classes {' and '.join(map(repr, names))} differ in case or spaces alone, and count as several: "
            "correct them if one is meant"
        )
    several = _joined(class_names)
    if several:
        said.append(
            f"labels such as {several!r} seem to name several classes; each combination counts as a class of its own: "
            f"{_one_of_several(column)}"
        )
    if column in class_names:
        said.append(
            f"column {column!r} also holds {column!r}: if the file has no header, its first row was taken for one"
        )
    weights = [name for name in found.column_names if name.lower() in _WEIGHTS]
    if weights:
        said.append(f"column {weights[0]!r} is not used: every row counts once, whatever its weight")
    return said


def _one_of_several(column: str) -> str:
    return (
        f"keep the rows with one label, or choose a column of 0 and 1 for the one that matters instead of {column!r}"
    )


def _joined(class_names: Sequence[str]) -> str | None:
    """A class name that joins several, such as ``a,b`` or ``['a', 'b']``; None if there is none."""
    parts = {name: [part.strip(" []'\"") for part in re.split(r"[,;|]", name)] for name in class_names}
    times = Counter(part for held in parts.values() for part in set(held))
    for name, held in parts.items():
        if len(held) > 1 and name.startswith("[") and name.endswith("]"):
            return name
        if len(held) > 1 and all(held) and all(times[part] > 1 for part in held):
            return name
    return None


def _is_plain(feature: object) -> bool:
    return isinstance(feature, datasets.Value | datasets.ClassLabel)


def _is_whole(feature: object) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in ("int", "uint", "bool")


def _is_binary(values: object) -> bool:
    return set(pc.unique(values).to_pylist()) <= {0, 1}
