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
