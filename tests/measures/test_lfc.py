import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import measures
from hf_leep.measures.lfc import influence
from tests.strategies import feature_problems


def by_pairs(f, y):
    """Pearson's correlation over the n² pairs, from numpy."""
    f = f / np.abs(f).max()
    alike = np.where(y[:, None] == y, 1.0, -1.0)
    return np.corrcoef((f @ f.T).ravel(), alike.ravel())[0, 1]


@given(feature_problems())
def test_equals_the_correlation_over_all_pairs(problem):
    assert measures.lfc(*problem) == pytest.approx(by_pairs(*problem), abs=1e-9)


@given(feature_problems(), st.integers(2, 8))
def test_words_of_a_sentence_are_no_pairs(problem, number):
    f, y = problem
    draws = np.random.default_rng(number).permutation(np.arange(len(y)) % number)
    pairs = ((draws[:, None] != draws) | np.eye(len(y), dtype=bool)).ravel()
    f = f / np.abs(f).max()
    k, alike = (f @ f.T).ravel()[pairs], (y[:, None] == y).ravel()[pairs]
    expected = np.corrcoef(k, alike)[0, 1] if k.std() > 1e-6 * np.abs(k).max() else 0.0
    assert measures.lfc(f, y, draws) == pytest.approx(expected, abs=1e-7)


def test_one_hot_classes_score_one_and_constant_features_zero():
    # One-hot rows make K the indicator of equal classes, an increasing linear map of L.
    y = np.array([0, 0, 0, 2, 2, 7])
    assert measures.lfc(np.eye(8)[y], y) == pytest.approx(1.0, abs=1e-12)
    # Two classes at +1 and −1 make K = L itself.
    assert measures.lfc([[1.0], [-1.0], [1.0]], [0, 1, 0]) == pytest.approx(1.0, abs=1e-12)
    assert measures.lfc(np.full((6, 3), 0.1), y) == 0.0
    assert measures.lfc(np.zeros((6, 3)), y) == 0.0


@given(feature_problems())
def test_rotating_rescaling_and_repeating_change_nothing(problem):
    f, y = problem
    score = measures.lfc(f, y)
    assert -1.0 <= score <= 1.0
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(f.shape[1],) * 2))
    assert measures.lfc(7.0 * f @ rotation, y) == pytest.approx(score, abs=1e-9)
    assert measures.lfc(np.tile(f, (2, 1)), np.tile(y, 2)) == pytest.approx(score, abs=1e-9)
    assert measures.lfc(f * 1e150, y) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 5), (20, 50)])
@pytest.mark.parametrize("together", [1, 3])
def test_influence_is_the_derivative_by_an_examples_weight(rng, shape, together):
    y = rng.integers(0, 3, shape[0])
    f = rng.normal(size=shape) + y[:, None] / 2
    draws = np.arange(shape[0]) // together
    used = (draws[:, None] != draws) | np.eye(shape[0], dtype=bool)

    def weighted(w):
        pairs = (np.outer(w, w) * used).ravel()
        pairs /= pairs.sum()
        k, alike = (f @ f.T).ravel(), (y[:, None] == y).ravel() * 1.0
        k, alike = k - pairs @ k, alike - pairs @ alike
        return (pairs @ (k * alike)) / np.sqrt((pairs @ k**2) * (pairs @ alike**2))

    value, values = influence(f, y, draws)
    assert value == pytest.approx(weighted(np.ones(shape[0])), abs=1e-12)
    for i in (0, 7, 19):
        e = np.zeros(shape[0])
        e[i] = 1e-5
        assert values[i] == pytest.approx((weighted(1 + e) - weighted(1 - e)) / 2e-5 * shape[0], abs=1e-5)


def test_standard_error_agrees_with_independent_samples(rng):
    means = np.random.default_rng(8).normal(size=(4, 6))
    drawn = []
    for _ in range(200):
        y = rng.integers(0, 4, 250)
        drawn.append(influence(means[y] + rng.normal(size=(250, 6)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 250 for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.2)
