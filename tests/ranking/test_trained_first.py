"""Candidates that were never trained come after all others in each room that orders or compares."""

from dataclasses import replace

import numpy as np
import pytest

from hf_leep.ranking.consensus import consensus
from hf_leep.ranking.elimination import eliminated, rank_race
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.second_opinion import second_opinion
from hf_leep.ranking.tie_letters import continued
from hf_leep.records import Candidate, Result, Score, Stop

MEASURE = "leave-one-out-leep"


def scored(rng, value, n=200):
    values = value + 0.05 * rng.normal(size=n)
    influence = values - values.mean()
    return Score(values.mean(), values.std(ddof=1) / np.sqrt(n), influence=influence.astype(np.float32))


def pool(rng, values, never=()):
    """Results with these scores, and with heads that are as good as the scores are high."""
    return [
        Result(
            Candidate(name, untrained=name in never),
            {MEASURE: scored(rng, value)},
            head_accuracy=scored(rng, 1 + value / 10),
        )
        for name, value in values.items()
    ]


VALUES = {"a": -1.0, "random": -0.5, "b": -2.0, "also random": -1.5, "copy of b": -2.0}
NEVER = ("random", "also random")


def names(results, ranking):
    return [results[place.index].candidate.id for place in ranking.ranked]


def test_they_come_last_each_by_its_score(rng):
    results = pool(rng, VALUES, NEVER)
    results.append(Result(Candidate("broken"), reason="no"))
    results.append(Result(Candidate("random and broken", untrained=True), {MEASURE: Score(None, reason="no")}))
    found = rank(results, MEASURE)
    order = names(results, found)
    assert order[0] == "a"
    assert sorted(order[1:3]) == ["b", "copy of b"]
    assert order[3:] == ["random", "also random"]
    assert [place.rank for place in found.ranked] == [1, 2, 3, 4, 5]
    assert [place.tie_letters for place in found.ranked] == ["a", "b", "b", "c", "d"]
    assert [place.tie_group for place in found.ranked] == [1, 2, 2, 3, 4]
    assert [place.rank_interval for place in found.ranked] == [(1, 1), (2, 3), (2, 3), (4, 4), (5, 5)]
    assert found.ranked[3].gap_to_best.value == pytest.approx(-0.5, abs=0.05)
    assert [place.probability_best is None for place in found.ranked] == [False] * 3 + [True] * 2
    assert sum(place.probability_best or 0.0 for place in found.ranked) == pytest.approx(1.0)
    assert found.unranked == (5, 6)


@pytest.mark.parametrize("seed", range(10))
def test_they_change_nothing_for_the_others(seed):
    rng = np.random.default_rng(seed)
    values = {str(k): -rng.uniform(0, 1) for k in range(8)}
    never = [name for name in values if rng.random() < 0.4]
    results = pool(rng, values, never)
    alone = [result for result in results if not result.candidate.untrained]
    found, expected = rank(results, MEASURE), rank(alone, MEASURE)
    for got, wanted in zip(found.ranked, expected.ranked, strict=False):
        assert results[got.index] is alone[wanted.index]
        assert replace(got, index=0) == replace(wanted, index=0)
    assert found.growth_at_least == expected.growth_at_least


def test_a_pool_of_nothing_else_is_ranked_as_ever(rng):
    results = pool(rng, VALUES, VALUES)
    trained = [replace(r, candidate=replace(r.candidate, untrained=False)) for r in results]
    assert rank(results, MEASURE) == rank(trained, MEASURE)


def test_where_no_other_has_a_score_they_are_ranked(rng):
    results = [*pool(rng, {"random": -1.0}, ["random"]), Result(Candidate("broken"), reason="no")]
    found = rank(results, MEASURE)
    assert [(place.index, place.rank, place.probability_best) for place in found.ranked] == [(0, 1, 1.0)]
    assert found.unranked == (1,)


def test_letters_go_on_after_those_before():
    assert continued(["ab", None, "b"], ["a", "bc", None]) == ["de", None, "e"]
    assert continued(["a", "b"], ["y"]) == ["z", "a2"]
    assert continued(["z", "a2b2"], ["z2"]) == ["z3", "a4b4"]
    assert continued(["a"], [None]) == ["a"]


def test_their_heads_contradict_none_that_was_trained(rng):
    results = pool(rng, {"trained": -2.0, "random": -0.5}, ["random"])
    assert second_opinion(results, rank(results, MEASURE)) is None  # there is no other head to compare with
    results += pool(rng, {"better": -1.5})
    found = second_opinion(results, rank(results, MEASURE))
    assert (found.first, found.best, found.num_compared) == (2, 2, 2)
    both = pool(rng, {"a": -2.0, "b": -0.5}, ["a", "b"])
    assert second_opinion(both, replace(rank(both, MEASURE), ranked=rank(both, MEASURE).ranked[::-1])).best == 1


def test_they_lose_each_vote_against_the_others(rng):
    found = consensus(pool(rng, VALUES, NEVER), [MEASURE])
    assert [place.rank for place in found] == [1, 4, 3, 5, 2] or [place.rank for place in found] == [1, 4, 2, 5, 3]


def test_in_a_race_they_put_out_none_that_was_trained(rng):
    scores = [result.scores[MEASURE] for result in pool(rng, {"a": -1.0, "random": -0.5, "b": -2.0})]

    def out(never):
        options = {"higher_is_better": True, "top": 1, "level": 0.01, "doublings": 0}
        return {(one.index, one.by) for one in eliminated(scores, scores, untrained=never, **options)}

    assert out(None) == out([False] * 3) == out([True] * 3) == {(0, 1), (2, 1)}
    assert out([False, True, False]) == {(2, 0)}
    assert out([True, True, False]) == {(0, 1)}  # and "b", the only one that was trained, stays


def test_in_a_race_they_come_last_even_if_they_ran_all_rows(rng):
    results = pool(rng, VALUES, NEVER)
    results[2] = replace(results[2], stop=Stop(0, "a", 1.0, 0.1))
    results[3] = replace(results[3], stop=Stop(0, "a", 0.5, 0.1))
    found = rank_race(results, MEASURE, {i: [result.scores] for i, result in enumerate(results)}, top=1)
    assert names(results, found) == ["a", "copy of b", "b", "random", "also random"]
    assert [place.rank for place in found.ranked] == [1, 2, 3, 4, 5]
    assert found.ranked[-1].gap_to_best.value == pytest.approx(0.5, abs=0.05)
    assert [place.rank_interval for place in found.ranked][2:] == [(2, 3), (4, 5), (4, 5)]
    letters = [place.tie_letters for place in found.ranked]
    assert not set("".join(letters[:3])) & set("".join(letters[3:]))
