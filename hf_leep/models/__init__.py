"""The modalities, and how checkpoints of each are judged, loaded and run. Importing it costs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from hf_leep.models.modalities import BY_NAME, MODALITIES

if TYPE_CHECKING:
    from hf_leep.models.adapter import Adapter
    from hf_leep.models.classifier import Classifier, Inspection

__all__ = ["ADAPTERS", "BY_NAME", "MODALITIES", "Adapter", "Classifier", "Inspection"]

_WHERE = {
    "Adapter": "hf_leep.models.adapter",
    "Classifier": "hf_leep.models.classifier",
    "Inspection": "hf_leep.models.classifier",
}


class _Adapters(Mapping[str, "Adapter"]):
    """Modality → its adapter; the module that defines it, and torch with it, is imported when it is asked for."""

    def __getitem__(self, name: str) -> Adapter:
        module = importlib.import_module(f"hf_leep.models.{BY_NAME[name].adapter}")
        return cast("Adapter", module.ADAPTER)

    def __iter__(self) -> Iterator[str]:
        return iter(BY_NAME)

    def __len__(self) -> int:
        return len(BY_NAME)


ADAPTERS: Mapping[str, Adapter] = _Adapters()


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'hf_leep.models' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
