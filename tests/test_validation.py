"""Heads fitted to the features of a ranking's candidates: the accuracies, and what is said where there is none."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import transformers
from rich.console import Console
from scipy.stats import kendalltau, pearsonr

import hf_leep
from hf_leep import api, cli, data, measures
from hf_leep.errors import UserError
from hf_leep.measures import unseen as unseen_errors
from hf_leep.measures.ridge_head import RidgeHead
from hf_leep.models import MODALITIES
from hf_leep.report import card
from hf_leep.report.card import validation
from hf_leep.store import Store
from hf_leep.validation import validate


@pytest.fixture(scope="module")
def files(pictures, checkpoints, tmp_path_factory):
    """A data set on disk, and copies of three checkpoints that a test may change."""
    root = tmp_path_factory.mktemp("validate")
    shuffled = [y if k % 4 else (y + k // 4) % 3 for k, y in enumerate(pictures["label"])]  # not too easy
    pictures = pictures.remove_columns("label").add_column("label", shuffled)
    pictures.to_parquet(root / "pictures.parquet")
    for name in ("five", "seven-classes", "headless"):
        shutil.copytree(checkpoints[name], root / name)
    return root


@pytest.fixture(scope="module")
def ranked(files):
    names = [str(files / name) for name in ("five", "seven-classes", "headless")]
    return hf_leep.rank(names, str(files / "pictures.parquet"), measures=["logme", "lfc"], progress=False)


def refitted(features, labels, strength, rows):
    """Whether a ridge classifier that is solved again without each of some rows predicts these rows correctly.

    Features are scaled as for `hf_leep.measures.ridge`, by all rows, and centred again by those of each fit.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    lengths = np.sqrt((centred**2).sum(axis=0))
    scaled = centred / np.sqrt(lengths**2 + lengths[lengths > 0].mean() ** 2)
    penalty = strength * np.linalg.svd(scaled, compute_uv=False)[0] ** 2
    y, right = np.eye(labels.max() + 1)[labels], []
    for row in rows:
        x, z = np.delete(scaled, row, axis=0), np.delete(y, row, axis=0)
        weights = np.linalg.solve(
            (x - x.mean(0)).T @ (x - x.mean(0)) + penalty * np.eye(x.shape[1]), (x - x.mean(0)).T @ (z - z.mean(0))
        )
        shrunk = np.sqrt(y.mean(0) * (1 - y.mean(0)) / (z.mean(0) * (1 - z.mean(0))))
        right.append((y.mean(0) + shrunk * ((scaled[row] - x.mean(0)) @ weights)).argmax() == labels[row])
    return np.array(right)


def test_each_example_is_judged_by_a_head_that_was_fitted_without_it(ranked, files):
    target, rows = data.load(str(files / "pictures.parquet"), MODALITIES, progress=False)
    found = validate(ranked, progress=False).data["validation"]
    for one in found["candidates"]:
        x, y = api.extract(one["id"], target, rows).features, target.labels
        right = refitted(x, y, RidgeHead.fit(x, y).strength, range(len(y)))
        assert 0 < right.mean() < 1
        assert one["accuracy"]["value"] == pytest.approx(right.mean(), abs=1e-12)


def test_the_head_is_that_of_the_measure_ridge_with_its_paired_errors(ranked, files):
    target, rows = data.load(str(files / "pictures.parquet"), MODALITIES, progress=False)
    found = validate(ranked, progress=False).data["validation"]["candidates"]
    passes = [api.extract(one["id"], target, rows) for one in found]
    scored = [measures.MEASURES["ridge"].influence(one.features, one.labels) for one in passes]
    best = max(range(3), key=lambda k: scored[k][0])
    for one, (value, influence) in zip(found, scored, strict=True):
        assert one["accuracy"]["value"] == value
        alone = measures.MEASURES["ridge"].standard_error(value, influence, 60)
        assert one["accuracy"]["standard_error"] == pytest.approx(alone)
        gap = influence - scored[best][1]
        unseen = [unseen_errors.of_accuracy(each, 60) for each in (value, scored[best][0])]
        variance = gap.var(ddof=1) / 60 + (sum(unseen) if gap.any() else 0)
        assert one["behind_best"]["standard_error"] == pytest.approx(variance**0.5, abs=1e-6)


def test_scores_of_the_same_head_are_not_compared_with_it(files):
    names = [str(files / name) for name in ("five", "headless")]
    rows = str(files / "pictures.parquet")
    report = hf_leep.rank(names, rows, measures=["ridge", "lfc"], sort_by="auto", progress=False)
    assert report.data["measures"] == ["ridge", "lfc", "ridge-log-likelihood"]
    found = validate(report, progress=False)
    assert list(found.data["validation"]["agreement"]) == ["lfc"]
    said = "The agreement of ridge accuracy and ridge log-likelihood with accuracy is not shown, as they are scores of"
    assert said in validation.method(found.data)
    assert "this is not an independent check" in validation.sentences(found.data, str)[1]
    report = hf_leep.rank(names, rows, measures=["ridge"], progress=False)
    found = validate(report, progress=False)
    assert found.data["validation"]["agreement"] == {}
    assert "The agreement of ridge accuracy with accuracy is not shown, as it is a score of the same head." in (
        validation.method(found.data)
    )
    for page in (card.page(found.data), shown(found)):
        assert "Pearson" not in page.partition("Does the order hold?")[0]
        assert "is also the most accurate" in " ".join(page.split())


def shown(report):
    """What the terminal shows."""
    console = Console(file=io.StringIO(), width=80)
    console.print(validation.terminal(report.data))
    return console.file.getvalue()


def test_classes_of_one_example(ranked, files):
    rows = datasets.Dataset.from_parquet(str(files / "pictures.parquet"))
    alone = [rows["label"].index(y) for y in range(3)]
    names = [str(files / name) for name in ("five", "headless")]
    one_of_each = rows.select(alone).cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    report = hf_leep.rank(names, one_of_each, measures=["ridge"], progress=False)
    with pytest.raises(UserError, match="no class has two examples"):
        validate(report, dataset=one_of_each, progress=False)
    one_alone = rows.select([k for k in range(60) if rows["label"][k] != 2 or k == alone[2]])
    report = hf_leep.rank(names, one_alone, measures=["ridge"], progress=False)
    found = validate(report, dataset=one_alone, progress=False).data["validation"]
    assert all(0 < one["accuracy"]["value"] < 1 for one in found["candidates"])


def test_a_candidate_without_features_is_named_with_the_reason(ranked, files, monkeypatch):
    def extract(name, *args, **options):
        found = api_extract(name, *args, **options)
        return replace(found, features=None, missing={"features": "no features"}) if "five" in str(name) else found

    api_extract = api.extract
    monkeypatch.setattr(api, "extract", extract)
    found = validate(ranked, progress=False)
    reasons = [one["reason"] for one in found.data["validation"]["candidates"]]
    assert sorted(map(str, reasons)) == ["None", "None", "no features"]
    assert "✗ five  no features" in shown(found)


def test_the_agreement_is_that_of_scores_and_accuracies(ranked):
    found = validate(ranked, progress=False).data["validation"]
    accuracy = [one["accuracy"]["value"] for one in found["candidates"]]
    assert [one["rank"] for one in found["candidates"]] == [1, 2, 3]
    for measure in ("logme", "lfc"):
        scores = [one["scores"][measure]["value"] for one in ranked.candidates]
        assert found["agreement"][measure]["num_candidates"] == 3
        assert found["agreement"][measure]["pearson"] == pytest.approx(pearsonr(scores, accuracy).statistic)
        assert found["agreement"][measure]["kendall"] == pytest.approx(kendalltau(scores, accuracy).statistic)
    for one in found["candidates"]:
        a = one["accuracy"]["value"]
        assert one["place"] == 1 + sum(other > a for other in accuracy)
        assert one["behind_best"]["value"] == pytest.approx(max(accuracy) - a)
    pairs = found["pairs"]
    assert pairs["told_apart"] == pairs["confirmed"] + pairs["contradicted"] + pairs["open"]


def test_a_measure_whose_lower_scores_are_better_is_turned_round(ranked):
    """The same scores, stated to be better when lower: every correlation has the other sign, and the card says so."""
    details = ranked.data["measure_details"]
    turned = {**details, "logme": {**details["logme"], "higher_is_better": False}}
    before = validate(ranked, progress=False).data
    after = validate(hf_leep.Report({**ranked.data, "measure_details": turned}), progress=False).data
    for key in ("pearson", "kendall"):
        assert before["validation"]["agreement"]["logme"][key] != 0
        assert after["validation"]["agreement"]["logme"][key] == -before["validation"]["agreement"]["logme"][key]
        assert after["validation"]["agreement"]["lfc"][key] == before["validation"]["agreement"]["lfc"][key]
    assert "change their sign first" in validation.method(after)
    assert "change their sign first" not in validation.method(before)


def test_the_first_two_alone(ranked):
    found = validate(ranked, top=2, progress=False).data["validation"]
    assert (found["top"], found["num_ranked"], len(found["candidates"])) == (2, 3, 2)
    with pytest.raises(UserError, match="^top is 1"):
        validate(ranked, top=1)
    with pytest.raises(UserError, match="^top is 'x'; it must be a whole number of at least 2"):
        validate(ranked, top="x")
    with pytest.raises(UserError, match=r"^cannot read nowhere/report.json \(No such file"):
        validate("nowhere")
    with pytest.raises(UserError, match="unknown dtype 'float64': float32, bfloat16, float16"):
        validate(ranked, dtype="float64")


def test_more_than_there_are_is_said_and_a_perfect_order_has_no_interval(ranked):
    found = validate(ranked, top=100, progress=False)
    assert "features of all 3 (of 100 asked for) ranked candidates" in validation.method(found.data)
    perfect = {"num_candidates": 5, "kendall": 1.0, "kendall_interval": None, "kendall_p_value": 0.0167,
               "pearson": 0.9, "pearson_interval": [0.1, 0.99], "pearson_p_value": 0.03,
               "weighted_tau": 1.0, "weighted_tau_by_accuracy": 1.0}  # fmt: skip
    described = found.data["validation"]
    trials = (described["candidates"] * 2)[:5]
    told = {**described, "candidates": trials, "agreement": {"logme": perfect}}
    data = {**found.data, "validation": told, "candidates": (found.data["candidates"] * 2)[:5]}
    (row,) = validation.agreement_rows(data)
    assert row[2:6] == ["0.90 [0.10, 0.99]", "0.030", "1.00 [–]", "0.017"]
    said = "Kendall's τ of LogME with accuracy, over 5 candidates: 1.00 (no interval, p = 0.017)."
    assert said in validation.sentences(data, str)


def test_passes_are_found_by_the_number_type_of_the_ranking_and_stopped_ones_are_not_compared(files):
    names = [str(files / name) for name in ("five", "seven-classes", "headless")]
    rows = datasets.Dataset.from_parquet(str(files / "pictures.parquet")).select(range(50))  # ranked by no other test
    report = hf_leep.rank(
        names, rows, measures=["logme"], execution=hf_leep.Execution(dtype="bfloat16"), progress=False
    )
    report.data["candidates"][2]["stopped"] = {"look": 1}
    store = Store(Store.default_root())
    before = store.usage().entries["extractions"]
    found = validate(report, dataset=rows, progress=False).data["validation"]
    assert store.usage().entries["extractions"] == before  # no pass was made again
    assert [one["reason"] for one in found["candidates"]] == [None] * 3
    assert found["agreement"]["logme"]["num_candidates"] == 2


def test_other_rows_are_refused(ranked, files):
    rows = datasets.Dataset.from_parquet(str(files / "pictures.parquet"))
    for renamed in ("image", "label"):
        message = (
            f"^this is not the data set that was ranked, with the columns 'image', 'label': no column {renamed!r}$"
        )
        with pytest.raises(UserError, match=message):
            validate(ranked, dataset=rows.rename_column(renamed, "other"))
    with pytest.raises(UserError, match="other rows than those that were ranked"):
        validate(ranked, dataset=rows.select(range(50)), progress=False)
    moved = validate(ranked, dataset=rows, progress=False)
    assert moved.data["validation"] == validate(ranked, progress=False).data["validation"]


def test_the_command_adds_it_to_the_report(ranked, files, tmp_path, capsysbinary):
    ranked.save(tmp_path)
    assert cli.run(["validate", str(tmp_path), "--top", "2", "--json"]) == 0
    printed = capsysbinary.readouterr()
    assert printed.out == (tmp_path / "report.json").read_bytes()
    assert json.loads(printed.out)["validation"]["top"] == 2
    assert "place" in printed.err.decode()
    page = (tmp_path / "README.md").read_text()
    assert "<summary>Does accuracy follow the order?</summary>" in page
    assert "the first 2 of 3 ranked candidates" in page
    assert hf_leep.Report.load(tmp_path).data["validation"]["pairs"]


def test_a_candidate_that_changed_is_named_and_the_others_go_on(ranked, files, tmp_path, capsys):
    ranked.save(tmp_path)
    changed = files / "five" / "config.json"
    before = changed.read_text()
    changed.write_text(before.replace("class 0", "class zero"))
    try:
        assert cli.run(["validate", str(tmp_path)]) == 3
    finally:
        changed.write_text(before)
    assert "✗ five the folder has changed since it was ranked" in " ".join(capsys.readouterr().out.split())
    assert "`five`: the folder has changed since it was ranked" in (tmp_path / "README.md").read_text()


def test_what_was_in_memory_is_said_on_one_line(files, tmp_path, capsys):
    pictures = datasets.Dataset.from_parquet(str(files / "pictures.parquet"))
    report = hf_leep.rank([str(files / "five"), str(files / "seven-classes")], pictures, progress=False)
    report.save(tmp_path)
    capsys.readouterr()  # the bars of datasets
    assert cli.run(["validate", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "say where its rows are with --dataset" in error
    assert error.count("\n") == 1
    assert cli.run(["validate", str(tmp_path), "--dataset", str(files / "pictures.parquet")]) == 0


def test_pairs_count_for_the_order_or_against_it(files, tmp_path):
    """One checkpoint is ahead of two copies without any weights, which cannot be told apart."""
    paths = [files / "five", tmp_path / "blank", tmp_path / "blank-too"]
    model = transformers.AutoModelForImageClassification.from_pretrained(paths[0])
    for weights in model.parameters():
        torch.nn.init.zeros_(weights)
    for path in paths[1:]:
        shutil.copytree(paths[0], path)
        model.save_pretrained(path)
    report = hf_leep.rank(list(map(str, paths)), str(files / "pictures.parquet"), progress=False)
    by_name = {Path(candidate["id"]).name: candidate for candidate in report.candidates}

    def with_places(*names, letters="abc"):
        candidates = [
            {**by_name[name], "rank": i, "tie_letters": letter}
            for i, (name, letter) in enumerate(zip(names, letters, strict=True), 1)
        ]
        return hf_leep.Report({**report.data, "candidates": candidates})

    found = validate(with_places("five", "blank", "blank-too"), progress=False).data["validation"]
    ahead = [one["behind_best"] for one in found["candidates"][1:]]
    assert all(gap["value"] > 1.96 * gap["standard_error"] > 0 for gap in ahead)
    assert found["pairs"] == {"told_apart": 3, "confirmed": 2, "contradicted": 0, "open": 1}
    found = validate(with_places("blank", "blank-too", "five"), progress=False).data["validation"]
    assert found["pairs"] == {"told_apart": 3, "confirmed": 0, "contradicted": 2, "open": 1}
    chain = with_places("five", "blank", "blank-too", letters=("a", "ab", "b"))  # one pair, though one tie group
    assert validate(chain, progress=False).data["validation"]["pairs"]["told_apart"] == 1
    unknown = with_places("five", "blank", "blank-too", letters=("a", None, "a"))
    assert validate(unknown, progress=False).data["validation"]["pairs"]["told_apart"] == 0


def test_words_of_a_sample_of_sentences_are_judged_by_sentence(token_checkpoints, tagged):
    paths = [str(token_checkpoints[name]) for name in ("bert", "roberta")]
    report = hf_leep.rank(paths, tagged, max_samples=25, seed=4, progress=False)
    found = validate(report, dataset=tagged, progress=False)
    assert "Each word was judged by a head fitted to all other sentences." in validation.method(found.data)
    target, rows = data.load(tagged, MODALITIES, max_samples=25, seed=4, progress=False)
    assert target.sentences.max() == 24
    for one in found.data["validation"]["candidates"]:
        x = api.extract(one["id"], target, rows).features
        value, influence = measures.MEASURES["ridge"].influence_by_draw(x, target.labels, target.sentences)
        assert one["accuracy"]["value"] == pytest.approx(value)
        assert len(influence) == 25
        alone = measures.MEASURES["ridge"].standard_error(value, influence, 25)
        assert one["accuracy"]["standard_error"] == pytest.approx(alone)


def test_the_words_of_one_sentence_have_no_others_to_be_judged_by(token_checkpoints, tagged):
    paths = [str(token_checkpoints[name]) for name in ("bert", "roberta")]
    rows = tagged.select([0])
    report = hf_leep.rank(paths, rows, measures=["leep"], progress=False)
    assert [c["scores"]["leep"]["value"] is None for c in report.candidates] == [False, False]
    assert [c["scores"]["leep"]["standard_error"] for c in report.candidates] == [None, None]
    report.to_json()
    found = validate(report, dataset=rows, progress=False)
    for trial in found.data["validation"]["candidates"]:
        assert trial["accuracy"] is None
        assert "belong to one draw: there are no others to predict them from" in trial["reason"]
    shown(found)
    found.to_json()


def test_the_options_of_execution_are_named_as_the_arguments_that_they_are():
    with pytest.raises(UserError, match=r"^candidate_timeout is 'soon'; give a duration"):
        validate("nowhere", candidate_timeout="soon")
    with pytest.raises(UserError, match=r"^retry is 3; it must be True or False$"):
        validate("nowhere", retry=3)
