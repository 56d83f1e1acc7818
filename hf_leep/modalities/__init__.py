"""One adapter per modality: which AutoModel, which processor, how rows become tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hf_leep.modalities import audio, image, text
from hf_leep.modalities.classifier import Classifier, Inspection

__all__ = ["ADAPTERS", "Adapter", "Classifier", "Inspection"]


@dataclass(frozen=True)
class Adapter:
    """What the pipeline needs of a modality.

    Attributes:
        task: Hub task.
        inspect: ``(folder with a config.json, shapes of the weights) -> Inspection``: before anything is loaded.
        load: ``(folder, columns, dtype, allow_pickle) -> Classifier``: a checkpoint from disk.
        wrap: ``(model, processor, columns) -> Classifier``: a model that is in memory already.
    """

    task: str
    inspect: Callable[..., Inspection]
    load: Callable[..., Classifier]
    wrap: Callable[..., Classifier]


ADAPTERS: Mapping[str, Adapter] = {
    "audio": Adapter(audio.TASK, audio.inspect, audio.load, audio.wrap),
    "image": Adapter(image.TASK, image.inspect, image.load, image.wrap),
    "text": Adapter(text.TASK, text.inspect, text.load, text.wrap),
}
