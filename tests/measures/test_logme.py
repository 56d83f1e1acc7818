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
    # Features without information leave N(y; 0, β⁻¹I) at best: −½ log(2π k/n) − ½ for a class of k of n examples.
    y = np.arange(200) % 5
    ceiling = -0.5 * np.log(2 * np.pi / 5) - 0.5
    assert measures.logme(rng.normal(size=(200, 768)), y) == pytest.approx(ceiling, abs=0.02)


@pytest.mark.parametrize(("n", "d"), [(60, 120), (80, 80), (150, 50), (300, 6)])
def test_standard_error_agrees_with_independent_samples_at_any_n_to_d(rng, n, d):
    # A standard error from ten groups is accurate to 1/√18 = 24 %, its mean over 20 samples to 5 %, std of 80 draws
    # to 8 %. The jackknife is too large for n < d.
    means = np.random.default_rng(8).normal(size=(4, d)) / (2 if d < 10 else 4)
    labels = rng.integers(0, 4, (80, n))
    drawn = [(means[y] + rng.normal(size=(n, d)), y) for y in labels]
    actual = np.std([measures.logme(f, y) for f, y in drawn], ddof=1)
    claimed = np.sqrt(np.mean([measures.standard_error("logme", f, y) ** 2 for f, y in drawn[:20]]))
    assert 0.8 * actual < claimed < (2.2 if n < d else 1.5) * actual


def test_the_influence_is_the_jackknife_over_its_groups(rng):
    y = rng.integers(0, 3, 50)
    f = rng.normal(size=(50, 5)) + y[:, None]
    value, values = influence(f, y)
    group = np.random.default_rng(50).permutation(50) % 10
    without = np.array([measures.logme(f[group != g], y[group != g]) for g in range(10)])
    np.testing.assert_allclose(values, (10 * value - 9 * without) - (10 * value - 9 * without).mean(), atol=1e-9)


def test_no_scale_loses_precision(rng):
    y = np.arange(60) % 3
    f = rng.normal(size=(60, 4)) + y[:, None]
    score = measures.logme(f, y)
    for factor in (1e200, 1e-170, 1e-3):
        assert measures.logme(f * factor, y) == pytest.approx(score, abs=1e-9)


def test_the_maximum_is_found_to_full_precision(rng):
    from scipy.optimize import minimize_scalar

    for seed in range(20):
        generator = np.random.default_rng(seed)
        y = np.arange(40) % 2
        f = generator.normal(size=(40, 10)) + generator.uniform(0, 2) * y[:, None]
        s2, u = np.linalg.eigh(f @ f.T)
        z2 = np.stack([(u.T @ (y == c)) ** 2 for c in (0, 1)])
        best = []
        for z in z2:

            def negative(x, z=z, s2=s2):
                w = 1 + np.maximum(s2, 0) * np.exp(-x)
                return 0.5 * (40 * np.log(2 * np.pi * (z / w).sum() / 40) + np.log(w).sum() + 40)

            grid = np.linspace(-30, 30, 601)
            at = grid[np.argmin([negative(x) for x in grid])]
            found = minimize_scalar(negative, bounds=(at - 0.2, at + 0.2), method="bounded", options={"xatol": 1e-10})
            best.append(-min(found.fun, negative(at)) / 40)
        assert measures.logme(f, y) == pytest.approx(np.mean(best), abs=1e-7)


@pytest.mark.parametrize(("n", "d"), [(25, 4), (15, 15), (12, 30)])
def test_regression_equals_the_density_of_the_marginal_gaussian(rng, n, d):
    from scipy.optimize import minimize

    f = rng.normal(size=(n, d))
    y = f @ rng.normal(size=d) / np.sqrt(d) + rng.normal(size=n)
    starts = [(a, b) for a in (-4, 0, 4) for b in (-1, 1)]
    best = max(
        -minimize(lambda q: -log_density(y, f, *np.clip(q, -18, 18)), start, method="Nelder-Mead").fun
        for start in starts
    )
    assert measures.logme_regression(f, y) == pytest.approx(best / n, abs=1e-4)


def test_regression_of_class_indicators_is_logme(rng):
    y = np.arange(30) % 3
    for d in (5, 40):
        f = rng.normal(size=(30, d)) + y[:, None]
        indicators = (y[:, None] == np.arange(3)).astype(np.float32)
        assert measures.logme_regression(f, indicators) == pytest.approx(measures.logme(f, y), abs=1e-9)
        each = [measures.logme_regression(f, indicators[:, c]) for c in range(3)]
        assert np.mean(each) == pytest.approx(measures.logme(f, y), abs=1e-9)


def test_the_unit_of_a_regression_target_shifts_its_evidence_by_a_logarithm(rng):
    # The density of c·y at c·y is that of y at y, divided by |c|^n.
    f, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    score = measures.logme_regression(f, y)
    for factor in (-3.0, 1e-150, 1e200):
        assert measures.logme_regression(f, factor * y) == pytest.approx(score - np.log(abs(factor)), abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 6), (40, 60)])
def test_the_standard_error_of_a_regression_agrees_with_independent_samples(rng, n, d):
    # A standard error from ten groups is accurate to 24 %, its mean over 20 samples to 5 %, std of 80 draws to 8 %.
    slope = np.random.default_rng(8).normal(size=(d, 2)) / np.sqrt(d)
    drawn = [(f, f @ slope + rng.normal(size=(n, 2))) for f in rng.normal(size=(80, n, d))]
    actual = np.std([measures.logme_regression(f, y) for f, y in drawn], ddof=1)
    errors = [measures.logme_regression(f, y, standard_error=True)[1] for f, y in drawn[:20]]
    claimed = np.sqrt(np.mean(np.square(errors)))
    assert 0.8 * actual < claimed < (2.2 if n < d else 1.5) * actual


def test_the_standard_error_of_a_regression_of_class_indicators_is_that_of_logme(rng):
    y = np.arange(50) % 3
    f = rng.normal(size=(50, 5)) + y[:, None]
    value, error = measures.logme_regression(f, (y[:, None] == np.arange(3)).astype(float), standard_error=True)
    assert value == pytest.approx(measures.logme(f, y), abs=1e-9)
    assert error == pytest.approx(measures.standard_error("logme", f, y), abs=1e-9)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1.0, 2.0], "3 rows but 2 targets"),
        ([1.0, np.nan, 2.0], "targets hold NaN or an infinity in row 1"),
        ([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]], "target 1 is 2 for all 3 examples"),
        (["a", "b", "c"], "targets must hold real numbers"),
        (np.zeros((3, 0)), r"targets must be real numbers \[n\] or \[n, m\], got shape \(3, 0\)"),
        (1.0, r"got shape \(\)"),
    ],
)
def test_regression_targets_that_cannot_be_used_are_refused(targets, message):
    from hf_leep.errors import InputError

    with pytest.raises(InputError, match=message):
        measures.logme_regression(np.eye(3), targets)
