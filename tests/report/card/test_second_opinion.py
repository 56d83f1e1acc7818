"""What the card, the terminal and a notebook say about the accuracies of linear heads."""

import io

import pytest
from rich.console import Console

from hf_leep.report.card.page import page
from hf_leep.report.card.second_opinion import confirmation, contradiction
from hf_leep.report.card.table import notebook, terminal
from hf_leep.report.card.verdict import verdict
from hf_leep.text import code


def shown(report):
    """The card, the terminal's text on one line, and the notebook's HTML."""
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(terminal(report, 200))
    return [page(report), " ".join(console.file.getvalue().split()), notebook(report)]


def test_a_contradiction_is_the_first_sentence_with_numbers_and_a_name(report):
    report["second_opinion"] |= {"verdict": "contradicted", "gap": 0.08, "half_width": 0.014}
    first = verdict(report, str)[0]
    assert first == (
        "big/resnet is first by LEEP, but a linear head on the features of small/resnet is 8.0 ± 1.4 points more "
        "accurate. LEEP measures only how well the classes that big/resnet already knows predict yours. Fine-tune "
        "both to find out which is better: hf-leep validate --fine-tune."
    )
    card, text, html = shown(report)
    assert card.split("\n# ")[1].split("\n\n")[1].startswith(verdict(report, code)[0])
    assert first in text
    assert first.replace("'", "&#x27;") in html
    assert confirmation(report, str) is None


def test_a_measure_of_features_is_not_said_to_see_classes(report):
    report["second_opinion"] |= {"verdict": "contradicted", "gap": 0.08, "half_width": 0.014}
    report["measure_details"]["leep"]["needs"] = "features"
    assert contradiction(report, str).split(". Fine")[0].endswith("8.0 ± 1.4 points more accurate")


@pytest.mark.parametrize(
    ("verdict", "best", "words"),
    [
        (
            "agrees",
            "big/resnet",
            "Linear heads on the features of big/resnet and of small/resnet are equally accurate.",
        ),
        (
            "agrees",
            "small/resnet",
            "A linear head on the features of small/resnet is 1.1 ± 1.2 points more accurate than one on big/resnet, "
            "which may be chance.",
        ),
        (
            "too few rows",
            "small/resnet",
            "A linear head on the features of small/resnet is 1.1 ± 1.2 points more accurate than one on big/resnet. "
            "There are too few images to say whether that is chance.",
        ),
    ],
)
def test_agreement_and_too_few_rows_are_said_as_well(report, verdict, best, words):
    report["second_opinion"] |= {"verdict": verdict, "best": best}
    assert confirmation(report, str) == words
    assert contradiction(report, str) is None


def test_a_race_says_how_many_examples_the_heads_saw(report):
    report["second_opinion"] |= {"best": "big/resnet", "num_examples": 313}
    assert "are equally accurate on the 313 of 2,500 images that all candidates ran." in confirmation(report, str)


def test_a_lead_within_its_error_may_be_chance(report):
    report["second_opinion"] |= {"verdict": "agrees", "best": "big/resnet", "half_width": 0.012}
    for candidate, accuracy in zip(report["candidates"], (0.831, 0.82, 0.7), strict=False):
        candidate["head_accuracy"]["value"] = accuracy
    words = "A linear head on the features of big/resnet is also the most accurate, "
    assert (
        confirmation(report, str)
        == f"{words}but its lead of 1.1 ± 1.2 points over that of small/resnet may be chance."
    )
    report["candidates"][0]["head_accuracy"]["value"] = 0.833
    assert confirmation(report, str) == f"{words}1.3 ± 1.2 points ahead of that of small/resnet."


def test_a_candidate_without_a_head_shows_the_accuracy_of_a_linear_one(report):
    headless = next(candidate for candidate in report["candidates"] if candidate["rank"] is None)
    headless["head_accuracy"] = {**report["candidates"][0]["head_accuracy"], "value": 0.9, "interval": [0.885, 0.915]}
    for text in shown(report):
        assert "(a linear head on its features: 90.0 ± 1.5 %)" in text
    headless["head_accuracy"] |= {"value": 0.99, "half_width": 0.02, "interval": [0.97, 1.0]}
    for text in shown(report):
        assert "(a linear head on its features: 99.0 % (97.0 to 100.0))" in text


def test_the_table_has_a_column_only_if_some_accuracy_is_known(report):
    assert all(
        cell in text
        for cell, text in zip(("83.1 ±\u00a01.5\u00a0%", "83.1 %", "83.1 ± 1.5 %"), shown(report), strict=True)
    )
    for candidate in report["candidates"]:
        candidate["head_accuracy"] = None
    report["second_opinion"] = None
    assert not any("inear head" in text for text in shown(report))


def test_calibration_that_changes_the_first_place_is_in_the_verdict(report):
    first, second, last = report["candidates"][:3]
    assert not any("calibrated" in sentence for sentence in verdict(report, str))
    curve = {"temperature": 2.0, "spread": 0.4, "curve": [[1.0, -1.0]], "num_examples": 100}
    for candidate, value in ((first, -1.0), (second, -1.1), (last, -0.9)):
        candidate["calibration"] = {**curve, "as_is": -1.2, "value": value}
    assert (
        "If all predictions were calibrated, weak/resnet would be first: its leave-one-out LEEP would be −0.900, and "
        "that of big/resnet −1.000."
    ) in verdict(report, str)
