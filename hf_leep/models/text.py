"""Texts, single or in pairs: AutoModelForSequenceClassification with the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.models import backbone
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, quiet, source_labels, why
from hf_leep.models.modalities import BY_NAME
from hf_leep.models.padding import filling_of, plain
from hf_leep.models.ragged import OneLengthAtATime

_VOCABULARY = ("tokenizer.json", "vocab.", "merges.txt", "spiece.")
_OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod", "esm", "luke", "mluke",
)  # fmt: skip
_NO_TOKENIZER = "no tokenizer in the checkpoint"
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens


def load_tokenizer(path: Path) -> Any:
    """Load a checkpoint's own tokenizer.

    Raises:
        CandidateError: it has none, or one that cannot be loaded.
    """
    from transformers import AutoTokenizer

    found = any(file.name.startswith(_VOCABULARY) or file.suffix in (".model", ".tiktoken") for file in path.iterdir())
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer raises its own
        said = f"its tokenizer cannot be loaded: {why(error)}" if found else _NO_TOKENIZER
        raise CandidateError(said) from None
    if not found and tokenizer.vocab_files_names:  # AutoTokenizer made an empty one up; bytes or characters need none
        raise CandidateError(_NO_TOKENIZER)
    return tokenizer


def _assemble(
    model: Any, tokenizer: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    config = model.config
    limit = max_length(tokenizer, config)
    if isinstance(head, nn.Linear):
        model = backbone.PerToken(model, head)
    filling = filling_of(model, tokenizer, lambda texts: plain(tokenizer, texts, len(columns)), limit)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [[row[column] for row in rows] for column in columns]
        with quiet():
            whole = tokenizer(*texts, padding=False, truncation=False, verbose=False)
            cut = sum(limit is not None and len(ids) > limit for ids in whole["input_ids"])
            if cut:
                whole = tokenizer(*texts, padding=False, truncation=True, max_length=limit, verbose=False)
        batch = filling.batch(tokenizer, whole)
        return {**batch, "num_truncated": torch.tensor(cut)}

    return Classifier(
        model=OneLengthAtATime(model, head) if filling.alike else model,
        head=head,
        collate=collate,
        row_wise=False,
        source_labels=source_labels(config),
        missing=missing,
        task=BY_NAME["text"].task,
        processor=f"{type(tokenizer).__name__} of {len(tokenizer)} tokens, {limit} at most, {tokenizer.padding_side}",
        processor_backend=None,
        max_length=limit,
    )


def settle(tokenizer: Any, config: Any) -> None:
    """Settle the padding token, and what else would make a text's outputs depend on more than the text."""
    choose_padding(tokenizer, config)
    if getattr(config, "attention_type", None) == "block_sparse":
        config.attention_type = "original_full"  # BigBird changes to it at its first short batch, and stays there
    if getattr(config, "hash_seed", 0) is None:
        config.hash_seed = 0  # Reformer draws its hashes anew in each pass


def choose_padding(tokenizer: Any, whole_config: Any) -> None:
    """Settle the padding token where tokenizer and text configuration do not name it both.

    Decoders are often trained without one, and look for the last token that is none to find the end of a text. So it
    must not be a token that the tokenizer itself puts at the end, as an end-of-text token may be. Where none will do,
    texts are not filled up, and the configuration names a token that does not occur.
    """
    config = whole_config.get_text_config()
    named = getattr(config, "pad_token_id", None)
    if tokenizer.pad_token is not None and named is not None:
        return
    if named is not None and (token := tokenizer.convert_ids_to_tokens(named)) is not None:
        tokenizer.pad_token = token
        return
    last = plain(tokenizer, ["a"], 1)["input_ids"][0][-1]
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.cls_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) != last:
            tokenizer.pad_token = token
            config.pad_token_id = tokenizer.pad_token_id
            return
    config.pad_token_id = -1


def max_length(tokenizer: Any, config: Any) -> int | None:
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
    what="sequence classifier",
    auto_model="AutoModelForSequenceClassification",
    load_processor=load_tokenizer,
    assemble=_assemble,
    settle=settle,
)
