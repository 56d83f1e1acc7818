"""Agreement of scores with accuracies: known values, naive loops, and what is not defined."""

import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
from scipy import stats
from scipy.special import stdtr
from scipy.stats import rankdata

from hf_leep.errors import InputError
from hf_leep.ranking.correlation import (
    Agreement,
    agreement,
    difference,
    kendall_tau,
    partial_correlation,
    reliability,
)

TIED = ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0])  # the example of scipy's documentation of the weighted tau


def naive_tau(x, y, weight=lambda i, j: 1.0):
    """Vigna 2015: ⟨x, y⟩ = Σ_{i<j} sgn(x_i − x_j) sgn(y_i − y_j) w_ij, divided by the lengths √⟨x, x⟩ √⟨y, y⟩."""

    def product(a, b):
        pairs = itertools.combinations(range(len(a)), 2)
        return sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) * weight(i, j) for i, j in pairs)

    return product(x, y) / math.sqrt(product(x, x) * product(y, y))


def naive_weighted_tau(x, y, by, then):
    """Weights 1/r_i + 1/r_j, with ranks from 1 by decreasing ``by``, ties by decreasing ``then``."""
    order = sorted(range(len(x)), key=lambda i: (by[i], then[i]), reverse=True)
    rank = {index: position + 1 for position, index in enumerate(order)}
    return naive_tau(x, y, lambda i, j: 1 / rank[i] + 1 / rank[j])


def naive_pearson(x, y):
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    top = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return top / math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def draws():
    rng = np.random.default_rng(0)
    for k in (4, 5, 8, 13, 30):
        yield rng.normal(size=k), rng.normal(size=k)
        yield rng.integers(4, size=k) + np.arange(k) // (k - 1), rng.integers(3, size=k) + np.arange(k) // (k - 1)


@pytest.mark.parametrize(("x", "y"), [TIED, *draws()])
def test_it_equals_the_naive_loops(x, y):
    found = agreement(x, y)
    by_scores, by_accuracies = naive_weighted_tau(x, y, x, y), naive_weighted_tau(x, y, y, x)
    assert found.num_candidates == len(x)
    assert found.pearson == pytest.approx(naive_pearson(x, y), abs=1e-12)
    assert found.kendall == pytest.approx(naive_tau(x, y), abs=1e-12)
    assert found.weighted_tau == pytest.approx((by_scores + by_accuracies) / 2, abs=1e-12)
    assert found.weighted_tau_by_accuracy == pytest.approx(by_accuracies, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [TIED, *draws()])
def test_kendall_alone_is_the_same(x, y):
    assert kendall_tau(x, y) == pytest.approx(agreement(x, y).kendall, abs=1e-12)


def test_kendall_alone_is_none_without_an_order():
    assert kendall_tau([], []) is kendall_tau([1.0], [2.0]) is kendall_tau([1.0, 2.0], [3.0, 3.0]) is None
    assert kendall_tau([1.0, 2.0], [4.0, 3.0]) == -1.0
    with pytest.raises(InputError, match="got 2 scores but 1 others"):
        kendall_tau([1.0, 2.0], [1.0])


def test_the_two_weighted_conventions_differ_and_the_second_belongs_to_the_accuracies():
    found, swapped = agreement(*TIED), agreement(*reversed(TIED))
    # printed in scipy's documentation
    assert found.weighted_tau == pytest.approx(-0.56694968153682723)
    assert swapped.weighted_tau == pytest.approx(-0.56694968153682723)
    assert found.weighted_tau_by_accuracy == pytest.approx(-0.7181341329699028)
    assert swapped.weighted_tau_by_accuracy == pytest.approx(-0.4157652301037516)


def test_a_mistake_about_the_best_costs_more_than_one_about_the_worst():
    accuracies = [5, 4, 3, 2, 1]
    at_the_top, at_the_bottom = agreement([4, 5, 3, 2, 1], accuracies), agreement([5, 4, 3, 1, 2], accuracies)
    assert at_the_top.kendall == at_the_bottom.kendall == pytest.approx(0.8)
    # one exchange of weight w turns τ_w into 1 − 2w/W; W = Σ_{i<j} (1/i + 1/j) = 4 (1 + 1/2 + … + 1/5) = 137/15
    assert at_the_top.weighted_tau == pytest.approx(1 - 2 * (1 + 1 / 2) * 15 / 137)
    assert at_the_bottom.weighted_tau == pytest.approx(1 - 2 * (1 / 4 + 1 / 5) * 15 / 137)


@pytest.mark.parametrize("k", [3, 4, 6, 12])
def test_pearson_has_students_p_value_and_fishers_interval(k):
    rng = np.random.default_rng(k)
    x = rng.normal(size=k)
    y = x + rng.normal(size=k)
    found = agreement(x, y)
    r = naive_pearson(x, y)
    assert found.pearson_p_value == pytest.approx(2 * stdtr(k - 2, -abs(r) * math.sqrt((k - 2) / (1 - r * r))))
    if k == 3:
        assert found.pearson_interval is None
    else:
        z, half = math.log((1 + r) / (1 - r)) / 2, stats.norm.ppf(0.975) / math.sqrt(k - 3)
        assert found.pearson_interval == pytest.approx(
            [(math.exp(2 * v) - 1) / (math.exp(2 * v) + 1) for v in (z - half, z + half)]
        )


def test_kendalls_p_value_counts_permutations():
    x, y = np.arange(6), np.array([1, 0, 3, 2, 5, 4])
    found = agreement(x, y)
    taus = [naive_tau(x, permuted) for permuted in itertools.permutations(range(6))]
    assert found.kendall_p_value == pytest.approx(np.mean(np.abs(taus) >= found.kendall - 1e-9))


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    rho, k, times = 0.6, 8, 1000
    covered = 0
    for _ in range(times):
        x = rng.normal(size=k)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=k)
        low, high = agreement(x, y).pearson_interval
        covered += low <= rho <= high
    # 95 % ± three standard errors (0.7 % each) and what Fisher's approximation is off by at k = 8, below 1 %
    assert covered / times == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_perfect_order_is_one_and_a_reversed_one_minus_one(sign):
    x = np.array([0.1, 0.2, 0.5, 0.7, 0.9])
    found = agreement(x, sign * 3 * x)
    correlations = [found.pearson, found.kendall, found.weighted_tau, found.weighted_tau_by_accuracy]
    assert correlations == pytest.approx([sign] * 4)
    assert found.pearson_interval is found.kendall_interval is None  # the formula's width is 0, for any k
    assert max(map(abs, correlations)) <= 1.0  # rounding never leads beyond
    assert found.pearson_p_value == pytest.approx(0.0, abs=1e-12)
    assert found.kendall_p_value == pytest.approx(2 / math.factorial(5))


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([1], [2]), ([0.1] * 5, range(5)), (range(5), [0.3] * 5), ([1, 1], [2, 2]), ([1, 2], [0.7, 0.7])],
)
def test_nothing_is_defined_for_fewer_than_two_candidates_or_constant_values(x, y):
    assert agreement(x, y) == Agreement(num_candidates=len(x))


def test_two_candidates_have_an_order_but_no_uncertainty():
    found = agreement([1, 2], [0.9, 0.8])
    assert [found.pearson, found.kendall, found.weighted_tau] == pytest.approx([-1.0] * 3)
    assert found.pearson_interval is None
    assert found.pearson_p_value is None
    assert found.kendall_p_value == 1.0  # both orders of two are equally likely


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1e308, -1e308, 1.7e308, 0], [1, 2, 3, 4]),  # squares would overflow
        ([0, 5e-324, 1e-323, 2e-323], [1, 2, 3, 5]),  # squares would vanish
        ([1e15, 1e15 + 1, 1e15 + 2, 1e15 + 5], [1, 2, 3, 6]),  # a small spread on a large offset
        ([1, 2, 3, 3], [1, 2, 3, 3]),
    ],
)
def test_no_value_is_ever_nan(x, y):
    found = agreement(x, y)
    for field in fields(found):
        value = getattr(found, field.name)
        if value is not None:  # an interval of Kendall's tau needs five, and any a correlation below 1
            assert np.isfinite(value).all(), field.name


def test_an_offset_costs_no_precision():
    x, y = [0, 1, 2, 5], [3, 1, 4, 6]
    assert agreement([1e15 + v for v in x], y).pearson == pytest.approx(naive_pearson(x, y), abs=1e-12)


def test_it_is_invariant_to_the_order_of_candidates_and_to_the_units():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=9), rng.integers(5, size=9)
    order = rng.permutation(9)
    plain, moved = agreement(x, y), agreement(7 + 3 * x[order], 100 * y[order])
    for field in fields(plain):
        assert getattr(moved, field.name) == pytest.approx(getattr(plain, field.name)), field.name


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ([1, 2, 3], [1, 2], "got 3 scores but 2 accuracies"),
        ([[1, 2]], [1, 2], r"scores must be one-dimensional \[k\], got shape \(1, 2\)"),
        ([1, 2], [1, math.nan], "accuracies hold nan at position 1"),
        ([math.inf, 2], [1, 2], "scores hold inf at position 0"),
        ([1, "high"], [1, 2], "scores must be numbers"),
        ([1, [2, 3]], [1, 2], "scores must be numbers"),
    ],
)
def test_bad_input_is_one_clear_error(x, y, says):
    with pytest.raises(InputError, match=says):
        agreement(x, y)


def test_none_counts_as_missing():
    with pytest.raises(InputError, match="leave out candidates"):
        agreement([1, None], [1, 2])


def test_partial_correlation_is_that_of_least_squares_residuals():
    rng = np.random.default_rng(3)
    z = rng.normal(size=30)
    x, y = z + 0.3 * rng.normal(size=30), 2 * z + 0.3 * rng.normal(size=30)
    line = np.stack([np.ones(30), z], axis=1)
    left = [v - line @ np.linalg.lstsq(line, v)[0] for v in (x, y)]
    found = partial_correlation(x, y, z)
    assert found.value == pytest.approx(naive_pearson(*left))
    # the recursion for one variable held constant
    a, b, c = naive_pearson(x, y), naive_pearson(x, z), naive_pearson(y, z)
    assert found.value == pytest.approx((a - b * c) / math.sqrt((1 - b * b) * (1 - c * c)))
    statistic = abs(found.value) * math.sqrt(27 / (1 - found.value**2))  # k − 3 degrees of freedom
    assert found.p_value == pytest.approx(2 * stdtr(27, -statistic))
    assert found.interval == pytest.approx(
        [math.tanh(math.atanh(found.value) + side * stats.norm.ppf(0.975) / math.sqrt(26)) for side in (-1, 1)]
    )


def test_partial_correlation_finds_nothing_where_the_third_quantity_is_all_there_is():
    rng = np.random.default_rng(4)
    z = rng.normal(size=400)
    x, y = z + rng.normal(size=400), z + rng.normal(size=400)
    assert agreement(x, y).pearson > 0.4
    assert abs(partial_correlation(x, y, z).value) < 3 / math.sqrt(400)
    assert partial_correlation(3 * z - 7, y, z) is None
    assert partial_correlation(x, y, np.ones(400)) is None
    assert partial_correlation([1, 2], [1, 2], [2, 1]) is None
    with pytest.raises(InputError, match="3 scores, 2 accuracies and 3 given"):
        partial_correlation([1, 2, 3], [1, 2], [1, 2, 3])


def test_a_partial_rank_correlation_is_that_of_the_ranks():
    rng = np.random.default_rng(9)
    z = rng.integers(2, 9, size=40).astype(float)
    x, y = np.exp(z) + rng.normal(size=40), -(z**3) + 40 * rng.normal(size=40)
    ranks = [rankdata(v) for v in (x, y, z)]
    found = partial_correlation(x, y, z, by_rank=True)
    assert found.value == pytest.approx(partial_correlation(*ranks).value)
    assert found.value == pytest.approx(partial_correlation(np.log(x - x.min() + 1), y**3, z**2, by_rank=True).value)


def test_a_third_quantity_that_bends_is_taken_out_by_rank_alone():
    """Both sides are z's and noise of their own: a straight line leaves what they owe to the bend."""
    rng = np.random.default_rng(10)
    z = rng.uniform(0, 3, size=2000)
    x, y = (np.exp(z) + 0.1 * rng.normal(size=2000) for _ in range(2))
    assert partial_correlation(x, y, z).value > 0.9
    assert abs(partial_correlation(x, y, z, by_rank=True).value) < 0.1


@pytest.mark.parametrize("by_rank", [False, True])
def test_resampled_intervals_cover_where_the_spread_grows_and_are_the_same_for_a_seed(by_rank):
    covered, times, k = 0, 150, 60
    for n in range(times):
        rng = np.random.default_rng([11, n])
        z = rng.uniform(1, 5, size=k)
        x, y = (z + z * rng.normal(size=k) for _ in range(2))  # nothing in common beside z, but more of it where z is
        low, high = partial_correlation(x, y, z, by_rank=by_rank, resampled=rng).interval
        covered += low <= 0 <= high
    assert covered / times == pytest.approx(0.95, abs=0.06)
    first, again = (partial_correlation(x, y, z, resampled=np.random.default_rng(3)) for _ in range(2))
    assert first == again
    assert first.value == partial_correlation(x, y, z).value
    assert first.p_value is None
    assert partial_correlation(x[:4], y[:4], z[:4], resampled=rng).interval is None


def test_reliability_is_the_squared_correlation_with_what_is_measured():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=20_000)
    halves = [truth + 0.8 * rng.normal(size=20_000) for _ in range(2)]
    whole = (halves[0] + halves[1]) / 2
    found = reliability(*halves)
    assert found == pytest.approx(naive_pearson(whole, truth) ** 2, abs=0.02)
    assert found == pytest.approx(1 / (1 + 0.8**2 / 2), abs=0.02)
    assert reliability([1, 2, 3], [3, 2, 1]) is None
    assert reliability([1, 1], [1, 2]) is None


def _three(rng, k, r1, r2, r12):
    """k normal triples (scores, others, accuracies) of those correlations."""
    cov = np.array([[1, r12, r1], [r12, 1, r2], [r1, r2, 1]])
    return rng.multivariate_normal(np.zeros(3), cov, size=k).T


def test_the_interval_of_a_difference_covers_as_often_as_it_says():
    rng = np.random.default_rng(6)
    found = [difference(*_three(rng, 40, 0.8, 0.6, 0.7)) for _ in range(600)]
    covered = np.mean([d.interval[0] <= 0.2 <= d.interval[1] for d in found])
    assert covered == pytest.approx(0.95, abs=0.03)  # three standard errors, 0.9 % each
    # and it is no wider than it must be: as wide as the differences scatter
    widths = [d.interval[1] - d.interval[0] for d in found]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std([d.value for d in found]), rel=0.15)


def test_a_difference_of_the_same_scores_is_none():
    x, _, y = _three(np.random.default_rng(7), 20, 0.5, 0.5, 0.5)
    same = difference(x, 2 * x + 1, y)
    assert same.value == pytest.approx(0.0, abs=1e-9)
    low, high = agreement(x, y).pearson_interval
    assert same.interval[1] == pytest.approx(abs(low + high - 2 * agreement(x, y).pearson))  # one side is longer
    assert difference(x[:3], x[:3], y[:3]) is None
    assert difference(np.ones(9), x[:9], y[:9]) is None


def test_the_interval_of_kendalls_tau_covers_as_often_as_it_says():
    rng = np.random.default_rng(8)
    rho, k = 0.6, 12
    tau = 2 / math.pi * math.asin(rho)  # of normal pairs
    covered = 0
    for _ in range(600):
        x = rng.normal(size=k)
        low, high = agreement(x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=k)).kendall_interval
        covered += low <= tau <= high
    assert covered / 600 == pytest.approx(0.95, abs=0.04)
    assert agreement([1, 2, 3, 4], [1, 3, 2, 4]).kendall_interval is None
