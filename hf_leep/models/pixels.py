"""Pixels of 8 bits all the way to the model, which scales them itself.

Processors scale and normalise each image on its own, in numpy, on one core: on small images that takes longer than all
the rest of what they do. So both steps are left to the device, for a whole batch at once, with the same result to the
last bit; and what is kept for the next candidate takes a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

PIXELS = "pixel_values"
UNSCALED = {"do_rescale": False, "do_normalize": False}


@dataclass(frozen=True)
class Scale:
    """What a processor does to its pixels in the end: x / divisor, minus the mean, by the standard deviation.

    Attributes:
        divisor: a number; dividing by it rounds as the processor's product with its inverse does, in float64.
        mean: of each channel, ``[channels, 1, 1]``.
        std: of each channel, ``[channels, 1, 1]``.
    """

    divisor: float
    mean: torch.Tensor
    std: torch.Tensor

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels of 8 bits ``[n, channels, height, width]`` → float32."""
        return pixels.float().div_(self.divisor).sub_(self.mean).div_(self.std)


class Scaled(nn.Module):
    """A model that is given pixels of 8 bits, and turns them into what its processor would have made of them.

    Args:
        model: a transformers classifier, or a pooled backbone.
        scale: what the processor would have done.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, scale: Scale) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._divisor = scale.divisor
        self.register_buffer("mean", scale.mean)  # buffers go where the model goes
        self.register_buffer("std", scale.std)
        self._dtype = next(model.parameters()).dtype

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def pooled_by(self) -> str | None:
        """How the features were pooled, where there is no head."""
        return getattr(self.model, "pooled_by", None)

    def forward(self, pixel_values: torch.Tensor, **rest: torch.Tensor) -> Any:
        """The model's own outputs."""
        scaled = Scale(self._divisor, self.mean, self.std)(pixel_values)
        return self.model(pixel_values=scaled.to(self._dtype), **rest)


def scale_of(processor: Any, mode: str) -> Scale | None:
    """What a processor does to its pixels in the end, if that is all that it does to them.

    It is asked, and tried on two images of noise: None where the two ways differ in any bit, or cannot be compared.

    Args:
        processor: an image processor.
        mode: of the images that it is given, ``RGB`` or ``L``.
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
    except Exception:  # a processor of another kind: it is used as it is
        return None
    return scale


def _stated(processor: Any) -> Scale:
    """What the processor's settings say."""
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    channels = [
        torch.tensor(np.atleast_1d(np.asarray(value, dtype=np.float32)))[:, None, None] for value in (mean, std)
    ]
    return Scale(1 / processor.rescale_factor if processor.do_rescale else 1.0, *channels)


def _same(whole: Mapping[str, torch.Tensor], plain: Mapping[str, torch.Tensor], scale: Scale) -> bool:
    """Whether the plain pixels, scaled, are the whole ones, and nothing else differs."""
    pixels = plain[PIXELS]
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or set(whole) != set(plain):
        return False
    others = all(torch.equal(whole[name], plain[name]) for name in whole if name != PIXELS)
    return others and torch.equal(scale(pixels), whole[PIXELS].float())
