import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hf_leep
from hf_leep import temporary
from hf_leep.cli.output import show_report
from hf_leep.errors import UserError
from hf_leep.measures import MEASURES
from hf_leep.ranking.uncertainty import CONFIDENCE
from hf_leep.report import Report, card
from hf_leep.report.builder import _on_features
from hf_leep.report.card import plots
from hf_leep.report.schema import SCHEMA_ID


@pytest.fixture(scope="module")
def ranked(checkpoints, pictures):
    paths = [str(checkpoints[name]) for name in ("five", "headless", "seven-classes")]
    command = ["hf-leep", "rank", "--measures", "leep", "--dataset", "my data", "--output=out/"]
    return hf_leep.rank(paths, pictures, measures=["leep"], progress=False, command=command)


def test_the_keys_that_readers_count_on(ranked):
    data = ranked.data
    assert data["$schema"] == SCHEMA_ID
    assert data["schema_version"] == 1
    assert data["confidence"] == CONFIDENCE
    assert set(data["target"]) >= {
        "dataset", "config", "split", "revision", "num_examples", "num_classes", "class_entropy", "seed",
    }  # fmt: skip
    assert data["measures"] == ["leep"]
    assert data["measure_details"]["leep"] == {
        "title": "LEEP", "unit": "nats", "needs": "probabilities", "higher_is_better": True,
        "reference": MEASURES["leep"].reference, "summary": MEASURES["leep"].summary,
    }  # fmt: skip
    assert set(data["measure_details"]) == {"leep", "leave-one-out-leep", "ridge"}  # those that check the order
    assert data["sort_by"] == "leep"
    first, _, failed = data["candidates"]
    assert set(first) >= {
        "id", "revision", "status", "reason", "rank", "tie_group", "tie_letters", "num_source_classes",
        "num_parameters", "scores",
    }  # fmt: skip
    assert set(first["scores"]) == {"leep"}
    assert set(first["scores"]["leep"]) >= {"value", "standard_error", "warnings"}
    assert (first["status"], first["reason"], first["rank"], first["tie_group"]) == ("ok", None, 1, 1)
    assert (failed["status"], failed["rank"], failed["tie_group"], failed["scores"]) == ("failed", None, None, {})
    assert set(data["run"]) >= {"versions", "command", "seconds"}
    assert {"torch", "transformers", "datasets", "hf-leep"} <= set(data["run"]["versions"])


def test_candidates_with_a_head_have_a_calibration_and_an_explanation(ranked, pictures):
    data = ranked.data
    first, second, failed = data["candidates"]
    assert data["consensus"] is None  # one measure alone
    assert data["agreement"] == []
    assert data["calibration"]["num_pairs"] == 1
    assert data["size"]["bands"][0]["best"] == {"id": first["id"], "rank": 1}
    assert failed["calibration"] is failed["explanation"] is failed["entropy_explained"] is failed["consensus"] is None
    names = {first["id"].rsplit("/")[-1]: first, second["id"].rsplit("/")[-1]: second}
    for candidate in (first, second):
        assert candidate["calibration"]["value"] >= candidate["calibration"]["as_is"]
        assert candidate["calibration"]["as_is"] == pytest.approx(candidate["check"]["value"], abs=1e-9)
        entropy = data["target"]["class_entropy"]
        assert candidate["entropy_explained"] == pytest.approx(1 + candidate["check"]["value"] / entropy)
        found = candidate["explanation"]
        for used in found["source_classes"]:
            assert {target["name"] for target in used["targets"]} <= {"red", "green", "blue"}
        if found["source_classes"]:
            assert sum(used["mass"] for used in found["source_classes"]) == pytest.approx(1)
        assert {served["name"] for served in found["classes"]} <= {"red", "green", "blue"}
        for example in found["examples"]:
            assert example["word"] is None
            assert example["label"] == ["red", "green", "blue"][pictures[example["row"]]["label"]]
    sources = {s["name"] for served in names["five"]["explanation"]["classes"] for s in served["sources"]}
    assert sources
    assert sources <= {f"class {k}" for k in range(5)}


def test_the_entropy_explained_is_known_without_leep_among_the_measures(ranked, checkpoints, pictures):
    known = {candidate["id"]: candidate["entropy_explained"] for candidate in ranked.candidates}
    paths = [str(checkpoints[name]) for name in ("five", "headless")]
    for options in ({"sort_by": "auto"}, {"measures": ["logme"]}, {"measures": ["leave-one-out-leep"]}):
        for candidate in hf_leep.rank(paths, pictures, progress=False, **options).candidates:
            assert candidate["entropy_explained"] == pytest.approx(known[candidate["id"]])


def test_ranks_and_scores_have_intervals(ranked):
    data = ranked.data
    first, second, failed = data["candidates"]
    assert data["best_by"] == "leave-one-out-leep"
    (settling,) = data["settling"]
    assert settling["places"] == 1
    apart = first["tie_letters"] != second["tie_letters"]
    assert apart == (first["tie_group"] != second["tie_group"])
    assert settling["num_examples"] is None or (
        not apart and settling["num_examples"] > data["target"]["num_examples"]
    )
    assert second["same_as"] is None
    assert [c["rank_interval"] for c in (first, second)] == ([[1, 1], [2, 2]] if apart else [[1, 2], [1, 2]])
    assert first["probability_best"] + second["probability_best"] == pytest.approx(1)
    assert second["behind_best"]["half_width"] > 1.96 * second["behind_best"]["standard_error"]
    score = first["scores"]["leep"]
    assert first["interval"][0] == pytest.approx(score["value"] - score["half_width"])
    for key in ("rank_interval", "probability_best", "same_as", "downloads"):
        assert failed[key] is None
    assert {b["name"]: b["num_candidates"] for b in data["baselines"]} == {"parameters": 2, "source classes": 2}


def test_words_are_named_by_sentence_and_place(token_checkpoints, tagged):
    report = hf_leep.rank([str(token_checkpoints["bert"])], tagged, progress=False, max_samples=30)
    (candidate,) = report.candidates
    found = candidate["explanation"]
    assert found["examples"]
    for example in found["examples"]:
        tag = tagged[example["row"]]["ner_tags"][example["word"]]
        assert example["label"] == ["O", "PER", "LOC"][tag]
    assert sum(served["count"] for served in found["classes"]) == report.data["target"]["num_examples"]


def test_independent_measures_vote(checkpoints, pictures):
    paths = [str(checkpoints[name]) for name in ("five", "headless", "seven-classes")]
    report = hf_leep.rank(paths, pictures, measures=["leep", "nce", "logme"], progress=False)
    assert report.data["consensus"] == {"measures": ["leave-one-out-leep", "logme"]}
    assert all(candidate["consensus"]["rank"] for candidate in report.candidates)  # the headless one by LogME alone
    assert [pair["measures"] for pair in report.data["agreement"]] == [
        ["leep", "nce"], ["leep", "logme"], ["nce", "logme"],
    ]  # fmt: skip
    assert [pair["num_candidates"] for pair in report.data["agreement"]] == [2, 2, 2]


def test_measures_that_were_not_asked_for_have_details_where_the_report_names_them(checkpoints, pictures, tmp_path):
    paths = [str(checkpoints[name]) for name in ("five", "seven-classes")]
    report = hf_leep.rank(paths, pictures, measures=["nce", "logme"], sort_by="logme", progress=False)
    assert set(report.data["measure_details"]) == {
        "nce",
        "logme",
        "leave-one-out-leep",  # votes for NCE
        "ridge",  # the second opinion
    }
    assert Report.load(report.save(tmp_path)).data == report.data


def test_an_explanation_is_found_by_name_or_number(ranked):
    first, second, _ = ranked.candidates
    find = ranked.candidate_with_explanation
    assert find() == find("1") == find(first["id"]) == first
    assert find("2") == find(second["id"].rsplit("/")[-1]) == second
    with pytest.raises(UserError, match="no explanation of .*headless: no trained classification head"):
        find("headless")
    with pytest.raises(UserError, match="no candidate 'nobody' in the report: it has"):
        find("nobody")
    with pytest.raises(UserError, match=r"no candidate 'fives' in the report: did you mean \S*five\? it has [^&]*$"):
        find("fives")
    with pytest.raises(UserError, match="no candidate '3'"):
        find("3")
    with pytest.raises(UserError, match="no candidate has a rank"):
        Report({**ranked.data, "candidates": ranked.candidates[2:]}).candidate_with_explanation()
    without = json.loads(ranked.to_json())
    without["candidates"][0]["explanation"] = None
    with pytest.raises(UserError, match="its predictions are not probabilities; the best .* is") as raised:
        Report(without).candidate_with_explanation()
    assert str(raised.value).endswith(f"the best candidate with an explanation is {second['id'].rsplit('/')[-1]}")


def test_saving_and_loading_give_the_same_report(ranked, tmp_path):
    folder = ranked.save(tmp_path / "new" / "report")
    drawn = sorted(f"plots/{name}.{kind}" for name in plots.findings(ranked.data) for kind in ("png", "svg"))
    assert "plots/scores.png" in drawn
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "README.md", *drawn, "report.html", "report.json", "scores.parquet",
    ]  # fmt: skip
    assert Report.load(folder).data == ranked.data
    assert hf_leep.Report.load(str(folder)).to_json() == ranked.to_json()
    readme = (folder / "README.md").read_bytes()
    page = (folder / "report.html").read_bytes()
    (folder / "README.md").unlink()
    (folder / "report.html").unlink()
    Report.load(folder).save(folder)
    assert (folder / "report.html").read_bytes() == page
    assert (folder / "README.md").read_bytes() == readme


def test_the_command_for_features_keeps_everything_else(ranked):
    assert ranked.data["headless"] == {
        "count": 1,
        "command": "hf-leep rank --measures leep --dataset 'my data' --output out-auto --sort-by auto",
    }
    assert _on_features(["hf-leep", "rank", "--sort-by=leep", "--models", "a", "b", "--measures=leep,nce"]) == (
        "hf-leep rank --models a b --measures=leep,nce --sort-by auto"
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
        ('{"schema_version": 1}', r"report.json is damaged \(\$schema: it is missing \(and 22 more\)\)"),
        ('{"schema_version": 1, "a": [0, NaN]}', r"report.json is damaged \(a\[1\]: the number nan is not allowed"),
        ("\ufeff{}", r"report.json is damaged \(Unexpected UTF-8 BOM"),
        ("[" * 10**5, r"report.json is damaged \(it nests too deeply"),
        (None, r"cannot read .*report.json \(No such file"),
        ("{", r"report.json is damaged"),
        ("[]", r"report.json is damaged: it holds \[\], not an object$"),
        ("null", r"report.json is damaged: it holds null, not an object$"),
        ("", r"report.json is damaged: it is empty$"),
        ('{"schema_version": 2}', r"has schema_version 2; this hf_leep reads 1"),
    ],
)
def test_what_is_no_report_is_one_clear_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match=message):
        Report.load(tmp_path)


@pytest.mark.parametrize("data", [{}, {"schema_version": 1}, [], None])
def test_a_report_of_other_data_is_refused(data):
    with pytest.raises(UserError, match=r"not the content of a report.json: read one with Report.load\(folder\)"):
        Report(data)


def test_a_folder_without_a_name_is_not_the_current_one():
    with pytest.raises(UserError, match="^the folder of the report has no name"):
        Report.load("")


def test_a_folder_of_another_type_is_refused():
    with pytest.raises(UserError, match="^the folder of a report is text or a path, got 3$"):
        Report.load(3)


def test_the_file_of_a_report_is_not_its_folder(ranked, tmp_path):
    ranked.save(tmp_path)
    with pytest.raises(UserError, match=r"report.json is a file: name the folder that its report.json is in"):
        Report.load(tmp_path / "report.json")


def test_a_folder_that_cannot_be_made_is_one_clear_line(ranked, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report to"):
        ranked.save(Path(tmp_path / "file" / "report"))


def _no_file(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "kernel":
        path.symlink_to("/proc/self/status")  # an ordinary file to `stat`; /proc/kmsg waits for ever
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"")
        os.truncate(path, 2**31)


@pytest.mark.parametrize("kind", ["pipe", "device", "kernel", "folder", "loop", "2 GB"])
def test_what_cannot_be_read_to_its_end_is_not_opened(tmp_path, kind):
    _no_file(kind, tmp_path / "report.json")
    with pytest.raises(
        UserError, match=r"link into /proc, not a file$" if kind == "kernel" else r"report\.json"
    ) as caught:
        Report.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["a\0b", "x" * 5000])
def test_a_folder_that_cannot_exist_is_one_line(folder):
    with pytest.raises(UserError, match="cannot read"):
        Report.load(folder)


def test_what_json_can_read_but_not_write_is_refused(ranked, tmp_path):
    deep = json.loads(ranked.to_json())
    deep["later"] = json.loads("[" * 400 + "]" * 400)
    (tmp_path / "report.json").write_text(json.dumps(deep))
    with pytest.raises(UserError, match="nests too deeply"):
        Report.load(tmp_path)


def test_a_report_without_a_ranking_does_not_replace_one(ranked, tmp_path):
    failed = json.loads(ranked.to_json())
    for candidate in failed["candidates"]:
        candidate.update(rank=None)
    ranked.save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    Report(failed).save(tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((tmp_path / "failed.json").read_bytes()) == failed
    ranked.save(tmp_path)
    assert not (tmp_path / "failed.json").exists()
    assert not Report(failed).leaves_ranking(tmp_path / "none")


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_replaced_before_all_files_are_written(ranked, tmp_path):
    ranked.save(tmp_path)
    before = _files(tmp_path)
    changed = json.loads(ranked.to_json())
    changed["run"]["command"] = "another one"
    temporary.beside(tmp_path / "README.md").mkdir()  # the last file that is written cannot be
    with pytest.raises(UserError, match=f"^cannot write the report to {tmp_path} \\(Is a directory\\)$"):
        Report(changed).save(tmp_path)
    assert _files(tmp_path) == before
    Report(changed).save(tmp_path)
    assert b"another one" in _files(tmp_path)[tmp_path / "README.md"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"^the report cannot be written \(Out of range float"),
        ({1, 2}, r"^the report cannot be written \(Object of type set"),
        ("text", r"^the report cannot be written \(candidates\[0\]\.scores\.leep\.value: input should be"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_overwritten(ranked, tmp_path, value, message):
    ranked.save(tmp_path / "old")
    before = _files(tmp_path)
    broken = json.loads(ranked.to_json())
    broken["candidates"][0]["scores"]["leep"]["value"] = value
    for folder in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(UserError, match=message):
            Report(broken).save(folder)
    assert _files(tmp_path) == before


def test_a_page_that_cannot_be_made_loses_no_scores(ranked, tmp_path, monkeypatch):
    def fails(*_arguments, **_options):
        raise MemoryError

    ranked.save(tmp_path / "old")
    before = _files(tmp_path)
    monkeypatch.setattr(card, "render", fails)
    for folder in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(MemoryError):
            ranked.save(folder)
    assert _files(tmp_path) == {**before, tmp_path / "new" / "report.json": ranked.to_bytes()}


def test_what_a_killed_run_left_half_written_is_removed(ranked, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine, _ = temporary.owner().split("-")
    (tmp_path / "plots").mkdir()
    left = [tmp_path / f"{name}.{machine}-{ended.pid}.tmp" for name in (".report.json", "plots/.scores.png")]
    others = [tmp_path / f".README.md.{machine}-{os.getppid()}.tmp", tmp_path / f".mine.{machine}-{ended.pid}.tmp"]
    for path in (*left, *others):
        path.write_text("half")
    ranked.save(tmp_path)
    assert [path.exists() for path in (*left, *others)] == [False, False, True, True]


def test_a_report_that_cannot_be_saved_is_printed_all_the_same(ranked, tmp_path, capsys):
    (tmp_path / "plots").write_text("")  # where a folder has to be
    with pytest.raises(UserError, match="^cannot write the report to"):
        show_report(ranked, tmp_path, json=False)
    assert "seven-classes" in capsys.readouterr().out
