"""Images: AutoModelForImageClassification with the checkpoint's own image processor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np

from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import text
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, describe, source_labels, transformers_silent
from hf_leep.models.modality import Modality

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

    from hf_leep.models.adapter import Model
    from hf_leep.models.processors import ImageProcessor


def _load_processor(path: Path) -> ImageProcessor:
    from transformers import AutoImageProcessor

    try:
        with transformers_silent():
            processor: ImageProcessor = AutoImageProcessor.from_pretrained(
                path, backend="pil", trust_remote_code=False, local_files_only=True
            )
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        raise CandidateError(f"its image processor cannot be loaded ({describe(error)})") from None
    return processor


@dataclass(frozen=True)
class _Collate:
    """Makes the inputs of images; it can be sent to another process."""

    processor: ImageProcessor
    column: str
    mode: str
    one_size: bool
    options: Mapping[str, bool]

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        from hf_leep.models.ragged import in_one_batch

        images = [_eight_bit(row[self.column], self.mode) for row in rows]
        if self.one_size:
            return dict(self.processor(images, return_tensors="pt", **self.options))
        return in_one_batch([dict(self.processor([image], return_tensors="pt")) for image in images], 3)


def _assemble(
    model: Model,
    processor: ImageProcessor,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    from hf_leep.models.pixels import UNSCALED, Scaled, scale_of
    from hf_leep.models.ragged import OneLengthAtATime

    (column,) = columns
    mode = "L" if getattr(model.config, "num_channels", 3) == 1 else "RGB"

    shapes = _shapes_of_two(processor, mode)
    if {"pixel_values", "input_ids"} <= signature(model.forward).parameters.keys() and "input_ids" not in shapes[0]:
        raise CandidateError("it needs a text beside each image (input_ids), and there is none")
    one_size = shapes[0] == shapes[1]
    scale = scale_of(processor, mode) if one_size else None
    scaled = Scaled(model, scale) if scale else model
    return Classifier(
        model=scaled if one_size else OneLengthAtATime(model, head),
        head=head,
        collate=_Collate(processor, column, mode, one_size, UNSCALED if scale else {}),
        row_wise=one_size,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=json.dumps({**json.loads(processor.to_json_string()), "mode": mode}, sort_keys=True),
        processor_backend=getattr(processor, "backend", None),
    )


def _shapes_of_two(processor: ImageProcessor, mode: str) -> list[dict[str, torch.Size]]:
    """The shapes of the inputs that a processor makes of a wide and of a tall image, by name.

    Raises:
        CandidateError: it fails on an image of one colour.
    """
    from PIL import Image

    try:
        made = [processor([Image.new(mode, sides)], return_tensors="pt") for sides in ((96, 64), (64, 96))]
    except Exception as error:  # processors raise exceptions of any kind
        raise CandidateError(f"its image processor fails on a plain image ({describe(error)})") from None
    return [{name: x.shape for name, x in batch.items()} for batch in made]


def _eight_bit(image: Image, mode: str) -> Image:
    """An image in the model's mode, with 8 bits a channel, as processors and checkpoints expect.

    Raises:
        TargetError: 32-bit pixels, which have no fixed range; Pillow would clip them to white without a warning.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):
        from PIL.Image import fromarray

        sixteen = np.asarray(image)
        return fromarray((sixteen / 257).round().astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise TargetError(
            f"images of mode {image.mode}, 32 bits a pixel, have no fixed range: save them as 8 or 16 bit"
        )
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours; otherwise Pillow warns of the transparency
    return image.convert(mode)


MODALITY = Modality(
    name="image",
    task="image-classification",
    unit="images",
    input_names=(("image",), ("images",), ("img",)),
    accepts=lambda _name, feature: isinstance(feature, datasets.Image),
    decoder=lambda: "pil",
    adapter=Adapter(
        what="image classifier",
        auto_model="AutoModelForImageClassification",
        load_processor=_load_processor,
        assemble=_assemble,
        load_tokenizer=text.load_tokenizer,
    ),
)
