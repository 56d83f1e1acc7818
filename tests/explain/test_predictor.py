"""Leave-one-out terms: against refitting without each example, and against the measure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import measures
from hf_leep.arrays import labels
from hf_leep.errors import InputError
from hf_leep.explain.predictor import Predictor, temper
from hf_leep.measures.draws import Draws
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS, chosen_prior_weight
from tests.strategies import population, problems


def predictor(p, y, temperature=1.0, draws=None):
    target = labels(y, len(p))
    return Predictor.of(p, Draws(target.codes, target.counts, draws), temperature)


def tempered(p, temperature):
    power = np.asarray(p, dtype=np.float64) ** (1 / temperature)
    return power / power.sum(axis=1, keepdims=True)


def refitted(p, y, a, draws=None):
    """Log of the prediction of each example's label by a predictor made of the other draws, in a loop."""
    classes, codes = np.unique(y, return_inverse=True)
    n, t = len(p), len(classes)
    draws = np.arange(n) if draws is None else draws
    found = []
    for i in range(n):
        others = draws != draws[i]
        of_class, of_all = p[others & (codes == codes[i])].sum(axis=0), p[others].sum(axis=0)
        prior = (np.sum(others & (codes == codes[i])) + 1 / t) / (others.sum() + 1)
        found.append(np.log((p[i] * (of_class + a * prior) / (of_all + a)).sum()))
    return np.array(found)


@given(problems(max_n=15, max_s=6), st.sampled_from([1e-6, 1e-2, 1.0, 30.0]))
def test_terms_equal_refitting_without_each_example(problem, a):
    p, y = problem
    np.testing.assert_allclose(predictor(p, y).log_terms([a])[0], refitted(p, y, a), atol=1e-8)


@given(problems(max_n=20, max_s=6), st.sampled_from([1e-6, 1e-2, 1.0, 30.0]), st.integers(2, 7))
def test_terms_equal_refitting_without_each_draw(problem, a, number):
    p, y = problem
    draws = np.random.default_rng(number).permutation(np.arange(len(p)) % number)
    found = predictor(p, y, draws=draws).log_terms([a])[0]
    np.testing.assert_allclose(found, refitted(p, y, a, draws), atol=1e-8)


@pytest.mark.parametrize("temperature", [0.25, 0.7, 3.0])
def test_tempered_terms_equal_those_of_tempered_probabilities(rng, temperature):
    p, y = population(rng, 80, 12, 4)
    found = predictor(p, y, temperature).log_terms([0.1, np.inf])
    np.testing.assert_allclose(found[0], refitted(tempered(p, temperature), y, 0.1), atol=1e-5)
    assert found[1].mean() == pytest.approx(measures.leave_one_out_leep(p, y, np.inf))
    draws = np.arange(80) // 3
    found = predictor(p, y, temperature, draws).log_terms([0.1])[0]
    np.testing.assert_allclose(found, refitted(tempered(p, temperature), y, 0.1, draws), atol=1e-5)


def test_tempering_keeps_zeros_and_one_hot_rows_and_their_order():
    p = np.array([[0.0, 1.0, 0.0], [0.5, 0.3, 0.2], [1e-30, 1.0, 0.0]])
    found = temper(p.copy(), 0.25)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found[0], [0.0, 1.0, 0.0])
    assert found[1, 0] > 0.8
    assert np.isfinite(found).all()
    np.testing.assert_allclose(temper(p.copy(), 2.0)[1], tempered(p, 2.0)[1], rtol=1e-6)


@given(problems(), st.sampled_from([None, 0, 7, len(PRIOR_WEIGHTS) - 1]))
def test_climbing_finds_the_score_of_the_measure(problem, start):
    p, y = problem
    level, terms = predictor(p, y).best_prior_weight(start)
    score = measures.leave_one_out_leep(p, y)
    if start is None:
        assert terms.mean() == pytest.approx(score, abs=0.01)
    assert terms.mean() <= score + 1e-9
    assert terms.mean() == pytest.approx(measures.leave_one_out_leep(p, y, PRIOR_WEIGHTS[level]), abs=1e-9)


@pytest.mark.parametrize("start", [None, 0, 10, 20])
def test_climbing_from_anywhere_ends_at_the_chosen_weight(rng, start):
    p, y = population(rng, 400, 30, 6)
    level, terms = predictor(p, y).best_prior_weight(start)
    assert PRIOR_WEIGHTS[level] == chosen_prior_weight(p, y)
    assert terms.mean() == pytest.approx(measures.leave_one_out_leep(p, y), abs=1e-12)


def test_rows_that_are_no_probabilities_are_refused():
    with pytest.raises(InputError, match="row 1 of probabilities sums to"):
        predictor(np.array([[0.5, 0.5], [0.5, 0.9]]), [0, 1])
