"""Subsets of the rows: the target of a subset, and one extraction made of those of several subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.records import Extraction, Target


def examples_of(target: Target, positions: Integers) -> Integers:
    """The examples of some rows, ascending: the rows themselves or, where words are labelled, their words.

    Args:
        target: the target.
        positions: which of its rows, ascending.
    """
    if target.sentences is None:
        return positions
    return np.flatnonzero(np.isin(target.sentences, positions))


def select_target(target: Target, positions: Integers) -> Target:
    """The target of some of the rows. It has the same classes, of which some may not occur.

    Its fingerprints depend on those of the whole target and on the positions: the same subset always has the same.

    Args:
        target: the target.
        positions: which of its rows, ascending.
    """
    chosen = examples_of(target, positions)
    which = positions.astype("<i8").tobytes()
    return replace(
        target,
        fingerprint=f"sha256:{sha256(target.fingerprint.encode() + which).hexdigest()}",
        input_fingerprint=f"sha256:{sha256(target.input_fingerprint.encode() + which).hexdigest()}",
        row_ids=target.row_ids[positions],
        labels=target.labels[chosen],
        sentences=None if target.sentences is None else np.searchsorted(positions, target.sentences[chosen]),
        words=None if target.words is None else target.words[chosen],
    )


def select(extraction: Extraction, target: Target, positions: Integers) -> Extraction:
    """The rows of an extraction at some positions.

    Args:
        extraction: a pass over all rows of the target.
        target: the target.
        positions: which of its rows, ascending.
    """
    chosen, subset = examples_of(target, positions), select_target(target, positions)
    places = {position: place for place, position in enumerate(positions.tolist())}
    return replace(
        extraction,
        probabilities=None if extraction.probabilities is None else extraction.probabilities[chosen],
        features=None if extraction.features is None else extraction.features[chosen],
        labels=subset.labels,
        draws=subset.sentences,
        run=replace(extraction.run, num_truncated=0, num_padded=0),  # not known of a subset
        bad_rows=tuple(
            replace(row, position=places[row.position]) for row in extraction.bad_rows if row.position in places
        ),
    )


def concatenate(parts: Sequence[tuple[Integers, Extraction]], target: Target) -> Extraction:
    """Make one extraction of those of several subsets, with its rows in the order of the target.

    Args:
        parts: the positions of each subset's rows, ascending and in no other subset, and its extraction.
        target: the target of all of them.
    """
    positions = np.sort(np.concatenate([own for own, _ in parts]))
    examples = [examples_of(target, own) for own, _ in parts]
    extractions = [extraction for _, extraction in parts]
    runs = [extraction.run for extraction in extractions]
    whole = select_target(target, positions)
    return Extraction(
        extractions[-1].candidate,
        _interleave(examples, [extraction.probabilities for extraction in extractions]),
        _interleave(examples, [extraction.features for extraction in extractions]),
        whole.labels,
        replace(
            runs[-1],
            seconds=sum(run.seconds for run in runs),
            peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
            num_truncated=sum(run.num_truncated for run in runs),
            num_padded=sum(run.num_padded for run in runs),
        ),
        {name: why for extraction in extractions for name, why in extraction.missing.items()},
        whole.sentences,
        tuple(
            replace(row, position=int(np.searchsorted(positions, own[row.position])))
            for own, extraction in parts
            for row in extraction.bad_rows
        ),
    )


def _interleave(
    examples: Sequence[Integers], arrays: Sequence[NDArray[np.float32] | None]
) -> NDArray[np.float32] | None:
    """One array of several, its rows ordered by example; None if one of them is missing."""
    found = [array for array in arrays if array is not None]
    if len(found) < len(arrays):
        return None
    order = np.sort(np.concatenate(examples))
    whole = np.empty((len(order), found[0].shape[1]), dtype=np.float32)
    for own, array in zip(examples, found, strict=True):
        whole[np.searchsorted(order, own)] = array
    return whole
