"""Tasks are drawn as an experiment says, the same every time, and their halves have nothing in common."""

import math
from dataclasses import replace

import numpy as np
import pytest

from examples.paper.tasks import EXPERIMENTS, Pool, classes_of, draw, fitted, halves, most_tasks
from hf_leep.errors import TargetError


@pytest.fixture(scope="module")
def pool():
    """30 classes of 80 training and 20 test images, in no order."""
    rng = np.random.default_rng(5)
    return Pool(rng.permutation(np.repeat(np.arange(30), 80)), rng.permutation(np.repeat(np.arange(30), 20)), 30)


def drawn(name, pool, index=0, seed=0, **changes):
    return draw(replace(fitted(EXPERIMENTS[name], pool.num_classes), **changes), pool, seed, index)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_task_has_what_its_experiment_says(name, pool):
    experiment = fitted(EXPERIMENTS[name], 30)
    for index in range(8):
        task = draw(experiment, pool, 0, index)
        low, high = experiment.classes
        assert low <= len(task.classes) <= high
        truth = np.searchsorted(task.classes, pool.train[task.train_rows])
        counts = np.bincount(truth, minlength=len(task.classes))
        least, most = experiment.images or (80, 80)
        assert least <= counts.min() <= counts.max() <= most
        assert len(set(task.train_rows.tolist())) == len(task.train_rows)
        np.testing.assert_array_equal(task.classes[task.test_labels], pool.test[task.test_rows])
        assert np.bincount(task.test_labels).tolist() == [20] * len(task.classes)
        assert (task.train_labels != truth).sum() <= round(experiment.noise * len(truth))
        assert experiment.noise or (task.train_labels == truth).all()


def test_the_whole_data_set_is_the_first_target_of_source_selection(pool):
    assert len(drawn("source-selection", pool).classes) == 30
    assert {len(drawn("large-balanced", pool, index).classes) for index in range(60)} > {2, 30}


def test_a_task_is_the_same_whenever_it_is_drawn_and_another_for_each_index_and_seed(pool):
    def rows(*args):
        return drawn("small-imbalanced", pool, *args).train_rows.tolist()

    assert rows(3, 1) == rows(3, 1)
    assert len({tuple(rows(*args)) for args in [(3, 1), (4, 1), (3, 2)]}) == 3


def test_noise_and_imbalance_are_added_to_the_same_classes(pool):
    for index in range(5):
        clean = drawn("small-balanced", pool, index)
        for name in ("noisy-labels-10", "noisy-labels-20", "small-imbalanced"):
            np.testing.assert_array_equal(drawn(name, pool, index).classes, clean.classes)


def test_a_fifth_of_the_labels_is_replaced_and_a_fifth_of_these_stays(pool):
    wrong = 0
    for index in range(40):
        task = drawn("noisy-labels-20", pool, index)
        wrong += (task.train_labels != np.searchsorted(task.classes, pool.train[task.train_rows])).mean() / 40
    assert wrong == pytest.approx(0.2 * 4 / 5, abs=0.01)  # drawn from 5 classes, the right one among them


def test_halves_share_the_classes_and_no_image(pool):
    for name in ("large-balanced", "small-imbalanced"):
        experiment = fitted(EXPERIMENTS[name], 30)
        task, (a, b) = draw(experiment, pool, 0, 4), halves(experiment, pool, 0, 4)
        for half in (a, b):
            np.testing.assert_array_equal(half.classes, task.classes)
            assert len(half.test_rows) == len(task.test_rows) / 2
        assert not set(a.train_rows) & set(b.train_rows)
        assert not set(a.test_rows) & set(b.test_rows)


def test_a_small_data_set_makes_smaller_tasks_and_too_small_a_one_none():
    assert fitted(EXPERIMENTS["large-balanced-fixed"], 10).classes == (5, 5)
    assert fitted(EXPERIMENTS["small-balanced"], 10).classes == (5, 5)
    assert fitted(EXPERIMENTS["large-balanced"], 10).classes == (2, 10)
    assert fitted(EXPERIMENTS["convergence"], 10).classes == (2, 10)
    assert fitted(EXPERIMENTS["meta-transfer"], 10).classes == (2, 5)  # of the five that no CNAPs learns from
    assert fitted(EXPERIMENTS["meta-transfer"], 16).classes == (5, 8)
    assert fitted(EXPERIMENTS["meta-transfer"], 100).classes == (5, 10)
    with pytest.raises(TargetError, match="2 classes; tasks are drawn from at least 3"):
        fitted(EXPERIMENTS["small-balanced"], 2)


@pytest.mark.parametrize("name", ["large-balanced", "small-balanced", "source-selection", "meta-transfer"])
def test_of_ten_classes_no_set_comes_twice_while_there_are_others(name):
    experiment = fitted(EXPERIMENTS[name], 10)
    low, high = experiment.classes
    there = sum(math.comb(5 if experiment.unlearned else 10, t) for t in range(low, high + 1))
    drawn = [tuple(classes_of(experiment, 10, 0, index)) for index in range(EXPERIMENTS[name].num_tasks)]
    assert len(set(drawn)) == min(len(drawn), there)
    assert all(low <= len(classes) <= high for classes in drawn if len(classes) < 10)
    if name == "large-balanced":  # sizes are met alike, as far as there are as many sets of each
        sizes = np.bincount([len(classes) for classes in drawn])
        assert sizes[10] == 1
        assert sizes[9] == 10
        assert sizes[3:8].max() - sizes[3:8].min() <= 1


def test_of_a_hundred_classes_tasks_are_those_of_earlier_studies():
    """Studies of CIFAR100 that were begun before go on; written down from the release that drew them."""
    found = classes_of(fitted(EXPERIMENTS["small-balanced"], 100), 100, 0, 7)
    assert found.tolist() == [19, 50, 56, 78, 82]
    assert len(classes_of(fitted(EXPERIMENTS["large-balanced"], 100), 100, 0, 3)) == 22
    assert classes_of(fitted(EXPERIMENTS["meta-transfer"], 100), 100, 0, 2).tolist() == [7, 23, 24, 26, 27, 57, 63, 72]


def test_where_all_images_are_used_tasks_end_with_the_sets_of_classes():
    assert most_tasks(fitted(EXPERIMENTS["large-balanced"], 4), 4) == 6 + 4 + 1
    assert most_tasks(fitted(EXPERIMENTS["small-balanced"], 4), 4) is None
    assert most_tasks(fitted(EXPERIMENTS["large-balanced"], 100), 100) is None


def test_a_class_of_one_image_has_no_halves():
    labels = np.append(np.repeat(np.arange(3), 10), 3)
    experiment = fitted(EXPERIMENTS["large-balanced"], 4)
    pool = Pool(labels, np.repeat(np.arange(4), 4), 4)
    lone = [3 in draw(experiment, pool, 0, index).classes for index in range(8)]
    assert [not halves(experiment, pool, 0, index) for index in range(8)] == lone
    assert 0 < sum(lone) < 8
