"""What hf_leep needs of the processors of transformers, whose own classes do not say it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image


class ImageProcessor(Protocol):
    """An image or video processor; some lack the attributes."""

    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: float | Sequence[float]
    image_std: float | Sequence[float]

    def __call__(self, images: Sequence[Image], /, **options: object) -> Mapping[str, torch.Tensor]:
        """The model's inputs of a batch of images, or of one video."""

    def to_json_string(self) -> str:
        """Its configuration."""


class FeatureExtractor(Protocol):
    """A feature extractor of sounds."""

    sampling_rate: int

    def __call__(self, waves: Sequence[NDArray[np.float32]], /, **options: object) -> Mapping[str, torch.Tensor]:
        """The model's inputs of a batch of sounds, ``[samples]`` each."""

    def to_json_string(self) -> str:
        """Its configuration."""
