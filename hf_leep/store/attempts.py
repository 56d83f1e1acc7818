"""What is remembered of candidates that ended the process that ran them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hf_leep.errors import WorkerError, lacks_memory
from hf_leep.store.files import read_json, write_json

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Attempt:
    """An attempt at a candidate that came to no orderly end.

    Attributes:
        reason: what ended its worker; None where the run itself was killed while it was at the candidate, or where
            its worker was killed while other candidates ran.
        num_killed: how many runs in succession were killed while they were at the candidate.
    """

    reason: str | None
    num_killed: int = 0


class Attempts:
    """The attempts that came to no orderly end; a later one that does removes its record.

    Args:
        root: the folder of the store; None to remember nothing.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._at_work: dict[str, Attempt | None] = {}  # key → what was remembered before the attempt that runs

    def __reduce__(self) -> tuple[type[Attempts], tuple[Path | None]]:
        """A lock cannot be sent to another process, which has attempts of its own at work."""
        return Attempts, (self._root,)

    def get(self, key: str) -> Attempt | None:
        """What is remembered under a key; None if there is nothing, or another run is at it right now."""
        found = self._read(key)
        if found is None or found.reason is not None:
            return found
        with self._lock(key) as free:
            return self._read(key) if free else None

    @contextlib.contextmanager
    def running(self, key: str, forget: bool = True, blame: bool = True) -> Iterator[None]:
        """Remember that a candidate is at work until this ends; for good if it ends its worker, or kills this process.

        Args:
            key: its key.
            forget: whether an orderly end clears it of earlier attempts.
            blame: whether the candidate is to blame if memory runs out; if not, it is tried again, and no more.
        """
        with self._lock(key) as free:
            if not free:
                yield
                return
            before = self._read(key)
            with self._guard:
                self._at_work[key] = before
                self._write(key, Attempt(None, 1 + (before.num_killed if before else 0)))
            after = None if forget else before
            try:
                yield
            except WorkerError as error:
                after = Attempt(error.marked()) if blame or not lacks_memory(error) else before or Attempt(None)
                raise
            except KeyboardInterrupt:
                after = before  # nothing was learnt of it
                raise
            finally:
                with self._guard:
                    if key in self._at_work:
                        del self._at_work[key]
                        self._write(key, after)

    def abandon(self) -> None:
        """Nothing is learnt of the candidates that are at work: the threads that run them may never end."""
        with self._guard:
            for key, before in self._at_work.items():
                self._write(key, before)
            self._at_work.clear()

    def _read(self, key: str) -> Attempt | None:
        if self._root is None:
            return None
        try:
            stored = read_json(self._path(key))
            return Attempt(stored["reason"], int(stored["num_killed"]))
        except _UNREADABLE:  # never written, or damaged
            return None

    def _write(self, key: str, attempt: Attempt | None) -> None:
        with contextlib.suppress(OSError):  # a full disk: the run goes on without
            if attempt is None:
                self._path(key).unlink(missing_ok=True)
            else:
                write_json(self._path(key), vars(attempt))

    def _path(self, key: str) -> Path:
        return Path(self._root or "") / "attempts" / f"{key}.json"

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[bool]:
        """Whether nobody else is at a candidate; the lock of a process that dies is free."""
        if self._root is None:
            yield False
            return
        lock = FileLock(self._root / "locks" / f"attempt-{key}.lock")
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except (Timeout, OSError, NotImplementedError):  # the last where a file system has no locks
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
