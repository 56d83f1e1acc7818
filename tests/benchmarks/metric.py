"""What evaluate's interface costs on top of the bare measure: seconds and memory, one run.

    python tests/benchmarks/metric.py [rows] [columns]

The bound, for one batch of 50,000 x 1,000 float32: at most three times measures.leep on the same array plus 0.4 s,
and under 1 GB above the input, five times its size. Exit code 1 where it does not hold.
"""

import atexit
import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_IO_THREADS")
os.environ |= dict.fromkeys(THREADS, "1")  # read when numpy and pyarrow are imported

import sys
import tempfile
import threading
import time
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="hf-leep-benchmark-")
atexit.register(CACHE.cleanup)
os.environ |= {"HF_HOME": CACHE.name, "HF_HUB_OFFLINE": "1"}

import evaluate
import numpy as np

import hf_leep
from hf_leep import measures

REPEATS = 5


def memory():
    """(resident, of which anonymous) bytes of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return np.array([1024 * int(lines[key].split()[0]) for key in ("VmRSS", "RssAnon")])


def peak_memory(function):
    """How far (resident, anonymous) memory rises above its level before the call, sampled every 2 ms."""
    before, highest, done = memory(), memory(), threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.002):
            highest = np.maximum(highest, memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return highest - before


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    n, s = (int(value) for value in (sys.argv[1:] + ["50000", "1000"][len(sys.argv) - 1 :]))
    rng = np.random.default_rng(0)
    probabilities = rng.exponential(size=(n, s)).astype(np.float32) ** 4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 100, n)

    on_disk = evaluate.load(hf_leep.metric_path("leep"))
    in_memory = evaluate.load(hf_leep.metric_path("leep"), keep_in_memory=True)

    def stream():
        for start in range(0, n, 256):
            rows = slice(start, start + 256)
            on_disk.add_batch(predictions=probabilities[rows], references=labels[rows])
        return on_disk.compute()

    ways = {
        "measures.leep": lambda: {"leep": measures.leep(probabilities, labels)},
        "evaluate, one batch": lambda: on_disk.compute(predictions=probabilities, references=labels),
        "evaluate, batches of 256": stream,
        "evaluate, keep_in_memory": lambda: in_memory.compute(predictions=probabilities, references=labels),
    }
    peaks = {name: peak_memory(way) for name, way in ways.items()}  # first: later, freed memory may be used again
    values = {name: way()["leep"] for name, way in ways.items()}
    rounds = [
        {name: seconds(way) for name, way in ways.items()} for _ in range(REPEATS)
    ]  # in turn, since other processes share the machine
    times = {name: float(np.median([one[name] for one in rounds])) for name in ways}
    bare = times["measures.leep"]

    print(f"{n:,} x {s:,} float32 ({probabilities.nbytes / 1e6:.0f} MB), one thread: {', '.join(THREADS)} = 1")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median of {REPEATS}; memory above the input")
    print(f"{'':26}{'seconds':>9}{'ratio':>7}{'resident MB':>13}{'anonymous MB':>14}  value")
    for name, took in times.items():
        resident, anonymous = peaks[name] / 1e6
        print(f"{name:26}{took:9.3f}{took / bare:7.2f}{resident:13.0f}{anonymous:14.0f}  {values[name]:.15f}")

    bound = 3 * bare + 0.4
    took, resident = times["evaluate, one batch"], peaks["evaluate, one batch"][0]
    allowed = 5 * probabilities.nbytes
    spread = max(abs(value - values["measures.leep"]) for value in values.values())
    print(
        f"one batch: {took:.3f} s of {bound:.3f} s allowed, {resident / 1e6:.0f} MB of {allowed / 1e6:.0f} MB allowed"
    )
    print(f"largest difference between the values: {spread:.1g}, of 1e-12 allowed")
    return 0 if took <= bound and resident < allowed and spread <= 1e-12 else 1


if __name__ == "__main__":
    sys.exit(main())
