"""How often the confidence intervals hold in repeated samples: ``python tests/benchmarks/coverage.py [SHARE [POOL]]``.

POOL is a folder that pool.py wrote: the population then is the outputs of public checkpoints on 6,000 images of
CIFAR100, drawn with replacement. Without it, populations are synthetic, with a known order. SHARE reduces the number
of samples.

Every figure is a share of samples that are drawn from a known population. An interval holds if it contains the
expected score at that number of examples, estimated as the mean over the samples. Rank intervals hold if they contain
the rank of every candidate by those expectations; equal candidates may have any of their ranks.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hf_leep.measures import MEASURES
from hf_leep.ranking.ordering import paired_differences, rank
from hf_leep.ranking.scoring import half_width, score, with_checks
from hf_leep.ranking.uncertainty import CONFIDENCE, critical_value, miss_probability
from hf_leep.records import Candidate, Extraction, Run

RUN = Run("none", "none", "float32", "cpu", 1, 0.0, 0)
T = 5  # target classes
SLOW = {"linear-probe", "n-leep", "parc"}  # fewer samples are drawn for these
LEVEL, MISS = f"{100 * CONFIDENCE:g} %", f"{100 * miss_probability():g} %"


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def predictions(rng, y, s, signal):
    """Predictions of a source with s classes: each target class shifts the logits in one direction, plus noise."""
    means = np.random.default_rng(s).normal(size=(T, s))
    return softmax(2 * (signal * means[y] + rng.normal(size=(len(y), s)))).astype(np.float32)


def cloud(rng, y, d, signal):
    """Features after a rectifier, as in most backbones: clusters around a mean for each class."""
    means = np.random.default_rng(d).normal(size=(T, d))
    return np.maximum(signal * means[y] + rng.normal(size=(len(y), d)), 0).astype(np.float32)


def scored(measures, y, probabilities=None, features=None):
    return score(Extraction(Candidate("x"), probabilities, features, y, RUN), measures)


def synthetic(rng, needs, n, width, signal=0.5):
    """Labels and arrays of one sample."""
    y = np.concatenate([np.arange(T), rng.integers(0, T, n - T)])
    return y, {needs: (predictions if needs == "probabilities" else cloud)(rng, y, width, signal)}


def resampled(rng, recorded, needs, n, noise=0.0):
    """The same, with rows drawn with replacement from a pass; noise on its log-probabilities makes a noisy copy."""
    rows = rng.integers(0, len(recorded["labels"]), n)
    return recorded["labels"][rows], {needs: noisy(rng, recorded[needs][rows], noise)}


def noisy(rng, array, noise):
    return softmax(np.log(array + 1e-9) + noise * rng.normal(size=array.shape)).astype("f4") if noise else array


def singles(measures, draw, repeats):
    """Share of samples whose interval contains the mean over all samples, for each measure that has errors."""
    found = {measure: [] for measure in measures}
    for _ in range(repeats):
        y, arrays = draw()
        for measure, one in scored(measures, y, **arrays).scores.items():
            if one.value is not None and half_width(one) is not None:
                found[measure].append((one.value, half_width(one)))
    for measure, pairs in found.items():
        if not pairs:
            continue
        values, halves = np.array(pairs).T
        # The mean over the samples has an error, too, which is smaller by √repeats.
        yield measure, float(np.mean(np.abs(values - values.mean()) <= halves)), len(values)


def pairs(measures, draw, repeats):
    """Of two candidates on the same examples: how often the interval of their difference contains its expectation.

    Also the share of samples in which the interval leaves 0 out.
    """
    found = {measure: [] for measure in measures}
    for _ in range(repeats):
        y, both = draw()
        results = [scored(measures, y, **arrays).scores for arrays in both]
        for measure in measures:
            gap, error = paired_differences([scores[measure] for scores in results])
            found[measure].append((gap[0, 1], critical_value(len(y)) * error[0, 1]))
    for measure, differences in found.items():
        gaps, halves = np.array(differences).T
        held, told = np.abs(gaps - gaps.mean()) <= halves, np.abs(gaps) > halves
        yield measure, float(held.mean()), float(told.mean())


def apart(sort_by, draw, repeats):
    """Share of samples in which two equally good, independently noisy sources are told apart."""
    count = 0
    for _ in range(repeats):
        y, both = draw()
        pair = [scored(with_checks([sort_by]), y, one) for one in both]
        first, second = rank(pair, sort_by).ranked
        count += None not in (first.tie_letters, second.tie_letters) and first.tie_letters != second.tie_letters
    return count / repeats


def ranks(rng, sort_by, n, signals, repeats, s=20):
    """Share of samples in which all rank intervals hold, and in which ranks from pair-by-pair intervals would."""
    measures, drawn = with_checks([sort_by]), []
    for _ in range(repeats):
        y = rng.integers(0, T, n)
        drawn.append([scored(measures, y, predictions(rng, y, s, signal)) for signal in signals])
    mean = {signal: [] for signal in signals}  # equal candidates have one expectation
    for results in drawn:
        for signal, result in zip(signals, results, strict=True):
            mean[signal].append(result.scores[sort_by].value)
    truth = np.array([np.mean(mean[signal]) for signal in signals])
    low, high = (truth[:, None] < truth).sum(axis=1) + 1, (truth[:, None] <= truth).sum(axis=1)
    held = one_by_one = 0
    widths = []
    for results in drawn:
        ranking = rank(results, sort_by)
        places = sorted(ranking.ranked, key=lambda place: place.index)
        intervals = np.array([place.rank_interval for place in places])
        held += bool(((intervals[:, 0] <= low) & (intervals[:, 1] >= high)).all())
        widths.append(np.mean(intervals[:, 1] - intervals[:, 0]))
        one_by_one += pairwise(results, sort_by, low, high)
    return held / repeats, one_by_one / repeats, float(np.mean(widths))


def pairwise(results, sort_by, low, high):
    """Whether ranks would hold if they counted candidates that differ by more than their interval, pair by pair."""
    gap, error = paired_differences([result.scores[sort_by] for result in results])
    ahead = gap > critical_value() * error
    return bool(((ahead.sum(axis=0) + 1 <= low) & (len(gap) - ahead.sum(axis=1) >= high)).all())


def real(folder, share):
    """Print how often intervals of single scores hold, and copies are told apart, for passes of real checkpoints."""
    rng = np.random.default_rng(0)
    passes = {name: dict(np.load(Path(folder, f"{name}.npz"))) for name in ("resnet20", "resnet56", "mobilenet-128")}
    of_probabilities = ["leep", "leave-one-out-leep", "nce"]
    of_features = [
        name for name, m in MEASURES.items() if m.needs == "features" and name not in SLOW | {"sfda", "knn"}
    ]
    print(f"real passes, single scores: share of {LEVEL} intervals that contain the expectation at n")
    for name, needs, measures, n, number in (
        ("resnet20", "probabilities", [*of_probabilities, "pactran-dirichlet"], 500, 1000),
        ("resnet56", "probabilities", [*of_probabilities, "pactran-dirichlet"], 2000, 500),
        ("mobilenet-128", "probabilities", of_probabilities, 5005, 200),
        ("resnet20", "features", of_features, 640, 200),
    ):
        width = passes[name][needs].shape[1]
        draw = partial(resampled, rng, passes[name], needs, n)
        for measure, held, samples in singles(measures, draw, max(int(number * share), 20)):
            print(
                f"  {name:14} {measure:20} n = {n:4}, n/{needs[0]} = {n / width:5.1f}: {held:6.1%} of {samples}",
                flush=True,
            )
    print("the same by examples per target class, with some of the classes")
    for name in ("resnet20", "resnet56"):
        for t in (10, 30, 100):
            kept = passes[name]["labels"] < t
            recorded = {key: passes[name][key][kept] for key in ("probabilities", "labels")}
            for per_class in (5, 10, 20, 40):
                draw = partial(resampled, rng, recorded, "probabilities", t * per_class)
                held = singles(of_probabilities, draw, max(int(600 * share), 20))
                found = ", ".join(f"{measure} {part:.1%}" for measure, part, _ in held)
                print(f"  {name:14} {t:3} classes with {per_class:2} each: {found}", flush=True)
    print(f"two copies of one candidate with independent noise told apart ({MISS} at most)")
    for name, n, number in (("resnet20", 500, 1000), ("mobilenet-128", 5005, 200)):

        def draw(recorded=passes[name], n=n):
            y, arrays = resampled(rng, recorded, "probabilities", n)
            return y, [noisy(rng, arrays["probabilities"], 1.0) for _ in range(2)]

        for sort_by in of_probabilities:
            print(
                f"  {name:14} {sort_by:20} n = {n:4}: {apart(sort_by, draw, max(int(number * share), 20)):6.1%}",
                flush=True,
            )


def words(rng, num_topics, alike, repeats, sentences=100, size=15):
    """For LEEP and NCE of words, the mean standard error over the spread of the scores, and intervals that hold.

    The head knows the topic of each sentence and nothing else. Words have a label of their sentence, or with
    probability 1 − ``alike`` a random one.
    """
    draws, found = np.repeat(np.arange(sentences), size), {"leep": [], "nce": []}
    for _ in range(repeats):
        topic, of_sentence = rng.integers(0, num_topics, sentences), rng.integers(0, T, sentences)
        y = np.where(rng.random(len(draws)) < alike, of_sentence[draws], rng.integers(0, T, len(draws)))
        y[:T] = np.arange(T)
        logits = rng.normal(size=(len(draws), num_topics))
        logits[np.arange(len(draws)), topic[draws]] += 8
        extraction = Extraction(Candidate("x"), softmax(logits).astype("f4"), None, y, RUN, draws=draws)
        for measure, one in score(extraction, list(found)).scores.items():
            found[measure].append((one.value, one.standard_error))
    for measure, pairs in found.items():
        values, errors = np.array(pairs).T
        held = np.abs(values - values.mean()) <= critical_value(sentences) * errors
        yield measure, float(errors.mean() / values.std(ddof=1)), float(held.mean())


def balanced_noise(rng, n, widths, t):
    """Features that say nothing, of two widths, and labels of equal or almost equal frequencies."""
    return rng.permutation(np.arange(n) % t), [{"features": rng.normal(size=(n, d))} for d in widths]


def chance(draw, repeats):
    """Mean of `ridge` on noise, and the share of samples whose interval contains 1/t, for each width."""
    found = []
    for _ in range(repeats):
        y, both = draw()
        scores = [scored(["ridge"], y, **arrays).scores["ridge"] for arrays in both]
        found.append([(one.value, abs(one.value - 1 / len(np.unique(y))) <= half_width(one)) for one in scores])
    return np.mean(found, axis=0)


def head(rng, times):
    """Print the figures of the closed-form head, at 0.5 to 10 examples a feature and accuracies far from 1."""
    measures = ["ridge", "ridge-log-likelihood"]
    print(
        f"closed-form head: {LEVEL} intervals of scores, and of differences of two candidates, that hold; told apart"
    )
    for n, d in ((200, 400), (200, 200), (300, 150), (300, 60), (300, 30)):
        signal = 2 / np.sqrt(d)

        def draw(n=n, d=d, signal=signal):
            y = np.concatenate([np.arange(T), rng.integers(0, T, n - T)])
            return y, [{"features": cloud(rng, y, d, signal)} for _ in range(2)]

        def first(draw=draw):
            y, both = draw()
            return y, both[0]

        single = {measure: held for measure, held, _ in singles(measures, first, times(500))}
        for measure, held, told in pairs(measures, draw, times(500)):
            sizes = f"n = {n:4}, d = {d:3}, n/d = {n / d:4.1f}"
            print(f"  {measure:20} {sizes}: {single[measure]:6.1%}, {held:6.1%}; {told:6.1%}", flush=True)
    print("noise of two widths told apart (7 % at most); mean of ridge, and intervals that contain 1/t, by width")
    for n, widths, t in (
        (200, (16, 256), 5),
        (200, (64, 200), 5),
        (100, (32, 512), 5),
        (100, (10, 100), 2),
        (400, (20, 400), 10),
    ):
        draw = partial(balanced_noise, rng, n, widths, t)
        told = {measure: told for measure, _, told in pairs(measures, draw, times(1000))}
        (one, held), (other, also) = chance(draw, times(1000))
        found = ", ".join(f"{measure} {share:.1%}" for measure, share in told.items())
        means = f"{one:.3f} and {other:.3f}, {held:.1%} and {also:.1%}"
        print(f"  n = {n:4}, d = {widths}, t = {t}: {found}; {means}", flush=True)


def probe(rng, times):
    """Print the figures of the linear probe, from near chance to almost always right."""
    print(f"linear probe: {LEVEL} intervals of scores that hold; mean score")
    for n, d, signal in (
        (200, 400, 0.1),
        (200, 200, 0.14),
        (300, 150, 0.16),
        (300, 60, 0.26),
        (300, 60, 0.5),
        (300, 30, 0.37),
    ):
        found = []
        for _ in range(times(300)):
            y, arrays = synthetic(rng, "features", n, d, signal)
            one = scored(["linear-probe"], y, **arrays).scores["linear-probe"]
            found.append((one.value, *one.interval))
        values, low, high = np.array(found).T
        held = np.mean((low <= values.mean()) & (values.mean() <= high))
        sizes = f"n = {n:4}, d = {d:3}, n/d = {n / d:4.1f}, signal {signal}"
        print(f"  {sizes}: {held:6.1%} of {len(found)}; {values.mean():.2f}", flush=True)


def main(share=1.0):
    """Print every figure; with a share below 1, from fewer samples."""
    rng = np.random.default_rng(0)

    def times(number):
        return max(int(number * share), 20)

    of_probabilities = [name for name, m in MEASURES.items() if m.needs == "probabilities"]
    of_features = [name for name, m in MEASURES.items() if m.needs == "features"]
    print(f"single scores: share of {LEVEL} intervals that contain the expectation at n")
    for n, s in ((100, 20), (500, 100), (1000, 20), (100, 100)):
        draw = partial(synthetic, rng, "probabilities", n, s)
        for measure, held, number in singles(of_probabilities, draw, times(2000)):
            print(f"  {measure:20} n = {n:4}, s = {s:3}, n/s = {n / s:4.1f}: {held:6.1%} of {number}")
    for n, d in ((300, 10), (300, 60)):
        fast = [name for name in of_features if name not in SLOW]
        for names, samples in ((fast, times(1000)), (sorted(SLOW), times(200))):
            for measure, held, number in singles(names, partial(synthetic, rng, "features", n, d), samples):
                print(f"  {measure:20} n = {n:4}, d = {d:3}, n/d = {n / d:4.1f}: {held:6.1%} of {number}")
    head(rng, times)
    probe(rng, times)
    print(f"words, 100 sentences of 15: mean standard error / spread of scores, {LEVEL} intervals that hold")
    for topics, alike in ((300, 0.8), (300, 1.0), (100, 0.5), (30, 0.8)):
        for measure, ratio, held in words(rng, topics, alike, times(300)):
            print(f"  {measure:20} {topics:3} topics, labels alike {alike:3.1f}: {ratio:.2f}, {held:6.1%}")
    print(f"two equally good sources told apart ({MISS} at most)")
    for sort_by in of_probabilities:
        for n, s in ((100, 20), (500, 100)):

            def draw(n=n, s=s):
                y = rng.integers(0, T, n)
                return y, [predictions(rng, y, s, 0.5) for _ in range(2)]

            print(f"  {sort_by:20} n = {n:4}, s = {s:3}: {apart(sort_by, draw, times(2000)):6.1%}")
    print(f"rank intervals of all candidates hold ({LEVEL} at least); with pair-by-pair tests; mean width in ranks")
    for name, signals in (
        ("10 equal", [0.5] * 10),
        ("10 close", [0.3, 0.4, 0.45, 0.5, 0.5, 0.5, 0.55, 0.6, 0.7, 0.8]),
    ):
        for sort_by in ("leave-one-out-leep", "leep"):
            held, alone, width = ranks(rng, sort_by, 300, signals, times(1000))
            print(f"  {sort_by:20} {name}: {held:6.1%}; {alone:6.1%}; {width:.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        real(sys.argv[2], float(sys.argv[1]))
    else:
        main(*map(float, sys.argv[1:]))
