"""A source model as a network that can be trained, and images as the tensors that it reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.paper import cifar_resnet
from hf_leep.arrays import Integers
from hf_leep.data import Rows
from hf_leep.errors import CandidateError
from hf_leep.models.classifier import Classifier, describe, find_head, transformers_silent
from hf_leep.models.image import MODALITY

_AT_ONCE = 256  # images that are processed or classified at a time


def load(
    path: str,
    columns: Sequence[str],
    *,
    revision: str | None = None,
    num_classes: int | None = None,
    pretrained: bool = True,
) -> Classifier:
    """Load a checkpoint, or only its architecture.

    Args:
        path: folder or Hub id.
        columns: the image column.
        revision: commit on the Hub; None for a folder.
        num_classes: outputs of a new head, whose weights are zero, so that all classes are equally likely; by default
            the checkpoint's own head is kept.
        pretrained: whether to use the checkpoint's weights, or draw new ones from torch's generator.

    Returns:
        The network; its model takes the pixels from `pixels`.

    Raises:
        CandidateError: it cannot be loaded, has no single linear head, or its processor keeps images of different
            shapes.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    cifar_resnet.register()
    where = {"trust_remote_code": False, **({} if Path(path).is_dir() else {"revision": revision})}
    try:
        with transformers_silent():
            processor = AutoImageProcessor.from_pretrained(path, backend="pil", **where)
            changes = {} if num_classes is None else {"num_labels": num_classes}
            config = AutoConfig.from_pretrained(path, **changes, **where)
            if pretrained:
                model = AutoModelForImageClassification.from_pretrained(
                    path, config=config, ignore_mismatched_sizes=True, **where
                )
            else:
                model = AutoModelForImageClassification.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise CandidateError(f"{path} cannot be trained: {describe(error)}") from None
    head = find_head(model)
    if head is None:
        raise CandidateError(f"{path} cannot be trained here: it has no single linear head")
    if num_classes is not None:
        nn.init.zeros_(head.weight)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    _fix_for_training(model)
    network = MODALITY.adapter.wrap(model.to(memory_format=torch.channels_last), processor, columns)
    if not network.row_wise:
        raise CandidateError(f"{path} cannot be trained here: its processor makes images of different shapes")
    return network


def _fix_for_training(model: nn.Module) -> None:
    """Correct dropout and momentum of models ported from TensorFlow, whose values have the opposite meaning in torch.

    Dropout there is the share that is kept, and momentum the share of the old average. Without this, transformers'
    MobileNetV1 and V2 drop 99.9 % or 80 % of the features in training, and their batch normalisation uses little but
    the last batch.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0.5:
            module.p = 1 - module.p
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = (
                0.1  # torch's default; with TensorFlow's 0.0003 the averages would need thousands of steps
            )


def pixels(
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]], rows: Rows, indices: Integers
) -> torch.Tensor:
    """Process some of a split's images for a network, ``[n, channels, height, width]``, as 8-bit integers if possible.

    Args:
        collate: the network's ``collate``.
        rows: the split.
        indices: the rows to process, ``[n]``.
    """
    parts = [
        collate([rows[int(i)] for i in indices[start : start + _AT_ONCE]])["pixel_values"]
        for start in range(0, len(indices), _AT_ONCE)
    ]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def predict(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> NDArray[np.int64]:
    """Predict the class of each image, ``[n]``.

    Args:
        logits: images → logits ``[b, t]``; moves the images to its device.
        images: as from `pixels`.
    """
    return torch.cat([logits(part).argmax(dim=1).cpu() for part in images.split(_AT_ONCE)]).numpy()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def autocast(precision: str, device: torch.device) -> Any:
    """Compute in ``float32``, or, for the costly operations, in ``bfloat16``; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def minibatches(num_rows: int, batch_size: int, rng: np.random.Generator) -> list[Integers]:
    """Return all rows in random order, in batches of nearly equal size: none is too small for batch normalisation."""
    return np.array_split(rng.permutation(num_rows), max(1, -(-num_rows // batch_size)))
