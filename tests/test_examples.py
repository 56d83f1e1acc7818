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
from hf_leep import measures
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


@pytest.fixture
def questions(texts, tmp_path):
    """A CSV of texts with six classes: more than the four of the source."""
    rows = datasets.Dataset.from_dict({"text": texts["text"][:40], "label": [f"class {k % 6}" for k in range(40)]})
    rows.to_csv(tmp_path / "questions.csv")
    return tmp_path / "questions.csv"


@pytest.fixture
def from_rows(text_checkpoints, questions):
    """Source probabilities of single texts ``[n, s]``, and the labels ``[n]``."""
    path = text_checkpoints["bert"]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    rows = datasets.load_dataset("csv", data_files=str(questions), split="train")
    with torch.no_grad():
        logits = [model(**tokenizer(text, truncation=True, return_tensors="pt")).logits for text in rows["text"]]
    return torch.cat(logits).double().softmax(-1).numpy(), np.array(rows["label"])


def test_score_pipeline(text_checkpoints, questions, from_rows):
    scores, other = run("score_pipeline.py", text_checkpoints["bert"], questions).splitlines()
    assert float(scores.split("'leep': ")[1].split(",")[0]) == pytest.approx(measures.leep(*from_rows), abs=1e-5)
    assert float(other.split()[-1]) == pytest.approx(measures.leave_one_out_leep(*from_rows), abs=1e-3)


def test_score_evaluator(text_checkpoints, questions, from_rows):
    output = run("score_evaluator.py", text_checkpoints["bert"], questions)
    assert float(output.split()[-1]) == pytest.approx(measures.nce(*from_rows), abs=1e-4)


def test_score_trainer(text_checkpoints, questions, from_rows):
    output = run("score_trainer.py", text_checkpoints["bert"], questions)
    assert float(output.split()[-1]) == pytest.approx(measures.leep(*from_rows), abs=1e-4)


def test_score_scikit_learn():
    fives, halves = run("score_scikit_learn.py").splitlines()
    for column in (-1, -3):
        assert float(fives.split()[column]) > float(halves.split()[column])


def test_score_embeddings(tmp_path, rng):
    labels = np.arange(90) % 3
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "near.npy", (rng.normal(size=(90, 384)) + 2 * np.eye(384)[labels]).astype(np.float32))
    np.save(tmp_path / "noise.npy", rng.normal(size=(90, 384)).astype(np.float32))
    near, noise = (
        run("score_embeddings.py", tmp_path / f"{n}.npy", tmp_path / "labels.npy") for n in ("near", "noise")
    )
    assert len(near.splitlines()) == 3
    assert float(near.split("±")[0].split()[-1]) > float(noise.split("±")[0].split()[-1])


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
