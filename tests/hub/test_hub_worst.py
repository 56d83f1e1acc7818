"""The Hub at its worst, over real HTTP: limits of every host, and answers that are cut, slow or wrong."""

import json
import re
import threading

import pytest

from tests.hub_rules import Limits
from tests.hub_server import WRITE_TOKEN, Fault

PAGE = b"<!DOCTYPE html><html><body>Please log in to the network</body></html>"
HTML = {"Content-Type": "text/html"}
AT_ONCE = {"Retry-After": "0"}
IN_SHORT = """
import sys
from hf_leep.hub import pace, session
session._SECONDS, pace._LONGEST_WAIT, pace._LONGEST_SILENCE = 0.3, 1.0, 0.5
"""
PLAN = f"""{IN_SHORT}
import json
from hf_leep import hub
from hf_leep.errors import HfLeepError
said = {{}}
for name in sys.argv[1:]:
    try:
        hub.peek(hub.resolve(name))
    except HfLeepError as error:
        said[name] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(said))
"""
PUSH = f"""{IN_SHORT}
from hf_leep import cli
cli.main(sys.argv[1:])
"""


@pytest.fixture
def rank(client, pictures, tmp_path):
    pictures.select(range(12)).to_parquet(tmp_path / "train.parquet")

    def run(*arguments, **settings):
        call = ("rank", "--dataset", tmp_path / "train.parquet", "--measures", "nce", "--json", *arguments)
        return client(*call, **settings)

    return run


@pytest.fixture
def report(rank, checkpoints, tmp_path):
    """The folder of a report."""
    done = rank("--models", checkpoints["five"], "--output", tmp_path / "report", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    return tmp_path / "report"


def reasons(done):
    return {c["id"]: c["reason"] for c in json.loads(done.stdout)["candidates"]}


def test_the_host_of_large_files_has_limits_too(hub, client, rank, checkpoints):
    hub.cdn = True
    hub.add_folder("user/five", checkpoints["five"])
    hub.faults.append(Fault(r"^GET /cdn/", times=2, status=429))
    done = rank("--models", "user/five")
    assert done.returncode == 0, done.stderr
    assert "localhost allows no more requests now: waiting 2 s" in done.stderr
    assert re.search(
        r"waited \d+ s in all for the Hub's limits$", done.stderr, re.MULTILINE
    )  # a login changes nothing
    hub.faults.append(Fault(r"^GET /cdn/", status=429))
    hub.log.clear()
    never = json.loads(client("user/five", code=PLAN, home="other").stdout)["user/five"]
    words = (
        r"HubLimitError: localhost allows no more requests for \d+ s \(fault 429\): run the same command again later"
    )
    assert re.fullmatch(words, never)
    assert len(hub.requested(r"^GET /cdn/")) < 10


def test_a_limit_of_uploads_is_waited_for_and_has_an_end(hub, client, report):
    hub.faults.append(Fault(r"/lfs/objects/batch", times=1, status=429, headers={"Retry-After": "3"}))
    hub.faults.append(Fault(r"^PUT /lfs/", times=1, status=429, headers={"Retry-After": "1"}))
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    # huggingface_hub waits a second of the three
    assert "the Hub allows no more uploads now: waiting 2 s" in done.stderr
    assert "HTTP Error" not in done.stderr
    hub.faults.append(Fault(r"/lfs/objects/batch", status=429))
    never = client("push", report, "user/other", code=PUSH, HF_TOKEN=WRITE_TOKEN)
    assert (never.returncode, never.stdout) == (1, "")
    assert re.search(r"^hf-leep: the Hub allows no more uploads for \d+ s", never.stderr, re.MULTILINE)
    assert "hf auth login" not in never.stderr


def test_a_limit_says_what_the_hub_says_of_it(hub, client, report):
    said = {"error": "You have exceeded the rate limit for repository commits (128 per hour)."}
    hub.faults.append(Fault(r"/commit/", status=429, headers={"Retry-After": "3000"}, body=said))
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert done.stderr.strip() == (
        "hf-leep: the Hub allows no more requests to its API for 3000 s (You have exceeded the rate limit for "
        "repository commits (128 per hour).): run the same command again later"
    )


# Candidate → what goes wrong while it is planned, and what stands on its row.
ANSWERS = {
    "503-page": (
        Fault(r"^GET /api/models/user/503-page", status=503, body=PAGE, headers=HTML | AT_ONCE),
        "no such folder here, and the Hub answered 503: Service Unavailable; try again later",
    ),
    "403-words": (
        Fault(r"/user/403-words/resolve/", status=403, headers={"X-Error-Message": "Enable access to gated ones."}),
        "the Hub answered 403: Enable access to gated ones",
    ),
    "portal": (
        Fault(r"^GET /api/models/user/portal", status=200, body=PAGE, headers=HTML),
        "the Hub's answer is not valid JSON, it begins '<!DOCTYPE html><html><body>Ple': check HF_ENDPOINT, and the "
        "proxy of your network",
    ),
    "captive": (
        Fault(r"/user/captive/resolve/", status=200, body=PAGE, headers=HTML),
        "the Hub's answer about a file names no commit or no checksum: check HF_ENDPOINT, and the proxy of your "
        "network",
    ),
    "circle": (
        Fault(r"/models/user/circle", status=307, body=b"", headers={"Location": "/api/models/user/circle"}),
        "no such folder here, and the Hub redirects in a circle: check HF_ENDPOINT, and the proxy of your network",
    ),
    "too-short": (
        Fault(r"^GET /api/models/user/too-short", length=100000),
        r"no such folder here, and the Hub's answer was cut off after 770 of 100000 bytes: try again later",
    ),
    "too-small": (
        Fault(r"^GET /user/too-small/resolve/.*config.json", length=100),
        "config.json has 100 bytes as it came, and 748 as the Hub states: try again later",
    ),
    "squashed": (None, "its commit {} is no longer on the Hub: run again to rank its newest one"),
    "deleted": (None, "it is no longer on the Hub, or no longer visible to this login"),
    "empty": (None, "the repository is empty"),
    "data": (None, "no such folder, and no such model on the Hub that this login can see"),
    "whole": (None, None),
    "passing": (Fault(r"^GET /api/models/user/passing", times=1, cut=True), None),
    "etag": (
        Fault(
            r"^HEAD /user/etag/", times=1, status=200, body=b"{}", headers={"ETag": '"0"', "X-Repo-Commit": "0" * 40}
        ),
        None,
    ),
}


def test_wrong_answers_are_told_as_they_are_and_tried_again_where_that_helps(hub, rank, checkpoints):
    for name, (fault, _) in ANSWERS.items():
        hub.add_folder(f"user/{name}", checkpoints["five"])
        hub.faults += [fault] if fault else []
    squashed, whole = hub.repos["model", "user/squashed"], hub.repos["model", "user/whole"].files("main")
    commit = squashed.refs["main"][:7]

    def squash():
        squashed.commits.clear()
        squashed.refs.clear()
        squashed.commit({**whole, "README.md": b"# Anew"})

    hub.faults += [
        Fault(r"^GET /api/models/user/squashed", times=1, then=squash),
        Fault(r"^GET /api/models/user/deleted", times=1, then=lambda: hub.repos.pop(("model", "user/deleted"))),
    ]
    hub.add("user/empty", {".gitattributes": b""})
    hub.repos["dataset", "user/data"] = hub.repos.pop(("model", "user/data"))
    done = rank("--dry-run", "--models", *(f"user/{name}" for name in ANSWERS))
    assert done.returncode == 3, done.stderr
    expected = {f"user/{name}": said and said.format(commit) for name, (_, said) in ANSWERS.items()}
    assert reasons(done) == expected


def test_an_answer_that_comes_byte_by_byte_is_given_up(hub, client, checkpoints):
    hub.add_folder("user/api", checkpoints["five"])
    hub.add_folder("user/file", checkpoints["five"])
    hub.add_folder("user/whole", checkpoints["five"])
    hub.faults += [Fault(r"/api/models/user/api", drip=0.1), Fault(r"^GET /user/file/.*config.json", drip=0.1)]
    done = client("user/api", "user/file", "user/whole", code=PLAN)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == {"user/api", "user/file"}
    for name, before in (("user/api", "no such folder here, and "), ("user/file", "")):
        assert re.fullmatch(
            rf"CandidateError: {before}the Hub sent only \d+ bytes in [01] s: try again later", said[name]
        )


def test_a_silent_hub_costs_its_silence_once_and_not_for_each_candidate(hub, client):
    names = [f"user/net-{k}" for k in range(40)]
    hub.faults.append(Fault(r".", until=threading.Event()))
    done = client(*names, code=PLAN)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == set(names)
    assert all("the Hub did not answer" in reason for reason in said.values())
    # Of three tries each, it would have been 120.
    assert 10**9 - hub.faults[0].times < 20


def test_a_commit_whose_answer_is_a_page_is_found_at_the_next_try(hub, client, report):
    hub.add("user/data", {"README.md": b"# Data"}, kind="dataset")
    hub.faults.append(Fault(r"/api/datasets/user/report/commit/", times=1, replace=PAGE))
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert (done.returncode, done.stdout) == (0, f"Pushed: {hub.url}/datasets/user/report\n"), done.stderr
    hub.faults.append(Fault(r"/api/datasets/user/data/commit/", times=1, replace=PAGE))
    unclear = client("push", report, "user/data", "--create-pr", HF_TOKEN=WRITE_TOKEN)
    assert unclear.returncode == 1
    assert "the Hub did not say whether a pull request was opened (its answer is not JSON)" in unclear.stderr
    assert len(hub.pulls) == 1


def test_an_upload_that_is_refused_is_no_fault_of_a_download(hub, client, report):
    hub.faults.append(Fault(r"^PUT /lfs/", status=403, body={"error": "Request has expired"}))
    done = client("push", report, "user/report", HF_TOKEN=WRITE_TOKEN)
    assert (done.returncode, done.stderr) == (1, "hf-leep: the Hub answered 403: Request has expired\n")


def test_small_files_that_a_search_found_are_checked_when_they_come(hub, rank, checkpoints):
    about = {"library_name": "transformers", "pipeline_tag": "image-classification"}
    hub.add_folder("user/net-1", checkpoints["five"], **about)
    hub.add_folder("user/net-2", checkpoints["five"], **about)
    hub.faults.append(Fault(r"^GET /user/net-1/resolve/.*/preprocessor_config.json", corrupt=True))
    hub.faults.append(Fault(r"^GET /user/net-2/resolve/.*/preprocessor_config.json", corrupt=True, times=1))
    done = rank("--search", "net")
    assert done.returncode == 3, done.stderr
    words = "preprocessor_config.json was downloaded twice, and did not match the checksum that the Hub states"
    assert reasons(done)["user/net-1"].startswith(words)
    assert reasons(done)["user/net-2"] is None
    hub.faults[:] = [Fault(r"/paths-info/", status=404)]  # of a mirror that does not know this request
    mirrored = rank("--search", "net", "--no-cache", home="other")
    assert mirrored.returncode == 0, mirrored.stderr


def test_offline_the_new_name_of_a_repository_leads_to_its_old_one(hub, rank, checkpoints):
    hub.add_folder("old/model", checkpoints["five"])
    assert rank("--models", "old/model").returncode == 0
    done = rank("--models", "user/model", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "not in the local cache while HF_HUB_OFFLINE is set; the cache has old/model: give that if" in done.stderr
    other = rank("--models", "user/other", HF_HUB_OFFLINE="1")
    assert "the cache has" not in other.stderr


def test_a_storm_of_429_while_every_file_comes_over_http(hub, rank, checkpoints):
    first = hub.add_folder("user/net-00", checkpoints["five"]).files("main")
    names = [f"user/net-{k:02}" for k in range(12)]
    for name in names[1:]:
        hub.add(name, {**first, "README.md": f"# {name}".encode()})
    hub.limits = Limits({"api": 5, "resolvers": 12}, window=1.0)
    done = rank("--models", *names)
    assert done.returncode == 0, done.stderr
    assert set(reasons(done)) == set(names)
    served = [path for method, path, status in hub.log if method == "GET" and status == 200]
    for name in names:
        for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
            assert (
                len([path for path in served if path.startswith(f"/{name}/resolve/") and path.endswith(f"/{file}")])
                == 1
            )
    assert "the Hub allows no more requests to its API now (5 in 1 s): waiting" in done.stderr
    assert "the Hub allows no more requests for files now (12 in 1 s): waiting" in done.stderr
    waited = re.search(r"waited (\d+) s in all for the Hub's limits; a login has higher ones", done.stderr)
    assert int(waited[1]) >= 5
