"""What all candidates of a run share, and how one candidate is processed: its pass, then its scores."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from hf_leep import data, hub
from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError
from hf_leep.inference.pool import Pool
from hf_leep.inference.processes import Processes
from hf_leep.records import Candidate, Extraction, Result, Target
from hf_leep.runs import scores
from hf_leep.runs.isolation import Isolation
from hf_leep.runs.left_out import LeftOut
from hf_leep.runs.memory import Memory
from hf_leep.runs.passes import Advance, PassRequest, PassRunner
from hf_leep.runs.plan import Step
from hf_leep.runs.scores import StoredScores
from hf_leep.runs.stored_passes import INVALID, PassDescription, StoredPasses, bad_rows
from hf_leep.runs.subsets import select_target
from hf_leep.runs.supervisor import Worker
from hf_leep.store import Store, Writer

Fetch: TypeAlias = Callable[[hub.Snapshot], Path]
"""Downloads a snapshot if necessary, and returns its folder."""


@dataclass(frozen=True)
class Job:
    """What all candidates of a run share.

    A candidate's pass is run by a `PassRunner` unless `StoredPasses` has it, and then scored without any lock, so that
    other processes can read the pass in the meantime.

    Attributes:
        target: the target.
        rows: its rows.
        measures: names of the measures to compute.
        store: where passes and scores are kept.
        client: how to reach the Hub.
        batch_size: rows per batch; None to choose by timing the first batches.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        dtype: name of the number type to compute in, where that is safe (autocast).
        compiled: compile each model first (torch.compile).
        keep_rows: keep decoded and processed rows in memory; worth it for more than one pass.
        num_sharing: number of runs that share this machine's memory, this one included.
        workers: processes that read and process rows; 0 for none, None to choose their number by timing.
        pool: these processes, of passes that are run in this process.
        processes: the processes that share each pass.
        positions: of a subset, the positions of its rows in those of the whole run; None for all rows.
        progress: show a bar while a pass is scored.
        flags: name options as on the command line.
        retry: try candidates again that ended the process that ran them.
        timeout: seconds without any byte after which a download is given up.
        worker: where candidates are judged, loaded and run, if not in this process.
        whole: for a subset, what judges and runs the candidates of the whole run.
        left_out: the rows of the whole run that its passes found bad.
        num_threads: threads of torch in the worker, at most; None for as many as this process has.
        here: held while a pass is run in this process, by one thread at a time.
        stopped: set when the run ends before its time, for threads that it is to reach.
    """

    target: Target
    rows: data.Rows
    measures: tuple[str, ...]
    store: Store
    client: hub.Client
    batch_size: int | None
    device: str | None
    dtype: str
    compiled: bool = False
    keep_rows: bool = False
    num_sharing: int = 1
    workers: int | None = 0
    pool: Pool = field(default_factory=Pool)
    processes: Processes = field(default_factory=Processes)
    positions: Integers | None = None
    progress: bool = False
    flags: bool = False
    retry: bool = False
    timeout: float = math.inf
    worker: Worker | None = None
    whole: Isolation | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    num_threads: int | None = None
    here: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def isolation(self) -> Isolation:
        """Judges and runs candidates, in the worker where there is one."""
        return self.whole or Isolation(replace(self.runner), self.worker, self.num_threads)

    @cached_property
    def memory(self) -> Memory:
        """What is remembered of candidates that ended the process that ran them."""
        return Memory(self.store.attempts, self.passes.candidate_key, self.retry)

    @cached_property
    def passes(self) -> StoredPasses:
        """The stored passes over these rows."""
        return StoredPasses(
            self.target,
            self.store,
            self.client,
            self.dtype,
            self.compiled,
            self.isolation.reads_names,
            self.rows.reduced,
        )

    @cached_property
    def runner(self) -> PassRunner:
        """Runs passes over these rows."""
        return PassRunner(
            self.target,
            self.rows,
            self.client,
            self.batch_size,
            self.device,
            self.dtype,
            self.compiled,
            self.keep_rows,
            self.num_sharing,
            self.workers,
            self.pool,
            self.processes,
            self.left_out.most,
        )

    @property
    def scores(self) -> StoredScores:
        """The stored scores of passes over these rows."""
        return StoredScores(self.target, self.store, self.measures, self.left_out.positions)

    def stored(self, snapshot: hub.Snapshot) -> PassDescription | None:
        """The description of a candidate's stored pass; None if it is not stored."""
        return self.passes.description(snapshot)

    def is_stored(self, step: Step) -> bool:
        """Whether a candidate's pass over these rows is stored."""
        return step.snapshot is not None and self.stored(step.snapshot) is not None

    def find_bad_rows(self, step: Step, fetch: Fetch, advance: Advance) -> bool:
        """Note the bad rows of a candidate's pass, which is run if it is not stored.

        Args:
            step: the candidate.
            fetch: downloads its checkpoint, if its pass has to be run.
            advance: called after each batch with the number of rows that were run since.

        Returns:
            Whether the pass was stored before.

        Raises:
            CandidateError: the candidate cannot be loaded or run, or fails on too many rows.
            ProcessError: another process has died.
            TargetError: too many rows cannot be decoded.
        """
        if step.snapshot is not None and (stored := self.stored(step.snapshot)) is not None:
            try:
                found = bad_rows(stored)
            except INVALID:  # records of another version, which are not loaded either
                pass
            else:
                self.left_out.add(step.candidate, found, self.positions)
                return True
        return self.extraction(step, fetch, advance)[1]

    def result(self, step: Step, fetch: Fetch, advance: Advance) -> Result:
        """Score a candidate; scores and passes that are stored are not computed again.

        Args:
            step: the candidate.
            fetch: downloads its checkpoint, if its pass has to be run.
            advance: called after each batch with the number of rows that were run since.

        Raises:
            CandidateError: the candidate cannot be loaded or run, or was dropped for its bad rows.
            ProcessError: another process has died.
            TargetError: a row cannot be decoded.
        """
        self.left_out.check(step.candidate)
        key = self._key(step)
        if key is not None and (known := self.scores.load(key, step.candidate)) is not None:
            return known
        extraction, from_store = self._extraction(step, key, fetch, advance)
        return self._score(key, extraction, from_store)

    def extraction(self, step: Step, fetch: Fetch, advance: Advance) -> tuple[Extraction, bool]:
        """A candidate's pass, and whether it was stored before; it is run and stored if it was not.

        Args:
            step: the candidate.
            fetch: downloads its checkpoint, if its pass has to be run.
            advance: called after each batch with the number of rows that were run since.

        Raises:
            CandidateError: the candidate cannot be loaded or run.
            ProcessError: another process has died.
            TargetError: a row cannot be decoded.
        """
        return self._extraction(step, self._key(step), fetch, advance)

    def score(self, step: Step, extraction: Extraction, from_store: bool) -> Result:
        """Score a candidate's pass, and store the scores.

        Args:
            step: the candidate.
            extraction: its pass over all rows of this job.
            from_store: whether earlier runs made the pass.
        """
        return self._score(self._key(step), extraction, from_store)

    def select(self, positions: Integers) -> Job:
        """The same for a subset of the rows, whose passes have keys of their own in the store.

        Args:
            positions: which rows, ascending.
        """
        target, rows = select_target(self.target, positions), self.rows.subset(positions)
        return replace(self, target=target, rows=rows, positions=positions, whole=self.isolation)

    def replace_subsets(self, step: Step, extraction: Extraction, subsets: Sequence[Job]) -> None:
        """Store a pass that was run on one subset after another as one pass, in place of those of the subsets.

        Args:
            step: the candidate.
            extraction: its pass over all rows.
            subsets: the jobs of the subsets.
        """
        key = self._key(step)
        if step.snapshot is not None and key is not None and self.passes.add(key, extraction):
            for subset in subsets:
                subset.passes.remove(step.snapshot)

    def _key(self, step: Step) -> str | None:
        """The key of a candidate's pass; None for a model in memory, of which nothing is stored."""
        return None if step.snapshot is None else self.passes.key(step.snapshot)

    def _extraction(self, step: Step, key: str | None, fetch: Fetch, advance: Advance) -> tuple[Extraction, bool]:
        kept = self.left_out.kept
        if self.positions is None and step.name in kept:
            return kept[step.name], False
        extraction, from_store = self._stored_or_run(step, key, fetch, advance)
        self.left_out.add(step.candidate, extraction.bad_rows, self.positions)
        if self.left_out.most and self.positions is None and not self.is_stored(step):
            kept[step.name] = extraction
        return extraction, from_store

    def _stored_or_run(self, step: Step, key: str | None, fetch: Fetch, advance: Advance) -> tuple[Extraction, bool]:
        snapshot = step.snapshot
        if snapshot is None or key is None:
            return self._run_in_memory(step, advance), False

        def run(writer: Writer) -> Extraction:
            folder = snapshot.path or fetch(snapshot)
            request = PassRequest(snapshot.candidate, snapshot, folder, self.positions)
            if self.isolation.holds(folder) and self.isolation.opens_rows():
                extraction = self.isolation.run(self.target, request, writer, self._until_stopped(advance))
            else:
                with self.here:
                    extraction = self.runner.run(request, writer, self._until_stopped(advance))
            self._check_unchanged(snapshot)
            return extraction

        return self.passes.get(key, snapshot.candidate, run)

    def _score(self, key: str | None, extraction: Extraction, from_store: bool) -> Result:
        rest = self.left_out.rest(extraction, self.target)
        result = scores.score(rest, self.measures, from_store, self.progress, self._until_stopped())
        if key is not None:
            self.scores.save(key, result)
        return result

    def _run_in_memory(self, step: Step, advance: Advance) -> Extraction:
        if step.model is None:
            raise AssertionError  # a plan resolves every candidate that is not in memory
        name, model, processor = step.model
        request = PassRequest(Candidate(name), positions=self.positions)
        with self.here, self.store.writing(None) as writer:
            return self.runner.run(request, writer, self._until_stopped(advance), (model, processor))

    def _until_stopped(self, advance: Advance = lambda _number: None) -> Advance:
        """A function that is called as work advances, and interrupts it once the run is stopped."""

        def advance_or_stop(number: int) -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt
            advance(number)

        return advance_or_stop

    def _check_unchanged(self, snapshot: hub.Snapshot) -> None:
        """Raise if a local folder has changed since it was hashed."""
        revision = str(snapshot.candidate.revision)
        if not revision.startswith("sha256:"):
            return
        if hub.resolve(str(snapshot.path), self.client).candidate.revision != revision:
            raise CandidateError("the folder changed while it was run: run it again when nothing writes to it")
