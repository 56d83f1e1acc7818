"""Finished passes and scores on disk: whole or absent, and checked whenever they are read.

Layout under the root, by default ``<HF_HOME>/hf_leep``::

    extractions/<key>/entry.json, probabilities.npy, features.npy    one candidate's pass over one set of rows
    scores/<key>/summary.json, <labels>-<measure>.score               the scores of a pass
    digests/<path>.json                                              hashes of local weight files
    checks/<key>.json                                                results of a measure's checks on this machine
    training/<key>/journal.jsonl                                     what has been fine-tuned so far
    attempts/<key>.json                                              a candidate that ended the process that ran it
    locks/<key>.lock

An entry is written to a folder beside its own and then renamed, so it is complete or absent. All that is read is
checked against its checksum, and against the key that it was written under. What is damaged, in the place of something
else or not written by hf_leep is removed, with a log line, and made again. What runs that were killed have left half
written is removed by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hf_leep import temporary
from hf_leep.errors import one_line
from hf_leep.store.attempts import Attempts
from hf_leep.store.files import JsonObject as JsonObject
from hf_leep.store.files import check_key, read_json, read_score, remove, sha256, write_json, write_score
from hf_leep.store.writer import PARTIAL
from hf_leep.store.writer import Writer as Writer

_T = TypeVar("_T")
_LOG = logging.getLogger("hf_leep")
_KINDS = ("extractions", "scores", "training", "digests", "checks", "attempts")
_ENTRIES = _KINDS[:2]  # what is stored under the key of a pass
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, EOFError, FileNotFoundError, NotADirectoryError)
_QUIET_SECONDS = 5.0  # that a run waits for another before it says so
_SETTLED_NS = 2 * 10**9  # a younger file can still change without a change of its time stamp


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
                _LOG.warning("the store %s cannot be used (%s); nothing is kept", root, error.strerror or error)
                root = None
        self._root = root
        if root is not None:
            for pattern in (
                f"extractions/*{PARTIAL}",
                "scores/*/.*.tmp",
                "training/*/.*.tmp",
                *(f"{kind}/.*.tmp" for kind in _KINDS[2:]),
            ):
                temporary.clear(root.glob(pattern))

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

    @cached_property
    def attempts(self) -> Attempts:
        """What is remembered of candidates that ended the process that ran them."""
        return Attempts(self._root)

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
                        _LOG.warning("another run is making this pass or training; waiting for it to finish")
                        lock.acquire()
                    held.callback(lock.release)
                except (OSError, NotImplementedError) as error:  # a full disk, or a file system without locks
                    _LOG.warning("the store cannot be locked (%s); going on without a lock", one_line(error))
            yield

    def description(self, key: str) -> JsonObject | None:
        """The description of a finished pass, without reading its arrays; None if it is not stored."""
        entry = self._peek("extractions", key, "entry.json")  # `load` reports and removes what is damaged
        return entry["description"] if entry is not None and entry.get("key") == key else None

    def load(self, key: str) -> tuple[JsonObject, dict[str, NDArray[np.float32]]] | None:
        """The description and the arrays of a pass, memory-mapped; None if it is not stored or damaged."""
        if self._root is None:
            return None
        folder = self._root / "extractions" / key
        if not folder.is_dir():
            return None
        try:
            entry = read_json(folder / "entry.json")
            check_key(entry, key)
            arrays = {}
            for name, expected in entry["arrays"].items():
                if sha256(folder / f"{name}.npy") != expected:
                    raise ValueError(f"{name}.npy does not have the checksum it was written with")
                arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return entry["description"], arrays
        except _DAMAGE as error:
            self._drop(folder, error)
        except OSError as error:  # not the fault of the entry: too many open files, a disk that is not mounted
            _LOG.warning("%s in the store cannot be read now (%s)", folder, one_line(error))
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
            _LOG.warning("%s in the store is damaged or foreign (%s); it is made again", path, one_line(error))
        try:
            remove(path)
        except OSError as problem:
            _LOG.warning("%s in the store cannot be removed (%s)", path, one_line(problem))

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
        summary = self._read_or_drop(_read_summary, folder / "summary.json", key, drop=folder)
        if summary is None:
            return None
        paths = {measure: folder / f"{labels}-{measure}.score" for measure in measures}
        found = {measure: self._read_or_drop(read_score, path, key, drop=path) for measure, path in paths.items()}
        return summary, {measure: score for measure, score in found.items() if score is not None}

    def _read_or_drop(
        self, read: Callable[[Path, str], JsonObject], path: Path, key: str, drop: Path
    ) -> JsonObject | None:
        try:
            return read(path, key)
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
                write_score(folder / f"{labels}-{measure}.score", key, score)
            write_json(folder / "summary.json", {"key": key, "summary": summary})
        except OSError as error:
            _LOG.warning("the store cannot keep scores (%s)", one_line(error))

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file's content, kept for as long as its size and its time stamps stay the same."""
        status = path.stat()
        # A copy that keeps the modification time still has another inode, or another time of change.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:40]
        known = self._peek("digests", f"{name}.json")
        if isinstance(known, dict) and known.get("stamp") == stamp and "sha256" in known:
            return str(known["sha256"])
        digest = sha256(path)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            self._keep({"stamp": stamp, "sha256": digest}, "digests", f"{name}.json")
        return digest

    def checks(self, key: str, make: Callable[[], _T]) -> _T:
        """Plain data on the checks of a measure: what is stored under this key, or else what ``make`` returns."""
        stored = self._peek("checks", f"{key}.json")
        if isinstance(stored, dict) and stored.get("key") == key:
            known: _T = stored["checks"]
            return known
        made = make()
        self._keep({"key": key, "checks": made}, "checks", f"{key}.json")
        return made

    def _peek(self, *parts: str) -> Any:
        if self._root is not None:
            with contextlib.suppress(OSError, *_DAMAGE):  # never written, or damaged: it is made again
                return read_json(self._root.joinpath(*parts))
        return None

    def _keep(self, content: object, *parts: str) -> None:
        if self._root is not None:
            with contextlib.suppress(OSError):  # it is made again the next time
                write_json(self._root.joinpath(*parts), content)

    def journal(self, key: str) -> Path | None:
        """The file of what a comparison by fine-tuning has trained so far, by its key; None if nothing is kept."""
        return None if self._root is None else self._root / "training" / key / "journal.jsonl"

    def usage(self) -> Usage:
        """Count the entries of the store."""
        entries, num_bytes = {}, {}
        for kind in _KINDS[:3]:
            found = [] if self._root is None else (self._root / kind).glob("*")
            paths = [path for path in found if not path.name.endswith(PARTIAL)]
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


def _read_summary(path: Path, key: str) -> JsonObject:
    stored: JsonObject = read_json(path)
    check_key(stored, key)
    summary: JsonObject = stored["summary"]
    return summary
