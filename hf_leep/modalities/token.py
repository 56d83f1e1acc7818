"""Words in their sentences: AutoModelForTokenClassification with the checkpoint's own tokenizer.

A word is told by its first sub-token, as heads are trained; by the next one where that is a bare space and the model
reads from left to right, for it has seen nothing of the word then. Sentences beyond the tokenizer's limit are read in
pieces, so no word is lost; a word of which a tokenizer leaves nothing is read as its unknown token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.modalities import pooled
from hf_leep.modalities.adapter import Adapter
from hf_leep.modalities.classifier import Classifier, quiet, source_labels
from hf_leep.modalities.text import choose_padding, load_tokenizer, max_length

_PLACES = "places_of_words"
_SPACES = frozenset("Ġ▁")  # how tokenizers write a space, byte-level ones and those of SentencePiece


class OfWords(nn.Module):
    """A model that answers for every token: keep the answers on the tokens that stand for words.

    Args:
        model: a transformers token classifier, or a pooled backbone, whose pooling is not used.
        head: its head, whose inputs on these tokens are given to whoever listens to it.
    """

    def __init__(self, model: Any, head: nn.Module | None) -> None:
        super().__init__()
        self.headless = isinstance(model, pooled.Pooled)
        self.model = model.backbone if self.headless else model
        self.training = model.training
        self._head = [head]  # in a list, so that its weights count once

    @property
    def pooled_by(self) -> str | None:
        """How the features were pooled, where there is no head."""
        return "first sub-token" if self.headless else None

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """Logits ``[words, s]``, or features ``[words, d]`` of a backbone, sentence by sentence."""
        sequence, place = batch.pop(_PLACES).unbind(1)
        (head,) = self._head
        caught: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _head, inputs: caught.append(inputs[0])) if head else None
        try:
            outputs = self.model(**batch)
        finally:
            if handle is not None:
                handle.remove()
        answers = outputs.last_hidden_state.float() if self.headless else outputs.logits
        tokens = batch["input_ids"].shape
        if answers.ndim != 3 or answers.shape[:2] != tokens:
            raise CandidateError(f"its outputs have shape {tuple(answers.shape)}, expected one for each token")
        if self.headless and head is not None:
            return SimpleNamespace(logits=head(answers[sequence, place]))
        if head is not None and caught and caught[-1].shape[:2] == tokens:
            head(caught[-1][sequence, place])  # whoever listens to the head hears this last
        return SimpleNamespace(logits=answers[sequence, place])


def _assemble(
    model: Any, tokenizer: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    if not tokenizer.is_fast:
        raise CandidateError("its tokenizer is written in Python and cannot say which word a token is of")
    (column,) = columns
    limit = max_length(tokenizer, model.config)
    silent = _SPACES if pooled.reads_on(model.config) else frozenset()
    # Byte-level tokenizers know a word by the space before it; add_prefix_space does nothing to some of them, and puts
    # spaces into the words of others.
    space = " " if _lacks_spaces(tokenizer) else ""

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sentences = [[word if word[:1].isspace() else space + word for word in row[column]["words"]] for row in rows]
        labelled = [row[column]["labelled"] for row in rows]
        batch, first = _encoded(tokenizer, sentences, limit, silent)
        unread = [(i, word) for i, words in enumerate(labelled) for word in words if (i, word) not in first]
        if unread:  # of an empty word, or one of control characters, some tokenizers leave nothing
            for i, word in unread:
                sentences[i][word] = tokenizer.unk_token or ""
            batch, first = _encoded(tokenizer, sentences, limit, silent)
            for i, word in unread:
                if (i, word) not in first:
                    lost = rows[i][column]["words"][word]
                    raise CandidateError(f"its tokenizer makes nothing of {lost!r}, and has no token for the unknown")
        cut = batch.pop("overflow_to_sample_mapping").bincount(minlength=len(rows))
        places = [first[i, word] for i, words in enumerate(labelled) for word in words]
        return {**batch, _PLACES: torch.tensor(places), "num_truncated": (cut > 1).sum()}

    return Classifier(
        model=OfWords(model, head),
        head=head,
        collate=collate,
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=ADAPTER.task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, words after {space!r}",
        processor_backend=None,
        max_length=limit,
    )


def _encoded(
    tokenizer: Any, sentences: Sequence[Sequence[str]], limit: int | None, silent: frozenset[str]
) -> tuple[dict[str, torch.Tensor], dict[tuple[int, int], tuple[int, int]]]:
    """The pieces of some sentences, and (sentence, word) → (piece, place) of the token that stands for the word.

    Filled up on the right, whatever the tokenizer would do: there no token's position depends on the batch.

    Args:
        tokenizer: a fast tokenizer.
        sentences: the words of each.
        limit: tokens that a piece may have, if there is a limit.
        silent: tokens that stand for a word only where it has no others.
    """
    side, tokenizer.truncation_side = tokenizer.truncation_side, "right"
    try:
        with quiet():
            encoded = tokenizer(
                sentences,
                is_split_into_words=True,
                truncation=limit is not None,
                max_length=limit,
                return_overflowing_tokens=True,
                padding=True,
                padding_side="right",
                return_tensors="pt",
                verbose=False,
            )
    finally:
        tokenizer.truncation_side = side
    first: dict[tuple[int, int], tuple[int, int]] = {}
    bare: set[tuple[int, int]] = set()  # words of which no other token has come so far
    for piece, sentence in enumerate(encoded["overflow_to_sample_mapping"].tolist()):
        tokens = encoded.tokens(piece)
        for place, word in enumerate(encoded.word_ids(piece)):
            if word is None:
                continue
            key = sentence, word
            if key not in first or key in bare:
                first[key] = piece, place
                (bare.add if tokens[place] in silent else bare.discard)(key)
    return dict(encoded), first


def _lacks_spaces(tokenizer: Any) -> bool:
    """Whether a tokenizer is byte-level and puts no space of its own before a word."""
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    said = json.loads(splitter.__getstate__()) if splitter is not None else {}
    steps = [said, *said.get("pretokenizers", [])]
    return any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)


ADAPTER = Adapter(
    task="token-classification",
    what="token classifier",
    auto_model="AutoModelForTokenClassification",
    load_processor=load_tokenizer,
    assemble=_assemble,
    settle=choose_padding,
)
