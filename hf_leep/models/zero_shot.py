"""Zero-shot image checkpoints such as CLIP: a linear head is made from the names of the target's classes.

Such a model has an image tower and a text tower. Its score of an image and a text is the product of their normalised
embeddings, times a learnt scale. The scaled embeddings of one text for each class are therefore the rows of a linear
head without bias on the embedding of the image, with a softmax over the texts:

    logits = scale · ⟨image embedding, text embedding⟩,    text = "a photo of a " + the name, underscores as spaces

The source classes are then the target's classes, and LEEP measures how well the zero-shot predictions explain the
labels. SigLIP was trained with a sigmoid for each text, so its outputs are no distribution over classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn

from hf_leep.errors import CandidateError, one_line
from hf_leep.models.classifier import Inspection, first_two, load_weights, model_classes, transformers_silent

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from hf_leep.models.classifier import AutoClass
    from hf_leep.models.processors import ImageProcessor

TASK = "zero-shot-image-classification"
_PROMPT = "a photo of a {}"
_PROMPTS_AT_ONCE = 64
_BY_SIGMOID = ("siglip", "siglip2")
_TOLERANCE = 1e-3  # relative to the largest logit; ten times that for half-precision weights
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens
_NUMBERED = re.compile(r"(label|class|category|cluster|group|id|c|n)?[\W_]*\d+", re.IGNORECASE)


class _Pooled(Protocol):
    pooler_output: torch.Tensor


class _Towers(Protocol):
    def get_image_features(self, **batch: torch.Tensor) -> _Pooled: ...


class Prompts(nn.Module):
    """A head made from prompts: scaled text embeddings ``[s, d]``, in float32 even if the towers are not.

    With a scale of about 100, products in half precision would be wrong by a tenth. The weight is a buffer, since it
    is not a parameter of the checkpoint.

    Args:
        weight: the scaled embeddings, one row for each prompt.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Image embeddings ``[n, d]`` → logits ``[n, s]``."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return embeddings.float() @ self.weight.T


class ImageTower(nn.Module):
    """The image tower of a zero-shot model, and a head on its normalised embedding.

    Args:
        towers: the whole model.
        head: the head made from prompts; None to return the embedding itself as ``logits``.
    """

    def __init__(self, towers: PreTrainedModel, head: Prompts | None) -> None:
        super().__init__()
        self.towers = towers
        self.head: nn.Module = head or nn.Identity()
        self.pooled_by = None if head else "image embedding"
        self.training = towers.training

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return self.towers.config

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """Logits ``[n, s]``, or the embeddings ``[n, d]``."""
        embedding = cast("_Towers", self.towers).get_image_features(**batch).pooler_output.float()
        return SimpleNamespace(logits=self.head(embedding / embedding.norm(dim=-1, keepdim=True)))


def saved_as_zero_shot(config: PreTrainedConfig, auto_class: AutoClass) -> bool:
    """Whether a checkpoint was saved as a zero-shot model.

    Args:
        config: its configuration.
        auto_class: the auto class of transformers for the modality's classifiers; if the configuration does not state
            what was saved, and this class knows it, then a classifier was.
    """
    whole = _class_of(config)
    if whole is None:
        return False
    saved_as = config.architectures or []
    return whole.__name__ in saved_as if saved_as else not model_classes(auto_class, config)


def reads_names(config: PreTrainedConfig) -> bool:
    """Whether the outputs of a zero-shot model depend on the names of the classes.

    Args:
        config: its configuration.
    """
    return config.model_type not in _BY_SIGMOID


def is_zero_shot(model: PreTrainedModel) -> bool:
    """Whether a model in memory is a zero-shot model.

    Args:
        model: a transformers model.
    """
    whole = _class_of(model.config)
    return whole is not None and type(model) is whole


def inspect(config: PreTrainedConfig, class_names: Sequence[str]) -> Inspection:
    """Judge a zero-shot checkpoint before its weights are downloaded.

    Args:
        config: its configuration.
        class_names: names of the target's classes.

    Raises:
        CandidateError: the model cannot embed an image without a text.
    """
    _require_towers(config)
    missing = _no_prompts(config, class_names)
    return Inspection(None if missing else len(class_names), missing)


def load(path: Path, config: PreTrainedConfig, dtype: torch.dtype, allow_pickle: bool = False) -> PreTrainedModel:
    """Load a zero-shot model, in evaluation mode, and check that all its weights came from the checkpoint.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        CandidateError: the weights cannot be loaded or some are missing, or the model cannot embed an image without a
            text.
    """
    from transformers import AutoModelForZeroShotImageClassification

    _require_towers(config)
    model, broken, _ = load_weights(path, config, AutoModelForZeroShotImageClassification, dtype, allow_pickle)
    if broken:
        raise CandidateError(f"missing or misshapen weights in the checkpoint: {first_two(broken)}")
    model.eval()
    return model


def attach(
    model: PreTrainedModel,
    image_processor: ImageProcessor,
    tokenizer: Callable[[], PreTrainedTokenizerBase],
    class_names: Sequence[str],
) -> tuple[ImageTower, Mapping[str, str]]:
    """Make a head from prompts, and put it on the image tower of a zero-shot model.

    Args:
        model: the whole model.
        image_processor: its image processor, for one grey image on which head and model are compared.
        tokenizer: loads its tokenizer; called only where prompts can be made.
        class_names: names of the target's classes.

    Returns:
        The image tower, and why there are no ``probabilities``, if so: then it has no head.
    """
    _require_towers(model.config)
    reason = _no_prompts(model.config, class_names)
    if reason is None:
        try:
            return ImageTower(model, _prompts(model, image_processor, tokenizer(), class_names)), {}
        except CandidateError as error:
            reason = str(error)
    return ImageTower(model, None), {"probabilities": reason}


def _prompts(
    model: PreTrainedModel,
    image_processor: ImageProcessor,
    tokenizer: PreTrainedTokenizerBase,
    class_names: Sequence[str],
) -> Prompts:
    """Run the prompts through the text tower, a few at a time, with one grey image to check the head on."""
    from PIL import Image

    texts = [_PROMPT.format(_words(name)) for name in class_names]
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    was_training = model.training
    rows, scores = [], []
    try:
        model.eval()
        with torch.no_grad(), transformers_silent():
            grey = image_processor([Image.new("RGB", (64, 64), (127, 127, 127))], return_tensors="pt")
            pixels = {name: _moved(x, device, dtype) for name, x in grey.items()}
            for start in range(0, len(texts), _PROMPTS_AT_ONCE):
                tokens = tokenizer(
                    texts[start : start + _PROMPTS_AT_ONCE],
                    padding=True,
                    truncation=True,
                    max_length=_max_length(tokenizer, model.config),
                    return_tensors="pt",
                )
                outputs = model(**{name: x.to(device) for name, x in tokens.items()}, **pixels)
                rows.append(outputs.text_embeds.float())
                scores.append(outputs.logits_per_image.float())
            head = Prompts(_scale(model) * torch.cat(rows))
            expected = torch.cat(scores, dim=1)
            made = ImageTower(model, head)(**pixels).logits
    except Exception as error:  # tokenizers and models raise exceptions of any kind
        raise CandidateError(f"no head could be made from the class names ({one_line(error)})") from None
    finally:
        model.train(was_training)
    tolerance = _TOLERANCE if dtype == torch.float32 else 10 * _TOLERANCE
    close = made.shape == expected.shape and bool((made - expected).abs().max() <= tolerance * expected.abs().max())
    if not close:
        raise CandidateError(
            "no head could be made from the class names: its scores are not scaled products of embeddings"
        )
    return head


def _moved(x: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return x.to(device, dtype if x.is_floating_point() else None)


def _scale(model: PreTrainedModel) -> torch.Tensor:
    """The learnt scale of the products."""
    logarithm: torch.Tensor | None = getattr(model, "logit_scale", None)
    if logarithm is not None:
        return logarithm.detach().float().exp()
    return 1 / model.get_parameter("temperature").detach().float()


def _max_length(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Number of tokens that a prompt may have; two rows of the position tables of RoBERTa models are not usable."""
    own = int(tokenizer.model_max_length)
    return own if own < _NO_LIMIT else int(config.text_config.max_position_embeddings) - 2


def _no_prompts(config: PreTrainedConfig, class_names: Sequence[str]) -> str | None:
    """Why no head can be made from prompts, if so."""
    if not reads_names(config):
        return "trained with a sigmoid for each prompt: its outputs are no distribution over source classes"
    if not class_names:
        return "a zero-shot checkpoint needs the names of the classes, and there are none"
    if not any(_is_word(name) for name in class_names):
        return (
            f"a zero-shot checkpoint needs classes with names, and these are numbers or ids ({class_names[0]!r}, …): "
            "name them, as a ClassLabel does"
        )
    return None


def _is_word(name: str) -> bool:
    return any(letter.isalpha() for letter in name) and not _NUMBERED.fullmatch(name.strip())


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def _class_of(config: PreTrainedConfig) -> type | None:
    from transformers import AutoModelForZeroShotImageClassification

    return next(iter(model_classes(AutoModelForZeroShotImageClassification, config)), None)


def _require_towers(config: PreTrainedConfig) -> None:
    embeds = getattr(_class_of(config), "get_image_features", None)
    if embeds is None or "pixel_values" not in signature(embeds).parameters:
        raise CandidateError(
            f"a zero-shot model of type {config.model_type!r} cannot embed an image without a text: hf_leep cannot "
            "make a head for it"
        )
