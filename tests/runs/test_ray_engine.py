"""A real Ray cluster on this machine, of two workers: one report, equal to a local one, even if a worker dies."""

import json
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from tests.hub_server import Fault
from tests.survive.checkpoints import TEXTS
from tests.warm import HANGING

pytest.importorskip("ray", reason="Ray (the extra `ray`) is not installed")

CLUSTER = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("ADDRESS", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(home):
    return {**os.environ, "HF_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def address(python, environment, home):
    """A head that runs nothing, and two workers with one CPU each."""
    with (home / "ray.log").open("w") as log:
        running = subprocess.Popen(
            [*python, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        for line in running.stdout:
            if line.startswith("ADDRESS"):
                break
        yield line.split()[1]
        running.communicate(timeout=HANGING)


@pytest.fixture(scope="module")
def work(checkpoints, text_checkpoints, texts, tmp_path_factory):
    """Arguments of a run that takes a while."""
    import datasets

    root = tmp_path_factory.mktemp("cluster")
    datasets.concatenate_datasets([texts] * 40).save_to_disk(root / "texts")
    models = [text_checkpoints["bert"], text_checkpoints["gpt2"], root / "missing"]
    return ["--dataset", root / "texts", "--input", "text", "--batch-size", 1, "--models", *models]


@pytest.fixture(scope="module")
def command(python):
    return lambda *arguments: [*python, "-m", "hf_leep", "rank", *map(str, arguments)]


def victim(home):
    """The worker that is at a pass: its process, as the store's unfinished entry names it."""
    for _ in range(HANGING * 50):
        for path in home.rglob("*.partial"):
            return psutil.Process(int(path.name.split(".")[1].rpartition("-")[2]))
        time.sleep(0.02)
    raise AssertionError("no pass began")


def test_a_worker_that_dies_in_the_middle_costs_a_retry(command, work, address, environment, home, tmp_path):
    arguments = [*work, "--engine", "ray", "--ray-address", address, "--output", tmp_path / "ray", "--workers", 1]
    running = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    worker = victim(home)
    machine = worker.parent()  # the raylet: with it goes all that runs there
    assert "raylet" in machine.name()
    machine.kill()
    os.kill(worker.pid, signal.SIGKILL)
    said, _ = running.communicate(timeout=HANGING)
    assert running.returncode == 3, said
    report = json.loads((tmp_path / "ray" / "report.json").read_text())
    assert [c["status"] for c in report["candidates"]] == ["ok", "ok", "failed"]
    assert "neither a folder nor a repo id" in report["candidates"][2]["reason"]

    local = subprocess.run(
        command(*work, "--no-cache", "--json"), capture_output=True, text=True, env=environment, timeout=HANGING
    )
    expected = json.loads(local.stdout)
    for one, other in zip(report["candidates"], expected["candidates"], strict=True):
        for key in ("id", "rank", "tie_group", "tie_letters", "scores"):
            assert one[key] == other[key]

    # All of it is in the store now: scored without a task, even where no task could run.
    again = subprocess.run(
        command(*arguments, "--json"), capture_output=True, text=True, env=environment, timeout=HANGING
    )
    assert [c["run"]["from_store"] for c in json.loads(again.stdout)["candidates"][:2]] == [True, True]


def test_what_no_machine_has_is_said_before_anything_runs(command, work, address, environment):
    done = subprocess.run(
        command(*work, "--no-cache", "--engine", "ray", "--ray-address", address, "--resources", "cpus=9,memory=1GB"),
        capture_output=True,
        text=True,
        env=environment,
        timeout=HANGING,
    )
    assert done.returncode == 2
    assert "no machine of the cluster has 9 CPU, 1 GB memory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "dask"], "'dask' is not one of 'local', 'ray'"),
        (["--resources", "cpus=1"], "add --engine ray"),
        (["--engine", "ray", "--resources", "cpus"], "cpus=2,gpus=1,memory=8GB"),
        (["--engine", "ray", "--evict"], "leave it out with --engine ray"),
        (
            ["--engine", "ray", "--race"],
            "decides on one machine which rows are run next: leave it out with --engine ray",
        ),
    ],
)
def test_a_wrong_call_is_one_line(arguments, said, capsys):
    from hf_leep import cli

    assert cli.run(["rank", "--dataset", "d", "--models", "m", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_limits_of_the_hub_are_no_fault_of_a_candidate(hub, client, checkpoints, pictures, tmp_path):
    pictures.select(range(6)).to_parquet(tmp_path / "train.parquet")
    hub.add_folder("user/seven", checkpoints["seven-classes"])
    hub.faults.append(Fault(r"^HEAD /user/seven/resolve/.*preprocessor", status=429, headers={"Retry-After": "4000"}))
    call = ["rank", "--dataset", tmp_path / "train.parquet", "--models", "user/seven", "--json"]
    done = client(*call, "--engine", "ray", "--resources", "cpus=1,memory=100MB", RAY_USAGE_STATS_ENABLED="0")
    (left,) = json.loads(done.stdout)["candidates"]
    assert left["reason"].startswith("not run: the Hub allows no more requests for files for "), done.stderr


def test_a_panic_costs_its_candidate_alone(command, text_checkpoints, address, environment, tmp_path):
    panicking = tmp_path / "panicking"
    shutil.copytree(text_checkpoints["bert"], panicking)
    TEXTS["tokenizer-panic-at-load"](panicking)
    rows = ["text,label", *(f"{word * 3},{k % 2}" for k, word in enumerate("bcdefghijk"))]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    call = ["--dataset", tmp_path / "rows.csv", "--json", "--models", panicking, text_checkpoints["gpt2"]]
    done = subprocess.run(
        command(*call, "--no-cache", "--engine", "ray", "--ray-address", address),
        capture_output=True, text=True, env=environment, timeout=HANGING,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    reasons = [c["reason"] for c in json.loads(done.stdout)["candidates"]]
    assert reasons[0] is None
    assert reasons[1].startswith("PanicException: Precompiled")
