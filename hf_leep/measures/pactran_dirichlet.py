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
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.errors import InputError
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import jackknife_parts, pseudo_values

ALPHA = 1.0  # weight of the prior in each source column, in examples, as in the paper's code
_ROUNDS, _CHECKED = 200, 4  # at most so many rounds; the bound is computed after each fourth one
_MAX_COPIED = 2**23  # up to this many probabilities, they are copied in the order of their classes
_MAX_EXPECTED = 2**22  # numbers in the weights of parts that ascend side by side
_LOWEST = 600.0  # log of the largest ratio of two weights of a class
_CONVERGED = 1e-11  # nats per example: stop after rounds that gain less each
_NEARLY_CONVERGED = 1e-3  # the same for parts of the examples, whose scores only make the standard error


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
    that are the same for all rows score −2.40 (`uninformed`). No α reversed that order. A ranking therefore gives
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
    return float(_Evidence(theta, target, alpha).values(None)[0])


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
    from linear in π_y.

    Args:
        probabilities: as for `pactran_dirichlet`.
        labels: as for `pactran_dirichlet`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `pactran_dirichlet`.
    """
    theta, target = _validated(probabilities, labels)
    values = _Evidence(theta, target, ALPHA).values(jackknife_parts(len(theta), draws))
    return pseudo_values(float(values[0]), values[1:])


def _validated(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatMatrix, Labels]:
    theta = arrays.probabilities(probabilities)
    return theta, arrays.labels(labels, len(theta))


class _Evidence:
    """The bound for any part of the examples; the ascent for a part starts from the maximum for all of them."""

    def __init__(self, theta: FloatMatrix, target: Labels, alpha: float) -> None:
        if not 0 < alpha < np.inf:
            raise InputError(f"alpha must be positive and finite, got {alpha!r}")
        self.theta, self.target, self.alpha = theta, target, alpha
        self.order = np.argsort(target.codes, kind="stable")  # the examples of a class follow each other
        self.sorted = theta[self.order].astype(np.float64, copy=False) if theta.size <= _MAX_COPIED else None

    def values(self, parts: NDArray[np.bool_] | None) -> Float64:
        """Return the bound on log Z of all the examples, divided by n, and then that of parts ``[p, n]``, ``[1 + p]``.

        Args:
            parts: the examples that each part uses; None for no parts.
        """
        whole = np.ones((1, len(self.target)), dtype=np.bool_)
        value, expected = self._ascended(whole, None, _CONVERGED)
        if parts is None:
            return value
        classes, width = self.target.num_classes, self.theta.shape[1]
        step = max(1, _MAX_EXPECTED // (classes * width))  # parts whose weights fit into memory together
        found = [value]
        for start in range(0, len(parts), step):
            some = parts[start : start + step]
            found.append(self._ascended(some, np.repeat(expected, len(some), axis=1), _NEARLY_CONVERGED)[0])
        return np.concatenate(found)

    def _blocks(self) -> Iterator[tuple[int, slice, Float64]]:
        """Yield a class, positions in ``order`` and probabilities ``[b, s]`` of examples of that class."""
        height = max(1, arrays.BLOCK_BYTES // (8 * self.theta.shape[1]))
        end = 0
        for code, count in enumerate(self.target.counts):
            start, end = end, end + int(count)
            for first in range(start, end, height):
                rows = slice(first, min(first + height, end))
                if self.sorted is not None:
                    yield code, rows, self.sorted[rows]
                else:
                    yield code, rows, self.theta[self.order[rows]].astype(np.float64)

    def _ascended(
        self, parts: NDArray[np.bool_], expected: Float64 | None, converged: float
    ) -> tuple[Float64, Float64]:
        """Return the bound on log Z of each part, divided by its size ``[p]``, and E[log V] there, ``[t, p, s]``.

        The parts ascend side by side, so that each round reads θ once for all of them.

        Args:
            parts: the examples that each part uses, ``[p, n]``.
            expected: E[log V] to start from; by default that of q = θ.
            converged: stop after rounds that gain less each in every part, in nats per example.
        """
        from scipy.special import gammaln

        used = parts[:, self.order].T.astype(np.float64)  # [n, p]
        size, best = used.sum(axis=0), np.full(len(parts), -np.inf)
        per_class = np.zeros((self.target.num_classes, len(parts)))  # [t, p]
        np.add.at(per_class, self.target.codes, parts.T)
        prior = self.alpha * per_class / size  # α π [t, p]; 0 for a class that a part has not got, which adds nothing
        present = per_class > 0
        filled = np.where(present, prior, 1.0)
        constant = gammaln(self.alpha) - gammaln(filled).sum(axis=0)  # −log B(α π), since log Γ(1) = 0
        shape = (self.target.num_classes, len(parts), self.theta.shape[1])
        counts = np.zeros(shape)  # N [t, p, s]
        if expected is None:
            for code, rows, block in self._blocks():
                counts[code] += used[rows].T @ block
        for past in range(1, _ROUNDS + 1):
            if expected is None:
                expected = self._expected(counts, filled, present)
            # Any weights give a share q and a bound. Those below e^−600 of the class's largest would underflow.
            shift = expected.max(axis=2)
            expected = np.maximum(expected, shift[..., None] - _LOWEST)
            weight = np.exp(expected - shift[..., None])
            counts, log_g = np.zeros(shape), (per_class * shift).sum(axis=0)
            for code, rows, block in self._blocks():
                g = block @ weight[code].T  # [b, p]
                log_g += (used[rows] * np.log(g)).sum(axis=0)
                counts[code] += (used[rows] / g).T @ block
            counts *= weight  # N of q_iz = θ_iz weight_{y_i z}/g_i
            if past % _CHECKED:
                expected = None
                continue
            # Σ q log(θ/q) = Σ_i log g_i − Σ_yz N_yz E[log V_yz]; a column without mass adds exactly 0.
            total = counts.sum(axis=0)
            evidence = gammaln(counts + filled[..., None]).sum(axis=0) - gammaln(total + self.alpha)
            evidence += constant[:, None]
            evidence[total == 0] = 0.0
            value = (evidence.sum(axis=1) + log_g - (counts * expected).sum(axis=(0, 2))) / size
            gain, best = value - best, np.maximum(value, best)
            if (gain < _CHECKED * converged).all():
                break
            expected = None
        if expected is None:
            expected = self._expected(counts, filled, present)
        return np.minimum(best, 0.0), expected

    def _expected(self, counts: Float64, prior: Float64, present: NDArray[np.bool_]) -> Float64:
        """Return E[log V] ``[t, p, s]`` for the counts N; 0 for a class that is not present in a part."""
        from scipy.special import digamma

        result: Float64 = digamma(counts + prior[..., None])
        result -= digamma(counts.sum(axis=0) + self.alpha)
        result[~present] = 0.0
        return result


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
