import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.measures.nce import influence
from tests.strategies import population, problems


@given(problems())
def test_equals_conditional_entropy_from_scipy(problem):
    from scipy.stats import entropy
    from scipy.stats.contingency import crosstab

    p, y = problem
    z = p.argmax(axis=1)
    table = crosstab(y, z).count
    # H(Y|Z) = H(Y, Z) − H(Z)
    assert measures.nce(p, y) == pytest.approx(-(entropy(table.ravel()) - entropy(table.sum(axis=0))), abs=1e-9)


@given(problems())
def test_lies_between_the_negative_entropy_and_zero(problem):
    # Conditioning never raises a plug-in entropy.
    p, y = problem
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    assert (frequency * np.log(frequency)).sum() - 1e-12 <= measures.nce(p, y) <= 0.0


@given(problems(max_n=20))
def test_influence_is_the_jackknife_by_deleting_each_example(problem):
    p, y = problem
    n = len(p)
    value, values = influence(p, y)

    def deleted(i):
        keep = np.arange(n) != i
        z, labels = p[keep].argmax(axis=1), y[keep]
        return np.log([np.mean(labels[z == z[k]] == labels[k]) for k in range(n - 1)]).mean()

    pseudo = np.array([n * value - (n - 1) * deleted(i) for i in range(n)])
    np.testing.assert_allclose(values, pseudo - pseudo.mean(), atol=1e-9)


def test_standard_error_agrees_with_independent_samples(rng):
    drawn = [influence(*population(rng, 300, 30, 5)) for _ in range(200)]
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 300 for _, values in drawn]))
    assert 0.9 * actual < claimed < 1.4 * actual  # a jackknife of a plug-in entropy errs on the side of caution
