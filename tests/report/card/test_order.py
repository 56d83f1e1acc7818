"""Whether the order holds: sentences and tables of a card."""

import pytest

from hf_leep.report.card.order import (
    agreement_table,
    auto_sentence,
    band_rows,
    baseline_note,
    baseline_sentence,
    calibration_rows,
    calibration_sentence,
    consensus,
    consensus_note,
    signed,
    size_sentence,
)
from hf_leep.report.card.page import page
from tests.report.card.test_table import shown
from tests.report.conftest import measure


@pytest.fixture
def voted(report):
    """The report with a second independent measure, and a consensus that puts the second candidate first."""
    measures = ["leep", "leave-one-out-leep", "logme"]
    report["measures"] = measures
    report["consensus"] = {"measures": ["leave-one-out-leep", "logme"]}
    report["agreement"] = [
        {"measures": measures[:2], "kendall": 1 / 3, "num_candidates": 3},
        {"measures": [measures[0], measures[2]], "kendall": -0.5, "num_candidates": 4},
        {"measures": measures[1:], "kendall": None, "num_candidates": 2},
    ]
    report["measure_details"]["logme"] = measure("logme")
    score = {"value": 0.4, "standard_error": None, "half_width": None, "warnings": [], "reason": None}
    for candidate, rank in zip(report["candidates"], (2, 1, 2, 4), strict=True):
        candidate["consensus"] = {"rank": rank, "won": 0, "lost": 0}
        if candidate["scores"]:
            candidate["scores"]["logme"] = score
    return report


def test_a_consensus_is_an_order_with_ties(voted):
    found = consensus(voted, str)
    assert found["measures"] == "leave-one-out LEEP and LogME"
    assert found["order"] == "1 small/resnet · 2 big/resnet, weak/resnet · 4 base/bert"
    assert f"The consensus of {found['measures']}: 1 `small/resnet` · 2 `big/resnet`, `weak/resnet`" in page(voted)
    assert consensus_note(voted, str) == (
        "By the consensus of leave-one-out LEEP and LogME, small/resnet would come first."
    )
    voted["candidates"][0]["consensus"]["rank"] = 1
    assert consensus_note(voted, str) is None


def test_related_measures_alone_have_no_consensus(report):
    assert consensus(report, str) is consensus_note(report, str) is None
    assert "consensus" not in page(report)


def test_agreement_is_a_triangle_with_dashes_for_too_few(voted):
    assert agreement_table(voted) == [
        ["", "LEEP", "leave-one-out LEEP"],
        ["leave-one-out LEEP", "+0.33", ""],
        ["LogME", "−0.50", "–"],
    ]
    for pair in voted["agreement"]:
        pair["num_candidates"] = 2
    assert agreement_table(voted) is None
    assert "Kendall" not in page(voted)
    assert "The consensus of" in page(voted)


def test_many_measures_are_compared_with_the_one_that_makes_the_order(report):
    measures = ["nce", "leep", "leave-one-out-leep", "logme", "h-score"] * 2
    report["measures"] = measures[:7]
    report["measure_details"] = {name: measure(name) for name in measures}
    report["agreement"] = [
        {"measures": [a, "leep"], "kendall": 1.0, "num_candidates": 9} for a in dict.fromkeys(measures) if a != "leep"
    ]
    table = agreement_table(report)
    assert table[0] == ["", "LEEP"]
    assert [row[0] for row in table[1:5]] == ["NCE", "leave-one-out LEEP", "LogME", "H-score"]


def test_scores_are_shown_before_and_after_calibration(report):
    assert calibration_rows(report, str)[0] == ["big/resnet", "−1.021", "1.41", "−0.971", "0.35"]
    assert len(calibration_rows(report, str)) == 3  # the ranked ones
    assert "reverses the order of 1 of 3 pairs." in calibration_sentence(report)
    report["calibration"]["num_reordered"] = 0
    assert "stays the same" in calibration_sentence(report)
    report["calibration"] = {"num_pairs": 1, "num_reordered": 1}
    assert "reverses the order of 1 of 1 pair." in calibration_sentence(report)


def test_bands_name_the_best_of_each_size(report):
    assert band_rows(report, str) == [
        ["below 10M", "1", "small/resnet", "2", "−0.830"],
        ["10M to 100M", "2", "big/resnet", "1", "−0.812"],
    ]
    report["size"]["bands"].pop()
    assert band_rows(report, str) == []  # the ranking says it
    report["size"]["bands"] = [
        {"from": 10**9, "below": None, "num_candidates": 1, "best": {"rank": 1}},
        {"from": 10**8, "below": 10**9, "num_candidates": 1, "best": {"rank": 2}},
    ]
    assert [row[0] for row in band_rows(report, str)] == ["1B or more", "100M to 1B"]


@pytest.mark.parametrize(
    ("tau", "number", "words"),
    [
        (0.9, 8, "τ = +0.90 over 8 candidates: the order is much like one by size."),
        (0.4, 8, "larger candidates tend to score better."),
        (0.0, 8, "τ = +0.00 over 8 candidates: the order has little to do with size."),
        (-0.5, 8, "smaller candidates tend to score better."),
        (1.0, 3, "over 3 candidates, too few to say more."),
    ],
)
def test_an_order_by_size_is_called_one(report, tau, number, words):
    report["size"].update(kendall=tau, num_candidates=number)
    assert size_sentence(report).endswith(words)
    assert size_sentence(report) in page(report)


def test_too_few_sizes_say_nothing(report):
    report["size"]["num_candidates"] = 2
    assert size_sentence(report) is None
    report["size"].update(num_candidates=9, kendall=None)
    assert size_sentence(report) is None
    assert signed(None) == "–"


def test_an_order_like_one_that_does_not_depend_on_the_labels_is_called_that(report):
    assert baseline_sentence(report) == "Score and downloads: τ = +0.33 over 3 candidates, too few to say more."
    assert baseline_note(report) is None
    for baseline in report["baselines"]:
        baseline.update(kendall=0.8, num_candidates=6)
    report["baselines"][2]["kendall"] = -0.9
    assert "Score and downloads: τ = +0.80 over 6 candidates. Score and source classes: τ" in baseline_sentence(report)
    words = (
        "The order is much like one by parameters (τ = +0.80) and by downloads (τ = +0.80), which do not depend on "
        "the labels."
    )
    assert baseline_note(report) == words
    assert words in page(report)
    assert words in " ".join(shown(report).split())
    report["baselines"][0]["num_candidates"] = report["baselines"][1]["num_candidates"] = 5  # too few
    assert baseline_note(report) is None
    report["baselines"] = []
    assert baseline_sentence(report) is None


@pytest.mark.parametrize(("num_headless", "words"), [
    (0, "with and without a trained head."),
    (1, "1 candidate has no trained head, so the measures that need one have no score for it."),
    (3, "3 candidates have no trained head"),
])  # fmt: skip
def test_an_order_left_to_hf_leep_says_by_what_it_is(report, num_headless, words):
    report["measure_details"]["ridge-log-likelihood"] = measure("ridge-log-likelihood")
    report["auto"], report["sort_by"] = {"num_headless": num_headless}, "ridge-log-likelihood"
    assert "The order is by ridge log-likelihood" in auto_sentence(report)
    assert words in auto_sentence(report)
    assert "docs/" not in auto_sentence(report)  # a reader of the card does not have these files
    for candidate in report["candidates"]:
        candidate["rank"] = None
    assert auto_sentence(report) is None  # without an order


def test_an_order_that_was_asked_for_is_not_explained(report):
    assert auto_sentence(report) is None
