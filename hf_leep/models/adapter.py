"""What a modality tells of itself, and what follows from that: how its checkpoints are judged, loaded and wrapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_leep.errors import CandidateError
from hf_leep.models import backbone, classifier, zero_shot
from hf_leep.models.classifier import Classifier, Inspection


def _leave(_processor: Any, _config: Any) -> None:
    """Leave processor and configuration as they are."""


def _tokenizer_of(processor: Any) -> Any:
    """The tokenizer beside an image processor."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise CandidateError("no tokenizer for the names of the classes: give the processor that holds both")
    return tokenizer


@dataclass(frozen=True)
class Adapter:
    """How checkpoints of one modality are judged, loaded and wrapped.

    Attributes:
        what: what its checkpoints are, in words.
        auto_model: name of transformers' auto class.
        load_processor: ``folder -> processor``: the checkpoint's own; raises CandidateError where it has none.
        assemble: ``(model, processor, columns, head, missing) -> Classifier``.
        settle: ``(processor, configuration)``: makes the two agree before the model is made of the latter.
        load_tokenizer: ``folder -> tokenizer`` of checkpoints that make a head of the names of the target's classes;
            None where there are none of this kind.
    """

    what: str
    auto_model: str
    load_processor: Callable[[Path], Any]
    assemble: Callable[..., Classifier]
    settle: Callable[[Any, Any], None] = _leave
    load_tokenizer: Callable[[Path], Any] | None = None

    def inspect(
        self, path: Path, shapes: Mapping[str, Sequence[int]] | None, class_names: Sequence[str] = ()
    ) -> Inspection:
        """Judge a checkpoint by its config.json and the shapes of its weights.

        Args:
            path: a folder with its config.json.
            shapes: weight → shape, None where they are not known.
            class_names: names of the target's classes.

        Raises:
            CandidateError: transformers cannot load it as a classifier of this kind.
        """
        if (config := self._zero_shot(path)) is not None:
            return zero_shot.inspect(config, class_names)
        return classifier.inspect(path, self._auto, self.what, shapes)

    def inspect_model(self, model: Any, class_names: Sequence[str] = ()) -> Inspection:
        """Judge a model that is in memory before its pass.

        Args:
            model: as `wrap` takes it.
            class_names: names of the target's classes.

        Raises:
            CandidateError: it cannot be run.
        """
        if self.load_tokenizer is not None and zero_shot.holds(model):
            return zero_shot.inspect(model.config, class_names)
        if backbone.bare(model) is not None:
            return Inspection(None, backbone.NO_HEAD["probabilities"])
        missing = classifier.missing_of(model.config, None).get("probabilities")
        return Inspection(None if missing else model.config.num_labels, missing)

    def reads_names(self, path: Path) -> bool:
        """Whether a checkpoint's pass depends on the names of the target's classes.

        Args:
            path: a folder with its config.json.
        """
        try:
            config = self._zero_shot(path)
        except CandidateError:
            return False
        return config is not None and zero_shot.reads_names(config)

    def load(
        self,
        path: Path,
        columns: Sequence[str],
        dtype: torch.dtype = torch.float32,
        allow_pickle: bool = False,
        class_names: Sequence[str] = (),
    ) -> Classifier:
        """Load a checkpoint and its processor from a folder.

        One that was saved without a head of this kind gives the pooled outputs of its backbone; a zero-shot checkpoint
        has a head made of the names of the classes.

        Args:
            path: the checkpoint's folder.
            columns: the input columns.
            dtype: number type of the weights.
            allow_pickle: accept pickled weights where there are no safetensors.
            class_names: names of the target's classes.

        Raises:
            CandidateError: the folder holds nothing of this kind that transformers can load safely.
        """
        if self.load_tokenizer is not None and (config := self._zero_shot(path)) is not None:
            model = zero_shot.load(path, config, dtype, allow_pickle)
            tokenizer = partial(self.load_tokenizer, path)
            return self._prompted(model, self.load_processor(path), tokenizer, columns, class_names)
        config = classifier.load_config(path, self._auto, self.what)
        processor = self.load_processor(path)
        self.settle(processor, config)
        from_disk = backbone.load if backbone.wanted(config, self._auto) else classifier.load_model
        model, head, missing = from_disk(path, config, self._auto, dtype, allow_pickle)
        return self.assemble(model, processor, columns, head, missing)

    def wrap(self, model: Any, processor: Any, columns: Sequence[str], class_names: Sequence[str] = ()) -> Classifier:
        """Make a classifier of a model and a processor that are in memory already.

        Args:
            model: a transformers classifier, a backbone without a head, or a zero-shot model; its mode is left as it
                is.
            processor: its processor; of a zero-shot model one that holds its tokenizer too, for without that there
                are features alone.
            columns: the input columns.
            class_names: names of the target's classes.

        Raises:
            CandidateError: the two do not go together.
        """
        if self.load_tokenizer is not None and zero_shot.holds(model):
            images = getattr(processor, "image_processor", processor)
            return self._prompted(model, images, partial(_tokenizer_of, processor), columns, class_names)
        self.settle(processor, model.config)
        if (bare := backbone.bare(model)) is not None:
            features = backbone.wrap(bare)
            return self.assemble(features, processor, columns, features.head, backbone.NO_HEAD)
        head = classifier.find_head(model)
        return self.assemble(model, processor, columns, head, classifier.missing_of(model.config, head))

    def _zero_shot(self, path: Path) -> Any | None:
        """The configuration of a zero-shot checkpoint; None for any other."""
        if self.load_tokenizer is None:
            return None
        config = classifier.read_config(path)
        return config if zero_shot.wanted(config, self._auto) else None

    def _prompted(
        self,
        model: Any,
        processor: Any,
        tokenizer: Callable[[], Any],
        columns: Sequence[str],
        class_names: Sequence[str],
    ) -> Classifier:
        """A zero-shot model with the head that the names of the classes make."""
        tower, missing = zero_shot.attach(model, processor, tokenizer, class_names)
        made = self.assemble(tower, processor, columns, tower.head, missing)
        return replace(made, source_labels=tuple(class_names), task=zero_shot.TASK)

    @property
    def _auto(self) -> Any:
        import transformers

        return getattr(transformers, self.auto_model)
