"""Texts, single or in pairs: AutoModelForSequenceClassification with the checkpoint's own tokenizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_leep.errors import CandidateError
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, describe, source_labels, transformers_silent
from hf_leep.models.modality import LABEL_NAMES, Modality, is_string

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BatchEncoding, PreTrainedConfig, PreTrainedTokenizerBase

    from hf_leep.models.adapter import Model

_VOCABULARY = ("tokenizer.json", "vocab.", "merges.txt", "spiece.")
_OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod", "esm", "luke", "mluke",
)  # fmt: skip
_NO_TOKENIZER = "no tokenizer in the checkpoint"
_CHARACTERS = 64  # for each token up to the limit; what is beyond is not tokenized
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
        message = f"its tokenizer cannot be loaded: {describe(error)}" if found else _NO_TOKENIZER
        raise CandidateError(message) from None
    if (
        not found and tokenizer.vocab_files_names
    ):  # AutoTokenizer then makes an empty one; tokenizers of bytes or characters need no files
        raise CandidateError(_NO_TOKENIZER)
    return tokenizer


def _assemble(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    import torch
    from torch import nn

    from hf_leep.models.backbone import PerToken
    from hf_leep.models.padding import choose_padding
    from hf_leep.models.ragged import OneLengthAtATime

    limit = max_length(tokenizer, model.config)
    of_texts = PerToken(model, head) if isinstance(head, nn.Linear) else model
    padding = choose_padding(of_texts, tokenizer, lambda texts: encode(tokenizer, texts, len(columns)), limit)

    def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        texts = [[row[column] for row in rows] for column in columns]
        with transformers_silent(), _no_special_tokens_in_texts(tokenizer):
            whole, texts = _tokens(tokenizer, texts, limit)
            cut = sum(limit is not None and len(ids) > limit for ids in whole["input_ids"])
            if cut:
                whole = tokenizer(*texts, truncation=True, max_length=limit, **_PLAIN)
        batch = padding.batch(tokenizer, whole)
        return {**batch, "num_truncated": torch.tensor(cut)}

    return Classifier(
        model=OneLengthAtATime(of_texts, head) if padding.alike else of_texts,
        head=head,
        collate=collate,
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, {tokenizer.padding_side}",
        processor_backend=None,
        max_length=limit,
    )


@contextlib.contextmanager
def _no_special_tokens_in_texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Read a special token that is written in a text, such as </s>, as text: a model may fail on a second end."""
    before = tokenizer.split_special_tokens
    tokenizer.split_special_tokens = True
    try:
        yield
    finally:
        tokenizer.split_special_tokens = before


def _tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[list[str]], limit: int | None
) -> tuple[BatchEncoding, list[list[str]]]:
    """The tokens of texts, and the texts that they are of: those of many megabytes without their end.

    A tokenizer takes hundreds of times the memory of a text. What lies far beyond the limit changes no token before
    it; a text that has fewer tokens than the limit after the cut, such as one of spaces, is read as a whole.
    """
    if limit is None:
        return tokenizer(*texts, truncation=False, **_PLAIN), texts
    longest = _CHARACTERS * limit
    short = [[text[:longest] for text in column] for column in texts]
    made = tokenizer(*short, truncation=False, **_PLAIN)
    lost = [
        any(len(column[k]) > longest for column in texts) and len(ids) <= limit
        for k, ids in enumerate(made["input_ids"])
    ]
    return (tokenizer(*texts, truncation=False, **_PLAIN), texts) if any(lost) else (made, short)


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
    raise CandidateError(f"its tokenizer takes no plain texts: {reason}")


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
    named = getattr(config, "pad_token_id", None)
    if isinstance(named, int) and named < 0:  # how some configurations say that there is none
        named = config.pad_token_id = None
    if tokenizer.pad_token is not None and named is not None:
        return
    if named is not None and (token := tokenizer.convert_ids_to_tokens(named)) is not None:
        tokenizer.pad_token = token
        return
    last = encode(tokenizer, ["a"], 1)["input_ids"][0][-1]
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.cls_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) != last:
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
    stated: object = tokenizer.model_max_length  # whatever tokenizer_config.json says
    try:
        limits = [int(float(str(stated)))]
    except (ValueError, OverflowError):
        limits = []
    limits = [limit for limit in limits if 0 < limit < _NO_LIMIT]
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
