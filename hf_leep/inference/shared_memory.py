"""Memory that several processes see.

A block is a file without a name, so nothing is left of it when the last process that holds it ends, however it ends.
On Linux it is made by ``memfd_create``, which ``/dev/shm`` with its 64 MB in many containers does not limit. All of
its pages are reserved when it is made: where there is no room, making it fails, and writing to it later cannot.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hf_leep.inference.memory import available_memory

_SHARE_OF_MEMORY = 0.5  # of the free memory that one block may take
_SHM = Path("/dev/shm")  # noqa: S108 - where a block is made on systems without memfd_create


@dataclass(frozen=True, eq=False)
class Block:
    """A block of shared memory.

    Attributes:
        fd: its file descriptor, by which other processes can open it.
        size: number of bytes.
        memory: its content.
    """

    fd: int
    size: int
    memory: mmap.mmap = field(repr=False)

    @classmethod
    def create(cls, size: int, room: int | None = None) -> Block:
        """Make a block: in shared memory if it has room, else in a temporary file.

        Args:
            size: number of bytes.
            room: largest number of bytes to take from shared memory; at most half of the free memory by default.

        Raises:
            MemoryError: there is no room in memory, and none in the folder of temporary files.
        """
        made: int | None = None
        # Reserving more than there is would end other processes, whatever the caller says.
        if size <= (_room() if room is None else min(room, _room())):
            made = _reserved(_in_memory, size)
        if made is None:
            made = _reserved(_in_file, size)
        if made is None:
            raise MemoryError(f"no room for {size} bytes in memory, nor in {tempfile.gettempdir()}")
        return cls.open(made, size)

    @classmethod
    def open(cls, fd: int, size: int) -> Block:
        """Open a block that another process made.

        Args:
            fd: its file descriptor, in this process.
            size: number of bytes.
        """
        return cls(fd, size, mmap.mmap(fd, size))

    def close(self) -> None:
        """Close the file; the memory is freed when nothing refers to it any more."""
        os.close(self.fd)


def _room() -> int:
    """Bytes that a block in memory may have."""
    room = int(_SHARE_OF_MEMORY * available_memory())
    if hasattr(os, "memfd_create") or not _SHM.is_dir():
        return room
    found = os.statvfs(_SHM)
    return min(room, int(_SHARE_OF_MEMORY * found.f_bavail * found.f_frsize))


def _in_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hf_leep")
    if _SHM.is_dir():
        return _nameless(str(_SHM))
    raise OSError(errno.ENOSYS, "no shared memory")


def _in_file() -> int:
    return _nameless(None)


def _nameless(folder: str | None) -> int:
    """A temporary file that has no name any more."""
    with tempfile.TemporaryFile(prefix="hf-leep-", dir=folder) as file:
        return os.dup(file.fileno())


def _reserved(opened: Callable[[], int], size: int) -> int | None:
    """A new file of this size whose pages are all reserved; None where there is no room."""
    try:
        fd = opened()
    except OSError:
        return None
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        return None
    return fd
