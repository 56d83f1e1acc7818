"""Errors of fine-tuned accuracies, against simulations."""

import numpy as np
import pytest

from hf_leep.training.accuracy import accuracies


def drawn(rng, easy, seed_spread, m=400, seeds=3, groups=None):
    """Outcomes whose rows differ in difficulty and whose seeds differ in skill."""
    row = easy if groups is None else easy[groups]
    return np.array([rng.random(m) < np.clip(row + seed_spread * rng.standard_normal(), 0, 1) for _ in range(seeds)])


@pytest.mark.parametrize("seed_spread", [0.0, 0.04])
def test_errors_are_the_spread_of_repeated_draws(seed_spread):
    rng = np.random.default_rng(0)
    values, errors, gaps, gap_errors = [], [], [], []
    for _ in range(400):
        easy = rng.beta(4, 1, 400)
        pair = [drawn(rng, easy, seed_spread), drawn(rng, easy * 0.97, seed_spread)]
        mean, error, gap, gap_error = accuracies(pair)
        values.append(mean[0]), errors.append(error[0]), gaps.append(gap[0, 1]), gap_errors.append(gap_error[0, 1])
    # Three seeds cannot tell their own spread from that of the rows: an error may be too large, never much too small.
    assert 0.95 < np.sqrt(np.mean(np.square(errors))) / np.std(values) < 1.35
    assert 0.95 < np.sqrt(np.mean(np.square(gap_errors))) / np.std(gaps) < 1.5


def test_words_of_a_sentence_count_as_one_draw():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 10)
    values, errors = [], []
    for _ in range(300):
        mean, error, _, _ = accuracies([drawn(rng, rng.beta(2, 1, 40), 0.0, groups=groups)], groups)
        values.append(mean[0]), errors.append(error[0])
    assert 0.9 < np.mean(errors) / np.std(values) < 1.3
    assert np.mean(errors) > 1.3 * accuracies([drawn(rng, rng.beta(2, 1, 40), 0.0, groups=groups)])[1][0]


def test_a_network_against_itself_differs_by_nothing():
    outcome = np.random.default_rng(2).random((3, 50)) < 0.7
    _, _, gap, error = accuracies([outcome, outcome])
    assert gap[0, 1] == 0
    assert error[0, 0] == 0


def test_as_many_right_is_the_same_accuracy():
    """Also where the seeds differ by example, so that the order in which numbers are added up is another."""
    rng = np.random.default_rng(4)
    first = rng.random((3, 100)) < 0.9
    pairs = [accuracies([first, rng.permuted(first, axis=1)]) for _ in range(100)]
    assert all(means[0] == means[1] and gaps[0, 1] == 0 for means, _, gaps, _ in pairs)


def test_a_network_without_errors_has_one_all_the_same():
    """Of 200 rows without an error, the true share of errors is at most 3/200 at 95 %."""
    right = np.ones((3, 200), bool)
    mean, error, _, gap_error = accuracies([right, right])
    assert mean[0] == 1
    assert 1.96 * error[0] == pytest.approx(3 / 200, rel=0.2)
    assert gap_error[0, 1] == pytest.approx(np.sqrt(2) * error[0])
    held = []
    rng = np.random.default_rng(3)
    for _ in range(500):
        mean, error, gap, gap_error = accuracies([rng.random((1, 200)) > 0.01, rng.random((1, 200)) > 0.01])
        held.append((abs(mean[0] - 0.99) <= 1.96 * error[0], abs(gap[0, 1]) <= 1.96 * gap_error[0, 1]))
    assert np.mean(held, axis=0).min() > 0.93  # without unseen errors 0.86 and less
