"""Rows of unequal size in one batch, for models that would see what fills them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from hf_leep.models.classifier import quiet

SIZES = "own_sizes"


class OneLengthAtATime(nn.Module):
    """A model whose rows are run with those of their own size alone, so that none sees another's padding.

    A batch that needs this holds ``own_sizes [n, k]``: how much of the k dimensions after the first is a row's own,
    from their beginning. Other batches are run as they are.

    Args:
        model: a transformers classifier, or a pooled backbone.
        head: its head, whose inputs are given to whoever listens to it in one piece.
    """

    def __init__(self, model: Any, head: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._head = [head]  # in a list, so that its weights count once
        self._caught: torch.Tensor | None = None

    @property
    def pooled_by(self) -> str | None:
        """How the features were pooled, where there is no head."""
        return getattr(self.model, "pooled_by", None)

    def forward(self, **batch: torch.Tensor) -> Any:
        """Logits ``[n, s]``, in the order of the batch."""
        sizes = batch.pop(SIZES, None)
        if sizes is None:
            return self.model(**batch)
        (head,) = self._head
        logits, caught, places = [], [], []
        handle = head.register_forward_pre_hook(self._catch) if head is not None else None
        try:
            for rows, own in of_each_size(batch, sizes):
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


def of_each_size(
    batch: Mapping[str, torch.Tensor], sizes: torch.Tensor
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """The rows of each size: which these are, and their own part of a batch.

    Args:
        batch: name → tensor ``[n, …]``.
        sizes: the rows' own sizes ``[n, k]``.
    """
    for size in torch.unique(sizes, dim=0):
        rows = (sizes == size).all(dim=1).nonzero().flatten()
        yield rows, {name: _own(x[rows], size.tolist()) for name, x in batch.items()}


def _own(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """The part of a tensor that is its rows' own, ``[n, *size, …]``."""
    for dim, length in enumerate(size[: x.ndim - 1], start=1):
        x = x.narrow(dim, 0, length)
    return x


def in_one_batch(rows: Sequence[Mapping[str, torch.Tensor]], dims: int) -> dict[str, torch.Tensor]:
    """Rows of unequal size ``[1, *size, …]`` in one batch, filled up at the end, with their own sizes beside them.

    Args:
        rows: name → tensor of each row; they share the ``dims`` dimensions after the first as far as they have them.
        dims: how many dimensions may differ.
    """
    sizes = torch.tensor([next(iter(row.values())).shape[1 : 1 + dims] for row in rows])
    most = sizes.amax(dim=0).tolist()
    batch = {name: torch.cat([_grown(row[name], most) for row in rows]) for name in rows[0]}
    return {**batch, SIZES: sizes}


def _grown(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """A tensor with zeros at its end, ``[1, *size, …]``."""
    shape = (1, *size[: x.ndim - 1], *x.shape[1 + len(size) :])
    grown = x.new_zeros(shape)
    _own(grown, list(x.shape[1 : 1 + len(size)])).copy_(x)
    return grown


def outputs(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """A model's logits of a few inputs, to see how it takes them; None where it fails on them.

    Args:
        model: a classifier, or a pooled backbone; its mode is left as it is.
        batch: its inputs.
    """
    try:
        return run(model, batch)
    except Exception:  # models raise anything
        return None


def run(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A model's logits of a few inputs; raises what the model raises.

    Args:
        model: a classifier, or a pooled backbone; its mode is left as it is.
        batch: its inputs.
    """
    was_training = model.training
    device = next(model.parameters()).device
    try:
        with quiet(), torch.inference_mode(), torch.random.fork_rng(devices=[]):
            logits: torch.Tensor = model.eval()(**{name: x.to(device) for name, x in batch.items()}).logits
            return logits.float()
    finally:
        model.train(was_training)


def sees_padding(model: Any, alone: Sequence[Mapping[str, torch.Tensor]], beside: torch.Tensor | None) -> bool:
    """Whether inputs have other logits in a batch, the shorter ones filled up, than alone, beyond rounding.

    Of a model that fails on them this is not known, and taken to be so: it may run on other inputs.

    Args:
        model: a classifier, or a pooled backbone; of each token too, where texts are filled up on the right.
        alone: inputs one at a time, of various lengths.
        beside: the logits of the same ones, in one batch with a longer one; None where the model fails on it.
    """
    tolerance = 1e-5 if next(model.parameters()).dtype == torch.float32 else 1e-2
    for k, batch in enumerate(alone):
        own = outputs(model, batch)
        if own is None or beside is None:
            return True
        if float((own[0] - beside[k][: len(own[0])]).abs().max()) > tolerance * max(1.0, float(own.abs().max())):
            return True
    return False
