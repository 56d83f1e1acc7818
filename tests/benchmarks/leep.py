"""LEEP against the memory it must read and against the textbook: ``python tests/benchmarks/leep.py``.

50,000 × 1,000 float32 probabilities, 100 classes, on ONE thread; validation and float64 sums included. Ratios of
medians taken in one run.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import statistics
import time
import tracemalloc

import numpy as np

from hf_leep import measures
from hf_leep.measures import MEASURES

N, S, T = 50_000, 1_000, 100
REPEATS = 7


def two_plain_passes(p):
    """Read the whole matrix twice, with as little computation as possible."""
    return p.sum() + p.max()


def textbook(p, y):
    """Equations (1) and (2) with whole-matrix numpy and the n × t matrix of predictions, float64 sums."""
    theta = p.astype(np.float64)
    one_hot = np.eye(T)[y]  # [n, t]
    joint = one_hot.T @ theta / len(theta)
    conditional = joint / joint.sum(axis=0)
    predictions = theta @ conditional.T  # [n, t]
    return float(np.log(predictions[np.arange(len(y)), y]).mean())


def seconds(run, *arguments):
    """Median wall time after one run to warm up."""
    run(*arguments)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    rng = np.random.default_rng(0)
    p = rng.random((N, S), dtype=np.float32)
    p /= p.sum(axis=1, keepdims=True)
    y = rng.integers(0, T, N)
    assert abs(measures.leep(p, y) - textbook(p, y)) < 1e-9

    passes, book, ours = seconds(two_plain_passes, p), seconds(textbook, p, y), seconds(measures.leep, p, y)
    print(f"{N:,} × {S:,} float32, {T} classes, one thread, median of {REPEATS}")
    print(f"two plain passes over the memory   {1e3 * passes:7.1f} ms")
    print(f"leep                               {1e3 * ours:7.1f} ms   {ours / passes:5.1f} × two passes (goal ≤ 6)")
    print(f"textbook with its n × t matrix     {1e3 * book:7.1f} ms   {book / ours:5.1f} × leep (goal ≥ 4)")
    for name in ("nce", "leave-one-out-leep"):
        other = seconds(MEASURES[name].function, p, y)
        print(f"{name:<34} {1e3 * other:7.1f} ms   {other / ours:5.1f} × leep")
    both = seconds(MEASURES["leep"].influence, p, y)
    print(f"leep with its standard error       {1e3 * both:7.1f} ms   {both / ours:5.1f} × leep")
    tracemalloc.start()
    measures.leep(p, y)
    peak = tracemalloc.get_traced_memory()[1]
    print(f"memory of leep beyond its inputs   {peak / 1e6:7.1f} MB   {peak / p.nbytes:5.3f} × its inputs")


if __name__ == "__main__":
    main()
