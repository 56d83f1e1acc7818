import numpy as np
import pytest
from hypothesis import given
from scipy.stats import spearmanr
from sklearn.preprocessing import StandardScaler

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.parc import influence
from tests.strategies import feature_problems


def standardised(f):
    return StandardScaler().fit_transform(f)


def by_definition(f, y, columns=standardised):
    """Spearman's ρ of the two lists of distances, from scipy; of scikit-learn's columns and np.corrcoef."""
    labels = np.unique(y)
    f = columns(f[:, np.ptp(f, axis=0) > 0])
    above = np.triu_indices(len(y), 1)
    f[np.ptp(f, axis=1) < 1e-9] = 0.0
    with np.errstate(invalid="ignore"):
        of_features = (1 - np.nan_to_num(np.corrcoef(f)))[above]
    of_labels = (1 - np.corrcoef((y[:, None] == labels).astype(float)))[above]
    return spearmanr(np.round(of_features, 12), np.round(of_labels, 12)).statistic


@given(feature_problems())
def test_equals_its_definition(problem):
    f, y = problem
    if (np.ptp(f, axis=0) > 0).sum() == 1 or (np.unique(y, return_counts=True)[1] == 1).all():
        assert measures.parc(f, y) == 0.0  # a distance that is constant
    else:
        assert measures.parc(f, y) == pytest.approx(by_definition(f, y), abs=1e-9)


def test_distances_that_follow_the_labels_exactly_score_one_and_the_reverse_minus_one():
    # One-hot rows of equal numbers: both distances take two values, 0 within a class. In the reverse, rows of one
    # class are opposite and each is like one of the other class.
    y = np.arange(12) % 3
    assert measures.parc(np.eye(3)[y], y) == pytest.approx(1, abs=1e-12)
    assert measures.parc(np.eye(2)[[0, 1, 0, 1]], [0, 0, 1, 1]) < 0


def test_the_highest_score_of_distances_without_ties(rng):
    # All pairs of one class closer than any other: with p the share of different pairs, their mean rank is m/2 above
    # that of the others, so ρ = p (1 − p) (m/2)/(√(p (1 − p)) √((m² − 1)/12)) → √(3 p (1 − p)).
    y = np.arange(80) % 2
    f = 20 * rng.normal(size=(2, 30))[y] + 0.1 * rng.normal(size=(80, 30))
    p = 40 * 40 / (80 * 79 / 2)
    assert measures.parc(f, y) == pytest.approx(np.sqrt(3 * p * (1 - p)), abs=1e-6)


def test_shifting_and_rescaling_a_column_change_nothing(rng):
    y = rng.integers(0, 3, 30)
    f = rng.normal(size=(30, 8)) + np.eye(3, 8)[y]
    changed = f * rng.uniform(0.1, 10, 8) + rng.normal(size=8)
    assert measures.parc(changed, y) == pytest.approx(measures.parc(f, y), abs=1e-9)
    assert measures.parc(f * 1e200, y) == pytest.approx(measures.parc(f, y), abs=1e-9)
    assert measures.parc(f * 2.0 ** np.arange(-1000, 1000, 250), y) == pytest.approx(measures.parc(f, y), abs=1e-9)


def test_equal_rows_are_ties_whatever_the_rounding(rng):
    y = np.repeat([0, 0, 1, 1], 5)
    f = np.repeat(rng.normal(size=(4, 50)), 5, axis=0)
    assert measures.parc(f, y) == pytest.approx(by_definition(f, y), abs=1e-12)
    assert measures.parc(f[:, rng.permutation(50)] / 3, y) == pytest.approx(measures.parc(f, y), abs=1e-12)


def test_of_many_examples_2000_are_used(rng):
    y = rng.integers(0, 3, 2300)
    f = rng.normal(size=(2300, 5)) + np.eye(3, 5)[y]
    chosen = np.sort(np.random.default_rng(0).permutation(2300)[:2000])
    assert measures.parc(f, y) == pytest.approx(measures.parc(f[chosen], y[chosen]), abs=1e-12)


def test_a_row_outside_the_sample_is_checked_too(rng):
    y = rng.integers(0, 3, 2300)
    f = rng.normal(size=(2300, 2))
    left_out = np.setdiff1d(np.arange(2300), np.random.default_rng(0).permutation(2300)[:2000])[0]
    f[left_out, 1] = np.nan
    with pytest.raises(InputError, match=f"row {left_out}"):
        measures.parc(f, y)


def test_the_error_of_a_sample_keeps_draws_together(rng, monkeypatch):
    monkeypatch.setitem(influence.__globals__, "MAX_EXAMPLES", 60)
    y = np.repeat(np.arange(40) % 3, 3)
    f = np.repeat(rng.normal(size=(40, 5)) + np.eye(3, 5)[y[::3]], 3, axis=0)
    draws = np.repeat(np.arange(40), 3)
    value, found = influence(f, y, draws)
    assert value == measures.parc(f, y)
    chosen = np.sort(np.random.default_rng(0).permutation(120)[:60])
    present, draw = np.unique(draws[chosen], return_inverse=True)
    group = (np.random.default_rng(len(present)).permutation(len(present)) % 10)[draw]
    columns, labels = StandardScaler().fit_transform(f[chosen]), y[chosen]  # standardised once, as the measure does
    without = [by_definition(columns[group != g], labels[group != g], np.copy) for g in range(10)]
    np.testing.assert_allclose(found, 9 * (np.mean(without) - without), atol=1e-9)
    assert np.isfinite(influence(f, y, (np.arange(120) == 0).astype(int))[1]).all()  # perhaps only one draw is left
