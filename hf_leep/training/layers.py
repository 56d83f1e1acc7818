"""Make a published network's batch normalisation and dropout work in training as their authors meant them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_MASKS = "apply_spec_augment"
_LIKELY_KEPT = 0.5  # a dropout rate above this is the probability of keeping, carried over from TensorFlow


def keep_probabilities(model: nn.Module) -> list[tuple[nn.Dropout, float]]:
    """Dropout layers whose rate is a probability of keeping, and that rate.

    Configurations converted from TensorFlow carry such values: ``classifier_dropout_prob`` of MobileNetV1 is 0.999, of
    MobileNetV2 0.8. A network that drops 99.9 % of its features learns nothing.
    """
    return [(m, m.p) for m in model.modules() if isinstance(m, nn.Dropout) and m.p > _LIKELY_KEPT]


@contextmanager
def plausible_dropout(model: nn.Module) -> Iterator[float | None]:
    """Turn such rates round while a network is trained; the largest rate that was turned round, None without any."""
    found = keep_probabilities(model)
    try:
        for layer, rate in found:
            layer.p = 1 - rate
        yield max((rate for _, rate in found), default=None)
    finally:
        for layer, rate in found:
            layer.p = rate


@contextmanager
def without_masks(model: nn.Module) -> Iterator[None]:
    """Keep models of sounds from masking parts of their inputs in training (SpecAugment).

    transformers draws these masks from numpy's global generator, so that no run could be repeated, and raises an error
    for sounds that are shorter than a mask.
    """
    configs = {id(c): c for m in model.modules() if getattr(c := getattr(m, "config", None), _MASKS, False)}
    try:
        for config in configs.values():
            setattr(config, _MASKS, False)
        yield
    finally:
        for config in configs.values():
            setattr(config, _MASKS, True)


@torch.no_grad()
def match_statistics(model: nn.Module, run: Callable[[], object]) -> None:
    """Give batch normalisation the statistics of the target's rows, and change its weights so that nothing else moves.

    In training, a layer normalises by the statistics of the batch. Where the stored ones are far from those, as in
    checkpoints whose normalisation was folded into the convolutions, the first step would already undo what the
    network has learnt. Afterwards the network computes the same in evaluation mode, and nearly the same in training
    mode.

    Args:
        model: the network.
        run: runs it in evaluation mode on some of the rows.
    """
    sums: dict[_BatchNorm, tuple[torch.Tensor, torch.Tensor, int]] = {}

    def listen(layer: _BatchNorm, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)  # [channels, values]
        total, squares, count = sums.get(layer, (torch.zeros(()), torch.zeros(()), 0))
        sums[layer] = (total + x.sum(1), squares + x.square().sum(1), count + x.shape[1])

    handles = [layer.register_forward_pre_hook(listen) for layer in _layers(model)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for layer, (total, squares, count) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        if count < 2 or not bool(torch.isfinite(variance).all()):
            continue
        if layer.running_mean is None or layer.running_var is None:
            continue
        old = torch.sqrt(layer.running_var.double() + layer.eps)
        new = torch.sqrt(variance + layer.eps)
        weight, bias = layer.weight.double(), layer.bias.double()
        layer.bias.copy_(bias + weight * (mean - layer.running_mean.double()) / old)
        layer.weight.copy_(weight * new / old)
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


@torch.no_grad()
def measure_statistics(model: nn.Module, run: Callable[[], object]) -> None:
    """Replace the running statistics of batch normalisation by those of the training rows under the trained weights.

    Running averages lag behind in a short training, and momenta converted from TensorFlow (0.9997) keep the last batch
    alone.

    Args:
        model: the network.
        run: runs it on the training rows.
    """
    layers = list(_layers(model))
    before = [(layer.momentum, layer.training) for layer in layers]
    was_training = model.training
    model.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain average over all batches
            layer.train()
        if layers:
            run()
    finally:
        model.train(was_training)
        for layer, (momentum, training) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.train(training)


def _layers(model: nn.Module) -> Iterator[_BatchNorm]:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.affine:
            yield module
