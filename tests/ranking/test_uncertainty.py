"""How sure places are, against closed forms from scipy and by drawing samples again."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hf_leep.ranking import scoring, uncertainty
from hf_leep.ranking.correlation import agreement, percentile_interval
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.uncertainty import (
    Comparison,
    JointScores,
    critical_value,
    probabilities_of_being_best,
    simultaneous_critical_value,
)
from hf_leep.records import Candidate, Result, Score


def sample(rng, means, n, shared=1.0):
    """Scores that are means of n draws each, correlated through what the candidates share."""
    drawn = np.asarray(means) + rng.normal(size=(n, len(means))) + shared * rng.normal(size=(n, 1))
    mean = drawn.mean(axis=0)
    return [Score(float(m), influence=column) for m, column in zip(mean, (drawn - mean).T, strict=True)]


def ranked(scores):
    """Each candidate's place by LogME, which nothing checks, in the order of the scores."""
    ranking = rank([Result(Candidate(str(k)), {"logme": score}) for k, score in enumerate(scores)], "logme")
    return ranking, sorted(ranking.ranked, key=lambda place: place.index)


def test_scores_of_fewer_resamples_than_the_others_have_no_known_error(rng):
    scores = [*sample(rng, [0, 1], 30), *sample(rng, [2], 10)]
    joint = JointScores.of(scores)
    assert joint.num_values == 30
    assert np.isfinite(joint.covariance).tolist() == [[True, True, False], [True, True, False], [False] * 3]


@pytest.mark.parametrize("n", [2, 10, 300, 10**6])
def test_one_interval_reaches_as_far_as_student_says(n):
    assert critical_value(n) == pytest.approx(stats.t.ppf(0.975, n - 1))
    assert critical_value(0) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize("k", [2, 3, 6, 20])
def test_all_at_once_is_the_studentised_range_where_candidates_are_independent(rng, k):
    independent = JointScores(np.zeros(k), np.eye(k), 10**6)
    expected = stats.studentized_range.ppf(0.95, k, 10**6) / np.sqrt(2)
    assert simultaneous_critical_value(independent, rng) == pytest.approx(
        expected, rel=0.03
    )  # a quantile of 2,000 draws
    shared = JointScores(np.zeros(k), np.eye(k) + 50, 10**6)  # what all have in common cancels
    assert simultaneous_critical_value(shared, rng) == pytest.approx(expected, rel=0.03)


def test_copies_add_nothing_and_few_resamples_widen(rng):
    mixed = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    covariance = mixed @ mixed.T  # the last two are copies, but for rounding
    covariance[2, 3] = covariance[3, 2] = covariance[2, 3] - 1e-15
    expected = stats.studentized_range.ppf(0.95, 3, 10**6) / np.sqrt(2)
    assert simultaneous_critical_value(JointScores(np.zeros(4), covariance, 10**6), rng) == pytest.approx(
        expected, rel=0.03
    )
    ten = simultaneous_critical_value(JointScores(np.zeros(4), np.eye(4), 10), rng)
    assert ten == pytest.approx(stats.t.ppf(0.5 + 0.95 ** (1 / 6) / 2, 9))  # Šidák, of six pairs


def test_the_chance_of_two_is_that_of_their_difference(rng):
    joint = JointScores(np.array([0.0, 0.3]), np.array([[0.05, 0.02], [0.02, 0.04]]), 10**6)
    probabilities = probabilities_of_being_best(joint, rng)
    assert probabilities[1] == pytest.approx(stats.norm.cdf(0.3 / np.sqrt(0.05)), abs=0.015)  # 10,000 draws
    assert probabilities.sum() == pytest.approx(1)


def test_equal_candidates_share_and_an_unknown_error_leaves_no_chance(rng):
    twins = probabilities_of_being_best(JointScores(np.array([0.5, 0.5, -9.0]), np.ones((3, 3)), 500), rng)
    np.testing.assert_allclose(twins, [0.5, 0.5, 0.0])
    (alone,) = probabilities_of_being_best(JointScores(np.array([0.5]), np.ones((1, 1)), 500), rng)
    assert alone == 1.0
    _, places = ranked([*sample(rng, [0.0, 1.0], 200), Score(0.5)])
    assert [place.probability_best for place in places] == [None] * 3
    assert places[2].rank_interval is None


def test_what_is_far_apart_has_one_rank_and_what_is_alike_has_all(rng):
    _, places = ranked(sample(rng, [0.0, 5.0, 10.0], 200))
    assert [place.rank_interval for place in places] == [(3, 3), (2, 2), (1, 1)]
    assert [round(place.probability_best, 3) for place in places] == [0, 0, 1]
    _, places = ranked(sample(rng, [0.0, 0.0, -9.0], 200))
    assert [place.rank_interval for place in places] == [(1, 2), (1, 2), (3, 3)]


def test_rank_intervals_hold_all_true_ranks(rng):
    # Among eight candidates, three of them equal, whose true ranks are then any of theirs: 95 ± 3·1.5 % of 200.
    means = [0.0, 0.0, 0.0, 0.1, 0.15, 0.3, 0.35, 0.6]
    covered = 0
    for _ in range(200):
        _, places = ranked(sample(rng, means, 150))
        covered += all(
            place.rank_interval[0] <= 1 + sum(m > means[k] for m in means)
            and place.rank_interval[1] >= sum(m >= means[k] for m in means)
            for k, place in enumerate(places)
        )
    assert covered >= 181


def test_as_many_times_the_examples_would_settle(rng):
    """The same sample so many times over, with its spread and its gaps, has groups of one at the top."""
    scores = sample(rng, [0.30, 0.25, 0.1, 0.0], 100)
    ranking, _ = ranked(scores)
    assert [needed.top for needed in ranking.rows_needed] == [1, 3]
    for needed in ranking.rows_needed:
        assert needed.growth > 1

        def groups(times, top=needed.top):
            more = [Score(s.value, influence=np.tile(s.influence, int(times))) for s in scores]
            return [place.tie_group for place in ranked(more)[0].ranked][: top + 1]

        own = list(range(1, needed.top + 2))
        assert groups(np.ceil(1.05 * needed.growth)) == own  # Student's t is wider at 100 than at more
        assert groups(np.floor(0.9 * needed.growth)) != own


def test_every_interval_follows_the_confidence_level(rng, monkeypatch):
    """At 90 % all errors count 1.645 times instead of 1.96 times, or what Student's t and the maximum make of that."""
    n = 10**4
    influence = rng.normal(size=(2, n))
    influence -= influence.mean(axis=1, keepdims=True)
    error = np.std(influence[0] - influence[1], ddof=1) / np.sqrt(n)
    pair = [Score(1.8 * error, 1.0, influence=influence[0]), Score(0.0, 1.0, influence=influence[1])]  # 1.8 errors
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    independent = JointScores(np.zeros(6), np.eye(6), 10**6)

    def found():
        ranking, places = ranked(pair)
        return {
            "confidence": ranking.confidence,
            "critical": critical_value(),
            "half width": scoring.half_width(pair[0]),
            "gap": places[1].gap_to_best.half_width / error,
            "tie groups": [place.tie_group for place in places],
            "rank intervals": [place.rank_interval for place in places],
            "growth": ranking.rows_needed[0].growth,
            "few resamples": simultaneous_critical_value(JointScores(np.zeros(4), np.eye(4), 10), rng),
            "all pairs": simultaneous_critical_value(independent, np.random.default_rng(0)),
            "Fisher": np.arctanh(agreement(x, y).pearson_interval[1]) - np.arctanh(agreement(x, y).pearson),
            "bootstrap": percentile_interval(np.arange(101.0)),
        }

    def expected(level):
        z, t = stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, n - 1)
        apart = t < 1.8
        return {
            "confidence": level,
            "critical": pytest.approx(z),
            "half width": pytest.approx(t),
            "gap": pytest.approx(t, rel=1e-6),
            "tie groups": [1, 2] if apart else [1, 1],
            "rank intervals": [(1, 1), (2, 2)] if apart else [(1, 2), (1, 2)],
            "growth": pytest.approx((t / 1.8) ** 2, rel=1e-6),
            "few resamples": pytest.approx(stats.t.ppf(0.5 + level ** (1 / 6) / 2, 9)),
            "all pairs": pytest.approx(stats.studentized_range.ppf(level, 6, 10**6) / np.sqrt(2), rel=0.03),
            "Fisher": pytest.approx(z / np.sqrt(27)),
            "bootstrap": pytest.approx((50 * (1 - level), 50 * (1 + level))),
        }

    assert found() == expected(0.95)
    monkeypatch.setattr(uncertainty, "CONFIDENCE", 0.9)
    assert found() == expected(0.9)


def test_no_number_settles_copies(rng):
    scores = sample(rng, [1.0, 0.0], 100)
    ranking, _ = ranked([scores[0], scores[0], scores[1]])
    assert [(needed.top, needed.growth) for needed in ranking.rows_needed] == [(1, None)]
    comparison = Comparison.of(JointScores.of([scores[0], scores[1]]))
    assert comparison.growth_needed(1) < 1  # settled already


def test_errors_that_are_not_in_the_sample_count_in_differences(rng):
    first, second = sample(rng, [0.0, 0.0], 50)
    gap, plain = JointScores.of([first, second]).differences()
    mended = JointScores.of([replace(first, unseen=0.3), replace(second, unseen=0.1)])
    np.testing.assert_allclose(mended.differences()[0], gap)
    assert mended.differences()[1][0, 1] ** 2 == pytest.approx(plain[0, 1] ** 2 + 0.4)
    assert mended.covariance[0, 1] == JointScores.of([first, second]).covariance[0, 1]
