"""What a report says of its own certainty comes true: the short form of ``tests/benchmarks/certainty.py``."""

import pytest

from tests.benchmarks.certainty import SECTIONS, lines


@pytest.mark.parametrize("section", ["coverage", "ties", "settling", "opinion"])
def test_what_is_stated_comes_true(section):
    found = list(lines(section, quick=True))
    assert found
    assert [str(line) for line in found if not line.holds()] == []


def test_the_probability_of_being_best_comes_true_where_gaps_are_as_large_as_errors():
    found = [line for line in lines("best", quick=True) if "1 error" in line.what]
    assert found
    assert [str(line) for line in found if not line.holds()] == []


def test_each_section_is_told_in_the_docs(request):
    page = (request.config.rootpath / "docs" / "certainty.md").read_text(encoding="utf-8")
    assert all(f"`{section}`" in page for section in SECTIONS)
