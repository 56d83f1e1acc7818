"""Rows that cannot be read, or on which a model fails, leave all candidates of a run."""

import io
import itertools
import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_leep
from hf_leep import Execution, Race
from hf_leep.errors import TargetError, UserError
from hf_leep.measures import leave_one_out_leep
from hf_leep.options import Cluster
from tests.recorded import race
from tests.runs.test_launched import arrays, launch
from tests.runs.test_race import pool


def rank(candidates, dataset, **options):
    return hf_leep.rank(candidates, dataset, progress=False, **options)


def values(report):
    """Scores and errors of each candidate by measure."""
    return {
        c["id"]: {m: (s["value"], s["standard_error"]) for m, s in c["scores"].items()}
        for c in report.candidates
        if c["scores"]
    }


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for measure, pair in one[name].items():
            assert pair == pytest.approx(other[name][measure], abs=1e-5), (name, measure)


@pytest.fixture(scope="module")
def broken(pictures):
    """The pictures, of which those of rows 3 and 17 cannot be decoded; and the pictures without these rows."""

    def stored(image):
        buffer = io.BytesIO()
        image.save(buffer, "png")
        return buffer.getvalue()

    content = [stored(image) for image in pictures["image"]]
    content[3], content[17] = content[3][:40], b"no picture"
    rows = {
        "image": [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(content)],
        "label": pictures["label"],
    }
    features = datasets.Features({"image": datasets.Image(decode=False), "label": pictures.features["label"]})
    whole = datasets.Dataset.from_dict(rows, features=features).cast_column("image", datasets.Image())
    return whole, whole.select([k for k in range(len(whole)) if k not in (3, 17)])


@pytest.fixture(scope="module")
def nan(text_checkpoints, tmp_path_factory):
    """A checkpoint whose outputs are NaN for texts with the word j, and one whose outputs are NaN for all texts."""
    made = {}
    words = {f"nan-{word}": slice(row, row + 1) for word, row in zip("fghi", range(9, 13), strict=True)}
    for name, rows in {"nan": slice(13, 14), "nan-everywhere": slice(None), **words}.items():
        folder = made[name] = tmp_path_factory.mktemp("nan") / name
        shutil.copytree(text_checkpoints["bert"], folder)
        weights = load_file(folder / "model.safetensors")
        weights["bert.embeddings.word_embeddings.weight"][rows] = torch.nan
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return made


@pytest.fixture(scope="module")
def with_two(texts):
    """Texts of which rows 5 and 21 alone hold the word j; and the texts without these rows."""
    found = [text.replace("j", "i") for text in texts["text"]]
    found[5], found[21] = "a j b", "j"
    whole = datasets.Dataset.from_dict({"text": found, "label": texts["label"]}).cast_column(
        "label", texts.features["label"]
    )
    return whole, whole.select([k for k in range(len(whole)) if k not in (5, 21)])


def test_rows_that_cannot_be_read_are_left_out_as_if_they_were_not_there(checkpoints, broken):
    whole, rest = broken
    candidates = [checkpoints["five"], checkpoints["headless"], checkpoints["seven-classes"]]
    report = rank(candidates, whole, skip_bad_rows=2, measures=["leep", "logme"], sort_by="logme")
    same(values(report), values(rank(candidates, rest, measures=["leep", "logme"], sort_by="logme")))
    target = report.data["target"]
    assert [(row["row"], row["drawn"]) for row in target["bad_rows"]] == [(3, True), (17, True)]
    assert "(17.png)" in target["bad_rows"][1]["name"]
    assert "cannot be decoded" in target["bad_rows"][1]["reason"]
    assert (target["num_examples"], target["num_rows"]) == (len(rest), len(whole))
    assert any("2 bad rows were left out for all candidates" in warning for warning in target["warnings"])


def test_more_bad_rows_than_allowed_are_one_line_with_their_number(checkpoints, broken):
    none = Execution(cache=False)
    with pytest.raises(TargetError, match=r"^2 rows .* skip_bad_rows allows: row 3 .*\(3.png\) – .*; row 17"):
        rank([checkpoints["five"]], broken[0], skip_bad_rows=1, execution=none)
    with pytest.raises(TargetError, match=r"row 3 .*\(3.png\) cannot be decoded.*skip_bad_rows N leaves out"):
        rank([checkpoints["five"]], broken[0], execution=none)


@pytest.mark.parametrize("options", [{}, {"execution": Execution(cache=False, batch_size=3)}, {"race": Race(top=1)}])
def test_the_order_of_candidates_does_not_matter(text_checkpoints, nan, with_two, options):
    whole, rest = with_two
    candidates = [text_checkpoints["bert"], nan["nan"], text_checkpoints["gpt2"]]
    expected = values(rank([text_checkpoints["bert"], text_checkpoints["gpt2"]], rest, **options))
    reports = [rank(list(order), whole, skip_bad_rows=2, **options) for order in itertools.permutations(candidates)]
    for report in reports:
        assert report.exit_code == 0
        same(values(reports[0]), values(report))
        assert [row["row"] for row in report.data["target"]["bad_rows"]] == [5, 21]
        assert all("its outputs are NaN" in row["reason"] for row in report.data["target"]["bad_rows"])
        assert report.data["target"]["num_examples"] == len(rest)
    same(expected, {name: values(reports[0])[name] for name in expected})


def test_a_candidate_that_fails_on_more_rows_fails_alone(text_checkpoints, nan, with_two):
    whole, _ = with_two
    others = [text_checkpoints["bert"], text_checkpoints["gpt2"]]
    expected = values(rank(others, whole))
    for name, allowed, message in (
        ("nan", 1, r"fails on 2 rows so far, more than"),
        ("nan-everywhere", 3, r"fails on 4 rows so far, more than"),
        ("nan-everywhere", 100, r"no row is left"),
    ):
        for candidates in ([nan[name], *others], [*others, nan[name]]):
            report = rank(candidates, whole, skip_bad_rows=allowed)
            (failed,) = [c for c in report.candidates if c["status"] == "failed"]
            assert message in failed["reason"]
            same(values(report), expected)
            assert report.data["target"]["bad_rows"] == []


@pytest.mark.parametrize("options", [{}, {"execution": Execution(cache=False)}, {"race": Race(top=1)}])
def test_candidates_whose_bad_rows_are_too_many_together_fail_in_any_order(text_checkpoints, nan, texts, options):
    """Those that fail on the fewest rows are kept first, then by name."""
    found = ["".join(c for c in text if c not in "fghi") or "a" for text in texts["text"]]
    for row, words in {3: "a f g", 5: "f i", 8: "b g", 11: "g", 14: "h", 17: "i h"}.items():
        found[row] = words
    whole = datasets.Dataset.from_dict({"text": found, "label": texts["label"]})
    fails_on = {"nan-f": {3, 5}, "nan-g": {3, 8, 11}, "nan-h": {14, 17}, "nan-i": {5, 17}}
    for allowed, dropped in ((3, {"nan-g", "nan-h"}), (4, {"nan-g"}), (6, set())):
        left_out = sorted(set().union(*(fails_on[name] for name in fails_on.keys() - dropped)))
        rest = whole.select([k for k in range(len(whole)) if k not in left_out])
        expected = values(rank([text_checkpoints["bert"]], rest, **options))
        candidates = [text_checkpoints["bert"], *(nan[name] for name in fails_on)]
        orders = list(itertools.permutations(candidates))[:: 31 if not options else 59]
        reports = [rank(list(order), whole, skip_bad_rows=allowed, **options) for order in orders]
        for report in reports:
            failed = {c["id"]: c["reason"] for c in report.candidates if c["status"] == "failed"}
            assert failed.keys() == {str(nan[name]) for name in dropped}
            assert all("all candidates together have more bad rows" in reason for reason in failed.values())
            assert [row["row"] for row in report.data["target"]["bad_rows"]] == left_out
            assert report.data["target"]["bad_rows"] == reports[0].data["target"]["bad_rows"]
            same(values(report), values(reports[0]))
            same(expected, {name: values(report)[name] for name in expected})


def test_a_candidate_that_fails_on_a_whole_class_fails_alone(text_checkpoints, nan, with_two):
    whole, _ = with_two
    names = ["lost" if k in (5, 21) else "ab"[k % 2] for k in range(len(whole))]
    labelled = whole.remove_columns("label").add_column("label", names)
    report = rank([nan["nan"], text_checkpoints["bert"]], labelled, skip_bad_rows=5)
    assert [c["status"] for c in report.candidates] == ["ok", "failed"]
    assert "all rows of 'lost'" in report.candidates[1]["reason"]
    same(values(report), values(rank([text_checkpoints["bert"]], labelled)))


def test_stored_passes_are_used_again_without_the_rows(text_checkpoints, nan, with_two):
    whole, _ = with_two
    whole = whole.select(range(1, len(whole)))  # passes of its own
    first = rank([text_checkpoints["bert"], text_checkpoints["gpt2"]], whole)
    assert not any(c["run"]["from_store"] for c in first.candidates)
    both = rank([text_checkpoints["bert"], text_checkpoints["gpt2"], nan["nan"]], whole, skip_bad_rows=3)
    assert {c["id"]: c["run"]["from_store"] for c in both.candidates}[str(text_checkpoints["bert"])]
    assert not {c["id"]: c["run"]["from_store"] for c in both.candidates}[str(nan["nan"])]
    again = rank([nan["nan"], text_checkpoints["bert"], text_checkpoints["gpt2"]], whole, skip_bad_rows=2)
    assert all(c["run"]["from_store"] for c in again.candidates)
    same(values(again), values(both))
    report = rank([nan["nan"], text_checkpoints["bert"]], whole, skip_bad_rows=1)
    assert [c["status"] for c in report.candidates] == ["ok", "failed"]


def test_missing_cells_count_as_bad_rows_before_rows_are_drawn(text_checkpoints, texts, tmp_path):
    found, labels = list(texts["text"]), ["ab"[label] for label in texts["label"]]
    lines = [f"{text},{label}" for text, label in zip(found, labels, strict=True)]
    (tmp_path / "rest.csv").write_text("\n".join(["text,label", *lines]))
    lines[7:7] = [",a", "a b,"]
    (tmp_path / "holes.csv").write_text("\n".join(["text,label", *lines]))
    expected = rank([text_checkpoints["bert"]], tmp_path / "rest.csv", max_samples=20)
    report = rank([text_checkpoints["bert"]], tmp_path / "holes.csv", max_samples=20, skip_bad_rows=2)
    same(values(report), values(expected))
    assert [(row["row"], row["drawn"]) for row in report.data["target"]["bad_rows"]] == [(7, False), (8, False)]
    with pytest.raises(TargetError, match="1 of 42 rows has no label.*leave it out with skip_bad_rows 2"):
        rank([text_checkpoints["bert"]], tmp_path / "holes.csv", skip_bad_rows=1)


def test_a_class_is_not_lost_with_its_bad_rows(checkpoints, broken):
    whole, _ = broken
    names = ["lost" if k in (3, 17) else "ab"[k % 2] for k in range(len(whole))]
    labelled = whole.remove_columns("label").add_column("label", names)
    with pytest.raises(TargetError, match="all rows of 'lost'"):
        rank([checkpoints["five"]], labelled, skip_bad_rows=2)


def test_validation_finds_the_same_rows_again(checkpoints, broken):
    report = rank([checkpoints["five"], checkpoints["seven-classes"]], broken[0], skip_bad_rows=2, max_samples=50)
    checked = hf_leep.validate(report, dataset=broken[0], progress=False)
    assert all(c["accuracy"] for c in checked.data["validation"]["candidates"])


def test_a_streamed_sample_leaves_out_its_bad_rows(checkpoints, broken):
    stream = broken[0].to_iterable_dataset()
    report = rank([checkpoints["five"]], stream, max_samples=len(broken[0]), skip_bad_rows=2)
    same(values(report), values(rank([checkpoints["five"]], broken[1])))


def test_models_in_memory_are_scored_again(text_checkpoints, nan, with_two):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    whole, rest = with_two
    path = text_checkpoints["gpt2"]
    model = AutoModelForSequenceClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    report = rank([("mine", *model), nan["nan"]], whole, skip_bad_rows=2)
    same({"mine": values(report)["mine"]}, values(rank([("mine", *model)], rest)))


def test_two_processes_add_up_their_bad_rows(python, text_checkpoints, nan, with_two, tmp_path):
    """Each of them runs half of the rows, finds one of the two bad ones, and leaves it out of the stored arrays."""
    with_two[0].save_to_disk(tmp_path / "texts")
    arguments = ["--dataset", tmp_path / "texts", "--models", nan["nan"], text_checkpoints["bert"], "--batch-size", 3]
    reports, stored = [], []
    for number in (1, 2):
        home, output = tmp_path / f"home-{number}", tmp_path / f"report-{number}"
        done = launch(python, number, [*arguments, "--skip-bad-rows", 2, "--output", output], home)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads((output / "report.json").read_text()))
        stored.append(arrays(home))
        assert {c["run"]["num_processes"] for c in reports[-1]["candidates"]} == {number}
    one, two = reports
    assert stored[0] == stored[1]
    assert one["target"] == two["target"]
    assert [row["row"] for row in two["target"]["bad_rows"]] == [5, 21]
    assert [c["scores"] for c in one["candidates"]] == [c["scores"] for c in two["candidates"]]
    launch(
        python, 2, [*arguments, "--skip-bad-rows", 1, "--no-cache", "--output", tmp_path / "r"], tmp_path / "home-3"
    )
    (failed,) = [
        c for c in json.loads((tmp_path / "r" / "report.json").read_text())["candidates"] if c["status"] == "failed"
    ]
    assert "fails on 2 rows" in failed["reason"]


def test_a_cluster_refuses_in_one_line(checkpoints, broken):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="skip_bad_rows .* on one machine"):
        rank([checkpoints["five"]], broken[0], skip_bad_rows=2, cluster=Cluster())


def test_a_race_counts_again_without_the_rows_that_later_candidates_fail_on(rng):
    passes, target = pool(rng, {"best": 4, "near": 3.9, "far": 1, "headless": 2})
    passes["headless"] = {"features": passes["headless"]["probabilities"]}
    passes = {
        name: {**arrays, "features": arrays.get("features", arrays.get("probabilities"))}
        for name, arrays in passes.items()
    }
    _, running, _ = race(passes, target, run=False)
    order = running._order
    bad = {"near": [order[5], order[450]], "far": [order[8]], "headless": [order[20], order[21]]}
    found = []
    for names in (("best", "near", "far", "headless"), ("far", "headless", "near", "best")):
        held = {name: {k: v.copy() for k, v in passes[name].items()} for name in names}
        scored, running, job = race(held, target, for_features=("headless",), bad=bad)
        assert sorted(job.left_out.positions) == sorted(np.concatenate(list(bad.values())))
        found.append((scored, running.record()))
        rest = np.setdiff1d(np.arange(1600), job.left_out.positions)
        expected = leave_one_out_leep(passes["best"]["probabilities"][rest], target.labels[rest])
        assert scored["best"].scores["leave-one-out-leep"].value == pytest.approx(expected, abs=1e-9)
        first = np.setdiff1d(order[:100], job.left_out.positions)
        expected = leave_one_out_leep(passes["far"]["probabilities"][first], target.labels[first])
        assert scored["far"].scores["leave-one-out-leep"].value == pytest.approx(expected, abs=1e-9)
        assert (scored["far"].stop.look, scored["far"].num_examples) == (0, len(first))
        # Its doubtful examples are found in the report's target, which lacks the rows.
        report_target = job.left_out.target(target)
        for example in scored["far"].interpretation.explanation.examples:
            assert report_target.row_ids[example.index] in first
        running.ranking(["best", "near", "far"])
    assert found[0][1] == found[1][1]
    for name, result in found[0][0].items():
        other = found[1][0][name]
        assert {m: s.value for m, s in result.scores.items()} == {m: s.value for m, s in other.scores.items()}
        assert result.head_accuracy.value == other.head_accuracy.value


def test_a_race_does_not_leave_out_the_rows_of_a_candidate_that_fails_later(rng):
    passes, target = pool(rng, {"best": 4, "near": 3.9, "crashing": 3.95})
    _, running, _ = race(passes, target, run=False)
    order = running._order
    bad = {"near": [order[5]], "crashing": [order[6], order[7]]}

    def crashing(name, examples):
        return RuntimeError("it crashed") if name == "crashing" and len(examples) > 100 else None

    scored, running, job = race(passes, target, rules=Race(top=1), bad=bad, fails=crashing)
    assert "it crashed" in scored["crashing"].reason
    assert job.left_out.positions.tolist() == [order[5]]
    rest = np.setdiff1d(np.arange(1600), [order[5]])
    expected = leave_one_out_leep(passes["best"]["probabilities"][rest], target.labels[rest])
    assert scored["best"].scores["leave-one-out-leep"].value == pytest.approx(expected, abs=1e-9)
    assert running.record().looks[-1] == 1599


def test_a_large_picture_is_read_or_named(checkpoints, monkeypatch):
    """Pillow warns of pictures beyond its limit, and refuses those of twice its size."""
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = checkpoints["five"]
    model = AutoModelForImageClassification.from_pretrained(path), AutoImageProcessor.from_pretrained(path)

    def content(side, shade):
        buffer = io.BytesIO()
        Image.new("RGB", (side, side), (shade, 0, 0)).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": f"{side}.png"}

    images = [content({4: 12, 7: 20}.get(k, 8), 20 * k) for k in range(10)]
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": images, "label": ["a", "b"] * 5}, features=features)
    report = rank([("mine", *model)], rows.cast_column("image", datasets.Image()), skip_bad_rows=1)
    (bad,) = report.data["target"]["bad_rows"]
    assert (bad["row"], report.data["target"]["num_examples"]) == (7, 9)
    assert "it has 400 pixels, more than 200: scale it down" in bad["reason"]
