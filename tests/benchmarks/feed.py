"""The feed alone, without a model: ``python tests/benchmarks/feed.py [ROWS [CLIPS]]``.

JPEGs of 500 × 375 pixels, cut from the two pictures that scikit-learn ships, and sounds of 10 seconds. Prints rows a
second with a model that costs nothing (the checkpoint's processor alone in a loop, then one worker, then two), and
torch's DataLoader beside it; then how busy a device would be that needs 0.6 of one core's time for each image. It is
idle while it waits for inputs; placing and scaling them is the device's own work, though here a core does it. The time
in the model alone is printed, too. Median of three, in turns, since other programs may run.
"""

import io
import statistics
import sys
import time
from types import SimpleNamespace

import datasets
import numpy as np
import soundfile
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from hf_leep import data
from hf_leep.inference import forward
from hf_leep.inference.feed import Feed
from hf_leep.inference.loader import Loader
from hf_leep.inference.outputs import Arrays
from hf_leep.inference.pool import Pool
from hf_leep.inference.processes import Processes
from hf_leep.models import ADAPTERS, MODALITIES
from hf_leep.records import Candidate

BATCH, REPEATS, WIDTH, HEIGHT = 32, 3, 500, 375


class Device(nn.Module):
    """A model on a device that takes a fixed time for each row, and leaves the processor alone."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.busy = seconds, 0.0

    def forward(self, **inputs):
        rows = len(next(iter(inputs.values())))
        if self.seconds:
            time.sleep(self.seconds * rows)
            self.busy += self.seconds * rows
        return SimpleNamespace(logits=torch.zeros(rows, 2))


class Waiting:
    """Adds up the seconds that a pass waits for its inputs; the first of them are for the first batch."""

    def __init__(self):
        self.seconds = []

    def __enter__(self):
        self.inputs = Feed.inputs
        Feed.inputs = lambda feed, batch: self.timed(feed, batch)
        return self

    def __exit__(self, *_):
        Feed.inputs = self.inputs

    def timed(self, feed, batch):
        start = time.perf_counter()
        made = self.inputs(feed, batch)
        self.seconds.append(time.perf_counter() - start)
        return made


def pictures(count):
    generator = np.random.default_rng(0)
    sources = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    rows = []
    for k in range(count):
        source = sources[k % 2]
        width = int(generator.integers(400, 600))
        height = width * HEIGHT // WIDTH
        left, top = generator.integers(0, source.width - width), generator.integers(0, max(1, source.height - height))
        file = io.BytesIO()
        source.crop((left, top, left + width, top + height)).resize((WIDTH, HEIGHT)).save(file, "JPEG", quality=90)
        rows.append({"image": {"bytes": file.getvalue(), "path": None}, "label": k % 2})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["china", "flower"])})
    return datasets.Dataset.from_list(rows, features=features)


def clips(count):
    generator = np.random.default_rng(0)
    rows = []
    for k in range(count):
        file = io.BytesIO()
        soundfile.write(file, 0.1 * generator.standard_normal(441_000), 44_100, format="WAV")
        rows.append({"audio": {"bytes": file.getvalue(), "path": None}, "label": k % 2})
    made = datasets.Dataset.from_list(rows).cast_column("audio", datasets.Audio(decode=False))
    return made.cast_column("label", datasets.ClassLabel(names=["a", "b"]))


def small(config_of, **sizes):
    return config_of(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **sizes)


def run(classifier, rows, pool, workers, seconds=0.0):
    """A whole pass: rows a second; the shares of it without waiting, in the model, and waiting for the first batch."""
    device = Device(seconds)
    fed = SimpleNamespace(
        **{
            name: getattr(classifier, name)
            for name in ("collate", "row_wise", "source_labels", "task", "processor", "processor_backend")
        },
        model=device,
        head=None,
        missing={"features": "none"},
        max_length=None,
        max_seconds=None,
    )
    start = time.perf_counter()
    with Waiting() as waiting:
        forward.run(
            fed,
            Candidate("x"),
            Loader(rows, budget=0),
            device=torch.device("cpu"),
            batch_size=BATCH,
            dtype=torch.float32,
            compiled=False,
            advance=lambda _rows: None,
            output=Arrays(len(rows)),
            processes=Processes(),
            pool=pool,
            workers=workers,
        )
    whole = time.perf_counter() - start
    return len(rows) / whole, 1 - sum(waiting.seconds) / whole, device.busy / whole, waiting.seconds[0] / whole


def loop(classifier, rows):
    """Rows a second of the processor alone, in a loop over the rows as `datasets` reads them."""
    start = time.perf_counter()
    for first in range(0, len(rows), BATCH):
        classifier.collate([rows[i] for i in range(first, min(first + BATCH, len(rows)))])
    return len(rows) / (time.perf_counter() - start)


def data_loader(classifier, rows, workers):
    """The same with torch's DataLoader, started by fork: other ways to start it need a main guard in every script."""
    loader = torch.utils.data.DataLoader(
        rows,
        BATCH,
        num_workers=workers,
        collate_fn=classifier.collate,
        multiprocessing_context="fork",
        worker_init_fn=lambda _number: torch.set_num_threads(1),
    )
    start = time.perf_counter()
    for _ in loader:
        pass
    return len(rows) / (time.perf_counter() - start)


def measure(kind, dataset, model, processor, pools, devices):
    _, rows = data.load(dataset, MODALITIES)
    (column,) = rows.dataset.column_names
    classifier = ADAPTERS[kind].wrap(model.eval(), processor, (column,))
    trials = {
        "the processor alone in a loop": lambda: loop(classifier, rows),
        "one worker": lambda: run(classifier, rows, pools[1], 1)[0],
        "two workers": lambda: run(classifier, rows, pools[2], 2)[0],
        "no worker": lambda: run(classifier, rows, None, 0)[0],
    }
    if devices:
        trials["DataLoader, two workers"] = lambda: data_loader(classifier, rows, 2)
    found = {name: [] for name in trials}
    for _ in range(REPEATS):
        for name, trial in trials.items():
            found[name].append(trial())
    speeds = {name: statistics.median(values) for name, values in found.items()}
    for name, speed in speeds.items():
        print(f"{kind}: {name}: {speed:.1f} rows a second")
    alone, one, two = list(speeds.values())[:3]
    print(f"{kind}: two workers {two / one:.2f} × one; one {one / alone:.2f} × the processor alone")
    if devices:
        for workers in (1, 2):
            runs = [run(classifier, rows, pools[workers], workers, 0.6 / one)[1:] for _ in range(REPEATS)]
            busy, model, first = (statistics.median(values) for values in zip(*runs, strict=True))
            print(
                f"{kind}: a device that needs 0.6 of one core's time is {busy:.1%} busy with {workers} workers ",
                end="",
            )
            print(f"({model:.1%} in the model itself; waiting for the first batch {first:.1%})")


def main(num_pictures=512, num_clips=96):
    torch.set_num_threads(1)
    pools = {size: Pool() for size in (1, 2)}
    for size, pool in pools.items():
        pool.start(size)
        pool.wait()
    vit = ViTForImageClassification(small(ViTConfig, num_labels=2))
    measure("image", pictures(num_pictures), vit, ViTImageProcessorPil(), pools, devices=True)
    ast = ASTForAudioClassification(small(ASTConfig, num_labels=2))
    measure("audio", clips(num_clips), ast, ASTFeatureExtractor(), pools, devices=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
