"""The passes over a target that are in the store: their keys, their locks, and how they are read and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from hf_leep import hub
from hf_leep.data import jpeg
from hf_leep.hub import files
from hf_leep.models import BY_NAME
from hf_leep.models.modality import installed, version
from hf_leep.records import PASS_VERSION, BadRow, Candidate, Extraction, Run, Target
from hf_leep.store import JsonObject, Store, Writer

_LIBRARIES = ("peft", "sentencepiece", "tiktoken", "timm", "torchvision")  # that transformers uses where they are
INVALID = (TypeError, KeyError, AttributeError, ValueError)
"""What records of another version raise when they are read."""


class StoredCandidate(TypedDict):
    """What a stored pass keeps of its candidate; more is written than is read."""

    revision: str | None
    task: str | None
    num_parameters: int | None
    source_labels: list[str]
    untrained: bool


class PassDescription(TypedDict):
    """All of a stored pass but its arrays and labels."""

    candidate: StoredCandidate
    run: JsonObject
    missing: dict[str, str]
    bad_rows: list[JsonObject]


@dataclass(frozen=True)
class StoredPasses:
    """The stored passes over a target. Nothing is computed here, and no lock outlasts a call.

    Attributes:
        target: the target.
        store: the store.
        client: how to reach the Hub.
        dtype: name of the number type that models compute in.
        compiled: whether models are compiled.
        reads_names: folder with a candidate's config.json → whether its pass depends on the names of the classes.
        fast_decode: whether JPEGs are decoded at reduced size.
    """

    target: Target
    store: Store
    client: hub.Client
    dtype: str
    compiled: bool
    reads_names: Callable[[Path], bool]
    fast_decode: bool = False

    def key(self, snapshot: hub.Snapshot) -> str:
        """The key of a candidate's pass. Each candidate has one, with or without the names of the classes."""
        without_names, with_names = self._possible_keys(snapshot)
        for key in (without_names, with_names):
            if self.store.description(key) is not None:
                return key
        folder = hub.configuration(snapshot, self.client)
        return with_names if self.reads_names(folder) else without_names

    def candidate_key(self, snapshot: hub.Snapshot) -> str:
        """A key of a candidate and these rows that is known without reading its configuration."""
        return self._possible_keys(snapshot)[0]

    def description(self, snapshot: hub.Snapshot) -> PassDescription | None:
        """The description of a candidate's pass; None if it is not stored."""
        for key in self._possible_keys(snapshot):
            description = cast("PassDescription | None", self.store.description(key))
            if description is not None and _is_of(description, snapshot.candidate):
                return description
        return None

    def get(self, key: str, candidate: Candidate, run: Callable[[Writer], Extraction]) -> tuple[Extraction, bool]:
        """Load a pass, or run and store it; another process that wants the same pass waits until it is stored.

        Args:
            key: its key.
            candidate: whose pass it is.
            run: runs the pass if it is not stored; its arrays go to the writer.

        Returns:
            The pass, and whether it was stored before.
        """
        with self.store.lock(key):
            stored = self._load(key, candidate)
            if stored is not None:
                return stored, True
            with self.store.writing(key) as writer:
                extraction = run(writer)
                writer.commit(_describe(extraction))
            return extraction, False

    def add(self, key: str, extraction: Extraction) -> bool:
        """Store a pass that is complete in memory, unless it is stored already.

        Returns:
            Whether it is stored now.
        """
        with self.store.lock(key):
            if self.store.description(key) is None:
                with self.store.writing(key) as writer:
                    for name, array in _arrays(extraction).items():
                        writer.allocate(name, array.shape)[:] = array
                    writer.commit(_describe(extraction))
            return self.store.description(key) is not None

    def remove(self, snapshot: hub.Snapshot) -> None:
        """Remove a candidate's pass over this target, and its scores."""
        for key in self._possible_keys(snapshot):
            self.store.drop(key)

    def _load(self, key: str, candidate: Candidate) -> Extraction | None:
        found = self.store.load(key)
        if found is None:
            return None
        try:
            return self._restore(candidate, cast(PassDescription, found[0]), found[1])
        except INVALID as error:  # records of another version
            self.store.drop(key, error)
            return None

    def _restore(
        self, candidate: Candidate, description: PassDescription, arrays: Mapping[str, NDArray[np.float32]]
    ) -> Extraction:
        if not _is_of(description, candidate):
            raise ValueError("it is the pass of another revision")
        if any(len(array) != len(self.target.labels) for array in arrays.values()):
            raise ValueError("another number of rows")
        return Extraction(
            restore_candidate(description["candidate"], candidate),
            arrays.get("probabilities"),
            arrays.get("features"),
            self.target.labels,
            Run(**description["run"]),
            description["missing"],
            self.target.sentences,
            bad_rows(description),
        )

    def _files(self, snapshot: hub.Snapshot) -> list[str]:
        """The files of a repository that are used; none for a local folder, whose revision covers their names."""
        if str(snapshot.candidate.revision).startswith("sha256:"):
            return []
        names = list(snapshot.files)
        if snapshot.path is not None:  # a snapshot in the cache, while HF_HUB_OFFLINE is set
            here = [path.name for path in snapshot.path.iterdir()]
            here += [files.POOLING] if (snapshot.path / files.POOLING).is_file() else []
            names = files.choose(here, self.client.allow_pickle, snapshot.path)
        return sorted(name for name in names if name != "README.md")

    def _possible_keys(self, snapshot: hub.Snapshot) -> tuple[str, str]:
        """Keys of all that a pass depends on, without and with the names of the classes, which few candidates read.

        The revision covers weights, configuration and processor files. Of a repository's commit, the cache may hold a
        part; which files are used then depends on what is there.
        """
        fields = {
            "pass": PASS_VERSION,
            "revision": snapshot.candidate.revision,
            "modality": self.target.modality,
            "inputs": self.target.input_fingerprint,
            "columns": len(self.target.input_columns),
            "dtype": self.dtype if not self.compiled else f"{self.dtype}, compiled",
            "backend": BY_NAME[self.target.modality].decoder(),
            "torch": version("torch"),
            "transformers": version("transformers"),
            "tokenizers": version("tokenizers"),
            "pillow": version("pillow"),
            "libraries": installed(_LIBRARIES),
            "files": ", ".join(self._files(snapshot)),
        }
        if self.fast_decode:
            fields["decoded"] = f"JPEGs with at least {jpeg.SIDE} pixels a side"
        return self.store.key(fields), self.store.key({**fields, "names": json.dumps(self.target.class_names)})


def _is_of(description: PassDescription, candidate: Candidate) -> bool:
    """Whether a stored pass is one of this candidate, at its revision."""
    try:
        return description["candidate"]["revision"] == candidate.revision
    except INVALID:  # records of another version
        return False


def bad_rows(description: PassDescription) -> tuple[BadRow, ...]:
    """The rows that a stored pass left out.

    Args:
        description: its description.
    """
    return tuple(BadRow(**row) for row in description["bad_rows"])


def restore_candidate(stored: StoredCandidate, candidate: Candidate) -> Candidate:
    """What is stored of a candidate, under the name, card and licence that it has now."""
    return replace(
        candidate,
        task=stored["task"],
        num_parameters=stored["num_parameters"],
        source_labels=tuple(stored["source_labels"]),
        untrained=stored["untrained"],
    )


def _arrays(extraction: Extraction) -> dict[str, NDArray[np.float32]]:
    arrays = {"probabilities": extraction.probabilities, "features": extraction.features}
    return {name: array for name, array in arrays.items() if array is not None}


def _describe(extraction: Extraction) -> JsonObject:
    return {
        "candidate": asdict(extraction.candidate),
        "run": asdict(extraction.run),
        "missing": dict(extraction.missing),
        "bad_rows": [asdict(row) for row in extraction.bad_rows],
    }
