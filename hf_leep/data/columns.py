"""Find the input and label columns of a split, and encode the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import datasets
import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError


class Modality(Protocol):
    """What is asked of a modality here; see hf_leep.models.modalities."""

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
        """Whether a column of that feature may as well be something else."""

    @property
    def ambiguous_beside(self) -> str | None:
        """The modality beside whose columns it may."""

    @property
    def labels_words(self) -> bool:
        """Whether the words of a row are labelled, and not the row."""

    @property
    def missing_decoder(self) -> Callable[[object], str | None]:
        """What to install so that the content of a feature can be decoded."""


_LABEL_NAMES = ("label", "labels")
_TAG_NAMES = ("tags", "ner_tags", "pos_tags")  # of columns that label words


def check_label(found: datasets.Dataset, label: str | None) -> None:
    """Refuse a label that is there and can label nothing, before it is missed among the inputs."""
    fitting = [name for name, held in found.features.items() if _can_be_label(held) or _can_label_words(held)]
    if label is not None and label in found.features and label not in fitting:
        raise TargetError(
            f"column {label!r} holds {_type(found, label)}, no classes: --label can be {_listed(fitting)}"
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
    columns = {
        k: [name for name, feature in found.features.items() if name != label and modality.accepts(name, feature)]
        for k, modality in enumerate(modalities)
    }
    of_words = [k for k, modality in enumerate(modalities) if modality.labels_words]
    if label in found.features and (any(columns[k] for k in of_words) or not _is_list(found.features[label])):
        # If words are labelled, the input is a list of words, and otherwise it is not.
        labels_words = _can_label_words(found.features[label])
        columns = {k: names if modalities[k].labels_words == labels_words else [] for k, names in columns.items()}
    elif inputs is None and not _words_are_labelled(found):
        columns.update({k: [] for k in of_words})
    fitting = [name for names in columns.values() for name in names]
    if inputs is not None:
        return _named(found, modalities, columns, inputs, fitting)
    for k, names in columns.items():
        modality = modalities[k]
        if any(names and modalities[j].name == modality.ambiguous_beside for j, names in columns.items()):
            names = [n for n in names if (n,) in modality.input_names or not modality.ambiguous(found.features[n])]
        usual = [usual for usual in modality.input_names if set(usual) <= set(names)]
        if usual or len(names) == 1:
            return modality, (usual or [tuple(names)])[0]
        if names:
            raise TargetError(f"which {modality.name} column is the input? --input can be {_listed(names)}")
    raise TargetError(f"no image, video, audio or text column, and no words; the columns are {_columns(found)}")


def _named(
    found: datasets.Dataset,
    modalities: Sequence[Modality],
    columns: Mapping[int, Sequence[str]],
    inputs: str | Sequence[str],
    fitting: Sequence[str],
) -> tuple[Modality, tuple[str, ...]]:
    """Check the input columns that the user names."""
    chosen = tuple(inputs.split(",")) if isinstance(inputs, str) else tuple(inputs)
    for column in chosen:
        if column not in found.features:
            raise TargetError(f"no column {column!r}: --input can be {_listed(fitting)}")
    for k, names in columns.items():
        if set(chosen) <= set(names) and len(chosen) <= modalities[k].max_inputs:
            return modalities[k], chosen
    held = ", ".join(f"{column} ({_type(found, column)})" for column in chosen)
    raise TargetError(
        f"--input {held}: that is no image, video or audio, no list of words, and not one or two texts; "
        f"it can be {_listed(fitting)}"
    )


def _words_are_labelled(found: datasets.Dataset) -> bool:
    """Whether the labels are of words, where nobody says so: their column is called so or holds classes.

    A column of classes, or one called label, that labels whole rows comes first.
    """
    usual = (*_LABEL_NAMES, *_TAG_NAMES)
    classes = {
        name: feature
        for name, feature in found.features.items()
        if name in usual or isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)
    }
    return any(map(_can_label_words, classes.values())) and not any(map(_can_be_label, classes.values()))


def find_label(found: datasets.Dataset, label: str | None, modality: Modality, input_columns: tuple[str, ...]) -> str:
    """Find the label column."""
    fits = _can_label_words if modality.labels_words else _can_be_label
    possible: list[str] = [name for name in found.features if name not in input_columns and fits(found.features[name])]
    if label is not None:
        if label not in found.features:
            raise TargetError(f"no column {label!r}: --label can be {_listed(possible)}")
        if label not in possible:
            raise TargetError(
                f"column {label!r} holds {_type(found, label)}, no classes: --label can be {_listed(possible)}"
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
        hint = f"; labels of words are chosen with --label: {_listed(words)}" if len(words) > 1 else ""
        raise TargetError(
            f"no column can be the label (classes, integers, booleans or strings): {_columns(found)}{hint}"
        )
    raise TargetError(f"which column is the label? --label can be {_listed(possible)}")


def _can_be_label(feature: Any) -> bool:
    if isinstance(feature, datasets.ClassLabel):
        return True
    kinds = ("int", "uint", "bool", "string", "large_string")
    return isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in kinds


def _can_label_words(feature: Any) -> bool:
    return _is_list(feature) and _can_be_label(feature.feature)


def _is_list(feature: Any) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList)


def encode(found: datasets.Dataset, column: str) -> tuple[Integers, list[str]]:
    """Encode the label column densely: ``[rows]`` codes and the names of the classes that occur."""
    values = found.select_columns([column]).with_format("arrow")[:].column(0)
    if values.null_count:
        raise TargetError(
            f"{values.null_count} of {len(found)} rows have no label in column {column!r}: drop them first"
        )
    return classes_of(values.to_numpy(), found.features[column], column)


def classes_of(array: NDArray[Any], feature: Any, column: str) -> tuple[Integers, list[str]]:
    """Encode labels densely: ``[n]`` codes and the names of the classes that occur.

    Args:
        array: the labels, ``[n]``.
        feature: what they are.
        column: the column that they are from.

    Raises:
        TargetError: some are negative.
    """
    if array.dtype.kind == "i" and (array < 0).any():
        negative, times = Counter(array[array < 0].tolist()).most_common(1)[0]
        raise TargetError(
            f"{times} of {len(array)} labels in column {column!r} are {negative} (unlabelled): drop these rows first"
        )
    classes, codes = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    return codes, [names[int(value)] if names else str(value) for value in classes]


def _type(found: datasets.Dataset, column: str) -> str:
    return _kind(found.features[column])


def _kind(feature: Any) -> str:
    if _is_list(feature):
        return f"list of {_kind(feature.feature)}"
    name: str = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
    return name


def _columns(found: datasets.Dataset) -> str:
    return ", ".join(f"{name} ({_type(found, name)})" for name in found.features)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none: no column fits"
