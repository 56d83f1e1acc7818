"""The leave-one-out terms of the score: how likely each example's label is by the predictor of all other examples.

With S_yz = Σ_{i: y_i=y} θ_iz, B_z = Σ_y S_yz and the class prior π of `hf_leep.measures.leave_one_out_leep`,

    h_i(a) = Σ_z θ_iz (S_{y_i z} − θ_iz + a π_i) / (B_z − θ_iz + a),

or without the whole draw of example i, as there, where several examples are drawn together, such as words of a
sentence. The mean of log h_i is leave-one-out LEEP at the prior weight a. Here θ may be scaled by a temperature:
θ^(1/τ), renormalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.measures.blocks import add_grouped, divide, row_dot
from hf_leep.measures.draws import Draws
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS

_BLOCK_BYTES = arrays.BLOCK_BYTES // 4  # four blocks of this size are in memory at a time
_ROUNDING = 1e-12
_STEP = 3  # of the first, coarse search over the prior weights


@dataclass(frozen=True, eq=False)
class Predictor:
    """The sums that leave-one-out terms are computed from.

    Attributes:
        theta: source probabilities ``[n, s]``.
        drawn: class of each example, 0 … t−1, and its draw; in a subsample some classes may not occur.
        temperature: τ.
        joint: S, computed from the tempered probabilities, ``[t, s]``.
    """

    theta: FloatMatrix
    drawn: Draws
    temperature: float
    joint: Float64

    @classmethod
    def of(cls, theta: FloatMatrix, drawn: Draws, temperature: float = 1.0) -> Predictor:
        """Compute the sums over all rows.

        Raises:
            InputError: a row is not a probability vector.
        """
        summed = np.zeros((len(drawn.counts), theta.shape[1]))
        for rows, block in arrays.row_blocks(theta, _BLOCK_BYTES):
            arrays.check_simplex(block, rows.start)
            add_grouped(summed, temper(block, temperature), drawn.codes[rows])
        return cls(theta, drawn, temperature, summed)

    @property
    def codes(self) -> Integers:
        """Class of each example, ``[n]``."""
        return self.drawn.codes

    @property
    def counts(self) -> Integers:
        """Number of examples of each class, ``[t]``."""
        return self.drawn.counts

    def tempered(self, temperature: float) -> Predictor:
        """Return the predictor of the same rows at another temperature."""
        if temperature == self.temperature:
            return self
        return Predictor.of(self.theta, self.drawn, temperature)

    def log_terms(self, weights: Sequence[float]) -> Float64:
        """Compute log h_i at each prior weight, ``[len(weights), n]``, in one pass over the rows."""
        mass, prior = self.joint.sum(axis=0), self.drawn.prior
        terms = np.empty((len(weights), len(self.codes)))
        terms[np.isinf(weights)] = np.log(prior)
        finite = [(k, a) for k, a in enumerate(weights) if not np.isinf(a)]
        if not finite:
            return terms
        for block in self.drawn.blocks(self.theta, _BLOCK_BYTES):
            theta = temper(block.values, self.temperature)
            others_of_class = np.maximum(self.joint[block.codes] - block.of_class(theta), 0.0)
            others = np.maximum(mass - block.of_draw(theta), 0.0)
            share = np.empty_like(theta)
            for k, a in finite:
                np.divide(theta, np.add(others, a, out=share), out=share)
                h = row_dot(share, others_of_class) + a * prior[block.rows] * share.sum(axis=1)
                terms[k, block.rows] = np.log(h)
        return terms

    def best_prior_weight(self, start: int | None = None) -> tuple[int, Float64]:
        """Find the prior weight with the highest score: its index in `PRIOR_WEIGHTS`, and log h at it, ``[n]``.

        Args:
            start: index where the search begins; by default the best of a coarse grid of the weights.
        """
        last = len(PRIOR_WEIGHTS) - 1
        known: dict[int, Float64] = {}

        def evaluate(indices: Sequence[int]) -> None:
            new = [k for k in indices if 0 <= k <= last and k not in known]
            if new:
                known.update(zip(new, self.log_terms([PRIOR_WEIGHTS[k] for k in new]), strict=True))

        evaluate([start - 1, start, start + 1] if start is not None else range(0, last, _STEP))
        at = start if start is not None else max(known, key=lambda k: known[k].mean())
        while True:
            evaluate([at - 1, at, at + 1])
            best = max((k for k in (at, at - 1, at + 1) if k in known), key=lambda k: known[k].mean())
            if best == at:
                break
            at, direction = best, best - at
            if at + direction not in known:  # reading the rows once costs as much as several weights
                evaluate([at + step * direction for step in range(1, _STEP + 1)])
        evaluate([last])
        # The last weight is infinite, the prior alone: it is best where the source adds nothing but rounding errors.
        best = at if known[at].mean() > known[last].mean() + _ROUNDING else last
        return best, known[best]


def temper(block: Float64, temperature: float) -> Float64:
    """Compute θ^(1/τ) in place, rows renormalised; intermediate values are float32, as the probabilities are."""
    if temperature == 1.0:
        return block
    with np.errstate(divide="ignore"):  # log 0 = −∞ stays a probability of 0
        power = np.log(block.astype(np.float32))
    power -= power.max(axis=1, keepdims=True)
    power /= np.float32(temperature)
    np.copyto(block, np.exp(power, out=power))
    block /= block.sum(axis=1, keepdims=True)
    return block


def conditional(joint: Float64) -> Float64:
    """Compute P̂(y|z), ``[t, s]``; columns without mass stay 0."""
    return divide(joint, joint.sum(axis=0))
