"""Which process trains a candidate of a shortlist: the worker, or this one for what is known here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from hf_leep import data, hub
from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError
from hf_leep.options import Device
from hf_leep.records import Target
from hf_leep.report.candidate_schema import CandidateData
from hf_leep.runs.isolation import is_registered, with_rows_on_disk
from hf_leep.runs.memory import Memory
from hf_leep.runs.passes import errors_of_candidates
from hf_leep.runs.supervisor import Worker
from hf_leep.store import Store
from hf_leep.training import tasks
from hf_leep.training.records import Recipe, Trained, Training
from hf_leep.training.shortlist import identity, in_memory, resolved

if TYPE_CHECKING:
    from hf_leep.runs.plan import ModelInMemory
    from hf_leep.training.halving import Train
    from hf_leep.training.trainer import Trainer

VERSION = 2  # part of the key of what is kept: raise it when trainings give other numbers than before


@dataclass(frozen=True, eq=False)
class Trainers:
    """Trains the candidates of a shortlist, each in the process that it belongs to.

    Attributes:
        target: the examples.
        rows: its rows.
        models: models in memory by name.
        client: how to reach the Hub.
        wanted: the device, ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        worker: where candidates are loaded and trained, but for those in memory and of classes that the caller
            registered.
        memory: what is remembered of candidates that ended the process that trained them.
        timeout: seconds without any byte after which a download is given up.
    """

    target: Target
    rows: data.Rows
    models: Mapping[str, ModelInMemory]
    client: hub.Client
    wanted: Device | None
    worker: Worker
    memory: Memory
    timeout: float

    def device(self, candidates: Sequence[CandidateData]) -> str:
        """The kind of device that candidates are trained on.

        Args:
            candidates: the shortlist.

        Raises:
            UserError: it is not available.
            ProcessError: no worker can be started.
        """
        all_in_memory = all(candidate["revision"] is None for candidate in candidates)
        if all_in_memory or not self._opens_rows():
            return self._here.device
        return self.worker.call(tasks.device)

    def is_suspect(self, candidate: CandidateData) -> bool:
        """Whether an earlier run was killed while it trained a candidate.

        Args:
            candidate: the candidate.
        """
        try:
            return candidate["revision"] is not None and self.memory.is_suspect(resolved(candidate, self.client))
        except CandidateError:  # its training says why
            return False

    def trainer(self, candidate: CandidateData) -> Train:
        """What trains a candidate; it raises CandidateError where that cannot be done.

        Args:
            candidate: the candidate.
        """
        return partial(self._train, candidate)

    def _train(
        self,
        candidate: CandidateData,
        recipe: Recipe,
        train: Integers,
        evaluate: Integers,
        advance: Callable[[int], object],
    ) -> Trained:
        name = identity(candidate, self.models)
        if candidate["revision"] is None:
            model = in_memory(candidate, self.models)
            with errors_of_candidates():
                return self._here.train(Training(name, None, recipe, train, evaluate), advance, model)
        snapshot = resolved(candidate, self.client)
        if (refusal := self.memory.refusal(snapshot)) is not None:
            raise CandidateError(refusal)
        folder = hub.fetch_within(snapshot, self.client, self.timeout)
        training = Training(name, folder, recipe, train, evaluate)
        with self.memory.running(snapshot), errors_of_candidates():
            if is_registered(folder) or not self._opens_rows():
                return self._here.train(training, advance)
            return self.worker.call(tasks.train, training, advance=advance)

    def _opens_rows(self) -> bool:
        """Let the worker open the rows; False if it cannot, since they need what the caller defined."""

        def opened(rows: data.Rows, num_threads: int | None) -> None:
            allow_pickle = self.client.allow_pickle
            self.worker.call(tasks.open_rows, self.target, rows, self.wanted, allow_pickle, num_threads)

        return self.worker.prepare(self, lambda: with_rows_on_disk(self.rows, opened))

    @cached_property
    def _here(self) -> Trainer:
        from hf_leep.training.trainer import Trainer

        return Trainer(self.target, self.rows, self.wanted, self.client.allow_pickle)


def memory_of_trainings(store: Store, target: Target, device: Device | None, retry: bool) -> Memory:
    """What is remembered of candidates that ended the process that trained them on some rows.

    Args:
        store: where it is kept.
        target: the examples.
        device: the device that was asked for.
        retry: try such candidates again.
    """

    def key(snapshot: hub.Snapshot) -> str:
        candidate = snapshot.candidate
        about: dict[str, str | int | None] = {
            "training": VERSION,
            "rows": target.fingerprint,
            "candidate": f"{candidate.id}@{candidate.revision}",
            "device": device,
        }
        return store.key(about)

    return Memory(store.attempts, key, retry)
