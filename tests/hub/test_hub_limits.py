"""The Hub's limits of requests, over real HTTP: they cost time, said on screen, and no candidate."""

import json
import re

import pytest

from tests.hub_rules import Limits
from tests.hub_server import Fault, Repo


@pytest.fixture
def data(pictures, tmp_path):
    pictures.select(range(12)).to_parquet(tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def refused(hub):
    return [path for _, path, status in hub.log if status == 429]


def test_a_storm_of_429_on_300_candidates_ends_with_all_of_them_ranked(hub, client, checkpoints, data):
    first = hub.add_folder("user/net-0", checkpoints["five"])
    names = [f"user/net-{k}" for k in range(300)]
    for name in names[1:296]:  # copies of one commit, so that its pass is run once
        hub.repos["model", name] = Repo(name, commits=first.commits, refs=first.refs)
    for name in names[296:]:  # each is downloaded, and run
        hub.add(name, {**first.files("main"), "README.md": f"# {name}".encode()})
    call = ("rank", "--dataset", data, "--measures", "nce", "--json", "--models")
    # Other programs use the same limits: what is granted is gone before it is asked for.
    hub.faults.append(Fault(r"/resolve/", times=8, status=429, headers={"Retry-After": "1"}))
    once = client(*call, names[0])
    assert once.returncode == 0, once.stderr
    assert "the Hub allows no more requests for files now: waiting 1 s" in once.stderr
    hub.limits = Limits({"api": 100, "resolvers": 15}, window=2.0)
    gone = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=100;w=2'}
    hub.faults.append(Fault(r"^GET /api/models/", times=30, status=429, headers=gone))
    done = client(*call, *names)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(c["id"] for c in report["candidates"]) == sorted(names)
    assert {c["status"] for c in report["candidates"]} == {"ok"}
    assert "the Hub allows no more requests to its API now (100 in 2 s): waiting" in done.stderr
    assert "the Hub allows no more requests for files now (15 in 2 s): waiting" in done.stderr
    for name in names[296:]:  # once, however often it had to wait
        served = [path for method, path, status in hub.log if method == "GET" and status == 200 and name in path]
        assert sum("/preprocessor_config.json" in path for path in served) == 1
    waited = re.search(r"waited (\d+) s in all for the Hub's limits", done.stderr)
    assert int(waited[1]) >= 2
    assert "Rate limited" not in once.stderr + done.stderr  # as huggingface_hub says of waits of its own
    assert 38 <= len(refused(hub)) < 60  # those, and a few that crossed the end of a window on their way


def test_the_plan_of_a_search_asks_only_for_files_and_within_the_limits(hub, client, checkpoints, data):
    hub.limits, hub.page = Limits({"api": 25, "resolvers": 60}, window=2.0), 20
    about = {"library_name": "transformers", "pipeline_tag": "image-classification", "tags": ["dataset:mnist"]}
    for k in range(40):
        card = f"---\nlicense: mit\n---\n# {k}".encode()
        hub.add_folder(f"user/net-{k:02}", checkpoints["five"], **about, cardData={"license": "mit"}).commit(
            {"README.md": card}
        )
    for k in range(40, 60):
        hub.add(f"user/net-{k:02}", {"README.md": b"# Nothing"}, **about)
    call = ("rank", "--dataset", data, "--search", "net", "--limit", "60", "--json")
    done = client(*call, "--dry-run")
    assert done.returncode == 3, done.stderr
    candidates = json.loads(done.stdout)["candidates"]
    assert [c["action"] for c in candidates] == ["run"] * 40 + ["skip"] * 20
    assert {c["reason"] for c in candidates[40:]} == {
        "the repository has no config.json: not a transformers checkpoint"
    }
    assert {c["license"] for c in candidates[:40]} == {"mit"}
    assert [c["revision"] for c in candidates[:40]] == [
        hub.repos["model", c["id"]].refs["main"] for c in candidates[:40]
    ]
    weights = (checkpoints["five"] / "model.safetensors").stat().st_size
    assert all(0.75 * weights < c["download_bytes"] < weights for c in candidates[:40])  # all but the header
    assert len(hub.requested(r"^GET /api/models\?")) == 3
    assert hub.requested(r"/api/models/") == []
    # Two for config.json, one for the header of the weights; those that crossed the end of a window come again.
    assert len(hub.requested(r"/resolve/")) - len(refused(hub)) == 3 * 40
    assert len(refused(hub)) <= 8
    assert "requests for files now (60 in 2 s): waiting" in done.stderr


def test_weights_that_a_search_found_are_checked_when_they_come(hub, client, checkpoints, data):
    hub.add_folder("user/net-1", checkpoints["five"], library_name="transformers", pipeline_tag="image-classification")
    hub.faults.append(Fault(r"^GET /user/net-1/resolve/.*/model.safetensors", corrupt=True))
    done = client("rank", "--dataset", data, "--search", "net", "--measures", "nce", "--json")
    (failed,) = json.loads(done.stdout)["candidates"]
    words = "model.safetensors was downloaded twice, and did not match the checksum that the Hub states"
    assert words in failed["reason"]


@pytest.mark.parametrize("when", ["plan", "run"])
def test_a_wait_that_is_too_long_ends_the_run_and_blames_no_candidate(hub, client, checkpoints, data, when):
    hub.add_folder("user/five", checkpoints["five"])
    hub.add_folder("user/seven", checkpoints["seven-classes"])
    what = r"/api/models/user/seven" if when == "plan" else r"^HEAD /user/seven/resolve/.*preprocessor"
    gone = {"RateLimit": '"api";r=0;t=4000'} if when == "plan" else {"Retry-After": "4000"}
    hub.faults.append(Fault(what, status=429, headers=gone))
    done = client("rank", "--dataset", data, "--models", "user/five", "user/seven", "--json", "--prefetch", "0")
    kind = "requests to its API" if when == "plan" else "requests for files"
    words = r" \(fault 429\)" if when == "plan" else ""  # the answer to a HEAD request has no words
    said = rf"the Hub allows no more {kind} for (3999|4000) s{words}: run the same command again later, or log in"
    if when == "plan":
        assert (done.returncode, done.stdout) == (1, "")
        assert re.search(rf"^hf-leep: {said}", done.stderr, re.MULTILINE)
        return
    assert done.returncode == 3, done.stderr
    kept, left = json.loads(done.stdout)["candidates"]
    assert (kept["id"], kept["rank"]) == ("user/five", 1)
    assert re.match(rf"not run: {said}", left["reason"])


AFTER_A_REFUSAL = """
import socket
from huggingface_hub import constants, utils
from hf_leep import hub
with hub.within_limits(), socket.socket() as closed:
    hub.Client().api.model_info("user/five")
    closed.bind(("127.0.0.1", 0))
    try:  # the connection is refused, and the session is closed
        utils.http_backoff("GET", f"http://127.0.0.1:{closed.getsockname()[1]}", max_retries=0)
    except Exception as error:
        print(type(error).__name__)
    for _ in range(4):
        print(utils.get_session().get(f"{constants.ENDPOINT}/api/models/user/five").status_code)
"""


def test_requests_keep_to_the_limits_after_a_refused_connection(hub, client):
    hub.add("user/five", {"README.md": b"# Nothing"})
    hub.limits = Limits({"api": 3}, window=1.0)
    done = client(code=AFTER_A_REFUSAL)
    assert done.stdout.split() == ["ConnectError", "200", "200", "200", "200"], done.stderr
    assert "the Hub allows no more requests to its API now (3 in 1 s): waiting" in done.stderr
