"""Texts of very different length, sorted by length or in their own order: ``python tests/benchmarks/text.py``.

On TWO threads, a BERT of random weights (4 layers, width 256), 384 texts of 5 to 500 words, 32 a batch.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import sys
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch

from hf_leep import data
from hf_leep.inference.loader import Loader
from hf_leep.models import MODALITIES, text
from tests.models.extracting import run_pass

ROWS, BATCH = 384, 32


def make_checkpoint(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{k}" for k in range(1000))]
    pieces = Tokenizer(models.WordPiece({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=pieces, **special).save_pretrained(folder)
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    BertForSequenceClassification(BertConfig(vocab_size=len(words), num_labels=5, **size)).save_pretrained(folder)
    return Path(folder)


class AsTheyCome(Loader):
    """Rows in the order of the data set."""

    def order(self):
        return np.arange(len(self))


def main(folder):
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 501, ROWS)
    words = [" ".join(f"w{k}" for k in rng.integers(0, 1000, length)) for length in lengths]
    target, rows = data.load(
        datasets.Dataset.from_dict({"text": words, "label": (np.arange(ROWS) % 5).tolist()}), MODALITIES
    )
    classifier = text.MODALITY.adapter.load(make_checkpoint(folder), ("text",), torch.float32)
    times, results = {Loader: [], AsTheyCome: []}, {}
    for kind in (Loader, AsTheyCome) * 3:
        start = time.perf_counter()
        results[kind] = run_pass(classifier, rows, target.labels, batch_size=BATCH, loader=kind(rows, budget=0))
        times[kind].append(time.perf_counter() - start)
    ordered, plain = (sorted(times[kind])[1] for kind in (Loader, AsTheyCome))
    gap = np.abs(results[Loader].probabilities - results[AsTheyCome].probabilities).max()
    print(f"{ROWS} texts of 5 to 500 words: {ordered:.1f} s by length, {plain:.1f} s as they come")
    print(f"{plain / ordered:.2f} × faster")
    print(f"largest difference of a probability: {gap:.1e}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(sys.argv[1] if len(sys.argv) > 1 else place)
