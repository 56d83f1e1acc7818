import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from tests.strategies import feature_problems


def by_definition(f, y):
    """R(Z) − Σ π_y R(Z_y) with determinants of d by d matrices, on features centred and of total variance 1."""

    def rate(z):
        return 0.5 * np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1]

    z = f - f.mean(axis=0)
    z = z / np.sqrt((z**2).sum() / len(z))
    return rate(z) - sum((y == label).mean() * rate(z[y == label]) for label in np.unique(y))


@given(feature_problems())
def test_equals_its_definition(problem):
    assert measures.transrate(*problem) == pytest.approx(by_definition(*problem), abs=1e-7)


@given(feature_problems())
def test_lies_between_zero_and_the_rate_of_isotropic_features(problem):
    # log det is concave and Σ π_y Z_yᵀZ_y/n_y = ZᵀZ/n, so the rate given the class is at most R(Z); R(Z) with total
    # variance 1 on k axes is at most (k/2) log(1 + 1/(k ε)) ≤ (k/2) log(1 + 1/ε).
    f, y = problem
    axes = min(len(f) - 1, f.shape[1])
    assert 0.0 <= measures.transrate(f, y) <= axes / 2 * np.log1p(1e4)


def test_classes_on_separate_axes_in_closed_form():
    # Class 0 at ±e₁, class 1 at ±e₂: ZᵀZ/n = I/2, and e_c e_cᵀ for each class.
    f = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    expected = np.log1p(0.5e4) - 0.5 * np.log1p(1e4)
    assert measures.transrate(f, [0, 0, 1, 1]) == pytest.approx(expected, abs=1e-12)


def test_classes_of_the_same_points_score_zero(rng):
    points = rng.normal(size=(20, 5))
    assert measures.transrate(np.vstack([points, points, points]), np.repeat([0, 1, 2], 20)) < 1e-12


def test_classes_are_weighted_by_size(rng):
    y = np.array([0] * 50 + [1] * 5)
    f = rng.normal(size=(55, 3)) + 2 * y[:, None]
    assert measures.transrate(f, y) == pytest.approx(by_definition(f, y), abs=1e-10)
    assert measures.transrate(np.tile(f, (3, 1)), np.tile(y, 3)) == pytest.approx(by_definition(f, y), abs=1e-9)


def test_shifting_rotating_and_rescaling_change_nothing(rng):
    y = rng.integers(0, 3, 40)
    for d in (5, 60):
        f = rng.normal(size=(40, d)) + y[:, None]
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        score = measures.transrate(f, y)
        assert measures.transrate(1e-3 * f @ rotation + 10, y) == pytest.approx(score, abs=1e-7)
        assert measures.transrate(1e200 * f, y) == pytest.approx(score, abs=1e-9)
        assert measures.transrate(np.hstack([f, np.full((40, 1), 0.1)]), y) == pytest.approx(score, abs=1e-9)


def test_constant_features_score_zero():
    assert measures.transrate([[0.1, 0.7]] * 6, [0, 1, 2, 0, 1, 2]) == 0.0


def test_a_class_of_many_examples_is_processed_in_blocks(rng):
    y = np.array([0] * 5000 + [1] * 100)
    f = rng.normal(size=(5100, 4)) + y[:, None]
    assert measures.transrate(f, y) == pytest.approx(by_definition(f, y), abs=1e-10)
