"""How often pure noise of two widths is told apart: ``python tests/benchmarks/nulls.py [SHARE [MEASURE …]]``.

Two candidates whose outputs have nothing to do with the labels: random heads of few and of many classes, or Gaussian
features of few and of many columns. Neither is better, so a report should tell them apart in at most 5 % of draws; 7 %
of 1,000 is the limit here. Stable rank ignores the labels: that it tells widths apart is what it is for. SHARE reduces
the number of draws. All measures score the same draws: about 25 minutes on one core.
"""

import os
import sys

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hf_leep.measures import MEASURES, find
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.scoring import score, with_checks
from hf_leep.records import Candidate, Extraction, Run

RUN = Run("none", "none", "float32", "cpu", 1, 0.0, 0)
NO_LABELS = {"stable-rank"}  # measures that are meant to tell widths apart


@dataclass(frozen=True)
class Null:
    """Noise of two widths, and labels of equal or almost equal frequencies.

    Attributes:
        n: number of examples.
        t: number of target classes.
        widths: source classes or features of the two candidates.
        sharpness: standard deviation of the logits of random heads.
    """

    n: int
    t: int
    widths: tuple[int, int]
    sharpness: float = 2.0

    def __str__(self) -> str:
        return f"n = {self.n}, t = {self.t}, widths {self.widths[0]} and {self.widths[1]}"


NULLS = {
    "probabilities": (Null(200, 5, (10, 200)), Null(500, 10, (10, 1000), 4.0), Null(200, 2, (2, 100))),
    "features": (Null(200, 5, (16, 256)), Null(400, 5, (8, 64)), Null(100, 2, (10, 100))),
}


def drawn(rng, needs, null):
    """Labels ``[n]``, and the arrays of the two candidates, ``[n, width]`` each."""
    labels = rng.permutation(np.arange(null.n) % null.t)
    noise = [rng.normal(size=(null.n, width)) for width in null.widths]
    if needs == "features":
        return labels, noise
    powers = [np.exp(null.sharpness * (z - z.max(axis=1, keepdims=True))) for z in noise]
    return labels, [p / p.sum(axis=1, keepdims=True) for p in powers]


def told_apart(rng, measures, null, draws):
    """Return the share of draws in which a ranking by each measure puts the two candidates into different groups.

    The measures, which all need the same outputs, score the same draws.
    """
    needs, count = find(measures[0]).needs, dict.fromkeys(measures, 0)
    for _ in range(draws):
        labels, both = drawn(rng, needs, null)
        results = scored(measures, labels, needs, both)
        for measure in measures:
            groups = {place.tie_group for place in rank(results, measure).ranked}  # None where an error is not known
            count[measure] += len(groups - {None}) == 2
    return {measure: found / draws for measure, found in count.items()}


def scored(measures, labels, needs, both):
    """Return the results of two candidates on some measures and those that check them."""
    results = []
    for name, array in zip("ab", both, strict=True):
        arrays = {"features": None, "probabilities": None} | {needs: array.astype(np.float32)}
        results.append(score(Extraction(Candidate(name), labels=labels, run=RUN, **arrays), with_checks(measures)))
    return results


def main(share=1.0, *measures):
    """Print the share of each measure that looks at the labels, for each kind of noise."""
    print("noise of two widths told apart (7 % at most)")
    for needs, nulls in NULLS.items():
        names = [name for name in measures or MEASURES if name not in NO_LABELS and find(name).needs == needs]
        for kind, null in enumerate(nulls if names else ()):
            draws, start = max(int(float(share) * 1000), 20), time.process_time()
            found = told_apart(np.random.default_rng(kind), names, null, draws)
            print(f"{null!s}: of {draws} ({time.process_time() - start:.0f} s)")
            for name, told in found.items():
                print(f"  {name:20} {told:6.1%}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
