"""One adapter per modality: which AutoModel, which processor, how rows become tensors."""

from __future__ import annotations

from collections.abc import Mapping

from hf_leep.models import audio, image, text, token, video
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Inspection

__all__ = ["ADAPTERS", "Adapter", "Classifier", "Inspection"]

ADAPTERS: Mapping[str, Adapter] = {
    "audio": audio.ADAPTER,
    "image": image.ADAPTER,
    "text": text.ADAPTER,
    "token": token.ADAPTER,
    "video": video.ADAPTER,
}
