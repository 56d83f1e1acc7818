"""What a report says of its own certainty, beside what came true: ``python tests/benchmarks/certainty.py``.

With ``--quick`` it takes a minute at most; names of sections choose some of them. Every line is from samples that are
drawn again and again from a known population, with a seed: what the report states, what came true, in how many
samples, and a cross where the two differ by more than three errors of the simulation. The sections:

- coverage: 95 % intervals of scores and of paired differences;
- ties: equal candidates that are told apart, and rank intervals;
- best: the probability of being best, by what it was, beside how often that candidate was the best;
- settling: "it takes at least about N rows to settle the first place", tried with N rows;
- perfect: intervals of heads with 0 to 5 % of the rows wrong;
- nulls: noise of two widths that is told apart, for every measure but stable rank, which looks at no label;
- opinion: equally accurate heads of which the second opinion says that one is more accurate than the first's.
"""

import os

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

import itertools
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hf_leep.measures import MEASURES
from hf_leep.ranking import best as ranking_best
from hf_leep.ranking.best import growth_at_least, probabilities_of_being_best
from hf_leep.ranking.ordering import gap, rank
from hf_leep.ranking.scoring import with_checks
from hf_leep.ranking.second_opinion import second_opinion
from hf_leep.ranking.uncertainty import CONFIDENCE, Comparison, JointScores, miss_probability
from hf_leep.records import Candidate, Result, Score
from tests.benchmarks.coverage import T, cloud, predictions, ranks, scored
from tests.benchmarks.nulls import NO_LABELS, Null
from tests.benchmarks.nulls import told_apart as noise_apart

MEASURED = ["leep", "leave-one-out-leep", "ridge"]
MANY = 10**5  # influence values of made-up scores
BINS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
SHARE = {"full": 1.0, "quick": 0.05}
GAPS = {  # how true scores differ, in standard errors of one score
    "all equal": lambda rng, k: np.zeros(k),
    "gaps of 0.5 errors": lambda rng, k: 0.5 * rng.normal(size=k),
    "gaps of 1 error": lambda rng, k: rng.normal(size=k),
    "gaps of 2 errors": lambda rng, k: 2 * rng.normal(size=k),
    "heavy tails": lambda rng, k: rng.standard_t(2, k),
    "half of them 4 errors behind the other half": lambda rng, k: 0.2 * rng.normal(size=k) - 4 * (np.arange(k) % 2),
    "evenly spaced over 1.5 errors": lambda rng, k: np.linspace(0, 1.5, k),
    "one 3 paired errors ahead of equals": lambda rng, k: np.where(np.arange(k) == 0, 3 * np.sqrt(2), 0.0),
}


@dataclass(frozen=True)
class Line:
    """One claim.

    Attributes:
        what: what is claimed, of what.
        claim: "is", "at least" or "at most".
        stated: the probability that the report states.
        realised: the share of samples in which it came true.
        number: how many samples.
        note: more about it.
    """

    what: str
    claim: str
    stated: float
    realised: float
    number: int
    note: str = ""

    def holds(self):
        """Whether it came true as far as so many samples can tell."""
        error = 3 * np.sqrt(max(self.stated * (1 - self.stated), 0.002) / self.number)
        below, above = self.realised < self.stated - error, self.realised > self.stated + error
        return not ((below and self.claim != "at most") or (above and self.claim != "at least"))

    def __str__(self):
        claim = "" if self.claim == "is" else f"{self.claim} "
        mark = " " if self.holds() else "✗"
        found = f"{claim}{self.stated:.1%}".rjust(15) + f"{self.realised:9.1%}{self.number:7,}"
        return f"{found} {mark} {self.what}{f' ({self.note})' if self.note else ''}"


def interval(one):
    """The interval that a report prints around a score; None where it prints none."""
    return one.interval


def interval_of_difference(one, two, measure):
    """The same of the difference of two candidates on the same examples."""
    found = gap(one, two, MEASURES[measure])
    return None if found.half_width is None else (found.value - found.half_width, found.value + found.half_width)


def covered(intervals):
    """Share of intervals that hold the mean of their centres, how many there are, and the share without a width."""
    low, high, centre = np.array([(*ends, value) for value, ends in intervals if ends is not None]).T
    held = (low <= centre.mean()) & (centre.mean() <= high)
    return float(held.mean()), len(held), float((high == low).mean())


def intervals_of(measures, draw, number):
    """Lines about scores and differences of two candidates; draw returns labels and two dictionaries of arrays."""
    singles, pairs = {measure: [] for measure in measures}, {measure: [] for measure in measures}
    for _ in range(number):
        y, both = draw()
        first, second = (scored(measures, y, **arrays).scores for arrays in both)
        for measure in measures:
            one, two = first[measure], second[measure]
            singles[measure].append((one.value, interval(one)))
            pairs[measure].append((one.value - two.value, interval_of_difference(one, two, measure)))
    for measure in measures:
        for what, found in (("score", singles), ("difference", pairs)):
            held, known, empty = covered(found[measure])
            note = f"no width in {empty:.1%}" if empty else ""
            yield Line(f"{measure}, {what}", "is", CONFIDENCE, held, known, note)


def coverage(rng, share):
    """Intervals of scores and of paired differences. Those of features are of a linear head."""
    for n, s in ((100, 20), (500, 100)):

        def heads(n=n, s=s):
            y = rng.integers(0, T, n)
            return y, [{"probabilities": predictions(rng, y, s, signal)} for signal in (0.5, 0.6)]

        for line in intervals_of(MEASURED[:2], heads, int(1000 * share)):
            yield named(line, f"n = {n}, s = {s}")
    for n, d in ((100, 100), (300, 30)):

        def backbones(n=n, d=d):
            y = np.concatenate([np.arange(T), rng.integers(0, T, n - T)])
            return y, [{"features": cloud(rng, y, d, signal / np.sqrt(d))} for signal in (2.0, 2.5)]

        for line in intervals_of(MEASURED[2:], backbones, int(1000 * share)):
            yield named(line, f"n = {n}, d = {d}")


def named(line, population):
    return replace(line, what=f"{line.what}, {population}")


def ties(rng, share):
    """Equally good heads that do not share a letter, and rank intervals of all at once."""
    number = int(600 * share)
    for sort_by in MEASURED[:2]:
        for widths, signal, kind in (((20, 20), 0.5, "equally good"), ((10, 200), 0.0, "guessing")):
            apart = 0
            for _ in range(number):
                y = rng.integers(0, T, 200)
                apart += told_apart([{"probabilities": predictions(rng, y, s, signal)} for s in widths], y, sort_by)
            yield Line(
                f"{sort_by}, two {kind} heads of {widths[0]} and {widths[1]} classes told apart",
                "at most",
                miss_probability(),
                apart / number,
                number,
            )
        for name, signals in (("5 equal", [0.5] * 5), ("5 close", [0.4, 0.45, 0.5, 0.55, 0.7])):
            held, alone, width = ranks(rng, sort_by, 200, signals, max(number // 2, 20))
            note = f"mean width {width:.1f}; of pair-by-pair tests {alone:.1%}"
            what = f"{sort_by}, rank intervals of {name} all hold"
            yield Line(what, "at least", CONFIDENCE, held, max(number // 2, 20), note)


def told_apart(candidates, y, measure):
    """Whether two candidates share no letter."""
    ranking = rank([scored(with_checks([measure]), y, **arrays) for arrays in candidates], measure)
    letters = [place.tie_letters for place in ranking.ranked]
    return len(letters) == 2 and None not in letters and letters[0] != letters[1]


def best(rng, share):
    """The probability of being best of the candidate that has the highest one, by bins. Equal candidates share it."""
    said_too_much = []
    for k in (2, 5, 50):
        for gaps, true_scores in GAPS.items():
            found = []
            for _ in range(int((1000 if k < 50 else 500) * share)):
                true = true_scores(rng, k)
                values = true + rng.normal(size=k)
                said = probabilities_of_being_best(JointScores(values, np.eye(k), MANY), rng)
                first = int(said.argmax())
                came_true = (true[first] == true.max()) / np.sum(true == true.max())
                again = (true + rng.normal(size=k)).argmax() == first
                found.append((said[first], came_true, again))
            for line in binned(np.array(found), f"{k} candidates, {gaps}"):
                yield line
                said_too_much.append(line)
    yield from best_of_heads(rng, share)
    for words, some in (
        ("all equal", [line for line in said_too_much if "all equal" in line.what]),
        ("the others", [line for line in said_too_much if "all equal" not in line.what]),
    ):
        yield named(max(some, key=lambda line: line.stated - line.realised), f"which is the worst bin of {words}")


def binned(found, population):
    """A line for each bin of what was said: its mean, and how often that came true."""
    for low, high in itertools.pairwise(BINS):
        part = found[(found[:, 0] > low) & (found[:, 0] <= high)]
        if len(part) >= 10:
            said, came_true, again = part.mean(axis=0)
            note = f"{len(part) / len(found):.0%} of samples; chosen again in {again:.0%}"
            yield Line(f"best, {population}", "is", said, came_true, len(part), note)


def best_of_heads(rng, share):
    """The same for scores of heads: leave-one-out LEEP of five, whose signals differ by about one error."""
    found = []
    for _ in range(int(600 * share)):
        y = rng.integers(0, T, 200)
        signals = 0.5 + 0.04 * rng.normal(size=5)
        results = [scored(["leave-one-out-leep"], y, predictions(rng, y, 10, signal)) for signal in signals]
        places = rank(results, "leave-one-out-leep").ranked
        first = max(places, key=lambda place: place.probability_best)
        again = rng.integers(0, T, 200)
        scores = [scored(["leave-one-out-leep"], again, predictions(rng, again, 10, signal)) for signal in signals]
        values = [one.scores["leave-one-out-leep"].value for one in scores]
        found.append((first.probability_best, first.index == signals.argmax(), first.index == np.argmax(values)))
    yield from binned(np.array(found, dtype=float), "5 heads, leave-one-out LEEP")


def settling(rng, share):
    """A bound above what it takes for 80 % is wrong: in at most 5 % of samples; and what came of so many rows."""
    for k in (2, 3, 5):
        for gaps, true_scores in GAPS.items():
            number = int(400 * share)
            bounds, wrong, settled = [], 0, []
            for _ in range(number):
                true = true_scores(rng, k)
                joint = JointScores(np.sort(true + rng.normal(size=k))[::-1], np.eye(k), MANY)
                growth = growth_at_least(joint)
                if Comparison.of(joint).settles_first() or growth <= 1:
                    continue
                drawn = np.sort(true + rng.normal(size=(400, k)) / np.sqrt(growth), axis=1)
                came_true = float(np.mean(drawn[:, -1] - drawn[:, -2] > 1.96 * np.sqrt(2 / growth)))
                bounds.append(growth)
                settled.append(came_true)
                wrong += came_true > ranking_best.POWER + 0.05  # what 400 draws leave open
            note = f"said in {len(bounds) / number:.0%}"
            if bounds:
                note += f", {np.median(bounds):.1f} times the rows; these settled it in {np.mean(settled):.0%}"
            yield Line(f"bound too high, {k} candidates, {gaps}", "at most", 0.05, wrong / number, number, note)
    yield from settling_of_heads(rng, share)


def settling_of_heads(rng, share):
    """The same with heads of unlike width: LEEP, and its check, on new samples of as many rows as the bound says."""
    n, number = 200, int(300 * share)
    for widths, signals in (((10, 10), (0.5, 0.52)), ((10, 100), (0.5, 0.24)), ((10, 100), (0.5, 0.27))):
        said, settled = 0, 0
        for _ in range(number):
            growth = ranked_heads(rng, n, widths, signals).growth_at_least
            if growth is not None:
                said += 1
                ranking = ranked_heads(rng, int(np.ceil(growth * n)), widths, signals)
                settled += ranking.ranked[0].tie_letters != ranking.ranked[1].tie_letters
        if said:
            what = f"LEEP, heads of {widths[0]} and {widths[1]} classes, with as many rows as the bound says: settled"
            yield Line(what, "at most", ranking_best.POWER, settled / said, said, f"said in {said / number:.0%}")


def ranked_heads(rng, n, widths, signals):
    y = rng.integers(0, T, n)
    pairs = zip(widths, signals, strict=True)
    return rank([scored(with_checks(["leep"]), y, predictions(rng, y, s, signal)) for s, signal in pairs], "leep")


def perfect(rng, share):
    """Heads that give the right class 0.98, or a wrong one for some of the rows, ten classes to five."""
    for n, number in ((100, 2000), (200, 2000), (500, 1000), (1000, 600), (5000, 200)):
        for wrong in (0.0, 0.005, 0.01, 0.02, 0.05):

            def draw(n=n, wrong=wrong):
                y = rng.integers(0, T, n)
                return y, [{"probabilities": nearly_right(rng, y, wrong)} for _ in range(2)]

            for line in intervals_of(MEASURED[:2], draw, max(int(number * share * 0.3), 20)):
                yield replace(line, what=f"{line.what}, n = {n}, {wrong:.1%} wrong", claim="at least")


def nearly_right(rng, y, wrong):
    """Predictions of ten source classes, the first five of which are the target's."""
    said = np.where(rng.random(len(y)) < wrong, (y + rng.integers(1, T, len(y))) % T, y)
    found = np.full((len(y), 10), 0.02 / 9, dtype=np.float32)
    found[np.arange(len(y)), said] = 0.98
    return found


def nulls(rng, share):
    """Noise of two widths told apart; each test is at 5 %, so more than 7 % of 1,000 draws would be too many."""
    for needs, null, number in (
        ("probabilities", Null(200, 5, (10, 200)), 1000),
        ("features", Null(100, 2, (10, 60)), 300),
    ):
        names = [name for name in MEASURES if name not in NO_LABELS and MEASURES[name].needs == needs]
        number = max(int(number * share), 10)
        for name, found in noise_apart(rng, names, null, number).items():
            yield Line(f"{name}, noise told apart, {null}", "at most", miss_probability(), found, number)


def opinion(rng, share):
    """Equally accurate heads one of which the second opinion finds to be more accurate than that of the first."""
    n = 200
    for k, number in ((2, 1000), (12, 1000), (100, 200)):
        for accuracy in (0.5, 0.9, 0.99):
            for alike in (0.0, 0.5):
                found = 0
                for _ in range(times := max(int(number * share), 20)):
                    common = np.sqrt(alike) * rng.normal(size=n)  # how hard each example is for all heads
                    own = np.sqrt(1 - alike) * rng.normal(size=(k, n))
                    found += contradicted(common + own < NormalDist().inv_cdf(accuracy))
                what = f"{k} heads, each {accuracy:.0%} right, errors correlated by {alike:g}"
                yield Line(f"false second opinion, {what}", "at most", miss_probability(), found / times, times)


def contradicted(right):
    """Whether the second opinion is against the first candidate, given which examples each head has right."""
    measure, results = MEASURES["ridge"], []
    for outcomes in right.astype(float):
        value, influence = outcomes.mean(), outcomes - outcomes.mean()
        error = measure.standard_error(value, influence, len(influence))
        more = measure.unseen_variance(value, influence, len(influence))
        head = Score(value, standard_error=error, unseen=more, influence=influence.astype(np.float32))
        results.append(Result(Candidate("x"), head_accuracy=head))
    ranking = SimpleNamespace(sort_by="leep", ranked=[SimpleNamespace(index=0)])
    return second_opinion(results, ranking).verdict == "contradicted"


SECTIONS = {function.__name__: function for function in (coverage, ties, best, settling, perfect, nulls, opinion)}


def lines(section, quick=False):
    """The lines of one section; each section has a seed of its own."""
    share = SHARE["quick" if quick else "full"]
    draws, ranking_best.NUM_DRAWS = ranking_best.NUM_DRAWS, 1_000  # enough for a mean over many samples
    try:
        yield from SECTIONS[section](np.random.default_rng(list(SECTIONS).index(section)), share)
    finally:
        ranking_best.NUM_DRAWS = draws


def main(words):
    """Print the sections that are named, or all."""
    quick = "--quick" in words
    for section in [word for word in words if word != "--quick"] or SECTIONS:
        started = time.perf_counter()
        print(f"\n{section}: {SECTIONS[section].__doc__.splitlines()[0]}\n{'stated':>15}{'realised':>9}{'of':>7}")
        for line in lines(section, quick):
            print(line, flush=True)
        print(f"({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main(sys.argv[1:])
