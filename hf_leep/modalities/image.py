"""Images: AutoModelForImageClassification with the checkpoint's own image processor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_leep.errors import CandidateError, TargetError, one_line
from hf_leep.modalities import classifier, pooled
from hf_leep.modalities.classifier import (
    Classifier,
    Inspection,
    find_head,
    load_config,
    load_model,
    missing_of,
    quiet,
    source_labels,
)

TASK = "image-classification"
_WHAT = "image classifier"


def load(path: Path, columns: Sequence[str], dtype: torch.dtype, allow_pickle: bool = False) -> Classifier:
    """Load an image classifier and its processor from a folder.

    Args:
        path: the checkpoint's folder.
        columns: the image column, one.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        CandidateError: the folder holds no image classifier that transformers can load safely.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    config = load_config(path, AutoModelForImageClassification, _WHAT)
    if pooled.wanted(config, AutoModelForImageClassification):
        model, missing = pooled.load(path, config, AutoModelForImageClassification, dtype, allow_pickle)
        head: nn.Module | None = model.head
    else:
        model, head, missing = load_model(path, config, AutoModelForImageClassification, dtype, allow_pickle)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(
                path, backend="pil", trust_remote_code=False, local_files_only=True
            )
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        raise CandidateError(f"its image processor cannot be loaded: {one_line(error)}") from None
    return _classifier(model, processor, columns, head, missing)


def inspect(path: Path, shapes: Mapping[str, Sequence[int]] | None) -> Inspection:
    """Judge a checkpoint by its config.json and the shapes of its weights.

    Args:
        path: a folder with its config.json.
        shapes: weight → shape, None where they are not known.

    Raises:
        CandidateError: transformers cannot load it as a classifier of this kind.
    """
    from transformers import AutoModelForImageClassification

    return classifier.inspect(path, AutoModelForImageClassification, _WHAT, shapes)


def wrap(model: Any, processor: Any, columns: Sequence[str]) -> Classifier:
    """Make a classifier of a model and an image processor that are in memory already.

    Args:
        model: a transformers image classifier; its mode is left as it is.
        processor: its image processor.
        columns: the image column, one.
    """
    if (backbone := pooled.bare(model)) is not None:
        features = pooled.wrap(backbone)
        return _classifier(features, processor, columns, features.head, pooled.NO_HEAD)
    head = find_head(model)
    return _classifier(model, processor, columns, head, missing_of(model.config, head))


def _classifier(
    model: Any, processor: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    (column,) = columns
    mode = "L" if getattr(model.config, "num_channels", 3) == 1 else "RGB"

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        images = [_eight_bit(row[column], mode) for row in rows]
        return dict(processor(images, return_tensors="pt"))

    return Classifier(
        model=model,
        head=head,
        collate=collate,
        row_wise=not getattr(processor, "do_pad", False),  # padding goes by the largest of the batch
        source_labels=source_labels(model.config),
        missing=missing,
        task=TASK,
        processor=json.dumps({**json.loads(processor.to_json_string()), "mode": mode}, sort_keys=True),
        processor_backend=getattr(processor, "backend", None),
    )


def _eight_bit(image: Any, mode: str) -> Any:
    """An image in the model's mode, 8 bits a channel: what processors and checkpoints expect.

    Raises:
        TargetError: 32-bit pixels, which have no fixed range; Pillow would clip them to white without a word.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):
        from PIL import Image

        sixteen = np.asarray(image)
        return Image.fromarray((sixteen / 257).round().astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise TargetError(
            f"images of mode {image.mode}, 32 bits a pixel, have no fixed range: save them as 8 or 16 bit"
        )
    return image.convert(mode)
