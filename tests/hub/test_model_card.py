"""The accuracy that a card states for its own task."""

import shutil
from types import SimpleNamespace

import pytest

from hf_leep import hub
from hf_leep.hub import model_card
from hf_leep.hub.snapshot import _metadata

HOSTILE = (
    None,
    True,
    300,
    -1.5,
    float("nan"),
    "text",
    "9" * 5000,
    10**400,
    [],
    [None],
    {},
    {"type": []},
    {1: 2},
    [[[]]],
)


def result(*metrics, task="image-classification", **dataset):
    """An entry of model-index, with metrics as (type, value) or (type, value, name)."""
    entries = [dict(zip(("type", "value", "name"), metric, strict=False)) for metric in metrics]
    return {"task": {"type": task}, "dataset": dataset or {"name": "Beans", "type": "beans"}, "metrics": entries}


def stated(*results, **metadata):
    card = model_card.read({"model-index": [{"name": "x", "results": list(results)}], **metadata})
    return card["stated_accuracy"], card["stated_on"]


@pytest.mark.parametrize(("value", "share"), [
    (0.931, 0.931), (93.1, 0.931), (1, 1.0), (100, 1.0), (1.2, 0.012), (0, 0.0), ("0.931", 0.931), ("93.1 %", 0.931),
    ("0.5%", 0.005), ({"accuracy": 0.931}, 0.931), (100.1, None), (-0.1, None), (True, None), (float("inf"), None),
    ({"accuracy": {"accuracy": 1}}, None), ("93 to 95", None), (float("nan"), None), (10**400, None), ([0.9], None),
])  # fmt: skip
def test_fractions_and_percentages_are_told_apart(value, share):
    assert stated(result(("accuracy", value)))[0] == (share if share is None else pytest.approx(share))


def test_the_first_accuracy_for_the_own_task_counts():
    other = result(("accuracy", 0.5), task="text-classification", name="B")
    f1, second = result(("f1", 0.4)), result(("f1", 0.4), ("Accuracy", 0.9), ("accuracy", 0.8), name="C", split="test")
    own = {"pipeline_tag": "image-classification"}
    assert stated(other, f1, second, **own) == (0.9, "C (test)")
    assert stated(other, f1, second) == (0.5, "B")  # the card does not name its task
    assert stated(other, f1, second, pipeline_tag="fill-mask") == (None, None)
    assert stated(result(("accuracy", 76.1), task="Classification")) == (None, None)  # of a head on its embeddings
    assert stated(result(("accuracy", "?"), ("accuracy", 0.7))) == (0.7, "Beans")


def test_a_top_5_accuracy_is_another_number():
    assert stated(result(("accuracy", 0.95, "Top 5 Accuracy"), ("accuracy", 0.8, "Top-1 Accuracy"))) == (0.8, "Beans")
    assert stated(result(("acc@5", 0.95), ("acc@1", 0.8))) == (0.8, "Beans")
    assert stated(result(("balanced_accuracy", 0.95))) == (None, None)


def test_the_name_of_the_data_set_is_one_short_line():
    assert stated(result(("accuracy", 0.9), name="a\n# b\x1b[31m\ud800" + "x" * 999))[1].startswith("a # b [31m x")
    assert len(stated(result(("accuracy", 0.9), name="x" * 999))[1]) == 100
    assert stated(result(("accuracy", 0.9), name=3, type="imagenet-1k"))[1] == "imagenet-1k"
    assert stated(result(("accuracy", 0.9), name=[], type=None)) == (0.9, None)


@pytest.mark.parametrize("bad", HOSTILE)
def test_nothing_in_a_card_ends_the_run(bad):
    good = result(("accuracy", 0.9))
    for metadata in (bad, {"model-index": bad}, {"model-index": [{"results": bad}]}, {"pipeline_tag": bad}):
        assert model_card.read(metadata)["stated_accuracy"] is None
    for key in ("task", "dataset", "metrics"):
        assert stated({**good, key: bad})[0] in (None, 0.9)
    for key in ("type", "value", "name"):
        metric = {"type": "accuracy", "value": 0.9, key: bad}
        assert stated({**good, "metrics": [metric]})[0] in (None, 0.9)


def test_references_in_yaml_do_not_multiply():
    model_card.read({"model-index": [{"results": [{"task": {}, "metrics": []}] * 10**6}] * 10**6})


def test_it_is_read_in_a_local_folder_and_from_the_hub(checkpoints, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints["five"], copy)
    (copy / "README.md").write_text("""---
license: mit
model-index:
- name: five
  results:
  - task: {type: image-classification}
    dataset: {name: Beans, type: beans, split: validation}
    metrics:
    - {type: accuracy, value: 0.9}
---
""")
    candidate = hub.resolve(str(copy)).candidate
    assert (candidate.stated_accuracy, candidate.stated_on) == (0.9, "Beans (validation)")
    index = [{"results": [result(("accuracy", 0.9), task="a-classification"), result(("accuracy", 0.8))]}]
    info = SimpleNamespace(card_data=None, model_index=index, pipeline_tag="image-classification")
    assert model_card.read(_metadata(info))["stated_accuracy"] == 0.8  # the Hub knows the task
