"""A model of tokens as a model of words: its outputs at the tokens that represent words."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.models.backbone import PooledBackbone
from hf_leep.models.ragged import SIZES, rows_by_size

POSITIONS = "positions_of_words"


class WordClassifier(nn.Module):
    """A model that has outputs for every token: only those at the tokens that represent words are kept.

    Pieces of sentences that come with their own sizes run only with those of the same size, as in `OneLengthAtATime`.

    Args:
        model: a transformers token classifier, or a pooled backbone, whose pooling is not used.
        head: its head; a hook on it gets its inputs at these tokens at the end.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.headless = isinstance(model, PooledBackbone)
        self.model: nn.Module = model.backbone if isinstance(model, PooledBackbone) else model
        self.training = model.training
        self._head = [head]  # in a list, so that its weights are not counted twice

    @property
    def pooled_by(self) -> str | None:
        """How the features are pooled, where there is no head."""
        return "first sub-token" if self.headless else None

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """Logits ``[words, s]``, or features ``[words, d]`` of a backbone, sentence by sentence.

        If the batch does not say where its words are, the outputs of all tokens, ``[n, tokens, …]``.
        """
        positions, sizes = batch.pop(POSITIONS, None), batch.pop(SIZES, None)
        if positions is None:
            return SimpleNamespace(logits=self._run(batch)[0])
        sequence, position = positions.unbind(1)
        if sizes is None:
            outputs, inputs = self._run(batch)
            of_words, caught = outputs[sequence, position], None if inputs is None else inputs[sequence, position]
        else:
            outputs_by_size, inputs_by_size, order = [], [], []
            for rows, own in rows_by_size(batch, sizes):
                outputs, inputs = self._run(own)
                words, row = (sequence[:, None] == rows).nonzero().unbind(1)
                outputs_by_size.append(outputs[row, position[words]])
                inputs_by_size += [] if inputs is None else [inputs[row, position[words]]]
                order.append(words)
            back = torch.cat(order).argsort()
            of_words = torch.cat(outputs_by_size)[back]
            caught = torch.cat(inputs_by_size)[back] if len(inputs_by_size) == len(order) else None
        (head,) = self._head
        if head is not None and self.headless:
            return SimpleNamespace(logits=head(of_words))
        if head is not None and caught is not None:
            head(caught)  # a hook on the head sees the inputs of this last call
        return SimpleNamespace(logits=of_words)

    def _run(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The outputs for each token ``[n, tokens, …]``, and the inputs of the head, if it has one for each token."""
        (head,) = self._head
        caught: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _head, inputs: caught.append(inputs[0])) if head else None
        try:
            outputs = self.model(**batch)
        finally:
            if handle is not None:
                handle.remove()
        of_tokens: torch.Tensor = outputs.last_hidden_state.float() if self.headless else outputs.logits
        tokens = batch["input_ids"].shape
        if of_tokens.ndim != 3 or of_tokens.shape[:2] != tokens:
            raise CandidateError(f"its outputs have shape {tuple(of_tokens.shape)}, expected one for each token")
        return of_tokens, caught[-1] if caught and caught[-1].shape[:2] == tokens else None
