"""Transfer a source model to a task, and judge it: the ways of the study, each with the settings that decide it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from examples.paper import head as heads
from hf_leep.arrays import FloatMatrix, Integers


@dataclass(frozen=True)
class Training:
    """How networks are trained.

    Attributes:
        epochs: passes over a task's images.
        learning_rate: of fine-tuning.
        batch_size: images a step.
    """

    epochs: int = 5
    learning_rate: float = 0.01
    batch_size: int = 64


def head(
    train: FloatMatrix,
    train_labels: Integers,
    test: FloatMatrix,
    test_labels: Integers,
    *,
    num_classes: int,
    l2: float | None,
    judged_by: str,
) -> float:
    """Quality on the test rows of a head that is re-trained on features to convergence."""
    trained = heads.train_head(train, train_labels, l2=l2, num_classes=num_classes)
    return _judge(judged_by)(trained, test, test_labels)


def head_sgd(
    train: FloatMatrix,
    train_labels: Integers,
    test: FloatMatrix,
    test_labels: Integers,
    *,
    num_classes: int,
    judged_by: str,
    seed: int,
) -> float:
    """Quality on the test rows of a head that is re-trained as in the paper, by stochastic gradient descent."""
    trained = heads.train_head_sgd(train, train_labels, num_classes=num_classes, seed=seed)
    return _judge(judged_by)(trained, test, test_labels)


def _judge(judged_by: str) -> Callable[[heads.Head, FloatMatrix, Integers], float]:
    return heads.f1 if judged_by == "macro F1" else heads.accuracy
