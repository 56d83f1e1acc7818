"""Metadata of cards: huggingface_hub's own card classes read the same back, and the cards of others stay whole."""

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_leep.report.card import annotated, annotation_title, local_names, ranked_on_hub, render
from hf_leep.report.card.metadata import metadata
from hf_leep.report.card.page import page

SHA = "0123456789abcdef0123456789abcdef01234567"


def test_a_dataset_card_reads_back_the_same(report):
    card = DatasetCard(page(report))
    assert card.data.to_dict() == {
        "pretty_name": "Checkpoints ranked for user/flowers",
        "license": "unknown",
        "size_categories": "n<1K",
        "source_datasets": ["user/flowers"],
        "task_categories": ["image-classification"],
        "tags": ["hf_leep", "transferability", "leep"],
        "configs": [{"config_name": "default", "data_files": "scores.parquet"}],
    }
    assert card.content == page(report)


def test_a_model_card_names_data_set_and_measures_and_links_candidates(report):
    text = page(report, "model", "cc-by-4.0")
    card = ModelCard(text)
    assert card.data.to_dict() == {
        "license": "cc-by-4.0",
        "datasets": ["user/flowers"],
        "library_name": "hf_leep",
        "metrics": ["leep", "leave-one-out-leep"],
        "tags": ["hf_leep", "transferability", "leep", "image-classification"],
    }
    assert ModelCardData(**card.data.to_dict()).to_dict() == card.data.to_dict()
    assert card.content == text
    assert "scores.parquet" not in render(report, "model")
    for name in ("big/resnet", "small/resnet", "weak/resnet"):
        assert f"[`{name}`](https://huggingface.co/{name}/tree/" in text


@pytest.mark.parametrize(("num", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (10_000, "10K<n<100K")])
def test_the_size_of_the_table_as_the_hub_puts_it(report, num, category):
    report["candidates"] *= num // len(report["candidates"]) + 1
    del report["candidates"][num:]
    assert f"size_categories: {category}\n" in metadata(report, "dataset", "mit").replace("'", "")


@pytest.mark.parametrize("name", ["null", "1e5", "user/1.0", "on", "2024-01-01"])
@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_names_that_yaml_could_take_for_something_else_stay_names(report, name, kind):
    report["target"]["dataset"] = report["candidates"][0]["id"] = name
    card = {"dataset": DatasetCard, "model": ModelCard}[kind](page(report, kind))
    assert (card.data.datasets if kind == "model" else card.data.source_datasets) == [name]


@pytest.mark.parametrize("name", ["/home/me/data", "../data", "user/data\nlicense: mit", "ünï/data", "a/b/c", "--- x"])
def test_what_is_no_repository_is_no_metadata(report, name):
    report["target"]["dataset"] = report["candidates"][0]["id"] = name
    block = page(report).split("---\n")[1]
    assert "source_datasets" not in yaml.safe_load(block)
    assert name not in block


def test_a_local_folder_with_the_name_of_a_repository_is_no_metadata(report):
    report["target"]["revision"] = None
    report["candidates"][1]["revision"] = "sha256:" + "1" * 64
    data = ModelCard(page(report, "model")).data
    assert data.datasets is None
    assert "source_datasets" not in DatasetCard(page(report)).data.to_dict()


def test_local_names_are_found_wherever_a_page_names_them(report):
    assert local_names(report) == []
    report["target"].update(dataset="./flowers", revision=None)
    report["candidates"][0].update(id="checkpoints/best", revision="sha256:1")
    report["candidates"][3].update(id="/not/there", revision=None)
    report["run"]["command"] = "hf-leep rank --models user/model --output=/home/me/out --models-file '~/m y.txt'"
    assert local_names(report) == ["./flowers", "checkpoints/best", "/not/there", "/home/me/out", "~/m"]


OTHERS = """---
license: mit # as it is
model-index:
- name: Big
  results:
  - task:
      type: image-classification
    dataset:
      name: ImageNet
      type: imagenet-1k
    metrics:
    - type: accuracy
      value: 0.8
    notes: kept
---

# Big
*text* stays
"""


def test_scores_join_the_model_index_and_all_else_stays(report):
    best = report["candidates"][0]
    text = annotated(OTHERS, report, best, "https://hub/report")
    card = ModelCard(text)
    assert card.text == ModelCard(OTHERS).text
    assert card.data.license == "mit"
    before = yaml.safe_load(OTHERS.split("---\n")[1])["model-index"]
    after = yaml.safe_load(text.split("---\n")[1])["model-index"]
    assert after[0]["name"] == "Big"
    assert after[0]["results"][0] == before[0]["results"][0]
    name, (_, leep, loo) = model_index_to_eval_results(after)
    assert name == "Big"
    assert (leep.metric_type, leep.metric_value) == ("leep", -0.812)
    assert (loo.metric_type, loo.metric_value) == ("leave-one-out-leep", -1.021)
    assert leep.metric_args == {
        "standard_error": 0.02, "num_examples": 2500, "model_revision": SHA, "hf_leep": "0.1.0",
    }  # fmt: skip
    assert (leep.task_type, leep.dataset_type, leep.dataset_name) == ("image-classification",) + ("user/flowers",) * 2
    assert (leep.dataset_config, leep.dataset_split) == (None, "train")
    assert leep.dataset_revision == report["target"]["revision"]
    assert (leep.source_name, leep.source_url) == ("hf_leep", "https://hub/report")
    assert ModelCard(card.content).data.to_dict() == card.data.to_dict()


def test_an_earlier_entry_of_ours_is_replaced_and_the_same_again_changes_nothing(report):
    best = report["candidates"][0]
    once = annotated(OTHERS, report, best, "https://hub/report")
    assert annotated(once, report, best, "https://hub/report") == once
    best["scores"]["leep"]["value"] = -0.5
    again = ModelCard(annotated(once, report, best, "https://hub/report")).data.eval_results
    assert [r.metric_value for r in again] == [0.8, -0.5, -1.021]
    report["target"]["split"] = "validation"  # other rows: another entry
    third = ModelCard(annotated(once, report, best, "https://hub/report")).data.eval_results
    assert [r.dataset_split for r in third] == [None, "train", "train", "validation", "validation"]


@pytest.mark.parametrize(
    "content", ["", "# Only text\n", "---\nlicense: mit\n---\nlines\r\n", "---\na: 1\r\n---\r\nx"]
)
def test_a_card_with_little_in_it_gets_an_index_named_after_its_repository(report, content):
    text = annotated(content, report, report["candidates"][0], "https://hub/report")
    name, results = model_index_to_eval_results(ModelCard(text).data.to_dict()["model-index"])
    assert name == "resnet"
    assert len(results) == 2
    assert text.endswith(content.rsplit("---", 1)[-1].lstrip("\r\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("---\na: [\n---\n", "its card's metadata cannot be read"),
        ("---\n- a\n---\n", "its card's metadata cannot be read"),
        ("---\nmodel-index: text\n---\n", "no list of models"),
        ("---\nmodel-index:\n- name: x\n---\n", "no list of models"),
    ],
)
def test_a_card_that_cannot_be_read_is_said_on_one_line(report, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        annotated(content, report, report["candidates"][0], "https://hub/report")
    assert "\n" not in str(caught.value)


def test_only_finite_scores_are_put_on_a_card(report):
    best = report["candidates"][0]
    best["scores"]["leep"]["value"] = float("inf")
    (result,) = ModelCard(annotated("", report, best, "https://hub/report")).data.eval_results
    assert result.metric_type == "leave-one-out-leep"
    best["scores"]["leave-one-out-leep"]["value"] = None
    with pytest.raises(ValueError, match="no finite score"):
        annotated("", report, best, "https://hub/report")


def test_a_title_is_the_same_for_the_same_rows_and_one_line(report):
    title = annotation_title(report)
    assert title == "hf_leep: transferability to user/flowers train"
    report["candidates"].pop()
    assert annotation_title(report) == title
    report["target"]["split"] = "train\n[:5]\x1b"
    assert annotation_title(report) == "hf_leep: transferability to user/flowers train [:5]"


def test_a_candidate_listed_twice_is_one_repository(report):
    report["candidates"][2]["id"] = "big/resnet"
    assert [(c["id"], c["rank"]) for c in ranked_on_hub(report)] == [("big/resnet", 1), ("small/resnet", 2)]
