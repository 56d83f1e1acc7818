"""The kinds of input: what tells each from the others, before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import datasets

_LABEL_NAMES = ("label", "labels", "tags", "ner_tags", "pos_tags")  # columns of words that are labels, not inputs


@dataclass(frozen=True, kw_only=True)
class Modality:
    """Everything that differs from one kind of input to another.

    Attributes:
        name: such as ``image``.
        task: Hub task, such as ``image-classification``.
        unit: what an example is called, in the plural, such as ``images``.
        input_names: usual names of the input columns, most usual first; two names are a pair.
        max_inputs: how many input columns a row can have.
        accepts: column name and its feature of ``datasets`` → whether the column can be an input.
        ambiguous: feature → whether a column of this kind may as well be something else. Beside a column of
            ``ambiguous_beside``, it is then taken for an input only if it has a usual name.
        ambiguous_beside: name of that other modality.
        labels_words: whether the words of a row are labelled, and not the row.
        missing_decoder: feature → what to install so that its content can be decoded; None where nothing is missing.
        decoder: the libraries that decode and resize inputs, with their versions where results may depend on them;
            part of the key of a stored pass.
        adapter: module of `hf_leep.models` whose ``ADAPTER`` loads checkpoints; imported when it is first needed.
    """

    name: str
    task: str
    unit: str
    input_names: tuple[tuple[str, ...], ...]
    max_inputs: int = 1
    accepts: Callable[[str, object], bool]
    ambiguous: Callable[[object], bool] = lambda _feature: False
    ambiguous_beside: str | None = None
    labels_words: bool = False
    missing_decoder: Callable[[object], str | None] = lambda _feature: None
    decoder: Callable[[], str | None] = lambda: None
    adapter: str


def _is_image(_name: str, feature: object) -> bool:
    return isinstance(feature, datasets.Image)


def _is_video(_name: str, feature: object) -> bool:
    """Whether a column holds video files, or lists of frames."""
    return isinstance(feature, datasets.Video) or _is_list_of_images(feature)


def _is_list_of_images(feature: object) -> bool:
    return isinstance(getattr(feature, "feature", None), datasets.Image)


def _is_audio(_name: str, feature: object) -> bool:
    """Whether a column holds audio files, or samples beside their sampling rate."""
    if isinstance(feature, Mapping) and {"array", "sampling_rate"} <= set(feature):
        samples = feature["array"]
        return isinstance(samples, datasets.List) and isinstance(samples.feature, datasets.Value)
    return isinstance(feature, datasets.Audio)


def _is_text(name: str, feature: object) -> bool:
    return _is_string(feature) and name not in _LABEL_NAMES[:2]


def _is_words(name: str, feature: object) -> bool:
    is_list = isinstance(feature, datasets.List | datasets.LargeList)
    return is_list and _is_string(getattr(feature, "feature", None)) and name not in _LABEL_NAMES


def _is_string(feature: object) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")


def _missing_for_audio(feature: object) -> str | None:
    if isinstance(feature, datasets.Audio) and find_spec("soundfile") is None:
        return 'audio files need a decoder: pip install "hf-leep[audio]"'
    return None


def _missing_for_video(feature: object) -> str | None:
    if isinstance(feature, datasets.Video) and find_spec("av") is None:
        return 'video files need a decoder: pip install "hf-leep[video]"'
    return None


def _video_decoder() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("av", "torchvision") if find_spec(name)) or "pil"


# The first whose column is found is taken: beside videos, images and sounds, texts are mostly file names, captions and
# transcripts.
MODALITIES = (
    Modality(
        name="video",
        task="video-classification",
        unit="videos",
        input_names=(("video",), ("videos",), ("frames",)),
        accepts=_is_video,
        ambiguous=_is_list_of_images,
        ambiguous_beside="image",
        missing_decoder=_missing_for_video,
        decoder=_video_decoder,
        adapter="video",
    ),
    Modality(
        name="image",
        task="image-classification",
        unit="images",
        input_names=(("image",), ("images",), ("img",)),
        accepts=_is_image,
        decoder=lambda: "pil",
        adapter="image",
    ),
    Modality(
        name="audio",
        task="audio-classification",
        unit="sounds",
        input_names=(("audio",), ("speech",)),
        accepts=_is_audio,
        missing_decoder=_missing_for_audio,
        decoder=lambda: f"scipy {version('scipy')}",
        adapter="audio",
    ),
    Modality(
        name="token",
        task="token-classification",
        unit="words",
        input_names=(("tokens",), ("words",)),
        accepts=_is_words,
        labels_words=True,
        adapter="token",
    ),
    Modality(
        name="text",
        task="text-classification",
        unit="texts",
        input_names=(
            ("text",),
            ("sentence1", "sentence2"),
            ("premise", "hypothesis"),
            ("question1", "question2"),
            ("text1", "text2"),
            ("question", "sentence"),
            ("sentence",),
        ),
        max_inputs=2,
        accepts=_is_text,
        adapter="text",
    ),
)
BY_NAME: Mapping[str, Modality] = {modality.name: modality for modality in MODALITIES}
