"""Find the input and label columns of a split, and encode the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, option

# Names that win where several columns fit; two names are a pair.
_INPUT_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "video": (("video",), ("videos",), ("frames",)),
    "image": (("image",), ("images",), ("img",)),
    "audio": (("audio",), ("speech",)),
    "token": (("tokens",), ("words",)),
    "text": (
        ("text",),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("text1", "text2"),
        ("question", "sentence"),
        ("sentence",),
    ),
}
_MOST_INPUTS = {"video": 1, "image": 1, "audio": 1, "token": 1, "text": 2}
_LABEL_NAMES = ("label", "labels")
_TAG_NAMES = ("tags", "ner_tags", "pos_tags")  # of columns that label words


def check_label(found: datasets.Dataset, label: str | None) -> None:
    """Refuse a label that is there and can label nothing, before it is missed among the inputs."""
    fitting = [name for name, held in found.features.items() if _can_be_label(held) or _can_label_words(held)]
    if label is not None and label in found.features and label not in fitting:
        raise TargetError(
            f"column {label!r} holds {_type(found, label)}, no classes: {option('label')} can be {_listed(fitting)}"
        )


def find_inputs(
    found: datasets.Dataset, inputs: str | Sequence[str] | None, label: str | None
) -> tuple[str, tuple[str, ...]]:
    """Find the modality and the input columns."""
    columns = {m: [c for c in _columns_of(found, m) if c != label] for m in _INPUT_NAMES}
    if label in found.features and (columns["token"] or not _is_list(found.features[label])):
        # What is labelled, words or whole rows, is what can be the input.
        of_words = _can_label_words(found.features[label])
        columns = {m: names if (m == "token") == of_words else [] for m, names in columns.items()}
    elif inputs is None and not _words_are_labelled(found):
        columns["token"] = []
    fitting = [name for names in columns.values() for name in names]
    if inputs is not None:
        chosen = tuple(inputs.split(",")) if isinstance(inputs, str) else tuple(inputs)
        for column in chosen:
            if column not in found.features:
                raise TargetError(f"no column {column!r}: {option('input')} can be {_listed(fitting)}")
        for modality, names in columns.items():
            if set(chosen) <= set(names) and len(chosen) <= _MOST_INPUTS[modality]:
                return modality, chosen
        held = ", ".join(f"{column} ({_type(found, column)})" for column in chosen)
        raise TargetError(
            f"{option('input')} {held}: that is no image, video or audio, no list of words, and not one or two texts; "
            f"it can be {_listed(fitting)}"
        )
    # Videos, images and sounds first: beside them, texts are mostly file names, captions and transcripts.
    for modality, names in columns.items():
        if modality == "video" and columns["image"]:  # beside an image, a list of images may be anything
            names = [
                n for n in names if isinstance(found.features[n], datasets.Video) or (n,) in _INPUT_NAMES["video"]
            ]
        usual = [usual for usual in _INPUT_NAMES[modality] if set(usual) <= set(names)]
        if usual or len(names) == 1:
            return modality, (usual or [tuple(names)])[0]
        if names:
            raise TargetError(f"which {modality} column is the input? {option('input')} can be {_listed(names)}")
    raise TargetError(f"no image, video, audio or text column, and no words; the columns are {_columns(found)}")


def _columns_of(found: datasets.Dataset, modality: str) -> list[str]:
    """Columns that can be an input of that modality; a text named as the label is none."""
    if modality == "video":
        return [name for name, feature in found.features.items() if _can_be_watched(feature)]
    if modality == "image":
        return [name for name, feature in found.features.items() if isinstance(feature, datasets.Image)]
    if modality == "audio":
        return [name for name, feature in found.features.items() if _can_be_heard(feature)]
    if modality == "token":
        return [
            name
            for name, feature in found.features.items()
            if _is_list(feature)
            and isinstance(feature.feature, datasets.Value)
            and feature.feature.dtype in ("string", "large_string")
            and name not in (*_LABEL_NAMES, *_TAG_NAMES)
        ]
    return [
        name
        for name, feature in found.features.items()
        if isinstance(feature, datasets.Value)
        and feature.dtype in ("string", "large_string")
        and name not in _LABEL_NAMES
    ]


def _can_be_watched(feature: Any) -> bool:
    """Whether a column holds video files, or lists of frames."""
    return isinstance(feature, datasets.Video) or isinstance(getattr(feature, "feature", None), datasets.Image)


def _can_be_heard(feature: Any) -> bool:
    """Whether a column holds audio files, or samples beside their sampling rate."""
    if isinstance(feature, Mapping) and {"array", "sampling_rate"} <= set(feature):
        samples = feature["array"]
        return isinstance(samples, datasets.List) and isinstance(samples.feature, datasets.Value)
    return isinstance(feature, datasets.Audio)


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


def find_label(found: datasets.Dataset, label: str | None, modality: str, input_columns: tuple[str, ...]) -> str:
    """Find the label column."""
    fits = _can_label_words if modality == "token" else _can_be_label
    possible: list[str] = [name for name in found.features if name not in input_columns and fits(found.features[name])]
    if label is not None:
        if label not in found.features:
            raise TargetError(f"no column {label!r}: {option('label')} can be {_listed(possible)}")
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
    if modality == "token" and len(tags) == 1 and not named and not classes:
        return tags[0]
    if not possible and modality == "token":
        raise TargetError(f"no column can label words (lists of classes, integers or strings): {_columns(found)}")
    if not possible:
        words = [name for name, feature in found.features.items() if _can_label_words(feature)]
        hint = f"; labels of words are chosen with {option('label')}: {_listed(words)}" if len(words) > 1 else ""
        raise TargetError(
            f"no column can be the label (classes, integers, booleans or strings): {_columns(found)}{hint}"
        )
    raise TargetError(f"which column is the label? {option('label')} can be {_listed(possible)}")


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
