"""The earlier name of `hf_leep.models`, for scripts that import it."""

from hf_leep.models import ADAPTERS, BY_NAME, MODALITIES, Modality

__all__ = ["ADAPTERS", "BY_NAME", "MODALITIES", "Modality"]
