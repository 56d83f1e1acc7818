"""Fixtures shared by the tests: caches of their own, small real checkpoints, the optional real data."""

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Before any Hugging Face import: the tests neither read nor fill the user's caches, and never call the Hub.
_CACHE = tempfile.TemporaryDirectory(prefix="hf-leep-tests-")
os.environ["HF_HOME"] = _CACHE.name
os.environ["HF_DATASETS_CACHE"] = str(Path(_CACHE.name) / "datasets")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # one small model is compiled: starting workers takes longer
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from threads, which wait for each other

import numpy as np
import pytest
from hypothesis import settings

from tests import warm
from tests.hub_server import Hub

settings.register_profile("hf_leep", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("hf_leep")

ROOT = Path(__file__).parents[1]
_SERVER = pytest.StashKey()
_SOCKET = "HF_LEEP_TESTS_SOCKET"  # in the environment: of the server of warm.py
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared():
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real data beside the checkout (../shared/data) is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _same_weights():
    """Models made in a test have the same weights whichever tests ran before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Small real image classifiers with random weights, good and broken, saved like any other: name → folder."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        ResNetConfig,
        ResNetForImageClassification,
        ResNetModel,
    )
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    root = tmp_path_factory.mktemp("checkpoints")
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0)
    small = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}

    def save(name, make, **extra):
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(ResNetConfig(**small, **extra)).save_pretrained(root / name)
        processor.save_pretrained(root / name)
        return root / name

    labelled = {"id2label": {i: f"class {i}" for i in range(5)}, "label2id": {f"class {i}": i for i in range(5)}}
    save("five", ResNetForImageClassification, **labelled)
    save("seven-classes", ResNetForImageClassification, num_labels=7)
    save("headless", ResNetModel)
    save("regression", ResNetForImageClassification, num_labels=1)
    save("multi-label", ResNetForImageClassification, num_labels=4, problem_type="multi_label_classification")

    truncated = save("truncated", ResNetForImageClassification, num_labels=5) / "model.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-1000])
    pickled = save("pickled", ResNetForImageClassification, num_labels=5)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (root / "empty").mkdir()
    with torch.random.fork_rng():
        bert = BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
        BertForSequenceClassification(bert).save_pretrained(root / "text")
    return {folder.name: folder for folder in root.iterdir()}


@pytest.fixture(scope="session")
def text_checkpoints(tmp_path_factory):
    """Small real sequence classifiers with random weights and a WordPiece tokenizer of their own: name → folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        GPT2Config,
        GPT2ForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]
    vocabulary = {word: i for i, word in enumerate(words)}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertConfig(vocab_size=len(words), max_position_embeddings=12, initializer_range=0.5, **size)
    gpt = GPT2Config(vocab_size=len(words), n_positions=12, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)
    root = tmp_path_factory.mktemp("text-checkpoints")

    def save(name, make, config, pad, **changes):
        for key, value in changes.items():
            setattr(config, key, value)
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(root / name)
        extra = {"pad_token": "[PAD]"} if pad else {"eos_token": "[SEP]"}
        PreTrainedTokenizerFast(tokenizer_object=pieces, **special, **extra).save_pretrained(root / name)

    save("bert", BertForSequenceClassification, bert, pad=True, num_labels=4)
    save("gpt2", GPT2ForSequenceClassification, gpt, pad=False, num_labels=3)
    save("headless", BertModel, bert, pad=True)
    return {folder.name: folder for folder in root.iterdir()}


@pytest.fixture(scope="session")
def texts():
    """40 short texts of 2 classes, in one column and in pairs: a datasets.Dataset."""
    import datasets

    generator = np.random.default_rng(5)
    words = [" ".join(generator.choice(list("abcdefghij"), generator.integers(1, 8))) for _ in range(80)]
    names = datasets.ClassLabel(names=["no", "yes"])
    features = {"text": datasets.Value("string"), "second": datasets.Value("string"), "label": names}
    rows = {"text": words[:40], "second": words[40:], "label": [k % 2 for k in range(40)]}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture(scope="session")
def token_checkpoints(tmp_path_factory):
    """Small real token classifiers with random weights and tokenizers that split words into letters: name → folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForTokenClassification,
        BertModel,
        GPT2Config,
        GPT2ForTokenClassification,
        GPT2Tokenizer,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForTokenClassification,
        RobertaTokenizer,
    )

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), "the", "##er"]
    cased = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    cased.normalizer = normalizers.BertNormalizer()
    cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cased.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "P"), ("e", "r")]
    symbols = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
        "<|endoftext|>",
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
    ]
    symbols += [a + b for a, b in merges]
    bytes_ = {"vocab": {symbol: i for i, symbol in enumerate(symbols)}, "merges": merges}
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertConfig(vocab_size=len(pieces), max_position_embeddings=24, initializer_range=0.5, **size)
    roberta = RobertaConfig(vocab_size=len(symbols), max_position_embeddings=66, initializer_range=0.5, **size)
    gpt = GPT2Config(vocab_size=len(symbols), n_positions=20, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)
    gpt.bos_token_id = gpt.eos_token_id = symbols.index("<|endoftext|>")
    root = tmp_path_factory.mktemp("token-checkpoints")

    def save(name, make, config, tokenizer, **changes):
        for key, value in changes.items():
            setattr(config, key, value)
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)

    wordpiece = PreTrainedTokenizerFast(tokenizer_object=cased, **special)
    save("bert", BertForTokenClassification, bert, wordpiece, num_labels=5)
    save("headless", BertModel, bert, wordpiece)
    save("roberta", RobertaForTokenClassification, roberta, RobertaTokenizer(**bytes_), num_labels=4)
    left = GPT2Tokenizer(**bytes_, padding_side="left", truncation_side="left")
    save("gpt2", GPT2ForTokenClassification, gpt, left, num_labels=3)
    return {folder.name: folder for folder in root.iterdir()}


@pytest.fixture(scope="session")
def tagged():
    """40 sentences whose words are persons, places or neither, some of them unlabelled: a datasets.Dataset."""
    import datasets

    generator = np.random.default_rng(8)
    persons, places = ["Ada", "Turing", "Noether", "Hopper"], ["Paris", "Vienna", "Rio", "Oslo", "Perth"]
    others = ["the", "moved", "from", "to", "in", "1936", "and", "wrote", ",", "there", "later", "."]
    names = ["O", "PER", "LOC"]
    kinds = [generator.choice(3, generator.integers(2, 14), p=[0.6, 0.2, 0.2]) for _ in range(40)]
    words = [[str(generator.choice((others, persons, places)[kind])) for kind in sentence] for sentence in kinds]
    tags = [[-100 if generator.random() < 0.1 else int(kind) for kind in sentence] for sentence in kinds]
    tags[7] = [-100] * len(tags[7])  # a sentence without any label
    features = {
        "id": datasets.Value("string"),
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
    }
    # Through Arrow: datasets itself would not encode −100 as a class, but it reads such files.
    plain = {**features, "ner_tags": datasets.List(datasets.Value("int64"))}
    rows = {"id": [str(k) for k in range(40)], "tokens": words, "ner_tags": tags}
    stored = datasets.Dataset.from_dict(rows, features=datasets.Features(plain))
    return datasets.Dataset(
        stored.data.table.replace_schema_metadata(), info=datasets.DatasetInfo(features=datasets.Features(features))
    )


@pytest.fixture(scope="session")
def pictures():
    """60 random pictures of 3 classes, class 1 brighter and class 2 darker: a datasets.Dataset."""
    import datasets
    from PIL import Image

    generator = np.random.default_rng(3)
    labels = np.arange(60) % 3
    pixels = [generator.integers(60 * (2 - y), 60 * (2 - y) + 100, (12, 12, 3), dtype=np.uint8) for y in labels]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "green", "blue"])}
    )
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": labels.tolist()}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def hub():
    with Hub() as running:
        yield running


def pytest_configure(config):
    """Listen, in the process that the workers come from, for whoever needs the server of warm.py first."""
    if not hasattr(config, "workerinput") and hasattr(os, "pidfd_open"):  # on Linux
        path = Path(_CACHE.name, "warm.socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(64)
        os.environ[_SOCKET] = str(path)
        config.stash[_SERVER] = []
        threading.Thread(target=_serve, args=(listening, config.stash[_SERVER]), daemon=True).start()


def pytest_unconfigure(config):
    """End the server and whatever it has forked."""
    for server in config.stash.get(_SERVER, []):
        server.communicate()


def _serve(listening, started):
    """Start the server for its first caller."""
    select.select([listening], [], [])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONWARNINGS"))}
    command = [sys.executable, "-P", warm.__file__, "serve", str(listening.fileno()), "tests.preload"]
    # It ends when its standard input does, and that with this process.
    started.append(
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
            env={**kept, **warm.PLACEHOLDERS},
            cwd=ROOT,
        )
    )
    listening.close()


@pytest.fixture(scope="session")
def python():
    """The start of a command that runs ``python`` without waiting for its imports (see warm.py).

    Tests of what is imported, and one of each command, start ``sys.executable`` itself.
    """
    if _SOCKET not in os.environ:
        return [sys.executable]
    return [sys.executable, "-I", "-S", warm.__file__, "run", os.environ[_SOCKET]]


@pytest.fixture(autouse=True, scope="session")
def _warm_workers():
    """The workers of runs in the process of a test start without their imports, too."""
    if _SOCKET in os.environ:
        warm.start_workers_like(sys.executable, os.environ[_SOCKET])


@pytest.fixture
def client(hub, tmp_path, python):
    """Run Python code, or ``hf-leep``, in a process that takes ``hub`` for the Hub."""

    def run(*arguments, code=None, home="home", interpreter=python, **environment):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "COLUMNS": "200",
            **environment,
        }
        start = ["-c", code] if code else ["-m", "hf_leep"]
        command = [*interpreter, *start, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=warm.HANGING)

    return run
