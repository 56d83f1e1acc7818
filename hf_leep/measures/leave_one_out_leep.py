"""Leave-one-out LEEP: each example scored by the empirical predictor of all the others. Ours; nobody else ships it.

LEEP (Nguyen et al., ICML 2020, eq. 2) scores on the examples that built P̂(y|z), so a confident model with many
source classes looks good for nothing. Taking the example out has a closed form, without refitting:
with S_yz = Σ_{i: y_i=y} θ_iz and B_z = Σ_y S_yz,

    T_loo(a) = (1/n) Σ_i log Σ_z θ_iz (S_{y_i z} − θ_iz + a π_{y_i}) / (B_z − θ_iz + a),
    π_y = (n_y − 1 + 1/t)/n, the leave-one-out class prior with one pseudo-example, never zero.

The prior weight a is chosen for each data set by maximising T_loo over `PRIOR_WEIGHTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Labels
from hf_leep.errors import InputError
from hf_leep.measures.blocks import add_grouped, row_dot
from hf_leep.measures.leep import joint

# No fixed weight serves both random predictions (a small one punishes them far below the floor) and good models
# (a large one drags them down). Half-decades: a grid ten times finer raised the score of
# 30 synthetic problems, n/s from 0.5 to 20, by at most 0.005.
PRIOR_WEIGHTS: tuple[float, ...] = (*(10.0 ** (k / 2) for k in range(-12, 9)), float("inf"))


def leave_one_out_leep(probabilities: ArrayLike, labels: ArrayLike, prior_weight: float | None = None) -> float:
    """Score how well source predictions explain labels that the predictor has not seen, in nats; higher is better.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``, rows summing to 1 (±1e-3).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        prior_weight: the weight a > 0 of the class prior in every source column, ``inf`` allowed; by default the one
            in `PRIOR_WEIGHTS` with the highest score, see `chosen_prior_weight`.

    Returns:
        T_loo in (−∞, 0], at least its floor (1/n) Σ log π_{y_i} when the weight is chosen. Invariant to the order of
        rows and of source columns and to renaming labels; not to repeated rows, nor to splitting a source column.
        Random predictions score the floor, ±0.02, from n = 300 on. With fewer examples the chosen weight flatters them
        at times: at n of 50 to 200, in 1 to 25 % of draws they were more than 0.02 above it, by up to 0.17.

    Raises:
        InputError: as for `leep`, or a weight that is not positive.

    Cost: a pass of O(n·s) time for each of 22 prior weights, and one before; O(t·s + block) memory.

    Not for: data with repeated rows, where an example sees its own copy. Nor for comparing targets: the floor is the
    target's own.

    Reference: hf_leep; leave-one-out form of Nguyen et al. 2020, eq. (2).
    """
    theta, target, summed = _statistic(probabilities, labels)
    if prior_weight is None:
        return min(max(_values(theta, target, summed, PRIOR_WEIGHTS)), 0.0)
    return min(_values(theta, target, summed, [_checked(prior_weight)])[0], 0.0)


def chosen_prior_weight(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the prior weight a in `PRIOR_WEIGHTS` that maximises leave-one-out LEEP, in examples; may be ``inf``."""
    theta, target, summed = _statistic(probabilities, labels)
    return PRIOR_WEIGHTS[int(np.argmax(_values(theta, target, summed, PRIOR_WEIGHTS)))]


def influence(probabilities: ArrayLike, labels: ArrayLike, prior_weight: float | None = None) -> tuple[float, Float64]:
    """Leave-one-out LEEP and the influence of each example on it: value in nats and ``[n]`` values of mean 0.

    An example adds its own term log h_i, and it moves the predictor of all the others. Differentiating the sum by
    the weight of example j gives, with W_iz = θ_iz/((V_iz + a) h_i), V_iz = B_z − θ_iz and
    Q_iz = W_iz (U_iz + a π_{y_i})/(V_iz + a), U_iz = S_{y_i z} − θ_iz,

        IF_j = log h_j + ½ d_j + Σ_z θ_jz [(R_{y_j z} − W_jz) − (C_z − Q_jz)] + (a/n) Σ_z (R_{y_j z} − W_jz), centred,
        R_yz = Σ_{i: y_i=y} W_iz,  C_z = Σ_i Q_iz.

    d_j is what the example would add to its own log prediction, to first order, were it not left out: with
    P_z = (S_{y_j z} + a π_{y_j})/(B_z + a) and g_j = Σ_z P_z θ_jz, d_j = Σ_z θ_jz² (1 − P_z)/((B_z + a) g_j). As in
    `leep`, half of it is in: the middle between with and without. Where cells are few examples log h_j is low by
    chance alone, and without ½ d_j the errors are 1.1 to 1.3 × too large (`tests/benchmarks/coverage.py`).

    The chosen weight adds nothing to first order, being a maximum. The standard error is std(IF)/√n; std of the
    terms log h alone would be too small, for it leaves the predictor's own error out.

    Args and errors: as for `leave_one_out_leep`.
    """
    theta, target, summed = _statistic(probabilities, labels)
    n, prior = len(theta), _prior(target)
    if prior_weight is None:
        a = PRIOR_WEIGHTS[int(np.argmax(_values(theta, target, summed, PRIOR_WEIGHTS)))]
    else:
        a = _checked(prior_weight)
    if np.isinf(a):  # T = (1/n) Σ log π_{y_i}: no prediction enters
        per_class = np.log(prior) + (target.counts - 1) / (prior * n)
        values = per_class[target.codes]
        return float(target.counts @ np.log(prior)) / n, values - values.mean()

    mass = summed.sum(axis=0)
    predictor = (summed + a * prior[:, None]) / (mass + a)  # P, no example left out [t, s]
    half_gain = 0.5 * (1 - predictor) / (mass + a)  # [t, s]
    log_h = np.empty(n)
    same_class = np.zeros_like(summed)  # R [t, s]
    any_class = np.zeros_like(mass)  # C [s]
    own = np.empty(n)  # example j's own share of the sums, to be taken out again, less ½ d_j
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
    """Leave-one-out score of predictions that carry no information, (1/n) Σ log π_{y_i}, in nats.

    Args:
        labels: target labels, ``[n]``.

    Raises:
        InputError: as for `leep`.
    """
    target = arrays.labels(labels, len(np.asarray(labels)))
    return float(target.counts @ np.log(_prior(target))) / len(target)


def _statistic(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatMatrix, Labels, Float64]:
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    return theta, target, joint(theta, target)


def _prior(target: Labels) -> Float64:
    """π_y of an example of class y that is left out, ``[t]``."""
    return (target.counts - 1 + 1 / target.num_classes) / len(target)


def _without(total: Float64, block: Float64) -> Float64:
    """Sums with each row's own share taken out; clamped, since the difference can be a negative rounding residue."""
    return np.maximum(total - block, 0.0)


def _values(theta: FloatMatrix, target: Labels, summed: Float64, weights: Sequence[float]) -> list[float]:
    """T_loo at each prior weight, in one pass over the rows."""
    mass, prior = summed.sum(axis=0), _prior(target)
    totals: NDArray[Any] = np.zeros(len(weights))
    for rows, block in arrays.row_blocks(theta, arrays.BLOCK_BYTES // 4):  # four blocks of this size are alive
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


def _checked(prior_weight: float) -> float:
    if not prior_weight > 0:
        raise InputError(f"prior_weight must be positive, got {prior_weight!r}")
    return float(prior_weight)
