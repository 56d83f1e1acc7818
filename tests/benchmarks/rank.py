"""``rank`` from end to end against bare loops: ``python tests/benchmarks/rank.py DATASET SPLIT ROWS CHECKPOINT…``.

On TWO threads, float32 and bfloat16. The whole run reads, decodes, processes, runs and scores every checkpoint; the
bare loop runs `model(x)` over prepared tensors, in the best of several batch sizes and memory formats, and once at
batch 64 in the default layout; the checkpoints' own processors are timed alone. All in one process after its imports,
median of three. With three MobileNets and 1,500 rows it takes some minutes on two free cores; 400 rows take a third of
that, and a whole run's start then weighs more.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

import hf_leep
from hf_leep import data
from hf_leep.models import MODALITIES

READY = 512  # rows whose tensors are prepared, at most
FORMATS = {"default": torch.contiguous_format, "channels last": torch.channels_last}


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bare(model, pixels, batch, memory_format):
    model.to(memory_format=memory_format)
    batches = [x.contiguous(memory_format=memory_format) for x in pixels.split(batch)]

    def run():
        with torch.inference_mode():
            for x in batches:
                model(pixel_values=x)

    run()
    return min(seconds(run) for _ in range(3)) / len(pixels)


def main(dataset, split, rows, checkpoints):
    torch.set_num_threads(2)
    sample = {"split": split, "max_samples": rows}
    _, some = data.load(dataset, MODALITIES, split=split, max_samples=min(READY, rows))
    best = plain = processors = 0.0
    for checkpoint in checkpoints:
        model = AutoModelForImageClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
        processor = AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
        (column,) = some.dataset.column_names
        read = [some[i][column].convert("RGB") for i in range(len(some))]
        made = []
        processors += seconds(lambda: made.append(processor(read, return_tensors="pt"))) / len(some)  # noqa: B023
        pixels = made[0]["pixel_values"]
        times = {
            (name, batch): bare(model, pixels, batch, layout)
            for name, layout in FORMATS.items()
            for batch in (8, 16, 32, 64)
        }
        fastest = min(times, key=times.get)
        best += times[fastest]
        plain += times["default", 64]
        print(f"{Path(checkpoint).name}: fastest {1e3 * times[fastest]:.2f} ms an image at {fastest}")
    results = {}
    for dtype in ("float32", "bfloat16"):
        options = {"execution": hf_leep.Execution(cache=False, dtype=dtype), "progress": False, **sample}
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            results[dtype] = hf_leep.rank(checkpoints, dataset, **options)
            runs.append(time.perf_counter() - start)
        whole = statistics.median(runs) / rows
        against, faster = whole / (best + processors), plain / whole
        print(f"{dtype}: the whole takes {1e3 * whole:.2f} ms an image")
        print(f"  {against:.2f} × the fastest bare loops ({1e3 * best:.2f}) and processors ({1e3 * processors:.2f})")
        print(f"  {faster:.2f} × as fast as bare loops at batch 64 in the default layout ({1e3 * plain:.2f})")
    for checkpoint in checkpoints:
        scores = [
            next(c["scores"]["leep"]["value"] for c in report.candidates if c["id"] == checkpoint)
            for report in results.values()
        ]
        print(f"{Path(checkpoint).name}: LEEP {scores[0]:.4f} in float32, {scores[1]:.4f} in bfloat16")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
