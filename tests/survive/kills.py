"""Processes that are killed at seeded moments, and what the same command finds afterwards."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_leep.report.card import without_paths
from tests.hub_server import Fault, Hub
from tests.survive.ground import (
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

# Runs the command line, and kills this process or its worker at a moment: after a number of seconds, or when it is
# about to change the disk for the n-th time. Without a moment it counts these changes.
STRIKING = """
import atexit, os, signal, sys, threading, time
who, kind, moment, counted = sys.argv[1:5]
del sys.argv[1:5]
changes = 0
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def kill():
    if who == "main":
        os.kill(os.getpid(), signal.SIGKILL)
    import psutil
    while not (children := psutil.Process().children()):
        time.sleep(0.01)
    for child in children:
        child.kill()

def strike():
    if who == "main":
        kill()
    threading.Thread(target=kill, daemon=True).start()

def seen(name, arguments):
    global changes
    if name in CHANGES or name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        changes += 1
        if kind == "change" and changes == int(moment):
            strike()

if kind == "seconds":
    def later():
        time.sleep(float(moment))
        kill()
    threading.Thread(target=later, daemon=True).start()
sys.addaudithook(seen)
if kind == "count":
    atexit.register(lambda: open(counted, "w").write(str(changes)))
from hf_leep import cli
cli.main()
"""


class Killing:
    """Kills runs over some candidates and compares what follows with a run that nobody disturbed.

    Args:
        ground: where runs are started.
        data: the rows.
        models: the candidates.
        rng: chooses the moments.
    """

    def __init__(self, ground: Ground, data: Path, models: Sequence[Path], rng: np.random.Generator) -> None:
        self._ground, self._data, self._models, self._rng = ground, data, models, rng
        self._good = ground.root / "good"
        done, self._changes = self._counted(ranking(data, models, self._good), "good-home")
        if done.fault(0):
            raise RuntimeError(done.fault(0))
        self._seconds = done.seconds
        self._ranks = ranks(self._good)

    def main_processes(self, row: Row, num: int) -> None:
        """Kill the main process: the same command goes on, and no finished pass is run twice."""
        for number in range(num):
            what, moment = self._moment(number)
            row.check(f"{what} {moment}", *self._main_process(f"main-{number}", what, moment))

    def _main_process(self, name: str, what: str, moment: str) -> list[str]:
        home, output = self._ground.root / f"home-{name}", self._ground.root / f"out-{name}"
        call = ranking(self._data, self._models, output)
        killed = self._ground.start("main", what, moment, "-", *call, code=STRIKING, home=home.name)
        done = killed.wait()
        faults = [done.fault(-9, 0), killed.orphans()]
        if (output / "report.json").exists() and ranks(output) != self._ranks:
            faults.append("its report is another one")
        finished = num_finished(home)
        faults += self._goes_on(call, home, output, finished)
        return faults

    def workers(self, row: Row, num: int) -> None:
        """Kill the worker: it costs one candidate at most, and that one is run with --retry."""
        for number in range(num):
            what, moment = self._moment(number)
            row.check(f"{what} {moment}", *self._worker(f"worker-{number}", what, moment))

    def _worker(self, name: str, what: str, moment: str) -> list[str]:
        home, output = self._ground.root / f"home-{name}", self._ground.root / f"out-{name}"
        call = ranking(self._data, self._models, output)
        struck = self._ground.start("worker", what, moment, "-", *call, code=STRIKING, home=home.name)
        done = struck.wait()
        faults = [done.fault(0, 3), struck.orphans()]
        if done.code in (0, 3):
            scores = {candidate["id"]: candidate["scores"] for candidate in self._ranks}
            rows = read(output)["candidates"]
            failed = [candidate["reason"] for candidate in rows if candidate["status"] == "failed"]
            if len(failed) > 1 or any("its process was killed" not in reason for reason in failed):
                faults.append(f"it cost {len(failed)} candidates: {failed}")
            if any(c["scores"] != scores[c["id"]] for c in rows if c["status"] == "ok"):
                faults.append("the scores of others changed")
        faults += self._goes_on([*call[:1], "--retry", *call[1:]], home, output, num_finished(home))
        return faults

    def _goes_on(self, call: Sequence[object], home: Path, output: Path, finished: int) -> list[str]:
        """What is wrong with the same command afterwards."""
        done = self._ground.run(*call, home=home.name)
        faults = [done.fault(0)]
        if done.code == 0:
            if ranks(output) != self._ranks:
                faults.append("the same command came to another ranking")
            if num_from_store(output) != finished:
                faults.append(
                    f"{finished} passes were finished, and {num_from_store(output)} were taken from the store"
                )
            faults.append(leftovers(home / "hf_leep", output))
        return faults

    def writing(self, row: Row, num: int) -> None:
        """Kill a process that saves a report over an earlier one: report.json is whole, and the page is made again."""
        call = ["card", self._good]
        _, changes = self._counted(call, "good-home")
        content = {path: path.read_bytes() for path in self._good.rglob("*") if path.is_file()}
        for number in range(num):
            moment = 1 + number if num >= changes else int(self._rng.integers(1, changes + 1))
            folder = Path(shutil.copytree(self._good, self._ground.root / f"saved-{number}" / self._good.name))
            (folder / "README.md").write_text("an earlier page")
            done = self._ground.run("main", "change", moment, "-", "card", folder, code=STRIKING)
            faults = [done.fault(-9, 0)]
            if (folder / "report.json").read_bytes() != content[self._good / "report.json"]:
                faults.append("report.json is damaged")
            faults.append(self._ground.run("card", folder).fault(0))
            faults += [
                f"{p.name} differs" for p in content if (folder / p.relative_to(self._good)).read_bytes() != content[p]
            ]
            row.check(f"change {moment}", *faults, leftovers(folder))

    def pushing(self, row: Row, num: int, hub: Hub) -> None:
        """Kill a process that pushes, after the Hub has done what it asked for: the next push completes it."""
        self._ground.hub = hub.url
        before = len(hub.log)
        fault = self._ground.run("push", self._good, "user/undisturbed").fault(0)
        requests = len(hub.log) - before
        for number in range(num):
            moment, repo_id = int(self._rng.integers(1, requests + 1)), f"user/killed-{number}"
            running = []

            def kill(running: list = running) -> None:
                while not running:
                    time.sleep(0.01)
                running[0].process.kill()
                running[0].process.wait()

            hub.faults[:] = [Fault(".", times=moment - 1), Fault(".", times=1, then=kill)]
            running.append(self._ground.start("push", self._good, repo_id))
            done = running[0].wait()
            hub.faults.clear()
            faults = [
                fault,
                done.fault(-9, 0),
                running[0].orphans(),
                self._ground.run("push", self._good, repo_id).fault(0),
            ]
            repo = hub.repos.get(("dataset", repo_id))
            if repo is None or json.loads(repo.files("main").get("report.json", b"null")) != without_paths(
                read(self._good)
            ):
                faults.append("the report is not on the Hub")
            elif len(repo.commits) > 2:
                faults.append(f"it was committed {len(repo.commits) - 1} times")
            row.check(f"request {moment} of {requests}", *faults)
        self._ground.hub = None

    def _moment(self, number: int) -> tuple[str, str]:
        """When to kill: by turns at a change of the disk and after a time."""
        if number % 2:
            return "seconds", f"{self._rng.uniform(0, self._seconds):.3f}"
        return "change", str(self._rng.integers(1, self._changes + 1))

    def _counted(self, call: Sequence[object], home: str) -> tuple:
        """Run something undisturbed, and count its changes of the disk."""
        counted = self._ground.root / "counted"
        done = self._ground.run("nobody", "count", "0", counted, *call, code=STRIKING, home=home, timeout=2 * LIMIT)
        return done, int(counted.read_text()) if counted.exists() else 0
