"""Words in their sentences: AutoModelForTokenClassification with the checkpoint's own tokenizer.

A word is represented by its first sub-token, as in the training of most heads. If that token is only a space, it is
the next one, where the tokens are characters or the model is a decoder, which has not seen the word at the space.
Sentences longer than the tokenizer's limit are read in pieces, so that no word is lost. A word that the tokenizer
turns into no tokens is read as its unknown token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, TypeAlias, cast

import datasets

from hf_leep.errors import CandidateError
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, describe, source_labels, transformers_silent
from hf_leep.models.modality import LABEL_NAMES, TAG_NAMES, Modality, is_string
from hf_leep.models.text import adjust, load_tokenizer, max_length

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    from hf_leep.models.adapter import Model
    from hf_leep.models.padding import PaddingChoice

Tokenizer: TypeAlias = "PreTrainedTokenizerBase"
Word: TypeAlias = tuple[int, int]  # position of a sentence, and of a word in it
_SPACES = frozenset("Ġ▁ ")  # how tokenizers write a space: byte-level ones, those of SentencePiece, and of characters


@dataclass(frozen=True)
class _Collate:
    """Makes the inputs of sentences; it can be sent to another process.

    Attributes:
        tokenizer: the tokenizer.
        column: the input column.
        limit: number of tokens that an input may have.
        padding: how pieces become a batch.
        space: what is put before a word that starts with no space.
        spaces: tokens that are only a space, and do not represent a word.
    """

    tokenizer: Tokenizer
    column: str
    limit: int | None
    padding: PaddingChoice
    space: str
    spaces: frozenset[str]

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        import torch

        from hf_leep.models.word_classifier import POSITIONS

        tokenizer, limit = self.tokenizer, self.limit
        sentences = [_spaced(row[self.column]["words"], self.space) for row in rows]
        labelled = [row[self.column]["labelled"] for row in rows]
        pieces = _read(tokenizer, sentences, limit)
        first = pieces.first(self.spaces)
        unread = [(i, word) for i, words in enumerate(labelled) for word in words if (i, word) not in first]
        if unread:  # some tokenizers make no token of an empty word, or of control characters
            for i, word in unread:
                sentences[i][word] = tokenizer.unk_token or ""
            pieces = _read(tokenizer, sentences, limit)
            first = pieces.first(self.spaces)
            for i, word in unread:
                if (i, word) not in first:
                    lost = rows[i][self.column]["words"][word]
                    raise CandidateError(f"its tokenizer makes no token of {lost!r}, and has no unknown token")
        cut = sum(count > 1 for count in Counter(pieces.sentences).values())
        positions = [first[i, word] for i, words in enumerate(labelled) for word in words]
        batch = self.padding.batch(tokenizer, pieces.inputs)
        return {**batch, POSITIONS: torch.tensor(positions), "num_truncated": torch.tensor(cut)}


def _spaced(words: Sequence[str], space: str) -> list[str]:
    return [word if word[:1].isspace() else space + word for word in words]


def _assemble(
    model: Model,
    tokenizer: Tokenizer,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    from hf_leep.models.backbone import is_decoder
    from hf_leep.models.padding import choose_padding
    from hf_leep.models.word_classifier import WordClassifier

    (column,) = columns
    limit = max_length(tokenizer, model.config)
    # Byte-level tokenizers recognise a word by the space before it. Their option add_prefix_space has no effect on
    # some of them, and puts spaces into the words of others.
    space = " " if _lacks_spaces(tokenizer) else ""
    spaces = _SPACES if is_decoder(model.config) else frozenset(" ")

    of_words = WordClassifier(model, head)
    # Padded on the right, whatever the tokenizer's own side: the position of a token must not depend on the batch.
    padding = choose_padding(
        of_words,
        tokenizer,
        lambda texts: _read(tokenizer, [_spaced(text.split(), space) for text in texts]).inputs,
        limit,
        "right",
    )

    return Classifier(
        model=of_words,
        head=head,
        collate=_Collate(tokenizer, column, limit, padding, space, spaces),
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, words after {space!r}",
        processor_backend=None,
        max_length=limit,
    )


@dataclass(frozen=True)
class _Pieces:
    """Sentences as tokens, not padded; those longer than a tokenizer's limit are in several pieces.

    Attributes:
        inputs: input name → the values for the tokens of each piece.
        sentences: the sentence of each piece.
        words: for each token of each piece, the position of its word in the sentence; None for special tokens.
        tokens: the tokens of each piece as the tokenizer writes them.
    """

    inputs: dict[str, list[list[int]]]
    sentences: list[int]
    words: list[list[int | None]]
    tokens: list[list[str]]

    def first(self, spaces: frozenset[str]) -> dict[Word, tuple[int, int]]:
        """Find the token that represents each word: its first one that is not a space, if there is one.

        Args:
            spaces: tokens that are only a space.

        Returns:
            (sentence, word) → (piece, position of the token in it).
        """
        first: dict[Word, tuple[int, int]] = {}
        only_spaces: set[Word] = set()  # words of which only spaces have come so far
        for piece, sentence in enumerate(self.sentences):
            for position, word in enumerate(self.words[piece]):
                if word is None:
                    continue
                key = sentence, word
                if key not in first or key in only_spaces:
                    first[key] = piece, position
                    (only_spaces.add if self.tokens[piece][position] in spaces else only_spaces.discard)(key)
        return first


def _read(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], limit: int | None = None) -> _Pieces:
    """Turn sentences into tokens, in pieces of at most ``limit`` tokens.

    Raises:
        CandidateError: the tokenizer needs more than words.
    """
    try:
        with transformers_silent():
            return (_at_once if tokenizer.is_fast else _word_by_word)(tokenizer, sentences, limit)
    except Exception as error:  # tokenizers raise exceptions of any kind
        raise CandidateError(f"its tokenizer takes no sentences of words ({describe(error)})") from None


def _at_once(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], limit: int | None) -> _Pieces:
    """Read sentences with a fast tokenizer, which knows the word of each token."""
    from transformers import PreTrainedTokenizerFast

    # LUKE's own __call__ takes the words for texts, or for a pair of texts.
    is_luke = "entity_spans" in signature(tokenizer.__call__).parameters
    fast = cast("PreTrainedTokenizerFast", tokenizer)
    call = partial(PreTrainedTokenizerFast.__call__, fast) if is_luke else fast.__call__
    side, tokenizer.truncation_side = tokenizer.truncation_side, "right"
    try:
        encoded = call(
            [list(sentence) for sentence in sentences],
            is_split_into_words=True,
            truncation=limit is not None,
            max_length=limit,
            return_overflowing_tokens=True,
            padding=False,
            verbose=False,
        )
    finally:
        tokenizer.truncation_side = side
    sentence_of_piece = encoded.pop("overflow_to_sample_mapping")
    pieces = range(len(sentence_of_piece))
    words, tokens = [encoded.word_ids(k) for k in pieces], [encoded.tokens(k) for k in pieces]
    return _Pieces(dict(encoded), sentence_of_piece, words, tokens)


def _word_by_word(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], limit: int | None) -> _Pieces:
    """Read sentences with a slow tokenizer: the tokens of each word in turn, between special tokens."""
    pieces = _Pieces({}, [], [], [])
    for k, sentence in enumerate(sentences):
        whole: Mapping[str, list[int]] = tokenizer(
            list(sentence), is_split_into_words=True, padding=False, truncation=False, verbose=False
        )
        ids = whole["input_ids"]
        read = [(token, i) for i, word in enumerate(sentence) for token in tokenizer.tokenize(word)]
        own = [tokenizer.convert_tokens_to_ids(token) for token, _ in read]
        around = len(ids) - len(own)
        before = next((n for n in range(around + 1) if ids[n : n + len(own)] == own), None)
        if before is None:
            raise ValueError("the word of each token cannot be determined")
        after = around - before
        room = max(1, (len(ids) if limit is None else limit) - around)
        for start in range(0, max(1, len(own)), room):
            part = read[start : start + room]
            for name, values in whole.items():
                inner = values[before : len(ids) - after][start : start + room]
                pieces.inputs.setdefault(name, []).append([*values[:before], *inner, *values[len(ids) - after :]])
            pieces.sentences.append(k)
            pieces.words.append([*[None] * before, *(i for _, i in part), *[None] * after])
            pieces.tokens.append([*[""] * before, *(token for token, _ in part), *[""] * after])
    return pieces


def _lacks_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer is of bytes or characters and does not itself put a space before a word."""
    if not tokenizer.is_fast:
        return bool(tokenizer.tokenize(" a")[:1] == [" "])
    splitter = cast("PreTrainedTokenizerFast", tokenizer).backend_tokenizer.pre_tokenizer
    settings = json.loads(splitter.__getstate__()) if splitter is not None else {}
    steps = [settings, *settings.get("pretokenizers", [])]
    return any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)


def _accepts(name: str, feature: object) -> bool:
    """Whether a column holds lists of words, and is not named as one of labels."""
    if not isinstance(feature, datasets.List | datasets.LargeList):
        return False
    return is_string(feature.feature) and name not in (*LABEL_NAMES, *TAG_NAMES)


MODALITY = Modality(
    name="token",
    task="token-classification",
    unit="words",
    input_names=(("tokens",), ("words",)),
    accepts=_accepts,
    labels_words=True,
    adapter=Adapter(
        what="token classifier",
        auto_model="AutoModelForTokenClassification",
        load_processor=load_tokenizer,
        assemble=_assemble,
        adjust=adjust,
    ),
)
