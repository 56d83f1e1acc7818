"""Pixels that the model scales itself are what the processor would have made of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_leep.models import image, pixels

PROCESSORS = {
    "all": ViTImageProcessorPil(
        size={"height": 40, "width": 40}, image_mean=[0.1, 0.5, 0.7], image_std=[0.2, 0.3, 0.9]
    ),
    "no mean": ViTImageProcessorPil(size={"height": 40, "width": 40}, do_normalize=False),
    "no factor": ViTImageProcessorPil(size={"height": 40, "width": 40}, do_rescale=False),
    "neither": ViTImageProcessorPil(size={"height": 40, "width": 40}, do_rescale=False, do_normalize=False),
    "cropped": ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.8),
}


class Echo(torch.nn.Module):
    """Gives back what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixel_values):
        return pixel_values


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_model_sees_what_the_processor_makes(name, rng):
    processor = PROCESSORS[name]
    pictures = [Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(3)]
    plain = processor(pictures, return_tensors="pt", **pixels.UNSCALED)["pixel_values"]
    assert plain.dtype == torch.uint8
    seen = pixels.Scaled(Echo(), pixels.scale_of(processor, "RGB"))(plain)
    expected = processor(pictures, return_tensors="pt")["pixel_values"]
    np.testing.assert_array_equal(seen, expected)


def test_a_processor_that_does_more_is_left_alone():
    class Squared(ViTImageProcessorPil):
        def __call__(self, *arguments, **options):
            made = super().__call__(*arguments, **options)
            if options.get("do_rescale", True):
                made["pixel_values"] = made["pixel_values"] ** 2
            return made

    assert pixels.scale_of(Squared(size={"height": 40, "width": 40}), "RGB") is None
    assert pixels.scale_of(object(), "RGB") is None


def test_a_checkpoint_keeps_its_pixels_in_eight_bits(checkpoints, pictures):
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ["image"])
    batch = classifier.collate([pictures[0], pictures[1]])
    assert batch["pixel_values"].dtype == torch.uint8
    parameters = sum(p.numel() for p in classifier.model.parameters())
    assert parameters == sum(p.numel() for p in classifier.model.model.parameters())
