"""Anonymous memory (RssAnon) with many rows: ``python tests/benchmarks/rows.py DATASET SPLIT MODEL``.

The split is repeated to 10,000 and 100,000 rows; each run is a process of its own, on TWO threads, and writes its pass
into a store, as users' runs do. Reported is the highest RssAnon of the process, sampled every 50 ms.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SIZES = (10_000, 100_000)


def anonymous():
    """RssAnon of this process in bytes."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def one(dataset, split, model, rows):
    """Rank one candidate on that many rows; print the peak memory and the time."""
    import datasets
    import torch

    import hf_leep

    torch.set_num_threads(2)
    loaded = datasets.load_dataset(dataset, split=split)
    times = -(-rows // len(loaded))
    repeated = datasets.concatenate_datasets([loaded] * times).select(range(rows))
    peak, done = [anonymous()], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    report = hf_leep.rank([model], repeated, measures=["leep", "leave-one-out-leep", "logme"], progress=False)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    assert report.exit_code == 0
    print(f"{max(peak)} {seconds}")


def main(dataset, split, model):
    peaks = []
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, __file__, dataset, split, model, str(rows)]
            environment = {**os.environ, "HF_HOME": home}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peak, seconds = done.stdout.split()[-2:]
        peaks.append(int(peak))
        print(f"{rows:,} rows: {int(peak) / 1e6:.0f} MB anonymous at most, {float(seconds):.0f} s", flush=True)
    print(f"{peaks[1] / peaks[0]:.3f} × as much (goal at most 1.1)")


if __name__ == "__main__":
    one(*sys.argv[1:4], int(sys.argv[4])) if len(sys.argv) > 4 else main(*sys.argv[1:])
