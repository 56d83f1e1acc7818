"""One repository is one candidate, by whatever name, over real HTTP."""

import json

import pytest


@pytest.fixture
def rank(client, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")

    def run(*names, **environment):
        call = ("rank", "--dataset", tmp_path / "train.parquet", "--models", *names, "--measures", "nce", "--json")
        return client(*call, **environment)

    return run


def test_all_names_of_a_repository_are_one_candidate(hub, rank, checkpoints):
    repo = hub.add_folder("old/model", checkpoints["five"])
    hub.rename("old/model", "user/model")
    sha = repo.refs["main"]
    names = [
        "old/model",
        "user/model",
        "user/model@main",
        f"user/model@{sha}",
        "https://huggingface.co/user/model",
        "https://huggingface.co/user/model/tree/main",
        f"{hub.url}/user/model/tree/{sha}",
        "huggingface.co/old/model",
        "hf://user/model",
        "hf://models/user/model@main",
    ]
    done = rank(*names)
    assert done.returncode == 0, done.stderr
    (only,) = json.loads(done.stdout)["candidates"]
    assert (only["id"], only["revision"], only["rank"]) == ("user/model", sha, 1)
    assert "old/model is called user/model on the Hub now" in done.stderr
    for name in names[1:]:
        assert f"{name} is the same candidate as old/model: it is ranked once" in done.stderr
    got = [status for method, path, status in hub.log if method == "GET" and path.endswith("model.safetensors")]
    assert got.count(200) == 1  # of the others, the header alone
    hub.log.clear()
    again = rank(f"user/model@{sha}", "--no-cache")  # what the report says is in the cache under the old name
    assert again.returncode == 0, again.stderr
    assert hub.requested("/resolve/") == []
    for name in ("old/model", f"user/model@{sha}"):
        offline = rank(name, HF_HUB_OFFLINE="1")
        assert offline.returncode == 0, offline.stderr


def test_two_commits_of_a_repository_are_two_candidates(hub, rank, checkpoints):
    repo = hub.add_folder("user/model", checkpoints["five"])
    first = repo.refs["main"]
    repo.commit({"README.md": b"new"})
    done = rank("user/model", f"user/model@{first}", "user/model")
    revisions = {c["revision"] for c in json.loads(done.stdout)["candidates"]}
    assert revisions == {first, repo.refs["main"]}
    assert "user/model is named 2 times: it is ranked once" in done.stderr


@pytest.mark.parametrize("name", ["user/model.git", "user/a--b", "user/a..b", f"user/{'x' * 97}"])
def test_an_id_that_no_repository_can_have_is_one_clear_line(monkeypatch, name):
    from huggingface_hub import constants

    from hf_leep import hub
    from hf_leep.errors import CandidateError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(CandidateError, match=r"no repository on the Hub can have this id \("):
        hub.resolve(name)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://huggingface.co/datasets/user/data", "is the address of a dataset, not of a model"),
        ("https://huggingface.co/user/model/blob/main/config.json", "leads to a file or folder in user/model"),
        ("https://huggingface.co/user", "is not the address of a model on the Hub: give OWNER/NAME"),
        ("https://example.org/user/model", "is not the address of a model on the Hub: give OWNER/NAME"),
        ("hf://", "is not the address of a model on the Hub: give OWNER/NAME"),
    ],
)
def test_an_address_of_something_else_is_one_clear_line(address, said):
    from hf_leep import hub
    from hf_leep.errors import CandidateError

    with pytest.raises(CandidateError, match=said):
        hub.resolve(address)
