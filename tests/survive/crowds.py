"""Two runs at once, full and read-only disks, many candidates, and a token that must be written nowhere."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.hub_server import Hub
from tests.survive.ground import (
    CANARY,
    LIMIT,
    Ground,
    Row,
    leftovers,
    num_finished,
    num_from_store,
    ranking,
    ranks,
    read,
)

_READ_ONLY, _REMOUNT = 1, 32  # of mount(2)
_MOST_MB = 500  # of memory of the main process of a large run

# Runs the command line, and writes the most memory that this process had, in MB.
MEASURED = """
import atexit, re, sys
peak = sys.argv.pop(1)

def save():
    status = open("/proc/self/status").read()
    open(peak, "w").write(str(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024))

atexit.register(save)
from hf_leep import cli
cli.main()
"""


def at_once(row: Row, ground: Ground, data: Path, models: Sequence[Path], num: int) -> None:
    """Start several runs over the same candidates on one store: each pass is run once, and all come to one ranking."""
    outputs = [ground.root / f"at-once-{k}" for k in range(num)]
    runs = [ground.start(*ranking(data, models, output), home="at-once-home") for output in outputs]
    ends = [run.wait() for run in runs]
    for number, (run, done, output) in enumerate(zip(runs, ends, outputs, strict=True)):
        faults = [done.fault(0), run.orphans()]
        if not any(faults) and ranks(output) != ranks(outputs[0]):
            faults.append("they came to different rankings")
        row.check(f"run {number}", *faults)
    if all(done.code == 0 for done in ends):
        num_run = sum(len(models) - num_from_store(output) for output in outputs)
        home = ground.root / "at-once-home"
        row.check(
            "passes",
            num_run != len(models) and f"{len(models)} candidates took {num_run} passes",
            num_finished(home) != len(models) and f"the store holds {num_finished(home)}",
            leftovers(home / "hf_leep"),
        )


@contextlib.contextmanager
def _small_disk(folder: Path, num_bytes: int) -> Iterator[bool]:
    """A file system of this size at a folder; False if this user may not mount one."""
    folder.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={max(num_bytes, 4096)},nr_inodes=4k".encode()
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, size) != 0:
        yield False
        return
    try:
        yield True
    finally:
        for _ in range(100):
            if libc.umount2(bytes(folder), 2) == 0:  # detached: also where a process has a file open
                break
            time.sleep(0.05)


def _make_read_only(folder: Path) -> None:
    if ctypes.CDLL(None, use_errno=True).mount(b"none", bytes(folder), None, _READ_ONLY | _REMOUNT, None) != 0:
        raise OSError(ctypes.get_errno(), "it cannot be mounted read-only")


def full_disks(row: Row, ground: Ground, data: Path, models: Sequence[Path], sizes: Sequence[int]) -> None:
    """Let the disk of the store, then that of the report, fill up; limit the size of files where none is mounted."""
    good = ground.root / "disk-good"
    fault = ground.rank(data, models, good, home="disk-home-good").fault(0)
    disk = ground.root / "disk"
    elsewhere = {"HF_DATASETS_CACHE": str(ground.root / "disk-datasets")}
    for size in sizes:
        output = ground.root / f"disk-out-{size}"
        with _small_disk(disk, size) as mounted:
            limits = {} if mounted else _limited(size)
            done = ground.rank(
                data, models, output, home="disk/home" if mounted else f"home-{size}", env=elsewhere, **limits
            )
            faults = [fault, done.fault(0) if mounted else done.fault(0, 2)]
            if done.code == 0 and ranks(output) != ranks(good):
                faults.append("the ranking is another one")
            row.check(f"the store on {size:,} bytes", *faults, mounted and leftovers(disk / "home" / "hf_leep"))
        with _small_disk(disk, size) as mounted:
            if not mounted:
                continue
            shutil.copytree(good, disk / "report", copy_function=_copy_what_fits)
            if not (disk / "report" / "report.json").exists():
                shutil.rmtree(disk / "report")
            before = {path: path.read_bytes() for path in (disk / "report").rglob("*") if path.is_file()}
            done = ground.rank(data, models, disk / "report", "--measures", "leep", home="disk-home-good")
            after = {path: path.read_bytes() for path in (disk / "report").rglob("*") if path.is_file()}
            faults = [fault, done.fault(0, 2)]
            if done.code == 2 and (before != after or "No space left" not in done.err):
                faults.append(f"it is not as before: {done.err[-300:]}")
            row.check(f"the report on {size:,} bytes", *faults, leftovers(disk / "report"))


def _copy_what_fits(source: str, destination: str) -> str:
    with contextlib.suppress(OSError):
        shutil.copyfile(source, destination)
        return destination
    Path(destination).unlink(missing_ok=True)
    return destination


def _limited(size: int) -> dict[str, object]:
    """Options of a process whose files cannot be larger than this."""
    return {"cold": True, "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def read_only_disks(row: Row, ground: Ground, data: Path, models: Sequence[Path]) -> None:
    """A store that cannot be written keeps nothing; a report that cannot be written is refused at once."""
    good = ground.root / "disk-good"
    elsewhere = {"HF_DATASETS_CACHE": str(ground.root / "disk-datasets")}
    if not good.exists():
        row.check("a run before", ground.rank(data, models, good, home="disk-home-good").fault(0))
    disk, output = ground.root / "disk", ground.root / "read-only-out"
    with _small_disk(disk, 10**7) as mounted:
        if not mounted:
            row.note = "not tried: this user may not mount a disk"
            return
        (disk / "home" / "hf_leep").mkdir(parents=True)
        shutil.copytree(good, disk / "report")
        _make_read_only(disk)
        done = ground.rank(data, models, output, home="disk/home", env=elsewhere)
        same = done.code == 0 and ranks(output) == ranks(good)
        row.check(
            "the store", done.fault(0), not same and "another ranking", "nothing is kept" not in done.err and done.err
        )
        for command in (["rank"], ["card"], ["validate"]):
            rank = ranking(data, models, disk / "report")
            done = ground.run(*(rank if command == ["rank"] else [*command, disk / "report"]), home="disk-home-good")
            row.check(f"{command[0]} to a report", done.fault(2), "Read-only file system" not in done.err and done.err)


def many(row: Row, ground: Ground, data: Path, models: Sequence[Path]) -> None:
    """Rank many candidates in a new interpreter, and measure the memory of the main process."""
    output, peak = ground.root / "many-out", ground.root / "many-peak"
    call = ranking(data, models, output)
    done = ground.run(peak, *call, code=MEASURED, cold=True, home="many-home", timeout=20 * LIMIT)
    faults = [done.fault(0)]
    if done.code == 0:
        mega = int(peak.read_text())
        row.note = f"{mega} MB in the main process, {done.seconds:.0f} s"
        faults += [mega >= _MOST_MB and f"{mega} MB", len(read(output)["candidates"]) != len(models) and "not all"]
    row.check(f"{len(models)} candidates", *faults)
    row.tried += len(models) - 1


class Quotas:
    """What the Hub grants of each kind of requests, in its own headers, with windows of seconds.

    A window of the real Hub takes five minutes. Here it ends as soon as its quota is used up, on however slow a
    machine, and others are refused for some seconds.

    Args:
        quotas: kind → answers in a window.
        rest: seconds for which all others are refused then.
    """

    def __init__(self, quotas: Mapping[str, int], rest: float) -> None:
        self.quotas, self.rest, self.num_refused = quotas, rest, 0
        self._used = dict.fromkeys(quotas, 0)
        self._until = dict.fromkeys(quotas, 0.0)
        self._counting = threading.Lock()

    def check(self, path: str, _token: str = "") -> tuple[bool, dict[str, str]]:
        """Whether a request may pass, and the headers that say how many are left."""
        kind = "resolvers" if "/resolve/" in path else "api" if path.startswith("/api/") else ""
        if kind not in self.quotas:
            return True, {}
        with self._counting:
            now, quota = time.monotonic(), self.quotas[kind]
            if self._used[kind] == quota and now >= self._until[kind]:
                self._used[kind] = 0
            allowed = self._used[kind] < quota
            self._used[kind] += allowed
            self.num_refused += not allowed
            if allowed and self._used[kind] == quota:
                self._until[kind] = now + self.rest
            left = quota - self._used[kind]
            seconds = self.rest if left else max(self._until[kind] - now, 0)
        return allowed, {
            "RateLimit": f'"{kind}";r={left};t={math.ceil(seconds)}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={quota};w={math.ceil(self.rest)}',
        }


def plan_under_limits(row: Row, ground: Ground, data: Path, model: Path, num: int, quota: int, rest: float) -> None:
    """Plan with many candidates of a Hub that refuses requests by turns: each candidate is looked at in the end."""
    with Hub() as hub:
        hub.limits = Quotas({"api": quota, "resolvers": 3 * quota}, rest)
        hub.server.handle_error = lambda *_: None
        for number in range(num):
            hub.add_folder(
                f"lab/net-{number}", model, pipeline_tag="image-classification", library_name="transformers"
            )
        listed = ground.root / "listed.txt"
        listed.write_text("".join(f"lab/net-{number}\n" for number in range(num)))
        limited = Ground(ground.root, ground.python, hub.url, 9000)
        call = ("rank", "--dataset", data, "--split", "train", "--models-file", listed, "--dry-run", "--json")
        done = limited.run(*call, home="limited-home", timeout=5 * LIMIT)
        row.tried += num
        row.note = f"{len(hub.log)} requests, {hub.limits.num_refused} answered 429, {done.seconds:.0f} s"
        if fault := done.fault(0, 3, 1):
            row.lost.append(fault)
            return
        rows = json.loads(done.out)["candidates"]
        row.lost += [f"{c['id']}: {c['reason']}" for c in rows if c["action"] != "run"]
        if len(rows) != num:
            row.lost.append(f"{len(rows)} candidates instead of {num}")


def token_in(row: Row, folders: Sequence[Path]) -> None:
    """Search for the token of all runs in every file that they wrote."""
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            row.check(
                str(path), os.path.getsize(path) < 10**9 and CANARY.encode() in path.read_bytes() and "the token"
            )
