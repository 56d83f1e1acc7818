"""Leave-one-out LEEP: each example is scored by the empirical predictor of all the others. Original to hf_leep.

LEEP (Nguyen et al., ICML 2020, eq. 2) scores the same examples that P̂(y|z) was estimated on, so a confident model
with many source classes scores too high. Leaving the example out has a closed form that needs no second estimate: with
S_yz = Σ_{i: y_i=y} θ_iz and B_z = Σ_y S_yz,

    T_loo(a) = (1/n) Σ_i log Σ_z θ_iz (S_{y_i z} − θ_iz + a π_i) / (B_z − θ_iz + a),
    π_i = (n_{y_i} − 1 + 1/t)/n, the leave-one-out class prior with one pseudo-example, which is never zero.

Where examples are drawn together, as the words of a sentence are, the whole draw is left out: with k the draw of
example i, n_k its examples and n_ky those of class y, Σ_{j∈k, y_j=y_i} θ_j is subtracted from S_{y_i} and Σ_{j∈k} θ_j
from B, and π_i = (n_{y_i} − n_{k y_i} + 1/t)/(n − n_k + 1).

The prior weight a is chosen for each data set: the one in `PRIOR_WEIGHTS` with the highest T_loo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix
from hf_leep.errors import InputError
from hf_leep.measures.blocks import add_grouped, row_dot
from hf_leep.measures.draws import Draws
from hf_leep.measures.leep import joint
from hf_leep.measures.measure import Measure

# No fixed weight suits both random predictions (a small weight scores them far below the floor) and good models (a
# large weight lowers their score). The steps are half decades: a grid ten times finer raised the scores of 30
# synthetic problems, n/s from 0.5 to 20, by at most 0.005.
PRIOR_WEIGHTS: tuple[float, ...] = (*(10.0 ** (k / 2) for k in range(-12, 9)), float("inf"))


def leave_one_out_leep(
    probabilities: ArrayLike,
    labels: ArrayLike,
    prior_weight: float | None = None,
    draws: ArrayLike | None = None,
) -> float:
    """Score how well source predictions explain labels that the predictor has not seen, in nats; higher is better.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``; each row sums to 1 (±1e-3, or ±2e-2 in half precision)
            and is divided by its sum.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        prior_weight: weight a > 0 of the class prior in every source column; ``inf`` is allowed. By default, the
            weight in `PRIOR_WEIGHTS` with the highest score, see `chosen_prior_weight`.
        draws: the draw that each example belongs to, ``[n]``: integers ≥ 0, at least two different ones. The examples
            of a draw, such as the words of a sentence, are left out together. By default each example is its own draw.

    Returns:
        T_loo in (−∞, 0]; with the default weight at least its floor (1/n) Σ log π_i. Invariant to the order of
        rows and of source columns and to renaming the labels; not to repeating rows or splitting a source column. From
        n = 300 on, random predictions score the floor, ±0.02. With fewer examples, choosing the weight can raise their
        score: with n from 50 to 200, between 1 and 25 % of random draws scored more than 0.02 above the floor, up to
        0.17 above it.

    Raises:
        InputError: as for `leep`, or a weight that is not positive.

    Cost: 22 passes of O(n·s) time, one for each prior weight, and one pass before; O(t·s + block) memory.
    A block holds at least one whole draw.

    Not for: data with repeated rows, where an example is scored by its own copy. Not for comparing targets either,
    since each target has its own floor.

    Reference: hf_leep; leave-one-out form of Nguyen et al. 2020, eq. (2).

    Examples:
        Four different one-hot predictions are perfect for LEEP, but say nothing about an example that is left out:

        >>> import numpy as np
        >>> from hf_leep import measures
        >>> measures.leep(np.eye(4), [0, 0, 1, 1])
        0.0
        >>> round(measures.leave_one_out_leep(np.eye(4), [0, 0, 1, 1]), 4)
        -0.9808
    """
    theta, drawn, summed = _joint_sums(probabilities, labels, draws)
    if prior_weight is None:
        return min(max(_scores(theta, drawn, summed, PRIOR_WEIGHTS)), 0.0)
    return min(_scores(theta, drawn, summed, [_checked_weight(prior_weight)])[0], 0.0)


def chosen_prior_weight(probabilities: ArrayLike, labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Return the prior weight a in `PRIOR_WEIGHTS` with the highest leave-one-out LEEP, in examples; may be ``inf``.

    Args and errors: as for `leave_one_out_leep`.
    """
    theta, drawn, summed = _joint_sums(probabilities, labels, draws)
    return PRIOR_WEIGHTS[int(np.argmax(_scores(theta, drawn, summed, PRIOR_WEIGHTS)))]


def influence(
    probabilities: ArrayLike,
    labels: ArrayLike,
    draws: ArrayLike | None = None,
    prior_weight: float | None = None,
) -> tuple[float, Float64]:
    """Return leave-one-out LEEP in nats and the influence of each example on it, ``[n]`` values of mean 0.

    An example contributes its own term log h_i, and it changes the predictor of all those that are not left out with
    it. With D_k the examples of draw k, U_iz = S_{y_i z} − Σ_{j∈D_k, y_j=y_i} θ_jz, V_iz = B_z − Σ_{j∈D_k} θ_jz,
    W_iz = θ_iz/((V_iz + a) h_i) and Q_iz = W_iz (U_iz + a π_i)/(V_iz + a), the derivative of the sum by the weight of
    example j of draw k gives

        IF_j = log h_j + ½ d_j + Σ_z θ_jz [(R_{y_j z} − R_{k y_j z}) − (C_z − C_kz)] + a (G_{y_j} − G_{k y_j}),
        R_yz = Σ_{i: y_i=y} W_iz,  C_z = Σ_i Q_iz,  G_y = Σ_{i: y_i=y} Σ_z W_iz/(n − n_{k(i)} + 1),

    centred; with the index k, the same sums over draw k alone. The influence of a draw is the sum over its examples.

    d_j is what the draw would add to the example's log prediction, to first order, if it were not left out: with
    P_z = (S_{y_j z} + a π_j)/(B_z + a) and g_j = Σ_z P_z θ_jz, d_j = Σ_z θ_jz (Σ_{i∈D_k, y_i=y_j} θ_iz −
    P_z Σ_{i∈D_k} θ_iz)/((B_z + a) g_j). As in `leep`, half of it is used, halfway between leaving the draw out and
    keeping it. With few examples per pair of source and target class log h_j is low by chance alone, and without ½ d_j
    standard errors are 1.1 to 1.3 times too large (`tests/benchmarks/coverage.py`).

    The chosen weight adds nothing to first order, because it maximises the score. The standard error is std(IF)/√n, or
    that of the draws; the standard deviation of the terms log h alone would be too small, since it ignores the error
    of the predictor.

    Args and errors: as for `leave_one_out_leep`.
    """
    theta, drawn, summed = _joint_sums(probabilities, labels, draws)
    prior, t = drawn.prior, len(drawn.counts)
    if prior_weight is None:
        a = PRIOR_WEIGHTS[int(np.argmax(_scores(theta, drawn, summed, PRIOR_WEIGHTS)))]
    else:
        a = _checked_weight(prior_weight)
    if np.isinf(a):
        return _influence_of_prior(drawn)

    mass = summed.sum(axis=0)
    log_h = np.empty(len(theta))
    same_class = np.zeros_like(summed)  # R [t, s]
    any_class = np.zeros_like(mass)  # C [s]
    by_prior = np.zeros(t)  # G [t]
    own = np.empty(len(theta))  # what draw k itself contributed to R, C and G, minus ½ d_j: subtracted below
    for block in drawn.blocks(theta):
        rows, theta_j, codes = block.rows, block.values, block.codes
        of_class, of_draw, prior_j = block.of_class(theta_j), block.of_draw(theta_j), prior[rows, None]
        numerator = _without(summed[codes], of_class) + a * prior_j
        denominator = _without(mass, of_draw) + a
        weight = theta_j / denominator
        h = row_dot(weight, numerator)
        weight /= h[:, None]  # W [b, s]
        shift = weight * numerator / denominator  # Q [b, s]
        by_example = weight.sum(axis=1) / drawn.others[rows]
        log_h[rows] = np.log(h)
        add_grouped(same_class, weight, codes)
        any_class += shift.sum(axis=0)
        by_prior += np.bincount(codes, weights=by_example, minlength=t).astype(np.float64)
        own[rows] = row_dot(theta_j, block.of_class(weight) - block.of_draw(shift)) + a * block.of_class(by_example)
        kept = (summed[codes] + a * prior_j) / (mass + a)  # P, no draw left out [b, s]
        gain = (of_class - kept * of_draw) / (mass + a)
        own[rows] -= 0.5 * row_dot(theta_j, gain) / row_dot(theta_j, kept)
    value = float(log_h.mean())

    values = log_h - own + a * by_prior[drawn.codes]
    for part, theta_j in arrays.row_blocks(theta):
        values[part] += row_dot(theta_j, same_class[drawn.codes[part]] - any_class)
    return min(value, 0.0), values - values.mean()


def _influence_of_prior(drawn: Draws) -> tuple[float, Float64]:
    """The same for a = ∞: T = (1/n) Σ log π_i, whatever the predictions."""
    slope = 1 / (drawn.prior * drawn.others)  # of log π_i by the number of others that have its class [n]
    of_class = np.bincount(drawn.codes, weights=slope, minlength=len(drawn.counts)).astype(np.float64)
    values = np.log(drawn.prior) + of_class[drawn.codes]
    for block in drawn.blocks(slope[:, None]):
        values[block.rows] -= block.of_class(block.values)[:, 0]
    return float(np.log(drawn.prior).mean()), values - values.mean()


def floor(labels: ArrayLike, draws: ArrayLike | None = None) -> float:
    """Return the leave-one-out score of predictions without information, (1/n) Σ log π_i, in nats.

    Args:
        labels: target labels, ``[n]``.
        draws: as for `leave_one_out_leep`; a single draw has the floor −log t.

    Raises:
        InputError: as for `leep`.
    """
    n = len(np.asarray(labels))
    target = arrays.labels(labels, n)
    return float(np.log(Draws(target.codes, target.counts, arrays.draws(draws, n, fewest=1)).prior).mean())


def _joint_sums(
    probabilities: ArrayLike, labels: ArrayLike, draws: ArrayLike | None
) -> tuple[FloatMatrix, Draws, Float64]:
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    return theta, Draws(target.codes, target.counts, arrays.draws(draws, len(theta))), joint(theta, target)


def _without(total: Float64, own: Float64) -> Float64:
    """Sums without the share of each row's draw; clamped at 0, since a difference can be negative by rounding."""
    return np.maximum(total - own, 0.0)


def _scores(theta: FloatMatrix, drawn: Draws, summed: Float64, weights: Sequence[float]) -> list[float]:
    """T_loo at each prior weight, in one pass over the rows."""
    mass, prior = summed.sum(axis=0), drawn.prior
    totals = np.zeros(len(weights))
    for block in drawn.blocks(theta, arrays.BLOCK_BYTES // 4):  # four arrays of this size exist at once
        others_of_class = _without(summed[block.codes], block.of_class(block.values))
        others = _without(mass, block.of_draw(block.values))
        share = np.empty_like(others)
        for k, a in enumerate(weights):
            if np.isinf(a):
                totals[k] += np.log(prior[block.rows]).sum()
                continue
            np.add(others, a, out=share)
            np.divide(block.values, share, out=share)
            h = row_dot(share, others_of_class) + a * prior[block.rows] * (share @ np.ones(share.shape[1]))
            totals[k] += np.log(h).sum()
    return [float(total) / len(theta) for total in totals]


def _checked_weight(prior_weight: float) -> float:
    if not prior_weight > 0:
        raise InputError(f"prior_weight must be positive, got {prior_weight!r}")
    return float(prior_weight)


MEASURE = Measure(
    name="leave-one-out-leep",
    title="leave-one-out LEEP",
    needs="probabilities",
    unit="nats",
    reference="hf_leep, after Nguyen et al., ICML 2020, eq. (2)",
    summary="LEEP with each example left out of its own estimate, so it does not rise with the number of classes",
    function=leave_one_out_leep,
    influence=influence,
    takes_draws=True,
    mean_of="log-likelihoods",
)
