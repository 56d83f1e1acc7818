"""The rows that a run leaves out for all candidates, as the passes of its candidates find them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, TargetError, option
from hf_leep.inference.bad_rows import check_number
from hf_leep.records import BadRow, Candidate, Extraction, Target
from hf_leep.runs.subsets import select, select_target
from hf_leep.text import counted, first_few


@dataclass(eq=False)
class LeftOut:
    """The bad rows of a run.

    A pass runs all rows, whatever other passes found before, and candidates are scored when all passes are made: the
    same rows are left out, and the same candidates fail, in whatever order the candidates are run.

    Attributes:
        most: number of rows that passes may leave out.
        kept: passes that are not in the store, by the name of their candidate, until they are scored.
    """

    most: int = 0
    kept: dict[str, Extraction] = field(default_factory=dict)
    _unreadable: dict[int, BadRow] = field(default_factory=dict)
    _failing: dict[str, dict[int, BadRow]] = field(default_factory=dict)
    _dropped: dict[str, str] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # several candidates may run at a time

    @property
    def positions(self) -> Integers:
        """Positions of the rows that are left out, ascending."""
        return _positions(self._rows())

    def add(self, candidate: Candidate, found: Sequence[BadRow], positions: Integers | None = None) -> None:
        """Add the bad rows of a pass.

        Args:
            candidate: whose pass it is.
            found: the rows.
            positions: positions of the rows of the pass, where it was run on some of them.

        Raises:
            CandidateError: the candidate fails on more rows than may be left out; none of them is left out.
            TargetError: with these, more rows cannot be read than may be left out.
        """
        if positions is not None:
            found = [replace(row, position=int(positions[row.position])) for row in found]
        with self._lock:
            self._unreadable |= {row.position: row for row in found if row.unreadable}
            check_number(list(self._unreadable.values()), self.most)
            name = _name(candidate)
            failing = self._failing.pop(name, {})
            failing |= {
                row.position: replace(row, reason=f"{row.reason} in {candidate.id}")
                for row in found
                if not row.unreadable
            }
            check_number(list(failing.values()), self.most)
            self._failing[name] = failing

    def forget(self, candidate: Candidate) -> None:
        """Leave the rows on which a candidate fails to the others: it failed otherwise, and is not scored.

        Args:
            candidate: the candidate.
        """
        self._failing.pop(_name(candidate), None)

    def settle(self, target: Target) -> None:
        """Let candidates fail whose bad rows are too many together with those of the others.

        Candidates that fail on few rows are kept first. One is dropped if with its rows more would be left out than
        allowed, or all rows of a class; its rows are not left out.

        Args:
            target: the target of all rows of the run.

        Raises:
            TargetError: the rows that cannot be read are all rows of a class.
        """
        kept = dict(self._unreadable)
        without(target, _positions(kept))
        own = {name: rows.keys() - kept.keys() for name, rows in self._failing.items()}
        for name in sorted(own, key=lambda name: (len(own[name]), name)):
            rows = self._failing[name] | kept
            if len(rows) > self.most:
                why = f"and all candidates together have more bad rows than {option('skip_bad_rows')} allows"
            elif lost := _lost(target, _positions(rows)):
                why = f"and all rows of {lost} would be left out"
            else:
                kept = rows
                continue
            failing = [row for _, row in sorted(self._failing.pop(name).items())]
            self._dropped[name] = (
                f"the forward pass fails on {counted(len(failing), 'row')}, {why}: {first_few(failing)}"
            )

    def reason(self, candidate: Candidate) -> str | None:
        """Why a candidate was dropped by `settle`, or None.

        Args:
            candidate: the candidate.
        """
        return self._dropped.get(_name(candidate))

    def check(self, candidate: Candidate) -> None:
        """Raise if a candidate was dropped by `settle`.

        Args:
            candidate: the candidate.

        Raises:
            CandidateError: it was.
        """
        if reason := self.reason(candidate):
            raise CandidateError(reason)

    def target(self, whole: Target) -> Target:
        """A target without the rows that are left out.

        Args:
            whole: the target of all rows.

        Raises:
            TargetError: these were all rows of a class.
        """
        rows = self._rows()
        if not rows:
            return whole
        rest = without(whole, _positions(rows))
        found = [replace(row, position=int(whole.row_ids[position])) for position, row in sorted(rows.items())]
        return replace(rest, bad_rows=(*whole.bad_rows, *found))

    def rest(self, extraction: Extraction, target: Target, positions: Integers | None = None) -> Extraction:
        """A pass without the rows that are left out.

        Args:
            extraction: the pass.
            target: the target of all rows of the run.
            positions: positions of the rows of the pass, ascending, where they are some of them.
        """
        left_out = self.positions
        if not len(left_out):
            return extraction
        if positions is not None:
            target = select_target(target, positions)
            own = np.flatnonzero(~np.isin(positions, left_out))
        else:
            own = np.flatnonzero(~np.isin(np.arange(len(target.row_ids)), left_out))
        return replace(select(extraction, target, own), run=extraction.run)

    def _rows(self) -> dict[int, BadRow]:
        """The rows by their position; of several candidates that fail on one, the first by name says why."""
        rows: dict[int, BadRow] = {}
        with self._lock:
            for name in sorted(self._failing, reverse=True):
                rows |= self._failing[name]
            return rows | self._unreadable


def without(target: Target, positions: Integers) -> Target:
    """A target without some of its rows.

    Args:
        target: the target.
        positions: the rows that leave it, ascending.

    Raises:
        TargetError: these are all rows of a class.
    """
    if lost := _lost(target, positions):
        raise TargetError(
            f"all rows of {lost} would be left out, since they cannot be read or processed: fix them, or drop these "
            "classes first"
        )
    return _rest(target, positions)


def _lost(target: Target, positions: Integers) -> str:
    """The names of the classes that have no rows but some."""
    lost = np.setdiff1d(target.labels, _rest(target, positions).labels)
    return ", ".join(repr(target.class_names[code]) for code in lost[:5])


def _rest(target: Target, positions: Integers) -> Target:
    return select_target(target, np.setdiff1d(np.arange(len(target.row_ids)), positions))


def _positions(rows: Mapping[int, BadRow]) -> Integers:
    return np.array(sorted(rows), dtype=np.int64)


def _name(candidate: Candidate) -> str:
    return f"{candidate.id}@{candidate.revision}"
