import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.ridge import influence
from hf_leep.measures.ridge_head import STRENGTHS, RidgeHead, mixture
from hf_leep.selfcheck import oracles


def problem(rng, n=60, d=10, t=4, signal=1.0):
    y = rng.permutation(np.arange(n) % t)
    return (rng.standard_normal((n, d)) + signal * rng.standard_normal((t, d))[y]).astype(np.float32), y


def refits(f, y, strength, draws):
    """Class values by regressions that are fitted anew without each draw."""
    z = np.asarray(f, dtype=np.float64)
    spread = z.std(axis=0)
    z = (z - z.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    penalty = strength * np.linalg.eigvalsh(z.T @ z).max()
    indicators = np.eye(y.max() + 1)[y]
    values, without = np.empty(indicators.shape), np.empty(indicators.shape)
    for draw in np.unique(draws):
        out = draws == draw
        center, mean = z[~out].mean(axis=0), indicators[~out].mean(axis=0)
        x = z[~out] - center
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (indicators[~out] - mean))
        values[out], without[out] = mean + (z[out] - center) @ weights, mean
    return values, without


@pytest.mark.parametrize(("n", "d"), [(60, 10), (40, 40), (30, 75)])
@pytest.mark.parametrize("size", [1, 3])
def test_predictions_are_those_of_refits_without_each_draw(rng, n, d, size):
    f, y = problem(rng, n, d, signal=0.5)
    f[:, 3] = 2.0  # a column that does not vary
    f[:, 4] = f[:, 5]
    draws = None if size == 1 else np.arange(n) // size
    head = RidgeHead.fit(f, y, draws)
    assert head.strength in STRENGTHS
    values, without = refits(f, y, head.strength, np.arange(n) if draws is None else draws)
    np.testing.assert_allclose(head.predictions, values, atol=2e-6)
    decided = (values - without + np.bincount(y) / n).argmax(axis=1)
    assert measures.ridge(f, y, draws) == pytest.approx(np.mean(decided == y), abs=1e-9)


def test_before_the_correction_it_is_scikit_learn_s(rng):
    from sklearn.linear_model import RidgeClassifierCV

    f, y = problem(rng, 80, 12)
    z = (f - f.mean(axis=0, dtype=np.float64)) / f.std(axis=0, dtype=np.float64)
    head = RidgeHead.fit(f, y)
    alpha = head.strength * np.linalg.eigvalsh(z.T @ z).max()
    theirs = RidgeClassifierCV(alphas=[alpha], store_cv_results=True, scoring=None).fit(z, y)
    errors = (np.where(np.eye(4)[y] > 0, 1.0, -1.0) - (2 * head.predictions - 1)) ** 2
    np.testing.assert_allclose(theirs.cv_results_[..., 0], errors, atol=1e-5)


def test_the_independent_oracle_agrees(rng):
    f, y = problem(rng, 50, 8)
    head = RidgeHead.fit(f, y)
    np.testing.assert_allclose(head.predictions, oracles.ridge_refits(f.astype(float), y, head.strength), atol=2e-6)


@pytest.mark.parametrize(("n", "d"), [(100, 10), (100, 100), (60, 300)])
def test_noise_is_right_as_often_as_by_chance(rng, n, d):
    y = np.arange(n) % 5
    found = [measures.ridge(rng.standard_normal((n, d)), y) for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)


def test_noise_of_two_widths_is_seldom_told_apart(rng):
    apart, y = 0, np.arange(120) % 5
    for _ in range(200):
        (a, one), (b, two) = (influence(rng.standard_normal((120, d)), y) for d in (16, 200))
        apart += abs(a - b) > 1.96 * (one - two).std(ddof=1) / np.sqrt(120)
    assert apart <= 20


def test_features_that_do_not_vary_score_the_largest_class(rng):
    y = np.array([0] * 30 + [1] * 10)
    assert measures.ridge(np.ones((40, 3)), y) == pytest.approx(0.75)
    assert influence(np.ones((40, 3)), y)[1].shape == (40,)


def test_many_classes_and_classes_of_one_example(rng):
    y = np.concatenate([np.repeat(np.arange(100), 4), [100]])
    f = rng.standard_normal((101, 30))[y] + 0.3 * rng.standard_normal((401, 30))
    assert measures.ridge(f, y) > 0.8
    assert np.isfinite(influence(f, y)[1]).all()


@given(st.integers(0, 10**6))
def test_a_mixture_is_at_least_as_likely_as_either(seed):
    rng = np.random.default_rng(seed)
    first, second = np.log(rng.uniform(0.01, 1, (2, 40)))
    weight, terms = mixture(first, second)
    assert 0 <= weight <= 1
    assert terms.mean() >= max(first.mean(), second.mean()) - 1e-9


def test_wrong_inputs():
    with pytest.raises(InputError):
        measures.ridge(np.ones((4, 2)), [0, 0, 0, 0])
