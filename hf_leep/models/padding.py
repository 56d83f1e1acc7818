"""How texts of unequal length become a batch without a text's outputs depending on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_leep.errors import CandidateError
from hf_leep.models.classifier import quiet, why
from hf_leep.models.ragged import in_one_batch, outputs, run, sees_padding

_FEW = 8  # CANINE and Funnel fail on fewer than 4 or 5 tokens
_WORDS = (9, 11, 14, 16)  # to try a model on: some see padding only where it fills up blocks of their own
_LETTERS = "a b c d e f g h i j k l m n o p "


@dataclass(frozen=True)
class PaddingChoice:
    """What was found out about a model.

    Attributes:
        alike: whether it is to run each length on its own, for it would see what fills a text up.
        at_least: tokens to fill every text up to.
        side: where to fill it up; the tokenizer's own side by default.
    """

    alike: bool
    at_least: int = 0
    side: str | None = None

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
        with quiet():
            return dict(tokenizer.pad(texts, return_tensors="pt", padding_side=self.side, **few))


def filling_of(
    model: Any,
    tokenizer: Any,
    encode: Callable[[list[str]], Mapping[str, list[list[int]]]],
    limit: int | None,
    side: str | None = None,
) -> PaddingChoice:
    """Try a model on texts alone and side by side.

    Args:
        model: a classifier, or a pooled backbone, of texts or of each of their tokens; its mode is left as it is.
        tokenizer: its tokenizer.
        encode: the tokens of texts, not filled up.
        limit: tokens that an input may have.
        side: where to fill texts up; the tokenizer's own side by default.

    Raises:
        CandidateError: the tokenizer or the model wants more than text, or the outputs are the same whatever the text,
            or whatever stands beside a token.
    """
    tiny = encode(["a"])
    texts = encode([_LETTERS[: 2 * words] for words in _WORDS])
    if limit is not None and len(texts["input_ids"][-1]) > limit:
        shares = [max(1, limit * words // _WORDS[-1]) for words in _WORDS]
        texts = {name: [row[:n] for row, n in zip(rows, shares, strict=True)] for name, rows in texts.items()}
    at_least = 0
    if outputs(model, PaddingChoice(False).batch(tokenizer, tiny)) is None:
        _wants_no_more(model, PaddingChoice(False).batch(tokenizer, {name: rows[-1:] for name, rows in texts.items()}))
        at_least = _FEW if limit is None or limit >= _FEW else 0
    if tokenizer.pad_token is None:
        return PaddingChoice(True, side=side)
    usual = PaddingChoice(False, at_least, side)
    beside = outputs(model, usual.batch(tokenizer, texts))
    differ = set(texts["input_ids"][0]) != set(texts["input_ids"][-1])  # a tokenizer may know none of the letters
    if differ and beside is not None and torch.allclose(beside[0], beside[-1], rtol=1e-6, atol=0):
        raise CandidateError("its outputs are the same for two different texts")
    if beside is not None and beside.ndim == 3:
        _sees_around(model, usual.batch(tokenizer, {name: rows[-1:] for name, rows in texts.items()}))
    single = [{name: rows[k : k + 1] for name, rows in texts.items()} for k in range(len(_WORDS) - 1)]
    return PaddingChoice(
        sees_padding(model, [usual.batch(tokenizer, text) for text in single], beside), at_least, side
    )


def _wants_no_more(model: Any, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise CandidateError where a model complains of its inputs, whatever their length."""
    try:
        run(model, batch)
    except (TypeError, ValueError) as error:  # others may hang on the device
        raise CandidateError(f"it does not run on texts alone: {why(error)}") from None
    except Exception:
        return


def _sees_around(model: Any, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise CandidateError where no token's answers hang on another token; the batch is one text."""
    (ids,) = batch["input_ids"]
    differ = (ids[1:] != ids[:-1]).nonzero().flatten().tolist()
    if not differ:
        return  # a tokenizer that knows none of the letters
    changed = differ[len(differ) // 4]
    other = ids.clone()
    other[changed] = ids[changed + 1]
    answers = [outputs(model, {**batch, "input_ids": each[None]}) for each in (ids, other)]
    if answers[0] is None or answers[1] is None:
        return
    difference = (answers[0] - answers[1]).abs()
    difference[:, changed] = 0
    if float(difference.max()) <= 1e-6 * float(answers[0].abs().max()):
        raise CandidateError("what it says of a token is the same whatever stands beside it")


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
