"""Parts of the rows: a target of some of them, and one extraction made of several parts'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.records import Extraction, Target


def examples_of(target: Target, positions: Integers) -> Integers:
    """Examples of some rows, ascending: the rows themselves, or their words.

    Args:
        target: the target.
        positions: which of its rows, ascending.
    """
    if target.sentences is None:
        return positions
    return np.flatnonzero(np.isin(target.sentences, positions))


def part_of(target: Target, positions: Integers) -> Target:
    """A target of some of the rows: the same classes, of which some may not occur.

    Its input fingerprint is that of the whole and of the positions: the same part of the same rows has the same one.

    Args:
        target: the target.
        positions: which of its rows, ascending.
    """
    from hashlib import sha256

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


def take(extraction: Extraction, target: Target, positions: Integers) -> Extraction:
    """The rows of an extraction at some positions.

    Args:
        extraction: a pass over all rows of the target.
        target: the target.
        positions: which of its rows, ascending.
    """
    chosen, part = examples_of(target, positions), part_of(target, positions)

    def rows(array: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        return None if array is None else array[chosen]

    return replace(
        extraction,
        probabilities=rows(extraction.probabilities),
        features=rows(extraction.features),
        labels=part.labels,
        groups=part.sentences,
        run=replace(extraction.run, num_truncated=0),  # how many of these were cut, nobody wrote down
    )


def join(parts: Sequence[tuple[Integers, Extraction]], target: Target) -> Extraction:
    """One extraction of those of several parts, its rows in the target's order.

    Args:
        parts: positions of the rows of each, ascending and in no other part, and the extraction of their examples.
        target: the target of all of them.
    """
    positions = np.sort(np.concatenate([which for which, _ in parts]))
    whole, chosen = part_of(target, positions), examples_of(target, positions)
    extractions = [extraction for _, extraction in parts]
    missing = {name: why for extraction in extractions for name, why in extraction.missing.items()}
    joined: dict[str, NDArray[np.float32] | None] = {"probabilities": None, "features": None}
    for name in joined:
        arrays = [getattr(extraction, name) for extraction in extractions]
        if any(array is None for array in arrays):
            continue
        made = np.empty((len(chosen), arrays[0].shape[1]), dtype=np.float32)
        for (which, _), array in zip(parts, arrays, strict=True):
            made[np.searchsorted(chosen, examples_of(target, which))] = array
        joined[name] = made
    runs = [extraction.run for extraction in extractions]
    run = replace(
        runs[-1],
        seconds=sum(run.seconds for run in runs),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
        num_truncated=sum(run.num_truncated for run in runs),
    )
    return Extraction(
        extractions[-1].candidate,
        joined["probabilities"],
        joined["features"],
        whole.labels,
        run,
        missing,
        whole.sentences,
    )
