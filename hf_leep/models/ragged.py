"""Rows of unequal size in one batch, for models whose outputs would depend on the padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import nn

from hf_leep.models.backbone import HasLogits
from hf_leep.models.classifier import transformers_silent

SIZES = "own_sizes"


class OneLengthAtATime(nn.Module):
    """A model that runs only rows of the same size together, so that none is padded.

    A batch of unequal rows holds ``own_sizes [n, k]``: the sizes of each row, without its padding, in the k dimensions
    after the first. Batches without it are run as they are.

    Args:
        model: a transformers classifier, or a pooled backbone.
        head: its head; a hook on it gets the inputs of all rows at the end, in the order of the batch.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._head = [head]  # in a list, so that its weights are not counted twice
        self._caught: torch.Tensor | None = None

    @property
    def pooled_by(self) -> str | None:
        """How the features are pooled, where there is no head."""
        return getattr(self.model, "pooled_by", None)

    def forward(self, **batch: torch.Tensor) -> HasLogits:
        """Logits ``[n, s]``, in the order of the batch."""
        sizes = batch.pop(SIZES, None)
        if sizes is None:
            outputs: HasLogits = self.model(**batch)
            return outputs
        (head,) = self._head
        logits, caught, places = [], [], []
        handle = head.register_forward_pre_hook(self._catch) if head is not None else None
        try:
            for rows, own in rows_by_size(batch, sizes):
                logits.append(self.model(**own).logits)
                places.append(rows)
                if self._caught is not None:
                    caught.append(self._caught)
        finally:
            self._caught = None
            if handle is not None:
                handle.remove()
        order = torch.cat(places).argsort()
        if head is not None and len(caught) == len(places):
            head(torch.cat(caught)[order])
        return SimpleNamespace(logits=torch.cat(logits)[order])

    def _catch(self, _head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught = inputs[0]


def rows_by_size(
    batch: Mapping[str, torch.Tensor], sizes: torch.Tensor
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Split a batch into rows of the same size: for each size their positions, and a batch of them without padding.

    Args:
        batch: name → tensor ``[n, …]``.
        sizes: the rows' own sizes ``[n, k]``.
    """
    for size in torch.unique(sizes, dim=0):
        rows = (sizes == size).all(dim=1).nonzero().flatten()
        yield rows, {name: _without_padding(x[rows], size.tolist()) for name, x in batch.items()}


def _without_padding(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """The first part of a tensor, ``[n, *size, …]``."""
    for dim, length in enumerate(size[: x.ndim - 1], start=1):
        x = x.narrow(dim, 0, length)
    return x


def in_one_batch(rows: Sequence[Mapping[str, torch.Tensor]], dims: int) -> dict[str, torch.Tensor]:
    """Put rows of unequal size ``[1, *size, …]`` into one batch, padded with zeros at the end, with their sizes.

    Args:
        rows: name → tensor of each row; their tensors have the same ``dims`` dimensions after the first, as far as
            they have so many.
        dims: how many dimensions may differ in size.
    """
    sizes = torch.tensor([next(iter(row.values())).shape[1 : 1 + dims] for row in rows])
    most = sizes.amax(dim=0).tolist()
    batch = {name: torch.cat([_padded(row[name], most) for row in rows]) for name in rows[0]}
    return {**batch, SIZES: sizes}


def _padded(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """A tensor with zeros at its end, ``[1, *size, …]``."""
    shape = (1, *size[: x.ndim - 1], *x.shape[1 + len(size) :])
    padded = x.new_zeros(shape)
    _without_padding(padded, list(x.shape[1 : 1 + len(size)])).copy_(x)
    return padded


def outputs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Run a model on a few inputs, to find out how it behaves; None where it fails.

    Args:
        model: a classifier, or a pooled backbone; whether it is in training mode does not change.
        batch: its inputs.
    """
    try:
        return run(model, batch)
    except Exception:  # models raise exceptions of any kind
        return None


def run(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run a model on a few inputs, and return its logits; raises what the model raises.

    Args:
        model: a classifier, or a pooled backbone; whether it is in training mode does not change.
        batch: its inputs.
    """
    was_training = model.training
    device = next(model.parameters()).device
    try:
        with transformers_silent(), torch.inference_mode(), torch.random.fork_rng(devices=[]):
            logits: torch.Tensor = model.eval()(**{name: x.to(device) for name, x in batch.items()}).logits
            return logits.float()
    finally:
        model.train(was_training)


def sees_padding(model: nn.Module, alone: Sequence[Mapping[str, torch.Tensor]], beside: torch.Tensor | None) -> bool:
    """Whether a model's logits of an input differ, beyond rounding, if the input is padded.

    If the model fails on these inputs, the answer is yes, to be safe: it may run on others.

    Args:
        model: a classifier, or a pooled backbone; of texts padded on the right also a model of tokens.
        alone: inputs one at a time, of various lengths.
        beside: the logits of the same inputs in one batch with a longer one; None where the model fails on it.
    """
    tolerance = 1e-5 if next(model.parameters()).dtype == torch.float32 else 1e-2
    for k, batch in enumerate(alone):
        own = outputs(model, batch)
        if own is None or beside is None:
            return True
        if float((own[0] - beside[k][: len(own[0])]).abs().max()) > tolerance * max(1.0, float(own.abs().max())):
            return True
    return False
