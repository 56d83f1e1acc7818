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
