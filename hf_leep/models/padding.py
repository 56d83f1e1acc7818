"""How texts of unequal length become a batch without a text's outputs depending on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import torch

from hf_leep.errors import CandidateError
from hf_leep.models.classifier import describe, transformers_silent
from hf_leep.models.ragged import in_one_batch, outputs, run, sees_padding

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

TextTokens: TypeAlias = Mapping[str, Sequence[Sequence[int]]]  # input name → one list for each text, not padded

_FEW = 8  # CANINE and Funnel fail on fewer than 4 or 5 tokens
_WORDS = (9, 11, 14, 16)  # lengths to try a model on: some models see padding only if it fills a whole block
_LETTERS = "a b c d e f g h i j k l m n o p "


@dataclass(frozen=True)
class PaddingChoice:
    """How texts are padded for a model.

    Attributes:
        alike: whether only texts of the same length run together, because the model sees padding.
        at_least: number of tokens to which every text is padded.
        side: the side of the padding; the tokenizer's own by default.
    """

    alike: bool
    at_least: int = 0
    side: str | None = None

    def batch(self, tokenizer: PreTrainedTokenizerBase, texts: TextTokens) -> dict[str, torch.Tensor]:
        """Make a batch of texts, ``[n, tokens]``, with their own sizes where those of the same length run together.

        Args:
            tokenizer: the tokenizer that made the tokens.
            texts: the tokens.
        """
        if not self.alike:
            return self._padded(tokenizer, texts)
        count = len(texts["input_ids"])
        single = [{name: rows[k : k + 1] for name, rows in texts.items()} for k in range(count)]
        return in_one_batch([self._padded(tokenizer, text) for text in single], 1)

    def _padded(self, tokenizer: PreTrainedTokenizerBase, texts: TextTokens) -> dict[str, torch.Tensor]:
        longest = max(map(len, texts["input_ids"]))
        if len(texts["input_ids"]) == 1 and longest >= self.at_least:
            return {name: torch.tensor(rows) for name, rows in texts.items()}  # works without a padding token too
        few = longest < self.at_least
        with transformers_silent():
            return dict(
                tokenizer.pad(
                    cast("dict[str, list[list[int]]]", dict(texts)),
                    padding="max_length" if few else True,
                    max_length=self.at_least if few else None,
                    padding_side=self.side,
                    return_tensors="pt",
                )
            )


def choose_padding(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    encode: Callable[[list[str]], TextTokens],
    limit: int | None,
    side: str | None = None,
) -> PaddingChoice:
    """Find out how to pad texts for a model, by running it on texts one at a time and in a batch.

    Args:
        model: a classifier or a pooled backbone, of texts or of tokens; whether it is in training mode does not
            change.
        tokenizer: its tokenizer.
        encode: texts → their tokens, not padded.
        limit: number of tokens that an input may have.
        side: the side of the padding; the tokenizer's own by default.

    Raises:
        CandidateError: the tokenizer or the model needs more than a text; or the outputs do not depend on the text, or
            those of a token not on the other tokens.
    """
    tiny = encode(["a"])
    texts = encode([_LETTERS[: 2 * words] for words in _WORDS])
    if limit is not None and len(texts["input_ids"][-1]) > limit:
        lengths = [max(1, limit * words // _WORDS[-1]) for words in _WORDS]
        texts = {name: [row[:n] for row, n in zip(rows, lengths, strict=True)] for name, rows in texts.items()}
    at_least = 0
    if outputs(model, PaddingChoice(False).batch(tokenizer, tiny)) is None:
        longest = {name: rows[-1:] for name, rows in texts.items()}
        _check_runs_on_texts(model, PaddingChoice(False).batch(tokenizer, longest))
        at_least = _FEW if limit is None or limit >= _FEW else 0
    if tokenizer.pad_token is None:
        return PaddingChoice(True, side=side)
    usual = PaddingChoice(False, at_least, side)
    beside = outputs(model, usual.batch(tokenizer, texts))
    differ = set(texts["input_ids"][0]) != set(texts["input_ids"][-1])  # a tokenizer may know none of the letters
    if differ and beside is not None and torch.allclose(beside[0], beside[-1], rtol=1e-6, atol=0):
        raise CandidateError("its outputs are the same for two different texts")
    if beside is not None and beside.ndim == 3:
        _check_sees_other_tokens(model, usual.batch(tokenizer, {name: rows[-1:] for name, rows in texts.items()}))
    single = [{name: rows[k : k + 1] for name, rows in texts.items()} for k in range(len(_WORDS) - 1)]
    alike = sees_padding(model, [usual.batch(tokenizer, text) for text in single], beside)
    return PaddingChoice(alike, at_least, side)


def _check_runs_on_texts(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise CandidateError if a model rejects the kind of its inputs; other errors may depend on the device."""
    try:
        run(model, batch)
    except (TypeError, ValueError) as error:
        raise CandidateError(f"it does not run on texts alone ({describe(error)})") from None
    except Exception:
        return


def _check_sees_other_tokens(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise CandidateError if the outputs of no token depend on another token; the batch is one text."""
    (ids,) = batch["input_ids"]
    differ = (ids[1:] != ids[:-1]).nonzero().flatten().tolist()
    if not differ:
        return  # a tokenizer that knows none of the letters
    changed = differ[len(differ) // 4]
    other = ids.clone()
    other[changed] = ids[changed + 1]
    before, after = (outputs(model, {**batch, "input_ids": each[None]}) for each in (ids, other))
    if before is None or after is None:
        return
    difference = (before - after).abs()
    difference[:, changed] = 0
    if float(difference.max()) <= 1e-6 * float(before.abs().max()):
        raise CandidateError("its outputs for a token do not depend on the other tokens")
