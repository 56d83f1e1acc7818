"""Each fault that a Hub can show, in whole runs: what the user reads, the exit code, what is kept."""

import json
import re
import threading

import pytest

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault

AT_ONCE = {"Retry-After": "0"}
# Candidate → its fault, and what stands on its row (None: it passes, and the candidate is ranked).
FAULTS = {
    "user/good": (None, None),
    "user/401": (Fault(r"^GET /api/models/user/401", status=401), r"no such model on the Hub that this login"),
    "user/403": (Fault(r"^GET /api/models/user/403", status=403), r"the Hub answered 403"),
    "user/404": (Fault(r"/user/404/resolve/.*preprocessor_config", status=404), r"404"),
    "user/429": (Fault(r"user/429", times=2, status=429, headers=AT_ONCE), None),
    "user/500": (Fault(r"^GET /api/models/user/500", status=500, headers=AT_ONCE), r"the Hub answered 500"),
    "user/502": (Fault(r"user/502", times=1, status=502, headers=AT_ONCE), None),
    "user/503": (Fault(r"user/503", times=1, status=503), None),  # asked again after a second
    "user/slow": (Fault(r"^GET /user/slow/.*config.json", times=1, delay=1.0), None),
    "user/cut": (Fault(r"^GET /user/cut/.*model.safetensors", times=1, cut=True), None),
    "user/corrupt": (Fault(r"^GET /user/corrupt/resolve/.*model.safetensors", corrupt=True), r"checksum|damaged"),
    "user/small-once": (Fault(r"^GET /user/small-once/.*preprocessor_config", times=1, corrupt=True), None),
    "user/small": (
        Fault(r"^GET /user/small/.*preprocessor_config", corrupt=True),
        r"downloaded twice, and did not match the checksum",
    ),
    "user/nonsense": (
        Fault(r"^GET /api/models/user/nonsense", status=200),
        r"huggingface_hub cannot read the Hub's answer \(KeyError",
    ),
    "user/moving": (None, None),
}


@pytest.fixture
def data(pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_every_fault_costs_at_most_its_own_candidate(hub, client, checkpoints, data, tmp_path):
    for name, (fault, _) in FAULTS.items():
        repo = hub.add_folder(name, checkpoints["five"])
        hub.faults += [fault] if fault else []
    first = repo.refs["main"]  # of the one that moves as soon as its commit was asked for
    moved = {"config.json": b"{}"}
    hub.faults.append(Fault(r"^GET /api/models/user/moving\b", times=1, then=lambda: repo.commit(moved)))
    output = tmp_path / "out"
    done = client("rank", "--dataset", data, "--models", *FAULTS, "--output", output, "--json", HF_TOKEN=READ_TOKEN)
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert json.loads((output / "report.json").read_text()) == report
    rows = {c["id"]: c for c in report["candidates"]}
    for name, (_, reason) in FAULTS.items():
        if reason is None:
            assert rows[name]["status"] == "ok", (name, rows[name]["reason"])
            assert rows[name]["scores"] == rows["user/good"]["scores"]
        else:
            assert re.search(reason, rows[name]["reason"]), (name, rows[name]["reason"])
            assert "\n" not in rows[name]["reason"]
            assert name in done.stderr
    assert rows["user/moving"]["revision"] == first != repo.refs["main"]
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr  # of huggingface_hub, where HF_HUB_DISABLE_PROGRESS_BARS is set
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert READ_TOKEN.encode() not in path.read_bytes(), path
    assert READ_TOKEN not in done.stdout + done.stderr


def test_a_hub_that_goes_down_in_the_middle_loses_nothing_finished(hub, client, checkpoints, data):
    names = ["user/five", "user/seven"]
    hub.add_folder(names[0], checkpoints["five"])
    hub.add_folder(names[1], checkpoints["seven-classes"])

    def down():
        hub.faults.append(Fault(r"^GET /user/seven/resolve/.*preprocessor_config", status=503, headers=AT_ONCE))

    hub.faults.append(Fault(r"^GET /user/five/resolve/.*model.safetensors", times=2, then=down))
    call = ("rank", "--dataset", data, "--models", *names, "--json", "--prefetch", "0")
    done = client(*call)
    assert done.returncode == 3, done.stderr
    kept, lost = json.loads(done.stdout)["candidates"]
    assert (kept["id"], kept["rank"], lost["rank"]) == ("user/five", 1, None)
    assert "the Hub answered 503" in lost["reason"]
    hub.faults.clear()
    again = client(*call)
    assert again.returncode == 0, again.stderr
    rows = {c["id"]: c for c in json.loads(again.stdout)["candidates"]}
    assert rows["user/five"]["run"]["from_store"]
    assert rows["user/five"]["scores"] == kept["scores"]


SILENT = """
import sys
from hf_leep.hub import client, session
session._SECONDS, client._LONGEST_WAIT = 0.3, 0.1
from hf_leep import cli
cli.main(sys.argv[1:])
"""


def test_a_hub_that_never_answers_does_not_hang_the_run(hub, client, checkpoints, data):
    """The limit itself is shortened here; it is there for every request, of whatever call."""
    hub.add_folder("user/silent", checkpoints["five"])
    hub.faults.append(Fault(r"user/silent", until=threading.Event()))
    names = ["user/silent", checkpoints["five"]]
    done = client("rank", "--dataset", data, "--models", *names, "--json", code=SILENT, HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 3, done.stderr
    assert [c["rank"] for c in json.loads(done.stdout)["candidates"]] == [1, None]
    assert "the Hub did not answer" in json.loads(done.stdout)["candidates"][1]["reason"]
