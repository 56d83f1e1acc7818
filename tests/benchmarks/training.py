"""Steps of fine-tuning with channels last, against channels first: ``python tests/benchmarks/training.py [THREADS]``.

Steps in turns (forward, backward, AdamW) of networks with random weights, on 16 images in float32. Prints the ratio of
the medians.
"""

import statistics
import sys
import time

import torch
import transformers as hf
from torch.nn.functional import cross_entropy

STEPS, IMAGES = 6, 16
NETWORKS = {
    "MobileNetV1 0.25, 224": (lambda: hf.MobileNetV1Config(depth_multiplier=0.25), 224),
    "MobileNetV1 0.5, 160": (lambda: hf.MobileNetV1Config(depth_multiplier=0.5), 160),
    "MobileNetV2 0.5, 160": (lambda: hf.MobileNetV2Config(depth_multiplier=0.5), 160),
    "EfficientNet B0, 160": (
        lambda: hf.EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280),
        160,
    ),
    "ResNet 18, 160": (
        lambda: hf.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic"),
        160,
    ),
    "ConvNeXt Atto, 160": (lambda: hf.ConvNextConfig(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320]), 160),
    "ViT Tiny, 224": (
        lambda: hf.ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768),
        224,
    ),
}


def step(config, pixels, memory_format):
    """A function that takes one step of a network in a memory format."""
    torch.manual_seed(0)
    model = hf.AutoModelForImageClassification.from_config(config).train().to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    images = torch.randn(IMAGES, 3, pixels, pixels).contiguous(memory_format=memory_format)
    labels = torch.arange(IMAGES) % 2

    def take():
        optimizer.zero_grad()
        cross_entropy(model(pixel_values=images).logits, labels).backward()
        optimizer.step()

    return take


def main(threads=1):
    """Print one line a network."""
    torch.set_num_threads(int(threads))
    print(f"torch {torch.__version__}, {threads} thread(s), {IMAGES} images a step: channels last takes")
    for name, (config, pixels) in NETWORKS.items():
        formats = (torch.contiguous_format, torch.channels_last)
        steps = [step(config(), pixels, memory_format) for memory_format in formats]
        seconds = ([], [])
        for _ in range(STEPS + 1):
            for take, taken in zip(steps, seconds, strict=True):
                started = time.perf_counter()
                take()
                taken.append(time.perf_counter() - started)
        first, last = (statistics.median(taken[1:]) for taken in seconds)
        print(f"{name}: {last / first:.2f} of {1000 * first:.0f} ms", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
