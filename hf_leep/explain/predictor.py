"""The leave-one-out terms behind the score: what each example's own label gets from all the other examples.

With S_yz = Σ_{i: y_i=y} θ_iz, B_z = Σ_y S_yz and the class prior π of `hf_leep.measures.leave_one_out_leep`,

    h_i(a) = Σ_z θ_iz (S_{y_i z} − θ_iz + a π_{y_i}) / (B_z − θ_iz + a),

the mean of whose logarithms is leave-one-out LEEP at the prior weight a. Here θ may be tempered, θ^(1/τ) renormalised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.measures.blocks import add_grouped, divide, row_dot
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS

_BLOCK_BYTES = arrays.BLOCK_BYTES // 4  # four blocks of this size are alive
_ROUNDING = 1e-12
_EVERY = 3  # step of the first look over the prior weights


@dataclass(frozen=True, eq=False)
class Predictor:
    """The sums that leave-one-out terms are made of.

    Attributes:
        theta: source probabilities ``[n, s]``.
        codes: class of each example, 0 … t−1, ``[n]``; of a subsample some classes may be missing.
        counts: examples of each class, ``[t]``.
        temperature: τ.
        joint: S of the tempered probabilities, ``[t, s]``.
    """

    theta: FloatMatrix
    codes: Integers
    counts: Integers
    temperature: float
    joint: Float64

    @classmethod
    def of(cls, theta: FloatMatrix, codes: Integers, num_classes: int, temperature: float = 1.0) -> Predictor:
        """Sum over all rows.

        Raises:
            InputError: a row that is no probability vector.
        """
        summed = np.zeros((num_classes, theta.shape[1]))
        for rows, block in arrays.row_blocks(theta, _BLOCK_BYTES):
            arrays.check_simplex(block, rows.start)
            add_grouped(summed, temper(block, temperature), codes[rows])
        return cls(theta, codes, np.bincount(codes, minlength=num_classes), temperature, summed)

    def tempered(self, temperature: float) -> Predictor:
        """The same rows at another temperature."""
        if temperature == self.temperature:
            return self
        return Predictor.of(self.theta, self.codes, len(self.counts), temperature)

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        """Yield ``(rows, tempered float64 block)``, valid until the next one."""
        for rows, block in arrays.row_blocks(self.theta, _BLOCK_BYTES):
            yield rows, temper(block, self.temperature)

    @property
    def prior(self) -> Float64:
        """π_y of an example of class y that is left out, ``[t]``; nonsense for classes without examples."""
        return (self.counts - 1 + 1 / len(self.counts)) / len(self.codes)

    def log_terms(self, weights: Sequence[float]) -> Float64:
        """Log h_i at each prior weight, ``[len(weights), n]``, in one pass over the rows."""
        mass, prior = self.joint.sum(axis=0), self.prior
        terms = np.empty((len(weights), len(self.codes)))
        terms[np.isinf(weights)] = np.log(prior[self.codes])
        finite = [(k, a) for k, a in enumerate(weights) if not np.isinf(a)]
        if not finite:
            return terms
        for rows, block in self.blocks():
            codes = self.codes[rows]
            others_of_class = np.maximum(self.joint[codes] - block, 0.0)
            others = np.maximum(mass - block, 0.0)
            share = np.empty_like(block)
            for k, a in finite:
                np.divide(block, np.add(others, a, out=share), out=share)
                h = row_dot(share, others_of_class) + a * prior[codes] * share.sum(axis=1)
                terms[k, rows] = np.log(h)
        return terms

    def settle(self, level: int | None = None) -> tuple[int, Float64]:
        """Find the prior weight of the highest score: its place in `PRIOR_WEIGHTS`, and log h ``[n]`` at it.

        Args:
            level: where to start climbing; by default where a first look over the weights is highest.
        """
        last = len(PRIOR_WEIGHTS) - 1
        known: dict[int, Float64] = {}

        def look(levels: Sequence[int]) -> None:
            new = [k for k in levels if 0 <= k <= last and k not in known]
            if new:
                known.update(zip(new, self.log_terms([PRIOR_WEIGHTS[k] for k in new]), strict=True))

        look([level - 1, level, level + 1] if level is not None else range(0, last, _EVERY))
        at = level if level is not None else max(known, key=lambda k: known[k].mean())
        while True:
            look([at - 1, at, at + 1])
            best = max((k for k in (at, at - 1, at + 1) if k in known), key=lambda k: known[k].mean())
            if best == at:
                break
            at, ahead = best, best - at
            if at + ahead not in known:  # a pass over the rows costs as much as several weights in it
                look([at + step * ahead for step in range(1, _EVERY + 1)])
        look([last])
        # The prior alone, where the source adds nothing but rounding.
        best = at if known[at].mean() > known[last].mean() + _ROUNDING else last
        return best, known[best]


def temper(block: Float64, temperature: float) -> Float64:
    """θ^(1/τ), rows renormalised; in place. In float32 on the way, as wide as the probabilities themselves are."""
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
    """P̂(y|z), ``[t, s]``; columns of zero mass stay zero."""
    return divide(joint, joint.sum(axis=0))
