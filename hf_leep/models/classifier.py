"""Load a checkpoint with its classification head, and tell whether that head means anything."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError, one_line

_TRAINING_ONLY = ("mask_token", "masked_spec_embed")  # stand for what is masked: no pass of ours masks anything
_LACKING = re.compile(
    r"(?<=requires the )\S+(?= library but)|(?<=[Mm]issing optional dependencies: )[\w, -]+"
    r"|(?<=You need to install )\S+(?= to use)|\S+(?= is required for)"
)


@dataclass(frozen=True)
class Classifier:
    """A loaded checkpoint, ready for one pass.

    Attributes:
        model: the model, in evaluation mode.
        head: the layer that turns penultimate features into logits; its input is caught. None if there is no single
            such layer. Of a checkpoint without a head the one that its pooled features pass through unchanged.
        collate: rows of the data set → the model's keyword arguments, and ``num_truncated`` where some can be cut.
        row_wise: whether ``collate`` gives each row the same inputs in whatever batch it stands.
        source_labels: names of the head's classes.
        missing: why there are no ``probabilities`` (no usable head) or no ``features``.
        task: Hub task.
        processor: configuration of the processor, as JSON text.
        processor_backend: library that does the image work, where it applies.
        max_length: tokens beyond which a text is cut, where there is a limit.
        max_seconds: seconds beyond which a sound is cut, where there is a limit.
    """

    model: nn.Module
    head: nn.Module | None
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]
    row_wise: bool
    source_labels: tuple[str, ...]
    missing: Mapping[str, str]
    task: str
    processor: str
    processor_backend: str | None
    max_length: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint's configuration, and the shapes of its weights, tell before anything is loaded.

    Attributes:
        num_source_classes: outputs of its head, where it has one.
        no_probabilities: why it will give no source probabilities; None if it is likely to give some.
    """

    num_source_classes: int | None
    no_probabilities: str | None


def inspect(path: Path, auto_model: Any, what: str, shapes: Mapping[str, Sequence[int]] | None) -> Inspection:
    """Judge a checkpoint before its weights are here; only what is certain is held against it.

    Args:
        path: a folder with its config.json.
        auto_model: transformers' auto class of the modality.
        what: what that class loads, in words.
        shapes: weight → shape, None where they are not known.

    Raises:
        CandidateError: unreadable, unknown to transformers, in need of remote code, or of another modality.
    """
    config = load_config(path, auto_model, what)
    missing = _no_classes(config)
    if missing is None:
        saved_as = [name.removeprefix("TF").removeprefix("Flax") for name in config.architectures or []]
        known = auto_model._model_mapping[type(config)]
        wanted = {cls.__name__ for cls in (known if isinstance(known, (list, tuple)) else [known])}
        if saved_as and not wanted & set(saved_as):
            missing = f"no trained classification head: it was saved as {', '.join(saved_as)}"
        elif shapes is not None and not any(shape and shape[0] == config.num_labels for shape in shapes.values()):
            missing = f"no trained classification head: no weight has {config.num_labels} rows, one for each class"
    return Inspection(None if missing else config.num_labels, missing)


def load_config(path: Path, auto_model: Any, what: str) -> Any:
    """Read a checkpoint's configuration and check that transformers has a classifier of this kind for it.

    Raises:
        CandidateError: unreadable, unknown to transformers, in need of remote code, or of another modality.
    """
    config = read_config(path)
    if type(config) not in auto_model._model_mapping:
        kind = "zero-shot audio" if config.model_type == "clap" else "another modality"
        raise CandidateError(f"{kind}: transformers has no {what} for model_type {config.model_type!r}")
    return config


def read_config(path: Path) -> Any:
    """Read a checkpoint's configuration, of whatever kind it is.

    Raises:
        CandidateError: unreadable, unknown to transformers, or in need of remote code.
    """
    from transformers import AutoConfig

    if _of_timm(path) and not all(find_spec(package) for package in ("timm", "torchvision")):
        raise CandidateError('a timm checkpoint needs timm and torchvision: pip install "hf-leep[timm]"')
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        text = one_line(error)
        if "trust_remote_code" in str(error):
            text = "it needs Python code from its repository (trust_remote_code), which hf_leep does not run"
        elif "model_type" in str(error) or "model type" in str(error):
            text = "its config.json names no model_type that transformers knows"
        raise CandidateError(f"configuration: {text}") from None
    return config


def _of_timm(path: Path) -> bool:
    """Whether a config.json is timm's own, or transformers' wrapper of one."""
    try:
        said = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and (said.get("model_type") == "timm_wrapper" or "pretrained_cfg" in said)


def load_model(
    path: Path, config: Any, auto_model: Any, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[Any, nn.Linear | None, dict[str, str]]:
    """Load the weights from a folder and check that they came from the checkpoint.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_model: transformers' auto class of the modality.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.

    Returns:
        The model in evaluation mode, its head, and why there are no ``probabilities`` or no ``features``, if so.

    Raises:
        CandidateError: the weights cannot be loaded, or some of the backbone's are missing or misshapen.
    """
    model, broken, mismatched = load_weights(path, config, auto_model, dtype, allow_pickle)
    head = find_head(model)
    head_keys = {
        name for name, tensor in model.named_parameters() if head and any(tensor is w for w in head.parameters())
    }
    outside = [key for key in broken if key not in head_keys]
    backbone = getattr(model, model.base_model_prefix, None)
    inside = [key for key in outside if backbone is None or key.startswith(f"{model.base_model_prefix}.")]
    if inside:
        raise CandidateError(
            f"{len(inside)} weights of the backbone are missing or misshapen in the checkpoint: {first(inside)}"
        )
    missing = missing_of(config, head, [f"{key} (misshapen)" if key in mismatched else key for key in broken])
    if head is not None and outside:
        missing["features"] = f"a layer between backbone and head is newly initialised: {first(outside)}"
    return model.eval(), head, missing


def load_weights(
    path: Path, config: Any, auto_model: Any, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[Any, list[str], set[str]]:
    """Load the weights from a folder.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_model: transformers' auto class.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.

    Returns:
        The model, the weights that did not come from the checkpoint, and which of these have another shape there.

    Raises:
        CandidateError: the weights cannot be loaded.
    """
    pickled = allow_pickle and not any(path.glob("model*.safetensors"))
    try:
        # Where a head is missing, transformers draws one: not from the caller's generator.
        with quiet(), torch.random.fork_rng(devices=[]):
            model, info = auto_model.from_pretrained(
                path,
                config=config,
                dtype=dtype,
                use_safetensors=not pickled,
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below instead of raised
                output_loading_info=True,
            )
    except Exception as error:  # safetensors, torch and the model's own code each raise their own
        if "weights_only" in str(error):  # and torch would go on to advise what nobody should do
            raise CandidateError("its pickled weights hold more than tensors: hf_leep does not load them") from None
        raise CandidateError(f"the weights cannot be loaded: {why(error)}") from None

    mismatched = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    broken = {key for key in {*info["missing_keys"], *mismatched} if not key.endswith(_TRAINING_ONLY)}
    return model, sorted(broken), mismatched


def missing_of(config: Any, head: nn.Linear | None, broken: Sequence[str] = ()) -> dict[str, str]:
    """Say why a classifier gives no ``probabilities`` or no ``features``; empty if it gives both.

    Args:
        config: the model's configuration.
        head: its head, if there is a single one.
        broken: weights of the head that did not come from the checkpoint.
    """
    missing = {}
    if broken:
        missing["probabilities"] = f"no trained classification head: newly initialised {first(broken)}"
    elif no_classes := _no_classes(config):
        missing["probabilities"] = no_classes
    if head is None:
        missing["features"] = "no single linear head whose input could be caught: it has none, or several"
    return missing


def _no_classes(config: Any) -> str | None:
    """Why the outputs of a head are no distribution over source classes, if so."""
    if config.problem_type == "multi_label_classification":
        return "a multi-label head: its outputs are no distribution over source classes"
    if config.problem_type == "regression" or config.num_labels < 2:
        return f"a regression head ({config.num_labels} output): it has no source classes"
    return None


def find_head(model: Any) -> nn.Linear | None:
    """Find the only linear layer outside the backbone that is as wide as the logits; None if there is not just one."""
    backbone = getattr(model, model.base_model_prefix, None)
    inside = set(backbone.modules()) if isinstance(backbone, nn.Module) else set()
    heads = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module not in inside and module.out_features == model.config.num_labels
    ]
    return heads[0] if len(heads) == 1 else None


def source_labels(config: Any) -> tuple[str, ...]:
    """Names of the head's classes in the order of its outputs."""
    names = config.id2label or {}  # PVT's configuration may have none
    return tuple(str(names.get(index, index)) for index in range(config.num_labels))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' own log lines and bars: what matters of them becomes a reason on the candidate's row."""
    from logging import CRITICAL

    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def why(error: Exception) -> str:
    """What an error says, on one line; of a package that is missing its name alone."""
    packages = _LACKING.findall(str(error))
    if packages:
        return f"it needs {' and '.join(dict.fromkeys(package.lower() for package in packages))}, not installed here"
    return one_line(error)


def first(names: Sequence[str]) -> str:
    """The first two names, and how many more there are."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
