"""How much memory may be used: the machine's, within the limit of a container."""

from __future__ import annotations

import contextlib
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_FILES = {  # version of control groups → the files of a group's limit and use, and what its caches can give back
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_memory() -> int:
    """Bytes that this process can still use: what the machine has free, or the container if that is less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    return min([free, *(max(0, left) for left in _left_in_groups())])


def _left_in_groups() -> list[int]:
    """Bytes left in each control group with a limit that this process is in; none where there are no such groups."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:  # not Linux
        return []
    left = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        root = _GROUPS / "memory" if version == 1 else _GROUPS
        own = root / path.strip("/")
        # A container may not see the path of its group: then the group is the root.
        for folder in {root, own, *(parent for parent in own.parents if root in parent.parents)}:
            with contextlib.suppress(OSError, ValueError):  # no limit there ("max", or no file)
                left.append(_left(folder, *_FILES[version]))
    return left


def _left(folder: Path, limit: str, use: str, cache: str) -> int:
    most, used = (int((folder / name).read_text()) for name in (limit, use))
    given_back = 0
    with contextlib.suppress(OSError):
        values = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
        given_back = int(values.get(cache, 0))
    return most - used + given_back
