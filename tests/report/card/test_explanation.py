"""Explanations on a card and in a terminal."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from hf_leep.report.card.explanation import clipped, explained, served_rows, share, source_rows, unexplained, where
from hf_leep.report.card.page import page


def shown(report, which=0, width=100, everything=False):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(explained(report, report["candidates"][which], everything), crop=False)
    return console.file.getvalue()


def test_a_terminal_shows_classes_and_rows(report):
    text = shown(report)
    flat = " ".join(text.split())
    assert text.startswith("big/resnet, number 1 of the ranking\n")
    assert "LEEP −1.021 nats; −0.971 at temperature 1.41, the best for it" in flat
    assert "daisy 250 90 % 9.0 × daisy, Bellis perennis, a… 91 % (80 %), bee 4.0 % (80 %)" in flat
    assert "weed 258 9.1 % 0.9 × hay 31 % (80 %), rapeseed 20 % (80 %), broom 5.0 % (80 %)" in flat
    assert "41234 weed 0.01 % daisy 97 % daisy, Bellis perennis, a… 91 %" in flat
    assert "daisy, Bellis perennis, a… 21 % daisy 80 %, flower 1 3.1 %" in flat
    assert "plant 10 5.0 % flower 10 50 % … 988 less used …" in flat  # 16 of 1,000, 12 shown
    assert "--all shows every class" in flat
    assert text.count("tulip") == 8


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(report, width):
    assert max(map(cell_len, shown(report, width=width).splitlines())) <= width


def test_the_best_and_the_worst_are_parted_by_how_many_are_between(report):
    found = report["candidates"][0]["explanation"]
    rows = served_rows(found, 4, str)
    assert len(rows) == 9
    assert rows[4][0] == "… 2 between …"
    assert [rows[0][0], rows[-1][0]] == ["daisy", "weed"]
    assert len(served_rows(found, 5, str)) == 10
    found["num_left_out"] = 90
    assert served_rows(found, 5, str)[5][0] == "… 90 between …"
    assert served_rows(found, 4, str)[4][0] == "… 92 between …"


def test_source_classes_without_a_part_worth_a_word_are_not_named(report):
    served = report["candidates"][0]["explanation"]["classes"][0]
    served["sources"][1]["weight"] = 0.0009
    assert "bee" not in shown(report)
    served["sources"] = served["sources"][1:]  # the first one is, whatever its part
    assert "bee 0.09 % (80 %)" in shown(report).replace("\xa0", " ")


def test_all_shows_every_class_that_the_report_holds(report):
    found = report["candidates"][0]["explanation"]
    found["classes"] = [{**found["classes"][0], "name": f"rose {k}"} for k in range(40)]
    few, everything = shown(report), shown(report, everything=True)
    assert (few.count("rose "), everything.count("rose ")) == (24 + 8, 40 + 8)  # of the hard rows 8
    assert "… 16 between …" in few
    assert "between" not in everything
    assert "plant 14  " in everything
    assert "plant 14  " not in few
    assert "… 984 less used …" in everything
    assert "--all" not in everything


def test_a_report_from_before_source_classes_is_explained_without_them(report):
    for candidate in report["candidates"][:3]:
        for key in ("source_classes", "num_sources_left_out"):
            del candidate["explanation"][key]
    assert source_rows(report["candidates"][0]["explanation"], 6, str) == []
    assert "most used" not in shown(report)
    assert "| its class |" not in page(report)


def test_the_reason_why_nothing_explains_a_candidate_is_the_true_one(report):
    headless, broken, stopped, failed = report["candidates"]
    for candidate in report["candidates"]:
        candidate.update(explanation=None, stopped=None)
    headless.update(num_source_classes=None, scores={"logme": {"reason": None}})
    assert unexplained(report, headless) == "it has no head, so no predictions to explain"
    headless["scores"]["leep"] = {"reason": "no trained classification head"}
    assert unexplained(report, headless) == "no trained classification head"
    assert unexplained(report, broken) == "its predictions are no probabilities"
    stopped.update(num_examples=1313, stopped={"behind": "big/resnet"})
    assert unexplained(report, stopped) == "stopped in the race after 1,313 rows: rank it again to see why"
    stopped["stopped"]["behind"] = None
    assert "broken off when it had run 1,313 rows" in unexplained(report, stopped)
    assert unexplained(report, failed) == failed["reason"]
    del broken["explanation"]
    assert "older hf_leep" in unexplained(report, broken)


def test_the_card_explains_the_best_candidate_that_can_be_and_says_so(report):
    first, second, _, _ = report["candidates"]
    first.update(explanation=None, num_source_classes=None)
    section = page(report).split("## Why `small/resnet`\n\n")[1]
    assert section.startswith(
        "`big/resnet` comes first, but nothing explains it: it has no head, so no predictions to explain. "
        "Number 2 is the best candidate with an explanation.\n"
    )
    assert "comes first, but" not in shown(report, 1)
    second.update(stopped={"behind": "big/resnet", "gap": 0.5, "margin": 0.1}, num_examples=313)
    assert "All of this is of the 313 rows that it ran in the race.\n" in page(report)
    assert "It was stopped in the race: all of this is of the 313 rows that it ran." in shown(report, 1)


def test_a_temperature_at_the_end_of_what_was_tried_is_marked(report):
    calibration = report["candidates"][0]["calibration"]
    calibration.update(temperature=2.0)
    assert "at temperature ≥ 2, the best" in shown(report)
    calibration.update(temperature=0.5)
    assert "at temperature ≤ 0.5, the best" in shown(report)
    assert "| `big/resnet` | −1.021 | ≤ 0.5 | −0.971 |" in page(report)


def test_predictions_that_say_nothing_are_not_explained(report):
    for candidate in report["candidates"][:3]:
        candidate["explanation"] = {"prior_weight": None, "classes": [], "num_left_out": 0, "examples": []}
    words = "its predictions tell no more about these labels than the class frequencies do"
    assert words in " ".join(shown(report).split())
    section = page(report).split("## Why `big/resnet`\n\n")[1]
    assert section.startswith(f"There is no reason to give: {words}")
    assert "told by" not in section


def test_names_of_strangers_do_nothing_to_the_terminal(report):
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
