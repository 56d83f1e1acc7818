"""Texts, single or in pairs: AutoModelForSequenceClassification with the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.modalities import pooled
from hf_leep.modalities.adapter import Adapter
from hf_leep.modalities.classifier import Classifier, quiet, source_labels, why

_VOCABULARY = ("tokenizer.json", "vocab.", "merges.txt", "spiece.")
_OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod", "esm", "luke", "mluke",
)  # fmt: skip
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens


def _load_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    if not any(file.name.startswith(_VOCABULARY) or file.suffix in (".model", ".tiktoken") for file in path.iterdir()):
        raise CandidateError("no tokenizer in the checkpoint")  # AutoTokenizer would make an empty one up
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer raises its own
        raise CandidateError(f"its tokenizer cannot be loaded: {why(error)}") from None


def _assemble(
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
        task=ADAPTER.task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, {tokenizer.padding_side}",
        processor_backend=None,
        max_length=limit,
    )


def _choose_padding(tokenizer: Any, whole_config: Any) -> None:
    """Settle the padding token where tokenizer and text configuration do not name it both.

    Decoders are often trained without one, and look for the last token that is none to find the end of a text. So it
    must not be a token that the tokenizer itself puts at the end, as an end-of-text token may be.

    Raises:
        CandidateError: no token will do.
    """
    config = whole_config.get_text_config()
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


ADAPTER = Adapter(
    task="text-classification",
    what="sequence classifier",
    auto_model="AutoModelForSequenceClassification",
    load_processor=_load_tokenizer,
    assemble=_assemble,
    settle=_choose_padding,
)
