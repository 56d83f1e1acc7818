"""Load a checkpoint with its classification head, and find out whether the head is usable."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_leep.errors import CandidateError, one_line
from hf_leep.models import claims, config_file
from hf_leep.options import verbose

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    AutoClass: TypeAlias = type[_BaseAutoModelClass]

Row: TypeAlias = Mapping[str, Any]  # the input columns of one row, as `hf_leep.data` decodes them

_MAX_NAME = 200  # characters of the name of a class, a weight or a Python class, which a report repeats
_TRAINING_ONLY = ("mask_token", "masked_spec_embed")  # replace masked inputs: a pass masks nothing
_MISSING_PACKAGES = re.compile(
    r"(?<=requires the )\S+(?= library but)|(?<=[Mm]issing optional dependencies: )[\w, -]+"
    r"|(?<=You need to install )\S+(?= to use)|\S+(?= is required for)"
)


@dataclass(frozen=True)
class Classifier:
    """A loaded checkpoint, ready for one pass.

    Attributes:
        model: the model, in evaluation mode.
        head: the layer that turns penultimate features into logits; the pass records its inputs. None if there is no
            single such layer. For a checkpoint without a head, an identity layer after the pooling.
        collate: rows of the data set → the model's keyword arguments, and ``num_truncated`` where inputs can be
            truncated.
        row_wise: whether ``collate`` makes the same inputs of a row in any batch.
        source_labels: names of the head's classes.
        missing: why there are no ``probabilities`` (no usable head) or no ``features``.
        task: Hub task.
        processor: configuration of the processor, as JSON text.
        processor_backend: library that processes images; None for other inputs.
        max_length: number of tokens beyond which a text is truncated, where there is a limit.
        max_seconds: length beyond which a sound is truncated, where there is a limit.
    """

    model: nn.Module
    head: nn.Module | None
    collate: Callable[[Sequence[Row]], dict[str, torch.Tensor]]
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
    """What a checkpoint's configuration and the shapes of its weights say before anything is loaded.

    Attributes:
        num_source_classes: number of classes of its head, where it has one.
        no_probabilities: why it will give no source probabilities; None if it probably gives some.
    """

    num_source_classes: int | None
    no_probabilities: str | None


def inspect(path: Path, auto_class: AutoClass, what: str, shapes: Mapping[str, Sequence[int]] | None) -> Inspection:
    """Judge a checkpoint before its weights are downloaded; it is rejected only for what is certain.

    Args:
        path: a folder with its config.json.
        auto_class: the auto class of transformers for the modality.
        what: what that class loads, in words.
        shapes: weight → shape, None where they are not known.

    Raises:
        CandidateError: unreadable, unknown to transformers, in need of remote code, or of another modality.
    """
    config = load_config(path, auto_class, what)
    if shapes is not None:
        claims.check_size(config, auto_class, shapes)
    missing = _no_classes(config)
    if missing is None:
        other = other_class(config, auto_class)
        if other is not None:
            missing = f"no trained classification head: it was saved as {other}"
        elif shapes is not None and not any(shape and shape[0] == config.num_labels for shape in shapes.values()):
            missing = f"no trained classification head: no weight has {config.num_labels} rows, one for each class"
    return Inspection(None if missing else config.num_labels, missing)


def model_classes(auto_class: AutoClass, config: PreTrainedConfig) -> tuple[type, ...]:
    """The model classes that an auto class of transformers knows for a configuration; empty if it knows none.

    Args:
        auto_class: the auto class.
        config: the configuration.
    """
    mapping: Mapping[type, type | Sequence[type]] = vars(auto_class)["_model_mapping"]
    if type(config) not in mapping:
        return ()
    known = mapping[type(config)]
    return tuple(known) if isinstance(known, Sequence) else (known,)


def other_class(config: PreTrainedConfig, auto_class: AutoClass) -> str | None:
    """The class that a checkpoint was saved as, unless that is one of an auto class, or is not stated.

    Args:
        config: its configuration.
        auto_class: the auto class of transformers for the modality.
    """
    stated: object = config.architectures or []  # whatever config.json says
    names = [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []
    saved_as = [name.removeprefix("TF").removeprefix("Flax") for name in names if isinstance(name, str)]
    known = {cls.__name__ for cls in model_classes(auto_class, config)}
    return first_two(saved_as) if saved_as and not known & set(saved_as) else None


def load_config(path: Path, auto_class: AutoClass, what: str) -> PreTrainedConfig:
    """Read a checkpoint's configuration, and check that transformers has a classifier of this modality for it.

    Args:
        path: a folder with its config.json.
        auto_class: the auto class of transformers for the modality.
        what: what that class loads, in words.

    Raises:
        CandidateError: unreadable, unknown to transformers, in need of remote code, or of another modality.
    """
    config = read_config(path)
    if not model_classes(auto_class, config):
        kind = "zero-shot audio" if config.model_type == "clap" else "another modality"
        raise CandidateError(f"{kind}: transformers has no {what} for model_type {config.model_type!r}")
    return config


def read_config(path: Path) -> PreTrainedConfig:
    """Read a checkpoint's configuration, of any modality.

    Args:
        path: a folder with its config.json.

    Raises:
        CandidateError: unreadable, unknown to transformers, or in need of remote code.
    """
    from transformers import AutoConfig

    claims.check_numbers(path)
    claims.check_fetches(path)
    config_file.check_class_names(path)
    if config_file.is_timm(path) and not all(find_spec(package) for package in ("timm", "torchvision")):
        raise CandidateError('a timm checkpoint needs timm and torchvision: pip install "hf-leep[timm]"')
    try:
        with transformers_silent():
            config: PreTrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
            _ = config.num_labels, config.to_dict()  # some wrong types only show here
    except Exception as error:  # configurations raise exceptions of any kind
        text = f"its config.json cannot be read ({one_line(error)})"
        if "trust_remote_code" in str(error):
            text = "it needs Python code from its repository (trust_remote_code), which hf_leep does not run"
        elif "model_type" in str(error) or "model type" in str(error):
            text = "its config.json names no model_type that transformers knows"
        raise CandidateError(text) from None
    claims.choose_attention(config)
    config.return_dict = True
    return config


def load_model(
    path: Path, config: PreTrainedConfig, auto_class: AutoClass, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[PreTrainedModel, nn.Linear | None, dict[str, str]]:
    """Load the weights from a folder and check that they came from the checkpoint.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_class: the auto class of transformers for the modality.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.

    Returns:
        The model in evaluation mode, its head, and why there are no ``probabilities`` or no ``features``, if so.

    Raises:
        CandidateError: the weights cannot be loaded, or some of the backbone's are missing or have another shape.
    """
    model, broken, mismatched = load_weights(path, config, auto_class, dtype, allow_pickle)
    head = find_head(model)
    head_keys = {
        name for name, tensor in model.named_parameters() if head and any(tensor is w for w in head.parameters())
    }
    outside = [key for key in broken if key not in head_keys]
    backbone = getattr(model, model.base_model_prefix, None)
    inside = [key for key in outside if backbone is None or key.startswith(f"{model.base_model_prefix}.")]
    if inside:
        raise CandidateError(
            f"missing or misshapen weights of the backbone in the checkpoint: {first_two(inside)}"
            f"{_renamed(path, inside)}"
        )
    missing = missing_outputs(config, head, [f"{key} (misshapen)" if key in mismatched else key for key in broken])
    if head is not None and head_keys & mismatched:
        missing["probabilities"] = (
            f"no head for the {config.num_labels} classes of its config.json (num_labels, or the names in id2label), "
            f"since its weights have another shape: {first_two(sorted(head_keys & mismatched))}"
        )
    if head is not None and outside:
        missing["features"] = f"a layer between backbone and head is newly initialised: {first_two(outside)}"
    return model.eval(), head, missing


def _renamed(path: Path, missing: Sequence[str]) -> str:
    """What to do where the weights are there under longer names, as the end of a message; empty if they are not."""
    stored = claims.shapes_in(path) or {}
    for name in stored:
        prefix = name.removesuffix(missing[0])
        if prefix != name and prefix.endswith(".") and all(prefix + key in stored for key in missing):
            return f"; it has them as {name}, so remove {prefix!r} from the names"
    return ""


def load_weights(
    path: Path, config: PreTrainedConfig, auto_class: AutoClass, dtype: torch.dtype, allow_pickle: bool = False
) -> tuple[PreTrainedModel, list[str], set[str]]:
    """Load the weights from a folder.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        auto_class: the auto class of transformers.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.

    Returns:
        The model, the weights that did not come from the checkpoint, and which of these have another shape there.

    Raises:
        CandidateError: the weights cannot be loaded.
    """
    import torch

    pickled = allow_pickle and not any(path.glob("model*.safetensors"))
    shapes = None if pickled else claims.shapes_in(path)
    if shapes is not None:
        claims.check_size(config, auto_class, shapes)
    try:
        # Where a head is missing, transformers draws a random one: that must not change the caller's generator.
        with transformers_silent(), torch.random.fork_rng(devices=[]):
            model, info = auto_class.from_pretrained(
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
    except Exception as error:  # safetensors, torch and the model's own code raise different exceptions
        if "weights_only" in str(error):  # torch's message goes on to advise what nobody should do
            raise CandidateError("its pickled weights hold more than tensors: hf_leep does not load them") from None
        raise CandidateError(f"the weights cannot be loaded ({describe(error)})") from None

    mismatched = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    broken = {key for key in {*info["missing_keys"], *mismatched} if not key.endswith(_TRAINING_ONLY)}
    return model, sorted(broken), mismatched


def missing_outputs(config: PreTrainedConfig, head: nn.Linear | None, broken: Sequence[str] = ()) -> dict[str, str]:
    """Say why a classifier gives no ``probabilities`` or no ``features``; empty if it gives both.

    Args:
        config: the model's configuration.
        head: its head, if there is a single one.
        broken: weights of the head that did not come from the checkpoint.
    """
    missing = {}
    if broken:
        missing["probabilities"] = f"no trained classification head: newly initialised {first_two(broken)}"
    elif no_classes := _no_classes(config):
        missing["probabilities"] = no_classes
    if head is None:
        missing["features"] = "no single linear head whose input could be recorded: it has none, or several"
    return missing


def _no_classes(config: PreTrainedConfig) -> str | None:
    """Why the outputs of a head are no distribution over source classes; None if they are one."""
    if config.problem_type == "multi_label_classification":
        return "a multi-label head: its outputs are no distribution over source classes"
    if config.problem_type == "regression" or (config.num_labels or 0) < 2:
        outputs = "1 output" if config.num_labels == 1 else f"{config.num_labels} outputs"
        return f"a regression head ({outputs}): it has no source classes"
    return None


def find_head(model: PreTrainedModel) -> nn.Linear | None:
    """Find the linear layer outside the backbone that is as wide as the logits; None unless there is exactly one.

    Args:
        model: a transformers classifier.
    """
    from torch import nn

    backbone = getattr(model, model.base_model_prefix, None)
    inside = set(backbone.modules()) if isinstance(backbone, nn.Module) else set()
    heads = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module not in inside and module.out_features == model.config.num_labels
    ]
    return heads[0] if len(heads) == 1 else None


def source_labels(config: PreTrainedConfig) -> tuple[str, ...]:
    """Names of the head's classes in the order of its outputs.

    Args:
        config: the model's configuration.
    """
    names = {int(index): name for index, name in (config.id2label or {}).items()}  # PVT's may be None
    return tuple(str(names.get(index, index))[:_MAX_NAME] for index in range(config.num_labels or 0))


@contextlib.contextmanager
def transformers_silent() -> Iterator[None]:
    """Turn off transformers' log lines and progress bars; hf_leep reports what matters as a candidate's reason."""
    from logging import CRITICAL

    from transformers.utils import logging

    if verbose():
        yield
        return
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    with warnings.catch_warnings():  # huggingface_hub warns where HF_HUB_DISABLE_PROGRESS_BARS decides instead
        warnings.simplefilter("ignore")
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                logging.enable_progress_bar()


def describe(error: Exception) -> str:
    """An error's message on one line; if packages are missing, only their names.

    Args:
        error: what transformers raised.
    """
    packages = _MISSING_PACKAGES.findall(str(error))
    if packages:
        return f"it needs {' and '.join(dict.fromkeys(package.lower() for package in packages))}, not installed here"
    return one_line(error)


def first_two(names: Sequence[str]) -> str:
    """The first two names, and how many more there are.

    Args:
        names: the names.
    """
    return ", ".join(name[:_MAX_NAME] for name in names[:2]) + (
        f" and {len(names) - 2} more" if len(names) > 2 else ""
    )
