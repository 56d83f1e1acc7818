"""How often intervals hold where a head is almost always right: ``python tests/benchmarks/near_perfect.py [SHARE]``.

Heads with 0 to 5 % of the examples wrong, and ordinary ones, on 100 to 5,000 examples: how often the interval of a
score contains its expectation at that number of examples (the mean over the samples; in exact arithmetic for
accuracies), that of the difference of two candidates, and how often a race puts the best candidate out. Beside each
figure stands the one without the variance for errors that a sample happens not to contain (`hf_leep.measures.unseen`),
and how much larger than that the standard errors are. SHARE reduces the number of samples.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hf_leep.measures import MEASURES, unseen
from hf_leep.options import Race
from hf_leep.ranking.elimination import comparison_level, eliminated, looks
from hf_leep.ranking.interval import interval
from hf_leep.ranking.scoring import score
from hf_leep.ranking.uncertainty import RESOLUTION, JointScores, critical_value
from hf_leep.records import Candidate, Extraction, Run

RUN = Run("none", "none", "float32", "cpu", 1, 0.0, 0)
T = 5  # target classes
WRONG = (0.002, 0.005, 0.01, 0.02, 0.05)  # shares of the examples


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def labels(rng, n):
    """Classes of n examples, each of which occurs."""
    return np.concatenate([np.arange(T), rng.integers(0, T, n - T)])


def named(rng, y, wrong):
    """What a head names: the class, or with probability ``wrong`` another."""
    return (y + rng.integers(1, T, len(y)) * (rng.random(len(y)) < wrong)) % T


def certain(rng, y, wrong):
    """One-hot predictions."""
    return {"probabilities": np.eye(T, dtype=np.float32)[named(rng, y, wrong)]}


def mild(rng, y, wrong, height=6.0):
    """Predictions over ten classes with about ``height`` nats of evidence for one, right or wrong."""
    logits = rng.normal(size=(len(y), 10))
    logits[np.arange(len(y)), named(rng, y, wrong)] += height + rng.normal(size=len(y))
    return {"probabilities": softmax(logits).astype(np.float32)}


def ordinary(rng, y, signal):
    """Predictions of a head that is often wrong, and most often not sure."""
    means = np.random.default_rng(20).normal(size=(T, 20))
    return {"probabilities": softmax(2 * (signal * means[y] + rng.normal(size=(len(y), 20)))).astype(np.float32)}


def cloud(rng, y, wrong, signal=2.0):
    """Features in clusters, whose classes overlap where ``signal`` is small; some examples lie in another cluster."""
    means = np.random.default_rng(30).normal(size=(T, 30))
    points = signal * means[named(rng, y, wrong)] + rng.normal(size=(len(y), 30))
    return {"features": np.maximum(points, 0).astype(np.float32)}


def scored(measures, y, arrays):
    return score(
        Extraction(Candidate("x"), arrays.get("probabilities"), arrays.get("features"), y, RUN), measures
    ).scores


def without(one):
    """The score without the variance for errors that are not in the sample."""
    error = np.sqrt(max(one.standard_error**2 - one.unseen, 0.0))
    half = critical_value(len(one.influence)) * error
    return replace(one, standard_error=error, unseen=0.0, interval=(one.value - half, one.value + half))


def coverage(rng, measures, head, n, repeats):
    """For each measure: (share of intervals that hold, of paired differences that do) with and without; growth.

    Args:
        rng: generator of the samples.
        measures: their names.
        head: ``(rng, y) -> arrays``.
        n: number of examples.
        repeats: number of samples, each of two candidates that are equally good.
    """
    drawn = []
    for _ in range(repeats):
        y = labels(rng, n)
        drawn.append([scored(measures, y, head(rng, y)) for _ in range(2)])
    for measure in measures:
        found = [[one[measure] for one in pair] for pair in drawn]
        truth = np.mean([one.value for pair in found for one in pair])
        plain = [[without(one) for one in pair] for pair in found]
        seen = np.array([one.standard_error for pair in plain for one in pair])
        mended = np.array([one.standard_error for pair in found for one in pair])
        ratio = float(np.median((mended / np.maximum(seen, 1e-9))[seen > 1e-6])) if (seen > 1e-6).any() else np.inf
        yield measure, hold(found, truth), hold(plain, truth), ratio


def hold(pairs, truth):
    """Share of intervals that contain the truth, and of differences of two equal candidates that contain 0."""
    one = np.mean([s.interval[0] - 1e-9 <= truth <= s.interval[1] + 1e-9 for pair in pairs for s in pair])
    both = []
    for pair in pairs:
        joint = JointScores.of(pair)
        gap, error = joint.differences()
        both.append(abs(gap[0, 1]) <= max(critical_value(joint.num_values) * error[0, 1], RESOLUTION))
    return float(one), float(np.mean(both))


def exact_accuracy(n, wrong):
    """Probability that the interval of an accuracy holds, by the binomial distribution: with and without.

    Args:
        n: number of examples.
        wrong: probability of each to be wrong.
    """
    from scipy.stats import binom

    k = np.arange(n + 1)
    weights = binom.pmf(k, n, wrong)
    held = np.zeros(2)
    for count, weight in zip(k[weights > 1e-12], weights[weights > 1e-12], strict=True):
        accuracy = 1 - count / n
        seen, more = accuracy * (1 - accuracy) / (n - 1), unseen.of_accuracy(accuracy, n)
        low, high = interval(MEASURES["ridge"], accuracy, np.sqrt(seen + more), more, n)
        half = critical_value(n) * np.sqrt(seen)
        held += weight * np.array(
            [low - 1e-9 <= 1 - wrong <= high + 1e-9, abs(accuracy - 1 + wrong) <= half + 1e-9], float
        )
    return float(held[0]), float(held[1])


def stops(rng, wrong, n, repeats):
    """Share of races that put the best candidate out, with and without the variance for unseen errors.

    The best is never wrong, but not quite sure; five others are certain, and wrong in some examples. On few examples
    they often have no error and look better.
    """
    sizes = looks(n, T)
    level = comparison_level(Race(), len(sizes) - 1, 6)
    out = np.zeros(2)
    for _ in range(repeats):
        y = rng.permutation(labels(rng, n))
        heads = [mild(rng, y, 0.0, 9.0), *(certain(rng, y, wrong) for _ in range(5))]
        lost = np.zeros(2, bool)
        for size in sizes[:-1]:
            now, before = (
                [on_first(y, head, rows)["leave-one-out-leep"] for head in heads] for rows in (size, size // 2)
            )
            for way, change in enumerate((lambda one: one, without)):
                gone = eliminated(
                    [change(one) for one in now],
                    [change(one) for one in before],
                    higher_is_better=True,
                    top=1,
                    level=level,
                    doublings=float(np.log2(n / size)),
                )
                lost[way] |= any(one.index == 0 for one in gone)
        out += lost
    return tuple(out / repeats)


def on_first(y, arrays, rows):
    return scored(["leave-one-out-leep"], y[:rows], {name: array[:rows] for name, array in arrays.items()})


def row(name, n, found):
    measure, (one, both), (one_before, both_before), ratio = found
    grown = "" if ratio > 100 else f", errors × {ratio:.2f}"
    print(
        f"  {name:22} n = {n:4} {measure:20}: {one:6.1%} ({one_before:6.1%}), differences {both:6.1%} "
        f"({both_before:6.1%}){grown}",
        flush=True,
    )


def main(share=1.0):
    """Print every figure; with a share below 1, from fewer samples."""
    rng = np.random.default_rng(0)

    def times(number):
        return max(int(number * share), 20)

    print("accuracy, exactly: lowest and mean share of intervals that hold, 0.05 to 5 % wrong (without unseen errors)")
    for n in (100, 200, 500, 1000, 5000):
        held = np.array([exact_accuracy(n, wrong) for wrong in np.linspace(0.0005, 0.05, 100)])
        low, mean = held.min(axis=0), held.mean(axis=0)
        print(f"  n = {n:4}: {low[0]:6.1%}, {mean[0]:6.1%} ({low[1]:6.1%}, {mean[1]:6.1%})")
    print("95 % intervals of scores, and of differences of two equal candidates, that hold (without unseen errors)")
    of_probabilities = ("leep", "leave-one-out-leep", "nce")
    for name, head in (("certain", certain), ("mild", mild)):
        for n, number in ((100, 1000), (200, 1000), (500, 1000), (2000, 400), (5000, 200)):
            for wrong in WRONG:

                def of(rng, y, head=head, wrong=wrong):
                    return head(rng, y, wrong)

                for found in coverage(rng, of_probabilities, of, n, times(number)):
                    row(f"{name}, {wrong:.1%} wrong", n, found)
    for n, number in ((100, 300), (200, 300), (500, 150)):
        for wrong, signal in (*((wrong, 2.0) for wrong in WRONG), (0.0, 0.8), (0.0, 1.0)):

            def of(rng, y, wrong=wrong, signal=signal):
                return cloud(rng, y, wrong, signal)

            name = f"cloud, {wrong:.1%} wrong" if wrong else f"clouds overlap, {signal:g}"
            for found in coverage(rng, ("ridge", "ridge-log-likelihood", "knn"), of, n, times(number)):
                row(name, n, found)
    print("the same for measures whose errors come from ten resamples")
    for n, number in ((200, 100), (500, 50)):
        for wrong in (0.0, 0.005, 0.01):
            for name, head, measures, more in (
                ("certain", certain, ["pactran-dirichlet"], 2),
                ("mild", mild, ["pactran-dirichlet"], 2),
                ("cloud", cloud, ["sfda", "pactran-gaussian", "n-leep"], 1),
            ):

                def of(rng, y, head=head, wrong=wrong):
                    return head(rng, y, wrong)

                for found in coverage(rng, measures, of, n, times(more * number)):
                    row(f"{name}, {wrong:.1%} wrong", n, found)
    print("the same for ordinary heads, right in 60 to 90 %: errors stay as they are")
    for n in (100, 200, 500):
        for signal in (0.5, 0.9, 1.3):

            def of(rng, y, signal=signal):
                return ordinary(rng, y, signal)

            for found in coverage(rng, of_probabilities, of, n, times(500)):
                row(f"ordinary, signal {signal:g}", n, found)
    print("races of 6 that put the best out; 5 % at most (without unseen errors)")
    for n in (400, 1600):
        for wrong in (0.005, 0.01, 0.02):
            mended, plain = stops(rng, wrong, n, times(200))
            print(f"  n = {n:4}, others {wrong:.1%} wrong: {mended:6.1%} ({plain:6.1%})", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
