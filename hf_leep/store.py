"""Finished passes and scores on disk: whole or absent, and checked whenever they are read.

Layout under the root, by default ``<HF_HOME>/hf_leep``::

    extractions/<key>/entry.json, probabilities.npy, features.npy    one candidate's pass over one set of rows
    scores/<key>/summary.json, <labels>-<measure>.score               the scores of a pass
    digests/<path>.json                                              hashes of local weight files
    checks/<key>.json                                                results of a measure's checks on this machine
    training/<key>/journal.jsonl                                     what has been fine-tuned so far
    locks/<key>.lock

An entry is written to a folder beside its own and then renamed, so it is complete or absent. All that is read is
checked against its checksum. What is damaged or not written by hf_leep is removed, with a log line, and made again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hf_leep.errors import one_line

_T = TypeVar("_T")
_LOG = logging.getLogger("hf_leep")
_KINDS = ("extractions", "scores", "training", "digests", "checks")
_ENTRIES = _KINDS[:2]  # what is stored under the key of a pass
_PARTIAL = ".partial"
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, EOFError, FileNotFoundError, NotADirectoryError)
_QUIET_SECONDS = 5.0  # that a run waits for another before it says so
_SETTLED_NS = 2 * 10**9  # a younger file can still change without a change of its time stamp

JsonObject: TypeAlias = dict[str, Any]
"""Plain data, as ``json`` reads it."""


@dataclass(frozen=True)
class Usage:
    """What the store holds.

    Attributes:
        root: its folder; None if nothing is kept.
        entries: kind → number of entries.
        num_bytes: kind → size on disk.
    """

    root: Path | None
    entries: Mapping[str, int]
    num_bytes: Mapping[str, int]


class Store:
    """The store. With root None it keeps nothing and finds nothing.

    Args:
        root: its folder. If it cannot be made or written, a log line says so and nothing is kept.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None:
            try:
                root.mkdir(parents=True, exist_ok=True)
                if not os.access(root, os.W_OK):
                    raise PermissionError(errno.EACCES, "it cannot be written")
            except OSError as error:
                _LOG.warning("store: %s cannot be used (%s); nothing is kept", root, error.strerror or error)
                root = None
        self._root = root

    @staticmethod
    def default_root() -> Path:
        """``<HF_HOME>/hf_leep``."""
        from huggingface_hub import constants

        return Path(constants.HF_HOME) / "hf_leep"

    @staticmethod
    def key(fields: Mapping[str, str | int | None]) -> str:
        """The key of these fields, 40 hex digits; a difference in any field gives another key."""
        text = json.dumps(dict(fields), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock an entry. A second run that wants the same entry logs that it waits, and then finds it finished."""
        with contextlib.ExitStack() as held:
            if self._root is not None:
                path = self._root / "locks" / f"{key}.lock"
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    lock = FileLock(path)
                    try:
                        lock.acquire(timeout=_QUIET_SECONDS)
                    except Timeout:
                        _LOG.warning("store: another run is at this pass or training; waiting for it to finish")
                        lock.acquire()
                    held.callback(lock.release)
                except (OSError, NotImplementedError) as error:  # a full disk, or a file system without locks
                    _LOG.warning("store: cannot lock (%s); going on without", one_line(error))
            yield

    def description(self, key: str) -> JsonObject | None:
        """The description of a finished pass, without reading its arrays; None if it is not stored."""
        entry = self._peek("extractions", key, "entry.json")  # `load` reports and removes what is damaged
        return None if entry is None else entry["description"]

    def load(self, key: str) -> tuple[JsonObject, dict[str, NDArray[np.float32]]] | None:
        """The description and the arrays of a pass, memory-mapped; None if it is not stored or damaged."""
        if self._root is None:
            return None
        folder = self._root / "extractions" / key
        if not folder.is_dir():
            return None
        try:
            entry = _read_json(folder / "entry.json")
            arrays = {}
            for name, expected in entry["arrays"].items():
                if _sha256(folder / f"{name}.npy") != expected:
                    raise ValueError(f"{name}.npy does not have the checksum it was written with")
                arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return entry["description"], arrays
        except _DAMAGE as error:
            self._drop(folder, error)
        except OSError as error:  # not the fault of the entry: too many open files, a disk that is not mounted
            _LOG.warning("store: %s cannot be read now: %s", folder, one_line(error))
        return None

    def drop(self, key: str, error: Exception | None = None, kinds: Sequence[str] = _ENTRIES) -> None:
        """Remove what is stored under a key.

        Args:
            key: the key of a pass.
            error: why it cannot be used, for the log; None if it is not needed any more.
            kinds: ``extractions`` for the pass, ``scores`` for its scores.
        """
        for kind in kinds:
            if self._root is not None and (self._root / kind / key).exists():
                self._drop(self._root / kind / key, error)

    def _drop(self, path: Path, error: Exception | None) -> None:
        if error is not None:
            _LOG.warning("store: %s is damaged or foreign (%s); it is made again", path, one_line(error))
        try:
            _remove(path)
        except OSError as problem:
            _LOG.warning("store: %s cannot be removed: %s", path, one_line(problem))

    @contextlib.contextmanager
    def writing(self, key: str | None) -> Iterator[Writer]:
        """Write a pass: its arrays are files, which `Writer.commit` moves to their place.

        Args:
            key: the key of the pass; None to keep the arrays in memory.
        """
        writer = Writer(None if self._root is None or key is None else self._root / "extractions" / key)
        try:
            yield writer
        finally:
            writer.discard()

    def load_scores(
        self, key: str, labels: str, measures: tuple[str, ...]
    ) -> tuple[JsonObject, dict[str, JsonObject]] | None:
        """The summary of a pass, and its stored scores for labels of this fingerprint; None without a summary."""
        if self._root is None:
            return None
        folder = self._root / "scores" / key
        summary = self._read_or_drop(_read_json, folder / "summary.json", drop=folder)
        if summary is None:
            return None
        paths = {measure: folder / f"{labels}-{measure}.score" for measure in measures}
        found = {measure: self._read_or_drop(_read_score, path, drop=path) for measure, path in paths.items()}
        return summary, {measure: score for measure, score in found.items() if score is not None}

    def _read_or_drop(self, read: Callable[[Path], JsonObject], path: Path, drop: Path) -> JsonObject | None:
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except (OSError, *_DAMAGE) as error:
            self._drop(drop, error)
            return None

    def save_scores(self, key: str, labels: str, summary: JsonObject, scores: Mapping[str, JsonObject]) -> None:
        """Write the summary and the scores of a pass.

        Args:
            key: the key of the pass.
            labels: fingerprint of the labels.
            summary: plain data.
            scores: measure → plain data, and ``influence``: a float32 array ``[n]``, or None.
        """
        if self._root is None:
            return
        folder = self._root / "scores" / key
        try:
            for measure, score in scores.items():
                _write_score(folder / f"{labels}-{measure}.score", score)
            _write_json(folder / "summary.json", summary)
        except OSError as error:
            _LOG.warning("store: scores cannot be kept: %s", one_line(error))

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file's content, kept for as long as its size and its time stamps stay the same."""
        status = path.stat()
        # A copy that keeps the modification time still has another inode, or another time of change.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:40]
        known = self._peek("digests", f"{name}.json")
        if isinstance(known, dict) and known.get("stamp") == stamp and "sha256" in known:
            return str(known["sha256"])
        digest = _sha256(path)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            self._keep({"stamp": stamp, "sha256": digest}, "digests", f"{name}.json")
        return digest

    def checks(self, key: str, make: Callable[[], _T]) -> _T:
        """Plain data on the checks of a measure: what is stored under this key, or else what ``make`` returns."""
        known: _T | None = self._peek("checks", f"{key}.json")
        if known is None:
            self._keep(known := make(), "checks", f"{key}.json")
        return known

    def _peek(self, *parts: str) -> Any:
        if self._root is not None:
            with contextlib.suppress(OSError, *_DAMAGE):  # never written, or damaged: it is made again
                return _read_json(self._root.joinpath(*parts))
        return None

    def _keep(self, content: object, *parts: str) -> None:
        if self._root is not None:
            with contextlib.suppress(OSError):  # it is made again the next time
                _write_json(self._root.joinpath(*parts), content)

    def journal(self, key: str) -> Path | None:
        """The file of what a comparison by fine-tuning has trained so far, by its key; None if nothing is kept."""
        return None if self._root is None else self._root / "training" / key / "journal.jsonl"

    def usage(self) -> Usage:
        """Count the entries of the store."""
        entries, num_bytes = {}, {}
        for kind in _KINDS[:3]:
            found = [] if self._root is None else (self._root / kind).glob("*")
            paths = [path for path in found if not path.name.endswith(_PARTIAL)]
            entries[kind] = len(paths)
            num_bytes[kind] = sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())
        return Usage(self._root, entries, num_bytes)

    def clear(self) -> Usage:
        """Remove everything in the store and nothing else in its folder; return what it held."""
        before = self.usage()
        if self._root is not None:
            for kind in _KINDS:  # not the locks: another run may hold one
                shutil.rmtree(self._root / kind, ignore_errors=True)
        return before


class Writer:
    """Writes the arrays of one pass.

    Args:
        place: the folder of the entry; None to keep the arrays in memory.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._folder: Path | None = None
        self._scratch: Path | None = None
        self._arrays: dict[str, np.memmap[Any, np.dtype[np.float32]]] = {}
        if place is not None:
            try:
                for left in place.parent.glob(f"{place.name}.*{_PARTIAL}"):  # by a run that was killed
                    shutil.rmtree(left, ignore_errors=True)
                folder = place.with_name(f"{place.name}.{os.getpid()}.{time.time_ns()}{_PARTIAL}")
                folder.mkdir(parents=True)
                self._folder = folder
            except OSError as error:
                _LOG.warning("store: no room for this pass (%s); it is not kept", one_line(error))

    def allocate(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make a float32 array to be filled: a file mapped into memory, or plain memory if nothing is kept."""
        if self._folder is not None:
            path = self._folder / f"{name}.npy"
            try:
                array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                with path.open("rb+") as stream:  # a full disk must raise now, not kill the process at the first write
                    _reserve(stream, path.stat().st_size)
                self._arrays[name] = array
                return array
            except OSError as error:
                _LOG.warning("store: no room for this pass (%s); it is not kept", one_line(error))
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
        return np.empty(shape, dtype=np.float32)

    def scratch(self) -> Path:
        """A temporary folder beside the entry, which `discard` removes."""
        if self._scratch is None:
            beside = self._folder.parent if self._folder is not None else None
            name = self._place.name if self._place is not None else "hf-leep"
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{name}.shards-", suffix=_PARTIAL, dir=beside))
        return self._scratch

    def commit(self, description: JsonObject) -> None:
        """Move the finished entry to its place, with the checksums of its arrays."""
        if self._folder is None or self._place is None:
            return
        try:
            digests = {}
            for name, array in self._arrays.items():
                array.flush()
                digests[name] = _sha256(self._folder / f"{name}.npy")
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
    """Allocate the disk space of a file."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
    else:
        stream.seek(128)  # behind numpy's header
        for start in range(128, size, 2**20):
            stream.write(bytes(min(2**20, size - start)))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_score(path: Path, score: JsonObject) -> None:
    """Write one line of JSON, then the influence values; the line begins with the checksum of both."""
    influence = score["influence"]
    values = b"" if influence is None else np.asarray(influence, dtype="<f4").tobytes()
    content = {name: value for name, value in score.items() if name != "influence"}
    text = json.dumps({"score": content, "num_values": None if influence is None else len(influence)}, sort_keys=True)
    digest = hashlib.sha256(text.encode() + values).hexdigest()
    _write(path, f"{digest} {text}\n".encode() + values)


def _read_score(path: Path) -> JsonObject:
    head, _, values = path.read_bytes().partition(b"\n")
    digest, _, text = head.partition(b" ")
    if hashlib.sha256(text + values).hexdigest() != digest.decode("ascii", "replace"):
        raise ValueError("it does not have the checksum that it was written with")
    stored = json.loads(text)
    influence = None if stored["num_values"] is None else np.frombuffer(values, dtype="<f4")
    return {**stored["score"], "influence": influence}


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    _write(path, json.dumps({"sha256": digest, "content": content}, sort_keys=True).encode())


def _read_json(path: Path) -> Any:
    stored = json.loads(path.read_bytes())
    text = json.dumps(stored["content"], sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
        raise ValueError(f"{path.name} does not have the checksum it was written with")
    return stored["content"]
