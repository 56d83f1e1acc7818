"""What the processes make of a pass: rows of outputs and a record each, combined into one extraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, TargetError
from hf_leep.records import BadRow, Candidate, Extraction, Run
from hf_leep.text import first_few

Allocate: TypeAlias = Callable[[str, tuple[int, ...]], NDArray[np.float32]]
"""Makes an array to be filled, from its name and its shape."""


class RowWriter(Protocol):
    """Takes the rows of a pass as they are computed."""

    def write(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Take the rows ``[b, …]`` of ``probabilities`` or ``features`` that belong at these positions, ``[b]``."""


class Output(Protocol):
    """Takes the rows of this process and, when all processes are done, returns the rows of all of them.

    `Arrays` serves a single process, `hf_leep.inference.shards.Shards` several.
    """

    @property
    def folder(self) -> Path | None:
        """The folder where the other processes write their rows; None when there are no others."""

    def write(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Take rows, as `RowWriter` does."""

    def arrays(self, names: Sequence[str], left_out: Integers) -> Mapping[str, NDArray[np.float32]]:
        """Name → all rows, ``[n, …]``; those that were left out are NaN."""


class Arrays:
    """Rows written straight into whole arrays, which are made with the first batch, when their width is known.

    Args:
        num_rows: number of rows n of the arrays.
        allocate: makes the arrays; numpy's plain ones by default.
        filled: arrays that are there already.
    """

    folder: Path | None = None

    def __init__(
        self,
        num_rows: int,
        allocate: Allocate | None = None,
        filled: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self._num_rows = num_rows
        self._allocate = allocate or (lambda _name, shape: np.empty(shape, dtype=np.float32))
        self._arrays: dict[str, NDArray[np.float32]] = dict(filled or {})

    def write(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Fill in the rows at these positions."""
        if name not in self._arrays:
            self._arrays[name] = self._allocate(name, (self._num_rows, values.shape[1]))
        self._arrays[name][positions] = values

    def arrays(self, names: Sequence[str], left_out: Integers) -> Mapping[str, NDArray[np.float32]]:
        """Name → all rows, ``[n, …]``; those that were left out are NaN."""
        found = {name: self._arrays[name] for name in names if name in self._arrays}
        for array in found.values() if len(left_out) else ():
            array[left_out] = np.nan
        return found


@dataclass(frozen=True)
class PartialPass:
    """What one process reports of its share of a pass, besides the rows.

    Attributes:
        candidate: the candidate, with what is known of it once it is loaded.
        run: how its rows were run.
        missing: why there are no ``probabilities`` or no ``features``.
        bad_rows: the rows that were left out.
    """

    candidate: Candidate
    run: Run
    missing: Mapping[str, str]
    bad_rows: tuple[BadRow, ...] = ()


def combine(
    parts: Sequence[PartialPass], output: Output, labels: Integers, draws: Integers | None = None
) -> Extraction:
    """Make one extraction of what all processes did.

    Args:
        parts: the reports of all processes; an array that is missing in one of them is missing.
        output: where the rows are.
        labels: class of each example, ``[n]``.
        draws: draw of each example, as in `hf_leep.records.Extraction`.

    Raises:
        CandidateError: no row is left.
        UserError: rows are missing, or none can be read.
    """
    missing = {name: why for part in reversed(parts) for name, why in part.missing.items()}
    main = parts[0]
    run = replace(
        main.run,
        seconds=max(part.run.seconds for part in parts),
        peak_memory_bytes=max(part.run.peak_memory_bytes for part in parts),
        num_truncated=sum(part.run.num_truncated for part in parts),
        num_padded=sum(part.run.num_padded for part in parts),
        num_processes=len(parts),
    )
    bad_rows = sorted((row for part in parts for row in part.bad_rows), key=lambda row: row.position)
    left_out = np.array([row.position for row in bad_rows], dtype=np.int64)
    if draws is not None:
        left_out = np.flatnonzero(np.isin(draws, left_out))
    if len(left_out) == len(labels):
        error = TargetError if all(row.unreadable for row in bad_rows) else CandidateError
        raise error(f"no row is left: {first_few(bad_rows)}")
    arrays = output.arrays([name for name in ("probabilities", "features") if name not in missing], left_out)
    return Extraction(
        main.candidate,
        arrays.get("probabilities"),
        arrays.get("features"),
        labels,
        run,
        missing,
        draws,
        tuple(bad_rows),
    )
