import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from hf_leep import arrays, measures
from hf_leep.measures.n_leep import TOLERANCE, _seeds, _Sums, fit, influence, posteriors, reduced, start
from tests.strategies import feature_problems


def points_of(f, y):
    return reduced(arrays.features(f), arrays.labels(y, len(f)))


@pytest.mark.parametrize(("n", "d"), [(200, 6), (120, 30), (60, 90)])
def test_equals_pca_mixture_and_leep_of_scikit_learn_from_the_same_start(rng, n, d):
    y = rng.integers(0, 3, n)
    f = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d) + 0.7 * rng.normal(size=(3, d))[y]
    x = PCA(0.8, svd_solver="full").fit_transform(f)
    x /= np.sqrt((x**2).mean())
    points = points_of(f, y)
    np.testing.assert_allclose(np.abs(points[:, ::-1]), np.abs(x), atol=1e-8)  # the signs of axes are arbitrary
    begin = start(points, min(15, n // 5))
    mixture = GaussianMixture(
        len(begin.weights),
        covariance_type="diag",
        weights_init=begin.weights,
        means_init=begin.means,
        precisions_init=1 / begin.variances,
        reg_covar=1e-6,
        tol=TOLERANCE * points.shape[1],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = mixture.fit(points).predict_proba(points)
    np.testing.assert_allclose(posteriors(points, fit(points, begin)), expected, atol=1e-7)
    assert measures.n_leep(f, y) == pytest.approx(measures.leep(expected, y), abs=1e-7)


def test_examples_on_a_few_points_score_the_entropy_of_the_class_given_the_point(rng):
    # Each point becomes a component of variance 1e-6, so the posteriors are one-hot, and LEEP of those is NCE.
    y = rng.integers(0, 3, 300)
    point = (y + (rng.random(300) < 0.3)) % 3
    f = np.eye(3, 5)[point] + 2
    joint = np.array([[((y == a) & (point == b)).sum() for b in range(3)] for a in range(3)]) / 300
    expected = -entropy(joint.ravel()) + entropy(joint.sum(axis=0))
    assert measures.n_leep(f, y) == pytest.approx(expected, abs=1e-9)


def test_distant_classes_score_zero_and_constant_features_the_class_entropy(rng):
    y = np.arange(90) % 3
    assert measures.n_leep(1e3 * np.eye(3, 4)[y] + rng.normal(size=(90, 4)), y) == pytest.approx(0, abs=1e-9)
    assert measures.n_leep([[0.1, 0.7]] * 6, [0, 1, 2, 0, 1, 2]) == pytest.approx(-np.log(3))
    assert measures.n_leep(rng.normal(size=(6, 2)), [0, 1, 2, 0, 1, 2]) == pytest.approx(-np.log(3))  # one cluster


@settings(max_examples=40)
@given(feature_problems())
def test_is_a_mean_of_logarithms_of_probabilities(problem):
    assert measures.n_leep(*problem) <= 0.0
    assert np.isfinite(measures.n_leep(*problem))


def test_there_are_never_more_clusters_than_a_fifth_of_the_examples(rng):
    # With as many clusters as examples noise would score 0. With 5 examples per cluster it stays well below.
    y = np.arange(200) % 40
    assert measures.n_leep(rng.normal(size=(200, 10)), y) < -1.0


def test_shifting_rotating_and_rescaling_change_nothing(rng):
    y = rng.integers(0, 3, 90)
    for d in (5, 120):
        f = rng.normal(size=(90, d)) * np.linspace(3, 1, d) + y[:, None]
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        score = measures.n_leep(f, y)
        assert measures.n_leep(1e-3 * f @ rotation + 10, y) == pytest.approx(score, abs=1e-6)
        assert measures.n_leep(1e200 * f, y) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("overlapping", [1, 60])
def test_sums_are_the_same_whether_few_clusters_or_all_share_an_example(rng, overlapping):
    posterior = rng.dirichlet(np.ones(60), size=200) * (
        rng.permuted(np.tile(np.arange(60), (200, 1)), axis=1) < overlapping
    )
    block = rng.normal(size=(200, 7))
    sums = _Sums(60, 7)
    sums.add(posterior, block)
    np.testing.assert_allclose(sums.first, np.einsum("nc,nq->cq", posterior, block), atol=1e-13)
    np.testing.assert_allclose(sums.second, np.einsum("nc,nq->cq", posterior, block**2), atol=1e-13)
    np.testing.assert_allclose(sums.mass, posterior.sum(axis=0), atol=1e-13)


def test_a_step_of_em_never_lowers_the_likelihood(rng):
    y = rng.integers(0, 3, 200)
    points = points_of(rng.normal(size=(200, 6)) + y[:, None], y)

    def likelihood(mixture):
        joint = mixture.log_joint(points)
        return np.logaddexp.reduce(joint, axis=1).mean()

    begin = start(points, 15)
    assert likelihood(fit(points, begin)) > likelihood(begin)
    np.testing.assert_allclose(begin.weights.sum(), 1)


def test_halves_in_float32_vary_as_much(rng, monkeypatch):
    # Ten values vary by 24 %, and the mean over 12 samples by 7 %.
    means = rng.normal(size=(4, 6))
    drawn = [(means[y] + rng.normal(size=(120, 6)), y) for y in rng.integers(0, 4, (12, 120))]
    wide = np.mean([influence(f, y)[1].var() for f, y in drawn])
    monkeypatch.setattr(sys.modules["hf_leep.measures.n_leep"], "_MAX_FLOAT64", 0)
    narrow = np.mean([influence(f, y)[1].var() for f, y in drawn])
    assert narrow == pytest.approx(wide, rel=0.5)


def test_seeds_are_different_points_and_reach_every_distant_cluster(rng):
    points = (np.repeat(100.0 * np.arange(8), 20)[:, None] + rng.normal(size=(160, 3))).astype(np.float32)
    seeds = _seeds(points, 8)
    assert sorted(np.repeat(np.arange(8), 20)[seeds]) == list(range(8))
