"""Images: AutoModelForImageClassification with the checkpoint's own image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.modalities.classifier import (
    Classifier,
    find_head,
    load_config,
    load_model,
    missing_of,
    quiet,
    source_labels,
)

TASK = "image-classification"


def load(path: Path, columns: Sequence[str], dtype: torch.dtype) -> Classifier:
    """Load an image classifier and its processor from a folder.

    Args:
        path: the checkpoint's folder.
        columns: the image column, one.
        dtype: number type of the weights.

    Raises:
        CandidateError: the folder holds no image classifier that transformers can load safely.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    config = load_config(path, AutoModelForImageClassification, "image classifier")
    model, head, missing = load_model(path, config, AutoModelForImageClassification, dtype)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(
                path, backend="pil", trust_remote_code=False, local_files_only=True
            )
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        raise CandidateError(f"its image processor cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    return _classifier(model, processor, columns, head, missing)


def wrap(model: Any, processor: Any, columns: Sequence[str]) -> Classifier:
    """Make a classifier of a model and an image processor that are in memory already.

    Args:
        model: a transformers image classifier; it is put into evaluation mode.
        processor: its image processor.
        columns: the image column, one.
    """
    head = find_head(model)
    return _classifier(model.eval(), processor, columns, head, missing_of(model.config, head))


def _classifier(
    model: Any, processor: Any, columns: Sequence[str], head: nn.Linear | None, missing: Mapping[str, str]
) -> Classifier:
    (column,) = columns
    mode = "L" if getattr(model.config, "num_channels", 3) == 1 else "RGB"

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        images = [row[column] if row[column].mode == mode else row[column].convert(mode) for row in rows]
        return dict(processor(images, return_tensors="pt"))

    return Classifier(
        model=model,
        head=head,
        collate=collate,
        source_labels=source_labels(model.config),
        missing=missing,
        task=TASK,
        processor=processor.to_json_string(),
        processor_backend=getattr(processor, "backend", None),
    )
