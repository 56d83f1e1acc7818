"""The whole way over HTTP: search, dry run, rank, push, read back; and then without the Hub."""

import json

from huggingface_hub import DatasetCard

from hf_leep.report.card import without_paths
from tests.hub_server import READ_TOKEN, WRITE_TOKEN, Fault

LOAD = """
import datasets, json
print(json.dumps(datasets.load_dataset("user/report", split="train").to_list()))
"""


def test_from_a_search_to_a_report_on_the_hub_and_back(hub, client, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "train.parquet")
    hub.add("user/pictures", {"train.parquet": (tmp_path / "train.parquet").read_bytes()}, kind="dataset")
    found = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    hub.add_folder("lab/five", checkpoints["five"], downloads=4, cardData={"license": "mit"}, **found)
    hub.add_folder("lab/gated", checkpoints["five"], gated=True, downloads=3, **found)
    hub.add_folder("lab/headless", checkpoints["headless"], downloads=2, **found)
    hub.add_folder("lab/breaks-off", checkpoints["seven-classes"], downloads=1, **found)
    hub.add_folder("other/five", checkpoints["five"], downloads=9, **found)
    names = ["lab/five", "lab/gated", "lab/headless", "lab/breaks-off"]
    call = ["rank", "--dataset", "user/pictures", "--split", "train"]

    planned = client(*call, "--search", "", "--author", "lab", "--dry-run", "--json", HF_TOKEN=READ_TOKEN)
    assert planned.returncode == 3, planned.stderr
    plan = json.loads(planned.stdout)
    assert [c["id"] for c in plan["candidates"]] == names
    assert [c["action"] for c in plan["candidates"]] == ["run", "skip", "skip", "run"]

    # Somebody with access goes on: the gated one counts, the last breaks off once.
    hub.faults.append(Fault(r"^GET /lab/breaks-off/resolve/.*model.safetensors", times=2, cut=True))
    output = tmp_path / "report"
    search = ("--search", "", "--author", "lab")
    pushing = ("--push-to-hub", "user/report")
    ranked = client(*call, *search, "--output", output, *pushing, HF_TOKEN=WRITE_TOKEN)
    assert ranked.returncode == 3, ranked.stdout + ranked.stderr
    assert f"{hub.url}/datasets/user/report" in ranked.stdout
    report = json.loads((output / "report.json").read_text())
    rows = {c["id"]: c for c in report["candidates"]}
    assert [rows[name]["status"] for name in names] == ["ok", "ok", "failed", "ok"]
    assert rows["lab/headless"]["reason"].startswith("no trained classification head")
    for name in names:
        assert rows[name]["revision"] == hub.repos["model", name].refs["main"]
        got = hub.requested(rf"^GET /{name}/resolve/.*")
        assert all(f"/resolve/{rows[name]['revision']}/" in path for path in got)
    assert hub.faults[0].times == 0

    loaded = client(code=LOAD)
    assert loaded.returncode == 0, loaded.stderr
    pushed = json.loads(loaded.stdout)
    assert [row["id"] for row in pushed] == [c["id"] for c in report["candidates"]]
    for row, candidate in zip(pushed, report["candidates"], strict=True):
        assert (row["rank"], row["revision"], row["reason"]) == tuple(
            candidate[key] for key in ("rank", "revision", "reason")
        )
        for measure, score in candidate["scores"].items():
            assert row[measure.replace("-", "_")] == score["value"]
    card = DatasetCard(hub.repos["dataset", "user/report"].files("main")["README.md"].decode())
    assert card.data.source_datasets == ["user/pictures"]
    assert card.data.configs == [{"config_name": "default", "data_files": "scores.parquet"}]
    pushed = json.loads(hub.repos["dataset", "user/report"].files("main")["report.json"])
    assert pushed == without_paths(report)
    assert str(tmp_path) not in str(pushed)

    # The Hub is away: the same candidates and data set from the cache, with equal scores.
    before = len(hub.log)
    revision = ("--revision", report["target"]["revision"])
    pinned = [f"{name}@{rows[name]['revision']}" for name in names]
    offline = client(*call, *revision, "--models", *pinned, "--no-cache", "--json", HF_HUB_OFFLINE="1")
    assert offline.returncode == 3, offline.stderr
    again = {c["id"].partition("@")[0]: c["scores"] for c in json.loads(offline.stdout)["candidates"]}
    assert again == {name: c["scores"] for name, c in rows.items()}
    # Named without a revision, what came last is meant.
    unpinned = client(*call, "--models", *names[:2], "--json", HF_HUB_OFFLINE="1")
    assert unpinned.returncode == 0, unpinned.stderr
    for words in ([*call, *search], [*call, "--collection", "lab/nets-01"], ["push", output, "user/report"]):
        refused = client(*words, HF_HUB_OFFLINE="1", HF_TOKEN=WRITE_TOKEN)
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert "needs the Hub, and HF_HUB_OFFLINE is set" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert hub.log[before:] == []
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert WRITE_TOKEN.encode() not in path.read_bytes(), path
