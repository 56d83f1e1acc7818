"""Heads trained on a ranking's candidates: right against another cross-validation, and honest about what failed."""

import json
import shutil

import datasets
import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr

import hf_leep
from hf_leep import cli
from hf_leep.errors import UserError
from hf_leep.store import Store
from hf_leep.validation import cross_validated, validate


@pytest.fixture(scope="module")
def files(pictures, checkpoints, tmp_path_factory):
    """A data set on disk, and copies of three checkpoints that a test may change."""
    root = tmp_path_factory.mktemp("validate")
    shuffled = [y if k % 3 else (y + k // 3) % 3 for k, y in enumerate(pictures["label"])]  # not too easy
    pictures = pictures.remove_columns("label").add_column("label", shuffled)
    pictures.to_parquet(root / "pictures.parquet")
    for name in ("five", "seven-classes", "headless"):
        shutil.copytree(checkpoints[name], root / name)
    return root


@pytest.fixture(scope="module")
def ranked(files):
    names = [str(files / name) for name in ("five", "seven-classes", "headless")]
    return hf_leep.rank(names, str(files / "pictures.parquet"), measures=["logme", "lfc"], progress=False)


def test_each_example_is_judged_by_a_head_that_never_saw_it(rng):
    y = np.arange(60) % 3
    right, folds = cross_validated(rng.normal(size=(60, 90)), y)
    assert folds == 5
    assert right.mean() < 0.6  # more features than examples: a head fits its own examples perfectly
    told, _ = cross_validated(np.eye(3)[y] + 0.01 * rng.normal(size=(60, 3)), y)
    assert told.all()


def test_the_head_is_the_one_of_the_prior(rng):
    """Newton's method on the penalised likelihood, written out, on each fold."""
    from sklearn.model_selection import StratifiedKFold

    y = rng.integers(2, size=80)
    x = rng.normal(size=(80, 4)) + 0.7 * y[:, None]
    right, _ = cross_validated(x, y, seed=3)
    expected = np.empty(80, dtype=bool)
    for fit, judged in StratifiedKFold(5, shuffle=True, random_state=3).split(x, y):
        z = np.column_stack([(x - x[fit].mean(0)) / x[fit].std(0), np.ones(80)])
        w, penalty = np.zeros(5), np.diag([4 / 10] * 4 + [0])  # variance 10/d of each weight, none for the bias
        for _ in range(30):
            p = 1 / (1 + np.exp(-z[fit] @ w))
            w -= np.linalg.solve(
                z[fit].T @ (z[fit] * (p * (1 - p))[:, None]) + penalty, z[fit].T @ (p - y[fit]) + penalty @ w
            )
        expected[judged] = (z[judged] @ w > 0) == y[judged]
    np.testing.assert_array_equal(right, expected)


def test_groups_are_left_out_together(rng):
    """Each group has its own mark, and its class by lot: only a head that knows the group could tell."""
    groups = np.repeat(np.arange(40), 5)
    y = rng.permutation(np.arange(40) % 2)[groups]
    marks = np.eye(40)[groups]
    assert cross_validated(marks, y)[0].mean() > 0.9
    assert cross_validated(marks, y, groups=groups)[0].mean() < 0.75


def test_a_class_of_one_example_is_no_trouble(rng):
    y = np.append(np.arange(40) % 2, 2)
    right, _ = cross_validated(np.eye(3)[y], y)
    assert right[:-1].all()
    assert not right[-1]
    with pytest.raises(UserError, match="no class has two examples"):
        cross_validated(rng.normal(size=(5, 3)), np.arange(5))


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
        assert one["accuracy"]["standard_error"] == pytest.approx((a * (1 - a) / 59) ** 0.5)
        assert one["place"] == 1 + sum(other > a for other in accuracy)
        assert one["behind_best"]["value"] == pytest.approx(max(accuracy) - a)
    pairs = found["pairs"]
    assert pairs["told_apart"] == pairs["confirmed"] + pairs["contradicted"] + pairs["open"]


def test_a_measure_whose_lower_scores_are_better_is_turned_round(ranked):
    """The same scores, stated to be better when lower: every correlation has the other sign, and the card says so."""
    from hf_leep.report.card import validation

    details = ranked.data["measure_details"]
    turned = {**details, "logme": {**details["logme"], "higher_is_better": False}}
    before = validate(ranked, progress=False).data
    after = validate(hf_leep.Report({**ranked.data, "measure_details": turned}), progress=False).data
    for key in ("pearson", "kendall"):
        assert before["validation"]["agreement"]["logme"][key] != 0
        assert after["validation"]["agreement"]["logme"][key] == -before["validation"]["agreement"]["logme"][key]
        assert after["validation"]["agreement"]["lfc"][key] == before["validation"]["agreement"]["lfc"][key]
    assert "count with the opposite sign" in validation.method(after)
    assert "count with the opposite sign" not in validation.method(before)


def test_the_first_two_alone(ranked):
    found = validate(ranked, top=2, progress=False).data["validation"]
    assert (found["top"], found["num_ranked"], len(found["candidates"])) == (2, 3, 2)
    with pytest.raises(UserError, match="^top is 1"):
        validate(ranked, top=1)
    with pytest.raises(UserError, match="^top is 'x'; it must be a whole number of at least 2"):
        validate(ranked, top="x")
    with pytest.raises(UserError, match=r"^cannot read nowhere/report.json: No such file"):
        validate("nowhere")
    with pytest.raises(UserError, match="unknown dtype 'float64': float32, bfloat16, float16"):
        validate(ranked, dtype="float64")


def test_more_than_there_are_is_said_and_a_perfect_order_has_no_interval(ranked):
    from hf_leep.report.card import validation

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
    assert "## Does accuracy follow the order?" in page
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


def test_pairs_count_for_the_order_or_against_it(ranked):
    """The most accurate is ahead of both others beyond 1.96 paired errors; these cannot be told apart."""

    def with_places(*order):
        candidates = [{**ranked.candidates[k], "rank": i, "tie_group": i} for i, k in enumerate(order, 1)]
        return hf_leep.Report({**ranked.data, "candidates": candidates})

    found = validate(with_places(0, 1, 2), progress=False).data["validation"]
    ahead = [one["behind_best"] for one in found["candidates"][1:]]
    assert all(gap["value"] > 1.96 * gap["standard_error"] > 0 for gap in ahead)
    assert found["pairs"] == {"told_apart": 3, "confirmed": 2, "contradicted": 0, "open": 1}
    found = validate(with_places(2, 1, 0), progress=False).data["validation"]
    assert found["pairs"] == {"told_apart": 3, "confirmed": 0, "contradicted": 2, "open": 1}


def test_words_of_a_sample_of_sentences_are_judged_by_sentence(token_checkpoints, tagged):
    paths = [str(token_checkpoints[name]) for name in ("bert", "roberta")]
    report = hf_leep.rank(paths, tagged, max_samples=25, seed=4, progress=False)
    found = validate(report, dataset=tagged, progress=False).data["validation"]
    assert found["agreement"]["leep"]["num_candidates"] == 2
    for one in found["candidates"]:
        a, n = one["accuracy"]["value"], report.data["target"]["num_examples"]
        assert one["accuracy"]["standard_error"] > 0
        assert one["accuracy"]["standard_error"] != pytest.approx((a * (1 - a) / (n - 1)) ** 0.5, rel=1e-3)
