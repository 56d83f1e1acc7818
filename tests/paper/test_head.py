"""The head's optimum is that of another solver of the same problem, whatever is turned or renamed; SGD goes there."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from examples.paper.head import accuracy, default_l2, f1, train_head, train_head_sgd


@pytest.fixture
def task(rng):
    """90 rows of 3 overlapping classes, columns of very different size, one of them constant."""
    y = np.repeat(np.arange(3), 30)
    x = rng.normal(size=(90, 5)) + 1.2 * np.eye(5)[y]
    return np.column_stack([x * [1e-3, 1, 50, 1, 1] + 7, np.full(90, 0.1)]), y


def loss_of(x, y, l2, t):
    """Mean cross-entropy with its penalty, as a function of flat weights and biases."""
    x = np.divide(x - x.mean(0), x.std(0), out=np.zeros_like(x), where=x.std(0) > 1e-12)

    def loss(flat):
        w = flat.reshape(-1, t)
        return -log_softmax(x @ w[:-1] + w[-1], axis=1)[np.arange(len(y)), y].mean() + l2 / 2 * (w[:-1] ** 2).sum()

    return loss


@pytest.mark.parametrize("t", [2, 3])
def test_the_optimum_is_that_of_another_solver_from_another_start(task, rng, t):
    x, y = task[0][task[1] < t], task[1][task[1] < t]
    head = train_head(x, y, num_classes=t, l2=0.05)
    loss = loss_of(x, y, 0.05, t)
    found = minimize(
        loss, rng.normal(size=(x.shape[1] + 1) * t), method="BFGS", options={"gtol": 1e-7, "maxiter": 500}
    )
    assert loss(np.vstack([head.weights, head.bias]).ravel()) == pytest.approx(found.fun, abs=1e-9)
    np.testing.assert_allclose(head.weights, found.x.reshape(-1, t)[:-1], atol=1e-4)
    assert head.gradient < 2e-5


def test_it_depends_on_no_scale_order_or_name(task, rng):
    x, y = task
    head = train_head(x, y, num_classes=3)
    order, names, factor = rng.permutation(len(y)), np.array([2, 0, 1]), rng.uniform(0.1, 10, x.shape[1])
    other = train_head((x * factor + 3)[order], names[y][order], num_classes=3)
    found, expected = other.logits(x * factor + 3)[:, names], head.logits(x)
    centred = [logits - logits.mean(axis=1, keepdims=True) for logits in (found, expected)]
    np.testing.assert_allclose(*centred, atol=1e-3)
    assert np.array_equal(train_head(x, y, num_classes=3).weights, head.weights)


def test_sgd_approaches_the_optimum_and_repeats_itself(task):
    x, y = task
    loss = loss_of(x, y, 0.05, 3)
    best = train_head(x, y, num_classes=3, l2=0.05)
    start, floor = np.log(3), loss(np.vstack([best.weights, best.bias]).ravel())
    for epochs, share in ((1, 0.99), (300, 0.01)):
        head = train_head_sgd(x, y, num_classes=3, l2=0.05, seed=1, epochs=epochs, lr=0.005)
        reached = loss(np.vstack([head.weights, head.bias]).ravel())
        assert floor - 1e-9 <= reached <= floor + share * (start - floor)
    again = train_head_sgd(x, y, num_classes=3, l2=0.05, seed=1, epochs=300, lr=0.005)
    other = train_head_sgd(x, y, num_classes=3, l2=0.05, seed=2, epochs=300, lr=0.005)
    assert np.array_equal(again.weights, head.weights)
    assert not np.array_equal(other.weights, head.weights)


def test_accuracy_and_f1(task):
    x, y = task
    head = train_head(x, y, num_classes=3)
    predicted = head.predict(x)
    assert accuracy(head, x, y) == (predicted == y).mean() > 0.6
    rows = y < 2  # class 2 is never met here, but it counts
    each = []
    for c in range(3):
        hits = ((predicted == c) & (y == c))[rows].sum()
        each.append(2 * hits / max(1, (predicted[rows] == c).sum() + (y[rows] == c).sum()))
    assert f1(head, x[rows], y[rows]) == pytest.approx(np.mean(each))


def test_the_default_penalty_is_a_prior_on_the_logits(task):
    x, y = task
    assert default_l2(200, 64) == pytest.approx(64 / 2000)
    default = train_head(x, y, num_classes=3)
    assert np.array_equal(default.weights, train_head(x, y, num_classes=3, l2=default_l2(*x.shape)).weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1, 1]}, r"shapes \(4, 2\) and \(3,\)"),
        ({"labels": [0, 0, 2, 2]}, "needs a row"),
        ({"num_classes": 3}, "needs a row"),
        ({"features": [[0, 1], [1, np.nan], [2, 2], [0, 0]]}, "row 1"),
        ({"l2": 0.0}, "l2 is 0"),
    ],
)
def test_wrong_input_is_refused(change, words):
    arguments = {"features": [[0, 1], [1, 0], [2, 2], [0, 0]], "labels": [0, 1, 0, 1], "num_classes": 2, **change}
    with pytest.raises(ValueError, match=words):
        train_head(arguments.pop("features"), arguments.pop("labels"), **arguments)
