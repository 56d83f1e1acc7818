"""PACTran-Dirichlet: LEEP's model with a Dirichlet prior on P(y|z), scored by its evidence instead of its fit.

Ding, Chen, Levinboim, Changpinyo, Soricut: PACTran: PAC-Bayesian Metrics for Estimating the Transferability of
Pretrained Models to Classification Tasks, ECCV 2022, the bound that they name PACTran-Dirichlet: with
p(y|x) = Σ_z V_yz θ(x)_z, each column V_·z ~ Dirichlet(α π), π the class frequencies, the optimal PAC-Bayesian bound is
−log Z/n, Z the marginal likelihood of the labels; −log Z is bounded in turn over q_i(z), the share of source class z
in example i:

    log Z ≥ Σ_z [log B(α π + N_z) − log B(α π)] + Σ_iz q_iz log(θ_iz/q_iz),   N_yz = Σ_{i: y_i=y} q_iz,

B the multivariate beta function, maximised by q_iz ∝ θ_iz exp(ψ(a_{y_i z}) − ψ(Σ_y a_yz)), a = α π + N.

The paper's score is a bound on a loss, lower is better; here its negative. Its published code divides by n·t; here
the sum is divided by n, so that the unit is nats per example.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.blocks import add_grouped, row_dot
from hf_leep.measures.resampling import Kept, jackknife, labels_of

ALPHA = 1.0  # weight of the prior in each source column, in examples: the published code's
_ROUNDS = 200
_SETTLED = 1e-11  # nats per example: a round that gains less is the last


def pactran_dirichlet(probabilities: ArrayLike, labels: ArrayLike, alpha: float = ALPHA) -> float:
    """Score the evidence for LEEP's model under a Dirichlet prior, in nats per example; higher is better.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``, rows summing to 1 (±1e-3).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        alpha: the prior's weight α > 0 in each source column, in examples; it is spread over the classes as their
            frequencies π.

    Returns:
        The largest lower bound on log Z/n found from q = θ by coordinate ascent, in (−∞, 0]. Exact, and the
        Dirichlet-multinomial evidence of the table of counts, for one-hot predictions. Invariant to the order of rows
        and of source columns and to renaming labels; neither to repeated rows nor to splitting columns, which
        dilutes the prior. Where columns are emptied slowly, the 200 rounds end short of the maximum, by up to 0.001 in
        what was tried.

    Raises:
        InputError: as for `leep`, or an α that is not positive and finite.

    Cost: up to 200 rounds of O(n·s + s·t) time; O(s·t + block) memory.

    Not for: candidates that are near the floor −Ĥ(Y), or below it, if their heads differ in width: it does not reward
    mere numbers of source classes as LEEP does, but it is no likelihood of unseen labels either, and α decides what
    many sparse columns cost. At n = 200 and 5 balanced classes (floor −1.61), random guesses over 10 source classes
    score −1.87, over 1,000 −1.66. Nor for comparing targets.

    Reference: Ding et al. 2022, PACTran-Dirichlet.
    """
    theta, target = _read(probabilities, labels)
    return _evidence(theta, target, alpha)


def influence(probabilities: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """PACTran-Dirichlet and the pseudo-values of its jackknife, in nats, ``[10]``, mean 0; see `resampling.jackknife`.

    The derivative by an example's weight, which the maximum over q makes short, is no use: where a class has 5 to 20
    examples, the error by it came to half of the true one, for the prior's log Γ(α π_y) is far from linear there.

    Args:
        probabilities: as for `pactran_dirichlet`.
        labels: as for `pactran_dirichlet`.
        draws: which independent draw each example is of, ``[n]``.

    Errors: as for `pactran_dirichlet`.
    """
    theta, target = _read(probabilities, labels)
    return jackknife(lambda kept: _evidence(theta, labels_of(target, kept), ALPHA, kept), len(theta), draws)


def _read(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatMatrix, Labels]:
    theta = arrays.probabilities(probabilities)
    return theta, arrays.labels(labels, len(theta))


def _evidence(theta: FloatMatrix, target: Labels, alpha: float, kept: Kept = None) -> float:
    """The bound on log Z of the kept examples, whose labels ``target`` are, divided by their number."""
    from scipy.special import digamma, gammaln

    if not 0 < alpha < np.inf:
        raise InputError(f"alpha must be positive and finite, got {alpha!r}")
    n, best = len(target), -np.inf
    prior = alpha * target.counts / n  # α π [t]
    constant = gammaln(alpha) - gammaln(prior).sum()  # −log B(α π)
    counts = np.zeros((target.num_classes, theta.shape[1]))  # N [t, s], of q = θ
    first = 0
    for codes, block in _blocks(theta, target, kept):
        arrays.check_simplex(block, first)
        add_grouped(counts, block, codes)
        first += len(codes)
    for _ in range(_ROUNDS):
        expected = digamma(counts + prior[:, None]) - digamma(counts.sum(axis=0) + alpha)  # E[log V] [t, s]
        weight = np.exp(expected)
        counts, log_g = np.zeros_like(counts), 0.0
        for codes, block in _blocks(theta, target, kept):
            g = row_dot(block, weight[codes])
            log_g += float(np.log(g).sum())
            add_grouped(counts, block, codes, 1.0 / g)
        counts *= weight  # N of q_iz = θ_iz weight_{y_i z}/g_i
        # Σ q log(θ/q) = Σ_i log g_i − Σ_yz N_yz E[log V_yz]; a column of zero mass adds exactly nothing.
        evidence = gammaln(counts + prior[:, None]).sum(axis=0) - gammaln(counts.sum(axis=0) + alpha) + constant
        evidence[counts.sum(axis=0) == 0] = 0.0
        value = (float(evidence.sum()) + log_g - float((counts * expected).sum())) / n
        gained, best = value - best, max(value, best)
        if gained < _SETTLED:
            break
    return min(best, 0.0)


def _blocks(theta: FloatMatrix, target: Labels, kept: Kept) -> Iterator[tuple[Integers, Float64]]:
    """Class codes ``[b]`` and probabilities ``[b, s]`` of the kept examples, block by block."""
    start = 0
    for rows, block in arrays.row_blocks(theta):
        some = block if kept is None else block[kept[rows]]
        yield target.codes[start : start + len(some)], some
        start += len(some)
