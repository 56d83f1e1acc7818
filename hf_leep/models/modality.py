"""A kind of input: everything that differs from one kind to another, in one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as version_on_disk
from importlib.util import find_spec

import datasets

from hf_leep.models.adapter import AnyAdapter

LABEL_NAMES = ("label", "labels")  # names of text columns that hold labels rather than inputs
TAG_NAMES = ("tags", "ner_tags", "pos_tags")  # the same of columns with lists of texts


@dataclass(frozen=True, kw_only=True)
class Modality:
    """Everything that differs from one kind of input to another.

    Attributes:
        name: such as ``image``.
        task: Hub task, such as ``image-classification``.
        unit: what an example is called, in the plural, such as ``images``.
        input_names: usual names of the input columns, the most usual first; two names are a pair.
        max_inputs: how many input columns a row can have.
        accepts: column name and its feature of ``datasets`` → whether the column can be an input.
        ambiguous: feature → whether a column of this kind may be something other than an input. If the data set also
            has a column of the modality ``ambiguous_beside``, it is an input only under one of the usual names.
        ambiguous_beside: name of that other modality.
        labels_words: whether each word of a row has a label, rather than the row.
        trainable: whether its candidates can be fine-tuned.
        missing_decoder: feature → a message that says what to install to decode it; None where nothing is missing.
        decoder: the libraries that decode and resize inputs, with their versions where results may depend on them;
            part of the key of a stored pass.
        adapter: how checkpoints are judged and loaded.
    """

    name: str
    task: str
    unit: str
    input_names: tuple[tuple[str, ...], ...]
    max_inputs: int = 1
    accepts: Callable[[str, object], bool]
    ambiguous: Callable[[object], bool] = lambda _feature: False
    ambiguous_beside: str | None = None
    labels_words: bool = False
    trainable: bool = True
    missing_decoder: Callable[[object], str | None] = lambda _feature: None
    decoder: Callable[[], str | None] = lambda: None
    adapter: AnyAdapter


version = cache(version_on_disk)  # asked for each candidate, and slow to read


def installed(packages: Sequence[str]) -> str:
    """The packages of a list that are installed, with their versions.

    Args:
        packages: names of packages.
    """
    return ", ".join(f"{name} {version(name)}" for name in packages if find_spec(name))


def files_need(package: str, kind: str) -> str | None:
    """What to install to decode files; None if it is installed.

    Args:
        package: the package that decodes them.
        kind: the kind of files, and the extra of hf-leep that brings the package.
    """
    return None if find_spec(package) else f'{kind} files need a decoder: pip install "hf-leep[{kind}]"'


def is_string(feature: object) -> bool:
    """Whether a column holds texts.

    Args:
        feature: its feature of ``datasets``.
    """
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")
