"""Memory with many rows: ``python tests/benchmarks/rows.py DATASET SPLIT MODEL [FEWER MORE]``.

The split is repeated to 10,000 and 100,000 rows, or to FEWER and MORE; each run is a process of its own, on TWO
threads, and writes its pass into a store, as users' runs do. Reported is the most that the run and the processes it
started take together, sampled every 0.2 s: anonymous memory, which only swapping frees, and PSS, which counts mapped
files of the data set and the store, too.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

SIZES = (10_000, 100_000)


def memory():
    """Anonymous memory and PSS of this process and those that it started, in bytes."""
    anonymous = pss = 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(OSError, TypeError, psutil.Error):  # it has just ended
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            pss += 1024 * int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
            anonymous += 1024 * int(re.search(r"^Pss_Anon:\s+(\d+)", text, re.M)[1])
            anonymous += 1024 * int(re.search(r"^Pss_Shmem:\s+(\d+)", text, re.M)[1])
    return anonymous, pss


def one(dataset, split, model, rows):
    """Rank one candidate on that many rows; print the peak memory and the time."""
    import datasets
    import torch

    import hf_leep

    torch.set_num_threads(2)
    loaded = datasets.load_dataset(dataset, split=split)
    times = -(-rows // len(loaded))
    repeated = datasets.concatenate_datasets([loaded] * times).select(range(rows))
    seen, done = [memory()], threading.Event()

    def watch():
        while not done.wait(0.2):
            seen.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    report = hf_leep.rank([model], repeated, measures=["leep", "leave-one-out-leep", "logme"], progress=False)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    assert report.exit_code == 0
    print(*map(max, zip(*seen, strict=True)), seconds)


def main(dataset, split, model, *sizes):
    peaks = []
    for rows in map(int, sizes or SIZES):
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, __file__, dataset, split, model, str(rows), "one"]
            environment = {**os.environ, "HF_HOME": home}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        anonymous, pss, seconds = map(float, done.stdout.split()[-3:])
        peaks.append(anonymous)
        print(
            f"{rows:,} rows: at most {anonymous / 1e6:.0f} MB anonymous, {pss / 1e6:.0f} MB PSS, {seconds:.0f} s",
            flush=True,
        )
    print(f"{peaks[1] / peaks[0]:.3f} × as much anonymous memory (goal at most 1.1)")


if __name__ == "__main__":
    one(*sys.argv[1:4], int(sys.argv[4])) if sys.argv[-1] == "one" else main(*sys.argv[1:])
