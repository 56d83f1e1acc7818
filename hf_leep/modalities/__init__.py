"""One adapter per modality: which AutoModel, which processor, how rows become tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hf_leep.modalities import image, text
from hf_leep.modalities.classifier import Classifier

__all__ = ["ADAPTERS", "Adapter", "Classifier"]


@dataclass(frozen=True)
class Adapter:
    """What the pipeline needs of a modality.

    Attributes:
        load: ``(folder, columns, dtype) -> Classifier``: a checkpoint from disk.
        wrap: ``(model, processor, columns) -> Classifier``: a model that is in memory already.
    """

    load: Callable[..., Classifier]
    wrap: Callable[..., Classifier]


ADAPTERS: Mapping[str, Adapter] = {
    "image": Adapter(image.load, image.wrap),
    "text": Adapter(text.load, text.wrap),
}
