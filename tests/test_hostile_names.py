"""Names from the Hub are neither markup, nor terminal codes, nor paths."""

import json
import re

import datasets
from huggingface_hub import DatasetCard

from tests.hub_server import WRITE_TOKEN

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
EVIL = f"{ESCAPE}a|b`c`\n# Heading\n<script>alert(1)</script> [x](https://evil.example) ../../up"


def test_hostile_names_change_nothing_outside_their_cells(hub, client, checkpoints, pictures, tmp_path):
    names = [f"{EVIL} {k}" for k in range(3)]
    hostile = pictures.cast_column("label", datasets.ClassLabel(names=names))
    hostile.to_parquet(tmp_path / "train.parquet")
    hub.add("user/pictures", {"train.parquet": (tmp_path / "train.parquet").read_bytes()}, kind="dataset")
    found = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    files = {p.name: p.read_bytes() for p in checkpoints["five"].iterdir()}
    config = json.loads(files["config.json"])
    labels = {"id2label": {str(k): f"{EVIL} {k}" for k in range(5)}, "label2id": {f"{EVIL} {k}": k for k in range(5)}}
    files["config.json"] = json.dumps({**config, **labels}).encode()
    files |= dict.fromkeys(["../../up.json", "a\nb.json", f"{ESCAPE}.model", "..", "/etc/vocab.txt"], b"{}")
    card = {"license": EVIL, "datasets": [EVIL, "../pictures", "user/pictures"]}
    hub.add("lab/labels", files, cardData=card, tags=[f"dataset:{EVIL}"], **found)
    broken = {**files, "config.json": json.dumps({**config, "model_type": EVIL}).encode()}
    hub.add("lab/broken", broken, **found)
    # What a Hub might answer a search: no repository's names, and one that is a folder where the run is made.
    for name in (EVIL, "../../up", str(checkpoints["five"]), "lab"):
        hub.add(name, files, **found)
    hub.repos["model", "lab/labels"].info["sha"] = hub.repos["model", "lab/labels"].refs["main"]
    hub.add("lab/no-commit", files, **found).info["sha"] = f"../../{ESCAPE}"

    output = tmp_path / "a" / "b" / "report"
    call = ("rank", "--dataset", "user/pictures", "--split", "train", "--search", "", "--output", output)
    done = client(*call, "--push-to-hub", "user/report", HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 3, done.stdout + done.stderr
    report = json.loads((output / "report.json").read_text())
    assert [c["id"] for c in report["candidates"] if c["rank"]] == ["lab/labels"]
    assert len(report["candidates"]) == 7
    page = (output / "README.md").read_text()
    for text in (done.stdout, done.stderr, page):
        assert not [c for c in text if not c.isprintable() and c not in "\n\xa0\u200b"]
    assert "\n# Heading" not in page
    assert page.count("\n# ") == 1
    assert re.findall(r"(?<!\\)<script>", re.sub(r"`[^`]*`", "", page)) == []
    first, columns = page.split("<summary>All columns</summary>")
    for table in (first, columns):
        rows = [line for line in table.splitlines() if line.startswith(("| # ", "| 1 ", "| 1\xa0"))]
        assert len(rows) == 2
        assert len({line.count("|") for line in rows}) == 1
    metadata = DatasetCard(page).data.to_dict()
    known = {"tags", "task_categories", "configs", "source_datasets", "license", "language"}
    assert set(metadata) <= known | {"pretty_name", "size_categories"}
    # Nothing but the report, the caches and the data set is written, and none of it outside.
    written = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"a", "home", "train.parquet"}
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == {"report"}
    assert not [p for p in tmp_path.rglob("*") if "up.json" in p.name or ESCAPE in p.name]
    assert not hub.requested(r"up\.json|/etc/|%1B")
