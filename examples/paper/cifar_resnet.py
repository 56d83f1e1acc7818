"""The ResNet for CIFAR images as a transformers model, and a converter for the public checkpoints.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2: 6n + 2 layers, a 3×3
convolution, three stages of n blocks with 16, 32 and 64 channels at 32×32, 16×16 and 8×8, global average pooling, and
a linear head. Where a stage halves the image, the shortcut has no parameters (option A): every other pixel, with
channels of zeros added on both sides.

`register` adds it to the auto classes of transformers, for this process: a folder that `convert` or `save_pretrained`
wrote can then be loaded like any other checkpoint, without code from a repository (trust_remote_code).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)


class CifarResNetConfig(PreTrainedConfig):
    """Architecture of a CIFAR ResNet.

    Attributes:
        depth: number of weighted layers, 6n + 2: 20, 32, 44, 56, 110.
        widths: channels of the three stages.
        num_channels: channels of the image.
        image_size: height and width of the images that it was trained on.
    """

    model_type = "cifar_resnet"

    depth: int = 20
    widths: list[int] | tuple[int, ...] = (16, 32, 64)
    num_channels: int = 3
    image_size: int = 32

    @property
    def blocks(self) -> int:
        """Number of blocks in a stage, n.

        Raises:
            ValueError: the depth is not 6n + 2.
        """
        blocks, rest = divmod(self.depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth is {self.depth}; a CIFAR ResNet has 6n + 2 layers: 8, 14, 20, 32, 44, 56, …")
        return blocks


class CifarResNetImageProcessor(PilBackend):
    """Resizes images to 32×32 and normalises them by ImageNet's mean and deviation, as in the public training."""

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 32, "width": 32}  # noqa: RUF012 - what transformers reads
    do_resize = True
    do_rescale = True
    do_normalize = True


class Block(nn.Module):
    """Two 3×3 convolutions, each with batch normalisation, and a shortcut without parameters (option A)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[b, channels, h, w]`` → ``[b, width, h / stride, w / stride]``."""
        stride, added = self.conv1.stride[0], self.conv2.out_channels - x.shape[1]
        shortcut = x[:, :, ::stride, ::stride]
        if added:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, added // 2, added - added // 2))
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + shortcut)


class CifarResNetPreTrainedModel(PreTrainedModel):
    """Initialises the weights of a CIFAR ResNet with He's normal distribution (fan-in), as the paper does."""

    config_class = CifarResNetConfig
    base_model_prefix = "resnet"
    main_input_name = "pixel_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)


class CifarResNetModel(CifarResNetPreTrainedModel):
    """The network without its head; ``pooler_output`` is the penultimate feature ``[b, 64]``."""

    def __init__(self, config: CifarResNetConfig) -> None:
        super().__init__(config)
        first = config.widths[0]
        self.conv1 = nn.Conv2d(config.num_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        channels = first
        for number, width in enumerate(config.widths, 1):
            blocks = [
                Block(channels if i == 0 else width, width, 1 + (number > 1 and i == 0)) for i in range(config.blocks)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            channels = width
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPoolingAndNoAttention:
        """Normalised images ``[b, 3, 32, 32]`` → last feature map ``[b, 64, 8, 8]`` and its mean ``[b, 64]``."""
        x = functional.relu(self.bn1(self.conv1(pixel_values)))
        for number in range(1, len(self.config.widths) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return BaseModelOutputWithPoolingAndNoAttention(last_hidden_state=x, pooler_output=x.mean(dim=(2, 3)))


class CifarResNetForImageClassification(CifarResNetPreTrainedModel):
    """The network with a linear head."""

    def __init__(self, config: CifarResNetConfig) -> None:
        super().__init__(config)
        self.resnet = CifarResNetModel(config)
        self.classifier = nn.Linear(config.widths[-1], config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **_: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Normalised images ``[b, 3, 32, 32]`` → logits ``[b, num_labels]``, and their cross-entropy with labels."""
        logits = self.classifier(self.resnet(pixel_values).pooler_output)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


def register() -> None:
    """Add the CIFAR ResNet to AutoConfig, AutoModel, AutoModelForImageClassification and AutoImageProcessor."""
    AutoConfig.register(CifarResNetConfig.model_type, CifarResNetConfig, exist_ok=True)
    AutoModel.register(CifarResNetConfig, CifarResNetModel, exist_ok=True)
    AutoModelForImageClassification.register(CifarResNetConfig, CifarResNetForImageClassification, exist_ok=True)
    AutoImageProcessor.register(
        CifarResNetConfig, image_processor_classes={"pil": CifarResNetImageProcessor}, exist_ok=True
    )


def load_plain(folder: str | Path) -> tuple[CifarResNetForImageClassification, CifarResNetImageProcessor]:
    """Load a plain state dict of a CIFAR ResNet, described by its config.json, as a model and its processor.

    Args:
        folder: contains ``model.safetensors`` with the names of akamaster/pytorch_resnet_cifar10 (conv1, bn1,
            layer1.0.conv1, …, linear), and ``config.json`` with depth, widths, id2label, image_mean and image_std.

    Raises:
        ValueError: the config.json describes another architecture, or weights are missing, unexpected or have wrong
            shapes.
    """
    folder = Path(folder)
    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if description.get("architecture") != "CifarResNet" or description.get("shortcut", "A") != "A":
        raise ValueError(f"{folder}: its config.json describes no CIFAR ResNet with option-A shortcuts")
    names = {int(index): name for index, name in description["id2label"].items()}
    config = CifarResNetConfig(
        depth=description["depth"],
        widths=description["widths"],
        num_channels=description["num_channels"],
        image_size=description["image_size"],
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    weights = {
        key.replace("linear.", "classifier.") if key.startswith("linear.") else f"resnet.{key}": tensor
        for key, tensor in load_file(folder / "model.safetensors").items()
    }
    model = CifarResNetForImageClassification(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder}: {' '.join(str(error).split())[:300]}") from None
    size = {"height": config.image_size, "width": config.image_size}
    processor = CifarResNetImageProcessor(
        size=size, image_mean=description["image_mean"], image_std=description["image_std"]
    )
    return model.eval(), processor


def convert(folder: str | Path, output: str | Path) -> Path:
    """Write a plain state dict as a checkpoint that the auto classes can load after `register`.

    Args:
        folder: folder of the plain state dict, as for `load_plain`.
        output: the folder to write.

    Returns:
        The folder written.

    Raises:
        ValueError: as `load_plain` does.
    """
    model, processor = load_plain(folder)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    return Path(output)
