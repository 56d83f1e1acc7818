import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.measures.stable_rank import influence
from tests.strategies import feature_problems


@given(feature_problems())
def test_equals_the_ratio_of_the_two_norms(problem):
    f, y = problem
    centred = f - f.mean(axis=0)
    expected = np.linalg.norm(centred) ** 2 / np.linalg.norm(centred, ord=2) ** 2
    assert measures.stable_rank(f, y) == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-12 <= measures.stable_rank(f, y) <= min(len(f) - 1, f.shape[1]) * (1 + 1e-12)


def test_counts_equal_directions_and_is_zero_for_constant_features():
    # ±e_j for each of d directions: C = I/d, so the trace is d times the largest variance.
    f = np.vstack([np.eye(5), -np.eye(5)])
    assert measures.stable_rank(f, np.arange(10) % 2) == pytest.approx(5, abs=1e-12)
    assert measures.stable_rank(np.full((10, 3), 0.1), np.arange(10) % 2) == 0.0
    assert measures.stable_rank(np.outer(np.arange(4.0), [1, 2, 3]), [0, 1, 0, 1]) == pytest.approx(1, abs=1e-12)


def test_rotating_shifting_rescaling_and_other_labels_change_nothing(rng):
    y, f = np.arange(50) % 3, rng.normal(size=(50, 8)) * np.arange(1, 9)
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    score = measures.stable_rank(f, y)
    assert measures.stable_rank(7 * f @ rotation + 100, y // 2) == pytest.approx(score, abs=1e-9)
    assert measures.stable_rank(np.tile(f, (2, 1)), np.tile(y, 2)) == pytest.approx(score, abs=1e-9)
    assert measures.stable_rank(f * 1e200, y) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 5), (20, 50)])
def test_influence_is_the_derivative_by_an_examples_weight(rng, shape):
    y, f = np.arange(shape[0]) % 3, rng.normal(size=shape) * np.linspace(1, 4, shape[1])

    def weighted(w):
        w = w / w.sum()
        centred = f - w @ f
        variances = np.linalg.eigvalsh((w[:, None] * centred).T @ centred)
        return variances.sum() / variances[-1]

    value, values = influence(f, y)
    assert value == pytest.approx(weighted(np.ones(shape[0])), abs=1e-9)
    for i in (0, 7, 19):
        e = np.zeros(shape[0])
        e[i] = 1e-5
        assert values[i] == pytest.approx((weighted(1 + e) - weighted(1 - e)) / 2e-5 * shape[0], abs=1e-4)


def test_standard_error_agrees_with_independent_samples(rng):
    y = np.arange(250) % 4
    drawn = [influence(rng.normal(size=(250, 6)) * [3, 1.5, 1, 1, 1, 1], y) for _ in range(200)]
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 250 for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.2)
