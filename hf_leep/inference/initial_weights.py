"""Whether a network is untrained, by the parameters that are initialised with one value each."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn


def is_untrained(model: nn.Module, head: nn.Module | None) -> bool:
    """Return whether a model, apart from its head, still has the values that it was initialised with.

    A normalisation layer starts with one number for all of its weights, mostly 1, and one for all biases, mostly 0;
    the first step of training makes them differ. Of a batch norm, whose weights a few architectures draw at random,
    the running means and variances are looked at instead. Where all are equal, the biases of the other layers have to
    agree. Random features can carry a good linear head, but fine-tuning from them is training from scratch.

    Where a model has no normalisation layers, all of its biases have to be equal, and there have to be two at least. A
    model of which neither is known counts as trained.

    Args:
        model: the model, with its weights in memory.
        head: its classification head, which is not looked at; None without one.
    """
    left_out = set() if head is None else set(head.modules())
    layers = [module for module in model.modules() if module not in left_out]
    norms = [layer for layer in layers if (weight := _own(layer, "weight")) is not None and weight.ndim == 1]
    others = [layer for layer in layers if layer not in norms and _own(layer, "bias") is not None]
    if not norms and len(others) < 2:
        return False
    if not all(_is_constant(values) for layer in norms for values in _of_norm(layer)):
        return False
    return all(_has_initial_bias(layer, uniform=bool(norms)) for layer in others)


def _own(layer: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter of the layer itself."""
    return dict(layer.named_parameters(recurse=False)).get(name)


def _of_norm(layer: nn.Module) -> Iterator[torch.Tensor]:
    """The values of a normalisation layer that start as one number each."""
    statistics = [value for name, value in layer.named_buffers(recurse=False) if name.startswith("running_")]
    yield from statistics
    for name in ("bias",) if statistics else ("weight", "bias"):
        if (value := _own(layer, name)) is not None:
            yield value


def _has_initial_bias(layer: nn.Module, uniform: bool) -> bool:
    """Whether all biases of a layer are equal, or within the bounds of torch's own initialisation.

    Args:
        layer: a layer with biases.
        uniform: whether these bounds count: ±1/√(fan in), where trained biases may lie as well.
    """
    bias, weight = _own(layer, "bias"), _own(layer, "weight")
    if bias is None or _is_constant(bias):
        return True
    if not uniform or weight is None or weight.is_meta or weight.ndim < 2:
        return False
    return bool(bias.abs().max() <= weight[0].numel() ** -0.5)


def _is_constant(values: torch.Tensor) -> bool:
    """Whether all values are equal; False where they are not in memory."""
    return not values.is_meta and (not values.numel() or bool((values == values.flatten()[0]).all()))
