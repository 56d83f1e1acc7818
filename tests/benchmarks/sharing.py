"""Six candidates with two processors, against six runs: ``python tests/benchmarks/sharing.py DATASET SPLIT ROWS A B``.

A and B are image checkpoints with different processors; each is run as itself and as two copies with other weights. On
TWO threads, float32, nothing taken from a store, in one process after its imports, three times each in turn.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import hf_leep


def copies(checkpoint, folder):
    """The checkpoint, and two copies of it with other weights."""
    paths = [checkpoint]
    for number in (1, 2):
        path = Path(folder, f"{Path(checkpoint).name}-{number}")
        shutil.copytree(checkpoint, path)
        weights = load_file(path / "model.safetensors")
        generator = torch.Generator().manual_seed(number)
        for weight in weights.values():
            if weight.is_floating_point():
                weight *= 1 + 0.01 * torch.randn(weight.shape, generator=generator)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        paths.append(str(path))
    return paths


def main(dataset, split, rows, checkpoints):
    torch.set_num_threads(2)
    options = {"split": split, "max_samples": rows, "cache": False, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        six = [path for checkpoint in checkpoints for path in copies(checkpoint, folder)]
        hf_leep.rank(six[:1], dataset, **{**options, "max_samples": 200})  # imports and warms up
        together, apart = [], []
        for _ in range(3):
            start = time.perf_counter()
            hf_leep.rank(six, dataset, **options)
            together.append(time.perf_counter() - start)
            start = time.perf_counter()
            for path in six:
                hf_leep.rank([path], dataset, **options)
            apart.append(time.perf_counter() - start)
    one, many = statistics.median(together), statistics.median(apart)
    print(f"six candidates on {rows} rows: {one:.1f} s together, {many:.1f} s in six runs")
    print(f"{many / one:.2f} × faster")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
