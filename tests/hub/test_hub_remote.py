"""Candidates from the Hub, over real HTTP: processes with a cache of their own, against a small Hub."""

import json
import re

import pytest

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault

RESOLVE = """
import json, sys
from hf_leep import hub
from hf_leep.errors import CandidateError
hub.client._LONGEST_WAIT = 0.1
answers = []
for name in sys.argv[1:]:
    try:
        snapshot = hub.resolve(name)
        path = hub.fetch(snapshot)
        answers.append({"revision": snapshot.candidate.revision, "license": snapshot.candidate.license,
                        "id": snapshot.candidate.id, "files": sorted(p.name for p in path.iterdir())})
    except CandidateError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""


@pytest.fixture
def resolve(client):
    def run(*names, **environment):
        done = client(*names, code=RESOLVE, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


FILES = ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_only_the_files_that_are_needed_come_each_once_from_the_pinned_revision(hub, resolve, checkpoints):
    repo = hub.add_folder("user/model", checkpoints["five"], cardData={"license": "mit"})
    others = ("pytorch_model.bin", "tf_model.h5", "training_args.json", "onnx/model.onnx", "run/events.log")
    repo.commit(dict.fromkeys(others, b"not needed"))
    (answer,) = resolve("user/model")
    assert answer == {"revision": repo.refs["main"], "license": "mit", "id": "user/model", "files": FILES}
    fetched = hub.requested(r"^GET .*/resolve/")
    assert sorted(path.rsplit("/", 1)[1] for path in fetched) == FILES
    assert all(f"/resolve/{repo.refs['main']}/" in path for path in fetched)
    before = len(hub.log)
    resolve("user/model")
    assert [path for _, path, _ in hub.log[before:] if "/resolve/" in path and "HEAD" not in path] == []


def test_a_ref_that_moves_during_the_run_does_not_mix_revisions(hub, resolve, checkpoints):
    repo = hub.add_folder("user/model", checkpoints["five"])
    first = repo.refs["main"]
    moved = {"config.json": b"{}"}
    hub.faults.append(Fault(r"^GET /api/models/user/model\b", times=1, then=lambda: repo.commit(moved)))
    (answer,) = resolve("user/model")
    assert answer["revision"] == first != repo.refs["main"]
    assert all(f"/resolve/{first}/" in path for path in hub.requested(r"/resolve/"))


def test_a_revision_can_be_chosen(hub, resolve, checkpoints):
    repo = hub.add_folder("user/model", checkpoints["five"])
    old = repo.refs["v1"] = repo.refs["main"]
    repo.commit({"README.md": b"new"})
    by_name, by_sha, missing = resolve("user/model@v1", f"user/model@{old}", "user/model@v9")
    assert by_name["revision"] == by_sha["revision"] == old
    assert by_name["id"] == "user/model"
    assert missing == {"error": "the repository has no revision 'v9'"}


def test_without_access_it_says_why(hub, resolve, checkpoints):
    hub.add_folder("user/gated", checkpoints["five"], gated=True)
    hub.add_folder("user/private", checkpoints["five"], private=True)
    names = ("user/gated", "user/private", "user/missing")
    for token in ("", READ_TOKEN):
        gated, private, missing = resolve(*names, HF_TOKEN=token)
        said = "gated, and this login has no access, so ask for it" if token else "gated, so ask for access"
        assert gated["error"].startswith(said)
        assert (
            private["error"]
            == missing["error"]
            == ("no such folder, and no such model on the Hub that this login can see")
        )
    assert hub.requested(r"^GET .*/resolve/") == []
    gated, private, _ = resolve(*names, HF_TOKEN=WRITE_TOKEN)
    assert gated["files"] == private["files"] == FILES


def test_what_is_no_checkpoint_is_told_before_anything_moves(hub, resolve, checkpoints):
    config = (checkpoints["five"] / "config.json").read_bytes()
    hub.add("user/pickled", {"config.json": config, "pytorch_model.bin": b"pickle"})
    hub.add("user/empty", {"README.md": b"hello"})
    hub.add("user/weightless", {"config.json": config})
    pickled, empty, weightless = resolve("user/pickled", "user/empty", "user/weightless")
    assert pickled["error"].startswith("pickled weights only (pytorch_model.bin)")
    assert empty["error"] == "the repository has no config.json: not a transformers checkpoint"
    assert weightless["error"] == "no weights: model.safetensors is missing"
    assert hub.requested(r"/resolve/") == []


PASSING = {
    "429 with Retry-After": [Fault(r"^GET /api/models/", times=2, status=429, headers={"Retry-After": "0"})],
    "503 of the API": [Fault(r"^GET /api/models/", times=1, status=503)],
    "502 of a file": [Fault(r"^GET .*config.json", times=1, status=502)],
    "a slow answer": [Fault(r"^GET .*config.json", times=1, delay=1.0)],
    "a file cut off in the middle": [Fault(r"^GET .*model.safetensors", times=1, cut=True)],
    "a damaged file": [Fault(r"^GET .*model.safetensors", times=1, corrupt=True)],
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_survived(hub, resolve, checkpoints, fault):
    hub.add_folder("user/model", checkpoints["five"])
    hub.faults += PASSING[fault]
    (answer,) = resolve("user/model")
    assert answer["files"] == FILES
    assert hub.faults[0].times == 0


LASTING = {
    "403": ([Fault(r"^GET /api/models/user/bad", status=403)], r"the Hub answered 403"),
    "500": ([Fault(r"^GET /api/models/user/bad", status=500)], r"the Hub answered 500"),
    "404 of a file": (
        [Fault(r"user/bad/resolve/.*config.json", status=404)],
        r"the Hub answered 404|not be downloaded",
    ),
    "a damaged file": (
        [Fault(r"^GET /user/bad/.*model.safetensors", corrupt=True)],
        r"downloaded twice, and did not match the checksum",
    ),
}


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_stays_costs_its_candidate_alone(hub, resolve, checkpoints, fault):
    hub.add_folder("user/bad", checkpoints["five"])
    hub.add_folder("user/good", checkpoints["seven-classes"])
    faults, message = LASTING[fault]
    hub.faults += faults
    bad, good = resolve("user/bad", "user/good")
    assert re.search(message, bad["error"])
    assert "\n" not in bad["error"]
    assert good["files"] == FILES


def test_a_hub_that_is_down_is_said_to_be_down(resolve):
    (answer,) = resolve("user/model", HF_ENDPOINT="http://127.0.0.1:9")
    assert answer["error"].startswith("no such folder here, and the Hub did not answer")


def test_ranking_from_the_hub_then_offline_gives_the_same_scores_and_no_token_is_written(
    hub, client, checkpoints, pictures, tmp_path
):
    about = {"license": ["mit", "other"], "datasets": ["beans", "User/Pictures"]}
    result = {"task": {"type": "image-classification"}, "dataset": {"name": "Beans", "type": "beans"}}
    about["model-index"] = [
        {"name": "five", "results": [{**result, "metrics": [{"type": "accuracy", "value": 93.1}]}]}
    ]
    five = hub.add_folder("user/five", checkpoints["five"], cardData=about, tags=["dataset:mnist"], downloads=12)
    hub.add_folder("user/seven", checkpoints["seven-classes"], gated=True)
    hub.add_folder("user/headless", checkpoints["headless"])
    pictures.to_parquet(tmp_path / "train.parquet")
    hub.add("user/pictures", {"train.parquet": (tmp_path / "train.parquet").read_bytes()}, kind="dataset")
    names = ["user/five", "user/seven", "user/headless"]
    call = ["rank", "--dataset", "user/pictures", "--split", "train"]
    done = client(*call, "--models", *names, "--output", tmp_path / "out", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 3, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [c["status"] for c in report["candidates"]] == ["ok", "ok", "failed"]
    assert report["target"]["revision"] == hub.repos["dataset", "user/pictures"].refs["main"]
    revisions = {c["id"]: c["revision"] for c in report["candidates"]}
    assert revisions["user/five"] == five.refs["main"]
    first, second = (next(c for c in report["candidates"] if c["id"] == name) for name in names[:2])
    assert (first["trained_on"], first["license"]) == (["beans", "User/Pictures", "mnist"], "mit, other")
    assert [note.split(",")[0] for note in first["notes"]][1:] == ["trained on user/pictures", "licence “other”"]
    assert [note.split(",")[0] for note in second["notes"]][1:] == ["no licence found on the card", "gated"]
    assert (first["gated"], second["gated"]) == (False, True)
    assert (first["downloads"], second["downloads"]) == (12, 0)
    assert (first["stated_accuracy"], first["stated_on"]) == (pytest.approx(0.931), "Beans")
    assert (second["stated_accuracy"], second["stated_on"]) == (None, None)
    card = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"^- trained on user/pictures, .* \(`user/five`\)$", card, re.MULTILINE)
    assert ("`user/five` may have been trained on these" in card) == (first["rank"] == 1)
    assert f"https://huggingface.co/user/five/tree/{five.refs['main']}" in card
    agents = "".join(path for _, path, _ in hub.log)
    assert WRITE_TOKEN not in agents
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert WRITE_TOKEN.encode() not in path.read_bytes(), path
    assert WRITE_TOKEN not in done.stdout + done.stderr

    before = len(hub.log)
    (weights,) = tmp_path.rglob("models--user--headless/snapshots/*/model.safetensors")
    weights.unlink()  # as if it had never come
    pinned = [f"{name}@{revisions[name] or 'main'}" for name in names]
    offline = client(*call, "--models", *pinned, "--no-cache", "--json", HF_HUB_OFFLINE="1")
    assert offline.returncode == 3, offline.stderr
    again = json.loads(offline.stdout)["candidates"]
    assert [(c["id"], c["scores"]) for c in again[:2]] == [(c["id"], c["scores"]) for c in report["candidates"][:2]]
    assert again[2]["reason"].startswith("incomplete in the local cache while HF_HUB_OFFLINE is set")
    assert hub.log[before:] == []
