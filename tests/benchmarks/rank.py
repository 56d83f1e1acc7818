"""``rank`` from end to end against bare loops: ``python tests/benchmarks/rank.py DATASET SPLIT ROWS CHECKPOINT…``.

On TWO threads. The bare loop runs `model(x)` over prepared tensors, in the best of several batch sizes and memory
formats, and once at batch 64 in the default layout; the checkpoints' own processors are timed alone. Then, in turns
and each as a process of its own with its imports, median of three:

- `hf_leep.rank`: reads, decodes, processes, runs and scores every checkpoint, float32 and bfloat16;
- a program of bare loops that reads, decodes, processes and runs every checkpoint at its best batch size and format;
- the same at batch 64 in the default layout.

With three MobileNets and 1,500 rows it takes some minutes on two free cores.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

READY = 512  # rows whose tensors are prepared, at most
ROUNDS = 3


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def layouts():
    import torch

    return {"default": torch.contiguous_format, "channels last": torch.channels_last}


def loaded(checkpoint):
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return model, AutoImageProcessor.from_pretrained(checkpoint, backend="pil")


def bare(model, pixels, batch, memory_format):
    import torch

    model.to(memory_format=memory_format)
    batches = [x.contiguous(memory_format=memory_format) for x in pixels.split(batch)]

    def run():
        with torch.inference_mode():
            for x in batches:
                model(pixel_values=x)

    run()
    return min(seconds(run) for _ in range(3)) / len(pixels)


def parts(dataset, split, rows, checkpoints):
    """Seconds an image of the fastest loops, those at batch 64 and the processors; the fastest settings."""
    import torch

    from hf_leep import data
    from hf_leep.models import MODALITIES

    torch.set_num_threads(2)
    _, some = data.load(dataset, MODALITIES, split=split, max_samples=min(READY, rows))
    best = plain = processors = 0.0
    settings = []
    for checkpoint in checkpoints:
        model, processor = loaded(checkpoint)
        (column,) = some.dataset.column_names
        read = [some[i][column].convert("RGB") for i in range(len(some))]
        made = []
        processors += seconds(lambda: made.append(processor(read, return_tensors="pt"))) / len(some)  # noqa: B023
        times = {
            (batch, name): bare(model, made[0]["pixel_values"], batch, layout)
            for name, layout in layouts().items()
            for batch in (8, 16, 32, 64)
        }
        settings.append(min(times, key=times.get))
        best += times[settings[-1]]
        plain += times[64, "default"]
        print(f"{Path(checkpoint).name}: fastest {1e3 * times[settings[-1]]:.2f} ms an image at {settings[-1]}")
    return best, plain, processors, settings


def program(dataset, split, rows, checkpoints, settings):
    """What somebody would write: read, process and run every checkpoint, one after the other."""
    import datasets
    import torch

    torch.set_num_threads(2)
    images = datasets.load_dataset(dataset, split=split).select(range(rows))
    (column,) = [name for name, kind in images.features.items() if isinstance(kind, datasets.Image)]
    for checkpoint, (batch, name) in zip(checkpoints, settings, strict=True):
        model, processor = loaded(checkpoint)
        model.to(memory_format=layouts()[name])
        with torch.inference_mode():
            for i in range(0, rows, batch):
                read = [image.convert("RGB") for image in images[i : i + batch][column]]
                pixels = processor(read, return_tensors="pt")["pixel_values"]
                model(pixel_values=pixels.contiguous(memory_format=layouts()[name])).logits.softmax(-1).numpy()


def ranked(dataset, split, rows, checkpoints, dtype):
    import hf_leep

    execution = hf_leep.Execution(cache=False, dtype=dtype)
    report = hf_leep.rank(
        checkpoints, dataset, split=split, max_samples=rows, execution=execution, progress=False, sort_by="leep"
    )
    print(json.dumps({c["id"]: c["scores"]["leep"]["value"] for c in report.candidates}))


def main(dataset, split, rows, checkpoints):
    best, plain, processors, settings = parts(dataset, split, rows, checkpoints)
    plainly = [(64, "default")] * len(checkpoints)
    programs = {
        "float32": ("ranked", "float32"),
        "bfloat16": ("ranked", "bfloat16"),
        "the best bare loops": ("program", settings),
        "bare loops at batch 64": ("program", plainly),
    }
    times, scores = {name: [] for name in programs}, {}
    for _ in range(ROUNDS):
        for name, (function, last) in programs.items():
            call = json.dumps([function, dataset, split, rows, checkpoints, last])
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, call],
                capture_output=True,
                check=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "2"},
            )
            times[name].append(time.perf_counter() - start)
            if function == "ranked":
                scores[name] = json.loads(done.stdout)
    whole = {name: statistics.median(each) for name, each in times.items()}
    for name, each in times.items():
        print(f"{name}: {whole[name]:.1f} seconds as a process ({', '.join(f'{t:.1f}' for t in each)})")
    for dtype in ("float32", "bfloat16"):
        print(f"{dtype}, whole processes with their imports:")
        print(f"  {whole[dtype] / whole['the best bare loops']:.2f} × the best bare loops with reading and processors")
        print(f"  {whole['bare loops at batch 64'] / whole[dtype]:.2f} × as fast as bare loops at batch 64 with them")
        alone = whole[dtype] / rows
        print(f"{dtype}, a whole process against the parts alone, without their imports and reading:")
        print(f"  {alone / (best + processors):.2f} × the fastest bare loops ({1e3 * best:.2f} ms an image) ", end="")
        print(f"and processors ({1e3 * processors:.2f})")
        print(f"  {plain / alone:.2f} × as fast as bare loops at batch 64 in the default layout ({1e3 * plain:.2f})")
    for checkpoint in checkpoints:
        found = ", ".join(f"{by[checkpoint]:.4f} in {dtype}" for dtype, by in scores.items())
        print(f"{Path(checkpoint).name}: LEEP {found}")


if __name__ == "__main__":
    if len(sys.argv) == 2:  # one of the processes that are timed
        function, *arguments = json.loads(sys.argv[1])
        {"ranked": ranked, "program": program}[function](*arguments)
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
