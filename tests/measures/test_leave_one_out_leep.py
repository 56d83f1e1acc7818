import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures import MEASURES
from hf_leep.measures.blocks import standard_error
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS, chosen_prior_weight, floor, influence
from tests.strategies import population, problems


def refitted(p, y, a, draws=None):
    """The predictor estimated again without each example, or each draw: O(n² s)."""
    classes, codes = np.unique(y, return_inverse=True)
    n, t, total = len(p), len(classes), 0.0
    draws = np.arange(n) if draws is None else draws
    for i in range(n):
        others = draws != draws[i]
        in_class = np.stack([p[others & (codes == c)].sum(axis=0) for c in range(t)])
        prior = (np.sum(others & (codes == codes[i])) + 1 / t) / (others.sum() + 1)
        total += np.log((p[i] * (in_class[codes[i]] + a * prior) / (in_class.sum(axis=0) + a)).sum())
    return total / n


@given(problems(max_n=15, max_s=6), st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e4]))
def test_equals_refitting_without_each_example(problem, a):
    p, y = problem
    assert measures.leave_one_out_leep(p, y, prior_weight=a) == pytest.approx(min(refitted(p, y, a), 0), abs=1e-9)


@given(problems(max_n=20, max_s=6), st.integers(2, 8), st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e4]))
def test_equals_refitting_without_each_draw(problem, number, a):
    p, y = problem
    draws = np.random.default_rng(number).permutation(np.arange(len(p)) % number)
    expected = min(refitted(p, y, a, draws), 0)
    assert measures.leave_one_out_leep(p, y, a, draws) == pytest.approx(expected, abs=1e-9)
    assert influence(p, y, draws, a)[0] == pytest.approx(expected, abs=1e-9)
    without_information = measures.leave_one_out_leep(p, y, float("inf"), draws)
    assert floor(y, draws) == pytest.approx(without_information, abs=1e-12)
    assert influence(p, y, draws, float("inf"))[0] == pytest.approx(without_information, abs=1e-12)


def topics(rng, number, heads):
    """Sentences of 15 words with 5 labels, alike within a sentence, and a head of that many classes: its topic."""
    sentence = np.repeat(np.arange(number), 15)
    favourite = rng.integers(0, 5, number)[sentence]
    y = np.where(rng.random(len(sentence)) < 0.5, favourite, rng.integers(0, 5, len(sentence)))
    logits = rng.normal(size=(len(y), heads))
    logits[np.arange(len(y)), rng.integers(0, heads, number)[sentence]] += 6
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), y, sentence


def test_a_head_that_knows_only_the_topic_of_a_sentence_scores_the_floor(rng):
    above_floor, above_fresh = [], []
    for _ in range(5):
        p, y, sentence = topics(rng, 100, 300)
        score, bottom = measures.leave_one_out_leep(p, y, draws=sentence), floor(y, sentence)
        above_floor.append(score - bottom)
        assert measures.leave_one_out_leep(p, y) > floor(y) + 0.1  # words of the sentence give its labels away
        fresh_p, fresh_y, _ = topics(rng, 500, 300)  # the same head on other sentences
        a, prior = min(chosen_prior_weight(p, y, sentence), 1e4), np.bincount(y) / len(y)
        joint = np.stack([p[y == c].sum(axis=0) for c in range(5)])
        predictor = (joint + a * prior[:, None]) / (joint.sum(axis=0) + a)
        above_fresh.append(score - np.log((fresh_p * predictor[fresh_y]).sum(axis=1)).mean())
    # Of 25 samples, the standard deviations were 0.002 and 0.010.
    assert np.mean(above_floor) == pytest.approx(0, abs=0.01)
    assert np.mean(above_fresh) == pytest.approx(0, abs=0.02)


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


@pytest.mark.parametrize("a", [0.3, 20.0, float("inf")])
def test_influence_is_the_derivative_by_the_weight_of_a_draw(rng, a):
    p, y = population(rng, 60, 5, 3)
    draws = np.unique(rng.integers(0, 12, 60), return_inverse=True)[1]
    number = draws.max() + 1

    def likelihoods(weights, counts, k):
        """Log-likelihoods of draw k, by the predictor of weighted examples and a prior of weighted counts."""
        joint = np.stack([(weights[:, None] * p)[y == c].sum(axis=0) for c in range(3)])
        # The number of other examples is a constant: it changes with the size of a draw alone, which is centred.
        prior = (np.array([counts[y == c].sum() for c in range(3)]) + 1 / 3) / (np.sum(draws != k) + 1)
        predictor = prior[:, None] if np.isinf(a) else (joint + a * prior[:, None]) / (joint.sum(axis=0) + a)
        return np.log((p * predictor[y]).sum(axis=1))[draws == k].sum()

    def weighted(w):
        # Draw k of weight w_k counts w_k times for the others, and is left out of its own predictions as a whole.
        others = [np.where(draws == k, 0.0, w[draws]) for k in range(number)]
        return sum(w[k] * likelihoods(others[k], others[k], k) for k in range(number))

    def left_in(w, k):
        return likelihoods(w[draws], draws != k, k)

    value, values = influence(p, y, draws, a)
    assert weighted(np.ones(number)) / 60 == pytest.approx(value, abs=1e-9)
    expected = []
    for k, e in enumerate(1e-5 * np.eye(number)):
        slope = (weighted(1 + e) - weighted(1 - e)) / 2e-5
        expected.append(slope + (left_in(1 + e, k) - left_in(1 - e, k)) / 2e-5 / 2)
    expected = np.array(expected) - np.sum(expected) / 60 * np.bincount(draws)
    np.testing.assert_allclose(np.bincount(draws, weights=values), expected, atol=1e-5)


def test_the_error_by_draw_agrees_with_independent_samples(rng):
    def sample():
        sentence = np.repeat(np.arange(60), rng.integers(1, 20, 60))
        topic, noise = rng.integers(0, 10, 60)[sentence], rng.normal(size=(len(sentence), 12))
        y = np.where(
            rng.random(len(sentence)) < 0.5, rng.integers(0, 4, 60)[sentence], rng.integers(0, 4, len(sentence))
        )
        p = np.exp(2 * (np.eye(12)[y] + np.eye(12)[topic + 2] + noise))
        return p / p.sum(axis=1, keepdims=True), y, sentence

    drawn = [(measure_and_error(*sample())) for _ in range(150)]
    actual = np.std([value for value, _ in drawn], ddof=1)
    # std of 150 draws is accurate to 6 %; with few sentences for each weight it is up to 20 % too large.
    assert 0.85 * actual < np.sqrt(np.mean([error**2 for _, error in drawn])) < 1.35 * actual


def measure_and_error(p, y, draws):
    value, values = MEASURES["leave-one-out-leep"].influence_by_draw(p, y, draws)
    return value, standard_error(values)


def test_a_class_of_one_example_stays_finite():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.0, 1.0]])
    assert np.isfinite(measures.leave_one_out_leep(p, [0, 0, 1, 2]))
    assert np.isfinite(influence(p, [0, 0, 1, 2])[1]).all()


@pytest.mark.parametrize("a", [0.0, -1.0, float("nan")])
def test_a_prior_weight_must_be_positive(a):
    with pytest.raises(InputError, match="prior_weight must be positive"):
        measures.leave_one_out_leep([[0.5, 0.5], [0.5, 0.5]], [0, 1], prior_weight=a)
