"""Which process judges and runs a candidate: the worker where there is one, or else this process."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from hf_leep import hub
from hf_leep.data.source import on_disk
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
    """

    runner: PassRunner
    worker: Worker | None = None

    def holds(self, folder: Path) -> bool:
        """Whether a candidate is run in the worker: a class that the caller registered is known in this process alone.

        Args:
            folder: a folder with its config.json.
        """
        return self.worker is not None and not _is_registered(folder)

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
        if self.worker is None:
            raise AssertionError  # `holds` says so
        worker = self.worker
        worker.prepare(self.runner, lambda: self._open(worker))
        done = worker.call(tasks.run_pass, request, writer, advance=advance)
        arrays = {**done.arrays, **writer.adopt(done.kept)}
        output = Arrays(len(target.labels), filled=arrays)
        return combine([done.part], output, target.labels, target.sentences)

    def _open(self, worker: Worker) -> None:
        """Let the worker open the rows; those in memory are written to a file, which is gone once it has opened it."""
        torch = sys.modules.get("torch")
        num_threads = None if torch is None else torch.get_num_threads()
        with tempfile.TemporaryDirectory(prefix="hf-leep-rows-", ignore_cleanup_errors=True) as folder:
            rows = self.runner.rows
            rows = replace(rows, dataset=on_disk(rows.dataset, Path(folder)))
            worker.call(tasks.open_rows, replace(self.runner, rows=rows), num_threads)

    def _call(self, folder: Path, function: Callable[..., _T], *arguments: object) -> _T:
        if self.worker is not None and self.holds(folder):
            return self.worker.call(function, *arguments)
        with errors_of_candidates():
            return function(*arguments)


def _is_registered(folder: Path) -> bool:
    """Whether a checkpoint is of a class that was registered with the auto classes of transformers in this process."""
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
    return model_type in registered
