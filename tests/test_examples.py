"""Every example runs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import hf_leep
from hf_leep.data import stratified_sample
from tests.warm import HANGING

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANGING).stdout


def test_score_arrays():
    knowing, guessing = run("score_arrays.py").splitlines()
    assert float(knowing.split("LEEP")[1].split()[0]) < float(guessing.split("LEEP")[1].split()[0])
    assert float(knowing.split()[-1]) > float(guessing.split()[-1])  # leave-one-out tells them apart


def test_rank_checkpoints(checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "pictures.parquet")
    output = run("rank_checkpoints.py", tmp_path / "pictures.parquet", tmp_path / "out", checkpoints["five"])
    assert output.startswith("1. (a) ")
    assert (tmp_path / "out" / "README.md").exists()


@pytest.fixture(scope="module")
def text_sources(shared):
    """Two classifiers trained on real sentences, once a machine: in the user's cache, outside the project."""
    recipe = hashlib.sha256((EXAMPLES / "train_text_sources.py").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf_leep-tests"
    if not (home / recipe).exists():
        unfinished = home / f"{recipe}.{os.getpid()}"
        run("train_text_sources.py", shared / "sst2_sentences", unfinished)
        unfinished.rename(home / recipe)
    return [home / recipe / name for name in ("good", "barely-trained")]


@pytest.mark.parametrize("label", ["fine_label", "label"])
def test_real_text_classifiers_on_real_questions(shared, text_sources, label):
    """Scores of both equal a direct loop over single, unpadded questions."""
    split = datasets.load_dataset(str(shared / "trec"), split="train")
    report = hf_leep.rank(
        text_sources,
        str(shared / "trec"),
        split="train",
        label=label,
        max_samples=300,
        progress=False,
        execution=hf_leep.Execution(cache=False),
    )
    assert report.exit_code == 0
    chosen = split.select(stratified_sample(np.array(split[label]), 300, np.random.default_rng(0)))
    classes, y = np.unique(chosen[label], return_inverse=True)
    assert report.data["target"]["num_classes"] == len(classes)
    for path in text_sources:
        model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path)
        with torch.no_grad():
            rows = [tokenizer(text, truncation=True, return_tensors="pt") for text in chosen["text"]]
            p = torch.cat([model(**row).logits.softmax(-1) for row in rows]).double().numpy()
        joint = np.stack([p[y == c].sum(axis=0) for c in range(len(classes))])
        expected = np.log(((joint / joint.sum(axis=0))[y] * p).sum(axis=1)).mean()
        found = next(c for c in report.candidates if c["id"] == str(path))
        assert found["scores"]["leep"]["value"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("path", list(EXAMPLES.glob("[a-z]*.py")), ids=lambda p: p.name)
def test_every_example_has_a_test(path):
    assert f'run("{path.name}"' in Path(__file__).read_text()
