import numpy as np
import pytest

from hf_leep.measures import MEASURES
from hf_leep.measures.leep import influence
from hf_leep.ranking.ordering import paired_differences, rank
from hf_leep.ranking.scoring import score, with_checks
from hf_leep.records import Candidate, Result, Score
from tests.ranking.extractions import extraction, signal, softmax
from tests.strategies import population

MEASURED = with_checks(["leep"])


def ranked(candidates, y, sort_by="leep"):
    results = [score(extraction(name, p, y), with_checks([sort_by])) for name, p in candidates.items()]
    ranking = rank(results, sort_by)
    names = list(candidates)
    return ranking, {names[place.index]: place for place in ranking.ranked}


def test_orders_by_score_and_tells_clear_differences_apart(rng):
    y = np.arange(600) % 6
    ranking, places = ranked({f"at {k}": signal(rng, y, 6, k) for k in (1, 5, 3)}, y)
    assert [p.rank for p in (places["at 5"], places["at 3"], places["at 1"])] == [1, 2, 3]
    assert [p.tie_group for p in (places["at 5"], places["at 3"], places["at 1"])] == [1, 2, 3]
    assert ranking.num_pairs == 3
    assert ranking.num_disagreements == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_random_wide_head_never_stands_above_a_better_narrow_one_as_different(seed):
    rng = np.random.default_rng(seed)
    y = np.arange(500) % 10
    candidates = {"narrow": signal(rng, y, 10, 3.0), "weak": signal(rng, y, 10, 1.0)}
    candidates["random wide"] = softmax(8 * rng.normal(size=(500, 1000)))  # confident about nothing
    ranking, places = ranked(candidates, y)
    assert places["random wide"].rank < places["weak"].rank  # plain LEEP is fooled …
    assert places["random wide"].tie_group == places["weak"].tie_group  # … but the ranking does not call it better
    assert places["narrow"].tie_group <= places["random wide"].tie_group
    assert ranking.num_disagreements >= 1
    _, fair = ranked(candidates, y, "leave-one-out-leep")
    assert [fair[name].rank for name in candidates] == [1, 2, 3]


def test_candidates_of_different_groups_all_differ(rng):
    y = np.arange(300) % 3
    candidates = {str(k): signal(rng, y, 3, k / 4) for k in range(12)}
    _, places = ranked(candidates, y)
    values = {name: influence(p, y) for name, p in candidates.items()}
    for a, place_a in places.items():
        for b, place_b in places.items():
            if place_a.tie_group < place_b.tie_group:
                gap = values[a][0] - values[b][0]
                assert gap > 1.96 * np.std(values[a][1] - values[b][1], ddof=1) / np.sqrt(300)
    groups = [p.tie_group for p in sorted(places.values(), key=lambda p: p.rank)]
    assert groups == sorted(groups)
    assert set(groups) == set(range(1, max(groups) + 1))


def test_order_of_candidates_and_copies_change_nothing(rng):
    y = np.arange(200) % 4
    pool = {name: signal(rng, y, 4, k) for name, k in (("a", 0.5), ("b", 1.5), ("c", 2.5))}
    _, first = ranked(pool, y)
    _, second = ranked({"c": pool["c"], "copy of b": pool["b"], "a": pool["a"], "b": pool["b"]}, y)
    assert [first[n].tie_group for n in "cba"] == [second[n].tie_group for n in "cba"]
    assert second["copy of b"].tie_group == second["b"].tie_group
    assert second["copy of b"].gap_to_best == second["b"].gap_to_best


def test_noise_alone_is_rarely_called_a_difference(rng):
    # Two noisy copies of one candidate, 200 times: a 95 % test errs in 5 ± 3·1.5 %, and the check makes it rarer.
    apart = 0
    for _ in range(200):
        y = rng.integers(0, 4, 200)
        _, places = ranked({"a": signal(rng, y, 4, 1.0), "b": signal(rng, y, 4, 1.0)}, y)
        apart += places["a"].tie_group != places["b"].tie_group
    assert apart <= 19


def test_paired_differences_equal_the_plain_formula(rng):
    values = rng.normal(size=(5, 5000)).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    scores = [Score(float(k), influence=row) for k, row in enumerate(values)]
    gap, error = paired_differences([*scores, Score(9.0)])
    assert gap[5, 2] == 7.0
    for i in range(5):
        for j in range(5):
            plain = np.std(values[i].astype(float) - values[j], ddof=1) / np.sqrt(5000)
            assert error[i, j] == pytest.approx(plain, abs=1e-7)
    assert np.isinf(error[5, :5]).all()  # without an error nothing can be told apart


@pytest.mark.parametrize("name", ["transrate", "pactran-gaussian"])
def test_wide_noise_never_stands_above_narrow_features_as_different(rng, name):
    y = np.arange(400) % 4
    real = 0.8 * np.eye(4)[y] @ rng.normal(size=(4, 12)) + rng.normal(size=(400, 12))
    results = [score(extraction(n, None, y, f), (name,)) for n, f in (("real", real), ("wide", noise(rng, 500)))]
    assert results[1].scores[name].value > results[0].scores[name].value  # fooled …
    places = rank(results, name).ranked
    assert [place.tie_group for place in places] == [1, 1]  # … but not called better
    assert max(places, key=lambda place: place.probability_best).index == 0
    said = [any("shuffled labels" in w for w in result.scores[name].warnings) for result in results]
    assert said == [False, True]


def noise(rng, d):
    return rng.normal(size=(400, d))


def test_a_failed_candidate_has_no_place(rng):
    p, y = population(rng, 50, 5, 3)
    good = score(extraction("good", p, y), MEASURED)
    ranking = rank([Result(Candidate("bad"), reason="no such folder"), good], "leep")
    assert [place.index for place in ranking.ranked] == [1]
    assert ranking.unranked == (0,)
    assert set(MEASURES) >= set(good.scores)
