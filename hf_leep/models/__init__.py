"""The kinds of input, and how checkpoints of each kind are judged, loaded and run.

A modality is one file, with a `Modality` record named ``MODALITY``, and one line in `MODALITIES`. Importing this
package imports neither torch nor transformers: the files of the modalities import them inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from hf_leep.models import audio, image, text, token, video
from hf_leep.models.adapter import Adapter, AnyAdapter
from hf_leep.models.classifier import Classifier, Inspection
from hf_leep.models.modality import Modality

__all__ = ["ADAPTERS", "BY_NAME", "MODALITIES", "Adapter", "Classifier", "Inspection", "Modality"]

# A data set is searched for input columns in this order, and the first modality that finds one is taken. Where there
# are videos, images or sounds, texts are mostly file names, captions or transcripts: texts come last.
MODALITIES: tuple[Modality, ...] = (
    video.MODALITY,
    image.MODALITY,
    audio.MODALITY,
    token.MODALITY,
    text.MODALITY,
)
BY_NAME: Mapping[str, Modality] = {modality.name: modality for modality in MODALITIES}
ADAPTERS: Mapping[str, AnyAdapter] = {modality.name: modality.adapter for modality in MODALITIES}
