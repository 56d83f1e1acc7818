"""Scale and normalise pixels on the device instead of in the processor.

Processors scale and normalise each image on its own, in numpy, on one core; for small images that takes longer than
everything else they do. Here both steps run on the device, for a whole batch at once, with the same result to the last
bit. Until then pixels have 8 bits, so those that are kept for the next candidate take a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from hf_leep.models.adapter import Model
    from hf_leep.models.backbone import HasLogits
    from hf_leep.models.processors import ImageProcessor

PIXELS = "pixel_values"
UNSCALED = {"do_rescale": False, "do_normalize": False}


@dataclass(frozen=True)
class Scale:
    """The last step of an image processor: (x / divisor − mean) / standard deviation.

    Attributes:
        divisor: a number; dividing by it rounds like the processor, which multiplies by its inverse in float64.
        mean: mean of each channel, ``[channels, 1, 1]``.
        std: standard deviation of each channel, ``[channels, 1, 1]``.
    """

    divisor: float
    mean: torch.Tensor
    std: torch.Tensor

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels of 8 bits ``[n, channels, height, width]`` → float32."""
        return pixels.float().div_(self.divisor).sub_(self.mean).div_(self.std)


class Scaled(nn.Module):
    """A model that takes pixels of 8 bits, and first scales and normalises them as its processor would have.

    Args:
        model: a transformers classifier, or a pooled backbone.
        scale: the last step of the processor.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Model, scale: Scale) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._divisor = scale.divisor
        self.register_buffer("mean", scale.mean)  # buffers move to a device with the model
        self.register_buffer("std", scale.std)
        self._dtype = next(model.parameters()).dtype

    @property
    def pooled_by(self) -> str | None:
        """How the features are pooled, where there is no head."""
        return getattr(self.model, "pooled_by", None)

    def forward(self, pixel_values: torch.Tensor, **rest: torch.Tensor) -> HasLogits:
        """The model's own outputs."""
        scaled = Scale(self._divisor, self.mean, self.std)(pixel_values)
        outputs: HasLogits = self.model(pixel_values=scaled.to(self._dtype), **rest)
        return outputs


def scale_of(processor: ImageProcessor, mode: str) -> Scale | None:
    """Read the last step of a processor from its settings, and check on two images of noise that it is exactly that.

    None where the results differ in any bit, or cannot be compared.

    Args:
        processor: an image processor.
        mode: mode of the images, ``RGB`` or ``L``.
    """
    from PIL import Image

    generator = np.random.default_rng(0)
    try:
        scale = _stated(processor)
        for height, width in ((48, 64), (300, 280)):
            noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            image = Image.fromarray(noise).convert(mode)
            whole = processor([image], return_tensors="pt")
            plain = processor([image], return_tensors="pt", **UNSCALED)
            if not _same(whole, plain, scale):
                return None
    except Exception:  # a processor of another kind: it keeps this step
        return None
    return scale


def _stated(processor: ImageProcessor) -> Scale:
    """The last step that the processor's settings state."""
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    channels = [
        torch.tensor(np.atleast_1d(np.asarray(value, dtype=np.float32)))[:, None, None] for value in (mean, std)
    ]
    return Scale(1 / processor.rescale_factor if processor.do_rescale else 1.0, *channels)


def _same(whole: Mapping[str, torch.Tensor], plain: Mapping[str, torch.Tensor], scale: Scale) -> bool:
    """Whether the unscaled pixels, once scaled, equal the processor's own, and all other inputs are equal."""
    pixels = plain[PIXELS]
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or set(whole) != set(plain):
        return False
    others = all(torch.equal(whole[name], plain[name]) for name in whole if name != PIXELS)
    return others and torch.equal(scale(pixels), whole[PIXELS].float())
