"""A data set → the target and its rows: find the split, its columns and labels, and take a seeded sample."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import numpy as np

from hf_leep.arrays import Integers
from hf_leep.data import delimited
from hf_leep.data.columns import Modality, check_label, find_inputs, find_label
from hf_leep.data.content import count_duplicates, read_digests
from hf_leep.data.contents import (
    absent_classes,
    check_lost,
    check_repeated,
    check_slice,
    empty_texts,
    odd_pictures,
    odd_sounds,
    single_rows,
    without_holes,
)
from hf_leep.data.hints import notes
from hf_leep.data.labels import encode
from hf_leep.data.named_files import check_not_named, check_not_numbered, open_named_files
from hf_leep.data.rows import Rows as Rows
from hf_leep.data.source import DatasetLike as DatasetLike
from hf_leep.data.source import Pin, bars, open_split
from hf_leep.data.stream import Sample, sample
from hf_leep.data.words import Words, choose_sentences
from hf_leep.errors import TargetError, option
from hf_leep.options import check_count
from hf_leep.records import BadRow, Target
from hf_leep.text import first_few, form


def load(
    dataset: DatasetLike,
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
    skip_bad_rows: int = 0,
    progress: bool = True,
    pin: Pin | None = None,
    token: str | bool | None = None,
) -> tuple[Target, Rows]:
    """Choose the labelled examples that candidates are ranked on.

    Args:
        dataset: a ``datasets.Dataset`` or ``DatasetDict``; a Hub id; a folder or file (parquet, CSV, JSON, arrow,
            imagefolder, audiofolder, videofolder); a ``save_to_disk`` folder; or, with ``max_samples``, an
            ``IterableDataset`` or ``IterableDatasetDict``.
        modalities: the kinds of input, `hf_leep.models.MODALITIES`; the first that has a column is used.
        config: configuration, where the data set has several.
        split: split, slices such as ``train[:20%]`` included; may be left out if there is only one.
        revision: revision of a data set on the Hub.
        label: label column; by default one named ``label`` or ``labels``, else the only ClassLabel.
        inputs: input column, or two text columns; by default those of a usual name, else the only one of its type.
        max_samples: size of a stratified sample; all rows by default. Where words are labelled, the number of
            sentences, drawn at random.
        streaming: read only a sample of ``max_samples`` rows from the Hub, as described in `hf_leep.data.stream`: it
            is seeded and spread over the whole split, but not stratified.
        seed: seed of the sample.
        skip_bad_rows: number of rows that may be left out because they have no input or no label, or their file
            cannot be read.
        progress: show the progress bars of ``datasets``.
        pin: data set on the Hub and revision → the commit to read; None to read the revision itself.
        token: access token for data sets on the Hub, as for `hf_leep.hub.Client`.

    Raises:
        TargetError: the data set, split, columns or labels cannot be used; the message says what to choose instead.
    """
    if max_samples is not None and (not isinstance(max_samples, int) or max_samples < 2):
        raise TargetError(
            f"{option('max_samples')} is {max_samples}; a score needs a whole number of at least 2 examples"
        )
    check_count("seed", seed, at_least=0)
    if streaming and max_samples is None:
        raise TargetError(f"{option('streaming')} reads a sample: say how many rows with {option('max_samples')}")
    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict) and max_samples is None:
        raise TargetError(
            f"a streaming data set is sampled: say how many rows with {option('max_samples')}, "
            "or load it with streaming=False"
        )
    with bars(progress):
        opened = _open(dataset, config, split, revision, max_samples, streaming, seed, pin, token)
    if len(opened.dataset) == 0:
        taken = split or opened.dataset.split
        raise TargetError(f"{opened.name}{f', split {taken}' if taken else ''}: there are no rows")
    named = (inputs,) if isinstance(inputs, str) else tuple(inputs or ())
    rows, said = open_named_files(opened.dataset, opened.folder, named, skip_bad_rows)
    opened = replace(opened, dataset=rows, warnings=[*opened.warnings, *said])
    check_label(opened.dataset, label)
    try:
        modality, input_columns = find_inputs(opened.dataset, modalities, inputs, label)
    except TargetError:
        check_not_numbered(opened.dataset, opened.folder)
        raise
    for column in input_columns:
        if missing := modality.missing_decoder(opened.dataset.features[column]):
            raise TargetError(missing)
    check_not_named(opened.dataset, input_columns, opened.folder)
    label_column = find_label(opened.dataset, label, modality, input_columns)
    usable, bad = without_holes(opened.dataset, input_columns, label_column, skip_bad_rows)
    if opened.whole is not None:
        check_slice(opened.dataset, opened.whole, label_column)
    rng = np.random.default_rng(seed)
    rows = opened.dataset.select(usable) if bad else opened.dataset
    chosen = _choose(rows, modality, input_columns, label_column, max_samples, rng)
    chosen = replace(chosen, row_ids=usable[chosen.row_ids])
    digests, problems = read_digests(opened.dataset, input_columns, chosen.row_ids)
    if problems:
        chosen, unreadable = _without(chosen, problems, skip_bad_rows - len(bad))
        bad += unreadable
        digests = [digest for position, digest in enumerate(digests) if position not in problems]
    target = _target(opened, chosen, digests, modality, input_columns, label_column, config, split, seed)
    return replace(target, bad_rows=tuple(bad)), _rows(opened, input_columns, chosen)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A split, or a sample of a streamed one.

    Attributes:
        dataset: its rows.
        name: name of the data set.
        revision: its commit, if it is on the Hub.
        splits: the splits that the rows are from.
        num_rows: rows of the split, where that is known, else those drawn.
        sample: the sample, if it is less than the whole split.
        warnings: what a reader of the report must know about how it was read.
        whole: the whole splits, where the rows are a slice of them.
        folder: where names of files in the rows start; None where there are no such files.
    """

    dataset: datasets.Dataset
    name: str
    revision: str | None
    splits: Sequence[str]
    num_rows: int
    sample: Sample | None = None
    warnings: Sequence[str] = ()
    whole: datasets.Dataset | None = None
    folder: Path | None = None


def _open(
    dataset: DatasetLike,
    config: str | None,
    split: str | None,
    revision: str | None,
    max_samples: int | None,
    streaming: bool,
    seed: int,
    pin: Pin | None,
    token: str | bool | None,
) -> _Opened:
    """Open a split; of a streamed one draw a sample. The arguments are those of `load`."""
    opened = open_split(dataset, config, split, revision, streaming=streaming, pin=pin, token=token)
    found, name, sha, splits = opened.rows, opened.name, opened.revision, opened.splits
    # A format or transform that the caller has set would change the inputs.
    if isinstance(found, datasets.Dataset):
        return _Opened(
            found.with_format(None), name, sha, splits, len(found), None, opened.warnings, opened.whole, opened.folder
        )
    # An object that is streamed already may have been filtered since its number of rows was stated.
    stated = found.info.splits if streaming else None
    drawn = sample(found, max_samples or 0, seed, name, token)
    rows = drawn.dataset.with_format(None)
    if opened.cells:
        rows = delimited.typed(rows)
    if drawn.whole:
        return _Opened(rows, name, sha, splits, len(rows))
    known = stated[splits[0]].num_examples if stated and splits[0] in stated else None
    return _Opened(rows, name, sha, splits, max(len(rows), known or 0), drawn)


def _target(
    opened: _Opened,
    chosen: _Choice,
    digests: Sequence[bytes],
    modality: Modality,
    input_columns: tuple[str, ...],
    label_column: str,
    config: str | None,
    split: str | None,
    seed: int,
) -> Target:
    words = chosen.words
    warnings = [*opened.warnings, *chosen.warnings]
    if opened.sample is not None:
        warnings.append(opened.sample.caveat)
        warnings += _missing_classes(opened.dataset, label_column, len(chosen.class_names))
    elif not modality.labels_words:
        warnings += absent_classes(opened.dataset.features[label_column], chosen.class_names)
    labels, class_names = _occurring(chosen, label_column)
    if not modality.labels_words:
        warnings += notes(opened.dataset, label_column, class_names)
        warnings += empty_texts(opened.dataset, input_columns, chosen.row_ids)
        warnings += odd_sounds(opened.dataset, input_columns, chosen.row_ids)
        warnings += odd_pictures(opened.dataset, input_columns, chosen.row_ids)
    inputs_read = b"".join(digests) + (words.tobytes() if words else b"")
    labels_of_row = labels.tolist() if words is None else [part.tobytes() for part in words.split(labels)]
    duplicates, conflicting = count_duplicates(digests, labels_of_row)
    unit = "row" if words is None else "sentence"
    warnings += _warnings(opened.splits, unit, len(chosen.row_ids), duplicates, conflicting)
    content = inputs_read + labels.astype("<i8").tobytes() + "\0".join(class_names).encode()
    return Target(
        dataset=opened.name,
        config=config,
        split=split or (str(opened.dataset.split) if opened.dataset.split else None),
        revision=opened.revision,
        fingerprint=f"sha256:{hashlib.sha256(content).hexdigest()}",
        input_fingerprint=f"sha256:{hashlib.sha256(inputs_read).hexdigest()}",
        input_columns=input_columns,
        label_column=label_column,
        modality=modality.name,
        task=modality.task,
        unit=modality.unit,
        row_ids=chosen.row_ids,
        labels=labels,
        class_names=class_names,
        num_rows=opened.num_rows if words is None else opened.num_rows - words.num_skipped,
        seed=seed,
        streamed=opened.sample is not None,
        num_duplicates=duplicates,
        sentences=None if words is None else words.sentences,
        words=None if words is None else words.places,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, eq=False)
class _Choice:
    """The chosen rows and their labels.

    Attributes:
        row_ids: positions of the rows in the split, ascending.
        codes: class of each example, ``[n]``.
        class_names: names of the classes of the whole split.
        warnings: what to know about the choice.
        words: where words are labelled, those of the chosen rows.
    """

    row_ids: Integers
    codes: Integers
    class_names: Sequence[str]
    warnings: Sequence[str] = ()
    words: Words | None = None


def _choose(
    found: datasets.Dataset,
    modality: Modality,
    input_columns: Sequence[str],
    label_column: str,
    max_samples: int | None,
    rng: np.random.Generator,
) -> _Choice:
    if modality.labels_words:
        row_ids, words, names, warnings = choose_sentences(found, input_columns[0], label_column, max_samples, rng)
        return _Choice(row_ids, words.codes, names, warnings, words)
    codes, names = encode(found, label_column)
    check_repeated(codes, found.features[label_column], label_column)
    warnings = single_rows(codes, found.features[label_column], label_column)
    if max_samples is None or max_samples >= len(found):
        return _Choice(np.arange(len(found)), codes, names, warnings)
    row_ids = stratified_sample(codes, max_samples, rng)
    if max_samples < len(names):
        warnings.append(f"{max_samples} samples cannot hold all {len(names)} classes: some are left out")
    return _Choice(row_ids, codes[row_ids], names, warnings)


def _without(chosen: _Choice, problems: Mapping[int, str], most: int) -> tuple[_Choice, list[BadRow]]:
    """The choice without rows that cannot be read, and these rows.

    Raises:
        TargetError: there are more than may be left out, or they are all rows of a class.
    """
    bad = [
        BadRow(int(chosen.row_ids[position]), f"row {chosen.row_ids[position]} of the split", problem)
        for position, problem in problems.items()
    ]
    if len(bad) > most:
        them = form(len(bad), "it", "them")
        raise TargetError(
            f"{len(bad)} of {len(chosen.row_ids)} rows cannot be read ({first_few(bad)}): drop {them} first, or leave "
            f"{them} out with {option('skip_bad_rows')}"
        )
    kept = np.setdiff1d(np.arange(len(chosen.row_ids)), list(problems))
    words = None if chosen.words is None else chosen.words.of(kept)
    codes = chosen.codes[kept] if words is None else words.codes
    names = chosen.class_names
    check_lost([names[c] for c in np.unique(chosen.codes)], [names[c] for c in np.unique(codes)], bad)
    return replace(chosen, row_ids=chosen.row_ids[kept], codes=codes, words=words), bad


def _occurring(chosen: _Choice, label_column: str) -> tuple[Integers, tuple[str, ...]]:
    """The labels encoded by the classes that occur, ``[n]``, and the names of these classes.

    Raises:
        TargetError: only one class occurs.
    """
    kept, labels = np.unique(chosen.codes, return_inverse=True)
    class_names = tuple(chosen.class_names[code] for code in kept)
    if len(kept) < 2 and len(labels) == 1:
        raise TargetError("there is 1 row; a score needs at least two classes, and several rows of each")
    if len(kept) < 2:
        raise TargetError(
            f"all {len(labels)} labels in column {label_column!r} are {class_names[0]!r}; "
            "a score needs at least two classes"
        )
    return labels, class_names


def _rows(opened: _Opened, input_columns: Sequence[str], chosen: _Choice) -> Rows:
    """The chosen rows, with sounds and videos not decoded: adapters decode them, as each model needs them."""
    inputs = opened.dataset.select_columns(list(input_columns))
    for column in input_columns:
        if isinstance(feature := inputs.features[column], datasets.Audio | datasets.Video):
            inputs = inputs.cast_column(column, type(feature)(decode=False))
    return Rows(inputs, chosen.row_ids, "the streamed sample" if opened.sample else "the split", chosen.words)


def stratified_sample(codes: Integers, size: int, rng: np.random.Generator) -> Integers:
    """Draw ``size`` rows without replacement, in proportion to the classes; ascending positions, ``[size]``.

    The numbers of rows of the classes are rounded by largest remainder; if ``size`` allows, every class has at least
    one row.

    Args:
        codes: class of each row, ``[n]``, 0 … t−1, all occurring.
        size: rows to draw, at most n.
        rng: the random generator.
    """
    counts = np.bincount(codes)
    exact = size * counts / len(codes)
    quota = np.floor(exact).astype(np.int64)
    if size >= len(counts):
        quota = np.maximum(quota, 1)
    while quota.sum() < size:  # largest remainders first; of equal ones the lower class
        short = np.argsort(quota - exact, kind="stable")[: size - quota.sum()]
        quota[short] += 1
    while quota.sum() > size:  # if some classes were raised to one row, those most above their exact number lose one
        quota[np.argmax(quota - exact + (quota > 1) * len(codes))] -= 1
    drawn = [rng.permutation(np.flatnonzero(codes == c))[: quota[c]] for c in range(len(counts))]
    return np.sort(np.concatenate(drawn))


def _missing_classes(found: datasets.Dataset, column: str, occurring: int) -> list[str]:
    """A warning if the sample lacks some of the classes that the data set states."""
    feature = getattr(found.features[column], "feature", found.features[column])
    stated = len(feature.names) if isinstance(feature, datasets.ClassLabel) else occurring
    if occurring == stated:
        return []
    absent = stated - occurring
    return [
        f"{absent} of the {stated} classes {form(absent, 'does', 'do')} not occur in the streamed sample, so no "
        f"candidate is scored on {form(absent, 'it', 'them')}: raise {option('max_samples')}, or leave out "
        f"{option('streaming')} for a stratified sample"
    ]


def _warnings(splits: Sequence[str], unit: str, num_rows: int, duplicates: int, conflicting: int) -> list[str]:
    found = []
    if any(re.match(r"test(\b|_|\d)", split) for split in splits):
        found.append(
            "these are test rows: choosing a model on them spoils the test set, so measure the chosen model elsewhere"
        )
    if duplicates:
        found.append(
            f"{duplicates:,} of {num_rows:,} {unit}s {form(duplicates, 'repeats', 'repeat')} an earlier {unit} "
            f"exactly ({f'{conflicting:,}' if conflicting else 'none'} with another label), which biases "
            "leave-one-out scores"
        )
    return found
