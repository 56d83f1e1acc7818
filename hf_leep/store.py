"""Finished passes and scores on disk: found again, checked, and never in between.

Layout under the root, by default ``<HF_HOME>/hf_leep``::

    extractions/<key>/entry.json, probabilities.npy, features.npy    one candidate's pass over one set of rows
    scores/<key>/summary.json, <labels>-<measure>.score               what was made of it
    digests/<path>.json                                              hashes of local weight files
    checks/<key>.json                                                what a measure's checks on this machine gave
    locks/<key>.lock

An entry is written beside its place and renamed into it, so it is complete or absent. Whatever is read is checked
against its checksum; what is damaged or foreign is dropped with one log line and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from hf_leep.errors import one_line

_LOG = logging.getLogger("hf_leep")
_KINDS = ("extractions", "scores", "digests", "checks")
_PARTIAL = ".partial"
# What a file that is not ours, or not whole, can raise while it is read.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    FileNotFoundError,
    NotADirectoryError,
)
_PATIENCE = 5.0  # seconds before a run that waits for another says so
_SETTLED_NS = 2 * 10**9  # a file younger than this can change again within its time stamp


@dataclass(frozen=True)
class Usage:
    """What the store holds.

    Attributes:
        root: its folder; None where nothing is kept.
        entries: kind → number of entries.
        num_bytes: kind → size on disk.
    """

    root: Path | None
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
        """Hold an entry: a second run that wants the same one waits, says so, and then finds it finished."""
        held = self._acquired(key) if self._root is not None else None
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def _acquired(self, key: str) -> BaseFileLock | None:
        path = Path(self._root or "") / "locks" / f"{key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                _LOG.warning("store: another run is at this pass; waiting for it to finish")
                lock.acquire()
        except (OSError, NotImplementedError) as error:  # a full disk, or a file system without locks
            _LOG.warning("store: cannot lock (%s); going on without", one_line(error))
            return None
        return lock

    def description(self, key: str) -> dict[str, Any] | None:
        """What was written of a finished pass, its arrays aside; None if it is not there."""
        if self._root is None:
            return None
        try:
            return dict(_read_json(self._root / "extractions" / key / "entry.json")["description"])
        except (OSError, *_DAMAGE):  # `load` says so, and drops what is damaged
            return None

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
        except _DAMAGE as error:
            self.drop(folder, error)
        except OSError as error:  # not the entry's fault: too many open files, a disk that is away
            _LOG.warning("store: %s cannot be read now: %s", folder, one_line(error))
        return None

    def drop(self, path: Path, error: Exception) -> None:
        """Remove what cannot be used, and say so in one line."""
        _LOG.warning("store: %s is damaged or foreign (%s); it is made again", path, one_line(error))
        try:
            _remove(path)
        except OSError as error_again:
            _LOG.warning("store: %s cannot be removed: %s", path, one_line(error_again))

    def drop_entry(self, key: str, error: Exception) -> None:
        """Remove all that is stored under a key, such as an entry whose records are another version's."""
        for kind in ("extractions", "scores"):
            if self._root is not None and (self._root / kind / key).exists():
                self.drop(self._root / kind / key, error)

    def forget(self, key: str) -> None:
        """Remove all that is stored under a key, where it is not needed any more."""
        for kind in ("extractions", "scores"):
            if self._root is not None:
                shutil.rmtree(self._root / kind / key, ignore_errors=True)

    @contextmanager
    def writing(self, key: str | None) -> Iterator[Writer]:
        """Write a pass: arrays straight into files beside the entry's place, renamed into it by `Writer.commit`.

        Without a key, what is written stays in memory.
        """
        writer = Writer(None if self._root is None or key is None else self._root / "extractions" / key)
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
        except (OSError, *_DAMAGE) as error:
            self.drop(folder, error)
            return None
        scores = {}
        for measure in measures:
            path = folder / f"{labels}-{measure}.score"
            try:
                scores[measure] = _read_score(path)
            except FileNotFoundError:
                continue
            except (OSError, *_DAMAGE) as error:
                self.drop(path, error)
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
                _write_score(folder / f"{labels}-{measure}.score", score)
            _write_json(folder / "summary.json", summary)
        except OSError as error:
            _LOG.warning("store: scores cannot be kept: %s", one_line(error))

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file's content, remembered as long as its size and time stamp stay the same."""
        status = path.stat()
        # A copy that keeps the old time stamp still has another inode, or another time of change.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
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
        if memo is not None and time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            with contextlib.suppress(OSError):  # not remembered: hashed again the next time
                memo.parent.mkdir(parents=True, exist_ok=True)
                _write_json(memo, {"stamp": stamp, "sha256": digest})
        return digest

    def checks(self, key: str, make: Callable[[], Any]) -> Any:
        """Plain data on a measure's checks, made if it is not there.

        Args:
            key: measure, versions and machine, as by `key`.
            make: makes it.
        """
        path = self._root / "checks" / f"{key}.json" if self._root is not None else None
        if path is not None:
            with contextlib.suppress(OSError, *_DAMAGE):  # never made, or damaged: make it
                return _read_json(path)
        made = make()
        if path is not None:
            with contextlib.suppress(OSError):  # not remembered: made again the next time
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_json(path, made)
        return made

    def usage(self) -> Usage:
        """Count what is in the store."""
        entries, num_bytes = {}, {}
        for kind in _KINDS[:2]:
            folder = (self._root or Path()) / kind
            found = list(folder.iterdir()) if self._root is not None and folder.is_dir() else []
            found = [path for path in found if not path.name.endswith(_PARTIAL)]
            entries[kind] = len(found)
            num_bytes[kind] = sum(file.stat().st_size for path in found for file in path.rglob("*") if file.is_file())
        return Usage(self._root, entries, num_bytes)

    def clear(self) -> Usage:
        """Remove everything in the store, and nothing else in its folder; return what was there."""
        before = self.usage()
        for kind in _KINDS:  # not the locks: another run may hold one
            if self._root is not None:
                shutil.rmtree(self._root / kind, ignore_errors=True)
        return before


class Writer:
    """Arrays of one pass on their way into the store.

    Args:
        place: the entry's folder; None to keep the arrays in memory only.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._folder: Path | None = None
        self._scratch: Path | None = None
        self._arrays: dict[str, NDArray[np.float32]] = {}
        if place is None:
            return
        try:
            for left in place.parent.glob(f"{place.name}.*{_PARTIAL}"):  # by a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            folder = place.with_name(f"{place.name}.{os.getpid()}.{time.time_ns()}{_PARTIAL}")
            folder.mkdir(parents=True)
            self._folder = folder
        except OSError as error:
            _LOG.warning("store: no room for this pass (%s); it is not kept", one_line(error))

    def allocate(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make a float32 array to be filled: a file mapped into memory, or plain memory without a store."""
        if self._folder is None:
            return np.empty(shape, dtype=np.float32)
        path = self._folder / f"{name}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            with path.open("rb+") as stream:  # a full disk must say so now, not kill the process at the first write
                _reserve(stream, path.stat().st_size)
        except OSError as error:
            _LOG.warning("store: no room for this pass (%s); it is not kept", one_line(error))
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            return np.empty(shape, dtype=np.float32)
        self._arrays[name] = array
        return array

    def scratch(self) -> Path:
        """A folder for what leads to this pass; gone when the pass is finished or given up."""
        if self._scratch is None:
            beside = self._folder.parent if self._folder is not None else None
            name = self._place.name if self._place is not None else "hf-leep"
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{name}.shards-", suffix=_PARTIAL, dir=beside))
        return self._scratch

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
            _LOG.warning("store: this pass cannot be kept: %s", one_line(error))

    def discard(self) -> None:
        """Remove what was not committed."""
        for folder in (self._scratch, self._folder):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _reserve(stream: BinaryIO, size: int) -> None:
    """Take the disk space of a file now."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
        return
    start = stream.tell()
    stream.seek(0, os.SEEK_END)
    zeros = bytes(2**20)
    stream.seek(128)  # numpy's header stays
    while stream.tell() < size:
        stream.write(zeros[: size - stream.tell()])
    stream.seek(start)


def _write_score(path: Path, score: Mapping[str, Any]) -> None:
    """One line of JSON, then the influence values; the line holds the checksum of both."""
    influence = score["influence"]
    values = b"" if influence is None else np.asarray(influence, dtype="<f4").tobytes()
    content = {name: value for name, value in score.items() if name != "influence"}
    text = json.dumps({"score": content, "num_values": None if influence is None else len(influence)}, sort_keys=True)
    digest = hashlib.sha256(text.encode() + values).hexdigest()
    _write(path, f"{digest} {text}\n".encode() + values)


def _read_score(path: Path) -> dict[str, Any]:
    head, _, values = path.read_bytes().partition(b"\n")
    digest, _, text = head.partition(b" ")
    if hashlib.sha256(text + values).hexdigest() != digest.decode("ascii", "replace"):
        raise ValueError("it does not have the checksum that it was written with")
    stored = json.loads(text)
    influence = None if stored["num_values"] is None else np.frombuffer(values, dtype="<f4")
    return {**stored["score"], "influence": influence}


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
