"""Writes the arrays of a pass, as files that are moved to their place when it is complete."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_leep import temporary
from hf_leep.errors import one_line
from hf_leep.store.files import JsonObject, remove, reserve, sha256, write_json

_LOG = logging.getLogger("hf_leep")
PARTIAL = ".partial"
"""How the names of unfinished folders end."""


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
                folder = place.with_name(f"{place.name}.{temporary.owner()}.{time.time_ns()}{PARTIAL}")
                folder.mkdir(parents=True)
                self._folder = folder
            except OSError as error:
                _LOG.warning("the store has no room for this pass (%s); it is not kept", one_line(error))

    def allocate(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make a float32 array to be filled: a file mapped into memory, or plain memory if nothing is kept."""
        if self._folder is not None:
            path = self._folder / f"{name}.npy"
            try:
                array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                with path.open("rb+") as stream:  # a full disk must raise now, not kill the process at the first write
                    reserve(stream, path.stat().st_size)
                self._arrays[name] = array
                return array
            except OSError as error:
                _LOG.warning("the store has no room for this pass (%s); it is not kept", one_line(error))
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
        return np.empty(shape, dtype=np.float32)

    def written(self) -> tuple[str, ...]:
        """Names of the arrays that are files of the entry."""
        return () if self._folder is None else tuple(self._arrays)

    def adopt(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Take over arrays that another process has allocated, with a copy of this writer, and filled.

        Args:
            names: what `written` returned there; if it is empty, nothing is kept.
        """
        if self._folder is None or not names:
            self.discard()
            self._folder = None
            return {}
        self._arrays = {name: np.load(self._folder / f"{name}.npy", mmap_mode="r+") for name in names}
        return dict(self._arrays)

    def scratch(self) -> Path:
        """A temporary folder beside the entry, which `discard` removes."""
        if self._scratch is None:
            beside = self._folder.parent if self._folder is not None else None
            name = self._place.name if self._place is not None else "hf-leep"
            self._scratch = Path(
                tempfile.mkdtemp(prefix=f"{name}.{temporary.owner()}.shards-", suffix=PARTIAL, dir=beside)
            )
        return self._scratch

    def commit(self, description: JsonObject) -> None:
        """Move the finished entry to its place, with the checksums of its arrays."""
        if self._folder is None or self._place is None:
            return
        try:
            digests = {}
            for name, array in self._arrays.items():
                array.flush()
                digests[name] = sha256(self._folder / f"{name}.npy")
            entry = {"key": self._place.name, "description": description, "arrays": digests}
            write_json(self._folder / "entry.json", entry)
            if self._place.exists():
                remove(self._place)
            self._folder.rename(self._place)
        except OSError as error:
            _LOG.warning("the store cannot keep this pass (%s)", one_line(error))

    def discard(self) -> None:
        """Remove what was not committed."""
        for folder in (self._scratch, self._folder):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
