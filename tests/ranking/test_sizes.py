import pytest

from hf_leep.ranking.ordering import rank
from hf_leep.ranking.sizes import sizes
from hf_leep.records import Candidate, Result, Score
from tests.ranking.test_correlation import naive_tau

SIZES = [5_000_000, 86_000_000, 300_000_000, 9_999_999, 10_000_000, None, 3 * 10**9, 10**8]
SCORES = [0.3, 0.9, 0.8, 0.5, 0.2, 1.0, 0.7, 0.1]


def results():
    pool = [
        Result(Candidate(str(k), num_parameters=n), {"logme": Score(v)})
        for k, (n, v) in enumerate(zip(SIZES, SCORES, strict=True))
    ]
    return [*pool, Result(Candidate("failed", num_parameters=1), reason="no")]


def test_each_band_names_its_best():
    pool = results()
    found = sizes(pool, rank(pool, "logme"))
    assert [(b.low, b.high, b.num_candidates, b.best) for b in found.bands] == [
        (0, 10**7, 2, 3),
        (10**7, 10**8, 2, 1),
        (10**8, 10**9, 2, 2),
        (10**9, None, 1, 6),
    ]
    assert found.num_unknown == 1


def test_the_order_beside_that_by_size():
    pool = results()
    found = sizes(pool, rank(pool, "logme"))
    known = [(v, n) for v, n in zip(SCORES, SIZES, strict=True) if n]
    assert found.num_candidates == 7
    assert found.kendall == pytest.approx(naive_tau(*zip(*known, strict=True)))


def test_nothing_ranked_has_no_bands():
    found = sizes(results()[-1:], rank(results()[-1:], "logme"))
    assert (found.bands, found.num_unknown, found.kendall, found.num_candidates) == ((), 0, None, 0)
