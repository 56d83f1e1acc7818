"""Texts, single or in pairs: AutoModelForSequenceClassification with the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError, one_line
from hf_leep.modalities import classifier, pooled
from hf_leep.modalities.classifier import (
    Classifier,
    Inspection,
    find_head,
    load_config,
    load_model,
    missing_of,
    quiet,
    source_labels,
)

TASK = "text-classification"
_WHAT = "sequence classifier"
_VOCABULARY = ("tokenizer.json", "vocab.", "merges.txt", "spiece.")
_OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod", "esm", "luke", "mluke",
)  # fmt: skip
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens


def load(path: Path, columns: Sequence[str], dtype: torch.dtype, allow_pickle: bool = False) -> Classifier:
    """Load a sequence classifier and its tokenizer from a folder.

    Args:
        path: the checkpoint's folder.
        columns: one text column, or two for pairs, which the tokenizer joins in its own way.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        CandidateError: the folder holds no sequence classifier that transformers can load safely.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = load_config(path, AutoModelForSequenceClassification, _WHAT)
    if not any(file.name.startswith(_VOCABULARY) or file.suffix in (".model", ".tiktoken") for file in path.iterdir()):
        raise CandidateError("no tokenizer in the checkpoint")  # AutoTokenizer would make an empty one up
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer raises its own
        raise CandidateError(f"its tokenizer cannot be loaded: {one_line(error)}") from None
    _choose_padding(tokenizer, config.get_text_config())
    if pooled.wanted(config, AutoModelForSequenceClassification):
        model, missing = pooled.load(path, config, AutoModelForSequenceClassification, dtype, allow_pickle)
        head: nn.Module | None = model.head
    else:
        model, head, missing = load_model(path, config, AutoModelForSequenceClassification, dtype, allow_pickle)
    return _classifier(model, tokenizer, columns, head, missing)


def inspect(path: Path, shapes: Mapping[str, Sequence[int]] | None) -> Inspection:
    """Judge a checkpoint by its config.json and the shapes of its weights.

    Args:
        path: a folder with its config.json.
        shapes: weight → shape, None where they are not known.

    Raises:
        CandidateError: transformers cannot load it as a classifier of this kind.
    """
    from transformers import AutoModelForSequenceClassification

    return classifier.inspect(path, AutoModelForSequenceClassification, _WHAT, shapes)


def wrap(model: Any, tokenizer: Any, columns: Sequence[str]) -> Classifier:
    """Make a classifier of a model and a tokenizer that are in memory already.

    Args:
        model: a transformers sequence classifier; its mode is left as it is.
        tokenizer: its tokenizer; a padding token is chosen where it has none.
        columns: one text column, or two for pairs.

    Raises:
        CandidateError: no token could fill up a batch.
    """
    _choose_padding(tokenizer, model.config.get_text_config())
    if (backbone := pooled.bare(model)) is not None:
        features = pooled.wrap(backbone)
        return _classifier(features, tokenizer, columns, features.head, pooled.NO_HEAD)
    head = find_head(model)
    return _classifier(model, tokenizer, columns, head, missing_of(model.config, head))


def _classifier(
    model: Any, tokenizer: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    limit = _max_length(tokenizer, model.config)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [[row[column] for row in rows] for column in columns]
        with quiet():
            whole = tokenizer(*texts, padding=False, truncation=False, verbose=False)
            cut = sum(limit is not None and len(ids) > limit for ids in whole["input_ids"])
            if cut:
                whole = tokenizer(*texts, padding=False, truncation=True, max_length=limit, verbose=False)
            batch = tokenizer.pad(whole, return_tensors="pt")
        return {**batch, "num_truncated": torch.tensor(cut)}

    return Classifier(
        model=pooled.LastToken(model, head) if isinstance(head, nn.Linear) else model,
        head=head,
        collate=collate,
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=TASK,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, {tokenizer.padding_side}",
        processor_backend=None,
        max_length=limit,
    )


def _choose_padding(tokenizer: Any, config: Any) -> None:
    """Settle the padding token where tokenizer and configuration do not name it both.

    Decoders are often trained without one, and look for the last token that is none to find the end of a text. So it
    must not be a token that the tokenizer itself puts at the end, as an end-of-text token may be.

    Raises:
        CandidateError: no token will do.
    """
    if tokenizer.pad_token is not None and config.pad_token_id is not None:
        return
    if config.pad_token_id is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
        return
    last = tokenizer("a")["input_ids"][-1]
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.cls_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) != last:
            tokenizer.pad_token = token
            config.pad_token_id = tokenizer.pad_token_id
            return
    raise CandidateError("its tokenizer has no token that could fill up a batch")


def _max_length(tokenizer: Any, config: Any) -> int | None:
    """Tokens that a text may have, by the tokenizer and by the position table; None where neither has a limit."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < _NO_LIMIT else []
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa and its kin count positions from the padding token's id, so the first ones of their table are lost.
        offset = (text.pad_token_id or 0) + 1 if text.model_type in _OFFSET_POSITIONS else 0
        limits.append(int(positions) - offset)
    return min(limits) if limits else None
