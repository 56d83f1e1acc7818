"""What a modality tells of itself, and what follows from that: how its checkpoints are judged, loaded and wrapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_leep.modalities import classifier, pooled
from hf_leep.modalities.classifier import Classifier, Inspection


def _leave(_processor: Any, _config: Any) -> None:
    """Leave processor and configuration as they are."""


@dataclass(frozen=True)
class Adapter:
    """One modality.

    Attributes:
        task: Hub task.
        what: what its checkpoints are, in words.
        auto_model: name of transformers' auto class.
        load_processor: ``folder -> processor``: the checkpoint's own; raises CandidateError where it has none.
        assemble: ``(model, processor, columns, head, missing) -> Classifier``.
        settle: ``(processor, configuration)``: makes the two agree before the model is made of the latter.
    """

    task: str
    what: str
    auto_model: str
    load_processor: Callable[[Path], Any]
    assemble: Callable[..., Classifier]
    settle: Callable[[Any, Any], None] = _leave

    def inspect(self, path: Path, shapes: Mapping[str, Sequence[int]] | None) -> Inspection:
        """Judge a checkpoint by its config.json and the shapes of its weights.

        Args:
            path: a folder with its config.json.
            shapes: weight → shape, None where they are not known.

        Raises:
            CandidateError: transformers cannot load it as a classifier of this kind.
        """
        return classifier.inspect(path, self._auto, self.what, shapes)

    def load(
        self, path: Path, columns: Sequence[str], dtype: torch.dtype = torch.float32, allow_pickle: bool = False
    ) -> Classifier:
        """Load a checkpoint and its processor from a folder.

        One that was saved without a head of this kind gives the pooled outputs of its backbone.

        Args:
            path: the checkpoint's folder.
            columns: the input columns.
            dtype: number type of the weights.
            allow_pickle: accept pickled weights where there are no safetensors.

        Raises:
            CandidateError: the folder holds nothing of this kind that transformers can load safely.
        """
        config = classifier.load_config(path, self._auto, self.what)
        processor = self.load_processor(path)
        self.settle(processor, config)
        from_disk = pooled.load if pooled.wanted(config, self._auto) else classifier.load_model
        model, head, missing = from_disk(path, config, self._auto, dtype, allow_pickle)
        return self.assemble(model, processor, columns, head, missing)

    def wrap(self, model: Any, processor: Any, columns: Sequence[str]) -> Classifier:
        """Make a classifier of a model and a processor that are in memory already.

        Args:
            model: a transformers classifier, or a backbone without a head; its mode is left as it is.
            processor: its processor.
            columns: the input columns.

        Raises:
            CandidateError: the two do not go together.
        """
        self.settle(processor, model.config)
        if (backbone := pooled.bare(model)) is not None:
            features = pooled.wrap(backbone)
            return self.assemble(features, processor, columns, features.head, pooled.NO_HEAD)
        head = classifier.find_head(model)
        return self.assemble(model, processor, columns, head, classifier.missing_of(model.config, head))

    @property
    def _auto(self) -> Any:
        import transformers

        return getattr(transformers, self.auto_model)
