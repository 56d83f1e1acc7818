"""A pool of candidates for the checks of racing and of mixed pools: ``pool.py DATA MODELS FOLDER [ROWS]``.

DATA holds CIFAR100 images (splits train and test), MODELS the five checkpoints: two CIFAR10 ResNets and three ImageNet
MobileNets. Copies of these are added: two fine-tuned for one or three epochs on the test split with a head for 100
classes, and noisy ones, with each weight w replaced by w (1 + σ ε). All run once over ROWS rows of the train split
(all by default). FOLDER gets one file per candidate with its probabilities, features, labels and head.
"""

import copy
import os
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from hf_leep.models import MODALITIES

# name → checkpoint, noise of the weights, epochs of fine-tuning
POOL = {
    "resnet20": ("cifar10_resnet20", 0, 0),
    "resnet56": ("cifar10_resnet56", 0, 0),
    "mobilenet-128": ("mobilenet_v1_0.25_128_imagenet", 0, 0),
    "mobilenet-160": ("mobilenet_v1_0.5_160_imagenet", 0, 0),
    "mobilenet-224": ("mobilenet_v1_0.25_224_imagenet_float", 0, 0),
    "resnet20-tuned": ("cifar10_resnet20", 0, 3),
    "resnet20-tuned-less": ("cifar10_resnet20", 0, 1),
    "resnet20-noised-1": ("cifar10_resnet20", 0.05, 0),
    "resnet20-noised-2": ("cifar10_resnet20", 0.1, 0),
    "resnet20-noised-3": ("cifar10_resnet20", 0.3, 0),
    "resnet56-noised": ("cifar10_resnet56", 0.1, 0),
    "mobilenet-128-noised-1": ("mobilenet_v1_0.25_128_imagenet", 0.02, 0),
    "mobilenet-128-noised-2": ("mobilenet_v1_0.25_128_imagenet", 0.1, 0),
    "mobilenet-160-noised": ("mobilenet_v1_0.5_160_imagenet", 0.05, 0),
}


def load(folder):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from examples.paper.cifar_resnet import load_plain

    if "resnet" in folder.name:
        return load_plain(folder)
    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    return model, AutoImageProcessor.from_pretrained(folder, backend="pil")


def noised(model, sigma, generator):
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + sigma * torch.randn(weight.shape, generator=generator))
    return model


def fine_tuned(model, processor, rows, labels, epochs, generator):
    """Train all weights, with a new head, on the rows."""
    model.classifier = torch.nn.Linear(model.classifier.in_features, 100)
    images = [rows[i]["image"].convert("RGB") for i in range(len(rows))]
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    labels = torch.from_numpy(labels)
    model.train()
    steps = epochs * len(labels) // 64
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        batch = torch.randint(len(labels), (64,), generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels[batch]).logits, labels[batch]).backward()
        optimizer.step()
    model.config.id2label = {i: f"class {i}" for i in range(100)}
    return model.eval()


def main(dataset, models, folder, rows=None):
    from hf_leep import api, data

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target, images = data.load(
        dataset, MODALITIES, split="train", max_samples=int(rows) if rows else None, progress=False
    )
    tuning, tuning_images = data.load(dataset, MODALITIES, split="test", progress=False)
    for name, (checkpoint, sigma, epochs) in POOL.items():
        if (folder / f"{name}.npz").exists():
            continue
        start = time.perf_counter()
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        model, processor = copy.deepcopy(load(Path(models, checkpoint)))
        if sigma:
            model = noised(model, sigma, generator)
        if epochs:
            model = fine_tuned(model, processor, tuning_images, tuning.labels, epochs, generator)
        found = api.extract((name, model, processor), target, images, cache=False)
        head = {
            "head_weight": model.classifier.weight.detach().numpy(),
            "head_bias": model.classifier.bias.detach().numpy(),
        }
        arrays = {"probabilities": found.probabilities, "features": found.features, "labels": target.labels}
        np.savez(folder / f"{name}.npz", **arrays, **head)
        print(f"{name}: {found.probabilities.shape} in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
