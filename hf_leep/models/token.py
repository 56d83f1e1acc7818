"""Words in their sentences: AutoModelForTokenClassification with the checkpoint's own tokenizer.

A word is told by its first sub-token, as heads are trained; by the next one where that is a bare space and the model
reads from left to right, for it has seen nothing of the word then, or where the tokens are characters. Sentences
beyond the tokenizer's limit are read in pieces, so no word is lost; a word of which a tokenizer leaves nothing is read
as its unknown token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.models import backbone
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, quiet, source_labels, why
from hf_leep.models.modalities import BY_NAME
from hf_leep.models.padding import filling_of
from hf_leep.models.ragged import SIZES, of_each_size
from hf_leep.models.text import load_tokenizer, max_length, settle

_PLACES = "places_of_words"
_SPACES = frozenset("Ġ▁ ")  # how tokenizers write a space: byte-level ones, those of SentencePiece, and of characters


class WordClassifier(nn.Module):
    """A model that answers for every token: keep the answers on the tokens that stand for words.

    Pieces that come with their own sizes are run with those of the same size alone, as `OneLengthAtATime` does.

    Args:
        model: a transformers token classifier, or a pooled backbone, whose pooling is not used.
        head: its head, whose inputs on these tokens are given to whoever listens to it.
    """

    def __init__(self, model: Any, head: nn.Module | None) -> None:
        super().__init__()
        self.headless = isinstance(model, backbone.PooledBackbone)
        self.model = model.backbone if self.headless else model
        self.training = model.training
        self._head = [head]  # in a list, so that its weights count once

    @property
    def pooled_by(self) -> str | None:
        """How the features were pooled, where there is no head."""
        return "first sub-token" if self.headless else None

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """Logits ``[words, s]``, or features ``[words, d]`` of a backbone, sentence by sentence.

        Of a batch that does not say where its words are, those of all tokens, ``[n, tokens, …]``.
        """
        places, sizes = batch.pop(_PLACES, None), batch.pop(SIZES, None)
        if places is None:
            return SimpleNamespace(logits=self._answers(batch)[0])
        sequence, place = places.unbind(1)
        if sizes is None:
            answers, features = self._answers(batch)
            found, caught = answers[sequence, place], None if features is None else features[sequence, place]
        else:
            answered, heard, order = [], [], []
            for rows, own in of_each_size(batch, sizes):
                answers, features = self._answers(own)
                words, row = (sequence[:, None] == rows).nonzero().unbind(1)
                answered.append(answers[row, place[words]])
                heard += [] if features is None else [features[row, place[words]]]
                order.append(words)
            back = torch.cat(order).argsort()
            found = torch.cat(answered)[back]
            caught = torch.cat(heard)[back] if len(heard) == len(order) else None
        (head,) = self._head
        if head is not None and self.headless:
            return SimpleNamespace(logits=head(found))
        if head is not None and caught is not None:
            head(caught)  # whoever listens to the head hears this last
        return SimpleNamespace(logits=found)

    def _answers(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the model says of each token ``[n, tokens, …]``, and what its head was given, where that was told."""
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
        return answers, caught[-1] if caught and caught[-1].shape[:2] == tokens else None


def _assemble(
    model: Any, tokenizer: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    (column,) = columns
    limit = max_length(tokenizer, model.config)
    # Byte-level tokenizers know a word by the space before it; add_prefix_space does nothing to some of them, and puts
    # spaces into the words of others.
    space = " " if _lacks_spaces(tokenizer) else ""
    silent = _SPACES if backbone.reads_on(model.config) else frozenset(" ")

    def spaced(words: Sequence[str]) -> list[str]:
        return [word if word[:1].isspace() else space + word for word in words]

    of_words = WordClassifier(model, head)
    # Filled up on the right, whatever the tokenizer would do: there no token's position depends on the batch.
    filling = filling_of(
        of_words,
        tokenizer,
        lambda texts: _read(tokenizer, [spaced(text.split()) for text in texts]).inputs,
        limit,
        "right",
    )

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sentences = [spaced(row[column]["words"]) for row in rows]
        labelled = [row[column]["labelled"] for row in rows]
        pieces = _read(tokenizer, sentences, limit)
        first = pieces.first(silent)
        unread = [(i, word) for i, words in enumerate(labelled) for word in words if (i, word) not in first]
        if unread:  # of an empty word, or one of control characters, some tokenizers leave nothing
            for i, word in unread:
                sentences[i][word] = tokenizer.unk_token or ""
            pieces = _read(tokenizer, sentences, limit)
            first = pieces.first(silent)
            for i, word in unread:
                if (i, word) not in first:
                    lost = rows[i][column]["words"][word]
                    raise CandidateError(f"its tokenizer makes nothing of {lost!r}, and has no token for the unknown")
        cut = sum(count > 1 for count in Counter(pieces.sentences).values())
        places = [first[i, word] for i, words in enumerate(labelled) for word in words]
        batch = filling.batch(tokenizer, pieces.inputs)
        return {**batch, _PLACES: torch.tensor(places), "num_truncated": torch.tensor(cut)}

    return Classifier(
        model=of_words,
        head=head,
        collate=collate,
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=BY_NAME["token"].task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, words after {space!r}",
        processor_backend=None,
        max_length=limit,
    )


@dataclass(frozen=True)
class _Pieces:
    """Sentences as tokens, not filled up; those beyond a tokenizer's limit are in several pieces.

    Attributes:
        inputs: name → what the model is given for the tokens of each piece.
        sentences: sentence of each piece.
        words: word in its sentence of each token of each piece; None of those that stand for none.
        tokens: the tokens of each piece as the tokenizer writes them.
    """

    inputs: dict[str, list[list[int]]]
    sentences: list[int]
    words: list[list[int | None]]
    tokens: list[list[str]]

    def first(self, silent: frozenset[str]) -> dict[tuple[int, int], tuple[int, int]]:
        """(sentence, word) → (piece, place) of the token that stands for the word.

        Args:
            silent: tokens that stand for a word only where it has no others.
        """
        first: dict[tuple[int, int], tuple[int, int]] = {}
        bare: set[tuple[int, int]] = set()  # words of which no other token has come so far
        for piece, sentence in enumerate(self.sentences):
            for place, word in enumerate(self.words[piece]):
                if word is None:
                    continue
                key = sentence, word
                if key not in first or key in bare:
                    first[key] = piece, place
                    (bare.add if self.tokens[piece][place] in silent else bare.discard)(key)
        return first


def _read(tokenizer: Any, sentences: Sequence[Sequence[str]], limit: int | None = None) -> _Pieces:
    """Read sentences in pieces of at most so many tokens.

    Raises:
        CandidateError: the tokenizer wants more than words.
    """
    try:
        with quiet():
            return (_at_once if tokenizer.is_fast else _word_by_word)(tokenizer, sentences, limit)
    except Exception as error:  # each tokenizer raises its own
        raise CandidateError(f"its tokenizer takes no sentences of words: {why(error)}") from None


def _at_once(tokenizer: Any, sentences: Sequence[Sequence[str]], limit: int | None) -> _Pieces:
    """As tokenizers do that know which word a token is of."""
    from transformers import PreTrainedTokenizerFast

    # LUKE's own way of being called takes the words for texts, or for a pair of them.
    plainly = "entity_spans" in signature(tokenizer.__call__).parameters
    call = partial(PreTrainedTokenizerFast.__call__, tokenizer) if plainly else tokenizer
    side, tokenizer.truncation_side = tokenizer.truncation_side, "right"
    try:
        encoded = call(
            sentences,
            is_split_into_words=True,
            truncation=limit is not None,
            max_length=limit,
            return_overflowing_tokens=True,
            padding=False,
            verbose=False,
        )
    finally:
        tokenizer.truncation_side = side
    of = encoded.pop("overflow_to_sample_mapping")
    count = range(len(of))
    return _Pieces(dict(encoded), of, [encoded.word_ids(k) for k in count], [encoded.tokens(k) for k in count])


def _word_by_word(tokenizer: Any, sentences: Sequence[Sequence[str]], limit: int | None) -> _Pieces:
    """As tokenizers that are written in Python read sentences: the tokens of each word in turn, and others around."""
    made = _Pieces({}, [], [], [])
    for k, sentence in enumerate(sentences):
        whole = tokenizer(list(sentence), is_split_into_words=True, padding=False, truncation=False, verbose=False)
        ids = whole["input_ids"]
        read = [(token, i) for i, word in enumerate(sentence) for token in tokenizer.tokenize(word)]
        own = tokenizer.convert_tokens_to_ids([token for token, _ in read])
        around = len(ids) - len(own)
        before = next((n for n in range(around + 1) if ids[n : n + len(own)] == own), None)
        if before is None:
            raise ValueError("which word a token is of cannot be told")
        after = around - before
        room = max(1, (len(ids) if limit is None else limit) - around)
        for start in range(0, max(1, len(own)), room):
            mine = read[start : start + room]
            for name, values in whole.items():
                inner = values[before : len(ids) - after][start : start + room]
                made.inputs.setdefault(name, []).append([*values[:before], *inner, *values[len(ids) - after :]])
            made.sentences.append(k)
            made.words.append([*[None] * before, *(i for _, i in mine), *[None] * after])
            made.tokens.append([*[""] * before, *(token for token, _ in mine), *[""] * after])
    return made


def _lacks_spaces(tokenizer: Any) -> bool:
    """Whether a tokenizer is of bytes or characters and puts no space of its own before a word."""
    if not tokenizer.is_fast:
        return bool(tokenizer.tokenize(" a")[:1] == [" "])
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    said = json.loads(splitter.__getstate__()) if splitter is not None else {}
    steps = [said, *said.get("pretokenizers", [])]
    return any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)


ADAPTER = Adapter(
    what="token classifier",
    auto_model="AutoModelForTokenClassification",
    load_processor=load_tokenizer,
    assemble=_assemble,
    settle=settle,
)
