"""Checkpoints without a classification head: the backbone alone, its outputs pooled to one row of features each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError
from hf_leep.models.classifier import first, load_weights

POOLER = "pooler_output"
NO_HEAD = {"probabilities": "no trained classification head: the model has none"}
# In the order in which sentence-transformers puts them side by side where a checkpoint names several.
_SENTENCE_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last token",
}


class PooledBackbone(nn.Module):
    """A backbone that gives one row of features for each input.

    The features leave through ``head``, which changes nothing, as what a classifier's head would be given: so the pass
    catches and checks them in the same way.

    Args:
        backbone: a transformers model without a head.
        modes: poolings of the last hidden state, several of them side by side.
        own: use the model's own ``pooler_output`` where it gives one.
        reduced: ``(attention mask, length) -> mask`` where the model shortens its input before it attends to it.
    """

    def __init__(
        self,
        backbone: Any,
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
    def config(self) -> Any:
        """The backbone's configuration."""
        return self.backbone.config

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """The features ``[n, d]``, in the place of logits."""
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
    """A classifier whose head runs on every token: let it be seen to run on what counts, once for each text.

    That is the last real token where its outputs are the logits, or the mean over all real ones where their mean is.

    Args:
        model: a transformers sequence classifier.
        head: its head.
    """

    def __init__(self, model: Any, head: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._caught: torch.Tensor | None = None
        self.training = model.training
        self._head = [head]  # in a list, so that its weights count once

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's own outputs."""
        (head,) = self._head
        handle = head.register_forward_pre_hook(self._catch)
        try:
            outputs = self.model(**batch)
        finally:
            handle.remove()
        caught, self._caught = self._caught, None
        ids = batch.get("input_ids")
        if caught is not None and ids is not None and caught.ndim == 3 and caught.shape[:2] == ids.shape:
            padding = getattr(self.model.config.get_text_config(), "pad_token_id", None)
            real = torch.ones_like(ids) if padding is None else (ids != padding).int()
            for mode, mask in (("last token", real), ("mean", batch.get("attention_mask", real))):
                # Whoever listens to the head hears the last of these.
                if torch.allclose(head(_pool(caught, mask, mode)), outputs.logits, rtol=1e-3, atol=1e-3):
                    break
        return outputs

    def _catch(self, _head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught = inputs[0]


def wanted(config: Any, auto_model: Any) -> bool:
    """Whether a checkpoint was saved without a head of this kind, and is one that can be pooled.

    Args:
        config: its configuration.
        auto_model: transformers' auto class of the modality's classifiers.
    """
    from transformers import AutoModel

    if config.sub_configs or type(config) not in AutoModel._model_mapping or other_head(config, auto_model) is None:
        return False  # several towers: its classifier knows which one looks at the inputs
    return not getattr(config, "is_encoder_decoder", False) or _encoder_alone(config)


def other_head(config: Any, auto_model: Any) -> str | None:
    """What a checkpoint was saved as, if that is none of the modality's classifiers."""
    saved_as = [name.removeprefix("TF").removeprefix("Flax") for name in config.architectures or []]
    known = auto_model._model_mapping[type(config)]
    classes = {cls.__name__ for cls in (known if isinstance(known, (list, tuple)) else [known])}
    return ", ".join(saved_as) if saved_as and not classes & set(saved_as) else None


def load(
    path: Path, config: Any, auto_model: Any, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[PooledBackbone, nn.Module, dict[str, str]]:
    """Load a checkpoint's backbone, and settle how its outputs are pooled.

    The model's own pooler where its weights came from the checkpoint; for texts what 1_Pooling/config.json says, where
    there is one; for decoders the last token; else the mean over all tokens, patches or frames that are no padding.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_model: transformers' auto class of the modality's classifiers.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Returns:
        The model in evaluation mode, what stands for its head, and why there are no ``probabilities``.

    Raises:
        CandidateError: the weights cannot be loaded, or some of them are missing or misshapen.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    auto = AutoModelForTextEncoding if _encoder_alone(config) else AutoModel
    backbone, broken, _ = load_weights(path, config, auto, dtype, allow_pickle)
    lost = [key for key in broken if "pooler" not in key.split(".")[:2]]
    if lost:
        raise CandidateError(
            f"{len(lost)} weights of the backbone are missing or misshapen in the checkpoint: {first(lost)}"
        )
    missing = {"probabilities": f"no trained classification head: it was saved as {other_head(config, auto_model)}"}
    modes = _sentence_modes(path)
    own = modes is None and not broken
    features = wrap(backbone.eval(), modes, own=own)
    return features, features.head, missing


def wrap(backbone: Any, modes: tuple[str, ...] | None = None, *, own: bool = True) -> PooledBackbone:
    """Pool a backbone that is in memory already.

    Args:
        backbone: a transformers model without a head.
        modes: poolings; the usual one of its kind by default.
        own: use the model's own ``pooler_output`` where it gives one.
    """
    shorten = getattr(backbone, "_get_feature_vector_attention_mask", None)
    reduced = None if shorten is None else lambda mask, length: shorten(length, mask)
    modes = modes or (("last token",) if reads_on(backbone.config) else ("mean",))
    return PooledBackbone(backbone, modes, own=own, reduced=reduced)


def bare(model: Any) -> Any | None:
    """The backbone of a model in memory that has no head, or one for pretraining; None for any other."""
    from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForTextEncoding

    for auto in (AutoModel, AutoModelForTextEncoding, AutoModelForPreTraining, AutoModelForMaskedLM):
        known = auto._model_mapping.get(type(model.config), ())
        if type(model) in (known if isinstance(known, (list, tuple)) else [known]):
            return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model.base_model
    return None


def _pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """Hidden states ``[n, tokens, d]`` and which of them are real ``[n, tokens]`` → ``[n, d]``."""
    rows = torch.arange(len(hidden), device=hidden.device)
    real = mask != 0
    if mode == "cls":  # the first real token, on whichever side the padding is
        return hidden[rows, real.int().argmax(dim=1)]
    if mode == "last token":
        places = torch.arange(hidden.shape[1], device=hidden.device)
        return hidden[rows, (places * real).argmax(dim=1)]
    if mode == "max":
        return hidden.masked_fill(~real[..., None], float("-inf")).amax(dim=1)
    weight = real[..., None].to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _sentence_modes(path: Path) -> tuple[str, ...] | None:
    """How sentence-transformers pools this checkpoint; None where it does not say so."""
    try:
        said = json.loads((path / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = {mode for key, mode in _SENTENCE_MODES.items() if isinstance(said, dict) and said.get(key) is True}
    return tuple(mode for mode in _SENTENCE_MODES.values() if mode in named) or ("mean",)


def reads_on(config: Any) -> bool:
    """Whether a model reads from left to right, so that its last token alone has seen them all."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    kind = type(config)
    return kind in AutoModelForCausalLM._model_mapping and kind not in AutoModelForMaskedLM._model_mapping


def _encoder_alone(config: Any) -> bool:
    from transformers import AutoModelForTextEncoding

    return type(config) in AutoModelForTextEncoding._model_mapping
