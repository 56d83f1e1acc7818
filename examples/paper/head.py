"""Re-train the head: a linear classifier on the penultimate features of the source model.

Nguyen, Hassner, Seeger, Archambeau: LEEP, ICML 2020, section 5.1, "re-trained head": the feature extractor is frozen
and only the last layer is trained on the target. The paper uses SGD, `train_head_sgd`, whose result depends on the
learning rate and the number of epochs. `train_head` solves the same problem to convergence, with a penalty that makes
the optimum unique, so that a target task has one accuracy.

Both standardise each feature by its mean and standard deviation over the training rows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

TOLERANCE = 1e-5  # largest component of the gradient of the mean loss at the optimum
_ITERATIONS = 200
_LOGIT_VARIANCE = 10.0


@dataclass(frozen=True)
class Head:
    """A linear classifier on standardised features.

    Attributes:
        weights: weights for standardised features, ``[d, t]``.
        bias: ``[t]``.
        mean: mean of each feature over the training rows, ``[d]``.
        deviation: standard deviation of each feature over these, ``[d]``; 1 for constant features.
        gradient: largest absolute component of the gradient of the minimised loss at these weights.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    gradient: float

    def logits(self, features: ArrayLike) -> NDArray[np.float64]:
        """Features ``[n, d]`` → logits ``[n, t]``."""
        return _standardised(np.asarray(features), self.mean, self.deviation) @ self.weights + self.bias

    def predict(self, features: ArrayLike) -> NDArray[np.int64]:
        """Features ``[n, d]`` → the most probable class of each row, ``[n]`` in 0 … t − 1."""
        return self.logits(features).argmax(axis=1)


def default_l2(num_rows: int, num_features: int) -> float:
    """Return the penalty that gives logits a prior variance of 10: d / (10 n), the same rule for every task.

    It corresponds to a Gaussian prior N(0, 10/d) on each weight, since a standardised row has squared length d. No
    rows are held out for choosing it, and test accuracy is not used; a penalty three times as large or small changes
    accuracy little.
    """
    return num_features / (_LOGIT_VARIANCE * num_rows)


def train_head(features: ArrayLike, labels: ArrayLike, *, num_classes: int, l2: float | None = None) -> Head:
    """Minimise (1/n) Σ −log softmax(W f + b)_y + ½ l2 ‖W‖² over W and b to convergence, with Newton's method.

    The problem is strictly convex in W, and in b up to a constant, so the result does not depend on a starting point,
    a learning rate or a seed.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target classes, ``[n]`` in 0 … t − 1; all occur.
        num_classes: number of classes t ≥ 2.
        l2: penalty > 0; `default_l2` by default.

    Raises:
        ValueError: wrong shapes, a class without rows, NaN or an infinity in the features, l2 not positive.
        RuntimeError: the solver did not converge; this has not been observed.
    """
    x, y = _checked(features, labels, num_classes)
    mean, deviation = _moments(x)
    x = _standardised(x, mean, deviation)
    l2 = default_l2(*x.shape) if l2 is None else l2
    if not l2 > 0:
        raise ValueError(f"l2 is {l2}; without a penalty > 0 a separable task has no optimum")
    strength = 1 / (l2 * len(y))
    if num_classes == 2:  # scikit-learn then fits w with logits (0, w f), which equals (−w/2, w/2) with C doubled
        strength *= 2
    solver = LogisticRegression(C=strength, solver="newton-cg", tol=TOLERANCE, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the gradient is checked instead
        solver.fit(x, y)
    weights, bias = solver.coef_.T, solver.intercept_
    if num_classes == 2:
        weights, bias = np.hstack([-weights, weights]) / 2, np.append(-bias, bias) / 2
    gradient = _gradient(x, y, weights, bias, l2)
    if not gradient <= 2 * TOLERANCE:
        raise RuntimeError(f"the head did not converge: its gradient is {gradient:.1e} after {_ITERATIONS} steps")
    return Head(weights, bias, mean, deviation, gradient)


def train_head_sgd(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    seed: int,
    lr: float = 0.01,
    epochs: int = 100,
    batch_size: int = 32,
    momentum: float = 0.9,
    l2: float = 0.0,
) -> Head:
    """Train the head by stochastic gradient descent from zero, as in the paper; rows are shuffled in each epoch.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target classes, ``[n]`` in 0 … t − 1; all occur.
        num_classes: number of classes t ≥ 2.
        seed: seed of the order of the rows.
        lr: constant learning rate.
        epochs: passes over the rows.
        batch_size: rows in a step.
        momentum: factor of the previous step that is added to each step.
        l2: penalty ½ l2 ‖W‖², as in `train_head`.

    Raises:
        ValueError: wrong shapes, a class without rows, NaN or an infinity in the features.
    """
    x, y = _checked(features, labels, num_classes)
    mean, deviation = _moments(x)
    x = _standardised(x, mean, deviation)
    generator = np.random.default_rng(seed)
    weights, bias = np.zeros((x.shape[1], num_classes)), np.zeros(num_classes)
    step, step_of_bias = np.zeros_like(weights), np.zeros_like(bias)
    for _ in range(epochs):
        order = generator.permutation(len(y))
        for start in range(0, len(y), batch_size):
            rows = order[start : start + batch_size]
            residual = _residual(x[rows], y[rows], weights, bias)
            step = momentum * step - lr * (x[rows].T @ residual / len(rows) + l2 * weights)
            step_of_bias = momentum * step_of_bias - lr * residual.mean(axis=0)
            weights += step
            bias += step_of_bias
    return Head(weights, bias, mean, deviation, _gradient(x, y, weights, bias, l2))


def accuracy(head: Head, features: ArrayLike, labels: ArrayLike) -> float:
    """Compute the share of rows that a head classifies correctly, in [0, 1]."""
    return float((head.predict(features) == np.asarray(labels)).mean())


def f1(head: Head, features: ArrayLike, labels: ArrayLike) -> float:
    """Compute macro F1 over all classes of the head, in [0, 1]; 0 for a class that neither occurs nor is predicted."""
    classes = range(len(head.bias))
    return float(f1_score(labels, head.predict(features), labels=classes, average="macro", zero_division=0.0))


def _checked(
    features: ArrayLike, labels: ArrayLike, num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"features must be [n, d] and labels [n], got shapes {x.shape} and {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"features contain NaN or infinity in row {int(np.argmin(np.isfinite(x).all(axis=1)))}")
    if num_classes < 2 or not np.array_equal(np.unique(y), np.arange(num_classes)):
        raise ValueError(f"each of the classes 0 … {num_classes - 1} needs a row; the labels are {np.unique(y)}")
    return x, y.astype(np.int64)


def _moments(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    noise = np.finfo(np.float64).eps * np.abs(x).max(axis=0)  # rounding makes a constant feature vary by this much
    return mean, np.where(deviation > 10 * noise, deviation, 1.0)


def _standardised(
    x: NDArray[np.floating], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    return (x - mean) / deviation


def _residual(
    x: NDArray[np.float64], y: NDArray[np.int64], weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute probabilities minus the one-hot labels, ``[b, t]``."""
    residual = np.exp(log_softmax(x @ weights + bias, axis=1))
    residual[np.arange(len(y)), y] -= 1.0
    return residual


def _gradient(
    x: NDArray[np.float64], y: NDArray[np.int64], weights: NDArray[np.float64], bias: NDArray[np.float64], l2: float
) -> float:
    """Compute the largest absolute component of the gradient of the mean loss."""
    residual = _residual(x, y, weights, bias) / len(y)
    return float(max(np.abs(x.T @ residual + l2 * weights).max(), np.abs(residual.sum(axis=0)).max()))
