"""Check the measures on this machine against limits that can be proved and oracles that share no code with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_leep import measures
from hf_leep.arrays import Float64, Integers
from hf_leep.measures.leave_one_out_leep import floor

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Check:
    """One claim and how far off it was.

    Attributes:
        measure: name of the measure.
        claim: what should hold.
        difference: largest difference found, in the measure's unit.
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


def verify(seed: int = 0) -> list[Check]:
    """Run all checks, in seconds, on problems drawn from the seed."""
    return [
        Check(measure, claim, float(difference), tolerance)
        for part in (
            _leep,
            _leave_one_out,
            _nce,
            _h_score,
            _logme,
            _knn,
            _linear_probe,
            _lfc,
            _stable_rank,
            _pactran_dirichlet,
            _pactran_gaussian,
            _regularised_h_score,
            _n_leep,
            _transrate,
            _gbc,
            _parc,
            _sfda,
            _errors,
        )
        for measure, claim, difference, tolerance in part(np.random.default_rng(seed))
    ]


def table(checks: list[Check]) -> Table:
    """The checks for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("")
    shown.add_column("measure", no_wrap=True)
    shown.add_column("claim")
    shown.add_column("off by", justify="right", no_wrap=True)
    shown.add_column("allowed", justify="right", no_wrap=True)
    for check in checks:
        mark = Text("✓", style="bold green") if check.passed else Text("✗", style="bold red")
        shown.add_row(mark, check.measure, check.claim, f"{check.difference:.1e}", f"{check.tolerance:.0e}")
    return shown


_Found = Iterator[tuple[str, str, float, float]]


def _leep(rng: np.random.Generator) -> _Found:
    p, y = _problem(rng)
    score = measures.leep(p, y)
    yield "leep", "equals equations (1) and (2) written as loops", abs(score - _leep_by_loops(p, y)), 1e-12
    constant = np.repeat(p[:1], len(p), axis=0)
    yield "leep", "constant predictions score −Ĥ(Y)", abs(measures.leep(constant, y) + _entropy(y)), 1e-12
    one_hot = np.eye(p.shape[1])[p.argmax(axis=1)]
    yield "leep", "one-hot predictions score NCE", abs(measures.leep(one_hot, y) - measures.nce(p, y)), 1e-12
    twice = measures.leep(np.vstack([p, p]), np.concatenate([y, y]))
    yield "leep", "the data set repeated changes nothing", abs(twice - score), 1e-12
    split = measures.leep(np.hstack([p[:, :1] / 2, p[:, :1] / 2, p[:, 1:]]), y)
    yield "leep", "a source column split in two changes nothing", abs(split - score), 1e-12
    shuffled = _shuffled(measures.leep, p, y, rng)
    yield "leep", "the order of rows and columns changes nothing", abs(shuffled - score), 1e-12


def _leave_one_out(rng: np.random.Generator) -> _Found:
    p, y = _problem(rng, n=60, s=8)
    worst = max(
        abs(measures.leave_one_out_leep(p, y, prior_weight=a) - _refitted(p, y, a)) for a in (1e-6, 1e-2, 1.0, 1e4)
    )
    yield "leave-one-out-leep", "equals refitting without each example", worst, 1e-9
    y = np.arange(500) % 10
    worst = 0.0
    for s in (10, 100, 1000, 21843):
        guesses = np.full((500, s), 0.02 / s)
        guesses[np.arange(500), rng.integers(0, s, 500)] += 0.98
        soft = rng.exponential(size=(500, s)) ** 3
        for p in (guesses, soft / soft.sum(axis=1, keepdims=True)):
            worst = max(worst, abs(measures.leave_one_out_leep(p, y) - floor(y)))
    yield "leave-one-out-leep", "sources that know nothing, 10 to 21,843 classes wide, score the floor", worst, 0.02


def _nce(rng: np.random.Generator) -> _Found:
    from scipy.stats import entropy
    from scipy.stats.contingency import crosstab

    p, y = _problem(rng)
    joint = crosstab(y, p.argmax(axis=1)).count
    expected = entropy(joint.sum(axis=0)) - entropy(joint.ravel())
    yield "nce", "equals H(Z) − H(Y, Z) from scipy", abs(measures.nce(p, y) - expected), 1e-12


def _h_score(rng: np.random.Generator) -> _Found:
    y = rng.integers(0, 4, 200)
    f = rng.normal(size=(200, 12)) + y[:, None] / 2
    means = np.stack([f[y == label].mean(axis=0) for label in y])
    expected = np.trace(np.linalg.pinv(np.cov(f, rowvar=False)) @ np.cov(means, rowvar=False))
    yield "h-score", "equals tr(cov(f)⁺ cov(E[f|Y])) from numpy", abs(measures.h_score(f, y) - expected), 1e-9
    mapped = measures.h_score(f @ rng.normal(size=(12, 12)) + 5, y)
    yield "h-score", "an invertible affine map changes nothing", abs(mapped - measures.h_score(f, y)), 1e-8
    noise = measures.h_score(rng.normal(size=(30, 40)), np.arange(30) % 4)
    yield "h-score", "noise with n ≤ d scores t − 1 (so never trust it there)", abs(noise - 3), 1e-9


def _logme(rng: np.random.Generator) -> _Found:
    for n, d in ((40, 6), (20, 20), (15, 40)):
        y = np.arange(n) % 3
        f = rng.normal(size=(n, d)) + y[:, None] / 2
        difference = abs(measures.logme(f, y) - _logme_by_density(f, y))
        relation = "<" if n < d else "=" if n == d else ">"
        yield "logme", f"equals the maximised Gaussian density, n {relation} d", difference, 1e-4

    y = np.arange(30) % 3
    f = rng.normal(size=(30, 5)) + y[:, None]
    indicators = (y[:, None] == np.arange(3)).astype(np.float64)
    difference = abs(measures.logme_regression(f, indicators) - measures.logme(f, y))
    yield "logme", "its regression of the class indicators is the same", difference, 1e-9


def _regularised_h_score(rng: np.random.Generator) -> _Found:
    for n, d in ((60, 6), (20, 40)):
        f, y = _clouds(rng, n, d)
        difference = abs(measures.regularised_h_score(f, y) - _shrunk_h_score(f, y))
        yield "regularised-h-score", f"equals Ledoit and Wolf's loops, n = {n}, d = {d}", difference, 1e-8


def _n_leep(rng: np.random.Generator) -> _Found:
    y = rng.integers(0, 3, 300)
    point = (y + (rng.random(300) < 0.3)) % 3
    expected = measures.nce(np.eye(3)[point], y)
    found = measures.n_leep(np.eye(3, 5)[point] + 2, y)
    yield "n-leep", "examples on three points score NCE given the point", abs(found - expected), 1e-9
    alone = measures.n_leep(rng.normal(size=(8, 4)), np.arange(8) % 2)
    yield "n-leep", "one cluster scores −Ĥ(Y)", abs(alone + np.log(2)), 1e-12
    f, y = _clouds(rng, 90, 5)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    moved = measures.n_leep(7 * f @ rotation + 3, y)
    yield "n-leep", "shifting, rotating and rescaling change nothing", abs(moved - measures.n_leep(f, y)), 1e-7


def _transrate(rng: np.random.Generator) -> _Found:
    for n, d in ((60, 6), (20, 40)):
        f, y = _clouds(rng, n, d)
        difference = abs(measures.transrate(f, y) - _coding_rates(f, y))
        yield "transrate", f"equals determinants of d by d matrices, n = {n}, d = {d}", difference, 1e-8
    points = rng.normal(size=(20, 5))
    same = measures.transrate(np.vstack([points, points]), np.repeat([0, 1], 20))
    yield "transrate", "classes of the same points score 0", abs(same), 1e-12


def _gbc(rng: np.random.Generator) -> _Found:
    from scipy.integrate import quad
    from scipy.stats import norm

    y = np.arange(60) % 2
    f = (rng.normal(size=60) * (1 + y) + y)[:, None]
    first, second = (norm(f[y == c].mean(), f[y == c].std(ddof=1)) for c in (0, 1))
    overlap, _ = quad(lambda x: np.sqrt(first.pdf(x) * second.pdf(x)), -30, 30)
    yield "gbc", "is the integral of √(p q) in one dimension", abs(measures.gbc(f, y) + 2 * overlap), 1e-7
    points = rng.normal(size=(20, 5))
    same = measures.gbc(np.vstack([points, points, points]), np.repeat([0, 1, 2], 20))
    yield "gbc", "t classes of the same points score −t(t − 1)", abs(same + 6), 1e-9


def _parc(rng: np.random.Generator) -> _Found:
    from scipy.stats import spearmanr

    f, y = _clouds(rng, 60, 8)
    above = np.triu_indices(60, 1)
    of_labels = np.not_equal.outer(y, y)[above]
    expected = spearmanr(1 - np.asarray(np.corrcoef(f))[above], of_labels).statistic
    yield "parc", "equals Spearman's ρ from scipy over all pairs", abs(measures.parc(f, y) - expected), 1e-9
    yield "parc", "one-hot features score 1", abs(measures.parc(np.eye(3)[y], y) - 1), 1e-9


def _sfda(rng: np.random.Generator) -> _Found:
    for n, d in ((60, 5), (25, 40)):
        f, y = _clouds(rng, n, d)
        difference = abs(measures.sfda(f / 5, y) - _two_discriminants(f / 5, y))
        yield "sfda", f"equals Gaussian densities written out, n = {n}, d = {d}", difference, 1e-8
    points = rng.normal(size=(20, 5))
    same = measures.sfda(np.vstack([points, points, points]), np.repeat([0, 1, 2], 20))
    yield "sfda", "t classes of the same points score 1/t", abs(same - 1 / 3), 1e-9


def _knn(rng: np.random.Generator) -> _Found:
    y = rng.integers(0, 3, 120)
    f = rng.normal(size=(120, 8)) + y[:, None] / 2
    distance = np.linalg.norm(f[:, None] - f, axis=2) + np.diag(np.full(120, np.inf))
    nearest = y[distance.argsort(axis=1)[:, :1]][:, 0]
    difference = abs(measures.knn(f, y, neighbours=1) - (nearest == y).mean())
    yield "knn", "equals a look-up in the matrix of distances, k = 1", difference, 1e-12
    far = measures.knn(f + 1e3 * y[:, None], y)
    yield "knn", "classes far apart score 1", abs(far - 1), 1e-12


def _linear_probe(rng: np.random.Generator) -> _Found:
    y = np.repeat([0, 1, 2], 20)
    f = rng.normal(size=(60, 5)) + np.eye(3, 5)[y]
    difference = abs(measures.linear_probe(f, y) - _probe_by_newton(f, y))
    yield "linear-probe", "equals heads fitted by Newton's method on balanced folds", difference, 1e-5
    constant = measures.linear_probe(np.ones((60, 5)), y)
    yield "linear-probe", "features that say nothing score the class prior", abs(constant + np.log(3)), 1e-12


def _lfc(rng: np.random.Generator) -> _Found:
    for n, d in ((80, 6), (20, 40)):
        y = rng.integers(0, 3, n)
        f = rng.normal(size=(n, d)) + y[:, None] / 2
        pairs = np.corrcoef((f @ f.T).ravel(), (y[:, None] == y).ravel())[0, 1]
        relation = "<" if n < d else ">"
        claim = f"equals the correlation over all pairs from numpy, n {relation} d"
        yield "lfc", claim, abs(measures.lfc(f, y) - pairs), 1e-9
    yield "lfc", "features that are the classes score 1", abs(measures.lfc(np.eye(3)[y], y) - 1), 1e-12


def _stable_rank(rng: np.random.Generator) -> _Found:
    f = rng.normal(size=(50, 8))
    sigma = np.linalg.svd(f - f.mean(axis=0), compute_uv=False)
    expected = (sigma**2).sum() / sigma[0] ** 2
    found = measures.stable_rank(f, np.arange(50) % 2)
    yield "stable-rank", "equals the ratio of squared singular values from numpy", abs(found - expected), 1e-9


def _pactran_dirichlet(rng: np.random.Generator) -> _Found:
    from scipy.special import gammaln

    def log_beta(a: Float64) -> Float64:
        return np.asarray(gammaln(a).sum(axis=0) - gammaln(a.sum(axis=0)))

    p, y = _problem(rng)
    classes, codes = np.unique(y, return_inverse=True)
    prior = np.bincount(codes)[:, None] / len(y)
    source = p.argmax(axis=1)
    counts = np.array([[np.sum((codes == c) & (source == z)) for z in range(p.shape[1])] for c in range(len(classes))])
    expected = (log_beta(prior + counts) - log_beta(prior)).sum() / len(y)
    found = measures.pactran_dirichlet(np.eye(p.shape[1])[source], y)
    yield "pactran-dirichlet", "one-hot predictions score the evidence of the counts", abs(found - expected), 1e-10
    strong = measures.pactran_dirichlet(p, y, alpha=1e9)
    yield "pactran-dirichlet", "an infinite prior scores −Ĥ(Y)", abs(strong + _entropy(y)), 1e-5


def _pactran_gaussian(rng: np.random.Generator) -> _Found:
    for n, d in ((60, 4), (20, 30)):
        f, y = _clouds(rng, n, d)
        difference = abs(measures.pactran_gaussian(f, y) - _bound_by_scikit_learn(f, y))
        relation = "<" if n < d else ">"
        yield "pactran-gaussian", f"equals the bound on scikit-learn's head, n {relation} d", difference, 1e-5
    constant = measures.pactran_gaussian(np.ones((60, 5)), np.arange(60) % 3)
    yield "pactran-gaussian", "features that say nothing score −Ĥ(Y)", abs(constant + np.log(3)), 1e-9


def _errors(rng: np.random.Generator) -> _Found:
    for name in ("leep", "leave-one-out-leep"):
        drawn = [measures.find(name).influence(*_problem(rng, n=400, s=20)) for _ in range(150)]
        actual = np.std([value for value, _ in drawn], ddof=1)
        claimed = np.sqrt(np.mean([np.var(values, ddof=1) / 400 for _, values in drawn]))
        yield name, "standard error against 150 independent samples, relative", abs(claimed / actual - 1), 0.25

    for name in ("regularised-h-score", "n-leep", "transrate", "gbc", "parc", "sfda", "logme", "pactran-gaussian"):
        drawn = [measures.find(name).influence(*_clouds(rng, 200, 4)) for _ in range(30)]
        actual = np.std([value for value, _ in drawn], ddof=1)
        claimed = np.sqrt(np.mean([np.var(values, ddof=1) / len(values) for _, values in drawn]))
        yield name, "standard error against 30 independent samples, relative", abs(claimed / actual - 1), 0.6


def _clouds(rng: np.random.Generator, n: int, d: int) -> tuple[Float64, Integers]:
    """Features of three classes that lie around the same means on every call of one size."""
    y = np.concatenate([np.arange(3), rng.integers(0, 3, n - 3)])
    return rng.normal(size=(n, d)) + np.random.default_rng(d).normal(size=(3, d))[y], y


def _problem(rng: np.random.Generator, n: int = 300, s: int = 12) -> tuple[Float64, Integers]:
    """Source probabilities that know something about labels with gaps."""
    y = np.array([0, 2, 7])[rng.integers(0, 3, n)]
    logits = rng.normal(size=(n, s)) + 1.5 * np.eye(max(8, s))[y][:, :s]
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), y


def _entropy(y: Integers) -> float:
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(frequency * np.log(frequency)).sum())


def _shuffled(function: Callable[..., float], p: Float64, y: Integers, rng: np.random.Generator) -> float:
    rows, columns = rng.permutation(len(p)), rng.permutation(p.shape[1])
    return function(p[rows][:, columns], y[rows])


def _leep_by_loops(p: Float64, y: Integers) -> float:
    joint: dict[int, NDArray[Any]] = {}
    for row, label in zip(p, y.tolist(), strict=True):
        joint[label] = joint.get(label, np.zeros(p.shape[1])) + row / len(p)
    marginal = np.sum(list(joint.values()), axis=0)
    total = 0.0
    for row, label in zip(p, y.tolist(), strict=True):
        total += float(np.log(sum(joint[label][z] / marginal[z] * row[z] for z in range(p.shape[1]))))
    return total / len(p)


def _refitted(p: Float64, y: Integers, a: float) -> float:
    classes, codes = np.unique(y, return_inverse=True)
    total = 0.0
    for i in range(len(p)):
        others = np.arange(len(p)) != i
        joint = np.stack([p[others & (codes == c)].sum(axis=0) for c in range(len(classes))])
        prior = (np.sum(others & (codes == codes[i])) + 1 / len(classes)) / len(p)
        total += float(np.log((p[i] * (joint[codes[i]] + a * prior) / (joint.sum(axis=0) + a)).sum()))
    return total / len(p)


def _logme_by_density(f: Float64, y: Integers) -> float:
    """The mean over classes of max log N(y; 0, β⁻¹I + α⁻¹ffᵀ)/n, on dense covariances, β in closed form."""
    from scipy.optimize import minimize_scalar

    n, scale = len(f), np.log((f * f).sum() / len(f))

    def negative(log_ratio: float, target: Float64) -> float:
        shape = np.eye(n) + np.exp(-log_ratio) * f @ f.T  # covariance times β, at α/β = exp(log_ratio)
        _, log_det = np.linalg.slogdet(shape)
        variance = target @ np.linalg.solve(shape, target) / n  # the best 1/β
        return float(0.5 * (n * np.log(2 * np.pi * variance) + log_det + n))

    evidences = []
    for label in np.unique(y):
        target = (y == label).astype(np.float64)
        grid = np.linspace(scale - 20, scale + 20, 81)
        best = grid[int(np.argmin([negative(at, target) for at in grid]))]
        found = minimize_scalar(negative, bounds=(best - 0.5, best + 0.5), args=(target,), method="bounded")
        evidences.append(-found.fun / n)
    return float(np.mean(evidences))


def _probe_by_newton(f: Float64, y: Integers) -> float:
    """Held-out log-likelihood of ridge logistic heads on folds of equal class sizes, with dense curvatures."""
    from hf_leep import arrays
    from hf_leep.measures.linear_probe import STRENGTHS, folds

    n, t = len(y), len(np.unique(y))
    x = f - f.mean(axis=0)
    x = np.hstack([x / np.sqrt((x**2).sum() / n), np.ones((n, 1))])
    one_hot, fold = np.eye(t)[y], folds(arrays.labels(y, n))
    best = -np.log(t)
    for strength in STRENGTHS:
        total = 0.0
        for part in range(fold.max() + 1):
            own, target, w = x[fold != part], one_hot[fold != part], np.zeros((x.shape[1], t))
            for _ in range(60):
                p = np.exp(own @ w - (own @ w).max(axis=1, keepdims=True))
                p /= p.sum(axis=1, keepdims=True)
                gradient = (own.T @ (p - target) + w / strength).T.ravel()
                block = np.einsum("ni,nc,nj->cij", own, p, own)
                curvature = -np.einsum("ni,nc,ne,nj->ciej", own, p, p, own)
                curvature[np.arange(t), :, np.arange(t)] += block
                size = (gradient.size, gradient.size)
                newton = np.linalg.solve(curvature.reshape(size) + np.eye(gradient.size) / strength, gradient)
                w = w - newton.reshape(t, -1).T * min(1.0, 5 / (np.abs(newton).max() + 1e-300))
            logits = x[fold == part] @ w
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total += float((log_p * one_hot[fold == part]).sum())
        if total / n <= best:
            break
        best = total / n
    return float(best)


def _bound_by_scikit_learn(f: Float64, y: Integers) -> float:
    """PACTran-Gaussian with λ = 1, its Hessian trace as a sum over examples of traces of dense blocks."""
    from sklearn.linear_model import LogisticRegression

    x = f - f.mean(axis=0)
    n, d = x.shape
    head = LogisticRegression(C=1.0, tol=1e-9, max_iter=20_000).fit(x, y)
    p = head.predict_proba(x)
    t = p.shape[1]
    risk = -np.log(p[np.arange(n), np.searchsorted(head.classes_, y)]).mean() + (head.coef_**2).sum() / (2 * n)
    trace = sum(np.trace(np.kron(np.diag(q) - np.outer(q, q), np.outer(z, z))) for q, z in zip(p, x, strict=True)) / n
    beta, variance = n * d / 10, 10 / d
    return float(-risk - t * d / (2 * beta) * np.log(1 + beta * variance / (t * d) * trace))


def _shrunk_h_score(f: Float64, y: Integers) -> float:
    n, d = f.shape
    centred = f - f.mean(axis=0)
    covariance = centred.T @ centred / n
    target = np.trace(covariance) / d * np.eye(d)
    error = sum(float(((np.outer(x, x) - covariance) ** 2).sum()) for x in centred) / n**2
    alpha = min(error / float(((covariance - target) ** 2).sum()), 1.0)
    between = np.zeros((d, d))
    for label in np.unique(y):
        mean = centred[y == label].mean(axis=0)
        between += np.mean(y == label) * np.outer(mean, mean)
    return float(np.trace(np.linalg.solve((1 - alpha) * covariance + alpha * target, (1 - alpha) * between)))


def _coding_rates(f: Float64, y: Integers) -> float:
    def rate(z: Float64) -> float:
        return 0.5 * float(np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1])

    z = f - f.mean(axis=0)
    z = z / np.sqrt((z**2).sum() / len(z))
    return rate(z) - sum(float(np.mean(y == label)) * rate(z[y == label]) for label in np.unique(y))


def _two_discriminants(f: Float64, y: Integers) -> float:
    from scipy.special import softmax
    from scipy.stats import multivariate_normal

    classes = np.unique(y)
    prior = np.array([np.mean(y == c) for c in classes])

    def moments(x: Float64) -> tuple[Float64, Float64]:
        means = np.stack([x[y == c].mean(axis=0) for c in classes])
        apart = x - means[np.searchsorted(classes, y)]
        return means, apart.T @ apart / len(x)

    def probability(x: Float64, shrunk: float) -> Float64:
        means, within = moments(x)
        ridged = (1 - shrunk) * within + shrunk * np.trace(within) / x.shape[1] * np.eye(x.shape[1])
        logs = [np.log(q) + multivariate_normal.logpdf(x, m, ridged) for q, m in zip(prior, means, strict=True)]
        return np.asarray(softmax(np.stack(logs, axis=1), axis=1))

    own = (np.arange(len(f)), np.searchsorted(classes, y))
    means, within = moments(f)
    shrunk = max(float(np.exp(-5 * np.linalg.eigvalsh(within)[-1])), 1e-10)
    kept = softmax(probability(f, shrunk), axis=1)[own][:, None]
    others = np.stack([means[classes != c].mean(axis=0) for c in classes])
    return float(probability(kept * f + (1 - kept) * others[own[1]], shrunk)[own].mean())
