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
    for name in names[1:]:  # copies of one commit, so that its pass is run once
        hub.repos["model", name] = Repo(name, commits=first.commits, refs=first.refs)
    call = ("rank", "--dataset", data, "--measures", "nce", "--json", "--models")
    # Other programs use the same limits: what is granted is gone before it is asked for.
    hub.faults.append(Fault(r"/resolve/", times=8, status=429, headers={"Retry-After": "1"}))
    once = client(*call, names[0])
    assert once.returncode == 0, once.stderr
    assert "the Hub allows no more requests for files now: waiting 1 s" in once.stderr
    hub.limits = Limits({"api": 100}, window=2.0)
    gone = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=100;w=2'}
    hub.faults.append(Fault(r"^GET /api/models/", times=30, status=429, headers=gone))
    done = client(*call, *names)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(c["id"] for c in report["candidates"]) == sorted(names)
    assert {c["status"] for c in report["candidates"]} == {"ok"}
    assert "the Hub allows no more requests to its API now (100 in 2 s): waiting" in done.stderr
    waited = re.search(r"waited (\d+) s in all for the Hub's limits", done.stderr)
    assert int(waited[1]) >= 2
    assert "Rate limited" not in once.stderr + done.stderr  # as huggingface_hub says of waits of its own
    assert 38 <= len(refused(hub)) < 60  # those, and a few that crossed the end of a window on their way


def test_a_plan_of_many_candidates_stays_within_the_limits(hub, client, checkpoints, data):
    hub.limits = Limits({"api": 25, "resolvers": 60}, window=2.0)
    for k in range(60):
        about = {"library_name": "transformers", "pipeline_tag": "image-classification"}
        hub.add(f"user/net-{k:02}", {"README.md": b"# Nothing"}, **about)
    done = client("rank", "--dataset", data, "--search", "net", "--limit", "60", "--dry-run", "--json")
    assert done.returncode == 1, done.stderr
    reasons = {c["reason"] for c in json.loads(done.stdout)["candidates"]}
    assert reasons == {"the repository has no config.json: not a transformers checkpoint"}
    assert len(refused(hub)) <= 8  # a few that crossed the end of a window on their way
    assert "requests to its API now (25 in 2 s): waiting" in done.stderr


@pytest.mark.parametrize("when", ["plan", "run"])
def test_a_wait_that_is_too_long_ends_the_run_and_blames_no_candidate(hub, client, checkpoints, data, when):
    hub.add_folder("user/five", checkpoints["five"])
    hub.add_folder("user/seven", checkpoints["seven-classes"])
    what = r"/api/models/user/seven" if when == "plan" else r"^HEAD /user/seven/resolve/.*preprocessor"
    gone = {"RateLimit": '"api";r=0;t=4000'} if when == "plan" else {"Retry-After": "4000"}
    hub.faults.append(Fault(what, status=429, headers=gone))
    done = client("rank", "--dataset", data, "--models", "user/five", "user/seven", "--json", "--prefetch", "0")
    kind = "requests to its API" if when == "plan" else "requests for files"
    said = rf"the Hub allows no more {kind} for (3999|4000) s: run the same command again later, or log in"
    if when == "plan":
        assert (done.returncode, done.stdout) == (1, "")
        assert re.search(rf"^hf-leep: {said}", done.stderr, re.MULTILINE)
        return
    assert done.returncode == 3, done.stderr
    kept, left = json.loads(done.stdout)["candidates"]
    assert (kept["id"], kept["rank"]) == ("user/five", 1)
    assert re.match(rf"not run: {said}", left["reason"])
