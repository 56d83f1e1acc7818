"""Leave-one-out LEEP: each example is scored by the empirical predictor of all the others. Original to hf_leep.

LEEP (Nguyen et al., ICML 2020, eq. 2) scores the same examples that P̂(y|z) was estimated on, so a confident model
with many source classes scores too high. Leaving the example out has a closed form that needs no second estimate: with
S_yz = Σ_{i: y_i=y} θ_iz and B_z = Σ_y S_yz,

    T_loo(a) = (1/n) Σ_i log Σ_z θ_iz (S_{y_i z} − θ_iz + a π_{y_i}) / (B_z − θ_iz + a),
    π_y = (n_y − 1 + 1/t)/n, the leave-one-out class prior with one pseudo-example, which is never zero.

The prior weight a is chosen for each data set: the one in `PRIOR_WEIGHTS` with the highest T_loo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.errors import InputError
from hf_leep.measures.blocks import add_grouped, row_dot
from hf_leep.measures.leep import joint
from hf_leep.measures.measure import Measure

# No fixed weight suits both random predictions (a small weight scores them far below the floor) and good models (a
# large weight lowers their score). The steps are half decades: a grid ten times finer raised the scores of 30
# synthetic problems, n/s from 0.5 to 20, by at most 0.005.
PRIOR_WEIGHTS: tuple[float, ...] = (*(10.0 ** (k / 2) for k in range(-12, 9)), float("inf"))


def leave_one_out_leep(probabilities: ArrayLike, labels: ArrayLike, prior_weight: float | None = None) -> float:
    """Score how well source predictions explain labels that the predictor has not seen, in nats; higher is better.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``; each row sums to 1 (±1e-3).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        prior_weight: weight a > 0 of the class prior in every source column; ``inf`` is allowed. By default, the
            weight in `PRIOR_WEIGHTS` with the highest score, see `chosen_prior_weight`.

    Returns:
        T_loo in (−∞, 0]; with the default weight at least its floor (1/n) Σ log π_{y_i}. Invariant to the order of
        rows and of source columns and to renaming the labels; not to repeating rows or splitting a source column. From
        n = 300 on, random predictions score the floor, ±0.02. With fewer examples, choosing the weight can raise their
        score: with n from 50 to 200, between 1 and 25 % of random draws scored more than 0.02 above the floor, up to
        0.17 above it.

    Raises:
        InputError: as for `leep`, or a weight that is not positive.

    Cost: 22 passes of O(n·s) time, one for each prior weight, and one pass before; O(t·s + block) memory.

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
    theta, target, summed = _joint_sums(probabilities, labels)
    if prior_weight is None:
        return min(max(_scores(theta, target, summed, PRIOR_WEIGHTS)), 0.0)
    return min(_scores(theta, target, summed, [_checked_weight(prior_weight)])[0], 0.0)


def chosen_prior_weight(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the prior weight a in `PRIOR_WEIGHTS` with the highest leave-one-out LEEP, in examples; may be ``inf``.

    Args and errors: as for `leave_one_out_leep`.
    """
    theta, target, summed = _joint_sums(probabilities, labels)
    return PRIOR_WEIGHTS[int(np.argmax(_scores(theta, target, summed, PRIOR_WEIGHTS)))]


def influence(probabilities: ArrayLike, labels: ArrayLike, prior_weight: float | None = None) -> tuple[float, Float64]:
    """Return leave-one-out LEEP in nats and the influence of each example on it, ``[n]`` values of mean 0.

    An example contributes its own term log h_i, and it changes the predictor of all the others. With
    W_iz = θ_iz/((V_iz + a) h_i), V_iz = B_z − θ_iz and Q_iz = W_iz (U_iz + a π_{y_i})/(V_iz + a), U_iz = S_{y_i z} −
    θ_iz, the derivative of the sum by the weight of example j gives

        IF_j = log h_j + ½ d_j + Σ_z θ_jz [(R_{y_j z} − W_jz) − (C_z − Q_jz)] + (a/n) Σ_z (R_{y_j z} − W_jz), centred,
        R_yz = Σ_{i: y_i=y} W_iz,  C_z = Σ_i Q_iz.

    d_j is what the example would add to its own log prediction, to first order, if it were not left out: with
    P_z = (S_{y_j z} + a π_{y_j})/(B_z + a) and g_j = Σ_z P_z θ_jz, d_j = Σ_z θ_jz² (1 − P_z)/((B_z + a) g_j). As in
    `leep`, half of it is used, halfway between leaving the example out and keeping it. With few examples per pair of
    source and target class log h_j is low by chance alone, and without ½ d_j standard errors are 1.1 to 1.3 times too
    large (`tests/benchmarks/coverage.py`).

    The chosen weight adds nothing to first order, because it maximises the score. The standard error is std(IF)/√n;
    the standard deviation of the terms log h alone would be too small, since it ignores the error of the predictor.

    Args and errors: as for `leave_one_out_leep`.
    """
    theta, target, summed = _joint_sums(probabilities, labels)
    n, prior = len(theta), _prior(target)
    if prior_weight is None:
        a = PRIOR_WEIGHTS[int(np.argmax(_scores(theta, target, summed, PRIOR_WEIGHTS)))]
    else:
        a = _checked_weight(prior_weight)
    if np.isinf(a):  # T = (1/n) Σ log π_{y_i}, whatever the predictions
        per_class = np.log(prior) + (target.counts - 1) / (prior * n)
        values = per_class[target.codes]
        return float(target.counts @ np.log(prior)) / n, values - values.mean()

    mass = summed.sum(axis=0)
    predictor = (summed + a * prior[:, None]) / (mass + a)  # P, no example left out [t, s]
    half_gain = 0.5 * (1 - predictor) / (mass + a)  # [t, s]
    log_h = np.empty(n)
    same_class = np.zeros_like(summed)  # R [t, s]
    any_class = np.zeros_like(mass)  # C [s]
    own = np.empty(n)  # what example j itself contributed to R and C, minus ½ d_j: subtracted below
    for rows, block in arrays.row_blocks(theta):
        codes = target.codes[rows]
        numerator = _without(summed[codes], block) + a * prior[codes, None]
        weight = block / (_without(mass, block) + a)
        h = row_dot(weight, numerator)
        weight /= h[:, None]  # W [b, s]
        shift = weight * numerator / (_without(mass, block) + a)  # Q [b, s]
        log_h[rows] = np.log(h)
        add_grouped(same_class, weight, codes)
        any_class += shift.sum(axis=0)
        own[rows] = row_dot(block, weight - shift) + (a / n) * weight.sum(axis=1)
        own[rows] -= row_dot(block * block, half_gain[codes]) / row_dot(block, predictor[codes])
    value = float(log_h.mean())

    values = log_h - own + (a / n) * same_class.sum(axis=1)[target.codes]
    for rows, block in arrays.row_blocks(theta):
        values[rows] += row_dot(block, same_class[target.codes[rows]] - any_class)
    return min(value, 0.0), values - values.mean()


def floor(labels: ArrayLike) -> float:
    """Return the leave-one-out score of predictions without information, (1/n) Σ log π_{y_i}, in nats.

    Args:
        labels: target labels, ``[n]``.

    Raises:
        InputError: as for `leep`.
    """
    target = arrays.labels(labels, len(np.asarray(labels)))
    return float(target.counts @ np.log(_prior(target))) / len(target)


def _joint_sums(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatMatrix, Labels, Float64]:
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    return theta, target, joint(theta, target)


def _prior(target: Labels) -> Float64:
    """π_y, the class prior that an example of class y is scored with when it is left out, ``[t]``."""
    return (target.counts - 1 + 1 / target.num_classes) / len(target)


def _without(total: Float64, block: Float64) -> Float64:
    """Sums without each row's own share; clamped at 0, since a difference can be negative by a rounding error."""
    return np.maximum(total - block, 0.0)


def _scores(theta: FloatMatrix, target: Labels, summed: Float64, weights: Sequence[float]) -> list[float]:
    """T_loo at each prior weight, in one pass over the rows."""
    mass, prior = summed.sum(axis=0), _prior(target)
    totals = np.zeros(len(weights))
    for rows, block in arrays.row_blocks(theta, arrays.BLOCK_BYTES // 4):  # four arrays of this size exist at once
        codes = target.codes[rows]
        others_of_class, others = _without(summed[codes], block), _without(mass, block)
        share = np.empty_like(block)
        for k, a in enumerate(weights):
            if np.isinf(a):
                totals[k] += np.log(prior[codes]).sum()
                continue
            np.add(others, a, out=share)
            np.divide(block, share, out=share)
            h = row_dot(share, others_of_class) + a * prior[codes] * (share @ np.ones(share.shape[1]))
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
    summary="LEEP with each example scored by all the others: not fooled by many source classes",
    function=leave_one_out_leep,
    influence=influence,
    mean_of="log-likelihoods",
)
