"""A token that is not valid is found once and by name, over real HTTP."""

import json

import pytest

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault

BAD = "hf_expired"
SAID = "hf-leep: your token is not valid: hf auth login, or correct or unset HF_TOKEN\n"


@pytest.fixture
def rank(hub, client, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")
    for name in ("user/five", "user/other"):
        hub.add_folder(name, checkpoints["five"])

    def run(*names, **environment):
        data = tmp_path / "train.parquet"
        return client("rank", "--dataset", data, "--models", *names, "--dry-run", "--json", **environment)

    return run


def whoami(hub):
    return len(hub.requested(r"^GET /api/whoami"))


def test_a_token_that_no_request_can_carry_is_not_valid(hub, rank):
    done = rank("user/five", HF_TOKEN="hf_“quoted”")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", SAID)


def test_a_wrong_token_is_told_once_before_the_plan(hub, rank):
    done = rank("user/five", "user/other", HF_TOKEN=BAD)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", SAID)
    assert hub.requested("user/") == []
    assert whoami(hub) == 1
    assert BAD not in done.stderr


@pytest.mark.parametrize("call", [("--search", "five"), ("--collection", "me/best-01ab")])
def test_it_is_told_before_a_search_too(hub, client, rank, tmp_path, call):
    done = client("rank", "--dataset", tmp_path / "train.parquet", *call, HF_TOKEN=BAD)
    assert (done.returncode, done.stderr) == (2, SAID)


def test_it_is_told_of_a_data_set_on_the_hub(hub, client, rank, checkpoints):
    done = client("rank", "--dataset", "user/data", "--models", checkpoints["five"], HF_TOKEN=BAD)
    assert (done.returncode, done.stderr) == (2, SAID)


def test_a_good_token_is_asked_about_once(hub, rank):
    assert rank("user/five", "user/other", HF_TOKEN=READ_TOKEN).returncode == 0
    assert whoami(hub) == 1


def test_it_is_not_asked_about_where_the_hub_is_not_needed(hub, rank, checkpoints):
    assert rank(checkpoints["five"], HF_TOKEN=BAD).returncode == 0
    assert rank("user/five", HF_TOKEN="").returncode == 0
    assert whoami(hub) == 0
    before = len(hub.log)
    assert rank("user/five", HF_TOKEN=BAD, HF_HUB_OFFLINE="1").returncode == 1  # the weights are not in the cache
    assert len(hub.log) == before


@pytest.mark.parametrize("status", [404, 403, 429, 500])
def test_a_mirror_that_does_not_know_whoami_passes(hub, rank, status):
    hub.faults.append(Fault(r"/api/whoami", status=status))
    done = rank("user/five", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["candidates"][0]["action"] == "run"


def test_a_token_that_expires_during_the_run_is_named_too(hub, rank):
    hub.faults.append(Fault(r"/api/whoami", times=1, then=hub.tokens.clear))
    done = rank("user/five", "user/other", HF_TOKEN=WRITE_TOKEN)
    assert (done.returncode, done.stderr) == (2, SAID)


def test_a_push_is_told_before_it_looks_at_the_repository(hub, client):
    done = client("push-metric", "user/leep", HF_TOKEN=BAD)
    assert (done.returncode, done.stderr) == (2, SAID)
    assert hub.requested("user/leep") == []
