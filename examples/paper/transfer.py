"""Transfer a source model to a task, in each of the ways that the study compares.

Each function returns the predicted class of every test image of the task, ``[m]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import f1_score

from examples.paper import head as heads
from examples.paper.sources import Opened, Source
from examples.paper.tasks import Task
from hf_leep.arrays import Integers

if TYPE_CHECKING:
    from hf_leep.models.classifier import Classifier

_DESCENT = ("learning_rate", "batch_size", "precision", "momentum", "weight_decay")
USED = {  # the settings of `Training` that the numbers of a kind of job depend on
    "head-sgd": ("sgd_epochs", "sgd_learning_rate", "momentum"),
    "fine-tuning": ("epochs", *_DESCENT),
    "curves": ("epochs", "scratch_epochs", "scratch_learning_rate", *_DESCENT),
    "meta-training": ("episodes", "precision"),
    "cnaps": ("episodes", "precision"),
}

# torch and transformers are imported where they are needed: re-training heads does not need them.


class Precision(StrEnum):
    """Number type that a network computes in during training; its weights are float32 in both cases."""

    float32 = "float32"
    bfloat16 = "bfloat16"


@dataclass(frozen=True)
class Training:
    """How networks are trained.

    Attributes:
        epochs: epochs of fine-tuning.
        learning_rate: learning rate of fine-tuning.
        scratch_epochs: epochs of the reference that is trained from scratch.
        scratch_learning_rate: learning rate of that reference.
        batch_size: images in a step.
        precision: number type that networks compute in.
        episodes: episodes of the meta-training of CNAPs.
        momentum: momentum of stochastic gradient descent, for networks and for the head.
        weight_decay: weight decay of networks.
        sgd_epochs: epochs of a head that is re-trained by stochastic gradient descent.
        sgd_learning_rate: learning rate of that head.
    """

    epochs: int = 10
    learning_rate: float = 0.01
    scratch_epochs: int = 20
    scratch_learning_rate: float = 0.1
    batch_size: int = 32
    precision: Precision = Precision.float32
    episodes: int = 200
    momentum: float = 0.9
    weight_decay: float = 5e-4
    sgd_epochs: int = 100
    sgd_learning_rate: float = 0.01


def head(source: Source, task: Task, l2: float | None) -> Integers:
    """Re-train a head on features to convergence."""
    return _head_of(source, task, l2).predict(source.test[task.test_rows])


def head_sgd(source: Source, task: Task, training: Training, seed: int) -> Integers:
    """By a head that is re-trained as in the paper, by stochastic gradient descent."""
    trained = heads.train_head_sgd(
        source.train[task.train_rows],
        task.train_labels,
        num_classes=len(task.classes),
        seed=seed,
        lr=training.sgd_learning_rate,
        epochs=training.sgd_epochs,
        momentum=training.momentum,
    )
    return trained.predict(source.test[task.test_rows])


def _head_of(source: Source, task: Task, l2: float | None) -> heads.Head:
    return heads.train_head(source.train[task.train_rows], task.train_labels, num_classes=len(task.classes), l2=l2)


def fine_tuned(
    source: Source, opened: Opened, task: Task, training: Training, *, seed: int, device: str | None, scratch: bool
) -> list[Integers]:
    """Train the whole network, from the source's weights or from scratch; predictions after each epoch."""
    from examples.paper import finetune, networks

    with networks.seeded(seed):
        network = networks.load(
            source.path,
            opened.train[0].input_columns,
            revision=_commit(source),
            num_classes=len(task.classes),
            pretrained=not scratch,
        )
        images, test_images = _images(network, opened, task)
        return finetune.train(
            network.model,
            images,
            task.train_labels,
            test_images,
            epochs=training.scratch_epochs if scratch else training.epochs,
            learning_rate=training.scratch_learning_rate if scratch else training.learning_rate,
            batch_size=training.batch_size,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            precision=training.precision,
            seed=seed,
            device=device,
        )


def meta_train(
    source: Source, opened: Opened, classes: Integers, training: Training, path: Path, *, seed: int, device: str | None
) -> Sequence[float]:
    """Meta-train a CNAPs on some classes, and save it to a file.

    Returns:
        Accuracy on the query images of each episode.
    """
    from examples.paper import cnaps, networks

    rows = np.flatnonzero(np.isin(opened.pool.train, classes))
    with networks.seeded(seed):
        network = networks.load(source.path, opened.train[0].input_columns, revision=_commit(source))
        model = cnaps.Cnaps(network, training.precision)
        images = networks.pixels(network.collate, opened.train[1], rows)
        right = cnaps.meta_train(
            model, images, opened.pool.train[rows], episodes=training.episodes, seed=seed, device=device
        )
    cnaps.save(model, path)
    return right


def by_cnaps(
    source: Source, opened: Opened, tasks: Sequence[Task], training: Training, path: Path, *, device: str | None
) -> list[Integers]:
    """Adapt a CNAPs that was meta-trained on other classes to each of the tasks, in one pass each."""
    from examples.paper import cnaps, networks

    network = networks.load(source.path, opened.train[0].input_columns, revision=_commit(source))
    model = cnaps.Cnaps(network, training.precision)
    cnaps.restore(model, path)
    found = []
    for task in tasks:
        images, test_images = _images(network, opened, task)
        found.append(cnaps.classify(model, images, task.train_labels, test_images, device=device))
    return found


def quality(predicted: Integers, labels: Integers, num_classes: int, judged_by: str) -> float:
    """Compute accuracy, or macro F1: the mean over a task's classes, 0 for one that is neither true nor predicted."""
    if judged_by == "accuracy":
        return float((predicted == labels).mean())
    return float(f1_score(labels, predicted, labels=range(num_classes), average="macro", zero_division=0.0))


def _images(network: Classifier, opened: Opened, task: Task) -> tuple[Any, Any]:
    from examples.paper import networks

    return (
        networks.pixels(network.collate, opened.train[1], task.train_rows),
        networks.pixels(network.collate, opened.test[1], task.test_rows),
    )


def _commit(source: Source) -> str | None:
    """Return the commit of a checkpoint on the Hub; None for a folder."""
    return None if source.revision is None or source.revision.startswith("sha256:") else source.revision
