"""A split → Target and rows: find the data set, its columns and labels, and take a seeded sample."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from hf_leep.arrays import Integers
from hf_leep.data.columns import Modality, check_label, encode, find_inputs, find_label
from hf_leep.data.content import count_duplicates, digests_of
from hf_leep.data.source import Pin, bars, open_split
from hf_leep.data.stream import sample
from hf_leep.data.words import Words, choose_sentences
from hf_leep.errors import TargetError, one_line
from hf_leep.records import Target

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Rows:
    """The chosen rows, read and decoded on demand; an example that cannot be decoded is named by its row.

    Attributes:
        dataset: the split, with the input columns only.
        row_ids: the chosen positions in it, ``[n]``.
        place: what the positions count in.
        words: where words are labelled, those of the chosen rows; a row's input is then
            ``{"words": [...], "labelled": [places in it]}``.
    """

    dataset: datasets.Dataset
    row_ids: Integers
    place: str = "the split"
    words: Words | None = None

    def __len__(self) -> int:
        """Number of chosen rows n."""
        return len(self.row_ids)

    @property
    def offsets(self) -> Integers | None:
        """Where words are labelled: number of examples before each row, and in the end of all, ``[rows + 1]``."""
        return None if self.words is None else self.words.offsets

    def part(self, positions: Integers) -> Rows:
        """Some of these rows.

        Args:
            positions: which, ascending.
        """
        words = None if self.words is None else self.words.of(positions)
        return Rows(self.dataset, self.row_ids[positions], self.place, words)

    def lengths(self) -> Integers | None:
        """Characters of each row's texts, or its words, ``[n]``; None where the inputs are neither."""
        texts = [name for name, feature in self.dataset.features.items() if isinstance(feature, datasets.Value)]
        if len(texts) != len(self.dataset.features) and self.words is None:
            return None
        stored = self.dataset.with_format("arrow")
        parts = []
        for start in range(0, len(self), _ROWS_AT_ONCE):
            table = stored[self.row_ids[start : start + _ROWS_AT_ONCE].tolist()]
            if self.words is not None:
                parts.append(pc.list_value_length(table.column(0)).to_numpy())
            else:
                parts.append(sum(pc.utf8_length(table[name]).to_numpy() for name in texts))
        return np.concatenate(parts).astype(np.int64)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode one row."""
        row_id = int(self.row_ids[index])
        try:
            row = dict(self.dataset[row_id])
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on a broken file
            raise TargetError(f"row {row_id} of {self.place} cannot be decoded: {one_line(error)}") from None
        if self.words is None:
            return row
        start, end = self.words.offsets[index], self.words.offsets[index + 1]
        labelled = self.words.places[start:end].tolist()
        return {column: {"words": words, "labelled": labelled} for column, words in row.items()}


def load(
    dataset: Any,
    modalities: Sequence[Modality],
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    inputs: str | Sequence[str] | None = None,
    max_samples: int | None = None,
    streaming: bool = False,
    seed: int = 0,
    progress: bool = True,
    pin: Pin | None = None,
    token: str | bool | None = None,
) -> tuple[Target, Rows]:
    """Choose the labelled examples that candidates are ranked on.

    Args:
        dataset: a ``datasets.Dataset`` or ``DatasetDict``; a Hub id; a folder or file (parquet, CSV, JSON, arrow,
            imagefolder, audiofolder, videofolder); a ``save_to_disk`` folder; or, with ``max_samples``, an
            ``IterableDataset`` or ``IterableDatasetDict``.
        modalities: the kinds of input, `hf_leep.models.MODALITIES`: the first whose column is found is taken.
        config: configuration, where the data set has several.
        split: split, slices such as ``train[:20%]`` included; may be left out if there is only one.
        revision: revision of a Hub data set.
        label: label column; by default one named ``label`` or ``labels``, then the only ClassLabel.
        inputs: input column, or two text columns; by default those of a usual name, then the only one of its type.
        max_samples: size of a stratified sample; all rows by default. Where words are labelled, it counts sentences,
            drawn at random.
        streaming: read only a sample of ``max_samples`` rows from the Hub, drawn as `hf_leep.data.stream` says:
            seeded, from places spread over the whole split, but not stratified.
        seed: seed of the sample.
        progress: let ``datasets`` show its bars while it prepares the data set.
        pin: data set on the Hub and revision → the commit to read, None to read the revision as it is.
        token: for data sets on the Hub, as `hf_leep.hub.Client` has it.

    Raises:
        TargetError: the data set, split, columns or labels cannot be used; the message says what to choose instead.
    """
    if max_samples is not None and (not isinstance(max_samples, int) or max_samples < 2):
        raise TargetError(f"--max-samples is {max_samples}; a score needs a whole number of at least 2 examples")
    if streaming and max_samples is None:
        raise TargetError("--streaming reads a sample: say how many rows with --max-samples N")
    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict) and max_samples is None:
        raise TargetError(
            "a streaming data set is sampled: say how many rows with --max-samples N, or load it with streaming=False"
        )
    drawn = None
    with bars(progress):
        found, name, sha, splits = open_split(
            dataset, config, split, revision, streaming=streaming, pin=pin, token=token
        )
        if isinstance(found, datasets.IterableDataset):
            stated = found.info.splits if streaming else None  # an object's may be from before a filter or a take
            drawn = sample(found, max_samples or 0, seed, name, token)
            found = drawn.dataset
    found = found.with_format(None)  # a format or transform of the caller's would change what is read
    num_rows = len(found)
    if drawn is not None and not drawn.whole and stated and splits[0] in stated:
        num_rows = max(num_rows, stated[splits[0]].num_examples or 0)
    if len(found) == 0:
        raise TargetError(f"{name}, split {split or found.split}: there are no rows")
    check_label(found, label)
    modality, input_columns = find_inputs(found, modalities, inputs, label)
    for column in input_columns:
        if missing := modality.missing_decoder(found.features[column]):
            raise TargetError(missing)
    label_column = find_label(found, label, modality, input_columns)
    rng = np.random.default_rng(seed)
    words = None
    if modality.labels_words:
        row_ids, words, class_names, warnings = choose_sentences(
            found, input_columns[0], label_column, max_samples, rng
        )
        codes = words.codes
        num_rows -= words.num_skipped
    else:
        row_ids, codes, class_names, warnings = _choose_rows(found, label_column, max_samples, rng)
    if drawn is not None and not drawn.whole:
        warnings += [drawn.caveat, *_missing_classes(found, label_column, len(class_names))]
    kept, labels = np.unique(codes, return_inverse=True)
    class_names = [class_names[code] for code in kept]
    if len(kept) < 2:
        raise TargetError(
            f"all {len(labels)} labels in column {label_column!r} are {class_names[0]!r}; "
            "a score needs at least two classes"
        )
    digests = digests_of(found, input_columns, row_ids)
    inputs_read = b"".join(digests) + (words.tobytes() if words else b"")
    labels_of_row = labels.tolist() if words is None else [part.tobytes() for part in words.split(labels)]
    duplicates, conflicting = count_duplicates(digests, labels_of_row)
    warnings += _warnings(splits, "rows" if words is None else "sentences", len(row_ids), duplicates, conflicting)
    content = inputs_read + labels.astype("<i8").tobytes() + "\0".join(class_names).encode()
    target = Target(
        dataset=name,
        config=config,
        split=split or (str(found.split) if found.split else None),
        revision=sha,
        fingerprint=f"sha256:{hashlib.sha256(content).hexdigest()}",
        input_fingerprint=f"sha256:{hashlib.sha256(inputs_read).hexdigest()}",
        input_columns=input_columns,
        label_column=label_column,
        modality=modality.name,
        task=modality.task,
        unit=modality.unit,
        row_ids=row_ids,
        labels=labels,
        class_names=tuple(class_names),
        num_rows=num_rows,
        seed=seed,
        streamed=drawn is not None and not drawn.whole,
        num_duplicates=duplicates,
        sentences=None if words is None else words.sentences,
        words=None if words is None else words.places,
        warnings=tuple(warnings),
    )
    place = "the streamed sample" if target.streamed else "the split"
    seen = found.select_columns(list(input_columns))
    for column in input_columns:  # decoded by the adapter, at the rate of each model
        if isinstance(feature := found.features[column], datasets.Audio | datasets.Video):
            seen = seen.cast_column(column, type(feature)(decode=False))
    return target, Rows(seen, row_ids, place, words)


def _choose_rows(
    found: datasets.Dataset, label_column: str, max_samples: int | None, rng: np.random.Generator
) -> tuple[Integers, Integers, list[str], list[str]]:
    """Rows, the class of each, the names of all classes, and what to know of the choice."""
    codes, class_names = encode(found, label_column)
    if max_samples is None or max_samples >= len(found):
        return np.arange(len(found)), codes, class_names, []
    row_ids = stratified_sample(codes, max_samples, rng)
    warnings = []
    if max_samples < len(class_names):
        warnings.append(f"{max_samples} samples cannot hold all {len(class_names)} classes: some are left out")
    return row_ids, codes[row_ids], class_names, warnings


def stratified_sample(codes: Integers, size: int, rng: np.random.Generator) -> Integers:
    """Draw ``size`` rows without replacement, in proportion to the classes; ascending positions, ``[size]``.

    Quotas are rounded by largest remainder; every class keeps an example as long as ``size`` allows.

    Args:
        codes: class of each row, ``[n]``, 0 … t−1, all occurring.
        size: rows to draw, at most n.
        rng: where the randomness comes from.
    """
    counts = np.bincount(codes)
    exact = size * counts / len(codes)
    quota = np.floor(exact).astype(np.int64)
    if size >= len(counts):
        quota = np.maximum(quota, 1)
    while quota.sum() < size:  # largest remainders first; ties go to the lower class
        short = np.argsort(quota - exact, kind="stable")[: size - quota.sum()]
        quota[short] += 1
    while quota.sum() > size:  # the guaranteed examples are paid for by the classes with most to spare
        quota[np.argmax(quota - exact + (quota > 1) * len(codes))] -= 1
    drawn = [rng.permutation(np.flatnonzero(codes == c))[: quota[c]] for c in range(len(counts))]
    return np.sort(np.concatenate(drawn))


def _missing_classes(found: datasets.Dataset, column: str, occurring: int) -> list[str]:
    """Say how many of the classes that the data set states the sample lacks."""
    feature = getattr(found.features[column], "feature", found.features[column])
    stated = len(feature.names) if isinstance(feature, datasets.ClassLabel) else occurring
    if occurring == stated:
        return []
    return [
        f"{stated - occurring} of the {stated} classes do not occur in the streamed sample, so no candidate is scored "
        "on them: raise --max-samples, or leave out --streaming for a stratified sample"
    ]


def _warnings(splits: Sequence[str], what: str, num_rows: int, duplicates: int, conflicting: int) -> list[str]:
    found = []
    if any(re.match(r"test(\b|_|\d)", split) for split in splits):
        found.append(
            "these are test rows: choosing a model on them spoils the test set, so measure the chosen model elsewhere"
        )
    if duplicates:
        found.append(
            f"{duplicates} of {num_rows} {what} repeat an earlier {what[:-1]} exactly ({conflicting} of them with "
            "another label): leave-one-out scores see their copies"
        )
    return found
