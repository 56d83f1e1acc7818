"""What a checkpoint's configuration claims, checked before anything is built, allocated or fetched for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from hf_leep.errors import CandidateError, one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from hf_leep.models.classifier import AutoClass

_CONFIGURATIONS = (  # the files of a checkpoint whose numbers decide how much memory it takes
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
)
_MAX_BYTES = 32 * 2**20  # names of a million classes take about 30 MB
_MAX_DEPTH = 50
_MAX_LABELS = 1_000_000
# Name of a number → the largest that is accepted, far above any checkpoint that people train.
_LIMITS: Sequence[tuple[re.Pattern[str], int, str]] = [
    (re.compile(r"num_labels|num_classes"), _MAX_LABELS, "classes"),
    (re.compile(r"(num_)?(\w+_)?(hidden_)?layers?|n_layers?|depths?|num_\w*blocks|num_stages"), 10_000, "layers"),
    (re.compile(r"(num_|in_)(input_)?chan(nel)?s"), 4_096, "channels"),
    (re.compile(r"image_size|(crop_|pad_)?size|height|width|(shortest|longest)_edge"), 8_192, "pixels a side"),
    (re.compile(r"sampling_rate|sample_rate"), 1_000_000, "samples a second"),
    (re.compile(r"(num|n)_frames"), 100_000, "frames"),
    (re.compile(r"num_mel_bins|feature_size|(n|num)_mels"), 4_096, "values"),
    (re.compile(r"n_fft|fft_length|fft_window_size|win_length|hop_length|frame_length"), 65_536, "samples"),
    (re.compile(r"chunk_length(_s)?|max_length_s"), 3_600, "seconds"),
    (re.compile(r"n_samples|max_length|max_position_embeddings|n_positions"), 1_000_000_000, "values"),
]
_PIXEL_AREAS = re.compile(r"Qwen|Glm|GLM|Emu|Pixtral|Mllama|Keye|Ernie")  # their edges are numbers of pixels
_SPECTRA = re.compile("AST|AudioSpectrogram")  # their length is a number of frames, and each has many values
_MAX_FRAMES = 100_000
_SPARE = 50_000_000  # elements of a model beyond its weights: a new head or pooler, tables of positions


def check_numbers(folder: Path) -> None:
    """Check that the configuration files of a checkpoint are files of reasonable size that claim reasonable numbers.

    Args:
        folder: the checkpoint's folder.

    Raises:
        CandidateError: a file is too long, is not JSON, or claims a number beyond the limits of this module.
    """
    for name in _CONFIGURATIONS:
        path = folder / name
        if not path.is_file():
            continue
        content = _read(path)
        if not isinstance(content, dict):
            raise CandidateError(f"{name} holds {type(content).__name__}, not a JSON object")
        labels = content.get("id2label")
        if isinstance(labels, dict) and len(labels) > _MAX_LABELS:
            raise CandidateError(f"{name} names {len(labels):,} classes; hf_leep accepts up to {_MAX_LABELS:,}")
        spectra = _SPECTRA.match(str(content.get("feature_extractor_type", "")))
        if spectra and isinstance(frames := content.get("max_length"), int | float) and frames > _MAX_FRAMES:
            raise CandidateError(
                f"{name} claims max_length = {frames:,}; hf_leep accepts up to {_MAX_FRAMES:,} frames"
            )
        areas = bool(_PIXEL_AREAS.match(str(content.get("image_processor_type", ""))))
        for key, number in _numbers(name, content):
            for pattern, limit, unit in _LIMITS:
                if pattern.fullmatch(key) and abs(number) > limit and not (areas and unit == "pixels a side"):
                    claimed = f"{number:,}" if abs(number) < 10**15 else f"{number:.3g}"
                    raise CandidateError(f"{name} claims {key} = {claimed}; hf_leep accepts up to {limit:,} {unit}")


def _read(path: Path) -> object:
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise CandidateError(f"{path.name} is {size / 2**20:,.0f} MB long; hf_leep reads up to {_MAX_BYTES >> 20} MB")
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CandidateError(f"{path.name} is not valid JSON ({one_line(error)})") from None
    return content


def _numbers(file: str, content: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, int | float]]:
    """The numbers in the content of a JSON file, each with the last name on the way to it."""
    if depth > _MAX_DEPTH:
        raise CandidateError(f"{file} is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(content, dict):
        for name, value in content.items():
            if name not in ("id2label", "label2id"):
                yield from _numbers(file, value, name, depth + 1)
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(file, value, key, depth + 1)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield key, content


def check_fetches(folder: Path) -> None:
    """Check that a configuration does not make transformers ask another repository while it is read.

    Args:
        folder: the checkpoint's folder, with a config.json that `check_numbers` accepted.

    Raises:
        CandidateError: it names one.
    """
    if not (folder / "config.json").is_file():
        return
    content = _read(folder / "config.json")
    for part in [content, *(content.values() if isinstance(content, dict) else ())]:
        if isinstance(part, dict) and part.get("backbone_config") is None:
            backbone = part.get("backbone")
            if isinstance(backbone, str) and ("/" in backbone or part.get("use_timm_backbone") is False):
                raise CandidateError(f"its config.json names another repository ({backbone[:80]!r}) to read from")


def choose_attention(config: PreTrainedConfig) -> None:
    """Let transformers choose how attention is computed, whatever a configuration says.

    A configuration may name an attention kernel, which transformers would download from the Hub and run.

    Args:
        config: the configuration, which is changed.
    """
    for part in _parts(config):
        part._attn_implementation_internal = None
        if hasattr(part, "_experts_implementation_internal"):
            part._experts_implementation_internal = None


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    from transformers import PreTrainedConfig

    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def check_size(config: PreTrainedConfig, auto_class: AutoClass, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that a configuration asks for a model of about the size of its weights, before any memory is allocated.

    The model is built on torch's meta device, where tensors have a shape and no content.

    Args:
        config: the checkpoint's configuration.
        auto_class: the auto class of transformers that will load it.
        shapes: weight → shape, from the header of the file.

    Raises:
        CandidateError: the model would be larger than its weights by more than a half and 50 million numbers.
    """
    stored = sum(prod(shape) for shape in shapes.values())
    asked = _elements(config, auto_class)
    if asked is not None and asked > 1.5 * stored + _SPARE:
        raise CandidateError(
            f"its config.json asks for a model of {asked:,} numbers, and its weights hold {stored:,}: "
            "they do not belong together"
        )


def shapes_in(folder: Path) -> dict[str, Sequence[int]] | None:
    """The shapes of a checkpoint's weights, from the headers of its safetensors files; None if there are none.

    Args:
        folder: the checkpoint's folder.

    Raises:
        CandidateError: a header cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    files = [folder / "model.safetensors"]
    if not files[0].is_file():
        files = sorted(folder.glob("model-*-of-*.safetensors"))
    shapes: dict[str, Sequence[int]] = {}
    for file in files:
        try:
            with safe_open(file, framework="np") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CandidateError(f"{file.name} is truncated or damaged ({one_line(error)})") from None
    return shapes or None


def _elements(config: PreTrainedConfig, auto_class: AutoClass) -> int | None:
    """Number of elements of all parameters and buffers of a model; None if transformers cannot build it."""
    import torch
    from transformers.initialization import no_init_weights

    try:
        with torch.device("meta"), no_init_weights():
            model = auto_class.from_config(config, trust_remote_code=False)
    except Exception:  # loading it will tell why, in the same way for all reasons
        return None
    tensors: list[torch.Tensor] = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() for tensor in tensors)
