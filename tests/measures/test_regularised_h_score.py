import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.covariance import LedoitWolf

from hf_leep import measures
from hf_leep.measures.regularised_h_score import shrinkage
from tests.strategies import feature_problems


def by_definition(f, y):
    """tr(Σ_α⁻¹ (1 − α) cov(E[f|Y])) with scikit-learn's Ledoit–Wolf and an explicit pseudo-inverse."""
    found = LedoitWolf().fit(f)
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    between = np.cov(means, rowvar=False, bias=True).reshape(f.shape[1], -1)
    inverse = np.linalg.pinv(found.covariance_, rcond=1e-10, hermitian=True)
    return (1 - found.shrinkage_) * np.trace(inverse @ between)


@settings(max_examples=60)
@given(feature_problems())
def test_equals_its_definition_with_the_covariance_of_scikit_learn(problem):
    f, y = problem[0][:, np.ptp(problem[0], axis=0) > 0], problem[1]  # scikit-learn counts constant columns in d
    if f.shape[1] == 1:  # scikit-learn treats one column separately and shrinks nothing
        assert shrinkage(f) == 0.0
    assert shrinkage(f) == pytest.approx(LedoitWolf().fit(f).shrinkage_, abs=1e-9)
    assert measures.regularised_h_score(f, y) == pytest.approx(by_definition(f, y), abs=1e-6)


def test_the_shrinkage_is_ledoit_and_wolfs_as_a_loop_over_examples(rng):
    f = rng.normal(size=(15, 6)) * [1, 2, 3, 1, 1, 5]
    centred = f - f.mean(axis=0)
    covariance = centred.T @ centred / 15
    target = np.trace(covariance) / 6 * np.eye(6)
    error = sum(((np.outer(x, x) - covariance) ** 2).sum() for x in centred) / 15**2  # b̄² of the paper
    assert shrinkage(f) == pytest.approx(min(error / ((covariance - target) ** 2).sum(), 1.0), abs=1e-12)


@given(feature_problems())
def test_is_never_above_the_h_score(problem):
    # Axis k adds its part of the H-score times (1 − α) λ_k/((1 − α) λ_k + α μ) ≤ 1.
    # Adjusting lowers it further: (M − E) H ≥ M (H − E) for H ≤ M = t − 1.
    f, y = problem
    published = measures.regularised_h_score(f, y)
    assert 0.0 <= published <= measures.h_score(f, y) + 1e-9
    assert measures.regularised_h_score(f, y, adjusted=True) <= published + 1e-9


@pytest.mark.parametrize("d", [3, 12])
def test_is_zero_on_average_over_all_orders_of_the_labels(rng, d):
    f, y = rng.normal(size=(6, d)) * 2.0 ** -np.arange(d), [0, 0, 0, 1, 1, 2]
    scores = [measures.regularised_h_score(f, order, adjusted=True) for order in set(itertools.permutations(y))]
    assert np.mean(scores) == pytest.approx(0.0, abs=1e-9)
    assert max(scores) > 0.1


def test_wide_features_with_a_steep_spectrum_gain_nothing_by_fitting_any_labels(rng):
    # As of an untrained text encoder: little is shrunk, and any labels score close to the maximum.
    y = np.arange(160) % 10
    wide = rng.normal(size=(160, 384)) / np.arange(1, 385) ** 0.5
    narrow = (rng.normal(size=(10, 32))[y] + rng.normal(size=(160, 32))) / np.arange(1, 33)
    published = [measures.regularised_h_score(f, y) for f in (wide, narrow)]
    assert published[0] > published[1]
    adjusted = [measures.regularised_h_score(f, y, adjusted=True) for f in (wide, narrow)]
    assert abs(adjusted[0]) < 1
    assert adjusted[1] > 4


def test_where_all_labels_score_the_same_the_score_is_zero():
    assert (
        measures.regularised_h_score(np.eye(4), [0, 0, 1, 1], adjusted=True) == 0.0
    )  # a multiple of I: nothing is shrunk


def test_approaches_the_h_score_as_n_grows(rng):
    # Ledoit and Wolf's error is O(1/n), the distance from a multiple of I is not: α → 0.
    y = rng.integers(0, 3, 20_000)
    f = rng.normal(size=(20_000, 4)) * [1, 2, 3, 4] + y[:, None]
    assert measures.regularised_h_score(f, y) == pytest.approx(measures.h_score(f, y), abs=2e-3)


def test_shifting_rotating_and_rescaling_change_nothing(rng):
    y = rng.integers(0, 3, 40)
    for d in (5, 60):
        f = rng.normal(size=(40, d)) + y[:, None]
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        score = measures.regularised_h_score(f, y)
        assert measures.regularised_h_score(1e-3 * f @ rotation + 10, y) == pytest.approx(score, abs=1e-8)
        assert measures.regularised_h_score(1e200 * f, y) == pytest.approx(score, abs=1e-9)


def test_noise_scores_less_than_signal_where_the_h_score_cannot_tell_them_apart(rng):
    y = np.arange(60) % 4
    noise = rng.normal(size=(60, 100))
    signal = noise + 2 * rng.normal(size=(4, 100))[y]
    assert measures.h_score(noise, y) == pytest.approx(measures.h_score(signal, y), abs=1e-9)
    of_noise, of_signal = (measures.regularised_h_score(f, y, adjusted=True) for f in (noise, signal))
    assert abs(of_noise) < 0.2 * of_signal


def test_constant_features_score_zero():
    assert measures.regularised_h_score([[0.1, 0.7]] * 6, [0, 1, 2, 0, 1, 2]) == 0.0
