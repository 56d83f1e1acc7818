"""What every process of a run needs to do its part: which examples to read, and how candidates are run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

from hf_leep import data
from hf_leep.data import DatasetLike, jpeg
from hf_leep.hub import Client, pin_dataset, within_limits
from hf_leep.inference.processes import Processes
from hf_leep.models import MODALITIES
from hf_leep.options import Execution, HubAccess, Selection
from hf_leep.runs.job import Job
from hf_leep.runs.left_out import LeftOut
from hf_leep.runs.supervisor import Worker
from hf_leep.store import Store

FAST_DECODE = (
    f"JPEGs whose shorter side has at least {2 * jpeg.SIDE} pixels were decoded at reduced size, for all candidates "
    "alike: scores differ a little from those of whole images"
)
"""The warning in a report whose images were decoded so; by it a validation knows."""


@dataclass(frozen=True)
class RunConfig:
    """A run in a form that can be sent to another process.

    Attributes:
        dataset: the data set, as `hf_leep.data.load` takes it.
        selection: which of its examples are used.
        measures: names of the measures to compute.
        execution: how candidates are run.
        hub: how the Hub is reached.
    """

    dataset: DatasetLike
    selection: Selection
    measures: tuple[str, ...]
    execution: Execution
    hub: HubAccess

    def __getstate__(self) -> dict[str, object]:
        """What is sent: the fields, and not the store and client that each process makes for itself."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def store(self) -> Store:
        """This machine's store."""
        return Store(Store.default_root() if self.execution.cache else None)

    @cached_property
    def client(self) -> Client:
        """This process's client of the Hub."""
        cache_dir = Path(self.hub.cache_dir) if self.hub.cache_dir else None
        return Client(self.hub.token, cache_dir, self.hub.allow_pickle, self.store.file_digest)

    def at(self, revision: str | None) -> RunConfig:
        """The same run with the data set pinned to a revision."""
        return replace(self, selection=replace(self.selection, revision=revision or self.selection.revision))

    def job(
        self,
        *,
        progress: bool = False,
        keep_rows: bool = True,
        processes: Processes | None = None,
        num_sharing: int = 1,
        worker: Worker | None = None,
    ) -> Job:
        """Read the rows, and put together what all candidates are run with.

        Args:
            progress: show progress bars of ``datasets``, and while passes are scored.
            keep_rows: keep decoded and processed rows in memory; worth it for more than one pass.
            processes: the processes that share each pass.
            num_sharing: number of runs that share this machine's memory, this one included.
            worker: where candidates are judged, loaded and run, if not in this process.

        Raises:
            TargetError: the data set cannot be used.
        """
        chosen = self.selection
        with within_limits():
            target, rows = data.load(
                self.dataset,
                MODALITIES,
                config=chosen.config,
                split=chosen.split,
                revision=chosen.revision,
                label=chosen.label,
                inputs=chosen.inputs,
                max_samples=chosen.max_samples,
                streaming=chosen.streaming,
                seed=chosen.seed,
                skip_bad_rows=chosen.skip_bad_rows,
                progress=progress,
                pin=partial(pin_dataset, client=self.client),
                token=self.hub.token,
            )
        if self.execution.fast_decode:
            rows = replace(rows, reduced=True)
            target = replace(target, warnings=(*target.warnings, FAST_DECODE))
        return Job(
            target=target,
            rows=rows,
            measures=self.measures,
            store=self.store,
            client=self.client,
            batch_size=self.execution.batch_size,
            device=self.execution.device,
            dtype=self.execution.dtype,
            compiled=self.execution.compile,
            keep_rows=keep_rows,
            progress=progress,
            processes=processes or Processes(),
            num_sharing=num_sharing,
            workers=self.execution.workers,
            retry=self.execution.retry,
            timeout=self.execution.timeout_seconds,
            worker=worker,
            left_out=LeftOut(max(0, chosen.skip_bad_rows - len(target.bad_rows))),
        )
