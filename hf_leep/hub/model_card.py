"""What the metadata of a model card says about a candidate. Its authors write it, so it may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from hf_leep.text import plain

_MAX_CARD = 2**20  # characters
MAX_NAME = 100
"""Characters of a licence or of the name of a data set: a report repeats them."""
MAX_ENTRIES = 100
"""Entries of a list; YAML can repeat one by reference, so that a small file holds very many."""
_ACCURACY = {"accuracy", "acc", "acc1", "top1", "top1acc", "top1accuracy", "accuracytop1"}  # letters and digits alone
_TOP_MORE = re.compile(r"(top|acc|@)[\W_]*([2-9]|1\d)")  # such as Top 5 Accuracy, which is stated as an accuracy, too


class Card(TypedDict):
    """What the metadata of a model card says about a candidate; see `Candidate`."""

    license: str | None
    trained_on: tuple[str, ...]
    stated_accuracy: float | None
    stated_on: str | None


def read(metadata: Mapping[str, object] | None) -> Card:
    """Read the metadata of a card; what is missing or of another type is taken as not stated.

    Args:
        metadata: the metadata, which may hold anything.
    """
    metadata = metadata if isinstance(metadata, Mapping) else {}
    stated, trained_on = metadata.get("license"), metadata.get("datasets")
    if isinstance(stated, list):
        stated = ", ".join(name[:MAX_NAME] for name in stated[:MAX_ENTRIES] if isinstance(name, str)) or None
    names = [trained_on] if isinstance(trained_on, str) else trained_on if isinstance(trained_on, list) else []
    task = metadata.get("pipeline_tag")
    accuracy, data_set = _accuracy(metadata.get("model-index"), task if isinstance(task, str) else None)
    return {
        "license": stated[:MAX_NAME] if isinstance(stated, str) else None,
        "trained_on": tuple(name[:MAX_NAME] for name in names[:MAX_ENTRIES] if isinstance(name, str)),
        "stated_accuracy": accuracy,
        "stated_on": data_set,
    }


def read_in(folder: Path) -> Card:
    """Read the metadata of the card in a folder, if there is one.

    Args:
        folder: the folder.
    """
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        with (folder / "README.md").open(encoding="utf-8-sig") as file:
            front_matter = REGEX_YAML_BLOCK.search(file.read(_MAX_CARD))
        return read(yaml.safe_load(front_matter.group(2)) if front_matter else None)
    except Exception:  # no card, or one that is not YAML: a candidate needs none
        return read(None)


def _accuracy(model_index: object, task: str | None) -> tuple[float | None, str | None]:
    """Find the first accuracy that a card states for its own task, and the data set that it was measured on.

    A card without a task may state results on several; those on any kind of classification are taken then.

    Args:
        model_index: what stands under ``model-index``.
        task: the task of the model; None where the card does not say.
    """
    for result in (one for model in _entries(model_index) for one in _entries(model.get("results"))):
        kind = _mapping(result.get("task")).get("type")
        if not isinstance(kind, str) or not (kind.endswith("-classification") if task is None else kind == task):
            continue
        for metric in _entries(result.get("metrics")):
            value = _share(metric.get("value")) if _is_accuracy(metric) else None
            if value is not None:
                return value, _data_set(_mapping(result.get("dataset")))
    return None, None


def _is_accuracy(metric: Mapping[object, object]) -> bool:
    kind, name = metric.get("type"), metric.get("name")
    if not isinstance(kind, str) or re.sub(r"[^a-z0-9]", "", kind.lower()) not in _ACCURACY:
        return False
    return not (isinstance(name, str) and _TOP_MORE.search(name.lower()))


def _share(value: object) -> float | None:
    """A stated accuracy as a share: a number above 1 is in percent. None if it is no number from 0 to 100."""
    if isinstance(value, Mapping):  # older versions of the Trainer wrote {"accuracy": 0.93}
        value = value.get("accuracy")
    in_percent = isinstance(value, str) and value.rstrip().endswith("%")
    if isinstance(value, str):
        value = value.rstrip().removesuffix("%")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if in_percent or found > 1:
        found /= 100
    return found if 0 <= found <= 1 else None


def _data_set(stated: Mapping[object, object]) -> str | None:
    """The name of a data set, with the split if that is stated."""
    names = [text for key in ("name", "type") if (text := _text(stated.get(key)))]
    split = _text(stated.get("split"))
    return (f"{names[0]} ({split})" if split else names[0]) if names else None


def _text(value: object) -> str:
    return plain(value[:MAX_NAME]).strip() if isinstance(value, str) else ""


def _entries(value: object) -> Iterator[Mapping[object, object]]:
    yield from (entry for entry in (value[:MAX_ENTRIES] if isinstance(value, list) else ()) if _mapping(entry))


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}
