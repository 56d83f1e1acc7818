"""The rows that a run leaves out for all candidates, as the passes of its candidates find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError, option
from hf_leep.inference.skipping import check_number
from hf_leep.records import BadRow, Candidate, Extraction, Target
from hf_leep.runs.subsets import select, select_target
from hf_leep.text import first_few


@dataclass(eq=False)
class LeftOut:
    """The bad rows of a run.

    A pass runs all rows, whatever other passes found before, so that the same rows are left out in whatever order the
    candidates are run.

    Attributes:
        most: number of rows that passes may leave out.
        kept: passes that are not in the store, by the name of their candidate; they are scored again when a later
            candidate finds another bad row.
    """

    most: int = 0
    kept: dict[str, Extraction] = field(default_factory=dict)
    _rows: dict[int, BadRow] = field(default_factory=dict)
    _failing: dict[str, dict[int, BadRow]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows that are left out."""
        return len(self._rows)

    @property
    def positions(self) -> Integers:
        """Positions of the rows that are left out, ascending."""
        return np.array(sorted(self._rows), dtype=np.int64)

    def add(self, candidate: Candidate, found: Sequence[BadRow], positions: Integers | None = None) -> None:
        """Add the bad rows of a pass.

        Args:
            candidate: whose pass it is.
            found: the rows.
            positions: positions of the rows of the pass, where it was run on some of them.

        Raises:
            CandidateError: the candidate fails on more rows than may be left out.
            TargetError: with these, more rows are bad than may be left out.
        """
        if positions is not None:
            found = [replace(row, position=int(positions[row.position])) for row in found]
        failing = self._failing.setdefault(f"{candidate.id}@{candidate.revision}", {})
        failing |= {row.position: row for row in found if not row.unreadable}
        check_number([row for row in found if row.unreadable], self.most)
        check_number(list(failing.values()), self.most)
        for row in found:
            known = self._rows.get(row.position)
            if known is None or (row.unreadable and not known.unreadable):
                reason = row.reason if row.unreadable else f"{candidate.id}: {row.reason}"
                self._rows[row.position] = replace(row, reason=reason)
        if len(self._rows) > self.most:
            raise TargetError(
                f"{len(self._rows)} rows cannot be read or processed, more than {option('skip_bad_rows')} allows: "
                f"{first_few(self._sorted())}"
            )

    def target(self, whole: Target) -> Target:
        """A target without the rows that are left out.

        Args:
            whole: the target of all rows.

        Raises:
            TargetError: these were all rows of a class.
        """
        if not self._rows:
            return whole
        rest = without(whole, self.positions)
        found = [replace(row, position=int(whole.row_ids[row.position])) for row in self._sorted()]
        return replace(rest, bad_rows=(*whole.bad_rows, *found))

    def rest(self, extraction: Extraction, target: Target, positions: Integers | None = None) -> Extraction:
        """A pass without the rows that are left out.

        Args:
            extraction: the pass.
            target: the target of all rows of the run.
            positions: positions of the rows of the pass, ascending, where they are some of them.
        """
        if not self._rows:
            return extraction
        if positions is not None:
            target = select_target(target, positions)
            own = np.flatnonzero(~np.isin(positions, self.positions))
        else:
            own = np.flatnonzero(~np.isin(np.arange(len(target.row_ids)), self.positions))
        return replace(select(extraction, target, own), run=extraction.run)

    def _sorted(self) -> list[BadRow]:
        return [self._rows[position] for position in sorted(self._rows)]


def without(target: Target, positions: Integers) -> Target:
    """A target without some of its rows.

    Args:
        target: the target.
        positions: the rows that leave it, ascending.

    Raises:
        TargetError: these are all rows of a class.
    """
    rest = select_target(target, np.flatnonzero(~np.isin(np.arange(len(target.row_ids)), positions)))
    lost = sorted(set(range(len(target.class_names))) - set(rest.labels.tolist()))
    if lost:
        names = ", ".join(repr(target.class_names[code]) for code in lost[:5])
        raise TargetError(
            f"the {len(positions)} rows that cannot be read or processed were all rows of {names}: mend them, or drop "
            "these classes first"
        )
    return rest
