"""Slow and simple implementations of the measures, straight from their definitions, to check the fast ones against.

Each function takes features or probabilities ``[n, d]`` and labels ``[n]`` and returns the score. No code is shared
with `hf_leep.measures`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hf_leep.arrays import Float64, Integers


def leep_by_loops(p: Float64, y: Integers) -> float:
    """Equations (1) and (2) of Nguyen et al. 2020, written as loops."""
    joint: dict[int, Float64] = {}
    for row, label in zip(p, y.tolist(), strict=True):
        joint[label] = joint.get(label, np.zeros(p.shape[1])) + row / len(p)
    marginal = np.sum(list(joint.values()), axis=0)
    total = 0.0
    for row, label in zip(p, y.tolist(), strict=True):
        total += float(np.log(sum(joint[label][z] / marginal[z] * row[z] for z in range(p.shape[1]))))
    return total / len(p)


def leave_one_out_leep_by_refitting(p: Float64, y: Integers, a: float, draws: Integers) -> float:
    """Score each example with a predictor that is estimated again without its draw, with prior weight ``a``."""
    classes, codes = np.unique(y, return_inverse=True)
    total = 0.0
    for i in range(len(p)):
        others = draws != draws[i]
        joint = np.stack([p[others & (codes == c)].sum(axis=0) for c in range(len(classes))])
        prior = (np.sum(others & (codes == codes[i])) + 1 / len(classes)) / (others.sum() + 1)
        total += float(np.log((p[i] * (joint[codes[i]] + a * prior) / (joint.sum(axis=0) + a)).sum()))
    return total / len(p)


def logme_by_density(f: Float64, y: Integers) -> float:
    """Mean over classes of max log N(y; 0, β⁻¹I + α⁻¹ffᵀ)/n, with dense covariances and β in closed form."""
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
        minimum = minimize_scalar(negative, bounds=(best - 0.5, best + 0.5), args=(target,), method="bounded")
        evidences.append(-minimum.fun / n)
    return float(np.mean(evidences))


def knn_by_distances(f: Float64, y: Integers, k: int) -> float:
    """Leave-one-out accuracy from the matrix of distances; examples tied with the k-th share its vote as fractions."""
    squared = ((f[:, None] - f) ** 2).sum(axis=2)
    total = Fraction(0)
    for i, label in enumerate(y):
        others = np.delete(np.arange(len(y)), i)
        farthest = np.sort(squared[i, others])[k - 1]
        closer, tied = others[squared[i, others] < farthest], others[squared[i, others] == farthest]
        share = Fraction(k - len(closer), len(tied))
        votes = {c: int((y[closer] == c).sum()) + share * int((y[tied] == c).sum()) for c in np.unique(y)}
        winners = [c for c in votes if votes[c] == max(votes.values())]
        total += Fraction(int(label in winners), len(winners))
    return float(total / len(y))


def linear_probe_by_newton(f: Float64, y: Integers) -> float:
    """Held-out log-likelihood of L2-penalised logistic heads on five folds, with dense Hessians.

    Each class must have the same number of examples, a multiple of five: only then are the folds those of a simple
    assignment class by class, and the class priors of all folds equal.
    """
    n, t = len(y), len(np.unique(y))
    order, fold = np.random.default_rng(n).permutation(n), np.empty(n, dtype=np.int64)
    for label in np.unique(y):
        rows = order[y[order] == label]
        fold[rows] = np.arange(len(rows)) % 5
    x = f - f.mean(axis=0)
    x = np.hstack([x / np.sqrt((x**2).sum() / n), np.ones((n, 1))])
    one_hot = np.eye(t)[y]
    best = -np.log(t)
    for strength in (0.1, 1.0, 10.0, 100.0, 1e3, 1e4):
        total = 0.0
        for part in range(5):
            train, target, w = x[fold != part], one_hot[fold != part], np.zeros((x.shape[1], t))
            for _ in range(60):
                p = np.exp(train @ w - (train @ w).max(axis=1, keepdims=True))
                p /= p.sum(axis=1, keepdims=True)
                gradient = (train.T @ (p - target) + w / strength).T.ravel()
                block = np.einsum("ni,nc,nj->cij", train, p, train)
                hessian = -np.einsum("ni,nc,ne,nj->ciej", train, p, p, train)
                hessian[np.arange(t), :, np.arange(t)] += block
                size = (gradient.size, gradient.size)
                newton = np.linalg.solve(hessian.reshape(size) + np.eye(gradient.size) / strength, gradient)
                w = w - newton.reshape(t, -1).T * min(1.0, 5 / (np.abs(newton).max() + 1e-300))
            logits = x[fold == part] @ w
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total += float((log_p * one_hot[fold == part]).sum())
        if total / n <= best:
            break
        best = total / n
    return float(best)


def pactran_dirichlet_by_shares(p: Float64, y: Integers) -> float:
    """The bound on log Z/n at α = 1, iterated on the table of every example's shares q in the source classes."""
    from scipy.special import digamma, gammaln, rel_entr

    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    prior = counts[:, None] / len(y)
    q, previous, value = p, -np.inf, -1e300
    while value - previous > 1e-14:
        a = prior + np.stack([q[codes == c].sum(axis=0) for c in range(len(classes))])
        log_beta = gammaln(a).sum(axis=0) - gammaln(a.sum(axis=0)), gammaln(prior).sum() - gammaln(1.0)
        previous, value = value, float((log_beta[0] - log_beta[1]).sum() - rel_entr(q, p).sum()) / len(y)
        q = p * np.exp(digamma(a) - digamma(a.sum(axis=0)))[codes]
        q = q / q.sum(axis=1, keepdims=True)
    return value


def pactran_gaussian_by_scikit_learn(f: Float64, y: Integers) -> float:
    """PACTran-Gaussian with λ = 1; the trace of the Hessian is a sum over examples of traces of dense blocks."""
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


def regularised_h_score_by_loops(f: Float64, y: Integers) -> float:
    """H-score with Ledoit and Wolf's covariance, one outer product at a time."""
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


def transrate_by_determinants(f: Float64, y: Integers) -> float:
    """Coding rate of all examples minus those of the classes, from log-determinants."""

    def rate(z: Float64) -> float:
        return 0.5 * float(np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1])

    z = f - f.mean(axis=0)
    z = z / np.sqrt((z**2).sum() / len(z))
    return rate(z) - sum(float(np.mean(y == label)) * rate(z[y == label]) for label in np.unique(y))


def sfda_by_densities(f: Float64, y: Integers) -> float:
    """Both discriminants from the densities of Gaussians with a common covariance."""
    from scipy.special import softmax
    from scipy.stats import multivariate_normal

    classes = np.unique(y)
    prior = np.array([np.mean(y == c) for c in classes])

    def moments(x: Float64) -> tuple[Float64, Float64]:
        means = np.stack([x[y == c].mean(axis=0) for c in classes])
        difference = x - means[np.searchsorted(classes, y)]
        return means, difference.T @ difference / len(x)

    def probability(x: Float64, shrinkage: float) -> Float64:
        means, within = moments(x)
        ridged = (1 - shrinkage) * within + shrinkage * np.trace(within) / x.shape[1] * np.eye(x.shape[1])
        logs = [np.log(q) + multivariate_normal.logpdf(x, m, ridged) for q, m in zip(prior, means, strict=True)]
        return np.asarray(softmax(np.stack(logs, axis=1), axis=1))

    true_class = (np.arange(len(f)), np.searchsorted(classes, y))
    means, within = moments(f)
    shrinkage = max(float(np.exp(-5 * np.linalg.eigvalsh(within)[-1])), 1e-10)
    weight = softmax(probability(f, shrinkage), axis=1)[true_class][:, None]
    others = np.stack([means[classes != c].mean(axis=0) for c in classes])
    return float(probability(weight * f + (1 - weight) * others[true_class[1]], shrinkage)[true_class].mean())


def ridge_refits(f: Float64, y: Integers, strength: float) -> Float64:
    """Class values of each example, ``[n, t]``, by a ridge regression that is fitted anew to all the others.

    Args:
        f: features, ``[n, d]``.
        y: classes, 0 … t−1, ``[n]``.
        strength: λ, in units of the largest eigenvalue of the scatter matrix of the scaled features.
    """
    z = f - f.mean(axis=0)
    lengths = np.linalg.norm(z, axis=0)
    z /= np.hypot(lengths, lengths.mean())
    penalty = strength * np.linalg.eigvalsh(z.T @ z).max() * np.eye(z.shape[1])
    indicators = np.eye(y.max() + 1)[y]
    values = np.empty(indicators.shape)
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        center, mean = z[others].mean(axis=0), indicators[others].mean(axis=0)
        x, targets = z[others] - center, indicators[others] - mean
        values[i] = mean + (z[i] - center) @ np.linalg.solve(x.T @ x + penalty, x.T @ targets)
    return values
