"""Explanations on a card and in a terminal."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from hf_leep.report.card.explanation import best_and_worst_rows, clipped, share, terminal, where, why_unexplained
from hf_leep.report.card.page import page
from tests.report.conftest import measure


def shown(report, which=0, width=100, everything=False):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal(report, report["candidates"][which], everything), crop=False)
    return console.file.getvalue()


def test_a_terminal_shows_classes_and_rows(report):
    text = shown(report)
    flat = " ".join(text.split())
    assert text.startswith("big/resnet, number 1 of the ranking\n")
    assert "LEEP is −1.021 nats, and −0.971 at the best temperature, 1.41;" in flat
    assert "daisy 250 90 % 9.0 × daisy, Bellis perennis, a… 91 % (80 %), bee 4.0 % (80 %)" in flat
    assert "weed 258 9.1 % 0.9 × hay 31 % (80 %), rapeseed 20 % (80 %), broom 5.0 % (80 %)" in flat
    assert "41234 weed 0.01 % daisy 97 % daisy, Bellis perennis, a… 91 %" in flat
    assert "daisy, Bellis perennis, a… 21 % daisy 80 %, flower 1 3.1 %" in flat
    assert "plant 10 5.0 % flower 10 50 % … 988 that are used less …" in flat  # 16 of 1,000, 12 shown
    assert "--all shows every class" in flat
    assert text.count("tulip") == 8


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(report, width):
    assert max(map(cell_len, shown(report, width=width).splitlines())) <= width


def test_between_the_best_and_the_worst_classes_stands_how_many_are_not_shown(report):
    found = report["candidates"][0]["explanation"]
    rows = best_and_worst_rows(found, 4, str)
    assert len(rows) == 9
    assert rows[4][0] == "… 2 more …"
    assert [rows[0][0], rows[-1][0]] == ["daisy", "weed"]
    assert len(best_and_worst_rows(found, 5, str)) == 10
    found["num_left_out"] = 90
    assert best_and_worst_rows(found, 5, str)[5][0] == "… 90 more …"
    assert best_and_worst_rows(found, 4, str)[4][0] == "… 92 more …"


def test_source_classes_with_a_negligible_share_are_not_named(report):
    served = report["candidates"][0]["explanation"]["classes"][0]
    served["sources"][1]["weight"] = 0.0009
    assert "bee" not in shown(report)
    served["sources"] = served["sources"][1:]  # the first one is, whatever its share
    assert "bee 0.09 % (80 %)" in shown(report).replace("\xa0", " ")


def test_all_shows_every_class_that_the_report_holds(report):
    found = report["candidates"][0]["explanation"]
    found["classes"] = [{**found["classes"][0], "name": f"rose {k}"} for k in range(40)]
    few, everything = shown(report), shown(report, everything=True)
    assert (few.count("rose "), everything.count("rose ")) == (24 + 8, 40 + 8)  # of the hard rows 8
    assert "… 16 more …" in few
    assert "more …" not in everything
    assert "plant 14  " in everything
    assert "plant 14  " not in few
    assert "… 984 that are used less …" in everything
    assert "--all" not in everything


def test_the_reason_why_a_candidate_has_no_explanation_is_the_true_one(report):
    headless, broken, stopped, failed = report["candidates"]
    for candidate in report["candidates"]:
        candidate.update(explanation=None, stopped=None)
    report["measure_details"]["logme"] = measure("logme")
    headless.update(num_source_classes=None, scores={"logme": {"reason": "no features"}})
    assert why_unexplained(report, headless) == "it has no head, so it makes no predictions that could be explained"
    headless["scores"]["leep"] = {"reason": "no trained classification head"}
    assert why_unexplained(report, headless) == "no trained classification head"
    assert why_unexplained(report, broken) == "its predictions are not probabilities"
    stopped.update(num_examples=1313, stopped={"behind": None})
    assert why_unexplained(report, stopped) == (
        "the run was interrupted after 1,313 images; run the same command again to continue it"
    )
    assert why_unexplained(report, failed) == failed["reason"]
    with pytest.raises(ValueError, match="its predictions are not probabilities"):
        terminal(report, broken)


def test_the_card_explains_the_best_candidate_that_can_be_and_says_so(report):
    first, second, _, _ = report["candidates"]
    first.update(explanation=None, num_source_classes=None)
    section = page(report).split("<summary>Why small/resnet</summary>\n\n")[1]
    assert section.startswith(
        "`big/resnet` comes first, but has no explanation: it has no head, so it makes no predictions that could be "
        "explained. "
        "Number 2 is the best candidate with an explanation.\n"
    )
    assert "comes first, but" not in shown(report, 1)
    second.update(stopped={"behind": "big/resnet", "gap": 0.5, "margin": 0.1}, num_examples=313)
    assert "It did not run all images: all of this is about the 313 images that it ran.\n" in page(report)
    assert "It did not run all images: all of this is about the 313 images that it ran." in shown(report, 1)


def test_a_temperature_at_the_end_of_what_was_tried_is_marked(report):
    calibration = report["candidates"][0]["calibration"]
    calibration.update(temperature=2.0)
    assert "at the best temperature, ≥ 2;" in shown(report)
    calibration.update(temperature=0.5)
    assert "at the best temperature, ≤ 0.5;" in shown(report)
    assert "| `big/resnet` | −1.021 | ≤ 0.5 | −0.971 |" in page(report)


def test_predictions_without_information_are_not_explained(report):
    for candidate in report["candidates"][:3]:
        candidate["explanation"] = {**candidate["explanation"], "prior_weight": None}
    words = (
        "There is nothing to explain: its predictions say no more about these labels than the class frequencies do."
    )
    assert words in " ".join(shown(report).split())
    section = page(report).split("<summary>Why big/resnet</summary>\n\n")[1]
    assert section.startswith(words)
    assert "predicted by" not in section


def test_names_cannot_control_the_terminal(report):
    for candidate in report["candidates"][:3]:
        candidate["id"] += "\x1b[2J[bold red]\r\n"
        for served in candidate["explanation"]["classes"]:
            served["name"] += "\x1b[2J[bold red]\n"
            served["sources"][0]["name"] = "\x1b]0;title\x07[red]"
        for used in candidate["explanation"]["source_classes"]:
            used["name"] = used["targets"][0]["name"] = "\x1b]0;title\x07[red]"
        for example in candidate["explanation"]["examples"]:
            example.update(label="\x1b[2J[red]", likely="\x1b[2J", source="\x07")
    text = shown(report)
    assert not {"\x1b", "\x07", "\r"} & set(text)
    assert "[bold red]" in text.replace("\n", "")


def test_a_word_is_found_by_its_sentence_and_place():
    assert where({"row": 17, "word": None}) == "17"
    assert where({"row": 17, "word": 0}) == "17, word 0"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "100 %"), (0.123, "12 %"), (0.0312, "3.1 %"), (0.0005, "0.05 %"), (1e-5, "0.001 %"), (1e-9, "< 0.001 %")],
)
def test_probabilities(value, text):
    assert share(value).replace("\xa0", " ") == text


def test_long_names_are_clipped():
    assert clipped("a" * 26) == "a" * 26
    assert clipped("killer whale, killer, orca, grampus") == "killer whale, killer, orc…"
