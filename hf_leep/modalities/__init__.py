"""One adapter per modality: which AutoModel, which processor, how rows become tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from hf_leep.modalities.classifier import Classifier
from hf_leep.modalities.image import load_image_classifier

__all__ = ["LOADERS", "Classifier"]

LOADERS: Mapping[str, Callable[[Path, Sequence[str], torch.dtype], Classifier]] = {"image": load_image_classifier}
