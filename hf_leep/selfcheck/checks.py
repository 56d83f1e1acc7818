"""Check the measures on this machine against proved limits and against oracles that share no code with them.

To check a new measure, write a function that yields claims, with an oracle in ``oracles.py``, and add it to `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import numpy as np

from hf_leep import measures
from hf_leep.arrays import Float64, Integers
from hf_leep.measures.ridge_head import RidgeHead
from hf_leep.runs.bars import note, progress_bar
from hf_leep.runs.threads import one_blas_thread
from hf_leep.selfcheck import oracles
from hf_leep.selfcheck.problems import clouds, entropy, problem


@dataclass(frozen=True)
class Check:
    """A claim about a measure, and the difference from it.

    Attributes:
        measure: name of the measure.
        claim: what should hold.
        difference: largest difference that was found, in the unit of the measure.
        tolerance: largest difference that passes.
    """

    measure: str
    claim: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def verify(seed: int = 0, names: Sequence[str] | None = None, progress: bool = False) -> list[Check]:
    """Run the checks, which takes a few seconds, on problems drawn from a seed.

    Args:
        seed: seed of the problems.
        names: measures to check; by default all those of hf_leep. A measure of another package has no checks.
        progress: whether to show a progress bar, or a line a measure where no bar can be seen.
    """
    chosen = list(CHECKS if names is None else names)
    if not progress:  # even a bar that is not shown starts a thread
        return [check for name in chosen for check in _checks_of(name, seed)]
    done: list[Check] = []
    with progress_bar(len(chosen), True, "measure", leave=False) as bar:
        for number, name in enumerate(chosen, 1):
            bar.set_description(name)
            found = _checks_of(name, seed)
            done += found
            bar.update()
            note(f"[{number}/{len(chosen)}] {name}: {passed(found)}", True)
    return done


def _checks_of(name: str, seed: int) -> list[Check]:
    with one_blas_thread():  # as when scoring: on small matrices more threads take up to 30 times as long
        return [
            Check(name, claim, float(difference), tolerance)
            for check in CHECKS.get(name, ())
            for claim, difference, tolerance in check(np.random.default_rng(seed))
        ]


def passed(checks: Sequence[Check]) -> str:
    """How many of some checks passed, in words."""
    return f"{sum(check.passed for check in checks)} of {len(checks)} checks passed"


_Claims = Iterator[tuple[str, float, float]]  # claim, difference found, difference allowed


def _leep(rng: np.random.Generator) -> _Claims:
    p, y = problem(rng)
    score = measures.leep(p, y)
    yield "equals equations (1) and (2) written as loops", abs(score - oracles.leep_by_loops(p, y)), 1e-12
    constant = np.repeat(p[:1], len(p), axis=0)
    yield "constant predictions score −Ĥ(Y)", abs(measures.leep(constant, y) + entropy(y)), 1e-12
    one_hot = np.eye(p.shape[1])[p.argmax(axis=1)]
    yield "one-hot predictions score NCE", abs(measures.leep(one_hot, y) - measures.nce(p, y)), 1e-12
    twice = measures.leep(np.vstack([p, p]), np.concatenate([y, y]))
    yield "repeating the data set changes nothing", abs(twice - score), 1e-12
    split = measures.leep(np.hstack([p[:, :1] / 2, p[:, :1] / 2, p[:, 1:]]), y)
    yield "splitting a source column in two changes nothing", abs(split - score), 1e-12
    shuffled = _shuffled(measures.leep, p, y, rng)
    yield "the order of rows and columns changes nothing", abs(shuffled - score), 1e-12


def _leave_one_out(rng: np.random.Generator) -> _Claims:
    p, y = problem(rng, n=60, s=8)
    refitted = oracles.leave_one_out_leep_by_refitting
    for left_out, draws in (("example", np.arange(60)), ("draw of three examples", np.arange(60) // 3)):
        worst = max(
            abs(measures.leave_one_out_leep(p, y, a, draws) - refitted(p, y, a, draws)) for a in (1e-6, 1e-2, 1.0, 1e4)
        )
        yield f"equals refitting without each {left_out}", worst, 1e-9
    y = np.arange(500) % 10
    floor = np.log((49 + 1 / 10) / 500)  # the class prior without the example, with one pseudo-example
    worst = 0.0
    for s in (10, 100, 1000, 21843):
        p = np.full((500, s), 0.02 / s)  # one array at a time, of 87 MB at last: this is most memory of a run
        p[np.arange(500), rng.integers(0, s, 500)] += 0.98
        worst = max(worst, abs(measures.leave_one_out_leep(p, y) - floor))
        rng.standard_exponential(out=p)
        p **= 3
        p /= p.sum(axis=1, keepdims=True)
        worst = max(worst, abs(measures.leave_one_out_leep(p, y) - floor))
    yield "sources without information, of 10 to 21,843 classes, score the floor", worst, 0.02


def _nce(rng: np.random.Generator) -> _Claims:
    from scipy.stats import entropy
    from scipy.stats.contingency import crosstab

    p, y = problem(rng)
    joint = crosstab(y, p.argmax(axis=1)).count
    expected = entropy(joint.sum(axis=0)) - entropy(joint.ravel())
    yield "equals H(Z) − H(Y, Z) from scipy", abs(measures.nce(p, y) - expected), 1e-12


def _h_score(rng: np.random.Generator) -> _Claims:
    y = rng.integers(0, 4, 200)
    f = rng.normal(size=(200, 12)) + y[:, None] / 2
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    expected = np.trace(np.linalg.pinv(np.cov(f, rowvar=False)) @ np.cov(means, rowvar=False))
    yield "equals tr(cov(f)⁺ cov(E[f|Y])) from numpy", abs(measures.h_score(f, y) - expected), 1e-9
    mapped = measures.h_score(f @ rng.normal(size=(12, 12)) + 5, y)
    yield "an invertible affine map changes nothing", abs(mapped - measures.h_score(f, y)), 1e-8
    noise = measures.h_score(rng.normal(size=(30, 40)), np.arange(30) % 4)
    yield "noise with n ≤ d scores t − 1 (so do not use it there)", abs(noise - 3), 1e-9


def _logme(rng: np.random.Generator) -> _Claims:
    for n, d in ((40, 6), (20, 20), (15, 40)):
        y = np.arange(n) % 3
        f = rng.normal(size=(n, d)) + y[:, None] / 2
        difference = abs(measures.logme(f, y) - oracles.logme_by_density(f, y))
        relation = "<" if n < d else "=" if n == d else ">"
        yield f"equals the maximised Gaussian density, n {relation} d", difference, 1e-4

    y = np.arange(30) % 3
    f = rng.normal(size=(30, 5)) + y[:, None]
    indicators = (y[:, None] == np.arange(3)).astype(np.float64)
    difference = abs(measures.logme_regression(f, indicators) - measures.logme(f, y))
    yield "equals the regression of the class indicators", difference, 1e-9


def _regularised_h_score(rng: np.random.Generator) -> _Claims:
    for n, d in ((60, 6), (20, 40)):
        f, y = clouds(rng, n, d)
        score = measures.regularised_h_score(f, y)
        yield (
            f"equals Ledoit and Wolf's loops, n = {n}, d = {d}",
            abs(score - oracles.regularised_h_score_by_loops(f, y)),
            1e-8,
        )
    f = rng.normal(size=(6, 4))
    scores = [measures.regularised_h_score(f, order, adjusted=True) for order in permutations((0, 0, 0, 1, 1, 2))]
    yield "adjusted, it is 0 on average over all orders of the labels", abs(float(np.mean(scores))), 1e-9


def _n_leep(rng: np.random.Generator) -> _Claims:
    y = rng.integers(0, 3, 300)
    point = (y + (rng.random(300) < 0.3)) % 3
    expected = measures.nce(np.eye(3)[point], y)
    score = measures.n_leep(np.eye(3, 5)[point] + 2, y)
    yield "examples at three points score NCE given the point", abs(score - expected), 1e-9
    alone = measures.n_leep(rng.normal(size=(8, 4)), np.arange(8) % 2)
    yield "one cluster scores −Ĥ(Y)", abs(alone + np.log(2)), 1e-12
    f, y = clouds(rng, 90, 5)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    moved = measures.n_leep(7 * f @ rotation + 3, y)
    yield "shifting, rotating and rescaling change nothing", abs(moved - measures.n_leep(f, y)), 1e-7


def _transrate(rng: np.random.Generator) -> _Claims:
    for n, d in ((60, 6), (20, 40)):
        f, y = clouds(rng, n, d)
        difference = abs(measures.transrate(f, y) - oracles.transrate_by_determinants(f, y))
        yield f"equals determinants of d by d matrices, n = {n}, d = {d}", difference, 1e-8
    points = rng.normal(size=(20, 5))
    same = measures.transrate(np.vstack([points, points]), np.repeat([0, 1], 20))
    yield "classes of the same points score 0", abs(same), 1e-12


def _gbc(rng: np.random.Generator) -> _Claims:
    from scipy.integrate import quad
    from scipy.stats import norm

    y = np.arange(60) % 2
    f = (rng.normal(size=60) * (1 + y) + y)[:, None]
    first, second = (norm(f[y == c].mean(), f[y == c].std(ddof=1)) for c in (0, 1))
    overlap, _ = quad(lambda x: np.sqrt(first.pdf(x) * second.pdf(x)), -30, 30)
    yield "is the integral of √(p q) in one dimension", abs(measures.gbc(f, y) + 2 * overlap), 1e-7
    points = rng.normal(size=(20, 5))
    same = measures.gbc(np.vstack([points, points, points]), np.repeat([0, 1, 2], 20))
    yield "t classes of the same points score −t(t − 1)", abs(same + 6), 1e-9


def _parc(rng: np.random.Generator) -> _Claims:
    from scipy.stats import spearmanr

    f, y = clouds(rng, 60, 8)
    above = np.triu_indices(60, 1)
    of_labels = np.not_equal.outer(y, y)[above]
    columns = (f - f.mean(axis=0)) / f.std(axis=0)
    expected = spearmanr(1 - np.asarray(np.corrcoef(columns))[above], of_labels).statistic
    yield "equals Spearman's ρ from scipy over all pairs", abs(measures.parc(f, y) - expected), 1e-9
    equal = np.arange(60) % 3
    yield "one-hot features of classes of one size score 1", abs(measures.parc(np.eye(3)[equal], equal) - 1), 1e-9


def _sfda(rng: np.random.Generator) -> _Claims:
    for n, d in ((60, 5), (25, 40)):
        f, y = clouds(rng, n, d)
        difference = abs(measures.sfda(f / 5, y) - oracles.sfda_by_densities(f / 5, y))
        yield f"equals Gaussian densities written out, n = {n}, d = {d}", difference, 1e-8
    points = rng.normal(size=(20, 5))
    same = measures.sfda(np.vstack([points, points, points]), np.repeat([0, 1, 2], 20))
    yield "t classes of the same points score 1/t", abs(same - 1 / 3), 1e-9


def _knn(rng: np.random.Generator) -> _Claims:
    y = rng.integers(0, 3, 120)
    f = rng.normal(size=(120, 8)) + y[:, None] / 2
    worst = max(abs(measures.knn(f, y, neighbours=k) - oracles.knn_by_distances(f, y, k)) for k in (1, 5))
    yield "equals the accuracy from the matrix of distances, k = 1 and 5", worst, 1e-12
    grid = np.round(f[:, :2])
    difference = abs(measures.knn(grid, y) - oracles.knn_by_distances(grid, y, 5))
    yield "also on a grid, where distances and votes tie, k = 5", difference, 1e-12
    far = measures.knn(f + 1e3 * y[:, None], y)
    yield "classes far apart score 1", abs(far - 1), 1e-12


def _linear_probe(rng: np.random.Generator) -> _Claims:
    y = np.repeat([0, 1, 2], 20)
    f = rng.normal(size=(60, 5)) + np.eye(3, 5)[y]
    difference = abs(measures.linear_probe(f, y) - oracles.linear_probe_by_newton(f, y))
    yield "equals heads fitted by Newton's method on balanced folds", difference, 1e-5
    constant = measures.linear_probe(np.ones((60, 5)), y)
    yield "constant features score the class prior", abs(constant + np.log(3)), 1e-12


def _lfc(rng: np.random.Generator) -> _Claims:
    for n, d in ((80, 6), (20, 40)):
        y = rng.integers(0, 3, n)
        f = rng.normal(size=(n, d)) + y[:, None] / 2
        pairs = np.corrcoef((f @ f.T).ravel(), (y[:, None] == y).ravel())[0, 1]
        relation = "<" if n < d else ">"
        claim = f"equals the correlation over all pairs from numpy, n {relation} d"
        yield claim, abs(measures.lfc(f, y) - pairs), 1e-9
    yield "features that are the classes score 1", abs(measures.lfc(np.eye(3)[y], y) - 1), 1e-12


def _stable_rank(rng: np.random.Generator) -> _Claims:
    f = rng.normal(size=(50, 8))
    sigma = np.linalg.svd(f - f.mean(axis=0), compute_uv=False)
    expected = (sigma**2).sum() / sigma[0] ** 2
    score = measures.stable_rank(f, np.arange(50) % 2)
    yield "equals the ratio of squared singular values from numpy", abs(score - expected), 1e-9


def _pactran_dirichlet(rng: np.random.Generator) -> _Claims:
    from scipy.special import gammaln

    def log_beta(a: Float64) -> Float64:
        return np.asarray(gammaln(a).sum(axis=0) - gammaln(a.sum(axis=0)))

    p, y = problem(rng)
    classes, codes = np.unique(y, return_inverse=True)
    prior = np.bincount(codes)[:, None] / len(y)
    source = p.argmax(axis=1)
    counts = np.array([[np.sum((codes == c) & (source == z)) for z in range(p.shape[1])] for c in range(len(classes))])
    expected = (log_beta(prior + counts) - log_beta(prior)).sum() / len(y)
    score = measures.pactran_dirichlet(np.eye(p.shape[1])[source], y)
    yield "one-hot predictions score the evidence of the counts", abs(score - expected), 1e-10
    few, y = problem(rng, s=6)  # with few columns the measure converges within its 200 rounds
    difference = abs(measures.pactran_dirichlet(few, y) - oracles.pactran_dirichlet_by_shares(few, y))
    yield "soft predictions score the bound iterated on each example's shares", difference, 1e-8
    strong = measures.pactran_dirichlet(few, y, alpha=1e9)
    yield "an infinite prior scores −Ĥ(Y)", abs(strong + entropy(y)), 1e-5


def _pactran_gaussian(rng: np.random.Generator) -> _Claims:
    for n, d in ((60, 4), (20, 30)):
        f, y = clouds(rng, n, d)
        difference = abs(measures.pactran_gaussian(f, y) - oracles.pactran_gaussian_by_scikit_learn(f, y))
        relation = "<" if n < d else ">"
        yield f"equals the bound on scikit-learn's head, n {relation} d", difference, 1e-5
    constant = measures.pactran_gaussian(np.ones((60, 5)), np.arange(60) % 3)
    yield "constant features score −Ĥ(Y)", abs(constant + np.log(3)), 1e-9


def _standard_error(
    name: str,
    rng: np.random.Generator,
    n: int = 200,
    columns: int = 4,
    *,
    num_samples: int = 120,
    num_errors: int = 15,
    allowed: float = 0.35,
) -> _Claims:
    """Compare the claimed standard errors of some samples with the standard deviation of the scores of more samples.

    With resamples a standard error takes eleven times as long as a score, so few standard errors and many scores say
    most per second. With 15 and 120 the ratio is off by about 10 % by chance.
    """
    measure = measures.find(name)
    draw = partial(problem if measure.needs == "probabilities" else clouds, rng, n, columns)
    with_errors = [measure.influence(*draw()) for _ in range(num_errors)]
    scores = [value for value, _ in with_errors] + [measure.function(*draw()) for _ in range(num_samples - num_errors)]
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / len(values) for _, values in with_errors]))
    difference = abs(claimed / np.std(scores, ddof=1) - 1)
    yield f"standard error against {num_samples} independent samples, relative", difference, allowed


# A standard error in closed form takes no longer than the score, so more of them are compared: off by 5 % by chance.
_closed_form_error = partial(_standard_error, num_samples=300, num_errors=300, allowed=0.2)


def _shuffled(function: Callable[..., float], p: Float64, y: Integers, rng: np.random.Generator) -> float:
    rows, columns = rng.permutation(len(p)), rng.permutation(p.shape[1])
    return function(p[rows][:, columns], y[rows])


def _ridge(rng: np.random.Generator) -> _Claims:
    f, y = clouds(rng, 60, 12)
    head = RidgeHead.fit(f, y)
    values = oracles.ridge_refits(f, y, head.strength)
    counts = np.bincount(y)
    without = (counts - np.eye(len(counts))[y]) / (len(y) - 1)  # class frequencies without each example
    shares = counts / len(y)
    grown = np.sqrt(shares * (1 - shares) / (without * (1 - without)))
    accuracy = np.mean((shares + grown * (values - without)).argmax(axis=1) == y)
    yield "equals refits without each example", float(abs(measures.ridge(f, y) - accuracy)), 1e-9
    noise = np.mean([measures.ridge(rng.standard_normal((80, 20)), np.arange(80) % 4) for _ in range(20)])
    yield "noise is classified correctly as often as by chance", float(abs(noise - 0.25)), 0.06


def _ridge_log_likelihood(rng: np.random.Generator) -> _Claims:
    f, y = clouds(rng, 60, 12)
    head = RidgeHead.fit(f, y)
    logits = head.temperature * oracles.ridge_refits(f, y, head.strength)
    logits -= logits.max(axis=1, keepdims=True)
    expected = np.mean(logits[np.arange(len(y)), y] - np.log(np.exp(logits).sum(axis=1)))
    yield "equals refits without each example", float(abs(measures.ridge_log_likelihood(f, y) - expected)), 1e-6


# Name of a measure → its checks, each on a generator of its own.
CHECKS: dict[str, tuple[Callable[[np.random.Generator], _Claims], ...]] = {
    "leep": (_leep, partial(_closed_form_error, "leep", n=400, columns=20)),
    "leave-one-out-leep": (_leave_one_out, partial(_closed_form_error, "leave-one-out-leep", n=400, columns=20)),
    "nce": (_nce, partial(_closed_form_error, "nce", n=400, columns=8)),
    "h-score": (_h_score, partial(_closed_form_error, "h-score")),
    "logme": (_logme, partial(_standard_error, "logme")),
    "knn": (_knn, partial(_standard_error, "knn")),
    # Its error is too large where two strengths score alike: seeds 0 to 7 are off by 0.37 at most.
    "linear-probe": (
        _linear_probe,
        partial(_standard_error, "linear-probe", n=400, num_samples=60, num_errors=20, allowed=0.5),
    ),
    "lfc": (_lfc, partial(_closed_form_error, "lfc")),
    "stable-rank": (_stable_rank, partial(_closed_form_error, "stable-rank")),
    "pactran-dirichlet": (
        _pactran_dirichlet,
        partial(_standard_error, "pactran-dirichlet", n=100, columns=3, num_samples=80, num_errors=10),
    ),
    "pactran-gaussian": (_pactran_gaussian, partial(_standard_error, "pactran-gaussian")),
    "regularised-h-score": (_regularised_h_score, partial(_standard_error, "regularised-h-score", n=400)),
    # Half-samples make its standard error 10 % too large: seeds 0 to 9 are off by 0.31 at most.
    "n-leep": (_n_leep, partial(_standard_error, "n-leep", allowed=0.4)),
    "transrate": (_transrate, partial(_standard_error, "transrate", n=400)),
    "gbc": (_gbc, partial(_standard_error, "gbc")),
    "parc": (_parc, partial(_standard_error, "parc")),
    "sfda": (_sfda, partial(_standard_error, "sfda")),
    "ridge": (_ridge, partial(_closed_form_error, "ridge")),
    "ridge-log-likelihood": (_ridge_log_likelihood, partial(_closed_form_error, "ridge-log-likelihood")),
}
