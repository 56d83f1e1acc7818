"""Rows of unequal size in one batch, for models that would see what fills them up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

SIZES = "own_sizes"


class Alike(nn.Module):
    """A model whose rows are run with those of their own size alone, so that none sees another's padding.

    A batch that needs this holds ``own_sizes [n, k]``: how much of its tensors' last k dimensions is a row's own, from
    their beginning. Other batches are run as they are.

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
            for size in torch.unique(sizes, dim=0):
                rows = (sizes == size).all(dim=1).nonzero().flatten()
                logits.append(self.model(**{name: _own(x[rows], size.tolist()) for name, x in batch.items()}).logits)
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


def _own(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """The part of a tensor that is its rows' own, ``[n, …, *size]``."""
    if x.ndim > len(size):
        for k, length in enumerate(reversed(size), start=1):
            x = x.narrow(-k, 0, length)
    return x
