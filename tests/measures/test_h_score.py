import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.measures.h_score import influence
from tests.strategies import feature_problems


def by_definition(f, y):
    """tr(cov(f)⁺ cov(E[f|Y])), with numpy's pseudo-inverse."""
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    return np.trace(
        np.linalg.pinv(np.cov(f, rowvar=False).reshape(f.shape[1], -1), rcond=1e-10, hermitian=True)
        @ np.cov(means, rowvar=False).reshape(f.shape[1], -1)
    )


@given(feature_problems())
def test_equals_its_definition(problem):
    assert measures.h_score(*problem) == pytest.approx(by_definition(*problem), abs=1e-6)


@given(feature_problems())
def test_lies_between_zero_and_the_number_of_classes_minus_one(problem):
    # cov(E[f|Y]) has rank ≤ t − 1 and lies below cov(f), so each eigenvalue of the product is in [0, 1].
    f, y = problem
    assert -1e-9 <= measures.h_score(f, y) <= min(len(np.unique(y)) - 1, f.shape[1])


def test_is_the_explained_share_in_one_dimension(rng):
    y = np.repeat([0, 1, 2], 40)
    f = rng.normal(size=(120, 1)) + y[:, None]
    grand, means = f.mean(), np.array([f[y == c].mean() for c in range(3)])
    eta_squared = (40 * (means - grand) ** 2).sum() / ((f - grand) ** 2).sum()  # of the analysis of variance
    assert measures.h_score(f, y) == pytest.approx(eta_squared, abs=1e-12)


def test_affine_maps_and_repeated_rows_change_nothing(rng):
    y = rng.integers(0, 3, 90)
    f = rng.normal(size=(90, 6)) + y[:, None]
    score = measures.h_score(f, y)
    assert measures.h_score(f @ rng.normal(size=(6, 6)) + 100, y) == pytest.approx(score, abs=1e-8)
    assert measures.h_score(np.tile(f, (2, 1)), np.tile(y, 2)) == pytest.approx(score, abs=1e-9)


def test_columns_of_very_different_scale_and_constant_columns_are_handled(rng):
    y = rng.integers(0, 3, 90)
    f = rng.normal(size=(90, 4)) + y[:, None] / 2
    score = measures.h_score(f, y)
    assert measures.h_score(f * [1, 1e8, 1e-8, 1], y) == pytest.approx(score, abs=1e-8)
    assert measures.h_score(f * 1e200, y) == pytest.approx(score, abs=1e-9)
    assert measures.h_score(np.hstack([f, np.full((90, 1), 0.1)]), y) == pytest.approx(score, abs=1e-9)
    assert measures.h_score([[0.1, 0.7]] * 6, [0, 1, 2, 0, 1, 2]) == 0.0


def test_noise_scores_t_minus_one_when_n_is_at_most_d(rng):
    assert measures.h_score(rng.normal(size=(30, 40)), np.arange(30) % 4) == pytest.approx(3, abs=1e-9)


def test_standard_error_agrees_with_independent_samples(rng):
    means = np.random.default_rng(8).normal(size=(4, 6)) / 2
    drawn = []
    for _ in range(200):
        y = rng.integers(0, 4, 250)
        drawn.append(influence(means[y] + rng.normal(size=(250, 6)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 250 for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.2)


def test_influence_is_the_mean_of_the_derivative_by_weight_and_of_leaving_the_example_out(rng):
    y = np.array([0, *rng.integers(1, 4, 39)])  # class 0 has a single example
    f = rng.normal(size=(40, 5)) + y[:, None] / 2
    f = np.hstack([f, np.eye(40)[:, 7:8]])  # and example 7 has a column of its own
    value, found = influence(f, y)
    step, expected = 1e-4, []
    for i in range(40):
        kept = np.arange(40) != i
        without = 40 * value - 39 * measures.h_score(f[kept], y[kept])
        up, down = (weighted(f, y, np.where(kept, 1.0, 1 + sign * step)) for sign in (1, -1))
        expected.append((without + 40 * (up - down) / (2 * step)) / 2)
    np.testing.assert_allclose(found, np.array(expected) - np.mean(expected), atol=1e-5)


def weighted(f, y, weights):
    """The H-score of weighted examples."""
    share = weights / weights.sum()
    centred = f - share @ f
    means = np.stack([share[y == c] @ centred[y == c] / share[y == c].sum() for c in y])
    total, between = ((share[:, None] * part).T @ part for part in (centred, means))
    return np.trace(np.linalg.pinv(total, rcond=1e-10, hermitian=True) @ between)
