"""Files that are written whole or not at all, and what runs that were killed have left of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePath

_OWNED = re.compile(r"\.([0-9a-f]{8})-(\d+)\.")  # the machine and the process in a temporary name
_MAX_AGE = 2 * 24 * 3600.0  # seconds without a change, after which what belongs to another machine is removed


def owner() -> str:
    """This process, as part of a temporary name: which machine since which start, and its number there."""
    return f"{_machine()}-{os.getpid()}"


def beside(path: Path) -> Path:
    """The temporary name under which a file is written, before it is moved to its place."""
    return path.with_name(f".{path.name}.{owner()}.tmp")


def pattern(name: str) -> str:
    """The glob pattern of temporary names of a file, of whichever process.

    Args:
        name: the name of the file, or a path to it.
    """
    path = PurePath(name)
    return str(path.with_name(f".{path.name}.*.tmp"))


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: it cannot be written; what was at its place is still there.
    """
    write_all({path: content})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all of them are on disk before the first one moves to its place.

    Args:
        files: path → content; they move to their places in this order.

    Raises:
        OSError: one of them cannot be written, and none was replaced; or one cannot be moved.
    """
    try:
        for path, content in files.items():
            beside(path).write_bytes(content)
        for path in files:
            beside(path).replace(path)
    except BaseException:  # an interruption, too
        for path in files:
            remove(beside(path))
        raise


def is_left(path: Path) -> bool:
    """Whether a temporary file or folder belongs to no process that still runs.

    Whether a process of another machine or container runs cannot be seen from here: two days without a change decide.
    """
    owned = _OWNED.search(path.name)
    if owned and owned[1] == _machine():
        import psutil

        if not psutil.pid_exists(int(owned[2])):
            return True
    try:
        changed = max(one.lstat().st_mtime for one in (path, *(path.rglob("*") if path.is_dir() else ())))
    except OSError:  # it has just been removed
        return False
    return bool(time.time() - changed > _MAX_AGE)


def clear(paths: Iterable[Path]) -> None:
    """Remove those of some temporary files and folders that dead runs have left."""
    with contextlib.suppress(OSError):
        for path in paths:
            if is_left(path):
                remove(path)


def is_of_kernel(path: Path) -> bool:
    """Whether a path leads to what the kernel makes up while it is read: some has no end, and some waits for ever.

    Such files of Linux look like ordinary empty ones.
    """
    return os.path.realpath(path).startswith(("/proc/", "/sys/"))


def is_endless(path: Path) -> bool:
    """Whether reading a file may never end: it is a pipe, a socket or a device, or a link into /proc or /sys.

    A link to nothing is not.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or is_of_kernel(path)


def remove(path: Path) -> None:
    """Remove a file or a folder; never mind if that fails."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@cache
def _machine() -> str:
    """A name for this machine since its start, and for the space that its process numbers are of; 8 hex digits."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
