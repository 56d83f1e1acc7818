"""Anonymous memory (RssAnon) of scoring large matrices from files: ``python tests/benchmarks/memory.py``.

Writes 4 GB, then 1.7 GB, into a temporary folder, and scores them memory-mapped on ONE thread.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from hf_leep.measures import MEASURES


def anonymous():
    """RssAnon of this process in bytes."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak_of(run):
    """Highest RssAnon while something runs, and its wall time."""
    peak, done = [anonymous()], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return max(peak), seconds


def main():
    rng = np.random.default_rng(0)
    for n, s, t in ((1_000_000, 1_000, 100), (20_000, 21_843, 100)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "probabilities.npy")
            made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, s))
            for start in range(0, n, 5_000):
                block = rng.random((min(5_000, n - start), s), dtype=np.float32)
                made[start : start + len(block)] = block / block.sum(axis=1, keepdims=True)
            made.flush()
            del made
            matrix = np.load(path, mmap_mode="r")
            labels = rng.integers(0, t, n)
            print(f"{n:,} × {s:,} float32, {matrix.nbytes / 1e9:.1f} GB, {t} classes, one thread (goal < 1.5 GB)")
            for name in ("leep", "leave-one-out-leep", "nce"):
                for what, function in (("score", MEASURES[name].function), ("with error", MEASURES[name].influence)):
                    peak, seconds = peak_of(lambda f=function, m=matrix, y=labels: f(m, y))
                    print(f"  {name:<20} {what:<11} RssAnon {peak / 1e6:7.0f} MB   {seconds:6.1f} s")


if __name__ == "__main__":
    main()
