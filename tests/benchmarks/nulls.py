"""How often pure noise of two widths is told apart: ``python tests/benchmarks/nulls.py [SHARE [MEASURE …]]``.

Two candidates whose outputs have nothing to do with the labels: random heads of few and of many classes, or Gaussian
features of few and of many columns. Neither is better, so a report should tell them apart in at most 5 % of draws; 7 %
of 1,000 is the limit here. Stable rank ignores the labels: that it tells widths apart is what it is for. SHARE reduces
the number of draws.
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
SLOW = {"linear-probe", "n-leep", "pactran-gaussian", "sfda"}  # measures that get a fifth of the draws


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


def told_apart(rng, measure, null, draws):
    """Return the share of draws in which a ranking by one measure puts the two candidates into different groups."""
    needs, count = find(measure).needs, 0
    for _ in range(draws):
        labels, both = drawn(rng, needs, null)
        ranking = rank(scored(measure, labels, needs, both), measure)
        groups = {place.tie_group for place in ranking.ranked}  # None where an error is not known
        count += len(groups - {None}) == 2
    return count / draws


def scored(measure, labels, needs, both):
    """Return the results of two candidates on a measure and the one that checks it."""
    results = []
    for name, array in zip("ab", both, strict=True):
        arrays = {"features": None, "probabilities": None} | {needs: array.astype(np.float32)}
        results.append(score(Extraction(Candidate(name), labels=labels, run=RUN, **arrays), with_checks([measure])))
    return results


def main(share=1.0, *measures):
    """Print the share of each measure that looks at the labels, for each kind of noise."""
    rng = np.random.default_rng(0)
    print("noise of two widths told apart (7 % at most)")
    for name in measures or [name for name in MEASURES if name not in NO_LABELS]:
        for null in NULLS[find(name).needs]:
            draws = max(int(float(share) * (200 if name in SLOW else 1000)), 20)
            start = time.process_time()
            told = told_apart(rng, name, null, draws)
            seconds = time.process_time() - start
            print(f"  {name:20} {null!s:40}: {told:6.1%} of {draws} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
