"""Videos: AutoModelForVideoClassification with the checkpoint's own processor, on frames spread over each clip.

A clip is cut into as many equal stretches as the model takes frames, and the middle frame of each is seen; a clip with
fewer frames shows some of them twice. Nothing here is random.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError, TargetError, one_line
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, quiet, source_labels
from hf_leep.models.modalities import BY_NAME

_OF_VIDEOS = ("video_preprocessor_config.json", "processor_config.json")


def _load_processor(path: Path) -> Any:
    import transformers

    # Those of images need no torchvision, and older checkpoints have them alone.
    reasons = []
    for name, options in (("AutoImageProcessor", {"backend": "pil"}), ("AutoVideoProcessor", {})):
        try:
            with quiet():
                return getattr(transformers, name).from_pretrained(
                    path, trust_remote_code=False, local_files_only=True, **options
                )
        except Exception as error:  # each class raises its own
            reasons.append(one_line(error))
    if find_spec("torchvision") is None and any((path / file).exists() for file in _OF_VIDEOS):
        raise CandidateError("its video processor needs torchvision: pip install torchvision")
    raise CandidateError(f"its video processor cannot be loaded: {reasons[0]}")


def _assemble(
    model: Any, processor: Any, columns: Sequence[str], head: nn.Module | None, missing: Mapping[str, str]
) -> Classifier:
    (column,) = columns
    frames = _num_frames(model.config)
    options = {"do_sample_frames": False} if hasattr(processor, "do_sample_frames") else {}

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        clips = [_clip(row[column], frames) for row in rows]
        # Clip by clip: of several at once some processors ask that all be of one size.
        made = [processor(clip, return_tensors="pt", **options) for clip in clips]
        return {name: torch.cat([one[name] for one in made]) for name in made[0]}

    return Classifier(
        model=model,
        head=head,
        collate=collate,
        row_wise=True,
        source_labels=source_labels(model.config),
        missing=missing,
        task=BY_NAME["video"].task,
        processor=json.dumps({**json.loads(processor.to_json_string()), "frames": frames}, sort_keys=True),
        processor_backend=getattr(processor, "backend", None) or _backend(processor),
    )


def _backend(processor: Any) -> str:
    """What a processor that does not say so works with: those of videos are torchvision's, older ones Pillow's."""
    from transformers import BaseVideoProcessor

    return "torchvision" if isinstance(processor, BaseVideoProcessor) else "pil"


def _num_frames(config: Any) -> int:
    """Frames that a model looks at.

    Raises:
        CandidateError: its configuration does not say.
    """
    for name in ("num_frames", "frames_per_clip"):
        if isinstance(number := getattr(config, name, None), int) and number > 0:
            return number
    raise CandidateError("its configuration does not say how many frames it looks at")


def _clip(video: Any, frames: int) -> list[Any]:
    """RGB pictures spread over a clip, ``[frames]``, of a list of pictures or of a file.

    Raises:
        TargetError: it cannot be decoded, or has no frames.
    """
    if isinstance(video, Mapping):
        return _decoded(video, frames)
    if not video or any(picture is None for picture in video):
        raise TargetError("a video has no frames, or lacks some: drop such rows first")
    return [video[place].convert("RGB") for place in _spread(len(video), frames)]


def _spread(total: int, frames: int) -> list[int]:
    """The middle of each of ``frames`` equal stretches of ``total`` places."""
    return [(2 * k + 1) * total // (2 * frames) for k in range(frames)]


def _decoded(video: Mapping[str, Any], frames: int) -> list[Any]:
    """Pictures spread over a video file; only these are kept, whatever its length."""
    try:
        import av
    except ImportError:
        raise TargetError('video files need a decoder: pip install "hf-leep[video]"') from None
    name = f" {Path(video['path']).name}" if video["path"] else ""
    try:
        with av.open(_source(video), "r") as file:
            total = sum(packet.size > 0 for packet in file.demux(video=0))
        for _ in range(2):
            places = _spread(total, frames)
            found, seen = {}, 0
            with av.open(_source(video), "r") as file:
                file.streams.video[0].thread_type = "AUTO"
                for frame in file.decode(video=0):
                    if seen in places:
                        found[seen] = frame.to_image()
                    seen += 1
            if seen == total and seen:
                return [found[place] for place in places]
            total = seen  # a packet is not always a frame: once more, by what came
    except (av.FFmpegError, OSError, IndexError, ValueError, TypeError) as error:
        raise TargetError(f"the video file{name} cannot be decoded: {one_line(error)}") from None
    raise TargetError(f"the video file{name} has no frames: drop such rows first")


def _source(video: Mapping[str, Any]) -> Any:
    return video["path"] if video["bytes"] is None else io.BytesIO(video["bytes"])


ADAPTER = Adapter(
    what="video classifier",
    auto_model="AutoModelForVideoClassification",
    load_processor=_load_processor,
    assemble=_assemble,
)
