"""Which measure of features orders candidates as trained heads do: ``python tests/benchmarks/choice.py POOL [TASKS]``.

POOL is a folder that pool.py wrote: passes of the five public checkpoints over images of CIFAR100, and of copies with
noise in their weights or fine-tuned. Each task is of some classes drawn at random, and of some images a class; a head
(logistic regression on standardised features, its penalty chosen on a third of the images) is trained on them for each
candidate and judged on 20 other images a class. Printed for each measure, over all tasks:

- τ: Kendall's τ-b of score and accuracy over all candidates, the mean, and its standard error over tasks;
- τ real: the same over the five public checkpoints;
- lost: accuracy of the best candidate less that of the one that the measure puts first, the mean, in per cent;
- none: share of candidates that have no score, for want of examples;
- ms: what one score takes.
"""

import os
import sys
import time
import warnings
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hf_leep.agreement import kendall_tau
from hf_leep.measures import MEASURES
from hf_leep.ranking import score
from tests.recorded import extraction_of, target_of

PUBLIC = ("resnet20", "resnet56", "mobilenet-128", "mobilenet-160", "mobilenet-224")
SIZES = ((5, 20), (10, 40), (20, 40), (50, 40))  # classes, images a class
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
NUM_TEST = 20  # images a class


def head_accuracy(features, labels, test_features, test_labels):
    scaler = StandardScaler().fit(features)
    x, test = scaler.transform(features), scaler.transform(test_features)
    held = np.arange(len(labels)) % 3 == 0
    fits = [LogisticRegression(C=c, max_iter=300).fit(x[~held], labels[~held]) for c in PENALTIES]
    best = PENALTIES[int(np.argmax([fit.score(x[held], labels[held]) for fit in fits]))]
    return LogisticRegression(C=best, max_iter=300).fit(x, labels).score(test, test_labels)


def drawn(rng, labels, num_classes, num_images):
    """Rows of a task to score and train on, and rows to judge by."""
    rows, test = [], []
    for label in rng.choice(labels.max() + 1, num_classes, replace=False):
        mine = rng.permutation(np.flatnonzero(labels == label))
        rows.append(mine[:num_images])
        test.append(mine[num_images : num_images + NUM_TEST])
    return rng.permutation(np.concatenate(rows)), np.concatenate(test)


def main(folder, tasks=10):
    warnings.filterwarnings("ignore", module="sklearn")
    passes = {path.stem: np.load(path) for path in sorted(Path(folder).glob("*.npz"))}
    labels = passes["resnet20"]["labels"]
    features = {name: arrays["features"] for name, arrays in passes.items()}
    names = list(features)
    public = np.isin(names, PUBLIC)
    measures = [name for name, measure in MEASURES.items() if measure.needs == "features"]
    rng = np.random.default_rng(0)
    found = {name: {"tau": [], "real": [], "lost": [], "none": [], "seconds": []} for name in measures}
    for num_classes, num_images in SIZES:
        for _ in range(int(tasks)):
            rows, test = drawn(rng, labels, num_classes, num_images)
            target, test_labels = target_of(labels[rows]), target_of(labels[test]).labels
            accuracy = np.array(
                [head_accuracy(features[k][rows], target.labels, features[k][test], test_labels) for k in names]
            )
            for name in measures:
                start = time.perf_counter()
                scores = [
                    score(extraction_of(k, {"features": features[k][rows]}, target), [name]).scores[name].value
                    for k in names
                ]
                one = found[name]
                one["seconds"].append((time.perf_counter() - start) / len(names))
                values = np.array([np.nan if value is None else value for value in scores])
                there = np.isfinite(values)
                one["none"].append(1 - there.mean())
                if there.sum() < 2:
                    continue
                one["tau"].append(kendall_tau(values[there], accuracy[there]))
                one["real"].append(kendall_tau(values[there & public], accuracy[there & public]))
                one["lost"].append(accuracy.max() - accuracy[np.nanargmax(values)])
        print(f"{num_classes} classes of {num_images} images", flush=True)
        for name, one in sorted(found.items(), key=lambda item: -np.mean(item[1]["tau"] or [-1])):
            tau = np.array([value for value in one["tau"] if value is not None])
            real = [value for value in one["real"] if value is not None]
            print(
                f"  {name:22} τ {tau.mean():+.2f} ± {tau.std(ddof=1) / np.sqrt(len(tau)):.2f}"
                f"  τ real {np.mean(real):+.2f}"
                f"  lost {100 * np.mean(one['lost']):4.1f} %  none {100 * np.mean(one['none']):3.0f} %"
                f"  {1000 * np.mean(one['seconds']):6.0f} ms",
                flush=True,
            )
            for values in one.values():
                values.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
