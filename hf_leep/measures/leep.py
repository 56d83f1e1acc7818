"""LEEP, the Log Expected Empirical Prediction.

Nguyen, Hassner, Seeger, Archambeau: LEEP: A New Measure to Evaluate Transferability of Learned Representations,
ICML 2020, equations (1) and (2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.measures.blocks import add_grouped, divide, row_dot


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Score how well source predictions explain the target labels, in nats; higher is better.

    The mean log-likelihood of the expected empirical predictor P̂(y|x) = Σ_z P̂(y|z) θ(x)_z, built and evaluated on
    the same examples.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``, rows summing to 1 (±1e-3).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        T in (−∞, 0]; −Ĥ(Y), the negative class entropy, for predictions that carry no information. Invariant to the
        order of rows and of source columns, to renaming labels, to repeating the data set and to splitting a source
        column into equal parts.

    Raises:
        InputError: wrong shapes, rows that are no probabilities, negative labels, fewer than two classes.

    Cost: two passes of O(n·s) time; O(t·s + block) memory.

    Not for: heads of different width on few examples, since it is in-sample: at n = 200 and 5 balanced classes, random
    guesses over 10 source classes score −1.51, over 1,000 −0.12 (floor −1.61); `leave_one_out_leep` is made for that.
    Nor for comparing targets: the floor −Ĥ(Y) is the target's own.

    Reference: Nguyen et al. 2020, eq. (2).
    """
    theta = arrays.probabilities(probabilities)  # [n, s]
    target = arrays.labels(labels, len(theta))
    return value_of(theta, target)


def influence(probabilities: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """LEEP and the influence of each example on it: value in nats and ``[n]`` values of mean 0.

    With A = P̂(y,z), B = P̂(z), g_i = Σ_z P̂(y_i|z) θ_iz and R_yz = (1/n) Σ_{i: y_i=y} θ_iz/g_i, and with what an
    example's own weight w_i adds to its prediction, d_i = ∂ log g_i/∂w_i = (1/n) Σ_z θ_iz² (1 − P̂(y_i|z))/(B_z g_i):

        IF_i = log g_i − ½ d_i + Σ_z θ_iz R_{y_i z}/B_z − Σ_z θ_iz (Σ_y R_yz A_yz)/B_z², centred.

    Without ½ d_i this is the derivative of n·T by w_i, which trusts an example's word on itself: where cells are few
    examples its errors are a tenth too small (`tests/benchmarks/coverage.py`). Deleting the example changes n·T by the
    derivative less half of the curvature, and for one-hot predictions that is d_i.

    The standard error is std(IF)/√n, that of a difference between two models on the same rows std(IF_a − IF_b)/√n.
    Both are for the measure's expectation at this n, and say nothing about its in-sample bias.

    Args and errors: as for `leep`.
    """
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    n = len(theta)
    summed = joint(theta, target)  # n·A [t, s]
    mass = summed.sum(axis=0)  # n·B [s]
    predictor = expected_empirical_predictor(summed)

    log_prediction = np.empty(n)
    responsibility = np.zeros_like(summed)  # n·R [t, s]
    for rows, block, g in _predictions(theta, target, predictor, arrays.BLOCK_BYTES):
        log_prediction[rows] = np.log(g)
        add_grouped(responsibility, block, target.codes[rows], 1.0 / g)
    value = min(float(log_prediction.mean()), 0.0)

    gain = divide(responsibility, mass)  # R/B [t, s]
    gain -= divide((responsibility * summed).sum(axis=0), mass * mass)  # (Σ_y R A)/B²
    own_gain = divide(0.5 * (1 - predictor), mass)  # (1 − P̂(y|z))/2B [t, s]
    values = log_prediction.copy()
    for rows, block in arrays.row_blocks(theta):
        codes = target.codes[rows]
        values[rows] += row_dot(block, gain[codes])
        values[rows] -= row_dot(block * block, own_gain[codes]) / np.exp(log_prediction[rows])
    return value, values - values.mean()


def value_of(theta: FloatMatrix, target: Labels) -> float:
    """LEEP of checked inputs."""
    predictor = expected_empirical_predictor(joint(theta, target))
    # Smaller blocks than for grouped sums: here a block and its rows of the predictor share the cache.
    predictions = _predictions(theta, target, predictor, arrays.BLOCK_BYTES // 4)
    total = sum(float(np.log(g).sum()) for _, _, g in predictions)
    return min(total / len(theta), 0.0)  # a rounding residue above 0 is not a score


def joint(theta: FloatMatrix, target: Labels) -> Float64:
    """Empirical joint of target class and source class times n, S_yz = Σ_{i: y_i=y} θ_iz, ``[t, s]`` (eq. 1).

    Checks on the way that every row of ``theta`` is a probability vector.
    """
    summed = np.zeros((target.num_classes, theta.shape[1]))
    for rows, block in arrays.row_blocks(theta):
        arrays.check_simplex(block, rows.start)
        add_grouped(summed, block, target.codes[rows])
    return summed


def expected_empirical_predictor(summed: Float64) -> Float64:
    """P̂(y|z), ``[t, s]``: the joint divided by its column sums; columns of zero mass stay zero."""
    return divide(summed, summed.sum(axis=0))


def _predictions(
    theta: FloatMatrix, target: Labels, predictor: Float64, block_bytes: int
) -> Iterator[tuple[slice, Float64, Float64]]:
    """Yield (rows, block [b, s], g [b]) with g_i = Σ_z P̂(y_i|z) θ_iz, which is positive in-sample."""
    for rows, block in arrays.row_blocks(theta, block_bytes):
        yield rows, block, row_dot(block, predictor[target.codes[rows]])
