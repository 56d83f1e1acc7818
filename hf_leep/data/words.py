"""Labelled words: a column of sentences, each a list of words, beside a column of their labels."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.data.labels import classes_of
from hf_leep.errors import TargetError, option
from hf_leep.text import counted, form

_NO_LABEL = -100  # how transformers marks what a loss must leave out
_ENOUGH_SENTENCES = 30  # with fewer, a standard error computed over sentences is a rough guess


@dataclass(frozen=True, eq=False)
class Words:
    """The labelled words of some sentences, in the order of the sentences.

    Attributes:
        codes: class of each word, ``[n]``.
        places: position of each word in its sentence, ``[n]``.
        offsets: number of words before each sentence, and in the end n, ``[sentences + 1]``.
        num_skipped: sentences that were left out because none of their words is labelled.
    """

    codes: Integers
    places: Integers
    offsets: Integers
    num_skipped: int = 0

    @property
    def counts(self) -> Integers:
        """Labelled words of each sentence, ``[sentences]``."""
        return np.diff(self.offsets)

    @property
    def sentences(self) -> Integers:
        """Sentence of each word, ``[n]``."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def of(self, chosen: Integers) -> Words:
        """The words of some of the sentences.

        Args:
            chosen: positions of the sentences, in the order wanted.
        """
        counts = self.counts[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], counts)
        return Words(self.codes[index], self.places[index], offsets, int((self.counts == 0).sum()))

    def split(self, values: Integers) -> list[Integers]:
        """Split an array with a value for each word by sentences.

        Args:
            values: the values, ``[n]``.
        """
        return np.split(values, self.offsets[1:-1])

    def tobytes(self) -> bytes:
        """Which words of each sentence are labelled, as bytes."""
        return self.offsets.astype("<i8").tobytes() + self.places.astype("<i8").tobytes()


def choose_sentences(
    found: datasets.Dataset, column: str, label_column: str, max_samples: int | None, rng: np.random.Generator
) -> tuple[Integers, Words, list[str], list[str]]:
    """Choose sentences with labelled words: all of them, or a random sample.

    Args:
        found: the split.
        column: the column of the sentences.
        label_column: the column of the labels.
        max_samples: number of sentences; all by default.
        rng: the random generator.

    Returns:
        Their rows, ascending; their labelled words; the names of all classes of the split; warnings about the choice.

    Raises:
        TargetError: the words cannot be used.
    """
    if len(found) == 1 and column not in ("tokens", "words"):
        raise TargetError(
            f"there is 1 row, of lists in the columns {column!r} and {label_column!r}: save a file of lists as JSON "
            "lines, one row a line"
        )
    words, class_names = read(found, column, label_column)
    row_ids = np.flatnonzero(words.counts)
    warnings = []
    if without := len(found) - len(row_ids):
        first = int(np.flatnonzero(words.counts == 0)[0])
        warnings.append(
            f"{without} of {len(found)} sentences {form(without, 'has', 'have')} no labelled word, and "
            f"{form(without, 'is', 'are')} left out, such as row {first}"
        )
    if max_samples is not None and max_samples < len(row_ids):
        row_ids = np.sort(rng.choice(row_ids, max_samples, replace=False))
    words = words.of(row_ids)
    if len(row_ids) < _ENOUGH_SENTENCES:
        warnings.append(
            f"the words are of {counted(len(row_ids), 'sentence')}; errors are computed over sentences, so they are "
            "rough guesses here"
        )
    if lost := len(class_names) - len(np.unique(words.codes)):
        warnings.append(
            f"{lost} of {len(class_names)} classes {form(lost, 'does', 'do')} not occur in the "
            f"{counted(len(row_ids), 'sentence')} of the sample, so no candidate is scored on "
            f"{form(lost, 'it', 'them')}: raise {option('max_samples')}"
        )
    return row_ids, words, class_names, warnings


def read(found: datasets.Dataset, column: str, label_column: str) -> tuple[Words, list[str]]:
    """Read the labelled words, and the names of the classes that occur; words labelled −100 are left out.

    Args:
        found: the split.
        column: the column of the sentences.
        label_column: the column of the labels.

    Raises:
        TargetError: something is missing, a sentence has another number of labels than of words, or a label is
            negative and not −100.
    """
    table = found.select_columns([column, label_column]).with_format("arrow")[:]
    flat = {}
    for name in (column, label_column):
        values = table.column(name)
        if number := values.null_count:
            raise TargetError(
                f"{number} of {len(found)} rows {form(number, 'has', 'have')} nothing in column {name!r}: drop "
                f"{form(number, 'it', 'them')}"
            )
        flat[name] = pc.list_flatten(values)
        if flat[name].null_count:
            raise TargetError(
                f"column {name!r} lacks {flat[name].null_count} of {len(flat[name])} "
                f"{'words' if name == column else 'labels'}: drop these rows, or mark words without a label with −100"
            )
    lengths, num_labels = (pc.list_value_length(table.column(name)).to_numpy() for name in (column, label_column))
    if (lengths != num_labels).any():
        row = int(np.argmax(lengths != num_labels))
        raise TargetError(
            f"row {row} has {counted(lengths[row], 'word')} in column {column!r} but "
            f"{counted(num_labels[row], 'label')} in column {label_column!r}: each word needs one"
        )
    labels: NDArray[np.generic] = flat[label_column].to_numpy()
    labelled = np.not_equal(labels, _NO_LABEL) if labels.dtype.kind == "i" else np.ones(len(labels), dtype=bool)
    if not labelled.any():
        raise TargetError(f"no word has a label in column {label_column!r}")
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    codes, class_names = classes_of(labels[labelled], found.features[label_column].feature, label_column)
    offsets = np.concatenate([[0], np.cumsum(labelled)])[ends]
    return Words(codes, places[labelled], offsets), class_names
