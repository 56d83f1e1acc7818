"""What the real Hub does and a kind one does not, over real HTTP: each with what the user reads."""

import json
import re
import threading

import pytest

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault, sha256


@pytest.fixture
def rank(hub, client, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")

    def run(*arguments, **environment):
        return client("rank", "--dataset", tmp_path / "train.parquet", *arguments, "--json", **environment)

    return run


def test_repositories_that_are_not_given_out_say_why(hub, rank, checkpoints):
    hub.add_folder("user/disabled", checkpoints["five"], disabled=True)
    hub.add_folder("user/illegal", checkpoints["five"], illegal=True)
    hub.add_folder("user/private", checkpoints["five"], private=True)
    done = rank("--models", "user/disabled", "user/illegal", "user/private", "user/missing", "--dry-run")
    assert done.returncode == 1
    reasons = {c["id"]: c["reason"] for c in json.loads(done.stdout)["candidates"]}
    missing = "no such folder, and no such model on the Hub that this login can see"
    assert reasons == {
        "user/disabled": "the Hub's staff have disabled it, and its page on the Hub may say why",
        "user/illegal": "the Hub does not give it out, for legal reasons",
        "user/private": missing,  # a 401 without a word about repositories
        "user/missing": missing,
    }
    assert all(status in (401, 403, 451) for _, path, status in hub.log if "/models/" in path)


def test_weights_come_from_another_host_without_the_token_and_are_checked(hub, rank, checkpoints):
    hub.cdn = True
    hub.add_folder("user/five", checkpoints["five"])
    hub.add_folder("user/cut", checkpoints["five"])
    hub.add_folder("user/damaged", checkpoints["five"])
    hub.faults += [
        Fault(r"^GET /cdn/model/user/cut/", times=1, cut=True),
        Fault(r"^GET /cdn/model/user/damaged/", corrupt=True),
    ]
    names = ["user/five", "user/cut", "user/damaged"]
    done = rank("--models", *names, HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 3, done.stderr
    rows = {c["id"]: c for c in json.loads(done.stdout)["candidates"]}
    assert rows["user/five"]["status"] == rows["user/cut"]["status"] == "ok"
    assert re.search("not match the checksum that the Hub states|damaged", rows["user/damaged"]["reason"])
    assert hub.requested(r"^GET /cdn/model/user/five/.*model.safetensors")
    assert {status for _, path, status in hub.log if path.startswith("/cdn/")} <= {200, 206}  # 400 with a token
    assert "secret" not in done.stdout + done.stderr


def test_the_weak_etag_of_a_small_file_is_its_checksum(hub, client, checkpoints):
    import httpx2

    hub.add_folder("user/five", checkpoints["five"])
    answer = httpx2.head(f"{hub.url}/user/five/resolve/main/config.json")
    assert answer.headers["ETag"].startswith('W/"')


@pytest.fixture
def report(client, checkpoints, pictures, tmp_path):
    """The folder of a report."""
    pictures.to_parquet(tmp_path / "rows.parquet")
    call = ("rank", "--dataset", tmp_path / "rows.parquet", "--models", checkpoints["five"], "--output", "report")
    done = client(*call[:-1], tmp_path / "report", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    return tmp_path / "report"


def test_large_files_of_a_push_go_up_in_parts(hub, client, report):
    hub.part_size = 1000
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    files = hub.repos["dataset", "user/report"].files("main")
    large = {sha256(content) for path, content in files.items() if len(content) > 1000 and path.endswith(".parquet")}
    assert large
    assert large <= {oid for oid, _ in hub.parts}
    assert sum(map(len, hub.parts.values())) >= sum(len(files[path]) for path in files if path.endswith(".parquet"))


def test_metadata_that_the_hub_refuses_is_told_in_its_words(hub, client, report):
    said = {"errors": [{"message": '"license" must be one of [mit, …]'}], "warnings": []}
    hub.faults.append(Fault(r"^POST /api/validate-yaml", status=400, body=said))
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 1
    assert (
        'hf-leep: the Hub refuses the files for user/report: Invalid metadata in README.md. - "license"' in done.stderr
    )
    assert hub.requested(r"/commit/") == []


def test_a_second_pull_request_goes_into_the_first(hub, client, report):
    repo = hub.add("user/data", {"README.md": b"precious"}, kind="dataset")
    push = ("push", report, "user/data", "--create-pr")
    url = f"{hub.url}/datasets/user/data/discussions/1"
    first = client(*push, HF_TOKEN=WRITE_TOKEN)
    assert (first.returncode, first.stdout) == (0, f"Pushed: {url}\n"), first.stderr
    again = client(*push, HF_TOKEN=WRITE_TOKEN)
    assert again.stdout == f"Nothing to push, the repository has all of it: {url}\n", again.stderr
    data = json.loads((report / "report.json").read_text())
    data["run"]["seconds"] = 1.0
    (report / "report.json").write_text(json.dumps(data))
    repo.commit({"README.md": b"more precious"})  # from now on, both have changed it
    changed = client(*push, HF_TOKEN=WRITE_TOKEN)
    assert changed.stdout == f"Pushed: {url}\n", changed.stderr
    assert (
        f"{url} is in conflict with main (README.md): resolve it there, or close it and push again" in changed.stderr
    )
    assert len(hub.pulls) == 1
    assert b'"seconds": 1.0' in repo.files("refs/pr/1")["report.json"]
    hub.pulls[0]["status"] = "closed"
    anew = client(*push, HF_TOKEN=WRITE_TOKEN)
    assert anew.stdout == f"Pushed: {hub.url}/datasets/user/data/discussions/2\n", anew.stderr


SHORT = """
import sys
from hf_leep.hub import pace, session
session._SECONDS, pace._LONGEST_SILENCE = 0.3, 0.5
from hf_leep import cli
cli.main(sys.argv[1:])
"""


def test_a_search_in_a_silent_hub_is_given_up(hub, client, rank, tmp_path):
    hub.faults.append(Fault(r"^GET /api/models\?", until=threading.Event()))
    call = ("rank", "--dataset", tmp_path / "train.parquet", "--search", "net")
    done = client(*call, code=SHORT)
    assert done.returncode == 1
    assert re.fullmatch(r"hf-leep: the Hub did not answer for \d+ s: try again later\n", done.stderr)
    assert hub.faults[0].met.is_set()


def test_a_stream_from_a_silent_hub_is_given_up(hub, client, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")
    hub.add("user/large", {"data/train.parquet": (tmp_path / "train.parquet").read_bytes()}, kind="dataset")
    hub.faults.append(Fault(r"^GET /datasets/user/large/resolve/.*parquet", until=threading.Event()))
    call = ("rank", "--dataset", "user/large", "--streaming", "--max-samples", "20", "--models", checkpoints["five"])
    done = client(*call, code=SHORT, HF_HUB_DOWNLOAD_TIMEOUT="1", HF_TOKEN=READ_TOKEN)
    assert done.returncode == 2
    assert re.search(
        r"user/large cannot be read \(the Hub did not answer for \d+ s: try again later\)\n", done.stderr
    ), done.stderr
