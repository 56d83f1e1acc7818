"""Runs of several real processes, started as users start them: the same arrays and scores, and no hang."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import psutil
import pytest

import hf_leep
from tests.survive.checkpoints import TEXTS
from tests.videos import as_lists, save_watchers
from tests.warm import HANGING


@pytest.fixture(scope="module")
def work(checkpoints, text_checkpoints, token_checkpoints, pictures, texts, tagged, tmp_path_factory):
    """A folder with data sets, and what ranks them: name → arguments."""
    root = tmp_path_factory.mktemp("processes")
    pictures.save_to_disk(root / "pictures")
    texts.save_to_disk(root / "texts")
    tagged.save_to_disk(root / "words")
    as_lists().save_to_disk(root / "videos")
    watchers = save_watchers(tmp_path_factory.mktemp("watchers"))
    image = [checkpoints[name] for name in ("five", "seven-classes", "headless", "truncated")]
    text = [text_checkpoints[name] for name in ("bert", "gpt2")]
    token = [token_checkpoints[name] for name in ("bert", "gpt2")]
    return root, {
        "pictures": ["--dataset", root / "pictures", "--models", *image, "--batch-size", 7],
        "texts": ["--dataset", root / "texts", "--input", "text", "--models", *text, "--batch-size", 3],
        "words": ["--dataset", root / "words", "--models", *token, "--batch-size", 3],
        "videos": ["--dataset", root / "videos", "--models", watchers["videomae"], "--batch-size", 4],
    }


def environment(home, **more):
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**kept, "HF_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **more}


def torchrun(python, *options):
    """The start of a command that runs the rest in several processes."""
    return [*python, "-m", "torch.distributed.run", *map(str, options), "--no-python"]


def launch(python, num_processes, arguments, home, machines=1):
    """Rank in so many processes on each of so many machines, all of them this one: the first machine's launcher."""
    rank = [*python, "-m", "hf_leep", "rank", *map(str, arguments)]
    start = [[]]
    if machines > 1:
        with socket.create_server(("127.0.0.1", 0)) as free:
            where = ["--nnodes", machines, "--master_addr", "127.0.0.1", "--master_port", free.getsockname()[1]]
        each = ["--nproc_per_node", num_processes]
        start = [torchrun(python, *where, *each, "--node_rank", k) for k in range(machines)]
    elif num_processes > 1:
        start = [torchrun(python, "--standalone", "--nproc_per_node", num_processes)]
    first, *others = [[*way, *rank] for way in start]
    options = {"text": True, "env": environment(home)}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    elsewhere = [subprocess.Popen(command, **silent, **options) for command in others]
    try:
        return subprocess.run(first, capture_output=True, timeout=HANGING, **options)
    finally:
        for other in elsewhere:
            try:
                other.wait(timeout=HANGING)
            finally:
                other.kill()


def arrays(home):
    """What the store holds: file name → content, of all passes in the order of their keys."""
    found = {}
    for path in sorted(home.rglob("extractions/*/*.npy")):
        found[f"{path.parent.name}/{path.name}"] = np.load(path).tobytes()
    return found


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("pictures", [(1, 1), (1, 2), (1, 3)]),  # machines, processes on each
        ("texts", [(1, 1), (2, 1)]),
        ("words", [(1, 1), (1, 2)]),
        ("videos", [(1, 1), (1, 2)]),
    ],
)
def test_any_number_of_processes_and_machines_stores_the_same_arrays(python, work, tmp_path, name, ways):
    _root, runs = work
    stored, reports = [], []
    for machines, num_processes in ways:
        home, output = tmp_path / f"home-{machines}-{num_processes}", tmp_path / f"report-{machines}-{num_processes}"
        workers = ["--workers", 1] if (name, num_processes) == ("pictures", 2) else []  # of each process
        done = launch(python, num_processes, [*runs[name], "--output", output, *workers], home, machines)
        reports.append(json.loads((output / "report.json").read_text()))
        stored.append(arrays(home))
        assert not list(home.rglob("*.partial"))
        assert done.stdout.count("Report:") == 1  # the others are silent
        if machines * num_processes == 1:
            assert done.returncode == (3 if name == "pictures" else 0), done.stderr
        ran = {c["run"]["num_processes"] for c in reports[-1]["candidates"] if c["status"] == "ok"}
        assert ran == {machines * num_processes}
    assert stored[0]
    assert all(others == stored[0] for others in stored[1:])
    for report in reports[1:]:
        assert report["target"] == reports[0]["target"]
        for one, many in zip(reports[0]["candidates"], report["candidates"], strict=True):
            for key in ("id", "status", "reason", "rank", "tie_group", "tie_letters", "scores"):
                assert one[key] == many[key]


def test_accelerate_launch_and_json(python, work, tmp_path):
    _root, runs = work
    command = [*python, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", "--no_python"]
    command += [*python, "-m", "hf_leep", "rank", *map(str, runs["texts"]), "--json"]
    variables = environment(tmp_path, ACCELERATE_USE_CPU="true")
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # and nothing else
    assert [candidate["run"]["num_processes"] for candidate in report["candidates"]] == [2, 2]


def test_a_wrong_call_is_said_once(work, tmp_path):
    """In interpreters of their own, unlike the other tests."""
    root, _runs = work
    done = launch(
        [sys.executable], 2, ["--dataset", root / "pictures", "--label", "nothing", "--models", "x"], tmp_path
    )
    assert done.returncode != 0
    assert done.stderr.count("no column 'nothing'") == 1
    assert str(Path(hf_leep.__file__).parent) not in done.stderr  # no traceback of ours


@pytest.mark.parametrize("which", ["follower", "main"])
def test_a_killed_process_ends_the_run_and_the_next_one_goes_on(python, work, tmp_path, which):
    _root, runs = work
    home, output = tmp_path / "home", tmp_path / "report"
    arguments = ["rank", *map(str, runs["texts"]), "--batch-size", "1", "--output", str(output)]
    code = """
import os, signal, sys
from hf_leep.inference import forward, shards
write = shards.Shard.write
def stuck(self, name, positions, values):
    write(self, name, positions, values)
    open(os.path.join(folder, f"running-{self.index}-{os.getpid()}"), "w").close()
    while True:
        signal.pause()
seen, folder = [], sys.argv.pop(1)
def second(self, folder, index, init=shards.Shard.__init__):
    init(self, folder, index)
    self.index = index
    seen.append(1)
    if len(seen) == 2:  # the second candidate goes no further than its first batch
        shards.Shard.write = stuck
shards.Shard.__init__ = second
from hf_leep import cli
cli.main(sys.argv[1:])
"""
    script = tmp_path / "stuck.py"
    script.write_text(code)
    command = [*torchrun(python, "--standalone", "--nproc_per_node", 2), *python, script, tmp_path, *arguments]
    with (tmp_path / "stderr").open("w") as errors:
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment(home))
    try:
        for _ in range(HANGING * 20):
            here = sorted(path.name for path in tmp_path.glob("running-*"))
            if len(here) == 2 or running.poll() is not None:
                break
            time.sleep(0.05)
        assert len(here) == 2, (tmp_path / "stderr").read_text()
        index = {"main": "0", "follower": "1"}[which]
        victim = next(int(name.split("-")[2]) for name in here if name.split("-")[1] == index)
        os.kill(victim, signal.SIGKILL)
        assert running.wait(timeout=HANGING) != 0
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
    again = launch(python, 2, [*runs["texts"], "--output", output], home)
    assert again.returncode == 0, again.stderr
    report = json.loads((output / "report.json").read_text())
    assert sorted(c["run"]["from_store"] for c in report["candidates"]) == [False, True]
    assert not list(home.rglob("*.partial"))


def test_a_race_in_several_processes_goes_as_in_one(python, checkpoints, pictures, tmp_path):
    rows = datasets.concatenate_datasets([pictures] * 4)  # 240: looks at 120 and at all
    rows.save_to_disk(tmp_path / "rows")
    models = [checkpoints[name] for name in ("five", "seven-classes")]
    raced = ["--dataset", tmp_path / "rows", "--models", *models, "--race", "--batch-size", "7"]
    reports, stored = [], []
    for num_processes in (1, 2):
        home, output = tmp_path / f"home-{num_processes}", tmp_path / f"report-{num_processes}"
        done = launch(python, num_processes, [*raced, "--output", output], home)
        assert "Report:" in done.stdout, done.stderr
        reports.append(json.loads((output / "report.json").read_text()))
        stored.append(arrays(home))
    assert reports[0]["race"]["looks"] == [120, 240]
    assert reports[0]["race"] == reports[1]["race"]
    assert stored[0] == stored[1]
    for one, many in zip(reports[0]["candidates"], reports[1]["candidates"], strict=True):
        for key in ("id", "status", "reason", "rank", "num_examples", "stopped", "scores"):
            assert one[key] == many[key]


HOSTILE = """
import sys
from hf_leep.models import image

load = image.MODALITY.adapter.load_processor

def loaded(path):
    if path.name == "seven-classes":
        sys.exit(7)
    return load(path)

object.__setattr__(image.MODALITY.adapter, "load_processor", loaded)
from hf_leep import cli
cli.main(sys.argv[1:])
"""


def test_what_is_no_exception_costs_its_candidate_alone(python, work, text_checkpoints, checkpoints, tmp_path):
    """A panic of a tokenizer in the one process that has the row, and an exit in all of them."""
    root, _runs = work
    panicking = tmp_path / "panicking"
    shutil.copytree(text_checkpoints["bert"], panicking)
    TEXTS["tokenizer-gives-up"](panicking)
    rows = ["text,label", *(f"{word * 3},{k % 2}" for k, word in enumerate("bcdefghijk")), f"{'a' * 40}!,0"]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    two = torchrun(python, "--standalone", "--nproc_per_node", 2)
    for command, arguments, whys in (
        ([*two, *python, "-m", "hf_leep"], [tmp_path / "rows.csv", "--models", panicking, text_checkpoints["gpt2"]],
         [None, "PanicException: Onig: Regex search error: retry-limit-in-match over"]),
        ([*two, *python, script], [root / "pictures", "--models", checkpoints["seven-classes"], checkpoints["five"]],
         [None, "SystemExit: 7"]),
    ):  # fmt: skip
        output = tmp_path / f"out-{len(whys[1])}"
        call = [*command, "rank", "--batch-size", "3", "--output", output, "--dataset", *arguments]
        done = subprocess.run(
            [*map(str, call)], capture_output=True, text=True, timeout=HANGING, env=environment(tmp_path / "home")
        )
        assert "Report:" in done.stdout, done.stderr
        found = json.loads((output / "report.json").read_text())["candidates"]
        assert [c["reason"] for c in found] == whys
