import sys

import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.measures.knn import influence
from tests.strategies import feature_problems


def by_lot(f, y, k):
    """The rule, one example at a time, on exact differences; tied neighbours and tied classes share."""
    total = 0.0
    for i in range(len(f)):
        others = [j for j in range(len(f)) if j != i]
        distance = {j: np.linalg.norm((f[i] - f[j]) / np.abs(f).max()) for j in others}
        kth = sorted(distance.values())[min(k, len(others)) - 1]
        closer = [j for j in others if distance[j] < kth - 1e-7]
        level = [j for j in others if abs(distance[j] - kth) <= 1e-7]
        votes = dict.fromkeys(y, 0.0)
        for j in closer:
            votes[y[j]] += 1
        for j in level:
            votes[y[j]] += (min(k, len(others)) - len(closer)) / len(level)
        best = [label for label in votes if votes[label] > max(votes.values()) - 1e-9]
        total += (y[i] in best) / len(best)
    return total / len(f)


@given(feature_problems())
def test_equals_the_rule_written_as_loops(problem):
    f, y = problem
    for k in (1, 4, 5):
        assert measures.knn(f, y, neighbours=k) == pytest.approx(by_lot(f, y, k), abs=1e-9)


@pytest.mark.parametrize("case", ["plain", "outlier", "copies", "tiny differences"])
def test_the_nearest_of_many_examples_are_found(rng, case):
    # With more examples than above, the nearest are first searched in float32.
    y, f = rng.integers(0, 3, 200), rng.normal(size=(200, 6))
    f[:, 0] += y
    if case == "outlier":
        f[0] *= 1e3
    if case == "copies":
        f[60:] = f[rng.integers(0, 60, 140)]
    if case == "tiny differences":  # which float32 cannot represent
        f = rng.integers(0, 30, (200, 1)) + 1e-2 * f
    assert measures.knn(f, y) == pytest.approx(by_lot(f, y, 5), abs=1e-9)


@pytest.mark.parametrize(("k", "t"), [(1, 4), (3, 2), (5, 2)])
def test_equals_scikit_learn_where_nothing_ties(rng, k, t):
    # With one neighbour, or an odd number of them and two classes, votes cannot tie; nor do continuous distances.
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    y = rng.integers(0, t, 80)
    f = rng.normal(size=(80, 6)) + 0.5 * y[:, None]
    expected = cross_val_score(KNeighborsClassifier(k), f, y, cv=LeaveOneOut()).mean()
    assert measures.knn(f, y, neighbours=k) == pytest.approx(expected, abs=1e-12)


def test_distant_classes_score_one_and_constant_features_score_chance():
    # Classes of more than k examples, further apart than they are wide: all k neighbours share the class.
    y = np.repeat([0, 1, 2], 8)
    f = y[:, None] * 100.0 + np.arange(24)[:, None] % 8
    assert measures.knn(f, y) == 1.0
    # Equal features: all n − 1 others tie, each class has votes in proportion to its size without the example
    # itself. With 9 and 4 of a class: 8/12 against 4/12 keeps the 9 right, 3/12 against 9/12 the 4 wrong.
    assert measures.knn(np.ones((13, 3)), np.repeat([0, 1], [9, 4])) == pytest.approx(9 / 13)
    # Two of each of two classes: an example has 1 neighbour of its own class and 2 of the other.
    assert measures.knn(np.ones((4, 3)), [0, 0, 1, 1]) == 0.0
    # 3 of 3 classes each, k = n − 1 = 8: 2 of its own against 3 and 3.
    assert measures.knn(np.ones((9, 1)), np.arange(9) % 3) == 0.0


def test_the_only_example_of_a_class_counts_as_wrong():
    assert measures.knn([[0.0], [1.0], [10.0]], [0, 0, 1], neighbours=1) == pytest.approx(2 / 3)
    assert measures.knn([[0.0], [1.0]], ["a", "b"]) == 0.0


@given(feature_problems())
def test_rotating_shifting_and_rescaling_change_nothing(problem):
    f, y = problem
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(f.shape[1],) * 2))
    moved = 7.0 * f @ rotation + 3 * np.abs(f).max()
    assert measures.knn(moved, y) == pytest.approx(measures.knn(f, y), abs=1e-9)


def test_a_large_mean_or_an_extreme_scale_loses_no_precision(rng):
    y = rng.integers(0, 3, 60)
    f = rng.normal(size=(60, 4)) + y[:, None]
    score = measures.knn(f, y)
    assert measures.knn(f + 1e6, y) == score
    assert measures.knn(f * 1e200, y) == measures.knn(f * 1e-200, y) == score


def test_the_block_size_does_not_change_the_score(rng, monkeypatch):
    y = rng.integers(0, 4, 101)
    f = rng.normal(size=(101, 5)) + y[:, None]
    f[50:] = f[:51]  # ties, also across blocks
    score = measures.knn(f, y)
    monkeypatch.setattr(sys.modules["hf_leep.measures.knn"], "_BLOCK_BYTES", 8 * 101 * 7)
    monkeypatch.setattr("hf_leep.arrays.row_blocks.__defaults__", (8 * 5 * 3,))
    assert measures.knn(f, y) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("d", [2, 6])
def test_standard_error_agrees_with_independent_samples(rng, d):
    means = np.random.default_rng(8).normal(size=(4, d)) / 1.5
    drawn = []
    for _ in range(200):
        y = rng.integers(0, 4, 200)
        drawn.append(influence(means[y] + rng.normal(size=(200, d)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)  # accurate to 5 %
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / len(values) for _, values in drawn]))
    assert 0.9 * actual < claimed < 1.3 * actual  # neighbours are farther away in a half: on the safe side
    alone = np.sqrt(np.mean([value * (1 - value) / 200 for value, _ in drawn]))
    assert alone < (0.9 if d == 2 else 1) * actual  # what independent examples would have


def test_the_halves_of_two_examples_have_one_each(rng):
    value, found = influence(rng.normal(size=(2, 3)), [0, 1])
    assert value == 0
    np.testing.assert_array_equal(found, np.zeros(10))


def test_neighbours_of_the_same_draw_do_not_count(rng):
    y = rng.integers(0, 3, 60)
    f, draws = rng.normal(size=(60, 4)), rng.permutation(np.arange(60) % 11)
    distance = np.linalg.norm(f[:, None] - f, axis=2)
    distance[draws[:, None] == draws] = np.inf
    nearest = y[distance.argmin(axis=1)]
    assert measures.knn(f, y, 1, draws) == pytest.approx((nearest == y).mean())
    assert measures.knn(f, y, draws=rng.permutation(60)) == measures.knn(f, y)
    # Two copies of each example, in one draw: only without the draws is a copy a neighbour.
    labels, copies = np.tile(y, 2), np.tile(f, (2, 1))
    apart = measures.knn(copies, labels, 2, np.tile(np.arange(60), 2))
    assert apart == pytest.approx(measures.knn(f, y, 1))
    assert measures.knn(copies, labels, 1) == 1.0
    # Five neighbours, although the larger draw leaves only two others.
    small = measures.knn([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], draws=np.array([0, 0, 1, 1]))
    assert small == 0.0


@pytest.mark.parametrize("k", [0, -1])
def test_there_must_be_neighbours(k):
    with pytest.raises(InputError, match=f"neighbours must be at least 1, got {k}"):
        measures.knn([[0.0], [1.0]], [0, 1], neighbours=k)


@pytest.mark.parametrize("alone", [True, False])
def test_equals_the_definition_where_neighbours_are_found_by_groups(rng, alone):
    # From 512 examples on, the nearest of 256 groups of others are compared first.
    y = np.arange(600) % 3
    f = rng.normal(size=(600, 3)) + y[:, None]
    f[::50] = f[0]  # equal points
    draws = np.arange(600) if alone else np.arange(600) // 4
    squared = ((f[:, None] - f) ** 2).sum(axis=2)
    squared[draws[:, None] == draws] = np.inf
    right = []
    for row, label in zip(squared, y, strict=True):
        last = np.sort(row)[4]
        weights = np.where(row < last - 1e-12, 1.0, 0.0)
        tied = np.abs(row - last) <= 1e-12
        weights[tied] = (5 - weights.sum()) / tied.sum()
        votes = np.bincount(y, weights)
        winning = votes >= votes.max() - 1e-9
        right.append(winning[label] / winning.sum())
    assert measures.knn(f, y, draws=draws) == pytest.approx(np.mean(right), abs=1e-12)
