"""Checkpoints without a classification head: the backbone alone, its outputs pooled to one row of features each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.models.classifier import first_two, load_weights, model_classes, other_class

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from hf_leep.models.adapter import Model
    from hf_leep.models.classifier import AutoClass

POOLER = "pooler_output"
NO_HEAD = {"probabilities": "no trained classification head: the model has none"}
# In the order in which sentence-transformers concatenates them where a checkpoint names several: its name in the file
# since version 5, its key in the files before, and its name here.
_SENTENCE_MODES = (
    ("cls", "pooling_mode_cls_token", "cls"),
    ("max", "pooling_mode_max_tokens", "max"),
    ("mean", "pooling_mode_mean_tokens", "mean"),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", "sum over square root of length"),
    ("weightedmean", "pooling_mode_weightedmean_tokens", "mean weighted by position"),
    ("lasttoken", "pooling_mode_lasttoken", "last token"),
)


class HasLogits(Protocol):
    """The outputs of a classifier."""

    logits: torch.Tensor


class PooledBackbone(nn.Module):
    """A backbone that gives one row of features for each input.

    The features pass through ``head``, an identity layer, so that a pass records and checks them in the same way as
    the inputs of a classifier's head.

    Args:
        backbone: a transformers model without a head.
        modes: poolings of the last hidden state; the outputs of several are concatenated.
        own: use the model's own ``pooler_output`` where it gives one.
        reduced: ``(attention mask, length) -> mask`` where the model shortens its input before its attention layers.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        modes: tuple[str, ...] = ("mean",),
        *,
        own: bool = True,
        reduced: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Identity()
        self.pooled_by = "+".join(modes)
        self._modes, self._own, self._reduced = modes, own, reduced
        self.training = backbone.training

    @property
    def config(self) -> PreTrainedConfig:
        """The backbone's configuration."""
        return self.backbone.config

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """The features ``[n, d]``, returned as ``logits``."""
        outputs = self.backbone(**batch)
        own = getattr(outputs, POOLER, None) if self._own else None
        if own is not None:
            self.pooled_by = POOLER
            return SimpleNamespace(logits=self.head(own.flatten(1)))
        hidden = outputs.last_hidden_state.float()
        if hidden.ndim == 4:  # feature maps [n, d, height, width]
            hidden = hidden.flatten(2).transpose(1, 2)
        mask = batch.get("attention_mask")
        if mask is not None and self._reduced is not None:
            mask = self._reduced(mask, hidden.shape[1])
        if mask is None:
            mask = torch.ones(hidden.shape[:2], device=hidden.device)
        return SimpleNamespace(logits=self.head(torch.cat([_pool(hidden, mask, mode) for mode in self._modes], dim=1)))


class PerToken(nn.Module):
    """A classifier whose head may run on every token: run the head once more, on one row of features for each text.

    If the logits of the text are those of its last token that is no padding, the features are that token's; if they
    are the mean over all such tokens, so are the features. A hook on the head sees them last.

    Args:
        model: a transformers sequence classifier.
        head: its head.
    """

    def __init__(self, model: Model, head: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._caught: torch.Tensor | None = None
        self.training = model.training
        self._head = [head]  # in a list, so that its weights are not counted twice

    def forward(self, **batch: torch.Tensor) -> HasLogits:
        """The model's own outputs."""
        (head,) = self._head
        handle = head.register_forward_pre_hook(self._catch)
        try:
            outputs: HasLogits = self.model(**batch)
        finally:
            handle.remove()
        caught, self._caught = self._caught, None
        ids = batch.get("input_ids")
        if caught is not None and ids is not None and caught.ndim == 3 and caught.shape[:2] == ids.shape:
            padding = getattr(self.model.config.get_text_config(), "pad_token_id", None)
            real = torch.ones_like(ids) if padding is None else (ids != padding).int()
            for mode, mask in (("last token", real), ("mean", batch.get("attention_mask", real))):
                # A hook on the head sees the inputs of the last of these calls.
                if torch.allclose(head(_pool(caught, mask, mode)), outputs.logits, rtol=1e-3, atol=1e-3):
                    break
        return outputs

    def _catch(self, _head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught = inputs[0]


def can_pool(config: PreTrainedConfig, auto_class: AutoClass) -> bool:
    """Whether a checkpoint was saved without a classification head, and the outputs of its backbone can be pooled.

    Args:
        config: its configuration.
        auto_class: the auto class of transformers for the modality's classifiers.
    """
    from transformers import AutoModel

    if config.sub_configs or not model_classes(AutoModel, config) or other_class(config, auto_class) is None:
        return False  # a model of several parts: only its classifier knows which part reads the inputs
    return not getattr(config, "is_encoder_decoder", False) or _has_separate_encoder(config)


def load(
    path: Path, config: PreTrainedConfig, auto_class: AutoClass, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[PooledBackbone, dict[str, str]]:
    """Load a checkpoint's backbone, and choose how its outputs are pooled.

    The first of these that applies: the pooling in 1_Pooling/config.json; the model's own pooler, if its weights came
    from the checkpoint; for decoders the last token; the mean over all tokens, patches or frames that are no padding.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_class: the auto class of transformers for the modality's classifiers.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Returns:
        The model in evaluation mode, and why there are no ``probabilities``.

    Raises:
        CandidateError: the weights cannot be loaded, or some of them are missing or have another shape.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    auto: AutoClass = AutoModelForTextEncoding if _has_separate_encoder(config) else AutoModel
    backbone, broken, _ = load_weights(path, config, auto, dtype, allow_pickle)
    lost = [key for key in broken if "pooler" not in key.split(".")[:2]]
    if lost:
        raise CandidateError(f"missing or misshapen weights of the backbone in the checkpoint: {first_two(lost)}")
    missing = {"probabilities": f"no trained classification head: it was saved as {other_class(config, auto_class)}"}
    modes = _sentence_modes(path)
    own = modes is None and not broken
    return wrap(backbone.eval(), modes, own=own), missing


def wrap(backbone: PreTrainedModel, modes: tuple[str, ...] | None = None, *, own: bool = True) -> PooledBackbone:
    """Pool the outputs of a backbone in memory.

    Args:
        backbone: a transformers model without a head.
        modes: poolings; by default the last token for decoders, the mean for others.
        own: use the model's own ``pooler_output`` where it gives one.
    """
    shorten = getattr(backbone, "_get_feature_vector_attention_mask", None)
    reduced = None if shorten is None else lambda mask, length: shorten(length, mask)
    modes = modes or (("last token",) if is_decoder(backbone.config) else ("mean",))
    return PooledBackbone(backbone, modes, own=own, reduced=reduced)


def headless(model: PreTrainedModel) -> PreTrainedModel | None:
    """The backbone of a model in memory that has no head, or only one for pretraining; None for any other model.

    Args:
        model: a transformers model.
    """
    from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForTextEncoding

    for auto in (AutoModel, AutoModelForTextEncoding, AutoModelForPreTraining, AutoModelForMaskedLM):
        if type(model) in model_classes(auto, model.config):
            encoder_decoder = getattr(model.config, "is_encoder_decoder", False)
            return cast("PreTrainedModel", model.get_encoder() if encoder_decoder else model.base_model)
    return None


def _pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """Hidden states ``[n, tokens, d]`` and which of them are no padding ``[n, tokens]`` → ``[n, d]``."""
    rows = torch.arange(len(hidden), device=hidden.device)
    real = mask != 0
    if mode == "cls":  # the first token that is no padding: some tokenizers pad on the left
        return hidden[rows, real.int().argmax(dim=1)]
    if mode == "last token":
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        return hidden[rows, (positions * real).argmax(dim=1)]
    if mode == "max":
        return hidden.masked_fill(~real[..., None], float("-inf")).amax(dim=1)
    weight = real[..., None].to(hidden.dtype)
    if mode == "mean weighted by position":
        weight = weight * torch.arange(1, hidden.shape[1] + 1, device=hidden.device)[:, None]
    if mode == "sum over square root of length":
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1).sqrt()
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _sentence_modes(path: Path) -> tuple[str, ...] | None:
    """The pooling that sentence-transformers uses for a checkpoint; None where it has no such setting.

    Raises:
        CandidateError: it is one that hf_leep does not know.
    """
    try:
        content = json.loads((path / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    except (ValueError, RecursionError):
        raise CandidateError("1_Pooling/config.json is not valid JSON") from None
    if not isinstance(content, dict):
        raise CandidateError(f"1_Pooling/config.json holds {type(content).__name__}, not a JSON object")
    stated = content.get("pooling_mode")
    if stated is None:
        named = {key for key, value in content.items() if key.startswith("pooling_mode_") and value is True}
        known = {key: mode for _, key, mode in _SENTENCE_MODES}
    else:
        named = set(map(str, stated if isinstance(stated, list) else [stated]))
        known = {name: mode for name, _, mode in _SENTENCE_MODES}
    if unknown := sorted(named - set(known)):
        raise CandidateError(f"its 1_Pooling/config.json names an unknown pooling, {unknown[0][:80]!r}")
    return tuple(mode for name, mode in known.items() if name in named) or ("mean",)


def is_decoder(config: PreTrainedConfig) -> bool:
    """Whether each token of a model attends only to itself and those before it, so that only the last attends to all.

    Args:
        config: the model's configuration.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    return bool(model_classes(AutoModelForCausalLM, config)) and not model_classes(AutoModelForMaskedLM, config)


def _has_separate_encoder(config: PreTrainedConfig) -> bool:
    from transformers import AutoModelForTextEncoding

    return bool(model_classes(AutoModelForTextEncoding, config))
