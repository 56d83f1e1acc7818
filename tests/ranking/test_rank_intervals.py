"""Rank intervals, against closed forms from scipy, Holm's procedure, and by drawing samples again."""

import numpy as np
import pytest
from scipy import stats

from hf_leep.ranking import uncertainty
from hf_leep.ranking.rank_intervals import rank_intervals, simultaneously_better
from hf_leep.ranking.uncertainty import JointScores
from hf_leep.records import Score
from tests.ranking.test_uncertainty import ranked, sample


def threshold(covariance, num_values=10**6):
    """The gap between two candidates from which on they are told apart, the others being equal to the second."""
    k = len(covariance)
    low, high = 0.0, 50.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        joint = JointScores(np.array([middle, *np.zeros(k - 1)]), covariance, num_values)
        told = simultaneously_better(joint, np.random.default_rng(0))[0, 1]
        low, high = (low, middle) if told else (middle, high)
    return high


@pytest.mark.parametrize("k", [2, 3, 6, 20])
def test_the_first_step_is_the_studentised_range_where_candidates_are_independent(k):
    expected = stats.studentized_range.ppf(0.95, k, 10**6)
    assert threshold(np.eye(k)) == pytest.approx(expected, rel=0.03)  # a quantile of 2,000 draws
    assert threshold(np.eye(k) + 50) == pytest.approx(expected, rel=0.03)  # what all have in common cancels


def test_copies_add_nothing(rng):
    mixed = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    covariance = mixed @ mixed.T  # the last two are copies, but for rounding
    covariance[2, 3] = covariance[3, 2] = covariance[2, 3] - 1e-15
    assert threshold(covariance) == pytest.approx(stats.studentized_range.ppf(0.95, 3, 10**6), rel=0.03)


def test_the_level_is_the_confidence(monkeypatch):
    monkeypatch.setattr(uncertainty, "CONFIDENCE", 0.9)
    assert threshold(np.eye(6)) == pytest.approx(stats.studentized_range.ppf(0.9, 6, 10**6), rel=0.03)
    assert threshold(np.eye(4), 10) == pytest.approx(np.sqrt(2) * stats.t.ppf(1 - 0.05 / 6, 9), abs=2e-3)


def holm(values, covariance, num_values):
    """Holm's procedure in its usual form: sort the p-values of all ordered pairs, and stop at the first too large."""
    pairs = [(i, j) for i in range(len(values)) for j in range(len(values)) if i != j]
    errors = {(i, j): np.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]) for i, j in pairs}
    p = sorted((stats.t.sf((values[i] - values[j]) / errors[i, j], num_values - 1), i, j) for i, j in pairs)
    better = np.zeros((len(values), len(values)), bool)
    for count, (value, i, j) in enumerate(p):
        if value > 0.05 / (len(pairs) - count):
            break
        better[i, j] = True
    return better


@pytest.mark.parametrize("seed", range(30))
def test_of_few_resamples_it_is_holm(seed):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(5, 5))
    joint = JointScores(rng.normal(scale=4, size=5), mixed @ mixed.T / 5, 10)
    found = simultaneously_better(joint, rng)
    np.testing.assert_array_equal(found, holm(joint.values, joint.covariance, 10))


def single_step(joint):
    """All pairs by simultaneous intervals, from draws of their own."""
    gap, error = joint.differences()
    drawn = np.random.default_rng(7).multivariate_normal(np.zeros(len(gap)), joint.covariance, 40_000)
    i, j = np.triu_indices(len(gap), 1)
    largest = (np.abs(drawn[:, i] - drawn[:, j]) / error[i, j]).max(axis=1)
    return gap > np.quantile(largest, 0.95) * error


def stepwise(joint):
    """The procedure as it is in the paper, each step with all differences of new draws."""
    gap, error = joint.differences()
    np.fill_diagonal(error, 1.0)
    drawn = np.random.default_rng(8).multivariate_normal(np.zeros(len(gap)), joint.covariance, 40_000)
    statistic = gap / error
    noise = (drawn[:, :, None] - drawn[:, None, :]) / error
    true = ~np.eye(len(gap), dtype=bool)
    while True:
        cut = np.quantile(noise[:, true].max(axis=1), 0.95)
        if not (true & (statistic > cut)).any():
            return ~true & ~np.eye(len(gap), dtype=bool), statistic, cut
        true &= statistic <= cut


def test_it_is_the_stepwise_procedure_and_never_wider_than_one_step():
    tighter = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mixed = rng.normal(size=(6, 6))
        joint = JointScores(rng.normal(scale=3.0, size=6), mixed @ mixed.T / 6, 10**6)
        found = simultaneously_better(joint, rng)
        expected, statistic, cut = stepwise(joint)
        unclear = np.abs(statistic - cut) < 0.12  # as far as a quantile of 2,000 draws may be off
        np.testing.assert_array_equal(found[~unclear], expected[~unclear])
        one_step = single_step(joint)
        assert not (one_step & ~found & ~unclear).any()
        tighter += (found & ~one_step).any()
    assert tighter >= 1


def test_a_candidate_without_an_error_may_have_any_rank_and_moves_the_others_by_one(rng):
    scores = sample(rng, [0.0, 5.0], 200)
    _, places = ranked([*scores, Score(-9.0)])
    assert [place.rank_interval for place in places] == [(2, 3), (1, 2), None]


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


def test_rank_intervals_count_who_is_better():
    better = np.zeros((3, 3), bool)
    better[0, 1] = better[0, 2] = True
    assert rank_intervals(better) == [(1, 1), (2, 3), (2, 3)]
