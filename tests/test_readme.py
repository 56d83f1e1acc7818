"""The README is short, and each of its commands runs, in its order, against a Hub that has its checkpoints."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.hub_server import WRITE_TOKEN

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SET_UP = ("git clone", "make ", "python -m venv", "pip install")  # what `.ci/run` does on a fresh machine


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith(SET_UP)]


def paragraphs(text):
    """The running text: without code, tables, pictures and marks."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    kept = [line for line in text.splitlines() if not line.startswith(("|", "#"))]
    return re.split(r"\n\s*\n|\n(?=- |\d+\. )", "\n".join(kept))


def test_it_is_short_and_so_are_its_sentences():
    assert len(README.splitlines()) < 200
    sentences = [s for p in paragraphs(README) for s in re.split(r"(?<=[.:;?!])\s+", p)]
    assert max(len(s.split()) for s in sentences) <= 30, max(sentences, key=lambda s: len(s.split()))


@pytest.fixture
def workplace(hub, checkpoints, text_checkpoints, pictures, tmp_path, monkeypatch):
    """A folder with the files that the README names, and a Hub with its checkpoints."""
    found = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    hub.add_folder("google/vit-base-patch16-224", checkpoints["five"], **found)
    hub.add_folder("microsoft/resnet-50", checkpoints["seven-classes"], **found)
    hub.add_folder("distilbert/distilbert-base-uncased", text_checkpoints["headless"])
    hub.add_folder("sentence-transformers/all-MiniLM-L6-v2", text_checkpoints["headless"])
    shutil.copytree(checkpoints["five"], tmp_path / "my-checkpoint")
    for number, row in enumerate(pictures):
        folder = tmp_path / "my" / "images" / "train" / f"class-{row['label']}"
        folder.mkdir(parents=True, exist_ok=True)
        row["image"].save(folder / f"{number}.png")
    rng = np.random.default_rng(1)
    questions = [" ".join(rng.choice(list("abcdefghij"), 5)) for _ in range(40)]
    rows = "".join(f"{question},{'yes' if k % 2 else 'no'}\n" for k, question in enumerate(questions))
    (tmp_path / "questions.csv").write_text("question,category\n" + rows)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("workplace")
def test_every_command_runs(client):
    calls = commands()
    assert len(calls) > 8
    for call in calls:
        assert call[0] == "hf-leep", call
        done = client(*call[1:], HF_TOKEN=WRITE_TOKEN, OMP_NUM_THREADS="1")
        assert done.returncode == 0, (call, done.stdout, done.stderr)


@pytest.mark.usefixtures("workplace")
def test_the_python_blocks_run(client):
    arrays = "import numpy as np\nprobabilities = np.full((6, 3), 1 / 3)\nlabels = np.array([0, 1] * 3)\n"
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = client(code=arrays + "\n".join(blocks))
    assert done.returncode == 0, done.stderr
