"""PACTran-Dirichlet: LEEP's model with a Dirichlet prior on P(y|z), scored by its evidence instead of its fit.

Ding, Chen, Levinboim, Changpinyo, Soricut: PACTran: PAC-Bayesian Metrics for Estimating the Transferability of
Pretrained Models to Classification Tasks, ECCV 2022, the bound that they call PACTran-Dirichlet: with
p(y|x) = Σ_z V_yz θ(x)_z, each column V_·z ~ Dirichlet(α π), π the class frequencies, the optimal PAC-Bayesian bound is
−log Z/n, Z the marginal likelihood of the labels. log Z in turn is bounded from below, with q_i(z) the share of source
class z in example i:

    log Z ≥ Σ_z [log B(α π + N_z) − log B(α π)] + Σ_iz q_iz log(θ_iz/q_iz),   N_yz = Σ_{i: y_i=y} q_iz,

B the multivariate beta function. The maximum has q_iz ∝ θ_iz exp(ψ(a_{y_i z}) − ψ(Σ_y a_yz)), a = α π + N.

The paper's score is a bound on a loss, so lower is better; this is its negative. The paper's code divides by n·t; this
divides by n, so that the unit is nats per example.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.blocks import add_grouped, row_dot
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, jackknife, labels_of

ALPHA = 1.0  # weight of the prior in each source column, in examples, as in the paper's code
_ROUNDS, _CHECKED = 200, 4  # at most so many rounds; the bound is computed after each fourth one
_MAX_COPIED = 2**24  # up to this many probabilities, those of a part are copied
_LOWEST = 600.0  # log of the largest ratio of two weights of a class
_CONVERGED = 1e-11  # nats per example: stop after rounds that gain less each
_NEARLY_CONVERGED = 3e-4  # the same for parts of the examples, whose scores only make the standard error


def pactran_dirichlet(probabilities: ArrayLike, labels: ArrayLike, alpha: float = ALPHA) -> float:
    """Score the evidence for LEEP's model under a Dirichlet prior, in nats per example; higher is better.

    Args:
        probabilities: source probabilities θ(x_i), ``[n, s]``; each row sums to 1 (±1e-3, or ±2e-2 in half precision)
            and is divided by its sum.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.
        alpha: weight α > 0 of the prior in each source column, in examples; it is spread over the classes in
            proportion to their frequencies π.

    Returns:
        The largest lower bound on log Z/n that coordinate ascent from q = θ finds, in (−∞, 0]. For one-hot predictions
        it is exact: the Dirichlet-multinomial evidence of the table of counts. Invariant to the order of rows and of
        source columns and to renaming the labels; not to repeating rows or splitting columns, which weakens the prior.
        If the mass of some columns shrinks slowly, the 200 rounds end below the maximum, by up to 0.001 in what was
        tried.

    Raises:
        InputError: as for `leep`, or an α that is not positive and finite.

    Cost: up to 200 rounds of O(n·s + s·t) time; O(s·t + block) memory.

    Not for: few rows for many source classes. Each column that is used costs its prior, about as much as the rows that
    it takes explain. With 10 classes of CIFAR100, 30 rows each, ImageNet heads of 1,001 classes spread over 300 of
    these and scored −2.65 to −2.87; heads of CIFAR10, 15 to 20 points of accuracy worse, −2.19 to −2.25; predictions
    that are the same for all rows score −2.40 (`uninformed`). No α turned that order round. A ranking therefore gives
    a candidate no score unless it is above that of such predictions. Unlike LEEP it does not reward a large number of
    source classes, but it is not a likelihood of unseen labels: with n = 200 and 5 balanced classes (floor −1.61),
    random guesses over 10 source classes score −1.87, over 1,000 source classes −1.66. Not for comparing targets.

    Reference: Ding et al. 2022, PACTran-Dirichlet.

    Examples:
        >>> from hf_leep import measures
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
        >>> round(measures.pactran_dirichlet(probabilities, [0, 0, 1, 1]), 4)
        -0.6974
        >>> round(measures.pactran_dirichlet(probabilities, [0, 1, 0, 1]), 4)
        -1.0389
    """
    theta, target = _validated(probabilities, labels)
    return _Evidence(theta, target, alpha).value(None)


def uninformed(labels: ArrayLike, alpha: float = ALPHA) -> float:
    """Return the score of predictions that are the same for all examples, a single source class, in nats.

    Args:
        labels: target labels, ``[n]``.
        alpha: as for `pactran_dirichlet`.

    Errors: as for `pactran_dirichlet`.
    """
    return pactran_dirichlet(np.ones((len(np.asarray(labels)), 1)), labels, alpha)


def influence(probabilities: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return PACTran-Dirichlet in nats and the pseudo-values of its `resampling.jackknife`, ``[10]``, mean 0.

    The ascent for a part of the examples starts from the maximum for all of them.

    The derivative by an example's weight has a short closed form at the maximum over q, but is not accurate: for
    classes of 5 to 20 examples its standard error was half of the true one, because the prior's log Γ(α π_y) is far

    Args:
        probabilities: as for `pactran_dirichlet`.
        labels: as for `pactran_dirichlet`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `pactran_dirichlet`.
    """
    theta, target = _validated(probabilities, labels)
    return jackknife(_Evidence(theta, target, ALPHA).value, len(theta), draws)


def _validated(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatMatrix, Labels]:
    theta = arrays.probabilities(probabilities)
    return theta, arrays.labels(labels, len(theta))


class _Evidence:
    """The bound for any part of the examples; the ascent for a part starts from the maximum for all of them."""

    def __init__(self, theta: FloatMatrix, target: Labels, alpha: float) -> None:
        if not 0 < alpha < np.inf:
            raise InputError(f"alpha must be positive and finite, got {alpha!r}")
        self.theta, self.target, self.alpha = theta, target, alpha
        self.expected: Float64 | None = None  # E[log V] for all the examples [t, s]

    def value(self, kept: Kept) -> float:
        """Return the bound on log Z of the examples to use, divided by their number."""
        target = labels_of(self.target, kept)
        start = None if self.expected is None else self.expected[np.isin(self.target.classes, target.classes)]
        if kept is None or start is None:
            value, self.expected = _ascended(self.theta, target, self.alpha, kept, None, _CONVERGED)
        else:
            value, _ = _ascended(self.theta, target, self.alpha, kept, start, _NEARLY_CONVERGED)
        return value


def _ascended(
    theta: FloatMatrix, target: Labels, alpha: float, kept: Kept, expected: Float64 | None, converged: float
) -> tuple[float, Float64]:
    """Return the bound on log Z of the examples to use, divided by their number, and E[log V] there, ``[t, s]``.

    Args:
        theta: probabilities of all the examples.
        target: labels of the examples to use.
        alpha: weight of the prior.
        kept: the examples to use.
        expected: E[log V] to start from; by default that of q = θ.
        converged: stop after rounds that gain less each, in nats per example.
    """
    from scipy.special import digamma, gammaln

    n, best = len(target), -np.inf
    prior = alpha * target.counts / n  # α π [t]
    constant = gammaln(alpha) - gammaln(prior).sum()  # −log B(α π)
    if kept is not None and theta.size <= _MAX_COPIED:
        theta, kept = theta[kept], None
    counts = np.zeros((target.num_classes, theta.shape[1]))  # N [t, s]
    if expected is None:
        for codes, block in _blocks(theta, target, kept):
            add_grouped(counts, block, codes)
    for past in range(1, _ROUNDS + 1):
        if expected is None:
            expected = digamma(counts + prior[:, None]) - digamma(counts.sum(axis=0) + alpha)
        # Any weights give a share q and a bound. Those below e^−600 of the class's largest would underflow.
        shift = expected.max(axis=1)
        expected = np.maximum(expected, shift[:, None] - _LOWEST)
        weight = np.exp(expected - shift[:, None])
        counts, log_g = np.zeros_like(counts), float(target.counts @ shift)
        for codes, block in _blocks(theta, target, kept):
            g = row_dot(block, weight[codes])
            log_g += float(np.log(g).sum())
            add_grouped(counts, block, codes, 1.0 / g)
        counts *= weight  # N of q_iz = θ_iz weight_{y_i z}/g_i
        if past % _CHECKED:
            expected = None
            continue
        # Σ q log(θ/q) = Σ_i log g_i − Σ_yz N_yz E[log V_yz]; a column without mass adds exactly 0.
        evidence = gammaln(counts + prior[:, None]).sum(axis=0) - gammaln(counts.sum(axis=0) + alpha) + constant
        evidence[counts.sum(axis=0) == 0] = 0.0
        value = (float(evidence.sum()) + log_g - float((counts * expected).sum())) / n
        gain, best = value - best, max(value, best)
        if gain < _CHECKED * converged:
            break
        expected = None
    if expected is None:
        expected = digamma(counts + prior[:, None]) - digamma(counts.sum(axis=0) + alpha)
    return min(best, 0.0), expected


def _blocks(theta: FloatMatrix, target: Labels, kept: Kept) -> Iterator[tuple[Integers, Float64]]:
    """Yield class codes ``[b]`` and probabilities ``[b, s]`` of the examples to use, block by block."""
    start = 0
    for rows, block in arrays.row_blocks(theta):
        used = block if kept is None else block[kept[rows]]
        yield target.codes[start : start + len(used)], used
        start += len(used)


MEASURE = Measure(
    name="pactran-dirichlet",
    title="PACTran-Dirichlet",
    needs="probabilities",
    unit="nats",
    reference="Ding et al., ECCV 2022, PACTran-Dirichlet, α = 1",
    summary="evidence for LEEP's model under a Dirichlet prior",
    function=pactran_dirichlet,
    influence=influence,
    resamples=True,
    mean_of="log-likelihoods",
    checked_by="leave-one-out-leep",
    uninformed=uninformed,
)
