"""Tiny checkpoints with random weights, one for each architecture that transformers has for a modality."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers.models.auto import feature_extraction_auto, image_processing_auto, modeling_auto, tokenization_auto

NUM_CLASSES = 5
WIDTH, HEADS = 32, 2
WORDS = ["the cat sat on a mat", "a b c d e f g h i j", "one dog ran"] * 3
PIXELS = 64

# What the numbers of a configuration become, by their names; the first pattern that fits counts.
SIZES = [
    (r".*_rank", 8),
    (r"(num|n)_(local_|routed_)?experts", 4),
    (r"num_experts_per_tok|moe_topk|n_group|topk_group|keep_window_size", 2),
    (r".*head_dim|d_kv|d_head|attention_head_size|kv_channels|rotary_dim|key_dim|mamba_headdim", WIDTH // HEADS),
    (r".*heads|num_query_groups|n_head", HEADS),
    (r".*hidden_layers|n_layers?|num_layers|(en|de)coder_layers|num_decoder_layers", 2),
    (r"depths?|stage_num_blocks|num_block_repeats|n_attn_blocks|stage_numb_of_layers", 1),
    (r"embed_dim", WIDTH // HEADS),
    (r"max_position_embeddings|n_positions|max_seq_len|n_ctx", 64),
    (r"window_size", 2),
    (r"image_size|input_size", PIXELS),
    (r".*(hidden|intermediate|embedding|ffn|proj|projection|bottleneck)_size|hidden_sizes|embedding_size", WIDTH),
    (r"d_model|d_ff|dff|d_inner|d_latents|n_embd|n_inner|(embed_|emb_)?dims?|.*_(ffn|embed|proj|emb)_dim", WIDTH),
    (r"embed_dims?|.*hidden_sizes|.*_channels|base_attn_unit_dims|conv_dim|tdnn_dim|feed_forward_size", WIDTH),
    (r"codevector_dim|xvector_output_dim|ffn_dim|coordinate_size|shape_size|class_expand", WIDTH),
    (r"vocab_size", 300),
    (r"(?!type_|task_type_).*_vocab_size|num_codevectors_per_group", 100),
]  # fmt: skip
LEFT_ALONE = r"num_channels|stem_num_channels"
DERIVED = ("id2label", "label2id", "num_labels", "stage_names", "out_features", "out_indices")

# Where one number has to fit another in a way of the family's own.
OVERRIDES: dict[str, dict[str, Any]] = {
    "cvt": {"depth": [1, 2, 3]},  # stage k looks for a k-th layer
    "imagegpt": {"image_size": 8, "vocab_size": 513},
    "bit": {"num_groups": 4},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "mobilenet_v1": {"depth_multiplier": 0.1},
    "mobilenet_v2": {"depth_multiplier": 0.1},
    "mobilevitv2": {"width_multiplier": 0.25},
    "PerceiverForImageClassificationLearned": {"image_size": 32},
    "perceiver": {
        "image_size": 224,
        "num_cross_attention_heads": 1,
        "num_self_attention_heads": 1,
        "num_latents": 8,
        "num_self_attends_per_block": 2,
        "qk_channels": 32,
        "v_channels": 32,
    },
}


class Family(NamedTuple):
    """An architecture: the model_type of a configuration, and one of the classes that transformers has for it."""

    modality: str
    model_type: str
    architecture: str


def families(modality: str, kind: str) -> list[Family]:
    """All of a modality, in transformers' order."""
    names = getattr(modeling_auto, f"MODEL_FOR_{kind}_CLASSIFICATION_MAPPING_NAMES")
    return [
        Family(modality, model_type, name)
        for model_type, classes in names.items()
        for name in ([classes] if isinstance(classes, str) else classes)
    ]


def tiny_config(family: Family, tokenizer: Any = None) -> Any:
    """A configuration with few and narrow layers of every kind that the family has."""
    make = transformers.CONFIG_MAPPING[family.model_type]
    small = _shrink(make().to_dict(), tokenizer)
    special = OVERRIDES.get(family.model_type, {}) | OVERRIDES.get(family.architecture, {})
    return make.from_dict({**small, **special, "num_labels": NUM_CLASSES})


def _shrink(config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    small = {
        key: _shrink(value, tokenizer)
        if isinstance(value, dict) and "model_type" in value
        else _small(key, value, tokenizer)
        for key, value in config.items()
        if key not in DERIVED
    }
    for count in ("num_hidden_layers",):
        if isinstance(depth := config.get(count), int):
            kinds = {
                k: v for k, v in config.items() if isinstance(v, list) and len(v) == depth and isinstance(v[0], str)
            }
            if kinds:
                each = list(dict.fromkeys(zip(*kinds.values(), strict=True)))
                each = each if len(each) > 1 else each * 2
                small |= {key: list(values) for key, values in zip(kinds, zip(*each, strict=True), strict=True)}
                small[count] = len(each)
    return small


def _small(key: str, value: Any, tokenizer: Any) -> Any:
    if tokenizer is not None and isinstance(value, int) and not isinstance(value, bool):
        if key == "vocab_size":
            return len(tokenizer) + 8
        if key.endswith(("_token_id", "_token_index", "pad_index")):
            own = getattr(tokenizer, f"{key.split('_')[0]}_token_id", None) if key.count("_") == 2 else None
            return own if own is not None else min(value, len(tokenizer) + 7)
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)) or re.fullmatch(LEFT_ALONE, key):
        return value
    size = next((size for pattern, size in SIZES if re.fullmatch(pattern, key)), None)
    if size is None:
        return value
    if isinstance(value, (list, tuple)):
        return [min(size, v) if isinstance(v, int) else v for v in value]
    return min(size, value)


def randomise(model: Any) -> None:
    """Weights large enough that every input matters: the usual small ones would hide what padding does."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)
            else:
                weight.add_(0.1 * torch.randn_like(weight))


def calibrate(model: Any, processor: Any) -> None:
    """Give batch normalisation the statistics of real inputs, without which signals die away or explode."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
    pictures = [image.resize((PIXELS, PIXELS)) for image in images(16)]
    with torch.no_grad():
        model.train()(**processor(pictures, return_tensors="pt"))


def save(family: Family, folder: Path) -> None:
    """Save a tiny checkpoint of a family, with its processor.

    Where a package is missing, as much of both as can be made without it.
    """
    if family.modality == "text":
        processor = make_tokenizer(family)
        config = tiny_config(family, processor)
    else:
        config = tiny_config(family)
        processor = PROCESSORS[family.modality](family, config)
    config.architectures = [family.architecture]
    config.save_pretrained(folder)
    if isinstance(processor, str):
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": processor}))
    else:
        processor.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        try:
            model = getattr(transformers, family.architecture)(config)
        except ImportError:  # some weights all the same, so that loading them comes to what is missing
            save_file({"head.bias": torch.zeros(NUM_CLASSES)}, folder / "model.safetensors", metadata={"format": "pt"})
            return
        randomise(model)
        if family.modality == "image" and not isinstance(processor, str):
            calibrate(model, processor)
    model.save_pretrained(folder)


def image_processor(family: Family, config: Any) -> Any:
    named = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(family.model_type, {})
    name = named.get("pil") or named.get("torchvision") or "ViTImageProcessorPil"
    make = getattr(transformers, name)
    if getattr(make, "is_dummy", False):
        return name
    side = getattr(getattr(config, "vision_config", config), "image_size", PIXELS)
    side = side if isinstance(side, int) else side[0]
    sizes = {}
    for name in ("size", "crop_size"):
        usual = dict(getattr(make, name, None) or {})
        if set(usual) <= {"height", "width", "shortest_edge"}:
            sizes[name] = dict.fromkeys(usual, side)
    clusters = (
        {"clusters": np.random.default_rng(2).uniform(-1, 1, (512, 3))} if family.model_type == "imagegpt" else {}
    )
    return make(**{k: v for k, v in sizes.items() if v}, **clusters)


def feature_extractor(family: Family, config: Any) -> Any:
    name = feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES[family.model_type]
    return getattr(transformers, name)()


def make_tokenizer(family: Family) -> Any:
    """The family's own kind of tokenizer, trained on a few words; where that cannot be made a usual one."""
    name = tokenization_auto.TOKENIZER_MAPPING_NAMES.get(family.model_type)
    if name in UNTRAINED:
        return getattr(transformers, name)()
    decoder = family.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encoder = family.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    usual = "GPT2Tokenizer" if decoder and not encoder else "XLMRobertaTokenizer"
    if name in (None, "TokenizersBackend", "PreTrainedTokenizerFast"):
        name = usual
    try:
        return getattr(transformers, name)().train_new_from_iterator(WORDS, 300)
    except (TypeError, ImportError):
        return getattr(transformers, usual)().train_new_from_iterator(WORDS, 300)


UNTRAINED = ("CanineTokenizer", "PerceiverTokenizer")
PROCESSORS = {"image": image_processor, "audio": feature_extractor}


def images(count: int) -> list[Image.Image]:
    """Blurred random pictures of various sizes."""
    generator = np.random.default_rng(4)
    pixels = generator.uniform(0, 255, (count, 4, 4, 3)) * generator.uniform(0.2, 1, (count, 1, 1, 3))
    return [
        Image.fromarray(p.astype(np.uint8)).resize((40 + 10 * (k % 3), 50), Image.Resampling.BICUBIC)
        for k, p in enumerate(pixels)
    ]


def rows(modality: str) -> list[dict[str, Any]]:
    """A few inputs of unequal size."""
    generator = np.random.default_rng(4)
    if modality == "image":
        return [{"x": image} for image in images(4)]
    if modality == "audio":
        lengths = (4000, 8000, 5000, 8000)
        return [{"x": {"array": generator.standard_normal(n), "sampling_rate": 16000}} for n in lengths]
    return [{"x": text} for text in ("a", "the cat sat on a mat", "one dog", "a b c d e f g h i j")]
