import numpy as np
import pytest

from hf_leep import measures
from hf_leep.measures.ridge_head import RidgeHead
from hf_leep.measures.ridge_log_likelihood import influence
from tests.measures.test_ridge import problem, refits


def test_it_is_the_log_likelihood_of_refits_at_the_best_temperature(rng):
    f, y = problem(rng, 60, 10, signal=0.5)
    head = RidgeHead.fit(f, y)
    values, _ = refits(f, y, head.strength, np.arange(60))

    def at(temperature):
        logits = temperature * values
        return np.mean(logits[np.arange(60), y] - np.log(np.exp(logits).sum(axis=1)))

    assert measures.ridge_log_likelihood(f, y) == pytest.approx(at(head.temperature), abs=1e-6)
    assert all(at(head.temperature) >= at(head.temperature * factor) for factor in (0.8, 0.95, 1.05, 1.25))


def test_noise_is_no_better_than_its_floor_and_signal_is(rng):
    y = np.arange(100) % 4
    noise = np.mean([measures.ridge_log_likelihood(rng.standard_normal((100, 50)), y) for _ in range(20)])
    assert -np.log(4) - 1e-9 <= noise < -np.log(4) + 0.02
    f, y = problem(rng, 100, 10, signal=2.0)
    assert measures.ridge_log_likelihood(f, y) > -0.3


def test_the_error_is_the_spread_over_samples(rng):
    centers = 0.6 * rng.standard_normal((4, 12))

    def sample():
        y = rng.integers(0, 4, 150)
        return rng.standard_normal((150, 12)) + centers[y], y

    found = [influence(*sample()) for _ in range(150)]
    errors = [values.std(ddof=1) / np.sqrt(150) for _, values in found]
    assert 0.8 < np.mean(errors) / np.std([value for value, _ in found]) < 1.3
