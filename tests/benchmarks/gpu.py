"""A real GPU against its bare loop: ``python tests/benchmarks/gpu.py DATASET SPLIT ROWS CHECKPOINT [WORKERS]``.

The bare loop runs the model over tensors that are ready on the GPU, in its best batch size; the pass reads, decodes,
processes and copies the rows, and copies the results back. Prints images a second of both, for float32 and bfloat16,
with no worker, with the number that timing chooses, and with WORKERS (all cores by default). Median of three.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import torch

from hf_leep import data
from hf_leep.inference import forward
from hf_leep.inference.loader import Loader
from hf_leep.inference.outputs import Arrays
from hf_leep.inference.pool import Pool
from hf_leep.inference.processes import Processes
from hf_leep.models import ADAPTERS, MODALITIES
from hf_leep.records import Candidate

READY, SIZES, REPEATS = 512, (64, 128, 256), 3


def bare(model, inputs, device, dtype, channels_last):
    """Rows a second over tensors that are on the device already."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device).to(memory_format=layout)
    moved = {name: x.to(device) for name, x in inputs.items() if name != "num_truncated"}
    rows, best = len(next(iter(moved.values()))), 0.0
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for size in SIZES:
            parts = [{name: x[i : i + size] for name, x in moved.items()} for i in range(0, rows, size)]
            for repeat in range(1 + REPEATS):
                torch.cuda.synchronize()
                start = time.perf_counter()
                for part in parts:
                    model(**part)
                torch.cuda.synchronize()
                if repeat:
                    best = max(best, rows / (time.perf_counter() - start))
    return best


def whole(classifier, rows, device, dtype, pool, workers):
    """Rows a second of a pass from end to end."""
    speeds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        forward.run(
            classifier,
            Candidate("x"),
            Loader(rows, budget=0),
            device=device,
            batch_size=None,
            dtype=dtype,
            compiled=False,
            advance=lambda _rows: None,
            output=Arrays(len(rows)),
            processes=Processes(),
            pool=pool,
            workers=workers,
        )
        speeds.append(len(rows) / (time.perf_counter() - start))
    return statistics.median(speeds)


def main(dataset, split, count, checkpoint, most):
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU here")
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} cores, torch {torch.__version__}")
    target, rows = data.load(dataset, MODALITIES, split=split, max_samples=count)
    classifier = ADAPTERS[target.modality].load(Path(checkpoint), target.input_columns, class_names=target.class_names)
    ready = Loader(rows, budget=0).batch(classifier, range(min(READY, len(rows))))
    images = classifier.processor_backend is not None
    pools = {0: None, None: Pool(), most: Pool()}
    for dtype in (torch.float32, torch.bfloat16):
        layouts = (False, True) if images else (False,)
        loop = max(bare(classifier.model, ready, device, dtype, layout) for layout in layouts)
        print(f"{dtype}: the bare loop over ready tensors: {loop:.0f} rows a second")
        for workers, pool in pools.items():
            speed = whole(classifier, rows, device, dtype, pool, workers)
            name = {0: "no worker", None: "workers chosen by timing"}.get(workers, f"{workers} workers")
            print(f"{dtype}: {name}: {speed:.0f} rows a second, {speed / loop:.0%} of the bare loop")


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]) if len(sys.argv) > 5 else os.cpu_count())
