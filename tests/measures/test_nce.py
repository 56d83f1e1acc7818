import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.leep import influence as leep_influence
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


@given(problems())
def test_influence_is_that_of_leep_for_one_hot_predictions(problem):
    p, y = problem
    values = influence(p, y)[1]
    np.testing.assert_allclose(values, leep_influence(np.eye(p.shape[1])[p.argmax(axis=1)], y)[1], atol=1e-12)


@pytest.mark.parametrize(("n", "s", "t"), [(300, 30, 5), (150, 10, 30)])
def test_standard_error_agrees_with_independent_samples(rng, n, s, t):
    drawn = [influence(*population(rng, n, s, t)) for _ in range(800)]
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / n for _, values in drawn]))
    assert claimed == pytest.approx(actual, rel=0.1)  # std of 800 draws is accurate to 2.5 %


@given(problems())
def test_hard_source_labels_are_the_top_predictions(problem):
    p, y = problem
    top = p.argmax(axis=1)
    for labels in (top, top.tolist(), top + 1000, [f"LABEL_{z}" for z in top]):
        np.testing.assert_allclose(influence(labels, y)[1], influence(p, y)[1], atol=1e-12)
        assert measures.nce(labels, y) == measures.nce(p, y)


def test_all_hard_source_labels_may_be_the_same():
    assert measures.nce([3, 3, 3, 3], [0, 1, 0, 1]) == pytest.approx(-np.log(2))


@pytest.mark.parametrize(("labels", "message"), [
    ([0, -1, 1], "source label -1 in row 1 is negative"),
    ([0.5, 0.5, 1.0], r"must be a matrix \[n, s\], got shape \(3,\)"),
    ([0, 1], "got 2 rows but 3 labels"),
])  # fmt: skip
def test_other_vectors_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        measures.nce(labels, [0, 1, 1])


def test_standard_error_from_hard_source_labels(rng):
    p, y = population(rng, 200, 6, 3)
    assert measures.standard_error("nce", p.argmax(axis=1), y) == measures.standard_error("nce", p, y)
