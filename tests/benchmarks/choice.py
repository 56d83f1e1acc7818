"""What following each measure costs: ``python tests/benchmarks/choice.py DATA FOLDER [heads|networks|table] …``.

DATA holds cifar100, trec, sst2_sentences and models; FOLDER keeps everything that was computed, so that a run that was
broken off goes on, and ``table`` prints what there is. ``heads`` and ``networks`` compute the two truths:

- heads: accuracy of a logistic regression, its penalty chosen by cross-validation on the target rows, on all other
  rows of the target's classes;
- networks: accuracy there of the whole network, fine-tuned on the target rows at each of two learning rates.

A cell is a kind of target (`choice_pools.KINDS`), a number of classes and a number of rows a class; a draw is a random
choice of such classes and rows. In each cell the table says how many points of accuracy the first of each rule loses
against the best candidate, as a mean over draws, and the difference from `auto` with its paired error over draws. The
best candidate is chosen on four fifths of the other rows and judged, as is the rule's first, on the last fifth, so
that the noise of a maximum does not count as loss; where several are first, their mean counts. A learning rate is
chosen with the candidate. Rules are:

- every measure that the data allow; the slow ones on the first draws alone;
- mixtures of the closed-form head and leave-one-out LEEP, each a score of one candidate alone;
- beside them the mean rank over all measures, the majority of pairs (Copeland), and the number of parameters.

The accuracy that a model card states can be compared only among candidates of one source data set, so it is held
against measures within such groups, in a table of its own. In the row "auto, mixed" every
second candidate, at random, is taken to have no features.

After the mode ``heads``, measures to compute again, such as ``ridge ridge-log-likelihood``; after ``networks``, the
kinds to fine-tune: the whole takes hours, that of texts minutes. `number_of_draws` limits the first truth.
"""

import json
import os
import sys
import time
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import choice_pools
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.preprocessing import StandardScaler

from hf_leep.measures import MEASURES
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS
from hf_leep.measures.ridge_head import RidgeHead, mixture

CELLS = [  # kind, classes, rows a class
    *(("texts", t, rows) for t, rows in ((5, 10), (10, 10), (20, 10), (5, 30), (10, 30), (5, 100))),
    *(("texts-2", 2, rows) for rows in (10, 30, 100)),
    *(("far", t, rows) for t in (5, 10, 20) for rows in (10, 30, 100)),
    *(("near", t, rows) for t in (5, 10, 30, 100) for rows in (10, 30, 100)),
]
TUNED = [(kind, t, rows) for t, rows in ((5, 10), (10, 10), (5, 40), (10, 40)) for kind in ("texts", "near", "far")]
SLOW = {"linear-probe", "n-leep", "pactran-gaussian", "pactran-dirichlet", "sfda"}
SLOW_DRAWS = 4
SLOW_SIZE = {"linear-probe": 2e6}  # n · d · t beyond which a slow measure is left out; 5e7 for others
STEPS = {50: 60, 100: 60, 200: 90, 400: 120}  # of fine-tuning, by the number of target rows
RATES = (2.5e-4, 1e-3)
TESTED = 400  # other rows that a fine-tuned network is judged on
MIXTURES = ("mixture", "mixture-accuracy")
ADJUSTED = "regularised, adjusted"  # regularised H-score, adjusted for chance
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def number_of_draws(num_rows):
    return 12 if num_rows <= 300 else 6 if num_rows <= 1000 else 2 if num_rows <= 3000 else 1


def drawn(pool, t, rows, draw):
    """Target rows and other rows of random classes, with class numbers from 0: ``(rows, codes, others, codes)``."""
    rng = np.random.default_rng([list(choice_pools.KINDS).index(pool.kind), t, rows, draw])
    enough = np.flatnonzero(np.bincount(pool.labels) >= rows + max(5, rows // 4))
    classes = rng.choice(enough, t, replace=False)
    of_class = [rng.permutation(np.flatnonzero(pool.labels == c)) for c in classes]
    own, others = [r[:rows] for r in of_class], [r[rows : rows + 200] for r in of_class]
    codes = [np.repeat(np.arange(t), [len(r) for r in part]) for part in (own, others)]
    return np.concatenate(own), codes[0], np.concatenate(others), codes[1]


def head_outcomes(x, labels, test_x, test_labels):
    """Which other rows a logistic regression, its penalty chosen by cross-validation, gets right."""
    scaler = StandardScaler().fit(x)
    x, test_x, n = scaler.transform(x), scaler.transform(test_x), len(x)
    if n < x.shape[1]:  # the weights lie in the span of the rows, so coordinates there give the same heads
        basis = np.linalg.svd(x, full_matrices=False)[2]
        x, test_x = x @ basis.T, test_x @ basis.T
    if n <= 500:
        splits = StratifiedKFold(4, shuffle=True, random_state=0)
    else:
        splits = StratifiedShuffleSplit(1, test_size=1 / 3, random_state=0)
    right = np.zeros(len(STRENGTHS))
    for own, rest in splits.split(x, labels):
        head = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
        for k, strength in enumerate(STRENGTHS):
            right[k] += head.set_params(C=strength).fit(x[own], labels[own]).score(x[rest], labels[rest])
    best = LogisticRegression(C=STRENGTHS[int(np.argmax(right))], max_iter=300, tol=1e-3)
    return best.fit(x, labels).predict(test_x) == test_labels


def leep_probabilities(theta, labels):
    """Leave-one-out LEEP's probability of each class for each row, ``[n, t]``, by the textbook."""
    n, t = len(labels), labels.max() + 1
    theta = theta.astype(np.float64)
    counts = np.bincount(labels)
    summed = np.stack([theta[labels == y].sum(axis=0) for y in range(t)])  # S [t, s]
    rest = np.maximum(summed.sum(axis=0) - theta, 0.0)
    own = np.eye(t)[labels]
    prior = (counts - own + 1 / t) / n  # [n, t]

    def at(weight):
        if np.isinf(weight):
            return prior
        share = theta / (rest + weight)
        corrected = share @ summed.T - own * (share * theta).sum(axis=1, keepdims=True)
        return np.maximum(corrected, 0.0) + weight * prior * share.sum(axis=1, keepdims=True)

    found = [at(weight) for weight in PRIOR_WEIGHTS]
    scores = [np.log(np.maximum(p[np.arange(n), labels], 1e-300)).mean() for p in found]
    best = found[int(np.argmax(scores))]
    return best / best.sum(axis=1, keepdims=True)


def mixtures(features, theta, labels):
    """Mean log-likelihood and accuracy of the best mixture of the closed-form head and leave-one-out LEEP."""
    head, rows = RidgeHead.fit(features, labels), np.arange(len(labels))
    logits = head.temperature * head.predictions
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    q = leep_probabilities(theta, labels)
    tiny = 1e-300
    weight, terms = mixture(np.log(p[rows, labels] + tiny), np.log(q[rows, labels] + tiny))
    mixed = weight * p + (1 - weight) * q
    return {
        "mixture": float(terms.mean()),
        "mixture-accuracy": float((mixed.argmax(axis=1) == labels).mean()),
        "weight": weight,
    }


def value(name, features, theta, labels):
    """A score, higher for better; NaN where hf_leep refuses one."""
    measure = MEASURES[name]
    inputs = features if measure.needs == "features" else theta
    if measure.saturates_at is not None and len(inputs) <= inputs.shape[1]:
        return np.nan
    try:
        score = measure.function(inputs, labels)
        if measure.uninformed is not None and score <= measure.uninformed(labels):
            return np.nan
    except (ValueError, np.linalg.LinAlgError):
        return np.nan
    return score if measure.higher_is_better else -score


def scores_of(pool, t, rows, draw, again):
    """Measure → a score of each candidate, kept in a file."""
    file = pool.folder / "scores" / f"{pool.kind}-{t}-{rows}-{draw}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(file.read_text()) if file.exists() else {}
    found = {name: values for name, values in found.items() if name not in again}
    picked, labels, _, _ = drawn(pool, t, rows, draw)
    before = len(found)
    for name in (*MEASURES, ADJUSTED, MIXTURES[0]):
        largest = max(len(picked) * pool.passes[c][0].shape[1] * t for c in pool.names)
        if name in found or (name in SLOW and (draw >= SLOW_DRAWS or largest > SLOW_SIZE.get(name, 5e7))):
            continue
        start = time.process_time()
        passes = [(f[picked], p[picked]) for f, p in pool.passes.values()]
        if name == MIXTURES[0]:
            each = [mixtures(f, p, labels) for f, p in passes]
            found |= {key: [one[key] for one in each] for key in each[0]}
        elif name == ADJUSTED:
            found[name] = [MEASURES["regularised-h-score"].function(f, labels, adjusted=True) for f, _ in passes]
        else:
            found[name] = [value(name, f, p, labels) for f, p in passes]
        found.setdefault("seconds", {})[name] = round(time.process_time() - start, 3)
    if len(found) > before:
        file.write_text(json.dumps(found))
    return found


def heads(pools, again):
    """Scores, and outcomes of trained heads, of all cells; small cells and first draws come first."""
    tasks = [
        (t * rows * (draw + 1), draw, kind, t, rows)
        for kind, t, rows in CELLS
        for draw in range(number_of_draws(t * rows))
    ]
    for _, draw, kind, t, rows in sorted(tasks):
        pool, start = pools[kind], time.perf_counter()
        scores_of(pool, t, rows, draw, again)
        file = pool.folder / "heads" / f"{kind}-{t}-{rows}-{draw}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            picked, codes, others, other_codes = drawn(pool, t, rows, draw)
            outcomes = [
                head_outcomes(features[picked], codes, features[others], other_codes)
                for features, _ in pool.passes.values()
            ]
            np.save(file, np.stack(outcomes)[:, None])  # [candidates, 1, other rows]
            print(f"{file.stem}: {time.perf_counter() - start:.0f} s", flush=True)


def main(data, folder, mode="table", *again):
    from choice_networks import networks
    from choice_report import report

    data, folder = Path(data), Path(folder)
    if mode == "heads":
        heads({kind: choice_pools.prepare(kind, data, folder) for kind in choice_pools.KINDS}, again)
    elif mode == "networks":
        networks(data, folder, again or choice_pools.KINDS)
    else:
        report(folder, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
