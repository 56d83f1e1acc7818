"""Ctrl-C, SIGTERM and SIGHUP at any moment of a real command, and in a program that calls the Python API."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.hub_server import WRITE_TOKEN
from tests.warm import HANGING

# Runs the command line; it gets a signal when it calls a function for the n-th time.
INTERRUPTED = """
import os, sys
from importlib import import_module
module, names, at, number = sys.argv[1:5]
del sys.argv[1:5]
from hf_leep import cli
*path, name = names.split(".")
holder = import_module(module)
for part in path:
    holder = getattr(holder, part)
called, calls = getattr(holder, name), []

def interrupted(*arguments, **options):
    calls.append(1)
    if len(calls) == int(at):
        os.kill(os.getpid(), int(number))
    return called(*arguments, **options)

setattr(holder, name, interrupted)
cli.main()
"""


def left_behind(place):
    """Processes that work in a folder, after a while in which they may end."""
    stop = time.monotonic() + HANGING
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                here = Path(process.cwd()) == place and process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            found += [process.pid] if here else []
        if not found or time.monotonic() > stop:
            return found
        time.sleep(0.02)


def interrupted(python, place, when, number, *arguments, **environment):
    """Run the command line in a folder, and send it a signal."""
    place.mkdir()
    done = subprocess.run(
        [*python, "-c", INTERRUPTED, *map(str, when), str(int(number)), *map(str, arguments)],
        env={**os.environ, "HF_HOME": str(place.parent / "home"), **environment},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert left_behind(place) == []
    return done


def said(done):
    return [line for line in done.stderr.splitlines() if line.startswith(("hf-leep", "Traceback"))]


KEPT = ["hf-leep: interrupted. What is finished is kept: run the same command again to continue"]


@pytest.mark.parametrize(
    ("when", "number", "code", "finished"),
    [
        (("hf_leep.data", "load", 1), signal.SIGHUP, 129, None),  # reading the rows
        (("hf_leep.runs.supervisor", "subprocess.Popen", 1), signal.SIGTERM, 143, None),  # starting the worker
        (("hf_leep.runs.isolation", "Isolation.inspect", 2), signal.SIGINT, 130, None),  # planning
        (("hf_leep.selfcheck.certificate", "_run_checks", 2), signal.SIGINT, 130, None),  # checking the measures
        (("hf_leep.store", "Writer.commit", 2), signal.SIGHUP, 129, 1),  # storing a pass
        (("hf_leep.runs.job", "Job._score", 2), signal.SIGTERM, 143, 1),  # scoring
        (("hf_leep.ranking.ordering", "rank", 1), signal.SIGINT, 130, 2),  # ordering
        (("hf_leep.api", "contents", 1), signal.SIGHUP, 129, 2),  # making the report
        (("hf_leep.cli.output", "print_json", 1), signal.SIGTERM, 143, 2),  # printing it
    ],
)
def test_a_signal_ends_a_command_in_one_line_and_it_can_go_on(
    python, checkpoints, pictures, tmp_path, when, number, code, finished
):
    pictures.to_parquet(tmp_path / "rows.parquet")
    models = [checkpoints[name] for name in ("five", "seven-classes")]
    call = ["rank", "--dataset", tmp_path / "rows.parquet", "--json", "--models", *models]
    done = interrupted(python, tmp_path / "here", when, number, *call)
    assert (done.returncode, said(done)) == (code, KEPT), done.stderr
    if finished is None:
        assert done.stdout == ""
        return
    rows = json.loads(done.stdout)["candidates"]
    assert [c["status"] for c in rows] == ["ok"] * finished + ["failed"] * (2 - finished)
    assert all(c["reason"].startswith("not run: ") for c in rows[finished:])


def test_a_signal_while_a_report_is_saved_lets_it_be_saved_whole(python, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "rows.parquet")
    call = ["rank", "--dataset", tmp_path / "rows.parquet", "--output", tmp_path / "out"]
    when = ("hf_leep.report.card", "render", 1)
    done = interrupted(python, tmp_path / "here", when, signal.SIGTERM, *call, "--models", checkpoints["five"])
    assert (done.returncode, said(done)) == (143, KEPT), done.stderr
    assert json.loads((tmp_path / "out" / "report.json").read_text())["candidates"][0]["status"] == "ok"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"README.md", "report.html", "scores.parquet"}
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
    when = ("hf_leep.hub", "commit", 1)
    pushed = interrupted(
        python, tmp_path / "there", when, signal.SIGINT, "push", tmp_path / "out", "user/report", **hub
    )
    line = "hf-leep: interrupted. What was committed stays: the same command pushes what is missing"
    assert (pushed.returncode, said(pushed)) == (130, [line]), pushed.stderr


CALLER = """
import os, signal, sys
import hf_leep
from hf_leep.runs.isolation import Isolation

got, number = [], int(sys.argv[3])
signal.signal(signal.SIGTERM, lambda *_: got.append("mine"))
before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
run = Isolation.run

def interrupted(self, *arguments):
    os.kill(os.getpid(), number)
    return run(self, *arguments)

Isolation.run = interrupted
try:
    print(hf_leep.rank([sys.argv[1]], sys.argv[2], progress=False).exit_code)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
print(got, before == [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)])
"""


@pytest.mark.parametrize(
    ("number", "outcome"), [(signal.SIGINT, "KeyboardInterrupt\n[] True\n"), (signal.SIGTERM, "0\n['mine'] True\n")]
)
def test_a_program_keeps_its_own_handlers(python, checkpoints, pictures, tmp_path, number, outcome):
    pictures.to_parquet(tmp_path / "rows.parquet")
    done = subprocess.run(
        [*python, "-c", CALLER, str(checkpoints["five"]), str(tmp_path / "rows.parquet"), str(int(number))],
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert done.stdout == outcome, done.stderr
