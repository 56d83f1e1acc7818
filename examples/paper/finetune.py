"""Fine-tune a whole network on a task, or train the same architecture from scratch, and test it after each epoch.

Nguyen, Hassner, Seeger, Archambeau: LEEP, ICML 2020. Section 5.1 fine-tunes all parameters of the source model, with
a new head; section 5.5 compares how fast this reaches the accuracy of the same network trained from scratch on the
target alone.

Both use stochastic gradient descent with momentum, images without augmentation, a learning rate that decreases
linearly to zero, and batch normalisation in training mode.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from examples.paper.networks import autocast, minibatches, predict
from hf_leep.arrays import Integers
from hf_leep.inference.forward import accelerator


def train(
    model: nn.Module,
    images: torch.Tensor,
    labels: Integers,
    test_images: torch.Tensor,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int = 32,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    precision: str = "float32",
    seed: int = 0,
    device: str | None = None,
) -> list[NDArray[np.int64]]:
    """Train all of a network's parameters.

    Args:
        model: as from `networks.load`, with a head for the task's classes; it is trained in place.
        images: as from `networks.pixels`, ``[n, channels, height, width]``.
        labels: their classes, ``[n]``.
        test_images: the images to classify after each epoch, ``[m, channels, height, width]``.
        epochs: passes over the images.
        learning_rate: learning rate of the first step.
        batch_size: most images in a step.
        momentum: Nesterov momentum; 0 for none.
        weight_decay: weight decay of all parameters.
        precision: ``float32`` or ``bfloat16``, as in `networks.autocast`.
        seed: seed of the order of the images.
        device: ``cpu``, ``cuda`` or ``mps``; the best available by default.

    Returns:
        The class of each test image after each epoch, ``epochs`` times ``[m]``.
    """
    on = accelerator(device)
    rng = np.random.default_rng(seed)
    steps = epochs * len(minibatches(len(labels), batch_size, np.random.default_rng(0)))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model, optimizer, falling = on.prepare(model, optimizer, falling)
    truth = torch.as_tensor(labels)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        with autocast(precision, on.device):
            return model(pixel_values=batch.to(on.device)).logits.float()

    predicted = []
    try:
        for _ in range(epochs):
            model.train()
            for rows in minibatches(len(labels), batch_size, rng):
                loss = functional.cross_entropy(logits(images[rows]), truth[rows].to(on.device))
                on.backward(loss)
                optimizer.step()
                falling.step()
                optimizer.zero_grad()
            model.eval()
            predicted.append(predict(logits, test_images))
    finally:
        on.free_memory()  # otherwise it keeps every network that it prepared
    return predicted
