"""The key of a stored pass: whatever the pass depends on gives another one."""

import shutil
from dataclasses import replace

import datasets
import pytest

from hf_leep import data, hub
from hf_leep.hub.snapshot import File
from hf_leep.models import MODALITIES
from hf_leep.records import Candidate, Extraction, Run
from hf_leep.runs import stored_passes
from hf_leep.runs.stored_passes import StoredPasses
from hf_leep.store import Store

COMMIT = "c" * 40


@pytest.fixture
def passes(tmp_path):
    """Stored passes over two texts."""
    texts = datasets.Dataset.from_dict({"text": ["one", "two"], "label": [0, 1]})
    target, _ = data.load(texts, MODALITIES)
    return StoredPasses(target, Store(tmp_path / "store"), hub.Client(), "float32", False, lambda _folder: False)


@pytest.fixture
def snapshot(tmp_path):
    """A commit in the cache, all of whose files are there."""
    folder = tmp_path / COMMIT
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json", "README.md"):
        (folder / name).write_text(name)
    return hub.Snapshot(Candidate("user/model", COMMIT), folder)


def test_a_part_of_a_commit_has_another_key_than_all_of_it(passes, snapshot, tmp_path):
    whole = passes._possible_keys(snapshot)
    remote = ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json", "README.md")
    files = {name: File(1, None, cached=False) for name in remote}
    assert passes._possible_keys(replace(snapshot, path=None, files=files)) == whole
    (snapshot.path / "README.md").unlink()
    assert passes._possible_keys(snapshot) == whole  # a card changes nothing
    shutil.rmtree(snapshot.path / "1_Pooling")
    assert passes._possible_keys(snapshot) != whole


@pytest.mark.parametrize(
    "change",
    [
        lambda passes, _: replace(passes, dtype="bfloat16"),
        lambda passes, _: replace(passes, compiled=True),
        lambda passes, patch: patch.setattr(stored_passes, "version", lambda name: f"{name} 0.0"),
        lambda passes, patch: patch.setattr(stored_passes, "installed", lambda _: "peft 0.1"),
        lambda passes, _: replace(passes, target=replace(passes.target, input_fingerprint="sha256:other")),
        lambda passes, _: replace(passes, target=replace(passes.target, input_columns=("text", "other"))),
    ],
)
def test_whatever_a_pass_depends_on_gives_another_key(passes, snapshot, monkeypatch, change):
    before = passes._possible_keys(snapshot)
    other = change(passes, monkeypatch) or passes
    assert not set(other._possible_keys(snapshot)) & set(before)


def test_a_pass_of_another_revision_under_the_key_is_not_used(passes, snapshot, caplog):
    key = passes._possible_keys(snapshot)[0]
    run = Run("sha256:0", None, "float32", "cpu", 1, 0.1, 1)
    labels = passes.target.labels

    def pass_of(revision):
        candidate = replace(snapshot.candidate, revision=revision, source_labels=("a",))
        return Extraction(candidate, labels[:, None] * 0 + 0.5, None, labels, run)

    assert passes.add(key, pass_of("d" * 40))
    assert passes.description(snapshot) is None
    found, stored = passes.get(key, snapshot.candidate, lambda _: pass_of(COMMIT))
    assert (found.candidate.revision, stored) == (COMMIT, False)
    assert "it is the pass of another revision" in caplog.text
    assert passes.add(key, pass_of(COMMIT))
    assert passes.get(key, snapshot.candidate, lambda _: pytest.fail("run again"))[1]
    assert passes.description(snapshot) is not None
