"""Explanations on a card and in a terminal."""

import io

import pytest
from rich.console import Console

from hf_leep.card.page import page
from hf_leep.card.why import clipped, explained, served_rows, share, where


def shown(report, which=0, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(explained(report, report["candidates"][which]), crop=False)
    return console.file.getvalue()


def test_a_terminal_shows_classes_and_rows(report):
    text = shown(report)
    flat = " ".join(text.split())
    assert text.startswith("big/resnet, number 1 of the ranking\n")
    assert "LEEP −1.021 nats; −0.971 at temperature 1.41, the best for it" in flat
    assert "daisy 250 90 % 9.0 × daisy, Bellis perennis, a… 91 %, bee 4.0 %" in flat
    assert "weed 258 9.1 % 0.9 × hay 31 %, rapeseed 20 %, broom 5.0 %" in flat
    assert "41234 weed 0.01 % daisy 97 % daisy, Bellis perennis, a… 91 %" in flat
    assert text.count("flower") == 8
    assert text.count("tulip") == 8


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(report, width):
    assert max(map(len, shown(report, width=width).splitlines())) <= width


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
