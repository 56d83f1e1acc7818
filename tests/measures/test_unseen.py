"""Errors that the examples do not contain, in the variance of scores."""

import importlib.util
from math import log
from pathlib import Path

import numpy as np
import pytest

from hf_leep import measures
from hf_leep.measures import unseen
from hf_leep.measures.leave_one_out_leep import influence as leave_one_out_influence


def benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "near_perfect.py"
    spec = importlib.util.spec_from_file_location("near_perfect", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


near_perfect = benchmark()


@pytest.mark.parametrize("n", [100, 200, 500, 1000])
def test_intervals_of_accuracies_hold_by_the_binomial_distribution(n):
    held = np.array([near_perfect.exact_accuracy(n, wrong) for wrong in (*np.linspace(0.0005, 0.05, 34), 0.1, 0.2)])
    assert held[:, 0].min() > 0.933
    assert held[:34, 1].min() < 0.4  # without the errors that are not in the sample


@pytest.mark.parametrize(("head", "wrong"), [("certain", 0.005), ("certain", 0.01), ("mild", 0.01)])
def test_intervals_of_log_likelihoods_and_differences_hold(head, wrong):
    rng = np.random.default_rng(3)
    names = ("leep", "leave-one-out-leep", "nce")
    found = near_perfect.coverage(rng, names, lambda rng, y: getattr(near_perfect, head)(rng, y, wrong), 200, 150)
    for measure, (one, both), (before, _), _ in found:
        assert min(one, both) > 0.93, (measure, one, both)
        assert head == "mild" or before < 0.9


def test_intervals_of_closed_form_heads_hold():
    rng = np.random.default_rng(3)
    names = ("ridge", "ridge-log-likelihood", "knn")
    found = near_perfect.coverage(rng, names, lambda rng, y: near_perfect.cloud(rng, y, 0.01), 100, 60)
    for measure, (one, both), _, _ in found:
        assert min(one, both) > 0.93, (measure, one, both)


@pytest.mark.parametrize(
    ("measure", "head", "wrong"), [("pactran-dirichlet", "certain", 0.005), ("sfda", "cloud", 0.0)]
)
def test_intervals_from_resamples_hold(measure, head, wrong):
    rng = np.random.default_rng(3)
    found = near_perfect.coverage(rng, [measure], lambda rng, y: getattr(near_perfect, head)(rng, y, wrong), 200, 25)
    ((_, (one, both), (before, _), _),) = found
    assert min(one, both) > 0.93
    assert before < 0.85


@pytest.mark.parametrize("n", [200, 500])
def test_ordinary_heads_keep_their_errors(n):
    rng = np.random.default_rng(3)
    names = ("leep", "leave-one-out-leep")
    for _, _, _, growth in near_perfect.coverage(rng, names, lambda rng, y: near_perfect.ordinary(rng, y, 0.9), n, 20):
        assert 1 <= growth < 1.01
    assert unseen.of_accuracy(0.85, n) == 0


def test_a_race_keeps_the_best_though_others_have_not_been_wrong_yet():
    mended, plain = near_perfect.stops(np.random.default_rng(3), 0.01, 400, 20)
    assert mended == 0
    assert plain > 0.3


@pytest.mark.parametrize("n", [4, 20, 300])
@pytest.mark.parametrize("t", [2, 5])
def test_one_wrong_example_changes_the_sum_by_at_most_the_bound(n, t):
    y = np.arange(n) % t
    for sizes in (y, np.where(np.arange(n) < n - t, 0, y)):  # equal classes, and one that has almost all
        classes = np.where(np.bincount(sizes, minlength=t)[sizes] > 0, sizes, 0)
        if len(np.unique(classes)) < 2:
            continue
        for wrong in np.unique(classes):
            named = classes.copy()
            named[0] = wrong
            assert -n * measures.leep(np.eye(t)[named], classes) <= 1 + log(n)


def test_no_error_counts_as_three_of_the_largest_effect():
    assert unseen.of_log_likelihoods(0.0, np.zeros(50)) == pytest.approx(3 * (1 + log(50)) ** 2 / 50**2)
    assert unseen.of_accuracy(1.0, 50) == unseen.of_accuracy(0.0, 50) == pytest.approx(3 / 50**2)


def test_predictions_without_information_have_no_unseen_errors():
    # All influence values are 0, as for perfect predictions, but every example has a loss.
    value, influence = leave_one_out_influence(np.full((50, 2), 0.5), np.arange(50) % 2)
    assert np.abs(influence).max() < 1e-9
    assert unseen.of_log_likelihoods(value, influence) == 0


def test_half_as_many_errors_as_are_enough_leave_half_of_the_rows():
    n, effect = 1000, 3.0
    influence = np.where(np.arange(n) < unseen.ENOUGH // 2, -effect, 0.0)
    value = influence.mean()
    found = unseen.of_log_likelihoods(value, influence - value)
    # The other examples have no loss, up to the shift of the mean, and the errors and the bound share the effect.
    seen = (influence[0] - value) ** 2
    expected = 1.5 * (15 * seen + (1 + log(n)) ** 2) / 16 / n**2
    assert found == pytest.approx(expected, rel=1e-9)
