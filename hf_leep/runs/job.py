"""What all candidates of a run share, and one candidate's way through it: store, pass, scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_leep import data, explain, hub
from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError
from hf_leep.inference import shards
from hf_leep.inference.processes import Processes
from hf_leep.measures import MEASURES, SCORE_VERSION
from hf_leep.ranking import scoring, uncertainty
from hf_leep.records import PASS_VERSION, Candidate, Extraction, Result, Run, Score, Target
from hf_leep.runs.plan import Step
from hf_leep.runs.subsets import part_of
from hf_leep.store import Store, Writer

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_leep.inference.forward import Loader, PartialPass, Sink

_MEANING = "_meaning"  # kept in the store beside the scores; no measure's name has an underscore


@dataclass(frozen=True)
class PassRequest:
    """A pass that all processes run: what the main one tells the others.

    Attributes:
        candidate: whose pass.
        snapshot: where its files are, or come from; None for a model in memory.
        path: its folder on the main process's machine.
        scratch: where the shards go, on a disk that all machines share.
        positions: the rows to run, ascending; None for all.
    """

    candidate: Candidate
    snapshot: hub.Snapshot | None = None
    path: Path | None = None
    scratch: Path | None = None
    positions: Integers | None = None


@dataclass(frozen=True)
class Job:
    """What all candidates of a run share."""

    target: Target
    rows: data.Rows
    measures: tuple[str, ...]
    store: Store
    client: hub.Client
    batch_size: int | None
    device: str | None
    dtype: str
    compiled: bool = False
    shared: bool = False  # whether more than one pass may be run
    sharers: int = 1  # jobs on this machine that share its memory
    team: Processes = field(default_factory=Processes)
    positions: Integers | None = None  # of these rows in those of the whole run, where they are a part of them

    @cached_property
    def feed(self) -> Loader:
        """The rows, read and processed once for the candidates that can share them."""
        from hf_leep.inference import forward

        return forward.Loader(self.rows, budget=None if self.shared else 0, sharers=self.sharers * self.team.size)

    @cached_property
    def accelerator(self) -> Accelerator:
        """Made when the first pass is needed: a run whose passes are all in the store never imports torch."""
        from hf_leep.inference import forward

        return forward.accelerator(self.device)

    def stored(self, snapshot: hub.Snapshot) -> Mapping[str, Any] | None:
        """What an earlier run wrote of a snapshot's pass, if one made it."""
        found = (self.store.description(key) for key in self._possible_keys(snapshot))
        return next((description for description in found if description is not None), None)

    def result(self, step: Step, fetch: Callable[[hub.Snapshot], Path], advance: Callable[[int], object]) -> Result:
        """Score one candidate, with as little work as the store leaves to do."""
        if step.model is not None:
            return self._scored(self.in_memory(step.model, advance), False, None)
        if step.snapshot is None:
            raise AssertionError  # a plan resolves whatever is not in memory
        snapshot = step.snapshot
        key = self._key(snapshot)
        names = self._stored_names
        with self.store.lock(key):
            known = self.store.load_scores(key, self._labels, tuple(names.values()))
            if known is not None and set(known["scores"]) == set(names.values()):
                known["scores"] = {name: known["scores"][kept] for name, kept in names.items()}
                try:
                    return _restored(known, snapshot.candidate)
                except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                    self.store.drop_entry(key, error)
            extraction, from_store = self._pass(snapshot, key, advance, fetch)
            return self._scored(extraction, from_store, key)

    def part(self, positions: Integers) -> Job:
        """The same for some of the rows: each candidate's pass over them is one of its own, in the store as well.

        Args:
            positions: which rows, ascending.
        """
        rows = self.rows.part(positions)
        return replace(self, target=part_of(self.target, positions), rows=rows, positions=positions)

    def run(
        self, step: Step, fetch: Callable[[hub.Snapshot], Path], advance: Callable[[int], object]
    ) -> tuple[Extraction, bool]:
        """One candidate's pass, and whether an earlier run made it."""
        if step.model is not None:
            return self.in_memory(step.model, advance), False
        if step.snapshot is None:
            raise AssertionError  # a plan resolves whatever is not in memory
        key = self._key(step.snapshot)
        with self.store.lock(key):
            return self._pass(step.snapshot, key, advance, fetch)

    def keeps(self, step: Step) -> bool:
        """Whether a candidate's pass over these rows is in the store."""
        return step.snapshot is not None and self.stored(step.snapshot) is not None

    def finish(self, step: Step, extraction: Extraction, from_store: bool, parts: Sequence[Job]) -> Result:
        """Score a pass that was made in parts; in the store it becomes one pass, and the parts are removed.

        Args:
            step: the candidate.
            extraction: its pass over all rows.
            from_store: whether earlier runs made all of it.
            parts: the jobs of the parts.
        """
        if step.snapshot is None:
            return self._scored(extraction, from_store, None)
        key = self._key(step.snapshot)
        with self.store.lock(key):
            if self.store.description(key) is None:
                with self.store.writing(key) as writer:
                    for name in ("probabilities", "features"):
                        if (array := getattr(extraction, name)) is not None:
                            writer.allocate(name, array.shape)[:] = array
                    writer.commit(_description(extraction))
            result = self._scored(extraction, from_store, key)
        if self.store.description(key) is not None:
            for part in parts:
                for key_of_part in part._possible_keys(step.snapshot):
                    self.store.forget(key_of_part)
        return result

    def _scored(self, extraction: Extraction, from_store: bool, key: str | None) -> Result:
        """Score a pass, and keep its scores under its key."""
        result = replace(
            scoring.score(extraction, self.measures),
            from_store=from_store,
            interpretation=explain.interpret(extraction),
        )
        if key is not None:
            scores = {m: vars(s) for m, s in result.scores.items()}
            scores[_MEANING] = {**asdict(result.interpretation), "influence": None}
            stored = {self._stored_names[name]: score for name, score in scores.items()}
            self.store.save_scores(key, self._labels, _summary(result), stored)
        return result

    @property
    def _labels(self) -> str:
        """Fingerprint of the labels that scores are for, of what computes them and of its confidence level."""
        labels = hashlib.sha256(self.target.labels.astype("<i8").tobytes()).hexdigest()[:16]
        return f"{labels}-{version('hf-leep')}-v{SCORE_VERSION}-{uncertainty.CONFIDENCE:g}"

    @property
    def _stored_names(self) -> dict[str, str]:
        """Measure, or what predictions mean → its name in the store."""
        return {**{measure: MEASURES.stored_name(measure) for measure in self.measures}, _MEANING: _MEANING}

    def in_memory(self, candidate: tuple[str, Any, Any], advance: Callable[[int], object]) -> Extraction:
        """The pass of a model in memory."""
        name, model, processor = candidate
        with self.store.writing(None) as writer:
            return self._run(
                PassRequest(Candidate(name), positions=self.positions), advance, writer, (model, processor)
            )

    def extraction(self, snapshot: hub.Snapshot, advance: Callable[[int], object]) -> Extraction:
        """One candidate's pass: run now, or by an earlier run."""
        key = self._key(snapshot)
        with self.store.lock(key):
            return self._pass(snapshot, key, advance, self._fetch)[0]

    def _fetch(self, snapshot: hub.Snapshot) -> Path:
        return hub.fetch(snapshot, self.client)

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.target.input_columns

    def _key(self, snapshot: hub.Snapshot) -> str:
        """The key of a pass, of the two it can have: a candidate has a pass under one of them alone."""
        without_names, with_names = self._possible_keys(snapshot)
        for key in (without_names, with_names):
            if self.store.description(key) is not None:
                return key
        from hf_leep.models import ADAPTERS

        folder = hub.configuration(snapshot, self.client)
        return with_names if ADAPTERS[self.target.modality].reads_names(folder) else without_names

    def _possible_keys(self, snapshot: hub.Snapshot) -> tuple[str, str]:
        """Everything that a pass depends on, without and with the names of the classes, which few candidates read.

        The revision covers weights, configuration and processor files.
        """
        fields = {
            "pass": PASS_VERSION,
            "revision": snapshot.candidate.revision,
            "modality": self.target.modality,
            "inputs": self.target.input_fingerprint,
            "columns": len(self._columns),
            "dtype": self.dtype if not self.compiled else f"{self.dtype}, compiled",
            "backend": _backend(self.target.modality),
            "torch": version("torch"),
            "transformers": version("transformers"),
            "tokenizers": version("tokenizers"),
            "pillow": version("pillow"),
        }
        return self.store.key(fields), self.store.key({**fields, "names": json.dumps(self.target.class_names)})

    def _pass(
        self,
        snapshot: hub.Snapshot,
        key: str,
        advance: Callable[[int], object],
        fetch: Callable[[hub.Snapshot], Path],
    ) -> tuple[Extraction, bool]:
        """The pass of a checkpoint, and whether it was in the store; the entry's lock is held."""
        found = self.store.load(key)
        if found is not None:
            try:
                return self._stored(snapshot.candidate, *found), True
            except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                self.store.drop_entry(key, error)

        order = PassRequest(snapshot.candidate, snapshot, snapshot.path or fetch(snapshot), positions=self.positions)
        with self.store.writing(key) as writer:
            extraction = self._run(order, advance, writer)
            pinned = str(snapshot.candidate.revision)
            if pinned.startswith("sha256:"):  # a local folder: it may have changed since it was hashed
                now = hub.resolve(str(snapshot.path), self.client).candidate.revision
                if now != pinned:
                    raise CandidateError("the folder changed while it was run: run it again when it is at rest")
            writer.commit(_description(extraction))
        return extraction, False

    def _stored(
        self, candidate: Candidate, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
    ) -> Extraction:
        """An extraction as it was written, under the name that the candidate has now."""
        if any(len(array) != len(self.target.labels) for array in arrays.values()):
            raise ValueError("another number of rows")
        return Extraction(
            _renamed(description["candidate"], candidate),
            arrays.get("probabilities"),
            arrays.get("features"),
            self.target.labels,
            Run(**description["run"]),
            description["missing"],
            self.target.sentences,
        )

    def _run(
        self,
        order: PassRequest,
        advance: Callable[[int], object],
        writer: Writer,
        in_memory: tuple[Any, Any] | None = None,
    ) -> Extraction:
        """Run a candidate now, in all processes of the run."""
        from hf_leep.inference import forward

        num_rows = len(self.target.labels)
        if self.team.size == 1:
            sink = forward.Arrays(num_rows, writer.allocate)
            share = self._share(order, sink, advance, in_memory)
            return forward.put_together([share], sink.arrays, self.target.labels, self.target.sentences)
        order = self.team.tell(replace(order, scratch=writer.scratch()))
        shares = self.run_share(order, advance, in_memory)
        missing = {name for share in shares for name in share.missing}
        names = [name for name in ("probabilities", "features") if name not in missing]
        arrays = shards.gather(writer.scratch(), names, num_rows, writer.allocate)
        return forward.put_together(shares, arrays, self.target.labels, self.target.sentences)

    def run_share(
        self, order: PassRequest, advance: Callable[[int], object], in_memory: tuple[Any, Any] | None = None
    ) -> list[PartialPass]:
        """Run this process's share of a pass, and hear what all of them tell of theirs.

        Raises:
            CandidateError: some process cannot load or run it.
            ProcessError: another process is gone.
        """

        def mine() -> PartialPass:
            if order.scratch is None:
                raise AssertionError  # whoever orders says where the shards go
            return self._share(order, shards.Shard(order.scratch, self.team.index), advance, in_memory)

        return self.team.together(mine)

    def _share(
        self, order: PassRequest, sink: Sink, advance: Callable[[int], object], in_memory: tuple[Any, Any] | None
    ) -> PartialPass:
        import torch

        from hf_leep.inference import forward
        from hf_leep.models import ADAPTERS

        on = self.accelerator  # a wrong device is the caller's error: before the candidate's own
        adapter = ADAPTERS[self.target.modality]
        names = self.target.class_names
        if in_memory is not None:
            classifier = adapter.wrap(*in_memory, self._columns, class_names=names)
        else:
            classifier = adapter.load(
                self._here(order), self._columns, torch.float32, self.client.allow_pickle, class_names=names
            )
        return forward.run(
            classifier,
            order.candidate,
            self.feed,
            on=on,
            batch_size=self.batch_size,
            dtype=getattr(torch, self.dtype),
            compiled=self.compiled,
            advance=advance,
            sink=sink,
            team=self.team,
        )

    def _here(self, order: PassRequest) -> Path:
        """The checkpoint's folder on this machine, which may not be the main process's."""
        if order.path is not None and order.path.is_dir():
            return order.path
        if order.snapshot is None or order.snapshot.path is not None:
            raise CandidateError(f"the folder {order.path} is not on every machine of this run")
        return hub.fetch(order.snapshot, self.client)


def _backend(modality: str) -> str | None:
    """What decodes or brings to measure the rows of a modality, with its version where results may depend on it."""
    if modality == "video":
        return ", ".join(f"{name} {version(name)}" for name in ("av", "torchvision") if find_spec(name)) or "pil"
    return {"image": "pil", "audio": f"scipy {version('scipy')}"}.get(modality)


def _description(extraction: Extraction) -> dict[str, Any]:
    """All of an extraction but its arrays and labels, as plain data."""
    return {
        "candidate": asdict(extraction.candidate),
        "run": asdict(extraction.run),
        "missing": dict(extraction.missing),
    }


def _summary(result: Result) -> dict[str, Any]:
    """All of a result but its scores, as plain data."""
    kept = ("reason", "headless", "num_source_classes", "effective_source_classes", "num_features")
    return {
        "candidate": asdict(result.candidate),
        "run": asdict(result.run) if result.run else None,
        **{name: getattr(result, name) for name in kept},
    }


def _restored(known: Mapping[str, Any], candidate: Candidate) -> Result:
    """The result that `_summary` and the scores were made of, under the name that the candidate has now."""
    summary = dict(known["summary"])
    described = _renamed(summary.pop("candidate"), candidate)
    run = summary.pop("run")
    stored = dict(known["scores"])
    means = explain.restored(stored.pop(_MEANING))
    scores = {m: Score(**{**s, "warnings": tuple(s["warnings"])}) for m, s in stored.items()}
    if any(score.value is not None for score in scores.values()):
        summary["reason"] = None
    else:
        summary["reason"] = "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason))
    return Result(described, scores, run=Run(**run) if run else None, from_store=True, interpretation=means, **summary)


def _renamed(described: Mapping[str, Any], candidate: Candidate) -> Candidate:
    """What a stored pass says of its candidate, under the name, card and licence that it has now."""
    return replace(
        candidate,
        task=described["task"],
        num_parameters=described["num_parameters"],
        source_labels=tuple(described["source_labels"]),
    )
