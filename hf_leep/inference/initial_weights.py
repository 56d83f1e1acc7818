"""Whether a network is untrained, by the parameters that are initialised with one value each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

_FEWEST = 16  # rows or columns, and values in each: with fewer, chance is too variable
_MOST_ROWS = 1024  # of a weight matrix: enough, and large matrices are not copied whole
_BEYOND_CHANCE = 8.0  # standard deviations: of 20,000 random matrices of 16 × 16 values, none was beyond 7.7


def is_untrained(model: nn.Module, head: nn.Module | None) -> bool:
    """Return whether a model, apart from its head, still has the values that it was initialised with.

    A normalisation layer starts with one number for all of its weights, mostly 1, and one for all biases, mostly 0;
    the first step of training makes them differ. Of a batch norm, whose weights a few architectures draw at random,
    the running means and variances are looked at instead. Where all are equal, the biases of the other layers have to
    agree. Random features can carry a good linear head, but fine-tuning from them is training from scratch.

    Training leaves norms as they are where they are frozen, and often in bfloat16, where small changes of a 1 are
    lost. So the weight matrices, too, have to look random: no row or column differs from the others by more than
    chance, in its mean or in its mean square. Embeddings are not looked at, as some are sine waves.

    Where a model has no normalisation layers, all of its biases have to be equal, and there have to be two at least. A
    model of which neither is known counts as trained. So does one whose weights cannot be read, because they are not
    in memory, or in a format of another library.

    Args:
        model: the model, with its weights in memory.
        head: its classification head, which is not looked at; None without one.
    """
    try:
        return _is_initial(model, head)
    except (RuntimeError, TypeError, ValueError):  # weights on meta, sparse, quantised by another library …
        return False


def _is_initial(model: nn.Module, head: nn.Module | None) -> bool:
    left_out = set() if head is None else set(head.modules())
    layers = [module for module in model.modules() if module not in left_out]
    norms = [layer for layer in layers if (weight := _own(layer, "weight")) is not None and weight.ndim == 1]
    others = [layer for layer in layers if layer not in norms and _own(layer, "bias") is not None]
    if not norms and len(others) < 2:
        return False
    if not all(_is_constant(values) for layer in norms for values in _of_norm(layer)):
        return False
    if not all(_has_initial_bias(layer, uniform=bool(norms)) for layer in others):
        return False
    matrices = (_own(layer, "weight") for layer in layers if not isinstance(layer, nn.Embedding))
    return all(_looks_random(weight) for weight in matrices if weight is not None and weight.ndim >= 2)


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
    if not uniform or weight is None or weight.ndim < 2:
        return False
    return bool(bias.float().abs().max() <= weight[0].numel() ** -0.5)


def _looks_random(weight: torch.Tensor) -> bool:
    """Whether no row or column of a weight, ``[out, in, …]``, differs from the others by more than chance.

    That is an analysis of variance: the variance of the groups' means over what independent values would give it.
    """
    rows = weight.detach()[:_MOST_ROWS].float()
    for groups in (rows.flatten(1), rows.transpose(0, 1).flatten(1)):
        num_groups, num_values = groups.shape
        if min(num_groups, num_values) < _FEWEST:
            continue
        for values in (groups, groups.square()):
            between, within = num_values * values.mean(1).var(), values.var(1).mean()
            if between > within * (1 + _BEYOND_CHANCE * math.sqrt(2 / (num_groups - 1))):
                return False
    return True


def _is_constant(values: torch.Tensor) -> bool:
    values = values.detach().float()  # float8 cannot be compared
    return not values.numel() or bool((values == values.flatten()[0]).all())
