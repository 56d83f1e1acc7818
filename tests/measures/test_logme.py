import numpy as np
import pytest
from hypothesis import given, settings

from hf_leep import measures
from hf_leep.measures.logme import influence
from tests.strategies import feature_problems


def log_density(y, f, log_alpha, log_beta):
    """log N(y; 0, β⁻¹I + α⁻¹ffᵀ), from the dense covariance."""
    n = len(y)
    covariance = np.exp(-log_beta) * np.eye(n) + np.exp(-log_alpha) * f @ f.T
    _, log_det = np.linalg.slogdet(covariance)
    return -0.5 * (n * np.log(2 * np.pi) + log_det + y @ np.linalg.solve(covariance, y))


def by_definition(f, y):
    """The density maximised over a grid of α/β, with β in closed form, then refined by Nelder–Mead."""
    from scipy.optimize import minimize

    evidences = []
    for label in np.unique(y):
        target = (y == label).astype(float)
        starts = [(a, b) for a in (-8, -2, 4, 10) for b in (0, 2)]
        best = min(
            (
                minimize(
                    lambda q, target=target: -log_density(target, f, *np.clip(q, -18, 18)),
                    start,
                    method="Nelder-Mead",
                    options={"maxiter": 500, "xatol": 1e-6, "fatol": 1e-9},
                )
                for start in starts
            ),
            key=lambda found: found.fun,
        )
        evidences.append(-best.fun / len(y))
    return np.mean(evidences)


@pytest.mark.parametrize(("n", "d"), [(25, 4), (15, 15), (12, 30)])
def test_equals_the_density_of_the_marginal_gaussian(rng, n, d):
    y = np.arange(n) % 3
    f = rng.normal(size=(n, d)) + 0.5 * y[:, None]
    assert measures.logme(f, y) == pytest.approx(by_definition(f, y), abs=1e-4)


def test_equals_it_with_collinear_and_constant_columns_and_a_single_example(rng):
    y = np.array([0] * 10 + [1] * 9 + [2])
    f = rng.normal(size=(20, 5)) + 0.5 * y[:, None]
    f[:, 1], f[:, 2] = 3 * f[:, 0], 1.5
    assert measures.logme(f, y) == pytest.approx(by_definition(f, y), abs=1e-4)


@settings(max_examples=30)
@given(feature_problems())
def test_no_hyperparameters_do_better(problem):
    f, y = problem
    score = measures.logme(f, y)
    scale = np.log((f * f).sum() / len(f))
    generator = np.random.default_rng(0)
    for _ in range(5):
        log_beta = generator.uniform(-1, 3)
        log_alpha = log_beta + scale + generator.uniform(-6, 6)
        classes = [(y == label).astype(float) for label in np.unique(y)]
        fixed = np.mean([log_density(target, f, log_alpha, log_beta) for target in classes]) / len(y)
        assert score >= fixed - 1e-6


@settings(max_examples=30)
@given(feature_problems())
def test_rotating_and_rescaling_features_change_nothing(problem):
    f, y = problem
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(f.shape[1],) * 2))
    assert measures.logme(7.0 * f @ rotation, y) == pytest.approx(measures.logme(f, y), abs=1e-6)


def test_noise_is_not_rewarded_when_there_are_fewer_examples_than_features(rng):
    # Features that say nothing leave N(y; 0, β⁻¹I) at best: −½ log(2π k/n) − ½ for a class of k of n examples.
    y = np.arange(200) % 5
    ceiling = -0.5 * np.log(2 * np.pi / 5) - 0.5
    assert measures.logme(rng.normal(size=(200, 768)), y) == pytest.approx(ceiling, abs=0.02)


def test_standard_error_agrees_with_independent_samples(rng):
    means = np.random.default_rng(8).normal(size=(4, 6)) / 2
    drawn = []
    for _ in range(200):
        y = rng.integers(0, 4, 250)
        drawn.append(influence(means[y] + rng.normal(size=(250, 6)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 250 for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.2)
