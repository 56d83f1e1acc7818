"""Finished passes and scores on disk: found again, checked, and never in between.

Layout under the root, by default ``<HF_HOME>/hf_leep``::

    extractions/<key>/entry.json, probabilities.npy, features.npy    one candidate's pass over one set of rows
    scores/<key>/summary.json, <labels>-<measure>.npz                what was made of it
    digests/<path>.json                                              hashes of local weight files
    locks/<key>.lock

An entry is written beside its place and renamed into it, so it is complete or absent. Whatever is read is checked
against its checksum; what is damaged or foreign is dropped with one log line and made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

_LOG = logging.getLogger("hf_leep")
_KINDS = ("extractions", "scores", "digests", "locks")
_SETTLED_NS = 2 * 10**9  # a file younger than this can change again within its time stamp


@dataclass(frozen=True)
class Usage:
    """What the store holds.

    Attributes:
        root: its folder.
        entries: kind → number of entries.
        num_bytes: kind → size on disk.
    """

    root: Path
    entries: Mapping[str, int]
    num_bytes: Mapping[str, int]


class Store:
    """The store; with root None it keeps nothing and finds nothing.

    Args:
        root: its folder; where it cannot be made or written, a log line says so and nothing is kept.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None:
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                _LOG.warning("store: %s cannot be used (%s); nothing is kept", root, error.strerror or error)
                root = None
            else:
                if not os.access(root, os.W_OK):
                    _LOG.warning("store: %s cannot be written; nothing is kept", root)
                    root = None
        self._root = root

    @staticmethod
    def default_root() -> Path:
        """``<HF_HOME>/hf_leep``."""
        from huggingface_hub import constants

        return Path(constants.HF_HOME) / "hf_leep"

    @staticmethod
    def key(fields: Mapping[str, str | int | None]) -> str:
        """Name of the entry for these fields, 40 hex digits; any difference in a field gives another name."""
        text = json.dumps(dict(fields), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold an entry: a second run that wants the same one waits, and then finds it finished."""
        if self._root is None:
            yield
            return
        path = self._root / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            yield

    def load(self, key: str) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]] | None:
        """Return the description and the arrays of a pass, memory-mapped; None if it is not (whole) in the store."""
        if self._root is None:
            return None
        folder = self._root / "extractions" / key
        if not folder.is_dir():
            return None
        try:
            entry = _read_json(folder / "entry.json")
            arrays = {}
            for name, expected in entry["arrays"].items():
                with (folder / f"{name}.npy").open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                        raise ValueError(f"{name}.npy does not have the checksum it was written with")
                arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return entry["description"], arrays
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _drop(folder, error)
            return None

    @contextmanager
    def writing(self, key: str) -> Iterator[Writer]:
        """Write a pass: arrays straight into files beside the entry's place, renamed into it by `Writer.commit`."""
        writer = Writer(None if self._root is None else self._root / "extractions" / key)
        try:
            yield writer
        finally:
            writer.discard()

    def load_scores(self, key: str, labels: str, measures: tuple[str, ...]) -> dict[str, Any] | None:
        """Return what is known of a pass: its ``summary``, and ``scores`` for those of the measures that were made.

        Args:
            key: the pass.
            labels: fingerprint of the labels that the scores are for.
            measures: names of the measures.
        """
        if self._root is None:
            return None
        folder = self._root / "scores" / key
        try:
            summary = _read_json(folder / "summary.json")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _drop(folder, error)
            return None
        scores = {}
        for measure in measures:
            path = folder / f"{labels}-{measure}.npz"
            try:
                with np.load(path, allow_pickle=False) as stored:  # a zip archive: each member has a checksum
                    score = json.loads(str(stored["score"]))
                    score["influence"] = stored.get("influence")
                    scores[measure] = score
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
                _drop(path, error)
        return {"summary": summary, "scores": scores}

    def save_scores(self, key: str, labels: str, summary: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
        """Write a pass's summary and scores; an ``influence`` array in a score is kept beside it.

        Args:
            key: the pass.
            labels: fingerprint of the labels.
            summary: plain data.
            scores: measure → plain data, and ``influence``: ``[n]`` float32 or None.
        """
        if self._root is None:
            return
        folder = self._root / "scores" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for measure, score in scores.items():
                arrays = {"score": np.array(json.dumps({k: v for k, v in score.items() if k != "influence"}))}
                if score["influence"] is not None:
                    arrays["influence"] = score["influence"]
                buffer = io.BytesIO()
                np.savez(buffer, **arrays)  # type: ignore[arg-type]
                _write(folder / f"{labels}-{measure}.npz", buffer.getvalue())
            _write_json(folder / "summary.json", summary)
        except OSError as error:
            _LOG.warning("store: scores cannot be kept: %s", error.strerror or error)

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file's content, remembered as long as its size and time stamp stay the same."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        memo = None
        if self._root is not None:
            name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:40]
            memo = self._root / "digests" / f"{name}.json"
            try:
                known = _read_json(memo)
                if known["stamp"] == stamp:
                    return str(known["sha256"])
            except (OSError, ValueError, KeyError, TypeError):
                pass  # never seen, or damaged: hash it again
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if memo is not None and time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            memo.parent.mkdir(parents=True, exist_ok=True)
            _write_json(memo, {"stamp": stamp, "sha256": digest})
        return digest

    def usage(self) -> Usage:
        """Count what is in the store."""
        entries, num_bytes = {}, {}
        for kind in _KINDS[:2]:
            folder = (self._root or Path()) / kind
            found = list(folder.iterdir()) if self._root is not None and folder.is_dir() else []
            entries[kind] = len(found)
            num_bytes[kind] = sum(file.stat().st_size for path in found for file in path.rglob("*") if file.is_file())
        return Usage(self._root or Path(), entries, num_bytes)

    def clear(self) -> Usage:
        """Remove everything in the store, and nothing else in its folder; return what was there."""
        before = self.usage()
        for kind in _KINDS if self._root is not None else ():
            shutil.rmtree(self._root / kind, ignore_errors=True)  # type: ignore[operator]
        return before


class Writer:
    """Arrays of one pass on their way into the store.

    Args:
        place: the entry's folder; None to keep the arrays in memory only.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._folder = place.with_name(f"{place.name}.partial") if place is not None else None
        self._arrays: dict[str, NDArray[np.float32]] = {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # what a killed run left behind
            self._folder.mkdir(parents=True)

    def allocate(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make a float32 array to be filled: a file mapped into memory, or plain memory without a store."""
        if self._folder is None:
            return np.empty(shape, dtype=np.float32)
        path = self._folder / f"{name}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            with path.open("rb+") as stream:  # a full disk must say so now, not kill the process at the first write
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            _LOG.warning("store: no room for this pass (%s); it is not kept", error.strerror or error)
            self.discard()
            self._folder = None
            return np.empty(shape, dtype=np.float32)
        self._arrays[name] = array
        return array

    def commit(self, description: Mapping[str, Any]) -> None:
        """Put the entry in its place, whole, with the checksums of its arrays."""
        if self._folder is None or self._place is None:
            return
        try:
            digests = {}
            for name, array in self._arrays.items():
                array.flush()  # type: ignore[attr-defined]
                with (self._folder / f"{name}.npy").open("rb") as stream:
                    digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            _write_json(self._folder / "entry.json", {"description": description, "arrays": digests})
            if self._place.exists():
                _remove(self._place)
            self._folder.rename(self._place)
        except OSError as error:
            _LOG.warning("store: this pass cannot be kept: %s", error.strerror or error)

    def discard(self) -> None:
        """Remove what was not committed."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _drop(path: Path, error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    _LOG.warning("store: %s is damaged or foreign (%s); it is made again", path, reason)
    try:
        _remove(path)
    except OSError as error_again:
        _LOG.warning("store: %s cannot be removed: %s", path, error_again)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    _write(path, json.dumps({"sha256": digest, "content": content}, sort_keys=True).encode())


def _read_json(path: Path) -> Any:
    stored = json.loads(path.read_bytes())
    text = json.dumps(stored["content"], sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
        raise ValueError(f"{path.name} does not have the checksum it was written with")
    return stored["content"]
