"""What a run will do, told before any weight moves; and that it does that, over real HTTP."""

import json
import os
import shutil
import signal
import subprocess
import threading

import pytest

from hf_leep import Execution, HubAccess, plan, rank
from tests.hub_server import Fault, Hub
from tests.warm import HANGING

TASK = "image-classification"


@pytest.fixture(scope="module")
def stocked(checkpoints, pictures, tmp_path_factory):
    """A Hub with a data set and good and bad checkpoints."""
    file = tmp_path_factory.mktemp("data") / "train.parquet"
    pictures.to_parquet(file)
    with Hub() as hub:
        hub.add("user/pictures", {"train.parquet": file.read_bytes()}, kind="dataset")
        hub.add_folder("user/five", checkpoints["five"], cardData={"license": "mit"}, downloads=9)
        hub.add_folder("user/seven", checkpoints["seven-classes"], downloads=8)
        hub.add_folder("user/gated", checkpoints["five"], gated=True, downloads=7)
        hub.add_folder("user/headless", checkpoints["headless"], downloads=6)
        hub.add_folder("user/regression", checkpoints["regression"], downloads=5)
        hub.add_folder("user/multi-label", checkpoints["multi-label"], downloads=4)
        hub.add_folder("user/text", checkpoints["text"], downloads=3)
        hub.add_folder("user/pickled", checkpoints["pickled"], downloads=2)
        config = json.loads((checkpoints["five"] / "config.json").read_text())
        renamed = {p.name: p.read_bytes() for p in checkpoints["headless"].iterdir()}
        renamed["config.json"] = json.dumps({**config, "id2label": {str(k): str(k) for k in range(6)}}).encode()
        hub.add("user/claims-a-head", renamed, downloads=1)
        for repo in hub.repos.values():
            repo.info |= {"pipeline_tag": TASK, "library_name": "transformers"} if repo.kind == "model" else {}
        yield hub


@pytest.fixture
def fresh(stocked):
    """The same with an empty log and no faults."""
    stocked.log.clear()
    yield stocked
    stocked.release()
    stocked.faults.clear()


@pytest.fixture
def hf_leep(client, fresh):
    """Run ``hf-leep rank`` on the Hub's pictures."""

    def run(*arguments, **environment):
        return client("rank", "--dataset", "user/pictures", *arguments, **{"HF_ENDPOINT": fresh.url, **environment})

    return run


NO_HEAD = "no trained classification head: "


def test_a_dry_run_tells_what_will_be_run_and_moves_no_weights(fresh, hf_leep):
    done = hf_leep("--search", "user/", "--dry-run", "--json")
    assert done.returncode == 3, done.stderr
    plan = json.loads(done.stdout)
    told = {c["id"]: c for c in plan["candidates"]}
    assert list(told)[:3] == ["user/five", "user/seven", "user/gated"]
    assert {name: c["reason"] for name, c in told.items() if c["action"] == "skip"} == {
        "user/gated": "gated, so ask for access on its page on the Hub, and log in (hf auth login)",
        "user/headless": f"{NO_HEAD}it was saved as ResNetModel",
        "user/regression": "a regression head (1 output): it has no source classes",
        "user/multi-label": "a multi-label head: its outputs are no distribution over source classes",
        "user/text": "another modality: transformers has no image classifier for model_type 'bert'",
        "user/pickled": "pickled weights only (pytorch_model.bin); hf_leep loads safetensors: convert it first, "
        "or allow them with --allow-pickle",
        "user/claims-a-head": f"{NO_HEAD}no weight has 6 rows, one for each class",
    }
    five = fresh.repos["model", "user/five"]
    weights = five.files("main")["model.safetensors"]  # eight bytes, the header that they count, tensors
    assert told["user/five"] | {"num_parameters": 0} == {
        "id": "user/five",
        "revision": five.refs["main"],
        "action": "run",
        "reason": None,
        "num_source_classes": 5,
        "num_parameters": 0,
        "license": "mit",
        "gated": False,
        "headless": False,
        "for_features": False,
        "download_bytes": len(weights) - 8 - int.from_bytes(weights[:8], "little"),  # a search states no other sizes
    }
    assert plan["download_bytes"] == sum(c["download_bytes"] for c in told.values())
    for_features = {name for name, c in told.items() if c["for_features"]}
    assert for_features == {"user/headless", "user/claims-a-head", "user/regression", "user/multi-label"}
    assert told["user/headless"]["download_bytes"] > 0
    assert "a linear head on its features is compared with the others (" in " ".join(done.stderr.split())
    # Of the weights, only the head of the file was read.
    assert all(status == 206 for _, path, status in fresh.log if path.endswith(".safetensors"))
    assert "2 to run, 4 to run for features alone, 3 skipped; to download" in done.stderr


def test_what_is_planned_is_done_and_each_file_comes_once(fresh, hf_leep, tmp_path):
    assert hf_leep("--models", "user/seven", "--json").returncode == 0  # it is in the cache from now on
    names = ["user/five", "user/seven", "user/five@main", "user/headless"]
    done = hf_leep("--models", *names, "--json", "--evict")
    assert done.returncode == 3, done.stderr
    assert [c["rank"] for c in json.loads(done.stdout)["candidates"]] == [1, 2, None]
    got = [path for method, path, status in fresh.log if (method, status) == ("GET", 200) and "/resolve/" in path]
    # The data set, and three files of each, of the one without a head for its features.
    assert len(got) == len(set(got)) == 1 + 3 * 3
    kept = {p.parents[2].name for p in (tmp_path / "home" / "hub").glob("models--*/snapshots/*/model.safetensors")}
    assert kept == {"models--user--seven"}


def test_the_budget_is_hard_and_the_place_can_be_chosen(fresh, hf_leep, tmp_path):
    five = fresh.repos["model", "user/five"].files("main")
    most = sum(map(len, five.values())) + 100
    options = ("--max-download", str(most), "--cache-dir", tmp_path / "elsewhere", "--json")
    done = hf_leep("--models", "user/five", "user/seven", *options)
    assert done.returncode == 3, done.stderr
    reasons = {c["id"]: c["reason"] for c in json.loads(done.stdout)["candidates"]}
    assert reasons["user/five"] is None
    assert "do not fit into what is left of the budget" in reasons["user/seven"]
    assert all(status == 206 for _, path, status in fresh.log if "user/seven" in path and "safetensors" in path)
    assert (tmp_path / "elsewhere" / "models--user--five").is_dir()
    assert not list((tmp_path / "home" / "hub").glob("models--*"))


def test_a_candidate_without_a_head_comes_last_in_the_budget_and_keeps_its_reason(fresh, hf_leep):
    names = ("user/headless", "user/five")
    least = sum(map(len, fresh.repos["model", "user/five"].files("main").values()))
    done = hf_leep("--models", *names, "--max-download", str(least + 100), "--dry-run", "--json")
    plan = json.loads(done.stdout)
    headless, five = plan["candidates"]
    assert (five["action"], five["download_bytes"]) == ("run", least)
    assert (headless["for_features"], headless["download_bytes"]) == (False, 0)
    assert headless["reason"].startswith(NO_HEAD)


PREFETCH = """
import sys, time
from pathlib import Path
from hf_leep import hub
hub.session._SECONDS = 1e6
ahead, num_bytes, asked_for = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
client = hub.Client()
snapshots = [hub.resolve(name, client) for name in ("user/five", "user/seven", "user/regression")]
arrived = []
with hub.Prefetcher(snapshots, client, ahead, arrived.append) as prefetcher:
    path = prefetcher.take(snapshots[0])
    while sum(arrived) < num_bytes or not asked_for.exists():
        time.sleep(0.01)
    time.sleep(0.1)  # in which more would come if it were asked for
assert (path / "model.safetensors").is_file()
print(sum(arrived))
"""


@pytest.mark.parametrize("ahead", [0, 1])
def test_as_many_as_asked_for_are_brought_ahead(fresh, client, tmp_path, ahead):
    files = [fresh.repos["model", f"user/{name}"].files("main") for name in ("five", "seven")[: 1 + ahead]]
    num_bytes = sum(len(content) for found in files for content in found.values())
    done = client(ahead, num_bytes, tmp_path, code=PREFETCH, HF_ENDPOINT=fresh.url)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == num_bytes
    brought = {path.split("/")[2] for path in fresh.requested(r"^GET /user/.*model.safetensors")}
    assert brought == {"five", *(["seven"] if ahead else [])}


def test_leaving_breaks_off_what_is_on_its_way(fresh, client, tmp_path):
    held = Fault(r"^GET /user/seven/resolve/.*model.safetensors", until=threading.Event())
    held.met = Announcement(tmp_path / "asked for")
    fresh.faults.append(held)
    done = client(1, 1, tmp_path / "asked for", code=PREFETCH, HF_ENDPOINT=fresh.url)  # waits for no answer
    assert done.returncode == 0, done.stderr


class Announcement:
    """An event that is a file, which another process can see."""

    def __init__(self, path):
        self.set = path.touch


class Bomb:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickled_weights_are_loaded_by_choice_and_only_as_tensors(checkpoints, pictures, tmp_path):
    import torch
    from safetensors.torch import load_file

    for name in ("good", "bad"):
        shutil.copytree(checkpoints["five"], tmp_path / name)
        weights = load_file(tmp_path / name / "model.safetensors")
        (tmp_path / name / "model.safetensors").unlink()
        torch.save(
            weights if name == "good" else {**weights, "bomb": Bomb(str(tmp_path / "exploded"))},
            tmp_path / name / "pytorch_model.bin",
        )
    names = [checkpoints["five"], tmp_path / "good", tmp_path / "bad"]
    options = {"execution": Execution(cache=False), "progress": False}
    refused = rank(names, pictures, **options).candidates
    assert [c["rank"] for c in refused] == [1, None, None]
    assert "pickled weights only (pytorch_model.bin)" in refused[1]["reason"]
    ranked = {c["id"]: c for c in rank(names, pictures, hub=HubAccess(allow_pickle=True), **options).candidates}
    assert ranked[str(names[1])]["scores"] == ranked[str(names[0])]["scores"]
    assert ranked[str(names[2])]["reason"] == "its pickled weights hold more than tensors: hf_leep does not load them"
    assert not (tmp_path / "exploded").exists()


def test_a_plan_is_data_and_shows_itself(checkpoints, pictures):
    options = {"execution": Execution(cache=False), "progress": False}
    planned = plan([checkpoints["five"], checkpoints["headless"]], pictures, **options)
    assert planned.exit_code == 3
    assert planned.download_bytes == 0
    assert [c["action"] for c in planned.data["candidates"]] == ["run", "skip"]
    # A measure of features needs no head.
    on_features = plan([checkpoints["headless"]], pictures, measures=["logme"], **options)
    assert on_features.exit_code == 0


def test_one_repository_under_two_names_counts_against_the_budget_once(fresh, hf_leep):
    done = hf_leep("--models", "user/seven", "user/seven@main", "--max-download", "1KB", "--dry-run", "--json")
    assert done.returncode == 1, done.stderr
    assert [c["action"] for c in json.loads(done.stdout)["candidates"]] == ["skip"]
    done = hf_leep("--models", "user/seven", "user/seven@main", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    (only,) = plan["candidates"]
    assert plan["download_bytes"] == only["download_bytes"] > 0


EVICT = """
import sys
from huggingface_hub import hf_hub_download
from hf_leep import hub
first = hub.Client()
hf_hub_download("mirror/five", "config.json", revision=sys.argv[1])
hf_hub_download("mirror/five", "model.safetensors", revision=sys.argv[1])
snapshot = hub.resolve("user/five", first)
hf_hub_download("user/five", "preprocessor_config.json", revision=sys.argv[1])  # by somebody else, meanwhile
hub.peek(snapshot, first)
path = hub.fetch(snapshot, first)
hub.evict(snapshot, first)
print(path)
"""


def test_only_what_came_through_this_run_is_evicted(fresh, client, checkpoints, tmp_path):
    five, mirror = fresh.repos["model", "user/five"], fresh.add_folder("mirror/five", checkpoints["five"])
    sha = five.refs["main"]
    mirror.commits[sha], mirror.refs["main"] = five.files("main"), sha  # as a mirror made by git has it
    done = client(sha, code=EVICT, HF_ENDPOINT=fresh.url)
    assert done.returncode == 0, done.stderr
    del fresh.repos["model", "mirror/five"]
    cache = tmp_path / "home" / "hub"
    left = {str(p.relative_to(cache)) for p in cache.glob("models--*/snapshots/*/*") if p.exists()}
    assert left == {
        f"models--mirror--five/snapshots/{sha}/config.json",
        f"models--mirror--five/snapshots/{sha}/model.safetensors",
        f"models--user--five/snapshots/{sha}/preprocessor_config.json",
    }
    assert len(list((cache / "models--user--five" / "blobs").iterdir())) == 1


PATIENT = """
import sys
from hf_leep import cli, hub
hub.session._SECONDS = 1e6
cli.main(sys.argv[1:])
"""


def test_an_interruption_does_not_wait_for_a_slow_hub(python, fresh, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")
    held = Fault(r"^GET /api/models/user/", until=threading.Event())
    fresh.faults.append(held)
    environment = {**os.environ, "HF_ENDPOINT": fresh.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    call = ["rank", "--dataset", str(tmp_path / "train.parquet"), "--models", "user/five", "user/seven"]
    run = subprocess.Popen(
        [*python, "-c", PATIENT, *call],
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    assert held.met.wait(HANGING)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=HANGING)  # though the Hub never answers
    assert run.returncode == 130


def test_a_plan_is_one_line_in_a_notebook(checkpoints, pictures):
    options = {"max_samples": 11, "seed": 303, "progress": False}  # rows that no other test has stored a pass of
    made = plan([str(checkpoints["five"]), str(checkpoints["text"])], pictures, **options)
    assert repr(made) == "<hf_leep plan: 1 to run, 1 skipped>"
    rank([str(checkpoints["five"])], pictures, **options)
    made = plan([str(checkpoints["five"]), str(checkpoints["text"])], pictures, **options)
    assert repr(made) == "<hf_leep plan: 0 to run, 1 in the store, 1 skipped>"
