"""What to do about columns that are laid out in another way than one class a row."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WEIGHTS = ("weight", "weights", "sample_weight", "class_weight")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_LOOKED_AT = 1000  # rows
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar")


def about_no_label(found: datasets.Dataset) -> str:
    """What to do where no column can be the label, as the end of a message; empty if nothing is known.

    Args:
        found: the split.
    """
    return _first_advice(found, list(found.features))


def about_no_input(found: datasets.Dataset) -> str:
    """What to do where no column can be the input, as the end of a message; empty if nothing is known.

    Args:
        found: the split.
    """
    kinds = (_is_vector, _is_array)
    names = [name for name, feature in found.features.items() if not any(kind(feature) for kind in kinds)]
    if advice := _first_advice(found, names):
        return advice
    for name, feature in found.features.items():
        if _is_array(feature):
            return f"; {name!r} holds arrays of numbers, so make pictures of them, as PIL.Image.fromarray does"
    for name, feature in found.features.items():
        if isinstance(feature, datasets.List | datasets.LargeList):
            return f"; if {name!r} holds sounds, store each as {{'array': samples, 'sampling_rate': rate}}"
    return ""


def _first_advice(found: datasets.Dataset, names: Sequence[str]) -> str:
    """What to do about one of some columns: rather one of a usual name, and rather one that holds values."""
    usual = ("label", "labels", "text", "sentence", "category", "class", "target")
    features = found.features
    for name in sorted(names, key=lambda name: (name.strip().lower() not in usual, _is_empty(features[name]))):
        if advice := about_column(found, name, features[name]):
            return f"; {advice}"
    return ""


def about_column(found: datasets.Dataset, name: str, feature: object) -> str:
    """What to do about a column that can be neither the label nor the input as it is; empty if nothing is known.

    Args:
        found: the split.
        name: the column.
        feature: its type.
    """
    if isinstance(feature, datasets.List | datasets.LargeList) and _is_plain(feature.feature):
        return f"{name!r} holds lists, and a score needs one label a row; {_one_of_list(found, name)}"
    if isinstance(feature, dict) and set(feature) == {"bytes", "path"}:
        return f"{name!r} holds files; {_cast(name)}"
    if isinstance(feature, dict) and set(feature) == {"array", "sampling_rate"}:
        return f"{name!r} holds sounds of several channels, so store one list of samples each, such as their mean"
    if isinstance(feature, dict) and feature:
        inner = ", ".join(list(feature)[:4])
        return f"{name!r} holds columns of its own ({inner}); Dataset.flatten() makes them columns of the data set"
    if isinstance(feature, datasets.Json):
        return f"{name!r} holds values of several types, so save all of them as words, or all as whole numbers"
    if not isinstance(feature, datasets.Value):
        return ""
    if "float" in feature.dtype or feature.dtype.startswith("decimal"):
        return f"if {name!r} holds ratings or classes, save them as whole numbers or as words, such as '4 stars'"
    if "binary" in feature.dtype:
        return f"{name!r} holds bytes; {_cast(name)}; of words, save what value.decode() gives"
    if feature.dtype == "null":
        return f"{name!r} is empty in all rows, so fill it, or choose another column"
    if feature.dtype.startswith(("date", "time", "duration")):
        return (
            f"{name!r} holds dates (in JSON, texts that look like dates become dates), so save them as words, in a "
            "CSV or parquet file"
        )
    if feature.dtype == "string_view":
        return f"{name!r} holds texts of another type; Dataset.cast_column({name!r}, Value('string')) makes them usual"
    return ""


def about_no_header(found: datasets.Dataset) -> str:
    """What to do where the first row of a file may have been its header, as the end of a message; else empty.

    Args:
        found: the split.
    """
    texts = [name for name, feature in found.features.items() if isinstance(feature, datasets.Value)]
    first = found.select_columns(texts)[:_LOOKED_AT]
    if any(name in map(str, first[name]) for name in texts):
        return "; if the file has no header, add one, since its first row was taken for it"
    return ""


def about_one_row(found: datasets.Dataset) -> str:
    """What to do where a whole file was read as one row, as the end of a message; empty if it was not.

    Args:
        found: the split.
    """
    if len(found) != 1:
        return ""
    return "; the file was read as one row, so save it as JSON lines, one row a line"


def about_choice(found: datasets.Dataset, possible: Sequence[str]) -> str:
    """What to do where several columns of 0 and 1 could be the label, as the end of a message; else empty.

    Args:
        found: the split.
        possible: the columns that could be the label.
    """
    features = found.features
    if not all(_is_whole(features[name]) for name in possible):
        return ""
    table = found.select_columns(list(possible)).with_format("arrow")[:]
    if not all(_is_binary(table.column(name)) for name in possible):
        return ""
    if _one_is_1(table, possible):
        joined = f"df['label'] = df[{list(possible)}].idxmax(axis=1)"
        return f"; they are 0 or 1, and one of them is 1 in each row, so join them, as {joined} does"
    return "; they are 0 or 1, and several of them may be 1, so choose one of them"


def one_hot(found: datasets.Dataset, names: Sequence[str]) -> bool:
    """Whether some columns are 0 or 1, and one of them is 1 in each row.

    Args:
        found: the split.
        names: the columns.
    """
    features = found.features
    names = [name for name in names if _is_whole(features[name])]
    if len(names) < 2:
        return False
    table = found.select_columns(names).with_format("arrow")[:]
    return all(_is_binary(table.column(name)) for name in names) and _one_is_1(table, names)


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
    quoted = [name for name in class_names if re.fullmatch(r"""\s*(["'])[^"']*\1\s*""", name)]
    if quoted:
        said.append(
            f"labels such as {quoted[0]!r} hold quotation marks, which count as part of the label: remove them, and "
            "spaces before them, if the file uses them around cells"
        )
    weights = [name for name in found.column_names if name.lower() in _WEIGHTS]
    if weights:
        said.append(f"column {weights[0]!r} is not used: every row counts once, whatever its weight")
    return said


def _one_of_list(found: datasets.Dataset, column: str) -> str:
    """How to make one label of each list of a column."""
    lists = found.select_columns([column]).with_format("arrow")[:].column(0)
    lengths = set(pc.unique(pc.list_value_length(lists)).to_pylist())
    if lengths == {1}:
        return "each list holds one, so save it without the list"
    values = pc.list_flatten(lists)
    if len(lengths) == 1 and None not in lengths and _is_binary(values):
        sums = values.to_numpy().astype(int).reshape(len(lists), -1).sum(axis=1)
        if (sums == 1).all():
            return "one entry of each list is 1, so save its position instead, as numpy.argmax gives it"
    return _one_of_several(column)


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


def _cast(name: str) -> str:
    return f"Dataset.cast_column({name!r}, Image()) makes pictures of them, and Audio() sounds"


def _is_array(feature: object) -> bool:
    """Whether a column holds arrays of more than one dimension."""
    lists = (datasets.List, datasets.LargeList)
    arrays = (datasets.Array2D, datasets.Array3D, datasets.Array4D, datasets.Array5D)
    return isinstance(feature, arrays) or (isinstance(feature, lists) and isinstance(feature.feature, lists))


def _is_vector(feature: object) -> bool:
    """Whether a column holds numbers or lists, which are no input however they are saved."""
    if isinstance(feature, datasets.List | datasets.LargeList):
        return True
    return isinstance(feature, datasets.Value) and ("float" in feature.dtype or feature.dtype.startswith("decimal"))


def _is_empty(feature: object) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype == "null"


def _one_is_1(table: pa.Table, names: Sequence[str]) -> bool:
    """Whether in each row the columns, of 0 and 1, add up to 1."""
    total = sum(table.column(name).to_numpy().astype(int) for name in names)
    return bool(np.all(np.equal(total, 1)))


def _is_binary(values: object) -> bool:
    return set(pc.unique(values).to_pylist()) <= {0, 1}
