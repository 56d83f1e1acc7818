"""Pushing over real HTTP: processes with a cache of their own, against a small Hub."""

import base64
import copy
import json
import os
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from hf_leep import cli, measures
from hf_leep.errors import UserError
from hf_leep.evaluate_module import names
from hf_leep.publish import check_annotations
from hf_leep.report import Report
from hf_leep.report.card import plots
from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault
from tests.report.conftest import REPORT

FRESH = (sys.executable,)  # once for each command: an interpreter of its own
FILES = plots.FILES | {".gitattributes", "README.md", "report.html", "report.json", "scores.parquet"}
WRITES = r"^(POST|PUT|DELETE) "


@pytest.fixture
def folder(tmp_path):
    """A saved report on candidates and a data set of the Hub."""
    return Report(copy.deepcopy(REPORT)).save(tmp_path / "report")


@pytest.fixture
def push(client, folder):
    """``hf-leep push FOLDER …`` with a token that may write."""
    return lambda *arguments, **environment: client(
        "push", folder, *arguments, **{"HF_TOKEN": WRITE_TOKEN, **environment}
    )


def change(folder, edit):
    data = json.loads((folder / "report.json").read_text())
    edit(data)
    (folder / "report.json").write_text(json.dumps(data))


LOAD = """
import datasets, json, sys
rows = datasets.load_dataset("user/ranking", split="train").to_list()
print(json.dumps(rows))
"""


def test_a_pushed_report_is_one_commit_that_load_dataset_reads(hub, push, client, tmp_path):
    done = push("user/ranking", interpreter=FRESH)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Pushed: {hub.url}/datasets/user/ranking\n"
    assert done.stderr == ""
    repo = hub.repos["dataset", "user/ranking"]
    assert len(repo.commits) == 2  # the Hub's own, and ours
    files = repo.files("main")
    assert set(files) == FILES
    assert json.loads(files["report.json"]) == REPORT
    (tmp_path / "card.md").write_bytes(files["README.md"])
    card = DatasetCard.load(tmp_path / "card.md")
    assert card.data.source_datasets == ["user/flowers"]
    assert card.content.encode() == files["README.md"]

    read = client(code=LOAD)
    assert read.returncode == 0, read.stderr
    rows = json.loads(read.stdout)
    assert [row["id"] for row in rows] == [candidate["id"] for candidate in REPORT["candidates"]]
    for row, candidate in zip(rows, REPORT["candidates"], strict=True):
        for key in ("rank", "tie_group", "tie_letters"):
            assert row[key] == candidate[key]
        for measure in REPORT["measures"]:
            score = candidate["scores"].get(measure, {"value": None, "standard_error": None})
            column = measure.replace("-", "_")
            assert (row[column], row[f"{column}_standard_error"]) == (score["value"], score["standard_error"])


def test_a_report_with_a_measure_that_is_not_installed_is_pushed(hub, push, folder):
    text = (folder / "report.json").read_text()
    (folder / "report.json").write_text(text.replace('"leep"', '"made-up"').replace('"LEEP"', '"Made-Up Score"'))
    done = push("user/ranking")
    assert done.returncode == 0, done.stderr
    assert "- **Made-Up Score**:" in hub.repos["dataset", "user/ranking"].files("main")["README.md"].decode()


def test_a_push_goes_over_http_where_time_limits_hold_and_not_through_xet(hub, push):
    done = push("user/ranking", HF_HUB_DISABLE_XET="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(hub.repos["dataset", "user/ranking"].files("main")) == FILES
    assert hub.requested("xet") == []
    assert len(hub.requested("PUT /lfs/")) == 6  # five pictures and the table


def test_a_second_push_updates_and_removes_what_is_left_of_the_first(hub, push, folder):
    assert push("user/ranking", "--json").returncode == 0
    repo = hub.repos["dataset", "user/ranking"]
    repo.commit({"LICENSE": b"mine"})
    before = len(repo.commits)
    same = push("user/ranking", "--json")
    assert json.loads(same.stdout) == {
        "url": f"{hub.url}/datasets/user/ranking",
        "repo_id": "user/ranking",
        "repo_type": "dataset",
        "revision": repo.refs["main"],
        "pull_request": False,
        "changed": False,
        "private": False,
        "repo_url": f"{hub.url}/datasets/user/ranking",
        "commit_message": "",
        "commit_description": "",
        **dict.fromkeys(("commit_url", "pr_url", "pr_num", "pr_revision", "space_url")),
        "local_names": [],
        "private_names": [],
        "annotations": [],
    }
    assert len(repo.commits) == before
    change(folder, lambda data: data.update(candidates=data["candidates"][3:]))
    again = push("user/ranking", "--json")
    assert again.returncode == 0, again.stderr
    changed = json.loads(again.stdout)
    assert changed["changed"]
    assert changed["revision"] == repo.refs["main"]
    assert len(repo.commits) == before + 1
    assert set(repo.files("main")) == FILES - plots.FILES | {"LICENSE"}


@pytest.fixture
def pictured(tmp_path):
    """A saved report with a thumbnail."""
    row = REPORT["candidates"][0]["explanation"]["examples"][0]["row"]
    report = Report(copy.deepcopy(REPORT), {row: b"\xff\xd8\xffpixels of my house"})
    return report.save(tmp_path / "pictured")


def holding(hub, *needles):
    """Kind and name of each repository, and the files there, in which any of some bytes is, in whatever commit."""
    return sorted(
        (kind, name, path)
        for (kind, name), repo in hub.repos.items()
        for files in repo.commits.values()
        for path, content in files.items()
        if any(needle in content for needle in needles)
    )


def test_thumbnails_never_leave_this_machine_unless_that_is_asked_for(hub, client, pictured):
    pixels = b"pixels of my house"
    traces = (pixels, base64.b64encode(b"\xff\xd8\xff" + pixels), b"img-src data:")
    assert base64.b64encode(b"\xff\xd8\xff" + pixels) in (pictured / "report.html").read_bytes()
    (name,) = (path.name for path in (pictured / "thumbnails").iterdir())

    def push(*arguments):
        done = client("push", pictured, "user/ranking", *arguments, HF_TOKEN=WRITE_TOKEN)
        assert done.returncode == 0, done.stderr

    push("--space")
    push("--repo-type", "model")
    assert holding(hub, *traces) == []
    assert set(hub.repos["dataset", "user/ranking"].files("main")) == FILES

    push("--push-thumbnails", "--space")
    assert holding(hub, *traces) == [
        ("dataset", "user/ranking", "report.html"),
        ("dataset", "user/ranking", f"thumbnails/{name}"),
        ("space", "user/ranking", "index.html"),
    ]
    push("--space")  # what was pushed is removed
    for kind in ("dataset", "space"):
        files = hub.repos[kind, "user/ranking"].files("main")
        assert not any(trace in content for trace in traces for content in files.values())
        assert f"thumbnails/{name}" not in files


@pytest.mark.parametrize(
    ("pictures", "options", "said"),
    [
        (
            False,
            ["--push-thumbnails"],
            "--push-thumbnails: the report has no thumbnails; rank with --thumbnails",
        ),
        (
            True,
            ["--push-thumbnails", "--repo-type", "model"],
            "--push-thumbnails: a model card cannot show them; push to a data set, or add --space",
        ),
        (
            True,
            ["--space", "--create-pr"],
            "--space commits to a Space, but --create-pr must not commit: leave one out",
        ),
    ],
)
def test_thumbnails_or_a_space_that_cannot_be_pushed(hub, client, folder, pictured, pictures, options, said):
    done = client("push", pictured if pictures else folder, "user/ranking", *options, HF_TOKEN=WRITE_TOKEN)
    assert (done.returncode, done.stderr) == (2, f"hf-leep: {said}\n")
    assert hub.requested(WRITES) == []


def test_a_space_shows_the_page_and_the_card_links_it(hub, push, folder):
    done = push("user/ranking", "--space", "--license", "cc-by-4.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Pushed: {hub.url}/datasets/user/ranking\nSpace: {hub.url}/spaces/user/ranking\n"
    space = hub.repos["space", "user/ranking"]
    assert space.info["sdk"] == "static"
    files = space.files("main")
    assert set(files) == {".gitattributes", "README.md", "index.html", "report.json"}
    assert files["index.html"] == (folder / "report.html").read_bytes()
    block, text = files["README.md"].decode().split("---\n")[1:]
    about = yaml.safe_load(block)
    assert {key: about[key] for key in ("sdk", "app_file", "datasets", "license")} == {
        "sdk": "static",
        "app_file": "index.html",
        "datasets": ["user/ranking"],
        "license": "cc-by-4.0",
    }
    assert "[user/ranking](https://huggingface.co/datasets/user/ranking)" in text
    card = hub.repos["dataset", "user/ranking"].files("main")["README.md"].decode()
    assert f"[The interactive page]({hub.url}/spaces/user/ranking) sorts" in card
    assert "Download it to open it" not in card
    again = push("user/ranking", "--space", "--license", "cc-by-4.0", "--json")
    assert json.loads(again.stdout)["space_url"] == f"{hub.url}/spaces/user/ranking"
    assert len(space.commits) == 2  # nothing new to commit


def test_a_space_of_something_else_is_kept_and_nothing_is_pushed(hub, push):
    hub.add("user/ranking", {"README.md": b"mine", "index.html": b"mine"}, kind="space")
    done = push("user/ranking", "--space")
    assert done.returncode == 2
    assert done.stderr == (
        "hf-leep: the Space user/ranking is a Space of something else: push the report under another name, or without "
        "--space\n"
    )
    hub.add("user/data", {"README.md": b"precious"}, kind="dataset")
    assert "has a README.md that is not a report's" in push("user/data", "--space").stderr
    assert hub.requested(WRITES) == []


def test_the_space_of_a_private_report_is_private(hub, push):
    hub.add("user/ranking", {"report.json": b"{}", "README.md": b""}, kind="dataset", private=True)
    assert push("user/ranking", "--space").returncode == 0
    assert hub.repos["space", "user/ranking"].private
    assert push("user/new", "--space", "--private").returncode == 0
    assert hub.repos["space", "user/new"].private
    hub.repos["space", "user/ranking"].private = False
    done = push("user/ranking", "--space")
    assert (done.returncode, done.stderr) == (
        2,
        "hf-leep: the Space user/ranking is public already: make it private on its page first, or push without "
        "--space\n",
    )


def test_somebody_elses_commit_meanwhile_is_noticed_and_kept(hub, push, folder):
    assert push("user/ranking").returncode == 0
    repo = hub.repos["dataset", "user/ranking"]
    change(folder, lambda data: data["run"].update(seconds=1.0))
    meanwhile = Fault(r"/preupload/", times=1, then=lambda: repo.commit({"README.md": b"theirs"}))
    hub.faults.append(meanwhile)
    done = push("user/ranking")
    assert meanwhile.times == 0
    assert done.returncode == 1
    assert done.stderr == (
        "hf-leep: somebody else committed to user/ranking meanwhile, and nothing of this push is there: push again\n"
    )
    assert repo.files("main")["README.md"] == b"theirs"
    assert json.loads(repo.files("main")["report.json"]) == REPORT
    assert push("user/ranking").returncode == 0
    assert json.loads(repo.files("main")["report.json"])["run"]["seconds"] == 1.0


def test_a_lost_answer_to_a_commit_that_was_made_is_no_conflict(hub, push, folder):
    def lost():
        hub.faults.append(Fault(r"^POST /api/datasets/user/ranking/commit/", times=1, cut=True))
        done = push("user/ranking")
        assert hub.faults.pop().times == 0
        assert done.returncode == 0, done.stderr
        return len(hub.repos["dataset", "user/ranking"].commits)

    assert lost() == 2
    change(folder, lambda data: data.update(candidates=data["candidates"][3:]))
    assert lost() == 3  # with files deleted: the second try finds another commit than it expects, its own


@pytest.mark.parametrize(
    ("where", "status"), [("GET /api/datasets", 429), ("repos/create", 503), ("/preupload/", 503), ("/commit/", 429)]
)
def test_a_hub_that_is_busy_is_asked_again(hub, push, where, status):
    fault = Fault(where, times=1, status=status, headers={"Retry-After": "0"})
    hub.faults.append(fault)
    done = push("user/ranking")
    assert fault.times == 0
    assert done.returncode == 0, done.stderr
    assert set(hub.repos["dataset", "user/ranking"].files("main")) == FILES


def test_a_foreign_card_is_never_replaced_but_a_pull_request_may_propose_it(hub, push):
    repo = hub.add("user/data", {"README.md": b"precious"}, kind="dataset")
    done = push("user/data")
    assert done.returncode == 2
    assert done.stderr == (
        "hf-leep: user/data has a README.md that is not a report's: push elsewhere, or open a pull request "
        "(--create-pr)\n"
    )
    assert hub.requested(WRITES) == []
    proposed = push("user/data", "--create-pr")
    assert proposed.stdout == f"Pushed: {hub.url}/datasets/user/data/discussions/1\n"
    assert repo.files("main") == {"README.md": b"precious"}
    assert set(repo.files("refs/pr/1")) == FILES - {".gitattributes"}


def test_a_pull_request_is_not_opened_twice_when_its_answer_is_lost(hub, push):
    hub.add("user/data", {"README.md": b"precious"}, kind="dataset")
    hub.faults.append(Fault(r"/commit/", times=1, cut=True))
    done = push("user/data", "--create-pr")
    assert done.returncode == 1
    assert f"look for it at {hub.url}/datasets/user/data/discussions before you try again" in done.stderr
    assert len(hub.pulls) == 1


def test_a_pull_request_needs_a_repository(hub, push):
    done = push("user/none", "--create-pr")
    assert done.returncode == 1
    assert "this login can see no dataset user/none" in done.stderr
    assert hub.requested(WRITES) == []


def test_what_is_to_be_private_never_lands_in_public(hub, push):
    assert push("user/secret", "--private").returncode == 0
    assert hub.repos["dataset", "user/secret"].private
    assert push("user/secret", "--private").returncode == 0
    repo = hub.add("user/open", kind="dataset")
    done = push("user/open", "--private")
    assert done.returncode == 2
    assert "user/open is public already" in done.stderr
    assert len(repo.commits) == 1


def test_a_model_card_without_weights(hub, push, tmp_path):
    done = push("user/ranking", "--repo-type", "model")
    assert done.stdout == f"Pushed: {hub.url}/user/ranking\n"
    assert done.stderr == ""
    files = hub.repos["model", "user/ranking"].files("main")
    assert set(files) == FILES - {"report.html", "scores.parquet"}
    (tmp_path / "card.md").write_bytes(files["README.md"])
    card = ModelCard.load(tmp_path / "card.md")
    assert "base_model" not in card.data.to_dict()  # the Hub would show a merge of them
    assert card.data.license == "unknown"
    assert card.data.datasets == ["user/flowers"]
    assert card.content.encode() == files["README.md"]


@pytest.mark.parametrize("more", [(), ("--repo-type", "model"), ("--space",)])
def test_no_path_of_this_machine_is_pushed_and_local_folders_are_named_first(hub, push, folder, more):
    def edit(data):
        data["candidates"][0].update(id="/home/me/best", revision="sha256:1")
        data["candidates"][3]["reason"] = "/home/me/base/config.json is damaged"
        data["run"]["command"] = f"hf-leep rank --models /home/me/best --output {folder}"

    change(folder, edit)
    done = push("user/ranking", *more)
    assert done.stderr == "hf-leep: note that the page names local folders, which others do not have: best\n"
    assert done.stdout.startswith("Pushed: ")
    pushed = [content for repo in hub.repos.values() for content in repo.files("main").values()]
    assert not any(b"/home/me" in content or bytes(folder) in content for content in pushed)


def test_no_token_is_pushed_or_shown(hub, push, folder):
    token = "hf_" + "aB3" * 11
    command = f"hf-leep rank --dataset https://user:{WRITE_TOKEN}@host/data --models {token}"
    change(folder, lambda data: data["run"].update(command=command))
    done = push("user/ranking")
    assert done.returncode == 0
    for content in hub.repos["dataset", "user/ranking"].files("main").values():
        assert WRITE_TOKEN.encode() not in content
        assert token.encode() not in content
    assert WRITE_TOKEN not in done.stdout + done.stderr
    assert "https://user:hf_…@host/data" in hub.repos["dataset", "user/ranking"].files("main")["README.md"].decode()


def test_without_the_right_to_write_it_is_one_line_and_nothing_happens(hub, push, folder):
    repo = hub.add("user/theirs", kind="dataset")
    for name in ("user/new", "user/theirs"):
        for more in ((), ("--create-pr",)) if name == "user/theirs" else ((),):
            done = push(name, *more, HF_TOKEN=READ_TOKEN)
            assert done.returncode == 1
            assert done.stderr == f"hf-leep: this login may not write to {name}: it needs a token that may\n"
            assert done.stdout == ""
    assert len(repo.commits) == 1
    assert hub.pulls == []
    none = push("user/new", HF_TOKEN="")
    assert none.returncode == 2
    assert none.stderr == "hf-leep: a push needs a login with write access: hf auth login, or HF_TOKEN\n"
    offline = push("user/new", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert offline.stderr.count("\n") == 1
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    hub.faults.append(Fault("GET /api/datasets", status=500, headers={"Retry-After": "0"}))
    broken = push("user/new")
    assert broken.returncode == 1
    assert broken.stderr.count("\n") == 1
    assert "the Hub answered 500" in broken.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ranking"], "'ranking' is not the name of a repository: give OWNER/NAME"),
        (["a/b/c"], "is not the name of a repository"),
        (["user/-x-"], "is not the name of a repository"),
        (["user/x", "--repo-type", "space"], "'space' is not one of 'dataset', 'model'"),
        (["user/x"], "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_wrong_call_is_one_line(folder, capfd, words, message):
    assert cli.run(["push", str(folder), *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_folder_without_a_report_is_one_line(tmp_path, capfd):
    assert cli.run(["push", str(tmp_path), "user/x"]) == 2
    assert "cannot read" in capfd.readouterr().err


PUSH = """
import hf_leep, json, sys
from dataclasses import asdict
report = hf_leep.Report.load(sys.argv[1])
message = {"commit_message": "Ours", "commit_description": "As agreed."}
first = hf_leep.push(report, "user/ranking", token=sys.argv[2], **message)
second = hf_leep.push(sys.argv[1], "user/ranking", token=sys.argv[2], **message)
third = hf_leep.push(report, "user/ranking", token=sys.argv[2], license="mit", create_pr=True)
print(first.url, first.changed, second.changed, first.oid == second.revision)
print(json.dumps([asdict(pushed) for pushed in (first, second, third)]))
"""


def test_push_from_python_takes_a_report_or_its_folder_and_a_token(hub, client, folder):
    done = client(folder, WRITE_TOKEN, code=PUSH)
    words, results = done.stdout.splitlines()
    url = f"{hub.url}/datasets/user/ranking"
    assert words.split() == [url, "True", "False", "True"], done.stderr
    first, second, third = json.loads(results)
    pull = {"pr_url": f"{url}/discussions/1", "pr_num": 1, "pr_revision": "refs/pr/1"}
    message = {"commit_message": "Ours", "commit_description": "As agreed."}
    assert first | message | dict.fromkeys(pull) == first
    assert first["commit_url"] == f"{url}/commit/{first['revision']}"
    assert (second["commit_url"], second["commit_message"], second["repo_url"]) == (None, "", url)
    assert third | pull | {"url": pull["pr_url"], "repo_url": url, "pull_request": True} == third
    assert third["commit_message"].startswith("hf_leep: ")
    assert b"license: mit" in hub.repos["dataset", "user/ranking"].files("refs/pr/1")["README.md"]


# --- scores on the candidates' cards --------------------------------------------------------------------------------


def results(repo, ref):
    return ModelCard(repo.files(ref)["README.md"].decode()).data.eval_results


def test_candidates_get_a_pull_request_each_and_one_refusal_stops_no_other(hub, push):
    theirs = "---\nlicense: mit\n---\n# Theirs\n"
    big = hub.add("big/resnet", {"README.md": theirs.encode(), "model.safetensors": b"weights"})
    small = hub.add("small/resnet", {"config.json": b"{}"})
    hub.add("weak/resnet", {"README.md": b"---\na: [\n---\n"})
    done = push("user/ranking", "--annotate-models", "--json")
    assert done.returncode == 3, done.stderr
    page = f"{hub.url}/datasets/user/ranking"
    assert json.loads(done.stdout)["annotations"] == [
        {"id": "big/resnet", "state": "opened", "url": f"{hub.url}/big/resnet/discussions/1", "reason": None},
        {"id": "small/resnet", "state": "opened", "url": f"{hub.url}/small/resnet/discussions/2", "reason": None},
        {
            "id": "weak/resnet",
            "state": "failed",
            "url": None,
            "reason": json.loads(done.stdout)["annotations"][2]["reason"],
        },
    ]
    assert f"big/resnet – opened – {hub.url}/big/resnet/discussions/1\n" in done.stderr
    assert "weak/resnet – failed – its card's metadata cannot be read" in done.stderr
    assert all(next(iter(repo.commits)) == repo.refs["main"] for repo in (big, small))  # never a commit
    leep, loo = results(big, "refs/pr/1")
    assert (leep.metric_type, leep.metric_value, leep.source_url) == ("leep", -0.812, page)
    assert (loo.metric_type, loo.metric_value) == ("leave-one-out-leep", -1.021)
    assert ModelCard(big.files("refs/pr/1")["README.md"].decode()).text == "# Theirs\n"
    assert big.files("refs/pr/1")["model.safetensors"] == b"weights"
    assert page in hub.pulls[0]["header"]["description"]
    assert [r.metric_value for r in results(small, "refs/pr/2")] == [-0.83, -0.99]

    again = json.loads(push("user/ranking", "--annotate-models", "--json").stdout)["annotations"]
    assert [(a["state"], a["url"]) for a in again[:2]] == [
        ("already open", f"{hub.url}/big/resnet/discussions/1"),
        ("already open", f"{hub.url}/small/resnet/discussions/2"),
    ]
    hub.pulls[0]["status"] = "merged"
    big.refs["main"] = big.refs["refs/pr/1"]
    merged = json.loads(push("user/ranking", "--annotate-models", "--json").stdout)["annotations"]
    assert (merged[0]["state"], merged[0]["url"]) == ("already there", f"{hub.url}/big/resnet")
    assert len(hub.pulls) == 2


def test_repositories_that_are_gone_gated_or_take_no_pull_requests(hub, push):
    hub.add("small/resnet", {"README.md": b"x"}, gated=True)
    hub.add("weak/resnet", {"README.md": b"x"})
    hub.faults.append(Fault("POST /api/models/weak/resnet/commit", status=403))
    hub.faults.append(Fault("GET /small/resnet/resolve", status=403, headers={"X-Error-Code": "GatedRepo"}))
    hub.faults.append(Fault("HEAD /small/resnet/resolve", status=403, headers={"X-Error-Code": "GatedRepo"}))
    done = push("user/ranking", "--annotate-models")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"Pushed: {hub.url}/datasets/user/ranking",
        "big/resnet – failed – this login can see no such repository",
        "small/resnet – failed – gated, and this login has no access, so ask for it on its page on the Hub",
        "weak/resnet – failed – it takes no pull requests from this login",
    ]


def test_scores_go_on_cards_only_where_they_mean_something_to_others(hub, push, folder):
    done = push("user/ranking", "--annotate-models", "--private")
    assert done.returncode == 2
    assert "would link to a private report" in done.stderr
    assert hub.log == []
    hub.add("user/secret", kind="dataset", private=True)
    hub.add("big/resnet", {"README.md": b"x"})
    done = push("user/secret", "--annotate-models")
    assert done.returncode == 2
    assert "would link to a private report" in done.stderr
    assert hub.pulls == []
    assert hub.repos["dataset", "user/secret"].files("main") == {}  # told before anything was pushed
    hub.add("user/flowers", kind="dataset", private=True)
    done = push("user/ranking", "--annotate-models")
    assert (done.returncode, hub.pulls) == (2, [])
    assert "the data set is private" in done.stderr
    hub.log.clear()
    change(folder, lambda data: data["target"].update(dataset="./flowers", revision=None))
    done = push("user/ranking", "--annotate-models")
    assert done.returncode == 2
    assert done.stderr == (
        "hf-leep: scores are added to a candidate's card only if the data set is on the Hub, "
        "where others can find it\n"
    )
    assert hub.log == []
    data = copy.deepcopy(REPORT)
    data["candidates"] = data["candidates"][3:]
    with pytest.raises(UserError, match="no ranked candidate is a public repository on the Hub"):
        check_annotations(Report(data))


# --- the metric -----------------------------------------------------------------------------------------------------

EVALUATE = """
import evaluate
leep = evaluate.load("user/leep")
print(leep.compute(predictions=[[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]], references=[0, 0, 1, 1]))
"""


def test_evaluate_loads_the_pushed_metric_by_its_name(hub, client):
    done = client("push-metric", "user/leep", HF_TOKEN=WRITE_TOKEN, interpreter=FRESH)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Pushed: {hub.url}/spaces/user/leep\n"
    repo = hub.repos["space", "user/leep"]
    assert len(repo.commits) == 2
    assert set(repo.files("main")) >= {"app.py", "leep.py", "README.md", "requirements.txt"}
    assert yaml.safe_load(repo.files("main")["README.md"].decode().split("---\n")[1])["sdk"] == "gradio"
    assert repo.info["sdk"] == "gradio"
    read = client(code=EVALUATE, HF_MODULES_CACHE=os.environ["HF_HOME"] + "/pushed-metric")
    assert read.returncode == 0, read.stderr
    assert read.stdout.startswith("{'leep': -0.38")
    again = client("push-metric", "user/leep", HF_TOKEN=WRITE_TOKEN)
    assert again.stdout.startswith("Nothing to push")


WITHOUT_HF_LEEP = """
import importlib.util, json, sys, traceback
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("hf_leep") is None
import evaluate
rows, labels = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1, 1]
loaded = {name: evaluate.load(f"user/{name}") for name in sys.argv[2:]}
print(json.dumps({m: metric.compute(predictions=rows, references=labels)[m] for m, metric in loaded.items()}))
try:
    loaded["leep"].compute(predictions=[[2, 3], [0, 1]], references=[0, 1])
except ValueError:
    traceback.print_exc()
"""


def test_evaluate_loads_pushed_metrics_where_hf_leep_is_not_installed(hub, client, tmp_path):
    modules = [name.replace("-", "_") for name in names()]
    for metric, module in zip(names(), modules, strict=True):
        assert client("push-metric", f"user/{module}", "--metric", metric, HF_TOKEN=WRITE_TOKEN).returncode == 0
        card = hub.repos["space", f"user/{module}"].files("main")["README.md"].decode()
        assert f'`evaluate.load("user/{module}")`' in card
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "hf_leep" not in path.name:
            (site / path.name).symlink_to(path)
    alone = {"interpreter": [sys.executable, "-I", "-S"], "HF_MODULES_CACHE": str(tmp_path / "modules")}
    read = client(site, *modules, code=WITHOUT_HF_LEEP, **alone)
    rows = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
    expected = {module: getattr(measures, module)(rows, [0, 0, 1, 1]) for module in modules}
    assert json.loads(read.stdout) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert "hf_leep.errors.InputError: row 0 of probabilities sums to 5" in read.stderr
    assert "raise InputError(" in read.stderr  # the traceback shows the lines of what was pushed


def test_a_metric_goes_only_where_evaluate_finds_it_and_nothing_else_lives(hub, client):
    wrong = client("push-metric", "user/loo", "--metric", "leave-one-out-leep", HF_TOKEN=WRITE_TOKEN)
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "hf-leep: evaluate.load('user/loo') would look for loo.py: call the Space user/leave_one_out_leep\n"
    )
    assert hub.log == []
    hub.add("user/leep", {"README.md": b"x", "Dockerfile": b"y"}, kind="space")
    other = client("push-metric", "user/leep", HF_TOKEN=WRITE_TOKEN)
    assert other.returncode == 2
    assert other.stderr == "hf-leep: the Space user/leep contains Dockerfile and no leep.py: it is another Space\n"
    assert hub.requested(WRITES) == []
    hub.add("user/nce", {"README.md": b"as made", ".gitattributes": b""}, kind="space")
    assert client("push-metric", "user/nce", "--metric", "nce", HF_TOKEN=WRITE_TOKEN).returncode == 0
    assert b"as made" not in hub.repos["space", "user/nce"].files("main")["README.md"]


# --- rank --push-to-hub ---------------------------------------------------------------------------------------------


@pytest.fixture
def call(hub, checkpoints, pictures, tmp_path):
    hub.add_folder("user/five", checkpoints["five"])
    pictures.to_parquet(tmp_path / "train.parquet")
    hub.add("user/pictures", {"train.parquet": (tmp_path / "train.parquet").read_bytes()}, kind="dataset")
    words = ["rank", "--dataset", "user/pictures", "--models", "user/five", "--measures", "leep"]
    return [*words, "--push-to-hub", "user/ranking"]


def test_rank_pushes_and_a_push_that_fails_loses_no_report(hub, client, call, tmp_path):
    hub.faults.append(Fault("/commit/", status=403))
    failed = client(*call, "--output", tmp_path / "out", HF_TOKEN=WRITE_TOKEN)
    assert failed.returncode == 1
    assert "this login may not write to user/ranking" in failed.stderr
    assert "user/five" in failed.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    hub.faults.clear()
    done = client(*call, "--repo-type", "model", "--json", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"Pushed: {hub.url}/user/ranking" in done.stderr
    pushed = hub.repos["model", "user/ranking"].files("main")
    assert pushed["report.json"].decode() == done.stdout
    assert json.loads(done.stdout)["candidates"][0]["scores"] == report["candidates"][0]["scores"]
    card = ModelCard(pushed["README.md"].decode())
    assert (card.data.base_model, card.data.datasets) == (None, ["user/pictures"])


def test_what_can_be_checked_of_a_push_is_checked_before_anything_is_run(hub, client, call, capfd, checkpoints):
    offline = client(*call, HF_TOKEN=WRITE_TOKEN, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "a push needs the Hub, and HF_HUB_OFFLINE is set" in offline.stderr
    nobody = client(*call, HF_TOKEN="")
    assert nobody.returncode == 2
    assert "a push needs a login" in nobody.stderr
    assert hub.log == []
    assert cli.run([*call[:-1], "ranking"]) == 2
    assert cli.run([*call[:-2], "--private"]) == 2
    assert "--private is for a push: add --push-to-hub" in capfd.readouterr().err
    assert cli.run([*call[:-2], "--space", "--push-thumbnails"]) == 2
    assert capfd.readouterr().err.startswith("hf-leep: --space, --push-thumbnails are for a push: add --push-to-hub")
    none = client(*call, "--push-thumbnails", HF_TOKEN=WRITE_TOKEN)
    assert none.returncode == 2
    assert "the report has no thumbnails; rank with --thumbnails" in none.stderr
    hub.add("user/ranking", {"app.py": b""}, kind="space")
    other = client(*call, "--space", HF_TOKEN=WRITE_TOKEN)
    assert other.returncode == 2
    assert "is a Space of something else" in other.stderr
    assert hub.requested("safetensors") == []


def test_rank_pushes_a_space_and_thumbnails(hub, client, call, tmp_path):
    options = ["--output", tmp_path / "out", "--thumbnails", "--space", "--push-thumbnails"]
    done = client(*call, *options, HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"Space: {hub.url}/spaces/user/ranking" in done.stdout
    assert "index.html" in hub.repos["space", "user/ranking"].files("main")
    assert any(name.startswith("thumbnails/") for name in hub.repos["dataset", "user/ranking"].files("main"))


def test_a_ranking_of_nothing_is_not_pushed(hub, client, call, checkpoints):
    call[call.index("user/five")] = str(checkpoints["headless"])
    done = client(*call, HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 1
    assert "no candidate has a rank: nothing is pushed" in done.stderr
    assert ("dataset", "user/ranking") not in hub.repos


def test_thumbnails_need_a_folder(tmp_path, capfd):
    assert cli.run(["rank", "--dataset", str(tmp_path), "--models", "a", "--thumbnails"]) == 2
    assert capfd.readouterr().err == "hf-leep: --thumbnails are kept in the folder of the report: add --output DIR\n"
