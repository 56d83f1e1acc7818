"""Whether a race keeps the best candidate, and what it costs: ``python tests/benchmarks/racing.py POOL [REPEATS]``.

POOL is a folder that pool.py wrote: passes of the five public checkpoints over 6,000 images of CIFAR100, and of copies
that are fine-tuned or have noise in their weights. Each repetition draws a stratified sample of 2,000 of these rows
without replacement, races on them, and compares with the run over all rows drawn. For each pool of candidates it
prints

- first: share of repetitions in which the winner of the race is first in the full run, or in the first tie group;
- kept: share in which none of the best K of the full run was put out;
- run: examples run as a share of those of the full run: the mean, and the maximum.

The pools that are fast to score are drawn REPEATS times (100), the others a quarter as often.
"""

import os
import sys
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hf_leep.ranking.elimination import RaceRules, nested_order
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.scoring import score, with_checks
from tests.recorded import extraction_of, race, target_of

ROWS = 2000


def read(folder, needs):
    found = {path.stem: np.load(path) for path in sorted(Path(folder).glob("*.npz"))}
    labels = next(iter(found.values()))["labels"]
    return {name: arrays[needs] for name, arrays in found.items()}, labels


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def copies(passes, name, number, spread):
    """Copies of one candidate with independent noise on its log-probabilities, so that they nearly tie."""
    rng, logits = np.random.default_rng(0), np.log(passes[name] + 1e-12)
    return {
        f"copy {k}": softmax(logits + spread * rng.standard_normal(logits.shape, np.float32)) for k in range(number)
    }


def measure(title, passes, needs, labels, sort_by, repeats, top=1):
    first, kept, ran = [], [], []
    for seed in range(repeats):
        rows = np.sort(nested_order(labels, len(labels), np.random.default_rng(1000 + seed))[:ROWS])
        target = target_of(labels[rows], seed)
        drawn = {name: {needs: array[rows]} for name, array in passes.items()}
        names = list(drawn)
        full = [score(extraction_of(name, arrays, target), with_checks((sort_by,))) for name, arrays in drawn.items()]
        order = rank(full, sort_by).ranked
        results, course, _ = race(drawn, target, sort_by, RaceRules(top=top))
        raced = course.ranking(names).ranked
        first.append(raced[0].index in {place.index for place in order if place.tie_group == 1})
        kept.append(all(results[names[place.index]].stop is None for place in order[:top]))
        record = course.record()
        ran.append(record.num_examples_run / record.num_examples_of_all)
    print(
        f"{title:36} {len(passes):3} candidates  first {100 * np.mean(first):5.1f} %  "
        f"kept {100 * np.mean(kept):5.1f} %"
        f"  run {np.mean(ran):.2f}, at most {max(ran):.2f}",
        flush=True,
    )


def main(folder, repeats=100):
    repeats = int(repeats)
    passes, labels = read(folder, "probabilities")
    measure("all, by LEEP", passes, "probabilities", labels, "leep", repeats)
    without = {name: p for name, p in passes.items() if name != "mobilenet-160"}
    measure("without the best, by LEEP", without, "probabilities", labels, "leep", repeats // 4)
    narrow = {name: p for name, p in passes.items() if "resnet" in name and "tuned" not in name}
    measure("CIFAR10's, by LEEP", narrow, "probabilities", labels, "leep", repeats)
    near = copies(passes, "resnet56", 12, 0.3)
    measure("copies of one, by LEEP", near, "probabilities", labels, "leep", repeats)
    measure("all, the best three, by LEEP", passes, "probabilities", labels, "leep", repeats // 4, top=3)
    features, _ = read(folder, "features")
    measure("all, by LogME", features, "features", labels, "logme", repeats // 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
