"""LEEP, the Log Expected Empirical Prediction.

Nguyen, Hassner, Seeger, Archambeau: LEEP: A New Measure to Evaluate Transferability of Learned Representations,
ICML 2020, equations (1) and (2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.blocks import add_grouped, divide, row_dot
from hf_leep.measures.draws import Draws
from hf_leep.measures.measure import Measure


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Score how well source predictions explain the target labels, in nats; higher is better.

    The score is the mean log-likelihood of the expected empirical predictor P̂(y|x) = Σ_z P̂(y|z) θ(x)_z, which is
    estimated and evaluated on the same examples.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``; each row sums to 1 (±1e-3, or ±2e-2 in half precision)
            and is divided by its sum.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        T in (−∞, 0]. Predictions without information score −Ĥ(Y), the negative entropy of the classes. Invariant to
        the order of rows and of source columns, to renaming the labels, to repeating the data set and to splitting a
        source column into equal parts.

    Raises:
        InputError: wrong shapes, rows that are not probabilities, negative labels, or fewer than two classes.

    Cost: two passes of O(n·s) time; O(t·s + block) memory.

    Not for: comparing heads of different width on few examples, because the score is in-sample. With n = 200 and 5
    balanced classes, random guesses over 10 source classes score −1.51, over 1,000 source classes −0.12 (floor −1.61).
    Use `leave_one_out_leep` there. Not for comparing targets either, since each target has its own floor −Ĥ(Y).

    Reference: Nguyen et al. 2020, eq. (2).

    Examples:
        >>> from hf_leep import measures
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
        >>> round(measures.leep(probabilities, [0, 0, 1, 1]), 4)
        -0.384

        Predictions without information score minus the entropy of the classes, here −log 2:

        >>> round(measures.leep([[0.5, 0.5]] * 4, [0, 0, 1, 1]), 4)
        -0.6931
    """
    theta = arrays.probabilities(probabilities)  # [n, s]
    target = arrays.labels(labels, len(theta))
    return value_of(theta, target)


def influence(probabilities: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return LEEP in nats and the influence of each example on it, ``[n]`` values of mean 0.

    With A = P̂(y,z), B = P̂(z), g_i = Σ_z P̂(y_i|z) θ_iz, R_yz = (1/n) Σ_{i: y_i=y} θ_iz/g_i, and the effect of an
    example's weight w_i on its own prediction, d_i = ∂ log g_i/∂w_i = (1/n) Σ_z θ_iz² (1 − P̂(y_i|z))/(B_z g_i):

        IF_i = log g_i − ½ d_i + Σ_z θ_iz R_{y_i z}/B_z − Σ_z θ_iz (Σ_y R_yz A_yz)/B_z², centred.

    Without the term ½ d_i this is the derivative of n·T by w_i. That derivative counts the full effect of an example
    on its own prediction, and its standard errors are 10 % too small when there are few examples per pair of source
    and target class (`tests/benchmarks/coverage.py`). Deleting the example changes n·T by the derivative minus half of
    the second derivative, which equals d_i for one-hot predictions.

    Of examples that are drawn together, such as the words of a sentence, each also acts on the predictions of the
    others: d_i then is the effect of the weights of all examples j of the draw,

        d_i = (1/n) Σ_j Σ_z θ_iz θ_jz (1[y_i = y_j] − P̂(y_i|z))/(B_z g_i).

    A draw of equal examples so has the influence of a single one. With the effect on the own prediction alone,
    standard errors were up to 13 % too small where draws are few for the source classes.

    The standard error of the score is std(IF)/√n; that of the difference between two models on the same rows is
    std(IF_a − IF_b)/√n. Both are for the expected score at this n and do not cover the in-sample bias.

    Args:
        probabilities: as for `leep`.
        labels: as for `leep`.
        draws: draw of each example, 0 … g−1, all occurring, ``[n]``; by default each is its own draw.

    Errors: as for `leep`.
    """
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    n = len(theta)
    summed = joint(theta, target)  # n·A [t, s]
    mass = summed.sum(axis=0)  # n·B [s]
    predictor = expected_empirical_predictor(summed)

    log_prediction = np.empty(n)
    responsibility = np.zeros_like(summed)  # n·R [t, s]
    for rows, block, g in _likelihoods(theta, target, predictor, arrays.BLOCK_BYTES):
        log_prediction[rows] = np.log(g)
        add_grouped(responsibility, block, target.codes[rows], 1.0 / g)
    value = min(float(log_prediction.mean()), 0.0)

    slope = divide(responsibility, mass)  # R/B [t, s]
    slope -= divide((responsibility * summed).sum(axis=0), mass * mass)  # (Σ_y R A)/B²
    own_effect = divide(0.5 * (1 - predictor), mass)  # (1 − P̂(y|z))/2B [t, s]
    halves = divide(np.full_like(mass, 0.5), mass)  # 1/2B [s]
    values = log_prediction.copy()
    for part in Draws(target.codes, target.counts, draws).blocks(theta):
        at, codes, own = part.rows, part.codes, part.values
        values[at] += row_dot(own, slope[codes])
        if draws is None:
            half_effect = row_dot(own * own, own_effect[codes])
        else:
            half_effect = row_dot(own * halves, part.of_class(own) - predictor[codes] * part.of_draw(own))
        values[at] -= half_effect / np.exp(log_prediction[at])
    return value, values - values.mean()


def value_of(theta: FloatMatrix, target: Labels) -> float:
    """LEEP of inputs that `hf_leep.arrays` has validated."""
    predictor = expected_empirical_predictor(joint(theta, target))
    # Smaller blocks than for grouped sums: a block and its rows of the predictor have to fit into the cache together.
    likelihoods = _likelihoods(theta, target, predictor, arrays.BLOCK_BYTES // 4)
    total = sum(float(np.log(g).sum()) for _, _, g in likelihoods)
    return min(total / len(theta), 0.0)  # a positive value is a rounding error


def joint(theta: FloatMatrix, target: Labels) -> Float64:
    """Sum the source probabilities of each target class: S_yz = Σ_{i: y_i=y} θ_iz, ``[t, s]``, n times eq. (1)."""
    summed = np.zeros((target.num_classes, theta.shape[1]))
    for rows, block in arrays.row_blocks(theta):
        add_grouped(summed, block, target.codes[rows])
    return summed


def expected_empirical_predictor(summed: Float64) -> Float64:
    """Return P̂(y|z), ``[t, s]``: the joint divided by its column sums; columns without mass stay zero."""
    return divide(summed, summed.sum(axis=0))


def _likelihoods(
    theta: FloatMatrix, target: Labels, predictor: Float64, block_bytes: int
) -> Iterator[tuple[slice, Float64, Float64]]:
    """Yield (rows, block [b, s], g [b]) with g_i = Σ_z P̂(y_i|z) θ_iz, which is positive on the examples behind P̂."""
    for rows, block in arrays.row_blocks(theta, block_bytes):
        yield rows, block, row_dot(block, predictor[target.codes[rows]])


MEASURE = Measure(
    name="leep",
    title="LEEP",
    needs="probabilities",
    unit="nats",
    reference="Nguyen et al., ICML 2020, eq. (2)",
    summary="how well source predictions explain the target labels; in-sample",
    function=leep,
    influence=influence,
    influence_takes_draws=True,
    mean_of="log-likelihoods",
    checked_by="leave-one-out-leep",
)
