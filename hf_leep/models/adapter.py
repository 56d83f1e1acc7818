"""How checkpoints of one modality are judged, loaded and wrapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from hf_leep.errors import CandidateError
from hf_leep.models import classifier
from hf_leep.models.classifier import Classifier, Inspection

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from hf_leep.models.backbone import PooledBackbone
    from hf_leep.models.classifier import AutoClass
    from hf_leep.models.processors import ImageProcessor
    from hf_leep.models.zero_shot import ImageTower

    Model: TypeAlias = PreTrainedModel | PooledBackbone | ImageTower

P = TypeVar("P")  # the processor of a modality: a tokenizer, an image processor or a feature extractor
_Processor = TypeVar("_Processor", contravariant=True)


class Assemble(Protocol[_Processor]):
    """Makes a classifier of a model and its processor."""

    def __call__(
        self,
        model: Model,
        processor: _Processor,
        columns: Sequence[str],
        head: nn.Module | None,
        missing: Mapping[str, str],
        /,
    ) -> Classifier:
        """Make a classifier, which holds the model in evaluation mode and the function that makes inputs for it.

        Args:
            model: the model, without what makes inputs for it.
            processor: its processor.
            columns: the input columns.
            head: the layer whose inputs are the features, if there is one.
            missing: why there are no ``probabilities`` or no ``features``.
        """


def _change_nothing(_processor: object, _config: object) -> None:
    """Leave processor and configuration as they are."""


def _tokenizer_of(processor: object) -> PreTrainedTokenizerBase:
    """The tokenizer that a processor of images and texts holds."""
    tokenizer: PreTrainedTokenizerBase | None = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise CandidateError("no tokenizer for the names of the classes: give the processor that holds both")
    return tokenizer


@dataclass(frozen=True)
class Adapter(Generic[P]):
    """How checkpoints of one modality are judged, loaded and wrapped.

    Attributes:
        what: what a checkpoint is called in messages, such as ``image classifier``.
        auto_model: name of the auto class of transformers.
        load_processor: ``folder -> processor``: loads the checkpoint's own; raises CandidateError if it has none.
        assemble: makes a `Classifier` of a model and a processor; its ``collate`` turns rows into the model's inputs.
        adjust: ``(processor, configuration)``: changes them so that they fit together, before the model is made.
        load_tokenizer: ``folder -> tokenizer`` of zero-shot checkpoints, whose head is made from the names of the
            target's classes; None for a modality that has no such checkpoints.
    """

    what: str
    auto_model: str
    load_processor: Callable[[Path], P]
    assemble: Assemble[P]
    adjust: Callable[[P, PreTrainedConfig], None] = _change_nothing
    load_tokenizer: Callable[[Path], PreTrainedTokenizerBase] | None = None

    def inspect(
        self, path: Path, shapes: Mapping[str, Sequence[int]] | None, class_names: Sequence[str] = ()
    ) -> Inspection:
        """Judge a checkpoint by its config.json and the shapes of its weights.

        Args:
            path: a folder with its config.json.
            shapes: weight → shape, None where they are not known.
            class_names: names of the target's classes.

        Raises:
            CandidateError: transformers cannot load it as a classifier of this modality.
        """
        if (config := self._zero_shot_config(path)) is not None:
            from hf_leep.models import zero_shot

            return zero_shot.inspect(config, class_names)
        return classifier.inspect(path, self._auto_class, self.what, shapes)

    def inspect_model(self, model: PreTrainedModel, class_names: Sequence[str] = ()) -> Inspection:
        """Judge a model in memory before its pass.

        Args:
            model: as for `wrap`.
            class_names: names of the target's classes.

        Raises:
            CandidateError: it cannot be run.
        """
        from hf_leep.models import backbone, zero_shot

        if self.load_tokenizer is not None and zero_shot.is_zero_shot(model):
            return zero_shot.inspect(model.config, class_names)
        if backbone.headless(model) is not None:
            return Inspection(None, backbone.NO_HEAD["probabilities"])
        missing = classifier.missing_outputs(model.config, None).get("probabilities")
        return Inspection(None if missing else model.config.num_labels, missing)

    def reads_names(self, path: Path) -> bool:
        """Whether a checkpoint's pass depends on the names of the target's classes.

        Args:
            path: a folder with its config.json.
        """
        try:
            config = self._zero_shot_config(path)
        except CandidateError:
            return False
        if config is None:
            return False
        from hf_leep.models import zero_shot

        return zero_shot.reads_names(config)

    def load(
        self,
        path: Path,
        columns: Sequence[str],
        dtype: torch.dtype | None = None,
        allow_pickle: bool = False,
        class_names: Sequence[str] = (),
    ) -> Classifier:
        """Load a checkpoint and its processor from a folder.

        A checkpoint that was saved without a head of this modality gives the pooled outputs of its backbone. A
        zero-shot checkpoint gets a head made from the names of the classes.

        Args:
            path: the checkpoint's folder.
            columns: the input columns.
            dtype: number type of the weights; float32 by default.
            allow_pickle: accept pickled weights where there are no safetensors.
            class_names: names of the target's classes.

        Raises:
            CandidateError: the folder holds nothing of this modality that transformers can load safely.
        """
        import torch

        from hf_leep.models import backbone, zero_shot

        dtype = dtype or torch.float32
        if self.load_tokenizer is not None and (config := self._zero_shot_config(path)) is not None:
            towers = zero_shot.load(path, config, dtype, allow_pickle)
            tokenizer = partial(self.load_tokenizer, path)
            return self._zero_shot(towers, self.load_processor(path), tokenizer, columns, class_names)
        config = classifier.load_config(path, self._auto_class, self.what)
        processor = self.load_processor(path)
        self.adjust(processor, config)
        if backbone.can_pool(config, self._auto_class):
            features, missing = backbone.load(path, config, self._auto_class, dtype, allow_pickle)
            return self.assemble(features, processor, columns, features.head, missing)
        model, head, missing = classifier.load_model(path, config, self._auto_class, dtype, allow_pickle)
        return self.assemble(model, processor, columns, head, missing)

    def wrap(
        self, model: PreTrainedModel, processor: P, columns: Sequence[str], class_names: Sequence[str] = ()
    ) -> Classifier:
        """Make a classifier of a model and a processor in memory.

        Args:
            model: a transformers classifier, a backbone without a head, or a zero-shot model; whether it is in
                training mode does not change.
            processor: its processor; that of a zero-shot model must hold its tokenizer too, or there are only
                features.
            columns: the input columns.
            class_names: names of the target's classes.

        Raises:
            CandidateError: the two do not fit together.
        """
        from hf_leep.models import backbone, zero_shot

        if self.load_tokenizer is not None and zero_shot.is_zero_shot(model):
            images: P = getattr(processor, "image_processor", processor)
            return self._zero_shot(model, images, partial(_tokenizer_of, processor), columns, class_names)
        self.adjust(processor, model.config)
        if (without_head := backbone.headless(model)) is not None:
            features = backbone.wrap(without_head)
            return self.assemble(features, processor, columns, features.head, backbone.NO_HEAD)
        head = classifier.find_head(model)
        return self.assemble(model, processor, columns, head, classifier.missing_outputs(model.config, head))

    def _zero_shot_config(self, path: Path) -> PreTrainedConfig | None:
        """The configuration of a zero-shot checkpoint; None for any other."""
        if self.load_tokenizer is None:
            return None
        from hf_leep.models import zero_shot

        config = classifier.read_config(path)
        return config if zero_shot.saved_as_zero_shot(config, self._auto_class) else None

    def _zero_shot(
        self,
        towers: PreTrainedModel,
        processor: P,
        tokenizer: Callable[[], PreTrainedTokenizerBase],
        columns: Sequence[str],
        class_names: Sequence[str],
    ) -> Classifier:
        """A zero-shot model with a head made from the names of the classes."""
        from hf_leep.models import zero_shot

        image_processor = cast("ImageProcessor", processor)
        model, missing = zero_shot.attach(towers, image_processor, tokenizer, class_names)
        made = self.assemble(model, processor, columns, model.head, missing)
        return replace(made, source_labels=tuple(class_names), task=zero_shot.TASK)

    @property
    def _auto_class(self) -> AutoClass:
        import transformers

        auto_class: AutoClass = getattr(transformers, self.auto_model)
        return auto_class


AnyAdapter: TypeAlias = Adapter[Any]  # whatever its processor is
