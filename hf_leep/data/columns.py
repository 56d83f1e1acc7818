"""Find the input and label columns of a split, and encode the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import datasets
import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, option


class Modality(Protocol):
    """A kind of input, as far as its columns and labels go; see `hf_leep.models.Modality`."""

    @property
    def name(self) -> str:
        """Such as ``image``."""

    @property
    def task(self) -> str:
        """Hub task."""

    @property
    def unit(self) -> str:
        """What an example is called, in the plural."""

    @property
    def input_names(self) -> Sequence[tuple[str, ...]]:
        """Usual names of the input columns; two names are a pair."""

    @property
    def max_inputs(self) -> int:
        """How many input columns a row can have."""

    @property
    def accepts(self) -> Callable[[str, object], bool]:
        """Whether a column of that name and feature can be an input."""

    @property
    def ambiguous(self) -> Callable[[object], bool]:
        """Whether a column of that feature may be something other than an input."""

    @property
    def ambiguous_beside(self) -> str | None:
        """The modality beside whose columns that is so."""

    @property
    def labels_words(self) -> bool:
        """Whether each word of a row has a label, rather than the row."""

    @property
    def missing_decoder(self) -> Callable[[object], str | None]:
        """What to install to decode a feature; None where nothing is missing."""


_LABEL_NAMES = ("label", "labels")
_TAG_NAMES = ("tags", "ner_tags", "pos_tags")  # of columns that label words


def check_label(found: datasets.Dataset, label: str | None) -> None:
    """Raise TargetError if the column that the user names as the label cannot be one.

    Args:
        found: the split.
        label: the column, if the user names one.

    Raises:
        TargetError: the column exists, but holds no classes.
    """
    fitting = [name for name, held in found.features.items() if _can_be_label(held) or _can_label_words(held)]
    if label is not None and label in found.features and label not in fitting:
        raise TargetError(
            f"column {label!r} holds {_type(found, label)}, no classes: {option('label')} can be {_listed(fitting)}"
        )


def find_inputs(
    found: datasets.Dataset, modalities: Sequence[Modality], inputs: str | Sequence[str] | None, label: str | None
) -> tuple[Modality, tuple[str, ...]]:
    """Find the modality and the input columns.

    Args:
        found: the split.
        modalities: the kinds of input; the first whose column is found is taken.
        inputs: the input columns that the user names, if any.
        label: the label column that the user names, if any.

    Raises:
        TargetError: no column can be the input, or several can.
    """
    by_name = {modality.name: modality for modality in modalities}
    columns = {
        key: [name for name, feature in found.features.items() if name != label and modality.accepts(name, feature)]
        for key, modality in by_name.items()
    }
    of_words = {key for key, modality in by_name.items() if modality.labels_words}
    if label in found.features and (any(columns[key] for key in of_words) or not _is_list(found.features[label])):
        # If words are labelled, the input is a list of words, and otherwise it is not.
        labels_words = _can_label_words(found.features[label])
        columns = {key: names if (key in of_words) == labels_words else [] for key, names in columns.items()}
    elif inputs is None and not _words_are_labelled(found):
        columns |= {key: [] for key in of_words}
    fitting = [name for names in columns.values() for name in names]
    if inputs is not None:
        return _check_inputs(found, by_name, columns, inputs, fitting)
    for key, names in columns.items():
        modality = by_name[key]
        if columns.get(modality.ambiguous_beside or ""):
            names = [n for n in names if (n,) in modality.input_names or not modality.ambiguous(found.features[n])]
        usual = [usual for usual in modality.input_names if set(usual) <= set(names)]
        if usual or len(names) == 1:
            return modality, (usual or [tuple(names)])[0]
        if names:
            raise TargetError(f"which {modality.name} column is the input? {option('input')} can be {_listed(names)}")
    raise TargetError(f"no column of {_units(modalities)}; the columns are {_columns(found)}")


def _check_inputs(
    found: datasets.Dataset,
    by_name: Mapping[str, Modality],
    columns: Mapping[str, Sequence[str]],
    inputs: str | Sequence[str],
    fitting: Sequence[str],
) -> tuple[Modality, tuple[str, ...]]:
    """Check the input columns that the user names."""
    chosen = tuple(inputs.split(",")) if isinstance(inputs, str) else tuple(inputs)
    for column in chosen:
        if column not in found.features:
            raise TargetError(
                f"no column {column!r}: {option('input')} can be {_listed(fitting)}; the columns are {_columns(found)}"
            )
    most = max(modality.max_inputs for modality in by_name.values())
    if len(chosen) > most:
        raise TargetError(f"{option('input')} names {len(chosen)} columns, {', '.join(chosen)}; {most} are the most")
    for key, names in columns.items():
        if set(chosen) <= set(names) and len(chosen) <= by_name[key].max_inputs:
            return by_name[key], chosen
    held = ", ".join(f"{column} ({_type(found, column)})" for column in chosen)
    modalities = list(by_name.values())
    pairs = " and ".join(modality.unit for modality in modalities if modality.max_inputs > 1)
    raise TargetError(
        f"{option('input')} {held} cannot be the input ({_units(modalities)}; two columns only of {pairs}): "
        f"it can be {_listed(fitting)}"
    )


def _words_are_labelled(found: datasets.Dataset) -> bool:
    """Whether the label is of words: a column named for labels or of classes labels words, and none labels rows."""
    usual = (*_LABEL_NAMES, *_TAG_NAMES)
    classes = {
        name: feature
        for name, feature in found.features.items()
        if name in usual or isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)
    }
    return any(map(_can_label_words, classes.values())) and not any(map(_can_be_label, classes.values()))


def find_label(found: datasets.Dataset, label: str | None, modality: Modality, input_columns: tuple[str, ...]) -> str:
    """Find the label column.

    Args:
        found: the split.
        label: the column that the user names, if any.
        modality: the modality of the inputs.
        input_columns: the input columns.

    Raises:
        TargetError: no column can be the label, or several can.
    """
    fits = _can_label_words if modality.labels_words else _can_be_label
    possible: list[str] = [name for name in found.features if name not in input_columns and fits(found.features[name])]
    if label is not None:
        if label not in found.features:
            raise TargetError(
                f"no column {label!r}: {option('label')} can be {_listed(possible)}; the columns are {_columns(found)}"
            )
        if label not in possible:
            raise TargetError(
                f"column {label!r} holds {_type(found, label)}, no classes: "
                f"{option('label')} can be {_listed(possible)}"
            )
        return label
    named = [name for name in _LABEL_NAMES if name in possible]
    if len(named) == 1:
        return named[0]
    held = {name: getattr(found.features[name], "feature", found.features[name]) for name in possible}
    classes = [name for name, feature in held.items() if isinstance(feature, datasets.ClassLabel)]
    if len(classes) == 1 and not named:
        return classes[0]
    tags = [name for name in _TAG_NAMES if name in possible]
    if modality.labels_words and len(tags) == 1 and not named and not classes:
        return tags[0]
    if not possible and modality.labels_words:
        raise TargetError(f"no column can label words (lists of classes, integers or strings): {_columns(found)}")
    if not possible:
        words = [name for name, feature in found.features.items() if _can_label_words(feature)]
        hint = f"; labels of words are chosen with {option('label')}: {_listed(words)}" if len(words) > 1 else ""
        raise TargetError(
            f"no column can be the label (classes, integers, booleans or strings): {_columns(found)}{hint}"
        )
    raise TargetError(f"which column is the label? {option('label')} can be {_listed(possible)}")


def _can_be_label(feature: object) -> bool:
    if isinstance(feature, datasets.ClassLabel):
        return True
    kinds = ("int", "uint", "bool", "string", "large_string")
    return isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in kinds


def _can_label_words(feature: object) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList) and _can_be_label(feature.feature)


def _is_list(feature: object) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList)


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
            f"{values.null_count} of {len(found)} rows have no label in column {column!r}: drop them first"
        )
    return classes_of(values.to_numpy(), found.features[column], column)


def classes_of(labels: NDArray[np.generic], feature: object, column: str) -> tuple[Integers, list[str]]:
    """Encode labels densely: ``[n]`` codes and the names of the classes that occur.

    Args:
        labels: the labels, ``[n]``.
        feature: their feature of ``datasets``.
        column: name of the label column, for messages.

    Raises:
        TargetError: some are negative.
    """
    if labels.dtype.kind == "i" and (below := np.less(labels, 0)).any():
        negative, times = Counter(labels[below].tolist()).most_common(1)[0]
        raise TargetError(
            f"{times} of {len(labels)} labels in column {column!r} are {negative} (unlabelled): drop these rows first"
        )
    classes, codes = np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True)
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    return codes, [names[int(value)] if names else str(value) for value in classes]


def _type(found: datasets.Dataset, column: str) -> str:
    return _kind(found.features[column])


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.List | datasets.LargeList):
        return f"list of {_kind(feature.feature)}"
    name: str = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
    return name


def _columns(found: datasets.Dataset) -> str:
    return ", ".join(f"{name} ({_type(found, name)})" for name in found.features)


def _units(modalities: Sequence[Modality]) -> str:
    """The kinds of input, as ``images, texts or words``."""
    *others, last = [modality.unit for modality in modalities]
    return f"{', '.join(others)} or {last}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none: no column fits"
