import numpy as np
import pytest

from hf_leep.options import Race
from hf_leep.ranking.elimination import (
    MOST_LOOKS,
    comparison_level,
    deciding_measure,
    eliminated,
    looks,
    nested_order,
    rank_race,
)
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.records import Candidate, Result, Score, Stop


def scored(values):
    """A mean of these values as a score, with each one's influence."""
    values = np.asarray(values, dtype=np.float64)
    return Score(values.mean(), values.std(ddof=1) / np.sqrt(len(values)), influence=values - values.mean())


@pytest.mark.parametrize(("rows", "classes", "sizes"), [
    (6000, 100, (375, 750, 1500, 3000, 6000)),
    (1001, 2, (126, 251, 501, 1001)),
    (1001, 100, (251, 501, 1001)),
    (150, 2, (150,)),
])  # fmt: skip
def test_looks_double_and_end_with_all_rows(rows, classes, sizes):
    assert looks(rows, classes) == sizes
    assert len(sizes) <= MOST_LOOKS


def test_each_beginning_of_the_order_is_a_stratified_sample(rng):
    labels = rng.choice(4, size=500, p=[0.6, 0.3, 0.08, 0.02])
    found = nested_order(labels, 500, rng)
    assert sorted(found) == list(range(500))
    share = np.bincount(labels) / 500
    for size in range(1, 501):
        counts = np.bincount(labels[found[:size]], minlength=4)
        # Up to a turn τ each class has n_c τ ± 1 rows; their sum, m, is n τ ± 4, so that n_c τ is m n_c/n ± 4 n_c/n.
        assert (np.abs(counts - size * share) <= 1 + 4 * share).all()


def test_words_have_no_class_a_row_and_come_at_random(rng):
    assert sorted(nested_order(None, 50, rng)) == list(range(50))


def test_one_is_out_where_the_gap_is_beyond_its_paired_error_at_the_corrected_level(rng):
    shared, noise = rng.normal(size=400), rng.normal(size=400)
    noise -= noise.mean()
    level, error = 0.01, noise.std(ddof=1) / 20
    for factor, expected in ((1.01, [1]), (0.99, [])):
        gap = factor * critical_value(400, 2 * level) * error
        scores = [scored(shared), scored(shared - gap + noise)]  # what both share does not count
        found = eliminated(scores, scores, higher_is_better=True, top=1, level=level, doublings=0)
        assert [one.index for one in found] == expected
    gap = 2 * critical_value(400, 2 * level) * error
    scores = [scored(shared), scored(shared - gap + noise)]
    (found,) = eliminated(scores, scores, higher_is_better=True, top=1, level=level, doublings=0)
    assert (found.by, found.gap) == (0, pytest.approx(gap))
    assert found.margin == pytest.approx(critical_value(400, 2 * level) * error)
    (other,) = eliminated(scores, scores, higher_is_better=False, top=1, level=level, doublings=0)
    assert (other.index, other.by) == (0, 1)


def test_as_many_as_are_sought_have_to_be_better(rng):
    noise = rng.normal(size=(5, 1000))
    scores = [scored(-k + 0.1 * row) for k, row in enumerate(noise)]
    for top, expected in ((1, [1, 2, 3, 4]), (2, [2, 3, 4]), (4, [4]), (5, [])):
        found = eliminated(scores, scores, higher_is_better=True, top=top, level=0.001, doublings=1)
        assert [one.index for one in found] == expected


def test_a_lead_that_shrinks_as_rows_double_puts_nobody_out(rng):
    noise = 0.01 * rng.normal(size=(2, 1000))
    now = [scored(noise[0]), scored(noise[1] - 0.5)]
    wider_earlier = [scored(noise[0]), scored(noise[1] - 0.9)]
    assert eliminated(now, now, higher_is_better=True, top=1, level=0.001, doublings=3)
    assert not eliminated(
        now, wider_earlier, higher_is_better=True, top=1, level=0.001, doublings=3
    )  # 0.5 − 3 · 0.4 < 0
    assert eliminated(now, wider_earlier, higher_is_better=True, top=1, level=0.001, doublings=1)


def test_a_score_without_an_error_neither_puts_out_nor_is_put_out(rng):
    scores = [Score(9.0), scored(rng.normal(size=100)), Score(None), Score(-9.0)]
    assert eliminated(scores, scores, higher_is_better=True, top=1, level=0.05, doublings=0) == []


def test_none_of_equal_candidates_is_out_more_often_than_the_confidence_allows(rng):
    trials, thrown = 400, 0
    level = comparison_level(Race(confidence=0.9), 3, 5)
    for _ in range(trials):
        rows = rng.normal(size=(5, 800))
        alive = [0, 1, 2, 3, 4]
        for size in (100, 200, 400):
            now, before = ([scored(rows[k, :n]) for k in alive] for n in (size, size // 2))
            doublings = np.log2(800 / size)
            found = eliminated(now, before, higher_is_better=True, top=1, level=level, doublings=doublings)
            alive = [k for i, k in enumerate(alive) if i not in {one.index for one in found}]
        thrown += 0 not in alive
    assert thrown <= 0.1 * trials


def test_leep_and_nce_are_judged_by_what_checks_them():
    assert {deciding_measure("leep"), deciding_measure("nce"), deciding_measure("leave-one-out-leep")} == {
        "leave-one-out-leep"
    }
    assert deciding_measure("logme") == "logme"


def test_who_ran_all_rows_comes_first_then_who_stayed_longer(rng):
    def result(name, value, stop=None):
        score = scored(value + 0.01 * rng.normal(size=100))
        return Result(Candidate(name), {"leave-one-out-leep": score}, stop=stop)

    results = [
        result("early", -1.0, Stop(0, "best", 1.0, 0.1)),
        result("second", -1.5),
        result("late", -3.0, Stop(1, "best", 2.0, 0.1)),
        result("best", -1.2),
        Result(Candidate("broken"), reason="no"),
    ]
    scores_by_look = {i: [r.scores] * 2 for i, r in enumerate(results) if r.scores}
    found = rank_race(results, "leave-one-out-leep", scores_by_look, top=1)
    assert [results[place.index].candidate.id for place in found.ranked] == ["best", "second", "late", "early"]
    # "early" was ahead of all on the rows that it ran, and went out all the same: so it is not told apart from any.
    assert [place.tie_letters for place in found.ranked] == ["a", "b", "c", "abc"]
    assert [place.tie_group for place in found.ranked] == [1, 1, 1, 1]
    assert [place.rank for place in found.ranked] == [1, 2, 3, 4]
    # Behind the best by the rows that both have seen, whatever the ranks say.
    assert [round(place.gap_to_best.value, 1) for place in found.ranked] == [0.0, 0.3, 1.8, -0.2]
    assert [place.rank_interval for place in found.ranked] == [(1, 1), (2, 4), (2, 4), (2, 4)]
    assert [place.probability_best is None for place in found.ranked] == [False, False, True, True]
    assert found.unranked == (4,)


def test_who_went_out_is_told_apart_from_others_on_the_rows_that_both_ran(rng):
    """Behind the best, but like the third where it went out, though not by the scores that the report shows."""

    def at(value):
        return {"leave-one-out-leep": scored(value + 0.1 * rng.normal(size=100))}

    results = [
        Result(Candidate("best"), at(-1.0)),
        Result(Candidate("third"), at(-2.0)),
        Result(Candidate("out"), at(-2.9), stop=Stop(0, "best", 1.0, 0.1)),
        Result(Candidate("way out"), at(-4.0), stop=Stop(0, "best", 2.0, 0.1)),
    ]
    results.append(Result(Candidate("no error"), {"leave-one-out-leep": Score(-5.0)}, stop=Stop(0, "best", 1.0, 0.1)))
    first_look = [at(-1.5), at(-2.9), results[2].scores, results[3].scores, results[4].scores]
    found = rank_race(results, "leave-one-out-leep", {i: [scores] for i, scores in enumerate(first_look)}, top=1)
    assert [place.tie_letters for place in found.ranked] == ["a", "b", "b", "c", None]
    assert [place.tie_group for place in found.ranked] == [1, 2, 2, 3, None]
