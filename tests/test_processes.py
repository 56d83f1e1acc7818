"""Runs of several real processes, started as users start them: the same arrays and scores, and no hang."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import hf_leep


@pytest.fixture(scope="module")
def work(checkpoints, text_checkpoints, pictures, texts, tmp_path_factory):
    """A folder with data sets, and what ranks them: name → arguments."""
    root = tmp_path_factory.mktemp("processes")
    pictures.save_to_disk(root / "pictures")
    texts.save_to_disk(root / "texts")
    image = [checkpoints[name] for name in ("five", "seven-classes", "headless", "truncated")]
    text = [text_checkpoints[name] for name in ("bert", "gpt2")]
    return root, {
        "pictures": ["--dataset", root / "pictures", "--models", *image, "--batch-size", 7],
        "texts": ["--dataset", root / "texts", "--input", "text", "--models", *text, "--batch-size", 3],
    }


def environment(home, **more):
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**kept, "HF_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **more}


def launch(num_processes, arguments, home, **more):
    """Rank in so many processes; the finished launcher."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes), "-m"]
    start = torchrun if num_processes > 1 else []
    command = [sys.executable, "-m", *start, "hf_leep", "rank", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home, **more), timeout=120)


def arrays(home):
    """What the store holds: file name → content, of all passes in the order of their keys."""
    found = {}
    for path in sorted(home.rglob("extractions/*/*.npy")):
        found[f"{path.parent.name}/{path.name}"] = np.load(path).tobytes()
    return found


@pytest.mark.parametrize(("name", "numbers"), [("pictures", (1, 2, 3)), ("texts", (1, 3))])
def test_one_two_and_three_processes_store_the_same_arrays(work, tmp_path, name, numbers):
    _root, runs = work
    stored, reports = [], []
    for num_processes in numbers:
        home, output = tmp_path / f"home-{num_processes}", tmp_path / f"report-{num_processes}"
        done = launch(num_processes, [*runs[name], "--output", output], home)
        reports.append(json.loads((output / "report.json").read_text()))
        stored.append(arrays(home))
        assert not list(home.rglob("*.partial"))
        assert done.stdout.count("Report:") == 1  # the others are silent
        if num_processes == 1:
            assert done.returncode == (3 if name == "pictures" else 0), done.stderr
    assert stored[0]
    assert all(others == stored[0] for others in stored[1:])
    for report in reports[1:]:
        assert report["target"] == reports[0]["target"]
        for one, many in zip(reports[0]["candidates"], report["candidates"], strict=True):
            for key in ("id", "status", "reason", "rank", "tie_group", "scores"):
                assert one[key] == many[key]


def test_accelerate_launch_and_json(work, tmp_path):
    _root, runs = work
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", "-m", "hf_leep", "rank", *map(str, runs["texts"]), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path, ACCELERATE_USE_CPU="true"), timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # and nothing else
    assert [candidate["run"]["num_processes"] for candidate in report["candidates"]] == [2, 2]


def test_a_wrong_call_is_said_once(work, tmp_path):
    root, _runs = work
    done = launch(2, ["--dataset", root / "pictures", "--label", "nothing", "--models", "x"], tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("no column 'nothing'") == 1
    assert str(Path(hf_leep.__file__).parent) not in done.stderr  # no traceback of ours


@pytest.mark.parametrize("which", ["follower", "main"])
def test_a_killed_process_ends_the_run_and_the_next_one_goes_on(work, tmp_path, which):
    _root, runs = work
    home, output = tmp_path / "home", tmp_path / "report"
    arguments = ["rank", *map(str, runs["texts"]), "--batch-size", "1", "--output", str(output)]
    code = """
import os, sys, time
from hf_leep import forward, shards
put = shards.Shard.put
def slow(self, name, positions, values):
    put(self, name, positions, values)
    time.sleep(0.2)
seen = []
def second(self, folder, index, init=shards.Shard.__init__):
    init(self, folder, index)
    seen.append(1)
    if len(seen) == 2:  # the second candidate is slow, and says so
        shards.Shard.put = slow
        open(os.path.join(sys.argv.pop(1), f"running-{index}-{os.getpid()}"), "w").close()
shards.Shard.__init__ = second
from hf_leep import cli
cli.main(sys.argv[2:])
"""
    script = tmp_path / "slow.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with (tmp_path / "stderr").open("w") as errors:
        running = subprocess.Popen(
            [*command, script, tmp_path, *arguments], stdout=subprocess.DEVNULL, stderr=errors, env=environment(home)
        )
    try:
        for _ in range(1200):
            here = sorted(path.name for path in tmp_path.glob("running-*"))
            if len(here) == 2 or running.poll() is not None:
                break
            time.sleep(0.1)
        assert len(here) == 2, (tmp_path / "stderr").read_text()
        index = {"main": "0", "follower": "1"}[which]
        victim = next(int(name.split("-")[2]) for name in here if name.split("-")[1] == index)
        os.kill(victim, signal.SIGKILL)
        assert running.wait(timeout=60) != 0
    finally:
        if running.poll() is None:
            for process in [*psutil.Process(running.pid).children(recursive=True), running]:
                process.kill()
    said = (tmp_path / "stderr").read_text()
    assert len(arrays(home)) == 2  # the first candidate's
    if which == "follower":
        assert "run the same command again to go on" in said
        first = json.loads((output / "report.json").read_text())
        assert [c["status"] for c in first["candidates"]] == ["ok", "failed"]
        assert first["candidates"][1]["reason"].startswith("not run: ")
    again = launch(2, [*runs["texts"], "--output", output], home)
    assert again.returncode == 0, again.stderr
    report = json.loads((output / "report.json").read_text())
    assert sorted(c["run"]["from_store"] for c in report["candidates"]) == [False, True]
    assert not list(home.rglob("*.partial"))
