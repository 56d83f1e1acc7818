"""Texts, single or in pairs: AutoModelForSequenceClassification with the checkpoint's own tokenizer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hf_leep.errors import CandidateError
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, describe, source_labels, transformers_silent
from hf_leep.models.modality import LABEL_NAMES, Modality, is_string

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BatchEncoding, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from hf_leep.models.adapter import Model
    from hf_leep.models.padding import PaddingChoice

_VOCABULARY = ("tokenizer.json", "vocab.", "merges.txt", "spiece.")
_OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod", "esm", "luke", "mluke",
)  # fmt: skip
_NO_TOKENIZER = "no tokenizer in the checkpoint"
_CHARACTERS = 64  # for each token up to the limit; what is beyond is not tokenized
_SPECIAL = 16  # more than a tokenizer adds to a text
_PLAIN: Mapping[str, Any] = {"padding": False, "verbose": False}
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Load a checkpoint's own tokenizer.

    Args:
        path: the checkpoint's folder.

    Raises:
        CandidateError: it has none, or one that cannot be loaded.
    """
    from transformers import AutoTokenizer

    found = any(file.name.startswith(_VOCABULARY) or file.suffix in (".model", ".tiktoken") for file in path.iterdir())
    try:
        with transformers_silent():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                path, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # tokenizers raise exceptions of any kind
        message = f"its tokenizer cannot be loaded ({describe(error)})" if found else _NO_TOKENIZER
        raise CandidateError(message) from None
    if (
        not found and tokenizer.vocab_files_names
    ):  # AutoTokenizer then makes an empty one; tokenizers of bytes or characters need no files
        raise CandidateError(_NO_TOKENIZER)
    tokenizer.model_max_length = _stated_limit(tokenizer) or _NO_LIMIT
    return tokenizer


def _stated_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The limit of a tokenizer; None where tokenizer_config.json states none, or something that is not one."""
    stated: object = tokenizer.model_max_length
    try:
        limit = int(float(str(stated)))
    except (ValueError, OverflowError):
        return None
    return limit if 0 < limit < _NO_LIMIT else None


@dataclass(frozen=True)
class _Collate:
    """Makes the inputs of texts; it can be sent to another process.

    Attributes:
        tokenizer: the tokenizer.
        columns: the input columns.
        limit: number of tokens that an input may have.
        padding: how texts become a batch.
        table: number of tokens that the model has an embedding for.
    """

    tokenizer: PreTrainedTokenizerBase
    columns: tuple[str, ...]
    limit: int | None
    padding: PaddingChoice
    table: int | None

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        import torch

        tokenizer, limit, table = self.tokenizer, self.limit, self.table
        texts = [[row[column] for row in rows] for column in self.columns]
        with transformers_silent(), _no_special_tokens_in_texts(tokenizer):
            if limit is not None:
                texts = [[_cut(tokenizer, text, limit) for text in column] for column in texts]
            whole = tokenizer(*texts, truncation=False, **_PLAIN)
            cut = sum(limit is not None and len(ids) > limit for ids in whole["input_ids"])
            if cut:
                whole = tokenizer(*texts, truncation=True, max_length=limit, **_PLAIN)
        batch = self.padding.batch(tokenizer, _never_empty(tokenizer, whole))
        if table is not None and (token := int(batch["input_ids"].max())) >= table:
            raise CandidateError(
                f"its tokenizer makes token {token}, and its embedding table has {table} rows: "
                "they do not belong together"
            )
        return {**batch, "num_truncated": torch.tensor(cut)}


def _assemble(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    from torch import nn

    from hf_leep.models.backbone import PerToken
    from hf_leep.models.padding import choose_padding
    from hf_leep.models.ragged import OneLengthAtATime

    limit = max_length(tokenizer, model.config)
    of_texts = PerToken(model, head) if isinstance(head, nn.Linear) else model
    padding = choose_padding(of_texts, tokenizer, lambda texts: encode(tokenizer, texts, len(columns)), limit)

    return Classifier(
        model=OneLengthAtATime(of_texts, head) if padding.alike else of_texts,
        head=head,
        collate=_Collate(tokenizer, tuple(columns), limit, padding, _embeddings(model)),
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, {tokenizer.padding_side}",
        processor_backend=None,
        max_length=limit,
    )


def _embeddings(model: Model) -> int | None:
    """Number of tokens that a model has an embedding for; None where it has no single table."""
    from torch import nn

    try:
        table = cast("PreTrainedModel", getattr(model, "backbone", model)).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


@contextlib.contextmanager
def _no_special_tokens_in_texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Read a special token that is written in a text, such as </s>, as text: a model may fail on a second end."""
    before = tokenizer.split_special_tokens
    tokenizer.split_special_tokens = True
    try:
        yield
    finally:
        tokenizer.split_special_tokens = before


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, limit: int) -> str:
    """A text without what lies far beyond the limit, so that a text of many megabytes takes little memory.

    A tokenizer takes hundreds of times the memory of a text. The cut may change the tokens next to it, so it is made
    where the text has twice the tokens that may be used; a text of fewer tokens, such as one of spaces, stays whole.

    Args:
        tokenizer: the tokenizer.
        text: the text.
        limit: number of tokens that a text may have.
    """
    length = _CHARACTERS * limit
    while length < len(text):
        part = text[-length:] if tokenizer.truncation_side == "left" else text[:length]
        if len(tokenizer(part, truncation=False, **_PLAIN)["input_ids"]) > 2 * limit + _SPECIAL:
            return part
        length *= 4
    return text


def _never_empty(tokenizer: PreTrainedTokenizerBase, texts: BatchEncoding) -> Mapping[str, list[list[int]]]:
    """Tokens of texts, with an unknown token for a text that has none: models fail on one, or read only padding."""
    special = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    token = next(number for number in special if number is not None)
    instead = {"input_ids": token, "attention_mask": 1}
    return {name: [row or [instead.get(name, 0)] for row in rows] for name, rows in texts.items()}


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str], columns: int) -> BatchEncoding:
    """The tokens of texts, neither padded nor truncated.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        columns: 2 to pair each text with itself, else 1.

    Raises:
        CandidateError: the tokenizer needs more than a text.
    """
    try:
        with transformers_silent(), _no_special_tokens_in_texts(tokenizer):
            encoded: BatchEncoding = tokenizer(*[texts] * columns, truncation=False, **_PLAIN)
        if len(encoded["input_ids"]) == len(texts) and all(isinstance(ids, list) for ids in encoded["input_ids"]):
            return encoded
        reason = "it reads a list of texts as the words of one text"
    except Exception as error:  # tokenizers raise exceptions of any kind
        reason = describe(error)
    raise CandidateError(f"its tokenizer does not take plain texts ({reason})")


def adjust(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Set the padding token, and whatever else would let a text's outputs depend on more than the text.

    Args:
        tokenizer: the tokenizer.
        config: the model's configuration, before the model is made.
    """
    set_padding_token(tokenizer, config)
    if getattr(config, "attention_type", None) == "block_sparse":
        # BigBird changes to this at its first short batch, and does not change back.
        setattr(config, "attention_type", "original_full")  # noqa: B010 - other configurations have no such attribute
    if getattr(config, "hash_seed", 0) is None:
        setattr(config, "hash_seed", 0)  # noqa: B010 - Reformer's, which would draw new hashes in each pass


def set_padding_token(tokenizer: PreTrainedTokenizerBase, whole_config: PreTrainedConfig) -> None:
    """Set the padding token, unless both the tokenizer and the configuration name one.

    Decoders are often trained without one, and find the end of a text by the last token that is no padding. So it must
    not be a token that the tokenizer itself puts at the end, as an end-of-text token may be. If all are like that,
    texts are not padded, and the configuration names a token that never occurs.

    Args:
        tokenizer: the tokenizer.
        whole_config: the model's configuration, whose part for texts is used.
    """
    config = whole_config.get_text_config()
    size: float = getattr(config, "vocab_size", None) or math.inf  # CANINE has none
    named = getattr(config, "pad_token_id", None)
    if isinstance(named, int) and not 0 <= named < size:  # -1 says that there is none
        named = config.pad_token_id = None
    # A token that was added to the tokenizer alone has no embedding.
    usable = tokenizer.pad_token is not None and tokenizer.pad_token_id < size
    if usable and named is not None:
        return
    if named is not None and (token := tokenizer.convert_ids_to_tokens(named)) is not None:
        tokenizer.pad_token = token
        return
    last = encode(tokenizer, ["a"], 1)["input_ids"][0][-1]
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.cls_token):
        number = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if isinstance(number, int) and number != last and number < size:
            tokenizer.pad_token = token
            config.pad_token_id = tokenizer.pad_token_id
            return
    config.pad_token_id = -1


def max_length(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int | None:
    """Number of tokens that a text may have, by the tokenizer and the position table; None if neither has a limit.

    Args:
        tokenizer: the tokenizer.
        config: the model's configuration.
    """
    stated = _stated_limit(tokenizer)
    limits = [] if stated is None else [stated]
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa and similar models count positions from the id of the padding token, so the first ones are not used.
        offset = (text.pad_token_id or 0) + 1 if text.model_type in _OFFSET_POSITIONS else 0
        limits.append(int(positions) - offset)
    return min(limits) if limits else None


MODALITY = Modality(
    name="text",
    task="text-classification",
    unit="texts",
    input_names=(
        ("text",),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("text1", "text2"),
        ("question", "sentence"),
        ("sentence",),
    ),
    max_inputs=2,
    accepts=lambda name, feature: is_string(feature) and name not in LABEL_NAMES,
    adapter=Adapter(
        what="sequence classifier",
        auto_model="AutoModelForSequenceClassification",
        load_processor=load_tokenizer,
        assemble=_assemble,
        adjust=adjust,
    ),
)
