"""What report.html shows below the ranking: all that report.json has, in the words of the card."""

import re

import pytest

from hf_leep.report.html import interactive
from hf_leep.report.html.sections import sections
from hf_leep.report.validator import check
from tests.page.__main__ import whole, with_heads
from tests.report.card.test_fine_tuning import IDS, row, with_rows
from tests.report.html.test_page import HOSTILE, Page, embedded


@pytest.fixture
def everything():
    """A report with a race, trained heads and fine-tuning."""
    return whole().data


def by_anchor(data):
    return {section.anchor: section for section in sections(data)}


def text(data):
    return " ".join("".join(Page(interactive(data)).text).split())


def test_a_report_without_them_has_no_sections_of_them(report):
    assert set(by_anchor(report)) == {"order"}
    report["candidates"] = report["candidates"][3:]
    assert sections(report) == []


def test_the_report_of_these_tests_is_valid(everything):
    check(everything)


def test_results_are_those_of_report_json(everything):
    found = by_anchor(everything)
    assert list(found) == ["fine-tuned", "trained-heads", "race", "order"]
    shortlist, agreement = found["fine-tuned"].tables
    assert shortlist.rows[0][:4] == ["1", "big/resnet", "90.0 ± 1.2", "–"]
    assert agreement.rows == [["LEEP", "3", "−0.90", "−1.00"]]
    heads, _ = found["trained-heads"].tables
    assert [cells[:5] for cells in heads.rows] == [
        ["1", "a", "big/resnet", "−0.812", "80.0 ± 1.0"],
        ["2", "a", "small/resnet", "−0.830", "82.0 ± 1.0"],
    ]
    assert found["trained-heads"].remarks == [("weak/resnet", "out of memory")]
    assert found["race"].tables[0].rows[2] == ["weak/resnet", "313", "behind small/resnet by 0.731 ± 0.120"]


def test_each_table_has_a_heading_for_each_column_and_the_page_has_all_of_it(everything):
    shown = text(everything)
    for section in sections(everything):
        assert section.title in shown
        for sentence in section.sentences:
            assert " ".join(sentence.split()) in shown
        for table in section.tables:
            assert {len(cells) for cells in table.rows} == {len(table.headings)}
            assert all(cell in shown for cells in table.rows for cell in cells)


def test_a_second_opinion_and_the_race_are_in_the_first_sentences(everything):
    everything["second_opinion"] |= {"verdict": "contradicted", "gap": 0.1, "half_width": 0.02}
    shown = text(everything)
    assert "10.0 ± 2.0 points more accurate" in shown
    assert "The race took 71 % of the images of a full run." in shown


def test_the_details_of_a_candidate_say_what_became_of_it(everything):
    first, _, third = (dict(one["facts"]) for one in embedded(interactive(everything))["candidates"])
    assert (first["trained head, accuracy (%)"], first["fine-tuned"]) == ("80.0 ± 1.0", "number 1: 90.0 ± 1.2 %")
    assert "why it was stopped" not in first
    assert third["why it was stopped"] == "behind small/resnet by 0.731 ± 0.120"
    assert third["fine-tuned"] == "number 3"
    assert "trained head, accuracy (%)" not in third


def test_candidates_without_a_head_have_the_command_that_ranks_them(report):
    report["headless"] = {"count": 1, "command": "hf-leep rank --sort-by auto"}
    assert "hf-leep rank --sort-by auto" in text(report)
    assert "To rank all candidates by their features:" in text(report)


def test_hostile_names_are_text_there_too(report):
    ids = tuple(name + HOSTILE for name in IDS)
    for candidate, name in zip(report["candidates"], ids, strict=False):
        candidate["id"] = name
    data = with_heads(with_rows(report, row(0, 1, 0.9, (0.0, 0.0)), row(1, 2, 0.8, (0.1, 0.01))), ids)
    data["validation"]["candidates"][2]["reason"] = HOSTILE
    data["fine_tuning"]["candidates"] = [
        one | {"id": ids[k]} for k, one in enumerate(data["fine_tuning"]["candidates"])
    ]
    content = interactive(data)
    page = Page(content)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in page.tags]
    assert "\u202e" not in content.decode()
    assert len(re.findall("alert\\(1\\)", "".join(page.text))) > 8
    assert embedded(content)["candidates"]
