"""The pass against a bare loop over ready-made tensors: ``python tests/benchmarks/forward.py [CHECKPOINT]``.

On ONE thread. Without a checkpoint a MobileNetV1 with random weights is made, 1,000 classes at 128 pixels. The pass
reads, decodes, preprocesses, runs, catches features and keeps results; the bare loop only runs the model.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import sys
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from hf_leep import data, forward
from hf_leep.modalities import image
from hf_leep.records import Candidate

ROWS, BATCH = 512, 32


def make_checkpoint(folder):
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification
    from transformers.models.mobilenet_v1.image_processing_pil_mobilenet_v1 import MobileNetV1ImageProcessorPil

    config = MobileNetV1Config(depth_multiplier=0.25, num_labels=1000, image_size=128)
    MobileNetV1ForImageClassification(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 146}, "crop_size": {"height": 128, "width": 128}}
    MobileNetV1ImageProcessorPil(**size).save_pretrained(folder)
    return folder


def main(checkpoint):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": (np.arange(ROWS) % 10).tolist()}
    target, rows = data.load(datasets.Dataset.from_dict(rows, features=features))
    classifier = image.load(checkpoint, ("image",), torch.float32)
    on = forward.accelerator("cpu")

    start = time.perf_counter()
    ready = [classifier.collate([rows[i] for i in range(a, a + BATCH)]) for a in range(0, ROWS, BATCH)]
    reading = time.perf_counter() - start

    def bare():
        with torch.inference_mode():
            for batch in ready:
                classifier.model(**batch)

    def whole():
        candidate = Candidate("benchmark")
        forward.extract(
            classifier, candidate, rows, target.labels, on=on, batch_size=BATCH, advance=lambda _rows: None
        )

    times = {bare: [], whole: []}
    for run in (bare, whole) * 4:  # in turn, so that a machine whose speed drifts favours neither; the first warms up
        start = time.perf_counter()
        run()
        times[run].append(time.perf_counter() - start)
    alone, everything = sorted(times[bare][1:])[1], sorted(times[whole][1:])[1]
    print(f"{ROWS} images of 32 × 32 pixels, batch {BATCH}, one thread, median of 3: {Path(checkpoint).name}")
    print(f"bare loop on ready-made tensors   {1e3 * alone / ROWS:6.2f} ms an image")
    print(f"reading and processors alone      {1e3 * reading / ROWS:6.2f} ms an image")
    print(f"the whole pass                    {1e3 * everything / ROWS:6.2f} ms an image")
    print(
        f"the whole pass is {everything / alone:.2f} × the bare loop, {everything / (alone + reading):.2f} × the sum"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else make_checkpoint(folder))
