"""How texts of unequal length become a batch without a text's outputs depending on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_leep.errors import CandidateError
from hf_leep.modalities.alike import in_one_batch, outputs, sees_padding
from hf_leep.modalities.classifier import quiet, why

_FEW = 8  # CANINE and Funnel fail on fewer than 4 or 5 tokens
_WORDS = (9, 11, 14, 16)  # to try a model on: some see padding only where it fills up blocks of their own
_LETTERS = "a b c d e f g h i j k l m n o p "


@dataclass(frozen=True)
class Filling:
    """What was found out about a model.

    Attributes:
        alike: whether it is to run each length on its own, for it would see what fills a text up.
        at_least: tokens to fill every text up to.
    """

    alike: bool
    at_least: int = 0

    def batch(self, tokenizer: Any, texts: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, torch.Tensor]:
        """The tokens of texts as tensors ``[n, tokens]``, and their own sizes where each length is to run alone."""
        if not self.alike:
            return self._padded(tokenizer, texts)
        count = len(texts["input_ids"])
        single = [{name: rows[k : k + 1] for name, rows in texts.items()} for k in range(count)]
        return in_one_batch([self._padded(tokenizer, text) for text in single], 1)

    def _padded(self, tokenizer: Any, texts: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, torch.Tensor]:
        longest = max(map(len, texts["input_ids"]))
        if len(texts["input_ids"]) == 1 and longest >= self.at_least:
            return {name: torch.tensor(rows) for name, rows in texts.items()}  # even where there is no padding token
        few = {"padding": "max_length", "max_length": self.at_least} if longest < self.at_least else {}
        return dict(tokenizer.pad(texts, return_tensors="pt", **few))


def filling_of(model: Any, tokenizer: Any, columns: int, limit: int | None) -> Filling:
    """Try a model on texts alone and side by side.

    Args:
        model: a classifier, or a pooled backbone; its mode is left as it is.
        tokenizer: its tokenizer.
        columns: texts that make an input.
        limit: tokens that an input may have.

    Raises:
        CandidateError: the tokenizer wants more than text, or the outputs are the same whatever the text.
    """
    tiny = plain(tokenizer, ["a"], columns)
    texts = plain(tokenizer, [_LETTERS[: 2 * words] for words in _WORDS], columns)
    if limit is not None and len(texts["input_ids"][-1]) > limit:
        shares = [max(1, limit * words // _WORDS[-1]) for words in _WORDS]
        texts = {name: [row[:n] for row, n in zip(rows, shares, strict=True)] for name, rows in texts.items()}
    at_least = 0
    if outputs(model, Filling(False).batch(tokenizer, tiny)) is None and (limit is None or limit >= _FEW):
        at_least = _FEW
    if tokenizer.pad_token is None:
        return Filling(True)
    usual = Filling(False, at_least)
    beside = outputs(model, usual.batch(tokenizer, texts))
    differ = set(texts["input_ids"][0]) != set(texts["input_ids"][-1])  # a tokenizer may know none of the letters
    if differ and beside is not None and torch.allclose(beside[0], beside[-1], rtol=1e-6, atol=0):
        raise CandidateError("its outputs are the same for two different texts")
    single = [{name: rows[k : k + 1] for name, rows in texts.items()} for k in range(len(_WORDS) - 1)]
    return Filling(sees_padding(model, [usual.batch(tokenizer, text) for text in single], beside), at_least)


def plain(tokenizer: Any, texts: list[str], columns: int) -> Any:
    """The tokens of texts, not filled up.

    Raises:
        CandidateError: the tokenizer wants more than text.
    """
    try:
        with quiet():
            whole = tokenizer(*[texts] * columns, padding=False, truncation=False, verbose=False)
        if len(whole["input_ids"]) == len(texts) and all(isinstance(ids, list) for ids in whole["input_ids"]):
            return whole
        said = "it reads a list of them as the words of one"
    except Exception as error:  # each tokenizer raises its own
        said = why(error)
    raise CandidateError(f"its tokenizer takes no plain texts: {said}")
