import re
import time
from itertools import combinations

import numpy as np
import pytest

from hf_leep.ranking.ordering import rank
from hf_leep.ranking.tie_letters import tie_groups, tie_letters
from hf_leep.records import Candidate, Result, Score
from tests.ranking.test_uncertainty import ranked, sample


def every(number):
    return np.ones(number, bool)


def split(text):
    return re.findall(r"[a-z]\d*", text)


def from_scores(values, errors):
    """Who is better where a gap is larger than the pair's own error."""
    gap = np.subtract.outer(values, values)
    return gap > errors


def any_graph(rng, k, share):
    """Who is better, with pairs that are told apart at random: worse than any errors of pairs could make it."""
    return np.triu(rng.random((k, k)) < share, 1)


def test_a_chain_has_overlapping_letters():
    better = np.zeros((3, 3), bool)
    better[0, 2] = True  # A ~ C ~ B, and A differs from B
    assert tie_letters(better, every(3)) == ["a", "ab", "b"]
    assert tie_groups(better, every(3)) == [1, 1, 1]


def test_all_alike_and_all_different():
    assert tie_letters(np.zeros((3, 3), bool), every(3)) == ["a", "a", "a"]
    assert tie_letters(np.triu(np.ones((3, 3), bool), 1), every(3)) == ["a", "b", "c"]
    assert tie_letters(np.zeros((1, 1), bool), every(1)) == ["a"]
    assert tie_letters(np.zeros((0, 0), bool), every(0)) == tie_groups(np.zeros((0, 0), bool), every(0)) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [2, 5, 12, 40])
def test_two_share_a_letter_exactly_where_they_are_not_told_apart(rng, k, share):
    for better in (any_graph(rng, k, share), from_scores(-np.sort(rng.random(k)), share * rng.random((k, k)))):
        known = rng.random(k) < 0.9
        letters = tie_letters(better, known)
        assert [text is None for text in letters] == list(~known)
        for i, j in combinations(np.flatnonzero(known), 2):
            assert bool(set(split(letters[i])) & set(split(letters[j]))) == (not better[i, j] and not better[j, i])
        assert all(letters[k] for k in np.flatnonzero(known))


def test_no_letter_is_superfluous(rng):
    for _ in range(20):
        better = any_graph(rng, 12, 0.4)
        texts = [set(split(text)) for text in tie_letters(better, every(12))]
        for letter in set.union(*texts):
            fewer = [text - {letter} for text in texts]
            members = [k for k, text in enumerate(texts) if letter in text]
            assert any(not fewer[i] & fewer[j] for i, j in combinations(members, 2)) or len(members) == 1


def test_where_the_distance_decides_letters_are_runs_in_order(rng):
    better = from_scores(-np.sort(rng.random(60)), np.full((60, 60), 0.2))
    letters = [split(text) for text in tie_letters(better, every(60))]
    order = list(dict.fromkeys(letter for text in letters for letter in text))
    assert len(order) <= 60
    for text in letters:
        assert text == order[order.index(text[0]) : order.index(text[0]) + len(text)]


def test_after_z_letters_have_numbers():
    letters = tie_letters(np.triu(np.ones((54, 54), bool), 1), every(54))
    assert letters[:2] + letters[24:28] + letters[51:] == ["a", "b", "y", "z", "a2", "b2", "z2", "a3", "b3"]


@pytest.mark.parametrize("k", [300])
def test_hundreds_are_no_matter_even_where_cliques_are_countless(rng, k):
    """Pairs of two that differ, all else alike, have 2^(K/2) largest cliques; and one with a clique for each pair."""
    pairs = np.zeros((k, k), bool)
    pairs[range(0, k, 2), range(1, k, 2)] = True
    two_sides = np.triu(np.equal.outer(np.arange(k) % 2, np.arange(k) % 2), 1)
    errors = 0.3 * (1 + rng.random((k, k)))
    started = time.perf_counter()
    for better in (pairs, two_sides, from_scores(-np.sort(rng.random(k)), errors), any_graph(rng, k, 0.5)):
        letters = tie_letters(better, every(k))
        shared = np.array(
            [[bool(a & b) for b in map(set, map(split, letters[:20]))] for a in map(set, map(split, letters[:20]))]
        )
        np.testing.assert_array_equal(shared[np.triu_indices(20, 1)], ~better[:20, :20][np.triu_indices(20, 1)])
    assert time.perf_counter() - started < 60  # against an endless search only


def test_a_candidate_without_an_error_leaves_the_others_apart(rng):
    """A and B, 70 errors apart, stay so, whatever joins them."""
    scores = sample(rng, [0.0, 5.0], 200)
    _, places = ranked(scores)
    assert [(place.tie_group, place.tie_letters) for place in places] == [(2, "b"), (1, "a")]
    ranking, places = ranked([*scores, Score(-9.0)])
    assert [(place.tie_group, place.tie_letters) for place in places] == [(2, "b"), (1, "a"), (None, None)]
    assert ranking.growth_at_least is None  # settled, among those that can be compared
    ranking, places = ranked([*scores, Score(9.0)])
    assert [place.tie_letters for place in places] == ["b", "a", None]
    assert ranking.growth_at_least is None  # who comes first cannot be compared at all


def test_the_error_of_the_check_has_to_be_known_too(rng):
    one, two = sample(rng, [0.0, 5.0], 200)
    results = [
        Result(Candidate("one"), {"leep": one, "leave-one-out-leep": one}),
        Result(Candidate("two"), {"leep": two, "leave-one-out-leep": Score(5.0)}),
    ]
    places = rank(results, "leep").ranked
    assert [(place.tie_letters, place.rank_interval) for place in places] == [(None, None), ("a", (1, 2))]


def test_an_added_candidate_never_merges_two_that_differ(rng):
    scores = sample(rng, [0.0, 0.1, 0.3, 0.45, 0.5, 0.9], 150)
    _, places = ranked(scores)
    before = [set(split(place.tie_letters)) for place in places]
    for value in np.linspace(-0.2, 1.1, 14):
        (added,) = sample(rng, [value], 150)
        _, places = ranked([*scores, added])
        after = [set(split(place.tie_letters)) for place in places[:-1]]
        for i, j in combinations(range(6), 2):
            assert bool(before[i] & before[j]) == bool(after[i] & after[j])
