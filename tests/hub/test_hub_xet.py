"""Downloads through Xet, which is how the Hub sends large files: hf_xet itself, its local storage, and its faults."""

import json
import threading
from importlib.util import find_spec

import pytest

from tests.hub_server import Fault, sha256

pytestmark = pytest.mark.skipif(find_spec("hf_xet") is None, reason="hf_xet is not made for this kind of machine")
XET = {"HF_HUB_DISABLE_XET": "0", "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}
STORE = """
import sys
import hf_xet
with hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1]) as commit:
    stored = commit.start_upload_file(sys.argv[2], sha256=hf_xet.COMPUTE_SHA256)
print(stored.result().xet_info.hash)
"""


@pytest.fixture
def weights(hub, client, checkpoints, tmp_path):
    """The weights of user/five, a repository whose weights are in Xet storage."""
    hub.add_folder("user/five", checkpoints["five"])
    file = checkpoints["five"] / "model.safetensors"
    (tmp_path / "cas").mkdir()
    hub.cas = f"local://{tmp_path / 'cas'}"
    stored = client(hub.cas, file, code=STORE)
    assert stored.returncode == 0, stored.stderr
    hub.xet_hashes[sha256(file.read_bytes())] = stored.stdout.strip()
    return file.read_bytes()


@pytest.fixture
def rank(client, pictures, checkpoints, tmp_path):
    """Rank user/five, whose download is to be looked at, and a local folder."""
    pictures.to_parquet(tmp_path / "train.parquet")
    words = ["rank", "--dataset", tmp_path / "train.parquet", "--models", "user/five", checkpoints["seven-classes"]]
    words += ["--measures", "leep", "--output", tmp_path / "report", "--json"]
    return lambda *more, **environment: client(*words, *more, **{**XET, **environment})


def test_weights_come_through_xet_and_are_checked(hub, rank, weights, tmp_path):
    done = rank()
    assert done.returncode == 0, done.stderr
    assert len(hub.requested("xet-read-token")) == 1
    sent = sum(
        1 for method, path, status in hub.log if method == "GET" and "model.safetensors" in path and status == 200
    )
    assert sent == 0  # but for the ranges with the shapes of the weights
    (cached,) = (tmp_path / "home" / "hub" / "models--user--five" / "snapshots").glob("*/model.safetensors")
    assert cached.read_bytes() == weights


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut": True}])
def test_an_xet_storage_that_fails_is_one_line_and_the_others_go_on(hub, rank, weights, fault):
    hub.cas = f"{hub.url}/cas"
    hub.faults.append(Fault("/cas/", **fault))
    done = rank()
    assert done.returncode == 3, done.stderr
    local, failed = json.loads(done.stdout)["candidates"]
    assert local["status"] == "ok"
    assert failed["reason"].startswith("it could not be downloaded from the Hub's Xet storage (")
    assert failed["reason"].endswith("); with HF_HUB_DISABLE_XET=1 it comes over HTTP")
    assert rank(HF_HUB_DISABLE_XET="1").returncode == 0


def test_a_silent_xet_storage_is_given_up_like_any_silent_download(hub, rank, weights):
    hub.cas = f"{hub.url}/cas"
    hub.faults.append(Fault("/cas/", until=threading.Event()))
    done = rank("--candidate-timeout", "2s")
    assert done.returncode == 3, done.stderr
    local, failed = json.loads(done.stdout)["candidates"]
    assert local["status"] == "ok"
    assert failed["reason"] == "no byte of its download came for 2 seconds (--candidate-timeout)"
