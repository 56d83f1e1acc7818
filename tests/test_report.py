import json
from pathlib import Path

import pytest

import hf_leep
from hf_leep.errors import UserError
from hf_leep.report import Report, _on_features


@pytest.fixture(scope="module")
def ranked(checkpoints, pictures):
    paths = [str(checkpoints[name]) for name in ("five", "headless", "seven-classes")]
    command = ["hf-leep", "rank", "--measures", "leep", "--dataset", "my data", "--output=out/"]
    return hf_leep.rank(paths, pictures, measures=["leep"], progress=False, command=command)


def test_the_keys_that_readers_count_on(ranked):
    data = ranked.data
    assert data["schema_version"] == 1
    assert set(data["target"]) >= {
        "dataset", "config", "split", "revision", "num_examples", "num_classes", "class_entropy", "seed",
    }  # fmt: skip
    assert data["measures"] == ["leep"]
    assert data["sort_by"] == "leep"
    first, _, failed = data["candidates"]
    assert set(first) >= {
        "id", "revision", "status", "reason", "rank", "tie_group", "num_source_classes", "num_parameters", "scores",
    }  # fmt: skip
    assert set(first["scores"]) == {"leep"}
    assert set(first["scores"]["leep"]) >= {"value", "standard_error", "warnings"}
    assert (first["status"], first["reason"], first["rank"], first["tie_group"]) == ("ok", None, 1, 1)
    assert (failed["status"], failed["rank"], failed["tie_group"], failed["scores"]) == ("failed", None, None, {})
    assert set(data["run"]) >= {"versions", "command", "seconds"}
    assert {"torch", "transformers", "datasets", "hf-leep"} <= set(data["run"]["versions"])


def test_saving_and_loading_give_the_same_report(ranked, tmp_path):
    folder = ranked.save(tmp_path / "new" / "report")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "README.md", "plots/scores.png", "report.json", "scores.parquet",
    ]  # fmt: skip
    assert Report.load(folder).data == ranked.data
    assert hf_leep.Report.load(str(folder)).to_json() == ranked.to_json()
    readme = (folder / "README.md").read_bytes()
    (folder / "README.md").unlink()
    Report.load(folder).save(folder)
    assert (folder / "README.md").read_bytes() == readme


def test_the_command_for_features_keeps_everything_else(ranked):
    assert ranked.data["headless"] == {
        "count": 1,
        "command": "hf-leep rank --dataset 'my data' --output out-logme --measures logme",
    }
    assert _on_features(["hf-leep", "rank", "--sort-by=leep", "--models", "a", "b", "--measures=leep,nce"]) == (
        "hf-leep rank --models a b --measures logme"
    )
    assert "hf_leep.rank" in _on_features(None)


def test_no_number_that_json_does_not_know_is_ever_written(ranked):
    broken = json.loads(ranked.to_json())
    broken["candidates"][0]["scores"]["leep"]["value"] = float("nan")
    with pytest.raises(ValueError, match="Out of range float"):
        Report(broken).to_json()


def test_names_that_are_no_unicode_are_written_all_the_same(ranked, tmp_path):
    odd = json.loads(ranked.to_json())
    odd["candidates"][0]["id"] = "caf\udce9"  # how Python reads a Latin-1 file name
    Report(odd).save(tmp_path)
    assert Report.load(tmp_path).candidates[0]["id"] == "caf\udce9"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 1}', r"report.json is damaged: KeyError"),
        (None, r"cannot read .*report.json: No such file"),
        ("{", r"report.json is damaged"),
        ("[]", r"schema_version None"),
        ('{"schema_version": 2}', r"has schema_version 2; this hf_leep reads 1"),
    ],
)
def test_what_is_no_report_is_one_clear_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match=message):
        Report.load(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_clear_line(ranked, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report to"):
        ranked.save(Path(tmp_path / "file" / "report"))
