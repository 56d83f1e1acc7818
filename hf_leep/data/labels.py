"""Encode the labels of a split."""

from __future__ import annotations

from collections import Counter

import datasets
import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, option
from hf_leep.text import form


def encode(found: datasets.Dataset, column: str) -> tuple[Integers, list[str]]:
    """Encode the label column densely: ``[rows]`` codes and the names of the classes that occur.

    Args:
        found: the split.
        column: the label column.

    Raises:
        TargetError: some labels are missing or negative.
    """
    values = found.select_columns([column]).with_format("arrow")[:].column(0)
    if values.null_count:
        raise TargetError(
            f"{values.null_count} of {len(found)} rows {form(values.null_count, 'has', 'have')} no label in column "
            f"{column!r}: drop {form(values.null_count, 'it', 'them')} first"
        )
    return classes_of(values.to_numpy(), found.features[column], column)


def classes_of(labels: NDArray[np.generic], feature: object, column: str) -> tuple[Integers, list[str]]:
    """Encode labels densely: ``[n]`` codes and the names of the classes that occur.

    Args:
        labels: the labels, ``[n]``.
        feature: their feature of ``datasets``.
        column: name of the label column, for messages.

    Raises:
        TargetError: some are negative, or beyond the declared classes.
    """
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    if labels.dtype.kind == "i" and (below := np.less(labels, 0)).any():
        negative, times = Counter(labels[below].tolist()).most_common(1)[0]
        advice = "" if names else f"; if {negative} is a class of its own, save the labels as words"
        if times == len(labels):
            raise TargetError(
                f"every label in column {column!r} is {negative}, which usually marks rows without a label, "
                f"as in test splits: choose another {option('split')}, or another {option('label')}"
            )
        raise TargetError(
            f"{times} of {len(labels)} labels in column {column!r} {form(times, 'is', 'are')} {negative}, which "
            f"usually marks rows without a label: drop {form(times, 'this row', 'these rows')}{advice}"
        )
    classes, codes = np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True)
    if names is not None and len(classes) and int(classes[-1]) >= len(names):
        beyond = int(np.greater_equal(labels, len(names)).sum())
        raise TargetError(
            f"{beyond} of {len(labels)} labels in column {column!r} {form(beyond, 'is', 'are')} outside its "
            f"{len(names)} declared classes (0 to {len(names) - 1}, {', '.join(map(str, names[:5]))}), such as "
            f"{int(classes[-1])}: correct {form(beyond, 'it', 'them')}"
        )
    return codes, [str(names[int(value)] if names else value) for value in classes]  # a card may make a boolean of no
