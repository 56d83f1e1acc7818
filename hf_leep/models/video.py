"""Videos: AutoModelForVideoClassification with the checkpoint's own processor, on frames spread over each video.

A video is divided into as many equal parts as the model takes frames, and the middle frame of each part is used; of a
video with fewer frames some are used twice. Nothing here is random.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import datasets

from hf_leep.errors import CandidateError, TargetError, one_line
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, source_labels, transformers_silent
from hf_leep.models.modality import Modality, files_need, installed

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn
    from transformers import PreTrainedConfig

    from hf_leep.models.adapter import Model
    from hf_leep.models.processors import ImageProcessor

_CONFIGURATIONS = ("video_preprocessor_config.json", "processor_config.json")


def _load_processor(path: Path) -> ImageProcessor:
    import transformers

    # Image processors need no torchvision, and older checkpoints have nothing else.
    reasons = []
    for name, options in (("AutoImageProcessor", {"backend": "pil"}), ("AutoVideoProcessor", {})):
        try:
            with transformers_silent():
                processor: ImageProcessor = getattr(transformers, name).from_pretrained(
                    path, trust_remote_code=False, local_files_only=True, **options
                )
        except Exception as error:  # the two classes raise different exceptions
            reasons.append(one_line(error))
        else:
            return processor
    if find_spec("torchvision") is None and any((path / file).exists() for file in _CONFIGURATIONS):
        raise CandidateError("its video processor needs torchvision: pip install torchvision")
    raise CandidateError(f"its video processor cannot be loaded ({reasons[0]})")


@dataclass(frozen=True)
class _Collate:
    """Makes the inputs of videos; it can be sent to another process."""

    processor: ImageProcessor
    column: str
    frames: int
    options: Mapping[str, bool]

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        import torch

        videos = [_frames(row[self.column], self.frames) for row in rows]
        # One video at a time: of several, some processors require that all have the same size.
        made = [self.processor(video, return_tensors="pt", **self.options) for video in videos]
        return {name: torch.cat([one[name] for one in made]) for name in made[0]}


def _assemble(
    model: Model,
    processor: ImageProcessor,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    (column,) = columns
    frames = _num_frames(model.config)
    options = {"do_sample_frames": False} if hasattr(processor, "do_sample_frames") else {}

    return Classifier(
        model=model,
        head=head,
        collate=_Collate(processor, column, frames, options),
        row_wise=True,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=json.dumps({**json.loads(processor.to_json_string()), "frames": frames}, sort_keys=True),
        processor_backend=getattr(processor, "backend", None) or _backend(processor),
    )


def _backend(processor: object) -> str:
    """The library of a processor that does not state it: torchvision for video processors, Pillow for older ones."""
    from transformers import BaseVideoProcessor

    return "torchvision" if isinstance(processor, BaseVideoProcessor) else "pil"


def _num_frames(config: PreTrainedConfig) -> int:
    """Number of frames that a model takes.

    Raises:
        CandidateError: its configuration does not state it.
    """
    for name in ("num_frames", "frames_per_clip"):
        if isinstance(number := getattr(config, name, None), int) and number > 0:
            return number
    raise CandidateError("its configuration does not say how many frames it takes")


def _frames(video: Row | Sequence[Image | None], count: int) -> list[Image]:
    """RGB images spread over a video, ``[count]``, of a list of images or of a file.

    Raises:
        TargetError: it cannot be decoded, or has no frames.
    """
    if isinstance(video, Mapping):
        return _decoded(video, count)
    images = [image for image in video or () if image is not None]
    if not images or len(images) < len(video):
        raise TargetError("a video has no frames, or lacks some: drop such rows first")
    return [images[position].convert("RGB") for position in _spread(len(images), count)]


def _spread(total: int, count: int) -> list[int]:
    """The middle position of each of ``count`` equal parts of ``total`` positions."""
    return [(2 * k + 1) * total // (2 * count) for k in range(count)]


def _decoded(video: Row, count: int) -> list[Image]:
    """Images spread over a video file; of a video of any length only these are kept in memory."""
    try:
        import av
    except ImportError:
        raise TargetError(files_need("av", "video") or "av cannot be imported") from None
    name = f" {Path(video['path']).name}" if video["path"] else ""
    try:
        with av.open(_source(video), "r") as file:
            total = sum(packet.size > 0 for packet in file.demux(video=0))
        for _ in range(2):
            positions = _spread(total, count)
            found, seen = {}, 0
            with av.open(_source(video), "r") as file:
                file.streams.video[0].thread_type = "AUTO"
                for frame in file.decode(video=0):
                    if seen in positions:
                        found[seen] = frame.to_image()
                    seen += 1
            if seen == total and seen:
                return [found[position] for position in positions]
            total = seen  # a packet is not always a frame: decode again, with the number of frames
    except (av.FFmpegError, OSError, IndexError, ValueError, TypeError) as error:
        raise TargetError(f"the video file{name} cannot be decoded ({one_line(error)})") from None
    raise TargetError(f"the video file{name} has no frames: drop such rows first")


def _source(video: Row) -> str | io.BytesIO:
    path: str = video["path"]
    return path if video["bytes"] is None else io.BytesIO(video["bytes"])


def _is_list_of_images(feature: object) -> bool:
    return isinstance(getattr(feature, "feature", None), datasets.Image)


MODALITY = Modality(
    name="video",
    task="video-classification",
    unit="videos",
    trainable=False,
    input_names=(("video",), ("videos",), ("frames",)),
    accepts=lambda _name, feature: isinstance(feature, datasets.Video) or _is_list_of_images(feature),
    ambiguous=_is_list_of_images,
    ambiguous_beside="image",
    missing_decoder=lambda feature: files_need("av", "video") if isinstance(feature, datasets.Video) else None,
    decoder=lambda: installed(("av", "torchvision")) or "pil",
    adapter=Adapter(
        what="video classifier",
        auto_model="AutoModelForVideoClassification",
        load_processor=_load_processor,
        assemble=_assemble,
    ),
)
