"""Data sets that are too large to bring, over real HTTP: a sample of rows, of which the rest stays on the Hub."""

import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault

SHARDS, ROWS, CLASSES = 80, 30, 40

LOAD = """
import json, sys
from functools import partial
from functools import partial
from hf_leep import data, hub
from hf_leep.models import MODALITIES
from hf_leep.errors import TargetError
client = hub.Client()
answers = []
for asked in json.loads(sys.argv[1]):
    try:
        options = {"max_samples": 96, "streaming": True, **asked}
        pin = partial(hub.pin_dataset, client=client)
        target, rows = data.load(options.pop("dataset"), MODALITIES, pin=pin, **options)
        column = target.input_columns[0]
        answers.append({
            "fingerprint": target.fingerprint, "revision": target.revision, "rows": target.num_rows,
            "streamed": target.streamed, "warnings": target.warnings, "classes": target.class_names,
            "content": [rows[k][column].tobytes().hex() if column == "image" else rows[k][column]
                        for k in range(len(rows))],
            "labels": [target.class_names[y] for y in target.labels]})
    except TargetError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""


@pytest.fixture
def load(client):
    def run(*asked, **environment):
        done = client(
            json.dumps([{"dataset": "user/large", **options} for options in asked]), code=LOAD, **environment
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def picture(shard, row):
    return Image.fromarray(np.full((4, 4, 3), (shard, row, 0), dtype=np.uint8))


@pytest.fixture(scope="module")
def shards():
    """Parquet files sorted by label, two of each class: name → bytes, and picture → label."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[f"class {k}" for k in range(CLASSES)])}
    )
    files, label_of = {}, {}
    for shard in range(SHARDS):
        pictures = [picture(shard, row) for row in range(ROWS)]
        label = shard * CLASSES // SHARDS
        label_of |= {p.tobytes().hex(): f"class {label}" for p in pictures}
        stream = io.BytesIO()
        datasets.Dataset.from_dict({"image": pictures, "label": [label] * ROWS}, features=features).to_parquet(
            stream, batch_size=10
        )
        files[f"data/train-{shard:05}-of-{SHARDS:05}.parquet"] = stream.getvalue()
    card = f"""---
dataset_info:
  features:
  - {{name: image, dtype: image}}
  - name: label
    dtype: {{class_label: {{names: {{{", ".join(f"'{k}': class {k}" for k in range(CLASSES))}}}}}}}
  splits:
  - {{name: train, num_examples: {SHARDS * ROWS}}}
---
"""
    return {**files, "README.md": card.encode()}, label_of


def test_a_seed_gives_the_same_rows_everywhere_and_most_of_the_data_stays_where_it_is(hub, load, shards):
    files, label_of = shards
    repo = hub.add("user/large", files, kind="dataset")
    first = repo.refs["main"]
    # The data set changes as soon as its revision has been asked for.
    hub.faults.append(
        Fault(
            r"^GET /api/datasets/user/large\?|^GET /api/datasets/user/large$", 1, then=lambda: repo.commit({"a": b""})
        )
    )
    (one,) = load({})
    assert repo.refs["main"] != first == one["revision"]
    parquet = set(hub.requested(r"^GET .*\.parquet"))
    assert all(f"/resolve/{first}/" in path for path in parquet)
    assert 32 <= len(parquet) <= 33  # of 80; the first one too, for its columns
    (again,) = load({"revision": first}, home="elsewhere")
    assert again == one

    assert len(one["content"]) == len(set(one["content"])) == 96
    assert [label_of[content] for content in one["content"]] == one["labels"]
    assert one["rows"] == SHARDS * ROWS
    assert one["streamed"]
    assert len(one["classes"]) >= 28  # though the files are sorted; 32 shards can have no more than 32
    caveat, missing = one["warnings"]
    assert "96 rows from 64 places of a split of 80 shards" in caveat
    assert missing.startswith(f"{CLASSES - len(one['classes'])} of the 40 classes do not occur")


def test_what_cannot_be_streamed_is_one_line(hub, load, shards):
    files, _ = shards
    small = dict(list(files.items())[:3])
    hub.add("user/large", small, kind="dataset")
    hub.add("user/gated", small, kind="dataset", gated=True)
    hub.add("user/broken", {"train.parquet": b"PAR1 is not enough"}, kind="dataset")
    asked = [
        {"split": "train[:20]"},
        {"revision": "v9"},
        {"dataset": "user/missing"},
        {"dataset": "user/gated"},
        {"dataset": "user/broken"},
        {"dataset": "no repo"},
        {"max_samples": None},
    ]
    words = [
        "'train[:20]' of user/large cannot be streamed",
        "user/large cannot be read (the repository has no revision 'v9')",
        "user/missing cannot be read (no such file or folder, and no such data set on the Hub that this login can see",
        "user/gated cannot be read (gated, and this login has no access, so ask for it on its page on the Hub)",
        "user/broken cannot be read (Parquet magic bytes not found",
        "no repo: no such file or folder, and not a name that a data set on the Hub can have",
        "say how many rows with max_samples",
    ]
    answers = load(*asked, HF_TOKEN=READ_TOKEN)
    for answer, message in zip(answers, words, strict=True):
        assert message in answer["error"]
        assert "\n" not in answer["error"]
    (gated,) = load({"dataset": "user/gated"}, HF_TOKEN=WRITE_TOKEN)
    assert len(gated.get("content", gated)) == 90, gated
    assert not gated["streamed"]  # 90 rows are all there are


def test_of_an_imagefolder_only_the_chosen_files_are_brought(hub, load):
    def png(k, name):
        stream = io.BytesIO()
        picture(k, len(name)).save(stream, "png")
        return stream.getvalue()

    files = {f"train/{name}/{k:03}.png": png(k, name) for name in ("ant", "cicada", "fly") for k in range(60)}
    hub.add("user/large", files, kind="dataset")
    (answer,) = load({"max_samples": 30})
    assert len(answer["content"]) == 30
    assert answer["classes"] == ["ant", "cicada", "fly"]
    assert min(answer["labels"].count(name) for name in answer["classes"]) >= 4
    assert len(set(hub.requested(r"^GET .*\.png"))) == 30


def test_rank_streams_and_the_card_says_so(hub, client, shards, checkpoints, tmp_path):
    files, _ = shards
    hub.add("user/large", {n: c for n, c in files.items() if n != "README.md"}, kind="dataset")
    call = ["rank", "--dataset", "user/large", "--split", "train", "--models", checkpoints["five"], "--streaming"]
    done = client(*call, "--max-samples", "64", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "64 streamed rows" in done.stdout
    assert "! a streamed sample, not stratified" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["target"]["streamed"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| examples | 64, a streamed sample with seed 0 |" in card
    assert "- a streamed sample, not stratified: 64 rows" in card
    refused = client(*call, HF_HUB_OFFLINE="1")
    assert refused.returncode == 2
    assert refused.stderr == "hf-leep: --streaming reads a sample: say how many rows with --max-samples\n"
