"""What every process of a run needs to know to do its part: what to read, and how candidates are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hf_leep import data, hub
from hf_leep.inference.processes import Processes
from hf_leep.models import MODALITIES
from hf_leep.runs.job import Job
from hf_leep.store import Store


@dataclass(frozen=True)
class RunConfig:
    """A run, as it can be sent to another process.

    Attributes:
        dataset: the data set, as `hf_leep.data.load` takes it.
        reading: the other arguments of `hf_leep.data.load`.
        measures: names of the measures to compute.
        running: fields of `hf_leep.runs.job.Job` that say how candidates are run.
        cache: whether finished passes are kept in the store.
        token: as `hf_leep.hub.Client` has it.
        cache_dir: where checkpoints are kept.
        allow_pickle: accept pickled weights.
    """

    dataset: Any
    reading: Mapping[str, Any]
    measures: tuple[str, ...]
    running: Mapping[str, Any]
    cache: bool = True
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    allow_pickle: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """What is sent: not what each process makes of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def store(self) -> Store:
        """This machine's store."""
        return Store(Store.default_root() if self.cache else None)

    @cached_property
    def client(self) -> hub.Client:
        """This process's client of the Hub."""
        return hub.Client(self.token, self.cache_dir, self.allow_pickle, self.store.file_digest)

    def at(self, revision: str | None) -> RunConfig:
        """The same with the data set pinned."""
        return replace(self, reading={**self.reading, "revision": revision or self.reading["revision"]})

    def job(
        self, *, progress: bool = False, shared: bool = True, team: Processes | None = None, sharers: int = 1
    ) -> Job:
        """Read the rows; what candidates are run with.

        Args:
            progress: let ``datasets`` show its bars.
            shared: whether more than one pass may be run.
            team: the processes that share each pass.
            sharers: other runs on this machine that share its memory, this one among them.

        Raises:
            TargetError: the data set cannot be used.
        """
        pin = partial(hub.pin_dataset, client=self.client)
        target, rows = data.load(
            self.dataset, MODALITIES, **self.reading, progress=progress, pin=pin, token=self.token
        )
        return Job(
            target=target,
            rows=rows,
            measures=self.measures,
            store=self.store,
            client=self.client,
            shared=shared,
            team=team or Processes(),
            sharers=sharers,
            **self.running,
        )
