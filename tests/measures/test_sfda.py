import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hf_leep import measures
from hf_leep.measures.sfda import influence
from tests.strategies import feature_problems


def discriminant(x, y, shrinkage):
    """p(y|x) of scikit-learn's discriminant analysis with the shrunk covariance, ``[n, t]``, columns by label."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y).predict_proba(x)


def by_definition(f, y):
    labels = np.unique(y)
    within = sum((y == c).mean() * np.cov(f[y == c], rowvar=False, bias=True).reshape(f.shape[1], -1) for c in labels)
    shrinkage = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)
    soft = np.exp(discriminant(f, y, shrinkage))
    soft /= soft.sum(axis=1, keepdims=True)
    means = {c: f[y == c].mean(axis=0) for c in labels}
    mixed = f.copy()
    for i, label in enumerate(y):
        others = np.mean([means[c] for c in labels if c != label], axis=0)
        own = soft[i, list(labels).index(label)]
        mixed[i] = own * f[i] + (1 - own) * others
    p = discriminant(mixed, y, shrinkage)
    return np.mean([p[i, list(labels).index(label)] for i, label in enumerate(y)])


@pytest.mark.parametrize("t", [2, 4])
@pytest.mark.parametrize("unit", [0.05, 0.3, 2.0])
@pytest.mark.parametrize(("n", "d"), [(80, 5), (40, 40), (30, 50)])
def test_equals_two_discriminants_of_scikit_learn(rng, n, d, unit, t):
    if d >= n and unit > 1:
        pytest.skip("nothing is shrunk: scikit-learn's solver meets a singular matrix")
    y = rng.permutation(np.arange(n) % t) * 3
    f = unit * (rng.normal(size=(n, d)) + 0.3 * rng.normal(size=(12, d))[y])
    assert measures.sfda(f, y) == pytest.approx(by_definition(f, y), abs=1e-6)


@settings(max_examples=60)
@given(feature_problems())
def test_is_a_probability(problem):
    assert 0.0 <= measures.sfda(*problem) <= 1.0


def test_distant_classes_score_one_and_classes_of_the_same_points_their_prior(rng):
    y = np.arange(60) % 3
    points = rng.normal(size=(20, 4))
    # Far apart, p(y|x) → 1, so each example keeps most of itself, and the mixed classes are far apart too.
    assert measures.sfda(points[np.arange(60) // 3] + 1e3 * np.eye(3, 4)[y], y) == pytest.approx(1, abs=1e-9)
    # With equal means p(y|x) = π_y, and mixing moves all classes alike.
    assert measures.sfda(points[np.arange(60) // 3], y) == pytest.approx(1 / 3, abs=1e-9)


def test_constant_features_score_by_the_priors():
    assert measures.sfda([[0.1, 0.7]] * 4, [0, 0, 0, 1]) == pytest.approx(0.75**2 + 0.25**2)


def test_noise_scores_one_when_n_is_at_most_d(rng):
    assert measures.sfda(3 * rng.normal(size=(30, 60)), np.arange(30) % 3) == pytest.approx(1, abs=1e-9)


def test_classes_of_identical_points_are_separated_unless_at_the_same_point():
    y = [0, 0, 1, 1, 2, 2]
    assert measures.sfda(np.repeat([[0.0, 1.0], [3.0, 1.0], [0.0, 5.0]], 2, axis=0), y) == pytest.approx(1, abs=1e-9)
    half = measures.sfda(np.repeat([[0.0, 1.0], [0.0, 1.0], [0.0, 5.0]], 2, axis=0), y)
    assert 0.3 < half < 0.9


def test_shifting_and_rotating_change_nothing_and_rescaling_does(rng):
    y = rng.integers(0, 3, 60)
    for d in (5, 80):
        f = 0.2 * rng.normal(size=(60, d)) + 0.1 * y[:, None]
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        assert measures.sfda(f @ rotation + 1, y) == pytest.approx(measures.sfda(f, y), abs=1e-8)
    assert measures.sfda(10 * f, y) != pytest.approx(measures.sfda(f, y), abs=1e-3)
    assert np.isfinite(measures.sfda(1e200 * f, y))
    assert np.isfinite(measures.sfda(1e-200 * f, y))


def test_repeating_the_data_set_changes_nothing(rng):
    y = rng.integers(0, 3, 60)
    f = rng.normal(size=(60, 5)) + y[:, None] / 2
    assert measures.sfda(np.tile(f, (2, 1)), np.tile(y, 2)) == pytest.approx(measures.sfda(f, y), abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (45, 60), (50, 50)])
def test_the_jackknife_scores_a_part_as_if_it_were_all_the_data(rng, n, d):
    y = rng.permutation(np.append(np.arange(n - 2) % 3, [5, 5]))
    f = 1e3 + 0.3 * (rng.normal(size=(n, d)) + rng.normal(size=(6, d))[y])
    f[:, 1] = 0.1  # a constant column
    group = np.random.default_rng(n).permutation(n) % 10
    without = np.array([measures.sfda(f[group != g], y[group != g]) for g in range(10)])
    value, found = influence(f, y)
    assert value == measures.sfda(f, y)
    np.testing.assert_allclose(found, 9 * (without.mean() - without), atol=1e-8)
