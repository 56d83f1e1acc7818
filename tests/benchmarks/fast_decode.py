"""What `--fast-decode` does to scores: ``python tests/benchmarks/fast_decode.py DATASET SPLIT ROWS CHECKPOINT…``.

The images of a data set are enlarged to JPEGs of 1200 × 900 pixels, which are decoded at half their size; and, since
enlarged images are smooth, so are those with the pixels of scikit-learn's two pictures added to them as a detail that
has nothing to do with the class. Prints LEEP of each checkpoint with and without, and whether the order changes.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import io
import sys
from pathlib import Path

import datasets
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import hf_leep
from hf_leep import data
from hf_leep.models import MODALITIES

WIDTH, HEIGHT = 1200, 900
DETAIL = 0.5  # how much of the other pictures' detail is added


def detail(generator):
    """What is lost of a picture when it is halved twice, for a random part of it: ``[HEIGHT, WIDTH, 3]``."""
    picture = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[generator.integers(2)]))
    left, top = generator.integers(0, 40), generator.integers(0, 26)
    part = picture.crop((left, top, left + 600, top + 400)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    smooth = part.resize((WIDTH // 4, HEIGHT // 4)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(part, dtype=np.float32) - np.asarray(smooth, dtype=np.float32)


def enlarged(dataset, split, count, with_detail):
    target, rows = data.load(dataset, MODALITIES, split=split, max_samples=count)
    generator = np.random.default_rng(0)
    (column,) = target.input_columns
    made = []
    for k, label in enumerate(target.labels.tolist()):
        pixels = rows[k][column].convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        if with_detail:
            sharp = np.asarray(pixels, dtype=np.float32) + DETAIL * detail(generator)
            pixels = Image.fromarray(sharp.clip(0, 255).astype(np.uint8))
        file = io.BytesIO()
        pixels.save(file, "JPEG", quality=90)
        made.append({"image": {"bytes": file.getvalue(), "path": None}, "label": label})
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(target.class_names))}
    )
    return datasets.Dataset.from_list(made, features=features)


def scores(checkpoints, dataset, fast):
    execution = hf_leep.Execution(cache=False, batch_size=16, fast_decode=fast)
    report = hf_leep.rank(checkpoints, dataset, measures="leep", execution=execution, progress=False)
    return {c["id"]: (c["scores"]["leep"]["value"], c["scores"]["leep"]["standard_error"]) for c in report.candidates}


def main(dataset, split, count, checkpoints):
    for with_detail in (False, True):
        large = enlarged(dataset, split, count, with_detail)
        whole, fast = scores(checkpoints, large, fast=False), scores(checkpoints, large, fast=True)
        print("with detail" if with_detail else "enlarged")
        for name, (value, error) in whole.items():
            change = fast[name][0] - value
            print(f"  {Path(name).name}: LEEP {value:.4f} ± {error:.4f}, with --fast-decode {change:+.4f}")
        orders = [sorted(found, key=lambda name: -found[name][0]) for found in (whole, fast)]
        print("  the same order" if orders[0] == orders[1] else "  another order")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
