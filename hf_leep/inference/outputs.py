"""What each process did of a pass, and how it becomes one extraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.records import Candidate, Extraction, Run


class Sink(Protocol):
    """Where the rows of a pass go."""

    def put(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Take rows of ``probabilities`` or ``features``, those at these positions."""


@dataclass(frozen=True)
class PartialPass:
    """What one process tells of the rows that it ran.

    Attributes:
        candidate: the candidate, with what the model told of it.
        run: how its rows were run.
        missing: why there are no ``probabilities`` or no ``features``.
    """

    candidate: Candidate
    run: Run
    missing: Mapping[str, str]


class Arrays:
    """The rows of a pass as whole arrays, made when the first batch tells how wide they are.

    Args:
        n: rows.
        allocate: makes a float32 array from name and shape; plain memory by default.
    """

    def __init__(self, n: int, allocate: Callable[[str, tuple[int, ...]], NDArray[np.float32]] | None = None) -> None:
        self._n = n
        self._allocate = allocate or (lambda _name, shape: np.empty(shape, dtype=np.float32))
        self.arrays: dict[str, NDArray[np.float32]] = {}

    def put(self, name: str, positions: Integers, values: NDArray[np.float32]) -> None:
        """Fill in the rows at these positions."""
        if name not in self.arrays:
            self.arrays[name] = self._allocate(name, (self._n, values.shape[1]))
        self.arrays[name][positions] = values


def put_together(
    shares: Sequence[PartialPass],
    arrays: Mapping[str, NDArray[np.float32]],
    labels: Integers,
    groups: Integers | None = None,
) -> Extraction:
    """Make one extraction of what each process did.

    Args:
        shares: one a process; what any of them misses, the whole misses.
        arrays: the rows of all of them, ``[n, …]``.
        labels: classes of the rows, ``[n]``.
        groups: rows of one draw, as `hf_leep.records.Extraction` has them.
    """
    missing = {name: why for share in reversed(shares) for name, why in share.missing.items()}
    main = shares[0]
    run = replace(
        main.run,
        seconds=max(share.run.seconds for share in shares),
        peak_memory_bytes=max(share.run.peak_memory_bytes for share in shares),
        num_truncated=sum(share.run.num_truncated for share in shares),
        num_processes=len(shares),
    )
    found = {name: None if name in missing else arrays.get(name) for name in ("probabilities", "features")}
    return Extraction(main.candidate, found["probabilities"], found["features"], labels, run, missing, groups)
