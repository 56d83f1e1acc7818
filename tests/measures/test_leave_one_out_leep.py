import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS, chosen_prior_weight, floor, influence
from tests.strategies import population, problems


def refitted(p, y, a):
    """The predictor estimated again without each example: O(n² s)."""
    classes, codes = np.unique(y, return_inverse=True)
    n, t, total = len(p), len(classes), 0.0
    for i in range(n):
        others = np.arange(n) != i
        in_class = np.stack([p[others & (codes == c)].sum(axis=0) for c in range(t)])
        prior = (np.sum(others & (codes == codes[i])) + 1 / t) / n
        total += np.log((p[i] * (in_class[codes[i]] + a * prior) / (in_class.sum(axis=0) + a)).sum())
    return total / n


@given(problems(max_n=15, max_s=6), st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e4]))
def test_equals_refitting_without_each_example(problem, a):
    p, y = problem
    assert measures.leave_one_out_leep(p, y, prior_weight=a) == pytest.approx(min(refitted(p, y, a), 0), abs=1e-9)


@given(problems())
def test_uses_the_best_prior_weight_and_is_finite(problem):
    p, y = problem
    score = measures.leave_one_out_leep(p, y)
    each = [measures.leave_one_out_leep(p, y, prior_weight=a) for a in PRIOR_WEIGHTS]
    assert score == pytest.approx(max(each), abs=1e-12)
    assert -np.inf < score <= 0.0
    assert measures.leave_one_out_leep(p, y, chosen_prior_weight(p, y)) == pytest.approx(score, abs=1e-12)


@given(problems())
def test_never_falls_below_its_floor(problem):
    # An infinite prior weight is among the choices and gives the floor exactly, up to rows that sum to 1 ± rounding.
    p, y = problem
    assert measures.leave_one_out_leep(p, y) >= floor(y) - 1e-12
    assert measures.leave_one_out_leep(p, y, float("inf")) == pytest.approx(floor(y), abs=1e-12)


@given(problems())
def test_is_invariant_to_order_and_label_names(problem):
    p, y = problem
    generator = np.random.default_rng(0)
    rows, columns = generator.permutation(len(p)), generator.permutation(p.shape[1])
    score = measures.leave_one_out_leep(p, y)
    assert measures.leave_one_out_leep(p[rows][:, columns], y[rows]) == pytest.approx(score, abs=1e-9)
    assert measures.leave_one_out_leep(p, [f"class {v}" for v in y]) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("s", [10, 100, 1000, 21843])
@pytest.mark.parametrize("sharp", [True, False])
@pytest.mark.parametrize("balanced", [True, False])
def test_random_predictions_of_any_width_score_the_floor(rng, s, sharp, balanced):
    n = 300 if s > 1000 else 500
    y = np.arange(n) % 10 if balanced else rng.geometric(0.3, n).clip(max=10) - 1
    if sharp:  # certain of one random class
        p = np.full((n, s), 0.02 / s)
        p[np.arange(n), rng.integers(0, s, n)] += 0.98
    else:
        p = rng.exponential(size=(n, s)) ** 3
        p /= p.sum(axis=1, keepdims=True)
    assert measures.leave_one_out_leep(p, y) == pytest.approx(floor(y), abs=0.01)
    if sharp and s > 100:
        assert measures.leep(p, y) > floor(y) + 0.5  # LEEP of the same noise


def test_predicts_the_score_on_fresh_rows(rng):
    p, y = population(rng, 400, 100, 5)
    fresh_p, fresh_y = population(rng, 20000, 100, 5)
    joint = np.stack([p[y == c].sum(axis=0) for c in range(5)])
    fresh = np.log(((joint / joint.sum(axis=0))[fresh_y] * fresh_p).sum(axis=1)).mean()
    assert measures.leave_one_out_leep(p, y) == pytest.approx(fresh, abs=0.04)
    assert measures.leep(p, y) > fresh + 0.03


@pytest.mark.parametrize(("n", "s", "repeats"), [(50, 100, 300), (100, 50, 300), (300, 30, 200)])
def test_standard_error_agrees_with_independent_samples(rng, n, s, repeats):
    # n/s = 0.5, 2 and 10
    drawn = [influence(*population(rng, n, s, 5)) for _ in range(repeats)]
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / n for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.15)  # std of 200 draws is accurate to 5 %


def test_standard_error_includes_the_error_of_the_predictor(rng):
    # A predictor from few rows is itself uncertain, which std of the terms ignores.
    p, y = population(rng, 200, 50, 5)
    a = chosen_prior_weight(p, y)
    joint = np.stack([p[y == c].sum(axis=0) for c in range(5)])
    prior = (np.bincount(y) - 1 + 1 / 5) / 200
    terms = np.log((p * (joint[y] - p + a * prior[y, None]) / (joint.sum(axis=0) - p + a)).sum(axis=1))
    assert measures.leave_one_out_leep(p, y) == pytest.approx(terms.mean(), abs=1e-9)
    assert measures.standard_error("leave-one-out-leep", p, y) > 1.1 * terms.std(ddof=1) / np.sqrt(200)


def test_influence_is_the_derivative_by_weight_plus_half_the_own_term(rng):
    p, y = population(rng, 40, 5, 3)
    a = chosen_prior_weight(p, y)
    assert np.isfinite(a)
    counts = np.bincount(y)

    def weighted(w):
        # Example i of weight w_i counts w_i times for the others, and is left out of its own predictor once.
        weights = w[:, None] * p
        joint = np.stack([weights[y == c].sum(axis=0) for c in range(3)])
        size = np.array([w[y == c].sum() for c in range(3)])
        prior = (size[y] - w + 1 / 3) / len(p)
        h = (p * (joint[y] - weights + a * prior[:, None]) / (joint.sum(axis=0) - weights + a)).sum(axis=1)
        return (w * np.log(h)).sum() / len(p)

    assert weighted(np.ones(40)) == pytest.approx(measures.leave_one_out_leep(p, y), abs=1e-9)

    def left_in(w):
        joint = np.stack([(w[:, None] * p)[y == c].sum(axis=0) for c in range(3)])
        prior = (counts[y] - 1 + 1 / 3) / len(p)
        return np.log((p * (joint[y] + a * prior[:, None]) / (joint.sum(axis=0) + a)).sum(axis=1))

    _, values = influence(p, y)
    expected = []
    for e in 1e-5 * np.eye(40):
        slope = (weighted(1 + e) - weighted(1 - e)) / 2e-5 * 40
        pull = (left_in(1 + e) - left_in(1 - e))[e > 0].item() / 2e-5
        expected.append(slope + pull / 2)
    np.testing.assert_allclose(values, np.array(expected) - np.mean(expected), atol=1e-5)
    assert counts.min() > 1


def test_a_class_of_one_example_stays_finite():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.0, 1.0]])
    assert np.isfinite(measures.leave_one_out_leep(p, [0, 0, 1, 2]))
    assert np.isfinite(influence(p, [0, 0, 1, 2])[1]).all()


@pytest.mark.parametrize("a", [0.0, -1.0, float("nan")])
def test_a_prior_weight_must_be_positive(a):
    with pytest.raises(InputError, match="prior_weight must be positive"):
        measures.leave_one_out_leep([[0.5, 0.5], [0.5, 0.5]], [0, 1], prior_weight=a)
