"""Time and memory of every measure, and how they grow: ``python tests/benchmarks/measures.py``.

10,000 examples, 768 features, 1,000 source and 100 target classes, float32, on ONE thread. Each measure's time and
memory relative to a straightforward implementation with whole matrices (numpy, scipy or scikit-learn), in one run; its
time with the error relative to that of the score; and the exponent of its time in n, in d or s, and in t, from
doubling each. Takes some minutes.

``python tests/benchmarks/measures.py budget [NAMES]``: processor time of scoring one candidate on all measures, with
errors and scores of shuffled labels, at the sizes in `BUDGETS`: each measure alone, and all of them in one call.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
import time
import tracemalloc
import warnings

import numpy as np
from scipy.special import digamma, gammaln, log_softmax, softmax
from scipy.stats import rankdata

from hf_leep.measures import MEASURES
from hf_leep.ranking.scoring import _score, score
from hf_leep.records import Candidate, Extraction, Run

N, D, S, T = 10_000, 768, 1_000, 100
SMALL = (2_000, 192, 250, 25)  # where growth is measured
BUDGETS = {(2_000, 1_280, 1_001, 10): 10.0, (5_000, 256, 1_001, 100): 20.0}  # (n, d, s, t): seconds for all measures
LINEAR = {"tol": 1e-4, "max_iter": 300}  # settings of scikit-learn's logistic regression


def leep(p, y):
    joint = np.eye(y.max() + 1)[y].T @ p / len(p)
    return np.log((p @ (joint / joint.sum(axis=0)).T)[np.arange(len(y)), y]).mean()


def leave_one_out_leep(p, y):
    """One prior weight; refitting for each example would take n times as long."""
    summed = np.eye(y.max() + 1)[y].T @ p
    prior = (np.bincount(y) - 1 + 1 / len(summed)) / len(y)
    return np.log((p * (summed[y] - p + prior[y, None]) / (summed.sum(axis=0) - p + 1)).sum(axis=1)).mean()


def nce(p, y):
    counts = np.zeros((y.max() + 1, p.shape[1]))
    np.add.at(counts, (y, p.argmax(axis=1)), 1)
    return np.log((counts / np.maximum(counts.sum(axis=0), 1))[y, p.argmax(axis=1)]).mean()


def pactran_dirichlet(p, y):
    """Ten rounds, as in the published code."""
    one_hot = np.eye(y.max() + 1)[y]
    prior, q = one_hot.mean(axis=0)[:, None], p
    for _ in range(10):
        a = prior + one_hot.T @ q
        q = p * np.exp(one_hot @ digamma(a) - digamma(a.sum(axis=0)))
        q /= q.sum(axis=1, keepdims=True)
    a = prior + one_hot.T @ q
    evidence = gammaln(a).sum(axis=0) - gammaln(a.sum(axis=0)) - gammaln(prior).sum()
    return (evidence.sum() - (q * np.log(np.maximum(q, 1e-300) / np.maximum(p, 1e-300))).sum()) / len(y)


def class_means(f, y):
    return np.stack([f[y == c].mean(axis=0) for c in range(y.max() + 1)])


def h_score(f, y):
    return np.trace(np.linalg.pinv(np.cov(f, rowvar=False)) @ np.cov(class_means(f, y)[y], rowvar=False))


def regularised_h_score(f, y):
    from sklearn.covariance import ledoit_wolf

    shrunk, alpha = ledoit_wolf(f)
    return np.trace(np.linalg.pinv(shrunk) @ ((1 - alpha) * np.cov(class_means(f, y)[y], rowvar=False)))


def logme(f, y):
    """The widely copied fixed-point iteration, one class at a time."""
    u, s, _ = np.linalg.svd(f, full_matrices=False)
    n, d = f.shape
    total = 0.0
    for c in range(y.max() + 1):
        target = (y == c).astype(float)
        x, alpha, beta = u.T @ target, 1.0, 1.0
        rest = target @ target - x @ x
        for _ in range(20):
            gamma = (s * s / (s * s + alpha / beta)).sum()
            m = s * x / (s * s + alpha / beta)
            residual = ((x * (alpha / beta) / (s * s + alpha / beta)) ** 2).sum() + rest
            alpha, beta = gamma / (m @ m), (n - gamma) / residual
        total += n / 2 * np.log(beta) + d / 2 * np.log(alpha) - np.log(alpha + beta * s * s).sum() / 2
        total += -beta / 2 * residual - alpha / 2 * (m @ m) - n / 2 * np.log(2 * np.pi)
    return total / (n * (y.max() + 1))


def knn(f, y):
    from sklearn.neighbors import NearestNeighbors

    nearest = y[NearestNeighbors(n_neighbors=6, algorithm="brute").fit(f).kneighbors(f)[1][:, 1:]]
    return np.mean([np.bincount(row).argmax() == label for row, label in zip(nearest, y, strict=True)])


def linear_probe(f, y):
    """Five folds with the one penalty that suits most features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    x = (f - f.mean(axis=0)) / np.sqrt(((f - f.mean(axis=0)) ** 2).sum(axis=1).mean())
    return cross_val_score(LogisticRegression(C=1.0, **LINEAR), x, y, scoring="neg_log_loss").mean()


def ridge(f, y):
    """scikit-learn's, with as many strengths."""
    from sklearn.linear_model import RidgeClassifierCV

    x = (f - f.mean(axis=0)) / f.std(axis=0)
    return RidgeClassifierCV(alphas=np.logspace(-2, 4, 17)).fit(x, y).score(x, y)


def ridge_log_likelihood(f, y):
    return ridge(f, y)


def pactran_gaussian(f, y):
    from sklearn.linear_model import LogisticRegression

    x = f - f.mean(axis=0)
    n, d = x.shape
    head = LogisticRegression(C=1.0, **LINEAR).fit(x, y)
    p = head.predict_proba(x)
    t = p.shape[1]
    trace = (((x * x).T @ (p - p * p)) / n).sum()
    risk = -np.log(p[np.arange(n), y]).mean() + (head.coef_**2).sum() / (2 * n)
    return -risk - 5 * t / n * np.log(1 + n / (t * d) * trace)


def lfc(f, y):
    same = np.where(y[:, None] == y, 1.0, -1.0)
    return np.corrcoef((f @ f.T).ravel(), same.ravel())[0, 1]


def stable_rank(f, y):
    sigma = np.linalg.svd(f - f.mean(axis=0), compute_uv=False)
    return (sigma**2).sum() / sigma[0] ** 2


def n_leep(f, y):
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    x = PCA(0.8, svd_solver="full").fit_transform(f)
    number = min(5 * (y.max() + 1), len(y) // 5)
    mixture = GaussianMixture(number, covariance_type="diag", random_state=0)
    return leep(mixture.fit(x).predict_proba(x), y)


def transrate(f, y):
    z = f - f.mean(axis=0)
    z = z / np.sqrt((z**2).sum() / len(z))

    def rate(z):
        return 0.5 * np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1]

    return rate(z) - sum(np.mean(y == c) * rate(z[y == c]) for c in range(y.max() + 1))


def gbc(f, y):
    from sklearn.decomposition import PCA

    x = PCA(min(64, *f.shape), svd_solver="full").fit_transform(f)
    means, t = class_means(x, y), y.max() + 1
    variances = [x[y == c].var(axis=0, ddof=1).mean() for c in range(t)]
    total = 0.0
    for i in range(t):
        for j in range(t):
            if i != j:
                v = (variances[i] + variances[j]) / 2
                distance = ((means[i] - means[j]) ** 2).sum() / (8 * v)
                distance += x.shape[1] / 2 * np.log(v / np.sqrt(variances[i] * variances[j]))
                total -= np.exp(-distance)
    return total


def parc(f, y):
    """On as many examples as the measure uses."""
    from sklearn.preprocessing import StandardScaler

    f, y = StandardScaler().fit_transform(f[:2000]), y[:2000]
    above = np.triu_indices(len(f), 1)
    ranks = rankdata((1 - np.corrcoef(f))[above])
    return np.corrcoef(ranks, rankdata((1 - np.corrcoef(np.eye(y.max() + 1)[y]))[above]))[0, 1]


def sfda(f, y):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    within = f - class_means(f, y)[y]
    shrinkage = max(np.exp(-5 * np.linalg.eigvalsh(within.T @ within / len(f))[-1]), 1e-10)

    def probability(x):
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y).predict_proba(x)

    means, t = class_means(f, y), y.max() + 1
    own = softmax(probability(f), axis=1)[np.arange(len(y)), y][:, None]
    mixed = own * f + (1 - own) * ((means.sum(axis=0) - means) / (t - 1))[y]
    return probability(mixed)[np.arange(len(y)), y].mean()


def problem(n, d, s, t):
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(t), rng.integers(0, t, n - t)])
    # Classes about four standard deviations apart, so that a good head is right in most cases, but not in all.
    features = 3 / np.sqrt(d) * rng.normal(size=(t, d))[y] + rng.normal(size=(n, d))
    features *= np.geomspace(1, 0.1, d)
    logits = 2 * rng.normal(size=(t, s))[y] + 2 * rng.normal(size=(n, s))
    p = np.exp(log_softmax(logits, axis=1)).astype(np.float32)
    return {"probabilities": p, "features": features.astype(np.float32)}, y


def backbone(n, d, s, t):
    """A candidate whose features look like those of a network: rectified, few strong directions and a long tail."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(t), rng.integers(0, t, n - t)])
    causes = 0.4 * rng.normal(size=(t, 64))[y] + rng.normal(size=(n, 64)) * np.geomspace(2, 0.5, 64)
    features = causes @ rng.normal(size=(64, d)) / 8 + rng.normal(size=(n, d)) * np.geomspace(1, 0.05, d)
    logits = causes @ rng.normal(size=(64, s)) / 3 + rng.normal(size=(n, s))
    p = np.exp(log_softmax(logits, axis=1))
    return Extraction(
        Candidate("x"),
        p.astype(np.float32),
        np.maximum(features - 0.3, 0).astype(np.float32),
        y,
        Run("none", "none", "float32", "cpu", 1, 0.0, 0),
    )


def budget(names):
    """Print the seconds of each measure, and of one call for all of them."""
    small = backbone(200, 30, 40, 5)
    score(small, list(MEASURES))  # so that imports are not timed
    for size, limit in BUDGETS.items():
        extraction = backbone(*size)
        print("n {:,}, d {:,}, s {:,}, t {}: seconds with errors, one thread".format(*size))
        alone = {}
        for name in names or MEASURES:
            alone[name] = seconds(_score, MEASURES[name], extraction)
            print(f"  {name:<20} {alone[name]:7.2f}", flush=True)
        together = seconds(score, extraction, names or list(MEASURES))
        print(
            f"  {'sum of all':<20} {sum(alone.values()):7.2f}; in one call {together:.2f} (limit {limit:g})",
            flush=True,
        )


def seconds(run, *arguments, repeats=1):
    """Lowest processor time, which on one thread is the wall time on an idle machine."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def peak(run, *arguments):
    """Peak memory that numpy and Python use beyond the arguments, in MB."""
    tracemalloc.start()
    run(*arguments)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found / 1e6


def exponent(measure, axis):
    """log₂ of the factor by which time grows when the size doubles."""
    n, d, s, t = SMALL
    larger = {"n": (2 * n, d, s, t), "width": (n, 2 * d, 2 * s, t), "t": (n, d, s, 2 * t)}[axis]
    times = []
    for size in (SMALL, larger):
        inputs, y = problem(*size)
        times.append(seconds(measure.function, inputs[measure.needs], y, repeats=3))
    return np.log2(times[1] / times[0])


def main(names):
    warnings.simplefilter("ignore")  # a straightforward version may stop before it has converged
    inputs, y = problem(N, D, S, T)
    small, small_y = problem(200, 20, 20, 5)
    print(f"n {N:,}, d {D}, s {S:,}, t {T}, float32, one thread; growth from {SMALL}")
    columns = "measure", "s", "with error", "MB", "plain s", "× as fast", "plain MB"
    print("{:<20} {:>7} {:>11} {:>6}   {:>8} {:>9} {:>8}".format(*columns), " ~n^ d^ t^")
    for name in names or MEASURES:
        measure, plain = MEASURES[name], globals().get(name.replace("-", "_"))
        if plain is None:
            print(f"{name:<20} no simple implementation here to compare with")
            continue
        x = inputs[measure.needs]
        measure.influence(small[measure.needs], small_y)  # so that imports are not timed
        plain(small[measure.needs].astype(np.float64), small_y)
        own, both = seconds(measure.function, x, y), seconds(measure.influence, x, y)
        wide = x.astype(np.float64)
        other = seconds(plain, wide, y)
        memory = peak(measure.function, x, y) if own < 10 else float("nan")
        plain_memory = peak(plain, wide, y) if other < 10 else float("nan")
        growth = " ".join(f"{exponent(measure, axis):.1f}" for axis in ("n", "width", "t"))
        cells = (
            f"{name:<20} {own:7.2f} {both:11.2f} {memory:6.0f}",
            f"{other:8.2f} {other / own:9.1f} {plain_memory:8.0f}",
        )
        print(*cells, growth, sep="  ", flush=True)


if __name__ == "__main__":
    budget(sys.argv[2:]) if sys.argv[1:2] == ["budget"] else main(sys.argv[1:])
