import io

import pytest
from rich.console import Console

from hf_leep.report.card import page, plots
from hf_leep.report.card.race import gap_sentence, race_rows, race_sentence
from hf_leep.report.card.table import notebook, terminal
from hf_leep.report.card.wording import chance


@pytest.fixture
def raced(report):
    looks = {"looks": [313, 625, 1250, 2500], "num_examples_run": 5313, "num_examples_of_all": 7500}
    report["race"] = {"confidence": 0.95, "top": 1, "decided_by": "leave-one-out-leep", "level": 0.0083, **looks}
    report["candidates"][2]["probability_best"] = None
    for candidate, num_examples in zip(report["candidates"], (2500, 2500, 313, None), strict=True):
        candidate |= {"num_examples": num_examples, "stopped": None}
    report["candidates"][2]["stopped"] = {"look": 0, "behind": "small/resnet", "gap": 0.731, "margin": 0.12}
    return report


def test_card_terminal_and_notebook_say_how_much_each_ran_and_why_it_stopped(raced):
    said = "1 of 3 candidates was clearly behind in leave-one-out LEEP and stopped before running all 2,500 images"
    why = "behind small/resnet by 0.731 ± 0.120"
    written = page(raced)
    assert said in written
    assert "| `weak/resnet` | 313 | behind `small/resnet` by 0.731 ± 0.120 |" in written
    assert "The race took 71 % of the images of a full run." in written
    assert "| candidate | images | why it stopped (leave-one-out LEEP, ± at the race's level) |" in written
    assert "Only the 2 candidates that ran all images are compared." in written
    named = (
        "Candidates are stopped by their gap in leave-one-out LEEP, on the images that both candidates ran. Its ± is "
        "at the level of the race, so it is wider than at 95 %."
    )
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(terminal(raced, 120), crop=False)
    text = " ".join(console.file.getvalue().split())
    assert said in text
    assert f"■ weak/resnet stopped after 313 images – {why}" in text
    assert named in text
    html = notebook(raced)
    assert "<th>images run</th>" in html
    assert f"■ weak/resnet stopped after 313 images – {why}" in html
    assert "± is at the level of the race" in html
    assert plots.draw(raced)["plots/scores.png"].startswith(b"\x89PNG")


def test_a_race_that_stopped_none_says_so(raced):
    raced["candidates"][2]["stopped"] = None
    assert " None of 3 candidates was clearly behind in leave-one-out LEEP and stopped" in race_sentence(raced)


def test_the_only_one_that_ran_all_rows_is_not_said_to_be_the_best_of_them(raced):
    raced["candidates"][1]["probability_best"] = None
    raced["candidates"][0]["probability_best"] = 1.0
    assert chance(raced, raced["candidates"][0]) == "–"
    assert "99\u00a0%" not in page(raced) + notebook(raced)
    assert "the best by" not in page(raced)
    assert "Fewer than two candidates ran all images, so there is nothing to compare." in page(raced)


def test_candidates_in_the_race_when_the_run_was_interrupted_are_counted(raced):
    for candidate in raced["candidates"][:2]:
        candidate["stopped"] = {"look": 1, "behind": None, "gap": None, "margin": None}
    assert "The run was interrupted while 2 candidates were still in the race." in race_sentence(raced)
    assert race_rows(raced, str)[0] == ["big/resnet", "2,500", "the run was interrupted"]
    assert gap_sentence(raced)
    raced["candidates"][2]["stopped"] = None
    assert gap_sentence(raced) is None


def test_without_a_race_the_page_does_not_mention_one(report):
    assert race_sentence(report) is None
    assert race_rows(report, str) == []
    assert "race" not in page(report)


def test_a_race_for_as_many_as_there_are_decides_nothing(raced):
    raced["race"]["top"] = 3
    raced["candidates"][2]["stopped"] = None
    assert race_sentence(raced) == (
        "The race for the best 3 candidates of 3 had nothing to decide: every candidate ran all 2,500 images."
    )
