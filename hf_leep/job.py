"""What all candidates of a run share, and one candidate's way through it: store, pass, scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_leep import data, hub, ranking
from hf_leep.errors import CandidateError
from hf_leep.measures import SCORE_VERSION
from hf_leep.plan import Step
from hf_leep.records import PASS_VERSION, Candidate, Extraction, Result, Run, Score, Target
from hf_leep.store import Store

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_leep.forward import Feed


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
    shared: bool = False  # whether more than one pass may be run

    @cached_property
    def feed(self) -> Feed:
        """The rows, read and processed once for the candidates that can share them."""
        from hf_leep import forward

        return forward.Feed(self.rows, budget=None if self.shared else 0)

    @cached_property
    def accelerator(self) -> Accelerator:
        """Made when the first pass is needed: a run whose passes are all in the store never imports torch."""
        from hf_leep import forward

        return forward.accelerator(self.device)

    def stored(self, snapshot: hub.Snapshot) -> Mapping[str, Any] | None:
        """What an earlier run wrote of a snapshot's pass, if one made it."""
        return self.store.description(self._key(snapshot))

    def result(self, step: Step, fetch: Callable[[hub.Snapshot], Path], advance: Callable[[int], object]) -> Result:
        """Score one candidate, with as little work as the store leaves to do."""
        if step.model is not None:
            return ranking.score(self.in_memory(step.model, advance), self.measures)
        if step.snapshot is None:
            raise AssertionError  # a plan resolves whatever is not in memory
        snapshot = step.snapshot
        key = self._key(snapshot)
        labels = hashlib.sha256(self.target.labels.astype("<i8").tobytes()).hexdigest()[:16] + f"-v{SCORE_VERSION}"
        with self.store.lock(key):
            known = self.store.load_scores(key, labels, self.measures)
            if known is not None and set(known["scores"]) == set(self.measures):
                try:
                    return _restored(known, snapshot.candidate)
                except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                    self.store.drop_entry(key, error)
            extraction, from_store = self._pass(snapshot, key, advance, fetch)
            result = replace(ranking.score(extraction, self.measures), from_store=from_store)
            self.store.save_scores(key, labels, _summary(result), {m: vars(s) for m, s in result.scores.items()})
        return result

    def in_memory(self, candidate: tuple[str, Any, Any], advance: Callable[[int], object]) -> Extraction:
        """The pass of a model in memory."""
        name, model, processor = candidate
        return self._run(Candidate(name), lambda adapter: adapter.wrap(model, processor, self._columns), advance)

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
        """Everything that a pass depends on; the revision covers weights, configuration and processor files."""
        return self.store.key(
            {
                "pass": PASS_VERSION,
                "revision": snapshot.candidate.revision,
                "modality": self.target.modality,
                "inputs": self.target.input_fingerprint,
                "columns": len(self._columns),
                "dtype": self.dtype,
                "backend": {"image": "pil", "audio": f"scipy {version('scipy')}"}.get(self.target.modality),
                "torch": version("torch"),
                "transformers": version("transformers"),
                "tokenizers": version("tokenizers"),
                "pillow": version("pillow"),
            }
        )

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

        import torch

        path = snapshot.path or fetch(snapshot)

        def load(adapter: Any) -> Any:
            return adapter.load(path, self._columns, torch.float32, self.client.allow_pickle)

        with self.store.writing(key) as writer:
            extraction = self._run(snapshot.candidate, load, advance, writer.allocate)
            pinned = str(snapshot.candidate.revision)
            if pinned.startswith("sha256:"):  # a local folder: it may have changed since it was hashed
                now = hub.resolve(str(snapshot.path), self.client).candidate.revision
                if now != pinned:
                    raise CandidateError("the folder changed while it was run: run it again when it is at rest")
            writer.commit(
                {
                    "candidate": asdict(extraction.candidate),
                    "run": asdict(extraction.run),
                    "missing": dict(extraction.missing),
                }
            )
        return extraction, False

    def _stored(
        self, candidate: Candidate, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
    ) -> Extraction:
        """An extraction as it was written, under the name that the candidate has now."""
        if any(len(array) != len(self.rows) for array in arrays.values()):
            raise ValueError("another number of rows")
        return Extraction(
            _renamed(description["candidate"], candidate),
            arrays.get("probabilities"),
            arrays.get("features"),
            self.target.labels,
            Run(**description["run"]),
            description["missing"],
        )

    def _run(
        self,
        candidate: Candidate,
        load: Callable[[Any], Any],
        advance: Callable[[int], object],
        allocate: Callable[[str, tuple[int, ...]], np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    ) -> Extraction:
        import torch

        from hf_leep import forward
        from hf_leep.modalities import ADAPTERS

        on = self.accelerator  # a wrong device is the caller's error: before the candidate's own
        return forward.extract(
            load(ADAPTERS[self.target.modality]),
            candidate,
            self.feed,
            self.target.labels,
            on=on,
            batch_size=self.batch_size,
            dtype=getattr(torch, self.dtype),
            advance=advance,
            allocate=allocate,
        )


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
    scores = {m: Score(**{**s, "warnings": tuple(s["warnings"])}) for m, s in known["scores"].items()}
    if any(score.value is not None for score in scores.values()):
        summary["reason"] = None
    else:
        summary["reason"] = "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason))
    return Result(described, scores, run=Run(**run) if run else None, from_store=True, **summary)


def _renamed(described: Mapping[str, Any], candidate: Candidate) -> Candidate:
    """What a stored pass says of its candidate, under the name, card and licence that it has now."""
    return replace(
        candidate,
        task=described["task"],
        num_parameters=described["num_parameters"],
        source_labels=tuple(described["source_labels"]),
    )
