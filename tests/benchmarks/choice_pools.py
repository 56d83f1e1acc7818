"""Candidates and targets of `choice.py`: made once, and kept in a folder with their passes.

Three kinds of target: near (CIFAR100, for networks trained on ImageNet and CIFAR10), far (scikit-learn's handwritten
digits drawn as pictures, upright and turned by 90 degrees, for the same networks) and texts (TREC's questions and
SST-2's sentences, for small encoders trained on other questions and sentences of the two).
"""

import copy
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import datasets
import numpy as np
import torch

from examples.paper import cifar_resnet
from hf_leep import Execution, api
from hf_leep import data as target_data
from hf_leep.models import MODALITIES

datasets.disable_progress_bars()

# Name → checkpoint, and the accuracy that its card states: the data set it was measured on, and the share.
PUBLIC = {
    "mobilenet-128": ("mobilenet_v1_0.25_128_imagenet", "ImageNet", 0.415),
    "mobilenet-160": ("mobilenet_v1_0.5_160_imagenet", "ImageNet", 0.591),
    "mobilenet-224": ("mobilenet_v1_0.25_224_imagenet_float", "ImageNet", 0.498),
    "resnet20": ("cifar10_resnet20", "CIFAR10", 0.917),
    "resnet56": ("cifar10_resnet56", "CIFAR10", 0.934),
}
NOISED = {"mobilenet-160-noised": ("mobilenet-160", 0.05), "resnet56-noised": ("resnet56", 0.1)}
UNTRAINED = "mobilenet-untrained"

# Name → corpus, width, layers, epochs. TREC's encoders learn its 50 fine or 6 coarse classes.
ENCODERS = {
    "sst2-128": ("sst2", 128, 2, 3),
    "sst2-64": ("sst2", 64, 2, 1),
    "trec-fine-128": ("trec-fine", 128, 2, 12),
    "trec-coarse-64": ("trec-coarse", 64, 2, 8),
    "trec-coarse-128": ("trec-coarse", 128, 2, 2),
    "text-untrained-384": ("trec-coarse", 384, 2, 0),
}
KINDS = {"texts": "TREC", "texts-2": "SST-2", "far": "digits", "near": "CIFAR100"}


@dataclass(frozen=True)
class Pool:
    """The passes of one kind of target.

    Attributes:
        kind: a key of `KINDS`.
        labels: class of each row, ``[n]``.
        names: the candidates.
        folder: where everything is kept.
        stated: candidate → data set and accuracy on it that its card states, where there is one.
    """

    kind: str
    labels: np.ndarray
    names: tuple[str, ...]
    folder: Path
    stated: dict[str, tuple[str, float]]

    @cached_property
    def passes(self):
        """Candidate → (features ``[n, d]``, probabilities ``[n, s]``)."""
        found = {}
        for name in self.names:
            arrays = np.load(self.folder / "passes" / self.kind / f"{name}.npz")
            found[name] = (arrays["features"], arrays["probabilities"])
        return found

    @cached_property
    def parameters(self):
        """Candidate → number of parameters."""
        from safetensors.torch import load_file

        files = {name: self.folder / "models" / name / "model.safetensors" for name in self.names}
        return {name: sum(weight.numel() for weight in load_file(file).values()) for name, file in files.items()}


def rows_of(kind, data):
    """The rows of a kind of target, as a data set with the columns image or text, and label."""
    if kind == "far":
        return digits()
    if kind == "near":
        return joined(data / "cifar100", ("train", "test"))
    if kind == "texts":
        trec = datasets.load_dataset(str(data / "trec"))
        both = datasets.concatenate_datasets([trec["train"].select(range(1, len(trec["train"]), 2)), trec["test"]])
        return both.remove_columns("label").rename_column("fine_label", "label")
    return joined(data / "sst2_sentences", ("validation", "test"))


def joined(path, splits):
    found = datasets.load_dataset(str(path))
    return datasets.concatenate_datasets([found[split] for split in splits])


def digits():
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = [
        Image.fromarray(np.uint8(np.rot90(grey, turn) * (255 / 16))).resize((32, 32), Image.Resampling.BICUBIC)
        for turn in (0, 1)
        for grey in found.images
    ]
    labels = np.concatenate([found.target, 10 + found.target])
    names = [f"{name}{digit}" for name in ("upright ", "turned ") for digit in range(10)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"image": [p.convert("RGB") for p in pictures], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


def prepare(kind, data, folder):
    """Make what is missing of a kind's candidates and passes, and return the pool."""
    cifar_resnet.register()
    texts = kind.startswith("texts")
    stated = text_candidates(data, folder) if texts else image_candidates(data, folder)
    names = tuple(ENCODERS) if texts else (*PUBLIC, *NOISED, UNTRAINED)
    passes = folder / "passes" / kind
    passes.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (passes / f"{name}.npz").exists()]
    if missing:
        target, rows = target_data.load(rows_of(kind, data), MODALITIES, label="label", progress=False)
        np.save(passes / "labels.npy", np.asarray(target.labels))
        for name in missing:
            found = api.extract(str(folder / "models" / name), target, rows, execution=Execution(cache=False))
            np.savez(passes / f"{name}.npz", features=found.features, probabilities=found.probabilities)
            print(f"{kind}: {name} {found.features.shape} {found.probabilities.shape}", flush=True)
    return Pool(kind, np.load(passes / "labels.npy"), names, folder, stated)


def image_candidates(data, folder):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    models = folder / "models"
    for name, (checkpoint, _, _) in PUBLIC.items():
        source = data / "models" / checkpoint
        if not (models / name / "config.json").exists():
            if "resnet" in checkpoint:
                cifar_resnet.convert(source, models / name)
                continue
            AutoModelForImageClassification.from_pretrained(source).save_pretrained(models / name)
            AutoImageProcessor.from_pretrained(source, backend="pil").save_pretrained(models / name)
    for name, (original, sigma) in (NOISED | {UNTRAINED: ("mobilenet-160", None)}).items():
        if (models / name / "config.json").exists():
            continue
        torch.manual_seed(0)
        model = copy.deepcopy(AutoModelForImageClassification.from_pretrained(models / original))
        if sigma is None:
            model = type(model)(model.config)
        else:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(1 + sigma * torch.randn(weight.shape))
        model.eval().save_pretrained(models / name)
        AutoImageProcessor.from_pretrained(models / original, backend="pil").save_pretrained(models / name)
    return {name: (source, share) for name, (_, source, share) in PUBLIC.items()}


def text_candidates(data, folder):
    """Train the encoders; return the accuracy of each on rows of its source task that trained nothing."""
    models, found = folder / "models", {}
    for name, (corpus, width, layers, epochs) in ENCODERS.items():
        file = models / name / "accuracy.txt"
        if not file.exists():
            print(f"training {name}", flush=True)
            accuracy = train_encoder(data, models / name, corpus, width, layers, epochs)
            file.write_text(str(accuracy))
        if epochs:
            found[name] = (corpus, float(file.read_text()))
    return found


def source_rows(data, corpus):
    if corpus == "sst2":
        rows = datasets.load_dataset(str(data / "sst2_sentences"), split="train")
        return rows["text"], np.array(rows["label"]), rows.features["label"].names
    label = "fine_label" if corpus == "trec-fine" else "label"
    rows = datasets.load_dataset(str(data / "trec"), split="train")
    rows = rows.select(range(0, len(rows), 2))  # the others are target rows
    return rows["text"], np.array(rows[label]), rows.features[label].names


def tokenizer(data):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer(lowercase=True)
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    texts = [text for corpus in ("sst2", "trec-fine") for text in source_rows(data, corpus)[0]]
    bare.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=6000, special_tokens=special))
    ids = [(token, bare.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    bare.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=bare, model_max_length=64, **named)


def train_encoder(data, folder, corpus, width, layers, epochs):
    """Train a small BERT on nine tenths of a corpus, save it, and return its accuracy on the last tenth."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(width + epochs)
    texts, labels, names = source_rows(data, corpus)
    words = tokenizer(data)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        pad_token_id=words.pad_token_id,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    model = BertForSequenceClassification(config)
    order = np.random.default_rng(0).permutation(len(texts))
    training, held_out = np.split(order, [9 * len(order) // 10])

    def encoded(rows):
        return words([texts[i] for i in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")

    steps = epochs * (len(training) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * min((step + 1) / 50, 1 - step / steps)
        rows = rng.choice(training, 32, replace=False)
        loss = torch.nn.functional.cross_entropy(model(**encoded(rows)).logits, torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = model(**encoded(held_out)).logits.argmax(dim=1).numpy() == labels[held_out]
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return float(right.mean())


if __name__ == "__main__":
    for each in KINDS:
        prepare(each, Path(sys.argv[1]), Path(sys.argv[2]))
