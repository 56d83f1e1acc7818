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
from hf_leep.models.classifier import Classifier, find_head, quiet, why
from hf_leep.models.image import ADAPTER

_AT_ONCE = 256  # images that are prepared, or classified, together


def load(
    path: str,
    columns: Sequence[str],
    *,
    revision: str | None = None,
    num_classes: int | None = None,
    pretrained: bool = True,
) -> Classifier:
    """Load a checkpoint, or its architecture alone.

    Args:
        path: folder or Hub id.
        columns: the image column.
        revision: commit on the Hub; a folder has none.
        num_classes: outputs of a new head, which starts at zero: all classes are equally likely; the checkpoint's own
            head by default.
        pretrained: whether weights are the checkpoint's, or drawn anew from torch's generator.

    Returns:
        The network; its model takes the pixels that `pixels` makes.

    Raises:
        CandidateError: it cannot be loaded, has no single linear head, or makes images of different shapes.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    cifar_resnet.register()
    where = {"trust_remote_code": False, **({} if Path(path).is_dir() else {"revision": revision})}
    try:
        with quiet():
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
        raise CandidateError(f"{path} cannot be trained: {why(error)}") from None
    head = find_head(model)
    if head is None:
        raise CandidateError(f"{path} cannot be trained here: it has no single linear head")
    if num_classes is not None:
        nn.init.zeros_(head.weight)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    _mend(model)
    network = ADAPTER.wrap(model.to(memory_format=torch.channels_last), processor, columns)
    if not network.row_wise:
        raise CandidateError(f"{path} cannot be trained here: its processor makes images of different shapes")
    return network


def _mend(model: nn.Module) -> None:
    """Undo what only shows in training: some ports from TensorFlow state what is kept, where torch means what goes.

    transformers' MobileNetV1 and V2 drop 99.9 % or 80 % of the features, and their batch normalisation forgets all but
    the last batch.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0.5:
            module.p = 1 - module.p
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = 0.1  # torch's default: TensorFlow's 0.0003 would take thousands of steps to follow


def pixels(
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]], rows: Rows, indices: Integers
) -> torch.Tensor:
    """Some of a split's images as a network reads them, ``[n, channels, height, width]``, of 8 bits where it can.

    Args:
        collate: the network's.
        rows: the split.
        indices: which rows, ``[n]``.
    """
    parts = [
        collate([rows[int(i)] for i in indices[start : start + _AT_ONCE]])["pixel_values"]
        for start in range(0, len(indices), _AT_ONCE)
    ]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def predict(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> NDArray[np.int64]:
    """The likeliest class of each image, ``[n]``.

    Args:
        logits: images → logits ``[b, t]``; moves them where it needs them.
        images: as `pixels` makes them.
    """
    return torch.cat([logits(part).argmax(dim=1).cpu() for part in images.split(_AT_ONCE)]).numpy()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch draw from a generator of this seed, and leave the caller's as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def autocast(precision: str, device: torch.device) -> Any:
    """Let a network compute in ``float32``, or the costly parts of it in ``bfloat16``; its weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def minibatches(num_rows: int, batch_size: int, rng: np.random.Generator) -> list[Integers]:
    """All rows in a new order, in batches of nearly one size: none is so small that its moments mean nothing."""
    return np.array_split(rng.permutation(num_rows), max(1, -(-num_rows // batch_size)))
