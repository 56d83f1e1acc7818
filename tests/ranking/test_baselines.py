import pytest
from scipy.stats import kendalltau

from hf_leep.ranking.baselines import baselines
from hf_leep.ranking.ordering import rank
from hf_leep.records import Candidate, Result, Score


def pool(rng, **columns):
    """Ten candidates with LogME scores, and with what else is told of them."""
    scores = rng.permutation(10) / 10
    size, popular, wide = (columns.get(name, [None] * 10) for name in ("num_parameters", "downloads", "wide"))
    return [
        Result(
            Candidate(str(k), num_parameters=size[k], downloads=popular[k]),
            {"logme": Score(float(scores[k])), "stable-rank": Score(float(k))},
            num_source_classes=wide[k],
        )
        for k in range(10)
    ], scores


def test_each_is_compared_where_it_is_known(rng):
    size = [int(10 ** (6 + k % 4)) for k in range(10)]
    popular = [None, 5, None, *(int(v) for v in rng.permutation(7))]
    results, scores = pool(rng, num_parameters=size, downloads=popular)
    found = {baseline.name: baseline for baseline in baselines(results, rank(results, "logme"))}
    assert list(found) == ["parameters", "downloads", "stable rank"]  # no heads, so no source classes
    assert found["parameters"].kendall == pytest.approx(kendalltau(scores, size).statistic)
    known = [k for k in range(10) if popular[k] is not None]
    expected = kendalltau(scores[known], [popular[k] for k in known]).statistic
    assert (found["downloads"].kendall, found["downloads"].num_candidates) == (pytest.approx(expected), 8)
    assert found["stable rank"].kendall == pytest.approx(kendalltau(scores, range(10)).statistic)


def test_heads_of_one_width_give_no_order(rng):
    results, _ = pool(rng, wide=[1000] * 10)
    found = {baseline.name: baseline for baseline in baselines(results, rank(results, "stable-rank"))}
    assert list(found) == ["source classes"]  # and an order by stable rank is not compared with itself
    assert found["source classes"].kendall is None


def test_an_order_by_size_is_found_out():
    results = [Result(Candidate(str(k), num_parameters=10**k), {"logme": Score(k**2 / 7)}) for k in (3, 1, 5, 2)]
    (size,) = baselines(results, rank(results, "logme"))
    assert (size.name, size.kendall, size.num_candidates) == ("parameters", 1.0, 4)


def test_nothing_ranked_has_none():
    results = [Result(Candidate("failed", num_parameters=1), reason="no")]
    assert baselines(results, rank(results, "logme")) == ()


def test_stated_accuracy_is_a_baseline_where_cards_state_it():
    stated = [0.7, None, 0.9, 0.8]
    results = [
        Result(Candidate(str(k), stated_accuracy=value), {"logme": Score(k / 7)}) for k, value in enumerate(stated)
    ]
    (found,) = baselines(results, rank(results, "logme"))
    assert (found.name, found.num_candidates) == ("stated accuracy", 3)
    assert found.kendall == pytest.approx(kendalltau([0, 2, 3], [0.7, 0.9, 0.8]).statistic)
