"""Images: AutoModelForImageClassification with the checkpoint's own image processor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import pixels, text
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, quiet, source_labels, why
from hf_leep.models.modalities import BY_NAME
from hf_leep.models.ragged import OneLengthAtATime, in_one_batch


def _load_processor(path: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        with quiet():
            return AutoImageProcessor.from_pretrained(
                path, backend="pil", trust_remote_code=False, local_files_only=True
            )
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        raise CandidateError(f"its image processor cannot be loaded: {why(error)}") from None


def _assemble(
    model: Any, processor: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    (column,) = columns
    mode = "L" if getattr(model.config, "num_channels", 3) == 1 else "RGB"

    shapes = _shapes_of_two(processor, mode)
    if {"pixel_values", "input_ids"} <= signature(model.forward).parameters.keys() and "input_ids" not in shapes[0]:
        raise CandidateError("it judges an image beside a text (input_ids), and images alone come without one")
    one_size = shapes[0] == shapes[1]
    scale = pixels.scale_of(processor, mode) if one_size else None
    options = pixels.UNSCALED if scale else {}
    if scale:
        model = pixels.Scaled(model, scale)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        images = [_eight_bit(row[column], mode) for row in rows]
        if one_size:
            return dict(processor(images, return_tensors="pt", **options))
        return in_one_batch([dict(processor([image], return_tensors="pt")) for image in images], 3)

    return Classifier(
        model=model if one_size else OneLengthAtATime(model, head),
        head=head,
        collate=collate,
        row_wise=one_size,
        source_labels=source_labels(model.config),
        missing=missing,
        task=BY_NAME["image"].task,
        processor=json.dumps({**json.loads(processor.to_json_string()), "mode": mode}, sort_keys=True),
        processor_backend=getattr(processor, "backend", None),
    )


def _shapes_of_two(processor: Any, mode: str) -> list[dict[str, torch.Size]]:
    """What a processor makes of a wide and of a tall image: name → shape.

    Raises:
        CandidateError: it fails on a plain image.
    """
    from PIL import Image

    try:
        made = [processor([Image.new(mode, sides)], return_tensors="pt") for sides in ((96, 64), (64, 96))]
    except Exception as error:  # each processor raises its own
        raise CandidateError(f"its image processor fails on a plain image: {why(error)}") from None
    return [{name: x.shape for name, x in batch.items()} for batch in made]


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


ADAPTER = Adapter(
    what="image classifier",
    auto_model="AutoModelForImageClassification",
    load_processor=_load_processor,
    assemble=_assemble,
    load_tokenizer=text.ADAPTER.load_processor,
)
