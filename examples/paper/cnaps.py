"""A small CNAPs: a classifier that adapts to a task in one forward pass, meta-trained on other classes.

Requeima, Gordon, Bronskill, Nowozin, Turner: Fast and Flexible Multi-Task Classification Using Conditional Neural
Adaptive Processes, NeurIPS 2019. The backbone is the source model, and is frozen. The labelled images of a task, the
context, are used to compute

- one vector, with a set encoder: a small convolutional network for each image, and the mean over the images (section
  2.2);
- from this vector the FiLM parameters of each normalisation layer of the backbone, a scale γ and a shift β for each
  channel (Perez et al. 2018): its output x becomes (1 + γ) x + β;
- the weights of a linear head, for each class from the mean feature of its images in the adapted backbone.

The autoregressive part of the set encoder is left out. Before meta-training FiLM is the identity, and the head is the
classifier by the nearest class mean, w_c = s μ_c and b_c = −½ s ‖μ_c‖².
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from examples.paper.networks import autocast, predict
from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError
from hf_leep.inference.forward import accelerator
from hf_leep.models.classifier import Classifier

_CONTEXT = 64  # width of the vector of a set of images
_HIDDEN = 64
_SIDE = 32  # height and width of the images in the set encoder
_SHARPNESS = 16.0  # s ‖f‖² at the start
_NORMALISATION = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
_WAYS, _SHOTS, _QUERIES = (
    (5, 10),
    (5, 20),
    8,
)  # of an episode: classes, context images per class, query images per class
_LARGEST_STEP = 1.0


@dataclass(frozen=True)
class Adapted:
    """The parameters that are generated for a task.

    Attributes:
        film: γ and β of each normalisation layer, ``[channels]`` each.
        weights: weights of the head, ``[t, d]``.
        bias: bias of the head, ``[t]``.
    """

    film: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    weights: torch.Tensor
    bias: torch.Tensor


class Cnaps(nn.Module):
    """A frozen backbone, and the networks that adapt it.

    Args:
        network: the source model, as from `networks.load`; its head is removed.
        precision: ``float32`` or ``bfloat16`` for the backbone, as in `networks.autocast`.

    Raises:
        CandidateError: the backbone has no layer that can be adapted.
    """

    def __init__(self, network: Classifier, precision: str = "float32") -> None:
        super().__init__()
        model, head = network.model, network.head
        layers = [module for module in model.modules() if isinstance(module, _NORMALISATION)]
        if not isinstance(head, nn.Linear) or not layers:
            raise CandidateError("CNAPs adapts normalisation layers before a linear head: this checkpoint has none")
        model.set_submodule(next(name for name, module in model.named_modules() if module is head), nn.Identity())
        self.backbone = model.eval().requires_grad_(False)
        self.encoder = SetEncoder()
        self.film = nn.ModuleList(_generator(_CONTEXT, 2 * _width(layer)) for layer in layers)
        self.head = _generator(head.in_features, head.in_features + 1)
        self.log_sharpness = nn.Parameter(torch.tensor(_SHARPNESS / head.in_features).log())
        self._precision = precision
        self._film: tuple[tuple[torch.Tensor, torch.Tensor], ...] | None = None
        for number, layer in enumerate(layers):
            layer.register_forward_hook(self._modulate(number))

    def adapt(self, context: torch.Tensor, labels: torch.Tensor, num_classes: int) -> Adapted:
        """Generate the parameters for a task.

        Args:
            context: labelled images, ``[n, channels, height, width]``.
            labels: their classes, ``[n]`` in 0 … t − 1; all occur.
            num_classes: number of classes t.
        """
        task = self.encoder(context)
        film = tuple(tuple(generator(task).chunk(2)) for generator in self.film)
        indicator = functional.one_hot(labels, num_classes).T.float()
        means = indicator @ self.features(context, film) / indicator.sum(dim=1, keepdim=True)
        change = self.head(means)
        sharpness = self.log_sharpness.exp()
        weights = sharpness * (means + change[:, :-1])
        return Adapted(film, weights, sharpness * (change[:, -1] - (means**2).sum(dim=1) / 2))

    def logits(self, images: torch.Tensor, adapted: Adapted) -> torch.Tensor:
        """Images of the task ``[m, channels, height, width]`` → logits ``[m, t]``."""
        return self.features(images, adapted.film) @ adapted.weights.T + adapted.bias

    def features(
        self, images: torch.Tensor, film: tuple[tuple[torch.Tensor, torch.Tensor], ...] | None
    ) -> torch.Tensor:
        """Compute features of the adapted backbone; each vector is scaled to mean 0 and standard deviation 1."""
        self._film = film
        try:
            with autocast(self._precision, images.device):
                found = self.backbone(pixel_values=images).logits
        finally:
            self._film = None
        return functional.layer_norm(found.float(), found.shape[1:])

    def adapter(self) -> dict[str, torch.Tensor]:
        """Return the weights that are meta-trained: all except the backbone's."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.")}

    def _modulate(self, number: int) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
        def hook(layer: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
            if self._film is None:
                return output
            last = isinstance(layer, nn.LayerNorm) and getattr(layer, "data_format", "") != "channels_first"
            shape = (-1,) if last else (-1, 1, 1)
            gamma, beta = (x.to(output.dtype).reshape(shape) for x in self._film[number])
            return output * (1 + gamma) + beta

        return hook


class SetEncoder(nn.Module):
    """Encodes a set of images as one vector ``[64]``, independent of their order."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, _CONTEXT)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[n, channels, height, width]`` → ``[64]``."""
        x = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
        x = functional.adaptive_avg_pool2d(x, _SIDE).expand(-1, 3, -1, -1)
        for convolution in self.convolutions:
            x = functional.max_pool2d(functional.relu(convolution(x)), 2)
        return x.mean(dim=(0, 2, 3))


def _generator(width: int, outputs: int) -> nn.Sequential:
    """Make a small network whose output is zero before training."""
    last = nn.Linear(_HIDDEN, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), last)


def _width(layer: nn.Module) -> int:
    if isinstance(layer, nn.LayerNorm):
        return int(layer.normalized_shape[-1])
    return int(layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features)  # type: ignore[arg-type]


def meta_train(
    cnaps: Cnaps,
    images: torch.Tensor,
    labels: Integers,
    *,
    episodes: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | None = None,
) -> list[float]:
    """Learn to adapt, from episodes with 5 to 10 classes, each with 5 to 20 context and 8 query images.

    Args:
        cnaps: trained in place.
        images: images of the classes to draw episodes from, ``[n, channels, height, width]``.
        labels: their classes, ``[n]``; any integers.
        episodes: number of episodes, one step each.
        learning_rate: first learning rate of Adam; it decreases linearly to zero.
        seed: seed of the episodes.
        device: ``cpu``, ``cuda`` or ``mps``; the best available by default.

    Returns:
        Accuracy on the query images of each episode, before its step.
    """
    on = accelerator(device)
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    learned = [parameter for parameter in cnaps.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=learning_rate)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / episodes)
    cnaps, optimizer, falling = on.prepare(cnaps, optimizer, falling)
    right = []
    try:
        for context, query in _episodes(rows_of, episodes, rng):
            num_classes = len(context)
            shown, asked = (images[np.concatenate(rows)].to(on.device) for rows in (context, query))
            given, truth = (
                torch.arange(num_classes, device=on.device).repeat_interleave(len(rows[0]))
                for rows in (context, query)
            )
            logits = cnaps.logits(asked, cnaps.adapt(shown, given, num_classes))
            on.backward(functional.cross_entropy(logits, truth))
            on.clip_grad_norm_(learned, _LARGEST_STEP)
            optimizer.step()
            falling.step()
            optimizer.zero_grad()
            right.append(float((logits.argmax(dim=1) == truth).float().mean()))
    finally:
        on.free_memory()
    return right


def _episodes(
    rows_of: list[Integers], episodes: int, rng: np.random.Generator
) -> Iterator[tuple[list[Integers], list[Integers]]]:
    """Yield for each episode the rows of the context and query images of each class; fewer where classes are small."""
    fewest = min(len(rows) for rows in rows_of)
    queries = min(_QUERIES, fewest // 2)
    for _ in range(episodes):
        ways = int(rng.integers(min(_WAYS[0], len(rows_of)), min(_WAYS[1], len(rows_of)), endpoint=True))
        shots = min(int(rng.integers(*_SHOTS, endpoint=True)), fewest - queries)
        drawn = [
            rng.choice(rows_of[c], shots + queries, replace=False)
            for c in rng.choice(len(rows_of), ways, replace=False)
        ]
        yield [rows[:shots] for rows in drawn], [rows[shots:] for rows in drawn]


@torch.inference_mode()
def classify(
    cnaps: Cnaps, context: torch.Tensor, labels: Integers, query: torch.Tensor, *, device: str | None = None
) -> NDArray[np.int64]:
    """Adapt to a task and classify its test images, without training.

    Args:
        cnaps: a meta-trained CNAPs.
        context: the task's training images, ``[n, channels, height, width]``.
        labels: their classes, ``[n]`` in 0 … t − 1; each occurs.
        query: its test images, ``[m, channels, height, width]``.
        device: as in `meta_train`.

    Returns:
        The class of each test image, ``[m]``.
    """
    where = accelerator(device).device
    cnaps = cnaps.to(where)
    adapted = cnaps.adapt(context.to(where), torch.as_tensor(labels, device=where), int(labels.max()) + 1)
    return predict(lambda part: cnaps.logits(part.to(where), adapted), query)


def save(cnaps: Cnaps, path: Path) -> None:
    """Write the meta-trained weights, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file({name: tensor.contiguous().cpu() for name, tensor in cnaps.adapter().items()}, partial)
    partial.replace(path)


def restore(cnaps: Cnaps, path: Path) -> None:
    """Load what `save` wrote into a CNAPs with the same backbone."""
    cnaps.load_state_dict({**cnaps.state_dict(), **load_file(path)})
