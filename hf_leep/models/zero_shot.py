"""Zero-shot image checkpoints, CLIP and its kin: the names of the target's classes become their linear head.

Such a model has two towers. It scores an image against a text by the product of their normalised embeddings, times a
scale that was learnt. So the texts of all classes, embedded once, are the rows of a linear head without bias on the
embedding of the image, and its softmax is over these prompts:

    logits = scale · ⟨image embedding, text embedding⟩,    text = "a photo of a " + the name, underscores as spaces

The source classes are then the target's own, and LEEP tells how well the zero-shot predictions explain the labels.
SigLIP's outputs were trained one by one, through a sigmoid: they are no distribution over classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from hf_leep.errors import CandidateError, one_line
from hf_leep.models.classifier import Inspection, first, load_weights, quiet

TASK = "zero-shot-image-classification"
_PROMPT = "a photo of a {}"
_PROMPTS_AT_ONCE = 64
_BY_SIGMOID = ("siglip", "siglip2")
_TOLERANCE = 1e-3  # relative to the largest logit; of half-precision weights ten times that
_NO_LIMIT = 10**6  # tokenizers without a limit of their own claim about 10³⁰ tokens
_NUMBERED = re.compile(r"(label|class|category|cluster|group|id|c|n)?[\W_]*\d+", re.IGNORECASE)


class Prompts(nn.Module):
    """The head that prompts make: scaled text embeddings ``[s, d]``, in float32 whatever the towers compute in.

    With a scale of about 100, products in half precision would be wrong by a tenth. The weight is a buffer, for it is
    made of the target's names and is none of the checkpoint's parameters.

    Args:
        weight: the scaled embeddings, one row a prompt.
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
    """The side of a two-tower model that looks at images, and a head on its normalised embedding.

    Args:
        towers: the whole model.
        head: what prompts made; None to let the embedding pass unchanged, in the place of logits.
    """

    def __init__(self, towers: Any, head: Prompts | None) -> None:
        super().__init__()
        self.towers = towers
        self.head: nn.Module = head or nn.Identity()
        self.pooled_by = None if head else "image embedding"
        self.training = towers.training

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.towers.config

    def forward(self, **batch: torch.Tensor) -> SimpleNamespace:
        """Logits ``[n, s]``, or the embeddings ``[n, d]``."""
        embedding = self.towers.get_image_features(**batch).pooler_output.float()
        return SimpleNamespace(logits=self.head(embedding / embedding.norm(dim=-1, keepdim=True)))


def wanted(config: Any, auto_model: Any) -> bool:
    """Whether a checkpoint was saved as a zero-shot model.

    Args:
        config: its configuration.
        auto_model: transformers' auto class of the modality's classifiers, which wins where nothing is said.
    """
    whole = _class_of(config)
    if whole is None:
        return False
    saved_as = config.architectures or []
    return whole.__name__ in saved_as if saved_as else type(config) not in auto_model._model_mapping


def reads_names(config: Any) -> bool:
    """Whether what a zero-shot model gives depends on the names of the classes."""
    return config.model_type not in _BY_SIGMOID


def holds(model: Any) -> bool:
    """Whether a model in memory is a zero-shot model."""
    whole = _class_of(model.config)
    return whole is not None and type(model) is whole


def inspect(config: Any, class_names: Sequence[str]) -> Inspection:
    """Judge a zero-shot checkpoint before its weights are here.

    Args:
        config: its configuration.
        class_names: names of the target's classes.

    Raises:
        CandidateError: a model that embeds no image by itself.
    """
    _require_towers(config)
    missing = _no_prompts(config, class_names)
    return Inspection(None if missing else len(class_names), missing)


def load(path: Path, config: Any, dtype: torch.dtype, allow_pickle: bool = False) -> Any:
    """Load a zero-shot model, in evaluation mode, and check that all its weights came from the checkpoint.

    Args:
        path: the checkpoint's folder.
        config: its configuration.
        dtype: number type of the weights.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        CandidateError: the weights cannot be loaded or some are missing, or the model embeds no image by itself.
    """
    from transformers import AutoModelForZeroShotImageClassification

    _require_towers(config)
    model, broken, _ = load_weights(path, config, AutoModelForZeroShotImageClassification, dtype, allow_pickle)
    if broken:
        raise CandidateError(f"{len(broken)} weights are missing or misshapen in the checkpoint: {first(broken)}")
    return model.eval()


def attach(
    model: Any, image_processor: Any, tokenizer: Callable[[], Any], class_names: Sequence[str]
) -> tuple[ImageTower, Mapping[str, str]]:
    """Make a head of prompts, and put it on a zero-shot model's embedding of the image.

    Args:
        model: the whole model.
        image_processor: its image processor, for one grey image by which head and model are compared.
        tokenizer: gives its tokenizer; called only where prompts can be made.
        class_names: names of the target's classes.

    Returns:
        The model of images, and why there are no ``probabilities``, if so: then it has no head.
    """
    _require_towers(model.config)
    why = _no_prompts(model.config, class_names)
    if why is None:
        try:
            return ImageTower(model, _prompts(model, image_processor, tokenizer(), class_names)), {}
        except CandidateError as error:
            why = str(error)
    return ImageTower(model, None), {"probabilities": why}


def _prompts(model: Any, image_processor: Any, tokenizer: Any, class_names: Sequence[str]) -> Prompts:
    """Run the prompts through the text tower, a few at a time, and one grey image beside them as a check."""
    from PIL import Image

    texts = [_PROMPT.format(_words(name)) for name in class_names]
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    was_training = model.training
    rows, scores = [], []
    try:
        model.eval()
        with torch.no_grad(), quiet():
            grey = image_processor([Image.new("RGB", (64, 64), (127, 127, 127))], return_tensors="pt")
            pixels = {name: _placed(x, device, dtype) for name, x in grey.items()}
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
    except Exception as error:  # tokenizers and models raise what they like
        raise CandidateError(f"no head could be made of the class names: {one_line(error)}") from None
    finally:
        model.train(was_training)
    tolerance = _TOLERANCE if dtype == torch.float32 else 10 * _TOLERANCE
    close = made.shape == expected.shape and bool((made - expected).abs().max() <= tolerance * expected.abs().max())
    if not close:
        raise CandidateError(
            "no head could be made of the class names: its scores are no scaled products of embeddings"
        )
    return head


def _placed(x: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return x.to(device, dtype if x.is_floating_point() else None)


def _scale(model: Any) -> torch.Tensor:
    """The learnt scale of the products."""
    if hasattr(model, "logit_scale"):
        return model.logit_scale.detach().float().exp()  # type: ignore[no-any-return]
    return 1 / model.temperature.detach().float()  # type: ignore[no-any-return]


def _max_length(tokenizer: Any, config: Any) -> int:
    """Tokens that a prompt may have; the position tables of RoBERTa's kin lose two to their padding."""
    own = int(tokenizer.model_max_length)
    return own if own < _NO_LIMIT else int(config.text_config.max_position_embeddings) - 2


def _no_prompts(config: Any, class_names: Sequence[str]) -> str | None:
    """Why no head can be made of prompts, if so."""
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


def _class_of(config: Any) -> Any | None:
    from transformers import AutoModelForZeroShotImageClassification

    known = AutoModelForZeroShotImageClassification._model_mapping
    return known.get(type(config), None)


def _require_towers(config: Any) -> None:
    embeds = getattr(_class_of(config), "get_image_features", None)
    if embeds is None or "pixel_values" not in signature(embeds).parameters:
        raise CandidateError(
            f"a zero-shot model of type {config.model_type!r} has no embedding of an image by itself: hf_leep cannot "
            "make a head for it"
        )
