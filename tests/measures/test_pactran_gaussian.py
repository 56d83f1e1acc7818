import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.pactran_gaussian import influence
from tests.strategies import feature_problems


def entropy(y):
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    return -(frequency * np.log(frequency)).sum()


def by_definition(f, y, strength=1.0):
    """The paper's bound: a dense minimisation, and the trace from second differences of the loss, one by one."""
    n, d = f.shape
    codes = np.unique(y, return_inverse=True)[1]
    t = codes.max() + 1
    x, one_hot = f - f.mean(axis=0), np.eye(t)[codes]

    def loss(w):
        return -(one_hot * log_softmax(x @ w[:-1] + w[-1], axis=1)).sum() / n

    def risk(flat):
        w = flat.reshape(d + 1, t)
        residual = (softmax(x @ w[:-1] + w[-1], axis=1) - one_hot) / n
        gradient = np.vstack([x.T @ residual + w[:-1] / (strength * n), residual.sum(axis=0)])
        return loss(w) + (w[:-1] ** 2).sum() / (2 * strength * n), gradient.ravel()

    found = minimize(risk, np.zeros((d + 1) * t), jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 5000})
    w, step, trace = found.x.reshape(d + 1, t), 1e-3, 0.0
    for place in np.ndindex(d, t):
        moved = [w.copy(), w.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        trace += (loss(moved[0]) - 2 * loss(w) + loss(moved[1])) / step**2
    beta, variance = n * d / 10, 10 * strength / d
    return -found.fun - t * d / (2 * beta) * np.log(1 + beta * variance / (t * d) * trace)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("n", "d", "t"), [(40, 3, 2), (40, 3, 4), (12, 20, 3)])
def test_equals_the_bound_with_a_dense_minimum_and_a_trace_by_differences(rng, n, d, t, strength):
    y = rng.permutation(np.arange(n) % t) * 3
    f = 2 + rng.normal(size=(n, d)) + rng.normal(size=(12, d))[y]
    assert measures.pactran_gaussian(f, y, strength) == pytest.approx(by_definition(f, y, strength), abs=1e-5)


def test_a_prior_that_allows_no_weights_scores_the_class_entropy(rng):
    # λ → 0: W → 0, so p → π, and β σ₀² → 0.
    y = rng.permutation(np.repeat([0, 1, 2], [20, 10, 10]))
    f = rng.normal(size=(40, 6)) + y[:, None]
    assert measures.pactran_gaussian(f, y, 1e-9) == pytest.approx(-entropy(y), abs=1e-6)


def test_constant_features_score_the_class_entropy():
    y = [0] * 9 + [2] * 5 + [7]
    assert measures.pactran_gaussian(np.full((15, 3), 0.1), y) == pytest.approx(-entropy(y), abs=1e-9)


@settings(max_examples=25)
@given(feature_problems())
def test_is_finite_and_never_positive(problem):
    assert -np.inf < measures.pactran_gaussian(*problem) <= 0.0


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_extreme_units_give_numbers(rng, factor):
    y = np.arange(30) % 3
    assert np.isfinite(measures.pactran_gaussian(factor * rng.normal(size=(30, 4)), y))


def test_shifting_rotating_and_constant_columns_change_nothing_and_rescaling_does(rng):
    y = rng.integers(0, 3, 60)
    for d in (5, 80):
        f = rng.normal(size=(60, d)) + y[:, None] / 2
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        score = measures.pactran_gaussian(f, y)
        assert measures.pactran_gaussian(f @ rotation + 10, y) == pytest.approx(score, abs=1e-6)
        assert measures.pactran_gaussian(3 * f, y) != pytest.approx(score, abs=1e-3)
        wider = np.hstack([f, np.ones((60, d))])
        assert measures.pactran_gaussian(wider, y) == pytest.approx(score, abs=1e-6)


def test_signal_scores_above_noise(rng):
    y = np.arange(200) % 4
    noise = rng.normal(size=(200, 20))
    assert measures.pactran_gaussian(noise + 2 * np.eye(4, 20)[y], y) > measures.pactran_gaussian(noise, y) + 0.3


@pytest.mark.parametrize(("n", "d"), [(60, 6), (200, 6), (40, 60)])
def test_standard_error_agrees_with_independent_samples(rng, n, d):
    # A standard error from ten groups is accurate to 24 %, its mean over 40 samples to 4 %, std of 40 draws to 11 %.
    means = np.random.default_rng(8).normal(size=(4, d)) / (1 if d == 6 else 4)
    drawn = []
    for _ in range(40):
        y = rng.integers(0, 4, n)
        drawn.append(influence(means[y] + rng.normal(size=(n, d)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / len(values) for _, values in drawn]))
    assert 0.7 * actual < claimed < 2 * actual


def test_a_class_without_examples_in_a_part_is_left_out_there():
    # Without the last example its class does not occur: the score must be that of the other examples alone.
    f, y = np.random.default_rng(3).normal(size=(12, 2)), np.array([0, 1, 2] * 3 + [0, 1, 3])
    value, values = influence(f, y)
    alone = [measures.pactran_gaussian(np.delete(f, i, axis=0), np.delete(y, i)) for i in range(12)]
    expected = -11 * (np.array(alone) - np.mean(alone))
    np.testing.assert_allclose(np.sort(values), np.sort(expected), atol=0.05)  # parts are fitted roughly; times 11
    assert value == measures.pactran_gaussian(f, y)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf")])
def test_the_strength_must_be_positive_and_finite(strength):
    with pytest.raises(InputError, match="strength must be positive and finite"):
        measures.pactran_gaussian([[0.0], [1.0]], [0, 1], strength)
