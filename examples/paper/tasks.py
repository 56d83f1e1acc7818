"""The target tasks of the study, drawn at random from one data set.

A task is a pure function of (data, experiment, seed, index): it can be drawn again at any time, in any order and in
any process, and all source models are given the same tasks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.errors import TargetError

_CLASSES, _COUNTS, _TASK, _HALVES, _LEARNED, _SETS = range(6)  # purposes of streams of random numbers
# With this many classes or more, sets of classes are drawn independently: they hardly ever repeat, except where there
# are few sets of a size, such as the single set of all classes.
MANY_CLASSES = 100
_BLOCK = 256  # sets of classes that are generated at once


@dataclass(frozen=True)
class Experiment:
    """How the tasks of one row of the paper's table are drawn.

    Attributes:
        name: its name on the command line.
        title: its name in the report.
        section: section of the paper.
        num_tasks: default number of tasks.
        classes: lowest and highest number of classes of a task, uniform between them; None for all classes.
        images: lowest and highest number of training images per class, drawn for each class; None for all images.
            A class that has fewer gives all of its images.
        noise: share of the training labels that are replaced by a class drawn uniformly from the task's classes.
        quality: how transfer is evaluated on the test images, ``accuracy`` or ``macro F1``.
        whole_first: whether the first task is the whole data set.
        unlearned: whether tasks use only the classes that no CNAPs is meta-trained on.
    """

    name: str
    title: str
    section: str
    num_tasks: int
    classes: tuple[int, int | None]
    images: tuple[int, int] | None = None
    noise: float = 0.0
    quality: str = "accuracy"
    whole_first: bool = False
    unlearned: bool = False


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("large-balanced", "large balanced", "5.1", 200, (2, None)),
        Experiment("large-balanced-fixed", "large balanced, number of classes fixed", "5.1", 100, (20, 20)),
        Experiment("small-balanced", "small balanced", "5.2", 200, (5, 5), (50, 50)),
        Experiment("noisy-labels-10", "small balanced, 10 % of labels noisy", "5.2", 200, (5, 5), (50, 50), 0.1),
        Experiment("noisy-labels-20", "small balanced, 20 % of labels noisy", "5.2", 200, (5, 5), (50, 50), 0.2),
        Experiment("small-imbalanced", "small imbalanced", "5.3", 200, (5, 5), (30, 60), quality="macro F1"),
        Experiment("meta-transfer", "meta-transfer (CNAPs)", "5.4", 100, (5, 10), (20, 50), unlearned=True),
        Experiment("convergence", "convergence speed", "5.5", 20, (2, 20)),
        Experiment("convergence-large", "convergence speed, tasks of all sizes", "5.5", 20, (2, None)),
        Experiment("source-selection", "source-model selection", "5.7", 50, (2, None), whole_first=True),
    )
}


@dataclass(frozen=True, eq=False)
class Pool:
    """The labels of the images that tasks are drawn from.

    Attributes:
        train: class of each training image, 0 … C − 1, ``[N]``.
        test: class of each test image, ``[M]``.
        num_classes: number of classes C.
    """

    train: Integers
    test: Integers
    num_classes: int


@dataclass(frozen=True, eq=False)
class Task:
    """One target task: its classes, the rows to train on, and the rows to evaluate on.

    Attributes:
        classes: the classes of the pool, ``[t]``, ascending; a task's labels are positions in it.
        train_rows: rows of the training split, ``[n]``, ascending.
        train_labels: their labels, 0 … t − 1, noise included, ``[n]``.
        test_rows: rows of the test split, ``[m]``, ascending.
        test_labels: their labels, ``[m]``.
    """

    classes: Integers
    train_rows: Integers
    train_labels: Integers
    test_rows: Integers
    test_labels: Integers


def fitted(experiment: Experiment, num_classes: int) -> Experiment:
    """Adjust an experiment to a data set with that many classes.

    A range of numbers of classes is cut to those that fit, or begins at 2 if none fits. A fixed number that would
    leave no choice of classes becomes half of the classes.

    Raises:
        TargetError: there are too few classes for tasks to differ.
    """
    low, high = experiment.classes
    if num_classes < 3:
        raise TargetError(f"the data set has {num_classes} classes; tasks are drawn from at least 3")
    if experiment.unlearned:
        num_classes -= num_classes // 2
    if low == high:
        low = high = low if low < num_classes else max(2, num_classes // 2)
    return replace(
        experiment, classes=(low if low < num_classes else 2, num_classes if high is None else min(high, num_classes))
    )


def most_tasks(experiment: Experiment, num_classes: int) -> int | None:
    """Return how many different tasks there are.

    Args:
        experiment: as from `fitted`.
        num_classes: number of classes of the pool.

    Returns:
        The number; None where the images of a task are drawn, so that tasks do not repeat, and with `MANY_CLASSES` or
        more, where tasks are drawn independently.
    """
    if experiment.images is not None or num_classes >= MANY_CLASSES:
        return None
    low, high = experiment.classes[0], experiment.classes[1] or num_classes
    return sum(math.comb(num_classes, t) for t in range(low, high + 1))


def learned_classes(num_classes: int, seed: int) -> Integers:
    """Return the half of the classes that CNAPs is meta-trained on, ascending; meta-transfer tasks use the others."""
    rng = np.random.default_rng([seed, _LEARNED])
    return np.sort(rng.permutation(num_classes)[: num_classes // 2])


def classes_of(experiment: Experiment, num_classes: int, seed: int, index: int) -> Integers:
    """Return the classes of a task, ascending.

    They depend only on the range of the number of classes, not on the experiment otherwise: tasks with few images,
    with noise or without, balanced or not, have the same classes, so that these experiments differ in nothing else.

    No set of classes repeats before all others in the range were used, unless there are `MANY_CLASSES` or more.

    Args:
        experiment: as from `fitted`.
        num_classes: number of classes of the pool.
        seed: seed of the study.
        index: number of the task.
    """
    if experiment.whole_first and index == 0:
        return np.arange(num_classes)
    low, high = experiment.classes[0], experiment.classes[1] or num_classes
    known = np.arange(num_classes)
    if experiment.unlearned:
        known = np.setdiff1d(known, learned_classes(num_classes, seed))
    if num_classes < MANY_CLASSES:
        sets = _first_sets(len(known), low, high, seed, (index // _BLOCK + 1) * _BLOCK)
        whole = experiment.whole_first and len(sets[index]) == num_classes
        return known[list(sets[0 if whole else index])]  # the first task already is the whole data set
    rng = np.random.default_rng([seed, low, high, index, _CLASSES])
    number = int(rng.integers(low, high, endpoint=True))
    return np.sort(rng.choice(known, number, replace=False))


@lru_cache(maxsize=64)
def _first_sets(num_classes: int, low: int, high: int, seed: int, count: int) -> tuple[tuple[int, ...], ...]:
    rng = np.random.default_rng([seed, low, high, _SETS])
    return tuple(islice(_class_sets(num_classes, low, high, rng), count))


def _class_sets(num_classes: int, low: int, high: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Yield sets of low to high of the classes, endlessly: each size in turn, in random order, until it has no more.

    When all sets were used, they are used again.
    """
    while True:
        left = {t: math.comb(num_classes, t) for t in range(low, high + 1)}
        used: set[tuple[int, ...]] = set()
        while left:
            for t in rng.permutation(list(left)).tolist():
                drawn = None
                while drawn is None or drawn in used:
                    drawn = tuple(np.sort(rng.choice(num_classes, t, replace=False)).tolist())
                used.add(drawn)
                yield drawn
                left[t] -= 1
                if not left[t]:
                    del left[t]


def draw(experiment: Experiment, pool: Pool, seed: int, index: int) -> Task:
    """Draw one task.

    Args:
        experiment: as from `fitted`, for the pool.
        pool: labels of the images to draw from.
        seed: seed of the study.
        index: number of the task.
    """
    classes, counts = _outline(experiment, pool, seed, index)
    rng = _generator(experiment, seed, index, _TASK)
    train = [
        rng.choice(rows, count, replace=False) for rows, count in zip(_rows(pool.train, classes), counts, strict=True)
    ]
    test = np.concatenate(_rows(pool.test, classes))
    return _task(experiment, pool, classes, np.concatenate(train), test, rng)


def halves(experiment: Experiment, pool: Pool, seed: int, index: int) -> tuple[Task, Task] | tuple[()]:
    """Draw two tasks with the classes of a task, without an image in common.

    Their accuracies differ by the images that happened to be drawn, but not by the classes. Each has half of the test
    images of each class, and as many training images as the task, or half of all if there are not so many.

    Returns:
        Both tasks; empty if one of them would have no training image of some class, or no test images.
    """
    classes, counts = _outline(experiment, pool, seed, index)
    rng = _generator(experiment, seed, index, _HALVES)
    train, test = (
        [np.array_split(rng.permutation(rows), 2) for rows in _rows(labels, classes)]
        for labels in (pool.train, pool.test)
    )
    first, second = (
        _task(
            experiment,
            pool,
            classes,
            np.concatenate([parts[k][:count] for parts, count in zip(train, counts, strict=True)]),
            np.concatenate([parts[k] for parts in test]),
            rng,
        )
        for k in range(2)
    )
    whole = all(len(np.unique(t.train_labels)) == len(classes) and len(t.test_rows) for t in (first, second))
    return (first, second) if whole else ()


def _generator(experiment: Experiment, seed: int, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(experiment.name.encode()), index, purpose])


def _outline(experiment: Experiment, pool: Pool, seed: int, index: int) -> tuple[Integers, list[int]]:
    """Return the classes of a task, ascending, and how many training images of each it has."""
    classes = classes_of(experiment, pool.num_classes, seed, index)
    available = np.bincount(pool.train, minlength=pool.num_classes)[classes]
    if experiment.images is None:
        return classes, available.tolist()
    wanted = _generator(experiment, seed, index, _COUNTS).integers(
        *experiment.images, size=len(classes), endpoint=True
    )
    return classes, np.minimum(wanted, available).tolist()


def _rows(labels: Integers, classes: Integers) -> list[Integers]:
    """Return the rows of each of the classes."""
    return [np.flatnonzero(labels == c) for c in classes]


def _task(
    experiment: Experiment,
    pool: Pool,
    classes: Integers,
    train: Integers,
    test: Integers,
    rng: np.random.Generator,
) -> Task:
    train, test = np.sort(train), np.sort(test)
    labels = np.searchsorted(classes, pool.train[train])
    return Task(
        classes=classes,
        train_rows=train,
        train_labels=_noisy(labels, len(classes), experiment.noise, rng),
        test_rows=test,
        test_labels=np.searchsorted(classes, pool.test[test]),
    )


def _noisy(labels: Integers, num_classes: int, noise: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Replace exactly that share of the labels, rounded, by classes drawn uniformly; some are the right ones."""
    labels = labels.copy()
    replaced = rng.choice(len(labels), round(noise * len(labels)), replace=False)
    labels[replaced] = rng.integers(num_classes, size=len(replaced))
    return labels
