"""Tiny checkpoints with random weights, one for each architecture that transformers has for a modality."""

import json
import re
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers.models.auto import image_processing_auto, modeling_auto, tokenization_auto

from hf_leep import data
from hf_leep.models import MODALITIES

NUM_CLASSES = 5
WIDTH, HEADS = 32, 2
WORDS = ["the cat sat on a mat", "a b c d e f g h i j", "one dog ran"] * 3
PIXELS = 64
TEXTS = ("text", "token")  # modalities with a tokenizer
MASKED = "with an attention mask"

# What the numbers of a configuration become at most, by their names; the first pattern that fits counts.
SIZES = [
    (r".*_rank", 8),
    (r"(num|n)_(local_|routed_)?experts", 4),
    (r"num_experts_per_tok|moe_topk|n_group|topk_group", 2),
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
DERIVED = (
    "id2label", "label2id", "num_labels", "stage_names", "out_features", "out_indices", "attention_layers",
    "qk_head_dim", "mamba_headdim", "hybrid_layer_ids",
)  # fmt: skip
# What a checkpoint always says, and the configuration's defaults do not.
SAID = {
    "head_dim": WIDTH // HEADS,
    "num_key_value_heads": HEADS,
    "num_experts_per_tok": 2,
    "decoder_start_token_id": 0,
}

# Where one number has to fit another in a way of the family's own.
OVERRIDES: dict[str, dict[str, Any]] = {
    "cvt": {"depth": [1, 2, 3]},  # stage k looks for a k-th layer
    "imagegpt": {"image_size": 8, "vocab_size": 513},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "esm": {"pad_token_id": 1},
    "funnel": {"block_sizes": [1, 1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lilt": {"hidden_size": 48},
    # Beyond its window it keeps the best tokens; without training all are equally good, and which it keeps is chance.
    "doge": {"keep_window_size": 2048},
    "longformer": {"attention_window": 4},
    "mistral4": {"head_dim": WIDTH},
    "reformer": {
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 4,
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": WIDTH,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 4,
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": WIDTH,
    },
    "audio-spectrogram-transformer": {"max_length": 64, "num_mel_bins": 16},
    "whisper": {"max_source_positions": 50, "num_mel_bins": 16},
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
    variant: str = ""


def families(modality: str, kind: str) -> list[Family]:
    """All of a modality, in transformers' order."""
    names = getattr(modeling_auto, f"MODEL_FOR_{kind}_CLASSIFICATION_MAPPING_NAMES")
    found = [
        Family(modality, model_type, name)
        for model_type, classes in names.items()
        for name in ([classes] if isinstance(classes, str) else classes)
    ]
    # Checkpoints of these kinds come with or without an attention mask, and are built accordingly.
    waves = [
        family for family in found if hasattr(transformers.CONFIG_MAPPING[family.model_type], "feat_extract_norm")
    ]
    return found + [family._replace(variant=MASKED) for family in waves]


def tiny_config(family: Family, tokenizer: Any = None) -> Any:
    """A configuration with few and narrow layers of every kind that the family has."""
    make = transformers.CONFIG_MAPPING[family.model_type]
    small = _shrink(make().to_dict(), tokenizer)
    special = OVERRIDES.get(family.model_type, {}) | OVERRIDES.get(family.architecture, {})
    if family.variant == MASKED:
        special["feat_extract_norm"] = "layer"
    return make.from_dict({**small, **special, "num_labels": NUM_CLASSES})


def _shrink(config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    small = {
        key: _shrink(value, tokenizer)
        if isinstance(value, dict) and "model_type" in value
        else _small(key, value, tokenizer)
        for key, value in config.items()
        if key not in DERIVED
    }
    # One layer of each kind where they are listed, and two if there is only one kind.
    depth = config.get("num_hidden_layers")
    kinds = {k: v for k, v in config.items() if isinstance(v, list) and len(v) == depth and isinstance(v[0], str)}
    if kinds:
        each = list(dict.fromkeys(zip(*kinds.values(), strict=True)))
        each = each if len(each) > 1 else each * 2
        small |= {key: list(values) for key, values in zip(kinds, zip(*each, strict=True), strict=True)}
        small["num_hidden_layers"] = len(each)
    return small


def _small(key: str, value: Any, tokenizer: Any) -> Any:
    if value is None:
        return len(tokenizer) + 8 if key == "vocab_size" and tokenizer is not None else SAID.get(key)
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


def save(family: Family, folder: Path, own: bool = True) -> None:
    """Save a tiny checkpoint of a family, with its own kind of processor or a usual one.

    Where a package is missing, as much of both as can be made without it.
    """
    if family.modality in TEXTS:
        try:
            processor = tokenizer = make_tokenizer(family, folder) if own else usual_tokenizer(family)
        except ImportError:
            processor = tokenization_auto.TOKENIZER_MAPPING_NAMES[family.model_type]
            tokenizer = usual_tokenizer(family)
        config = tiny_config(family, tokenizer)
    else:
        config = tiny_config(family)
        processor = PROCESSORS[family.modality](family, config)
    config.architectures = [family.architecture]
    config.save_pretrained(folder)
    if isinstance(processor, str):
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": processor}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": processor}))
        (folder / "sentencepiece.bpe.model").write_bytes(b"")
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
    """The family's own kind of image processor, for the model's size; its name where a package is missing."""
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
    """The family's own kind of feature extractor, for sounds as short as the model's."""
    if family.model_type == "audio-spectrogram-transformer":
        return transformers.ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    if family.model_type == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=1)
    if family.model_type == "wav2vec2-bert":
        return transformers.SeamlessM4TFeatureExtractor()
    return transformers.Wav2Vec2FeatureExtractor(return_attention_mask=family.variant == MASKED)


# Tokenizers for which no small vocabulary can be made, and the packages that they need.
NOT_TRAINED = {"PLBartTokenizer": "sentencepiece", "RoFormerTokenizer": "rjieba"}


def make_tokenizer(family: Family, folder: Path) -> Any:
    """The family's own kind of tokenizer, with a vocabulary of a few words.

    Raises:
        ImportError: it needs a package that is not here.
    """
    name = tokenization_auto.TOKENIZER_MAPPING_NAMES.get(family.model_type)
    if name in (None, "TokenizersBackend") or (name in NOT_TRAINED and find_spec(NOT_TRAINED[name])):
        return usual_tokenizer(family)
    make = getattr(transformers, name)
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in signature(make).parameters.values()):
        _write_vocabulary(make, folder)
        return make.from_pretrained(folder)
    tokenizer = make()
    if name in ("CanineTokenizer", "PerceiverTokenizer", "LayoutLMv2Tokenizer", "LayoutLMv3Tokenizer"):
        return tokenizer  # of characters or bytes, or for more than text
    return _with_padding(family, tokenizer.train_new_from_iterator(WORDS, 300))


def usual_tokenizer(family: Family) -> Any:
    """A fast tokenizer as most families of this kind have."""
    config = transformers.CONFIG_MAPPING[family.model_type]()
    decoder = family.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encoder = family.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES or config.is_encoder_decoder
    name = "GPT2Tokenizer" if decoder and not encoder else "XLMRobertaTokenizer"
    return _with_padding(family, getattr(transformers, name)().train_new_from_iterator(WORDS, 300))


def _with_padding(family: Family, tokenizer: Any) -> Any:
    """Where a family's configuration names a padding token its tokenizers have one."""
    named = getattr(transformers.CONFIG_MAPPING[family.model_type]().get_text_config(), "pad_token_id", None)
    if tokenizer.pad_token is None and named is not None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def _write_vocabulary(make: Any, folder: Path) -> None:
    """The files that a tokenizer without a fast form reads."""
    special = [p.default for name, p in signature(make).parameters.items() if name.endswith("_token")]
    words = [word for text in WORDS for word in (*text, *text.split())]
    words = list(dict.fromkeys([*(s for s in special if isinstance(s, str)), *words, *(f"{w}</w>" for w in words)]))
    ids = {word: k for k, word in enumerate(words)}
    folder.mkdir(exist_ok=True)
    for role, name in make.vocab_files_names.items():
        if role == "merges_file":
            (folder / name).write_text("#version: 0.2\n")
        elif role != "tokenizer_file":
            (folder / name).write_text("\n".join(words) if name.endswith(".txt") else json.dumps(ids))
    said = {"tokenizer_class": make.__name__}
    if "tags_dict" in signature(make).parameters:
        said["tags_dict"] = {"html": 0, "body": 1}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


PROCESSORS = {"image": image_processor, "audio": feature_extractor}


def images(count: int) -> list[Image.Image]:
    """Blurred random pictures of various sizes."""
    generator = np.random.default_rng(4)
    pixels = generator.uniform(0, 255, (count, 4, 4, 3)) * generator.uniform(0.2, 1, (count, 1, 1, 3))
    return [
        Image.fromarray(p.astype(np.uint8)).resize((40 + 10 * (k % 3), 50), Image.Resampling.BICUBIC)
        for k, p in enumerate(pixels)
    ]


def rows(modality: str) -> Any:
    """A few inputs of unequal size; of sentences, each of whose words is labelled."""
    generator = np.random.default_rng(4)
    if modality == "image":
        return [{"x": image} for image in images(4)]
    if modality == "audio":
        lengths = (4000, 8000, 5000, 8000)
        return [{"x": {"array": generator.standard_normal(n), "sampling_rate": 16000}} for n in lengths]
    drawn = (" ".join(generator.choice(list("abcdefghijklmnop"), length)) for length in (21, 39))
    texts = ("a", "the cat sat on a mat", "one dog", "a b c d e f g h i j", *drawn)
    if modality == "text":
        return [{"x": text} for text in texts]
    words = [text.split() for text in texts]
    labels = [[k % 2 for k in range(len(sentence))] for sentence in words]
    return data.load(datasets.Dataset.from_dict({"x": words, "label": labels}), MODALITIES, inputs=("x",))[1]
