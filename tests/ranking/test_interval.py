import pytest

from hf_leep.measures import MEASURES
from hf_leep.ranking.interval import interval


def test_reaches_further_to_the_side_that_unseen_errors_are_on():
    low, high = interval(MEASURES["leep"], -0.5, 0.05, 0.0016, 0)  # 0.03 of the error is from these examples
    assert (low, high) == (pytest.approx(-0.5 - 1.96 * 0.05, abs=1e-5), pytest.approx(-0.5 + 1.96 * 0.03, abs=1e-5))
    low, high = interval(MEASURES["ridge"], 0.9, 0.05, 0.0016, 0)
    assert (low, high) == (pytest.approx(0.9 - 1.96 * 0.05, abs=1e-5), pytest.approx(0.9 + 1.96 * 0.03, abs=1e-5))
    low, high = interval(MEASURES["ridge"], 0.1, 0.05, 0.0016, 0)
    assert (low, high) == (pytest.approx(0.1 - 1.96 * 0.03, abs=1e-5), pytest.approx(0.1 + 1.96 * 0.05, abs=1e-5))


def test_stays_in_the_range_of_the_score():
    assert interval(MEASURES["leep"], -0.01, 0.05, 0.0, 0)[1] == 0
    assert interval(MEASURES["knn"], 0.99, 0.05, 0.0, 10)[1] == 1
    assert interval(MEASURES["knn"], 0.01, 0.05, 0.0, 10)[0] == 0
    assert interval(MEASURES["h-score"], 0.01, 0.05, 0.0, 0) == (
        pytest.approx(0.01 - 0.098, abs=1e-5),
        pytest.approx(0.01 + 0.098, abs=1e-5),
    )
