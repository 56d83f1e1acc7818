"""Which process judges and runs a candidate: the worker where there is one, or else this process."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from hf_leep import data, hub
from hf_leep.data.source import on_disk
from hf_leep.data.thumbnails import thumbnails
from hf_leep.inference.outputs import Arrays, combine
from hf_leep.models import Inspection
from hf_leep.records import Extraction, Target
from hf_leep.runs import tasks
from hf_leep.runs.passes import Advance, PassRequest, PassRunner, errors_of_candidates
from hf_leep.runs.supervisor import Worker
from hf_leep.store import Writer

_T = TypeVar("_T")


@dataclass(frozen=True)
class Isolation:
    """Judges and runs the candidates of a run.

    Attributes:
        runner: runs passes over all rows of the run; the worker gets a copy of it.
        worker: where candidates are judged, loaded and run; None to do all of it in this process, as launched
            processes and the tasks of a cluster do.
        num_threads: threads of torch in the worker, at most; None for as many as this process has.
    """

    runner: PassRunner
    worker: Worker | None = None
    num_threads: int | None = None

    def holds(self, folder: Path) -> bool:
        """Whether a candidate belongs into the worker: a class that the caller registered is known here alone.

        Args:
            folder: a folder with its config.json.
        """
        return self.worker is not None and not is_registered(folder)

    def opens_rows(self) -> bool:
        """Let the worker open the rows of the run; False if it cannot, since they need what the caller defined.

        Raises:
            ProcessError: no worker can be started.
        """
        worker = self._worker()

        def opened(rows: data.Rows, num_threads: int | None) -> None:
            limits = [number for number in (num_threads, self.num_threads) if number is not None]
            worker.call(tasks.open_rows, replace(self.runner, rows=rows), min(limits, default=None))

        return worker.prepare(self.runner, lambda: with_rows_on_disk(self.runner.rows, opened))

    def inspect(self, peeked: hub.Peek, target: Target) -> Inspection:
        """Judge a candidate by its configuration and the shapes of its weights.

        Args:
            peeked: what is known of it.
            target: the examples.

        Raises:
            CandidateError: it cannot be run, or ended the worker.
        """
        arguments = (target.modality, peeked.folder, peeked.shapes, target.class_names)
        return self._call(peeked.folder, tasks.inspect, *arguments)

    def reads_names(self, folder: Path) -> bool:
        """Whether a candidate's pass depends on the names of the target's classes.

        Args:
            folder: a folder with its config.json.
        """
        return self._call(folder, tasks.reads_names, self.runner.target.modality, folder)

    def run(self, target: Target, request: PassRequest, writer: Writer, advance: Advance) -> Extraction:
        """Run a pass in the worker.

        Args:
            target: the examples that are run.
            request: the pass.
            writer: where its arrays go.
            advance: called after each batch with the number of rows that were run since.

        Raises:
            CandidateError: the candidate cannot be loaded or run, or ended the worker.
            ProcessError: no worker can be started.
            UserError: the device is not available, or a row cannot be decoded.
        """
        self.opens_rows()  # again, where the worker was lost meanwhile
        done = self._worker().call(tasks.run_pass, request, writer, advance=advance)
        arrays = {**done.arrays, **writer.adopt(done.kept)}
        output = Arrays(len(target.labels), filled=arrays)
        return combine([done.part], output, target.labels, target.sentences)

    def thumbnails(self, row_ids: Sequence[int]) -> dict[int, bytes]:
        """Make small JPEGs of some rows, in the worker if there is one: a file may crash what decodes it.

        Args:
            row_ids: their positions in the split.

        Raises:
            WorkerError: the worker was lost.
            ProcessError: no worker can be started.
        """
        if self.worker is not None and self.opens_rows():
            return self.worker.call(tasks.thumbnails, row_ids)
        return thumbnails(self.runner.rows, row_ids)

    def _worker(self) -> Worker:
        if self.worker is None:
            raise AssertionError  # `holds` says so
        return self.worker

    def _call(self, folder: Path, function: Callable[..., _T], *arguments: object) -> _T:
        if self.holds(folder):
            return self._worker().call(function, *arguments)
        with errors_of_candidates():
            return function(*arguments)


def with_rows_on_disk(rows: data.Rows, call: Callable[[data.Rows, int | None], object]) -> None:
    """Make a call that lets a worker open rows; those in memory are in a file, which is gone once it has opened it.

    Args:
        rows: the rows.
        call: gets rows that can be sent, and the number of threads of torch where this process has chosen it.
    """
    torch = sys.modules.get("torch")
    num_threads = None if torch is None else torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="hf-leep-rows-", ignore_cleanup_errors=True) as folder:
        call(replace(rows, dataset=on_disk(rows.dataset, Path(folder))), num_threads)


def is_registered(folder: Path) -> bool:
    """Whether a checkpoint is of a class that was registered with the auto classes of transformers in this process.

    Args:
        folder: a folder with its config.json.
    """
    if "transformers" not in sys.modules:
        return False
    try:
        model_type = json.loads((folder / "config.json").read_bytes())["model_type"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    registered: set[object] = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers.models.auto.") and isinstance(module, ModuleType):
            for value in list(vars(module).values()):
                extra = getattr(value, "_extra_content", None)  # of the mappings that `register` adds to
                registered |= {getattr(key, "model_type", key) for key in extra} if isinstance(extra, dict) else set()
    return isinstance(model_type, str) and model_type in registered
