"""Run the pass of a candidate over the rows of a run, in one process or in many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from hf_leep import data, hub
from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, one_line
from hf_leep.inference.outputs import Arrays, Output, PartialPass, RowWriter, combine
from hf_leep.inference.pool import POSSIBLE, Pool
from hf_leep.inference.processes import Processes
from hf_leep.inference.shards import Shards
from hf_leep.records import Candidate, Extraction, Target
from hf_leep.runs.subsets import select_target
from hf_leep.store import Writer

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from hf_leep.inference.loader import Loader
    from hf_leep.inference.protocols import Classifier

Advance: TypeAlias = Callable[[int], object]
"""Called with the number of rows that have been run since the last call."""


@contextmanager
def errors_of_candidates() -> Iterator[None]:
    """Make an error of whatever a candidate raises that is none, such as a panic of Rust code.

    Raises:
        CandidateError: it raised what is no ``Exception``, which is the cause of this error.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise CandidateError(f"{type(error).__name__}: {one_line(error)}") from error


@dataclass(frozen=True)
class PassRequest:
    """A pass to run; the main process sends it to all others, and each of them runs its share of the rows.

    Attributes:
        candidate: whose pass it is.
        snapshot: where its files are or come from; None for a model in memory.
        path: its folder on the machine of the main process; None for a model in memory.
        positions: the rows to run, ascending; None for all.
        folder: where the other processes write their rows, on a disk that all machines share; None if there are none.
    """

    candidate: Candidate
    snapshot: hub.Snapshot | None = None
    path: Path | None = None
    positions: Integers | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class PassRunner:
    """Runs candidates over the rows of a target.

    Attributes:
        target: the target.
        rows: its rows.
        client: how to reach the Hub.
        batch_size: rows per batch; None to choose by timing the first batches.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        dtype: name of the number type to compute in, where that is safe (autocast).
        compiled: compile each model first (torch.compile).
        keep_rows: keep decoded and processed rows in memory for later passes.
        num_sharing: number of runs that share this machine's memory, this one included.
        workers: processes that read and process rows; 0 for none, None to choose their number by timing.
        pool: these processes.
        processes: the processes that share each pass.
        most_bad_rows: number of rows that a pass may leave out.
    """

    target: Target
    rows: data.Rows
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
    most_bad_rows: int = 0

    @cached_property
    def _loader(self) -> Loader:
        from hf_leep.inference.loader import Loader

        budget = None if self.keep_rows else 0
        return Loader(self.rows, budget, num_sharing=self.num_sharing * self.processes.size)

    @cached_property
    def _accelerator(self) -> Accelerator:
        # Made with the first pass: a run whose passes are all stored never imports torch.
        from hf_leep.inference import forward

        return forward.accelerator(self.device)

    def run(
        self, request: PassRequest, writer: Writer, advance: Advance, model: tuple[object, object] | None = None
    ) -> Extraction:
        """Run a pass, as the main process.

        Args:
            request: the pass.
            writer: where its arrays go.
            advance: called after each batch with the number of rows that all processes together have run since.
            model: the model and its processor, of a candidate in memory.

        Raises:
            CandidateError: some process cannot load or run the candidate.
            ProcessError: another process has died.
            UserError: the device is not available, or rows of other processes are missing.
        """
        output = self._output(writer)
        request = replace(request, folder=output.folder)
        self.processes.broadcast(request)
        parts = self.run_share(request, output, advance, model)
        return combine(parts, output, self.target.labels, self.target.sentences)

    def select(self, positions: Integers) -> PassRunner:
        """The same for some of the rows.

        Args:
            positions: which rows, ascending.
        """
        return replace(self, target=select_target(self.target, positions), rows=self.rows.subset(positions))

    def run_share(
        self, request: PassRequest, output: RowWriter, advance: Advance, model: tuple[object, object] | None = None
    ) -> list[PartialPass]:
        """Run this process's share of a pass, while all other processes run theirs.

        Args:
            request: the pass.
            output: where the rows of this process go.
            advance: as in `run`.
            model: as in `run`.

        Returns:
            The reports of all processes.

        Raises:
            CandidateError: some process cannot load or run the candidate.
            ProcessError: another process has died.
        """

        def work() -> PartialPass:
            with errors_of_candidates():
                return self._run_share(request, output, advance, model)

        return self.processes.run_in_all(work)

    def _output(self, writer: Writer) -> Output:
        num_examples = len(self.target.labels)
        if self.processes.size == 1:
            return Arrays(num_examples, writer.allocate)
        return Shards(writer.scratch(), num_examples, writer.allocate)

    def _run_share(
        self, request: PassRequest, output: RowWriter, advance: Advance, model: tuple[object, object] | None
    ) -> PartialPass:
        import torch

        from hf_leep.inference import forward

        if self.workers and POSSIBLE:
            self.pool.start(self.workers)  # they import torch and transformers while the checkpoint is loaded
        device = self._accelerator.device  # a wrong device is the user's error: it is reported before the candidate's
        return forward.run(
            self._classifier(request, model),
            request.candidate,
            self._loader,
            device=device,
            batch_size=self.batch_size,
            dtype=getattr(torch, self.dtype),
            compiled=self.compiled,
            advance=advance,
            output=output,
            processes=self.processes,
            pool=self.pool,
            workers=self.workers,
            num_sharing=self.num_sharing,
            most_bad_rows=self.most_bad_rows,
        )

    def _classifier(self, request: PassRequest, model: tuple[object, object] | None) -> Classifier:
        """Load a checkpoint, or wrap a model in memory."""
        import torch

        from hf_leep.models import ADAPTERS

        adapter = ADAPTERS[self.target.modality]
        columns, names = self.target.input_columns, self.target.class_names
        if model is not None:
            return adapter.wrap(cast("PreTrainedModel", model[0]), model[1], columns, class_names=names)
        folder = self._folder(request)
        return adapter.load(folder, columns, torch.float32, self.client.allow_pickle, class_names=names)

    def _folder(self, request: PassRequest) -> Path:
        """The checkpoint's folder on this machine, which may not be that of the main process."""
        if request.path is not None and request.path.is_dir():
            return request.path
        if request.snapshot is None or request.snapshot.path is not None:
            raise CandidateError(f"the folder {request.path} is not on every machine of this run")
        return hub.fetch(request.snapshot, self.client)
