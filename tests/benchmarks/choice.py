"""Which measure of features orders a mixed pool best: ``python tests/benchmarks/choice.py POOL``.

POOL is a folder that pool.py wrote: features of CIFAR100 images by the five public checkpoints and copies of them, 64
to 512 wide. Wide backbones are added: each of the five followed by a random layer of 1,024 rectified units. All are
used without a head, as `--sort-by auto` does if some candidate has none.

A target is a random choice of the 100 classes, half of each class's images for training and half for testing. The
truth is what a user would find: the accuracy, on the testing half, of a linear head (logistic regression, its penalty
chosen on a held-out third) trained on the training half. The measures are computed on the training half, or a third of
it, as with `--max-samples`. For each number of classes and of examples it prints, as means over the targets:

- τ: Kendall's τ between measure and accuracy;
- lost: accuracy of the truly best candidate minus that of the measure's choice, in points;
- none: share of candidates without a score, which are left out of the order;
- time: of scoring, relative to LogME.

Linear probe and N-LEEP, the slow ones, are computed on the smallest targets alone. Leave-one-out LEEP is computed for
the candidates that have a head, and LogME on the same ones for comparison.
"""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_leep.measures import MEASURES
from hf_leep.ranking.correlation import kendall_tau

PUBLIC = ("resnet20", "resnet56", "mobilenet-128", "mobilenet-160", "mobilenet-224")
SLOW = ("linear-probe", "n-leep")
TARGETS = {10: 8, 30: 4}  # classes → how many such targets
FEATURES = [name for name, measure in MEASURES.items() if measure.needs == "features"]
WIDE, SMALL = 1024, 100


def read(folder):
    """Features and, where there is a head, probabilities of each candidate; the labels."""
    found = {path.stem: np.load(path) for path in sorted(Path(folder).glob("*.npz"))}
    pool = {name: (arrays["features"], arrays["probabilities"]) for name, arrays in found.items()}
    labels = found[PUBLIC[0]]["labels"]
    for seed, name in enumerate(PUBLIC):
        x = pool[name][0]
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
        layer = np.random.default_rng(seed).standard_normal((x.shape[1], WIDE)).astype(np.float32)
        pool[f"{name}-wide"] = (np.maximum(x @ layer / np.sqrt(x.shape[1]), 0), None)
    return pool, labels


def accuracy(x, labels, test_x, test_labels):
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, tol=1e-3))
    held_out = ShuffleSplit(1, test_size=1 / 3, random_state=0)
    search = GridSearchCV(head, {"logisticregression__C": [1e-3, 1e-2, 1e-1]}, cv=held_out).fit(x, labels)
    return search.score(test_x, test_labels)


def value(name, x, labels):
    """A score, higher for better; NaN where hf_leep refuses one."""
    measure = MEASURES[name]
    if measure.saturates_at is not None and len(x) <= x.shape[1]:
        return np.nan
    try:
        score = measure.function(x, labels)
    except ValueError:
        return np.nan
    return score if measure.higher_is_better else -score


def compare(scores, truth):
    """Kendall's τ with the truth, points lost by the choice, and the share without a score."""
    finite = np.isfinite(scores)
    if finite.sum() < 3:
        return np.nan, np.nan, np.mean(~finite)
    chosen = np.flatnonzero(finite)[np.argmax(scores[finite])]
    return kendall_tau(scores[finite], truth[finite]), 100 * (truth.max() - truth[chosen]), np.mean(~finite)


def halves(labels, classes, rng):
    """Rows of a target's two halves, each class halved, in a random order within the class."""
    rows = [rng.permutation(np.flatnonzero(labels == c)) for c in classes]
    half = min(map(len, rows)) // 2
    return np.stack([r[:half] for r in rows], axis=1), np.stack([r[half : 2 * half] for r in rows], axis=1)


def study(pool, labels, num_classes, num_targets):
    rng = np.random.default_rng(num_classes)
    headed = np.array([probabilities is not None for _, probabilities in pool.values()])
    found, spent, spread = defaultdict(list), defaultdict(float), []
    for _ in range(num_targets):
        one, other = halves(labels, rng.choice(100, num_classes, replace=False), rng)
        codes = np.unique(labels[one[0]], return_inverse=True)[1]
        where = {rows: np.tile(codes, rows) for rows in (len(one), len(one) // 3)}
        whole = where[len(one)]
        truth = np.array([accuracy(x[one.ravel()], whole, x[other.ravel()], whole) for x, _ in pool.values()])
        spread.append((truth.min(), truth.max()))
        for rows, some in where.items():
            picked = one[:rows].ravel()
            for name in FEATURES:
                if name in SLOW and len(picked) > SMALL:
                    continue
                start = time.perf_counter()
                scores = np.array([value(name, x[picked], some) for x, _ in pool.values()])
                spent[rows, name] += time.perf_counter() - start
                found[rows, name].append(compare(scores, truth))
                if name == "logme":
                    found[rows, "logme, heads only"].append(compare(scores[headed], truth[headed]))
            leep = np.array([value("leave-one-out-leep", p[picked], some) for _, p in pool.values() if p is not None])
            found[rows, "leave-one-out-leep, heads only"].append(compare(leep, truth[headed]))
    low, high = np.mean(spread, axis=0)
    print(
        f"\n{num_classes} classes, {num_targets} targets, accuracies from {low:.2f} to {high:.2f} on average",
        flush=True,
    )
    for rows in sorted({rows for rows, _ in found}):
        print(f"  {rows} examples a class, {rows * num_classes} in all")
        order = sorted(
            {name for r, name in found if r == rows},
            key=lambda n: -np.nan_to_num(np.mean(found[rows, n], axis=0)[0], nan=-2),
        )
        for name in order:
            tau, lost, none = np.mean(found[rows, name], axis=0)
            cost = f"{spent[rows, name] / spent[rows, 'logme']:7.1f} ×" if name in FEATURES else ""
            print(f"    {name:32} τ {tau:5.2f}   lost {lost:5.1f}   none {none:4.0%}   {cost}", flush=True)
    return found


def main(folder):
    pool, labels = read(folder)
    print(f"{len(pool)} candidates: {', '.join(pool)}", flush=True)
    studies = [study(pool, labels, num_classes, number) for num_classes, number in TARGETS.items()]
    print("\nall targets and numbers of examples")
    for name in FEATURES:
        everything = [
            result for found in studies for (_, n), results in found.items() for result in results if n == name
        ]
        tau, lost, none = np.nanmean(everything, axis=0)
        print(f"    {name:32} τ {tau:5.2f}   lost {lost:5.1f}   none {none:4.0%}   ({len(everything)} orders)")


if __name__ == "__main__":
    main(*sys.argv[1:])
