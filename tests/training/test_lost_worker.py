"""Candidates of a validation that end the process in which they are run or trained."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from huggingface_hub import constants

import hf_leep
from hf_leep.runs import tasks as passes
from hf_leep.runs.supervisor import Worker
from hf_leep.training import tasks
from tests.warm import HANGING

WHY = "its process was killed, as by the kernel when memory runs out"
BEFORE = f"in an earlier run, {WHY}; {{}} tries it again"


@pytest.fixture(scope="module")
def ranked(pictures, checkpoints, tmp_path_factory):
    root = tmp_path_factory.mktemp("lost")
    pictures.to_parquet(root / "pictures.parquet")
    for name in ("five", "seven-classes"):
        shutil.copytree(checkpoints[name], root / name)
    names = [str(root / name) for name in ("five", "seven-classes")]
    return hf_leep.rank(names, str(root / "pictures.parquet"), measures=["logme"], progress=False)


@pytest.fixture
def killing(tmp_path, monkeypatch):
    """An empty store, and what kills the worker when it is asked for a function and a candidate."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    call = Worker.call

    def kill_at(function, name):
        def lethal(self, asked, *arguments, **events):
            if asked is function and name in str(arguments[0].candidate):
                return call(self, signal.raise_signal, signal.SIGKILL)
            return call(self, asked, *arguments, **events)

        monkeypatch.setattr(Worker, "call", lethal if function else call)

    return kill_at


def outcome(found, section):
    return {
        candidate["id"].rsplit("/")[-1]: (candidate["reason"], candidate["accuracy"])
        for candidate in found.data[section]["candidates"]
    }


def test_a_candidate_that_ends_the_worker_that_trains_it_is_a_row_until_it_is_retried(ranked, killing):
    def tuned(**more):
        steps = hf_leep.FineTuning(top=2, steps=3)
        return outcome(hf_leep.validate(ranked, fine_tune=steps, progress=False, **more), "fine_tuning")

    killing(tasks.train, "five")
    first = tuned()
    killing(None, "")
    again, retried = tuned(command=["hf-leep"]), tuned(retry=True)
    assert first["five"] == (WHY, None)
    assert again["five"] == (BEFORE.format("--retry"), None)
    assert retried["five"][0] is None
    assert first["seven-classes"][0] is None
    assert first["seven-classes"] == again["seven-classes"]
    assert first["seven-classes"][1]["value"] == retried["seven-classes"][1]["value"]


def test_a_candidate_that_ends_the_worker_has_no_head_until_it_is_retried(ranked, killing):
    def with_heads(**more):
        return outcome(hf_leep.validate(ranked, progress=False, **more), "validation")

    killing(passes.run_pass, "five")
    first = with_heads()
    killing(None, "")
    again, retried = with_heads(), with_heads(retry=True)
    assert [found["five"][0] for found in (first, again, retried)] == [WHY, BEFORE.format("retry"), None]
    assert first["seven-classes"] == again["seven-classes"] == retried["seven-classes"]


OWN_FEATURE = """
import json, sys
from dataclasses import dataclass, field
import datasets
import hf_leep

@dataclass
class Mine(datasets.Image):
    _type: str = field(default="Mine", init=False, repr=False)

datasets.features.features.register_feature(Mine, "Mine")
rows = datasets.load_dataset("parquet", data_files=sys.argv[1], split="train").cast_column("image", Mine())
report = hf_leep.rank(sys.argv[2:], rows, progress=False)
steps = hf_leep.FineTuning(top=2, steps=1)
found = hf_leep.validate(report, fine_tune=steps, dataset=rows, progress=False).data["fine_tuning"]["candidates"]
print(json.dumps([c["reason"] for c in [*report.candidates, *found]]))
"""


def test_rows_of_a_feature_that_the_caller_defines_are_run_in_its_process(python, pictures, checkpoints, tmp_path):
    pictures.to_parquet(tmp_path / "rows.parquet")
    names = [str(checkpoints[name]) for name in ("five", "seven-classes")]
    command = [*python, "-c", OWN_FEATURE, str(tmp_path / "rows.parquet"), *names]
    empty_store = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run(command, env=empty_store, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [None] * 4
    said = [line for line in done.stderr.splitlines() if line.startswith("no worker can read the rows")]
    assert [line.partition("(")[2][:15] for line in said] == ["AttributeError:"] * 2, done.stderr


INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
from hf_leep import cli
from hf_leep.training.trainers import Trainers

number, train, calls = int(sys.argv.pop(1)), Trainers._train, []

def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 3:
        print(self.worker.call(os.getpid), flush=True)
        os.kill(os.getpid(), number)
    return train(self, *arguments)

Trainers._train = interrupted
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_fine_tuning_with_its_worker_and_what_is_trained_is_kept(python, ranked, tmp_path, number, code):
    import psutil

    ranked.save(tmp_path / "report")
    call = ["validate", str(tmp_path / "report"), "--fine-tune", "--top", "2", "--steps", "3"]
    done = subprocess.run(
        [*python, "-c", INTERRUPTED, str(int(number)), *call],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert done.returncode == code, done.stderr
    assert "interrupted. What is finished is kept: run the same command again to continue" in done.stderr
    (journal,) = tmp_path.glob("hf_leep/training/*/journal.jsonl")
    assert journal.read_text().count('"trial"') == 2
    worker, stop = int(done.stdout), time.monotonic() + HANGING
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < stop
        time.sleep(0.02)
