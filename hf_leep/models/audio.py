"""Sounds: AutoModelForAudioClassification with the checkpoint's own feature extractor."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import signature
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
from numpy.typing import NDArray

from hf_leep.errors import CandidateError, TargetError, one_line
from hf_leep.models.adapter import Adapter
from hf_leep.models.classifier import Classifier, Row, describe, source_labels, transformers_silent
from hf_leep.models.modality import Modality, files_need

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig

    from hf_leep.models.adapter import Model
    from hf_leep.models.processors import FeatureExtractor


_RATES = (100, 1_000_000)  # samples a second; others are mistakes, and resampling them takes gigabytes
_NO_LENGTH = 2**31 - 2**16  # programs that write to a pipe state a length at least as large
_HEADER = 64  # bytes by which programs misstate the length of a file


def _load_extractor(path: Path) -> FeatureExtractor:
    from transformers import AutoFeatureExtractor

    try:
        with transformers_silent():
            extractor: FeatureExtractor = AutoFeatureExtractor.from_pretrained(
                path, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # whatever transformers raises for what is in the file
        raise CandidateError(f"its feature extractor cannot be loaded ({describe(error)})") from None
    rate: object = extractor.sampling_rate
    if not isinstance(rate, int) or rate < 1:
        raise CandidateError(
            f"its feature extractor states the sampling rate {rate!r:.60}, which is no number of samples"
        )
    return extractor


@dataclass(frozen=True)
class _Extract:
    """Makes the inputs of samples at the model's sampling rate."""

    extractor: FeatureExtractor
    rate: int
    options: Mapping[str, bool]

    def __call__(self, waves: Sequence[NDArray[np.float32]]) -> dict[str, torch.Tensor]:
        with transformers_silent():
            return dict(self.extractor(list(waves), sampling_rate=self.rate, return_tensors="pt", **self.options))


@dataclass(frozen=True)
class _Collate:
    """Makes the inputs of sounds; it can be sent to another process."""

    extract: _Extract
    column: str
    alike: bool
    longest: int | None
    shortest: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        import torch

        from hf_leep.models.ragged import in_one_batch

        waves = [_wave(row[self.column], self.extract.rate) for row in rows]
        padded = sum(len(wave) < self.shortest for wave in waves)
        waves = [np.pad(wave, (0, max(0, self.shortest - len(wave)))) for wave in waves]  # silence
        batch = in_one_batch([self.extract([wave]) for wave in waves], 1) if self.alike else self.extract(waves)
        if padded:
            batch = {**batch, "num_padded": torch.tensor(padded)}
        if self.longest is None:
            return batch
        return {**batch, "num_truncated": torch.tensor(sum(len(wave) > self.longest for wave in waves))}


def _assemble(
    model: Model,
    extractor: FeatureExtractor,
    columns: Sequence[str],
    head: nn.Module | None,
    missing: Mapping[str, str],
) -> Classifier:
    from hf_leep.models.ragged import OneLengthAtATime, outputs, sees_padding

    (column,) = columns
    rate = int(extractor.sampling_rate)
    # Some extractors pad to a fixed length by default; the others pad only if asked to.
    padding = signature(extractor.__call__).parameters.get("padding")
    options = {"padding": True} if padding is not None and padding.default is False else {}

    # Without a mask, padding changes the model's outputs, and the loudness to which the extractor normalises sounds.
    noise = np.random.default_rng(0).standard_normal(rate // 2, dtype=np.float32)
    tried = [noise[: rate * percent // 100] for percent in (29, 35, 42, 50)]
    extract = _Extract(extractor, rate, options)
    together, single = extract(tried), [extract([wave]) for wave in tried[:-1]]
    alike = len(together) == 1 or sees_padding(model, single, outputs(model, together))
    longest, shortest = _longest(extractor), max(_shortest(model.config), _shortest_spectrum(extractor))

    return Classifier(
        model=OneLengthAtATime(model, head) if alike else model,
        head=head,
        collate=_Collate(extract, column, alike, longest, shortest),
        row_wise=False,
        source_labels=source_labels(model.config),
        missing=missing,
        task=MODALITY.task,
        processor=extractor.to_json_string(),
        processor_backend=None,
        max_seconds=None if longest is None else longest / rate,
    )


def _longest(extractor: FeatureExtractor) -> int | None:
    """Number of samples beyond which an extractor truncates a sound; None without a limit."""
    samples, frames = getattr(extractor, "n_samples", None), getattr(extractor, "max_length", None)
    if samples is not None:  # Whisper's
        return int(samples)
    if hasattr(extractor, "num_mel_bins") and frames:  # AST's, which counts whole frames
        shift, length = extractor.sampling_rate // 100, extractor.sampling_rate // 40
        return int(frames * shift + length - 1)
    return None


def _wave(sound: Row, rate: int) -> NDArray[np.float32]:
    """One channel at the model's sampling rate, ``[samples]``, of decoded samples or of a file.

    Raises:
        TargetError: it cannot be decoded, or is empty.
    """
    if "array" in sound:
        if sound["array"] is None or sound["sampling_rate"] is None:
            raise TargetError("a sound lacks its samples or its sampling rate: drop such rows first")
        stated = sound["sampling_rate"]
        with np.errstate(over="ignore"):  # becomes infinite, which is an error below
            wave = np.asarray(sound["array"], dtype=np.float32)  # None becomes NaN
    else:
        wave, stated = _decoded(sound)
    if not _RATES[0] <= stated <= _RATES[1]:  # nor is NaN
        raise TargetError(
            f"a sound has the sampling rate {stated:,}; it must lie between {_RATES[0]:,} and {_RATES[1]:,} samples a "
            "second: correct it, or drop such rows first"
        )
    if wave.ndim != 1:
        raise TargetError(f"a sound has the shape {wave.shape}: store one list of samples, such as their mean")
    if not wave.size:
        raise TargetError("a sound is empty: drop such rows first")
    if not (finite := np.isfinite(wave)).all():
        raise TargetError(
            f"a sound holds NaN, None or an infinity, the first as sample {np.argmin(finite)}: drop such rows first"
        )
    own = int(stated)
    if own == rate:
        return wave
    from scipy.signal import resample_poly

    shared = gcd(own, rate)
    return np.asarray(resample_poly(wave, rate // shared, own // shared), dtype=np.float32)


def _shortest(config: PreTrainedConfig) -> int:
    """Number of samples that a model's convolutions need for one frame; 0 where its configuration states none."""
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not isinstance(kernels, list | tuple) or not isinstance(strides, list | tuple):
        return 0
    samples = int(getattr(config, "squeeze_factor", 1))  # SEW's, which averages that many frames
    for kernel, stride in reversed(list(zip(kernels, strides, strict=False))):
        samples = (samples - 1) * int(stride) + int(kernel)
    return samples


def _shortest_spectrum(extractor: FeatureExtractor) -> int:
    """Number of samples that an extractor of spectra needs: windows of 25 ms, 10 ms apart; 0 for other extractors."""
    if not hasattr(extractor, "num_mel_bins"):
        return 0
    rate, stacked = int(extractor.sampling_rate), int(getattr(extractor, "stride", 1))  # SeamlessM4T's takes pairs
    return rate // 40 + (stacked - 1) * (rate // 100)


def _decoded(sound: Row) -> tuple[NDArray[np.float32], int]:
    """Samples of a file, the mean of its channels, and its sampling rate."""
    try:
        import soundfile
    except ImportError:
        raise TargetError(files_need("soundfile", "audio") or "soundfile cannot be imported") from None
    name = f" {Path(sound['path']).name}" if sound["path"] else ""
    try:
        content = Path(sound["path"]).read_bytes() if sound["bytes"] is None else bytes(sound["bytes"])
        channels, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise TargetError(f"the audio file{name} cannot be decoded ({one_line(error)})") from None
    length = 0  # libsndfile reads what there is
    if content[:4] in (b"RIFF", b"FORM"):
        length = int.from_bytes(content[4:8], "little" if content[:4] == b"RIFF" else "big")
    if len(content) + _HEADER < length < _NO_LENGTH:
        raise TargetError(
            f"the audio file{name} is cut off: {len(content):,} of {length + 8:,} bytes are there; copy it again, or "
            "drop such rows first"
        )
    return channels.mean(axis=1), int(rate)


def _accepts(_name: str, feature: object) -> bool:
    """Whether a column holds audio files, or samples beside their sampling rate."""
    if isinstance(feature, Mapping) and {"array", "sampling_rate"} <= set(feature):
        samples = feature["array"]
        return isinstance(samples, datasets.List) and isinstance(samples.feature, datasets.Value)
    return isinstance(feature, datasets.Audio)


MODALITY = Modality(
    name="audio",
    task="audio-classification",
    unit="sounds",
    input_names=(("audio",), ("speech",)),
    accepts=_accepts,
    missing_decoder=lambda feature: files_need("soundfile", "audio") if isinstance(feature, datasets.Audio) else None,
    decoder=lambda: f"scipy {version('scipy')}",
    adapter=Adapter(
        what="audio classifier",
        auto_model="AutoModelForAudioClassification",
        load_processor=_load_extractor,
        assemble=_assemble,
    ),
)
