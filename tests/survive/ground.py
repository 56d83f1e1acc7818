"""Where `make survive` runs hf-leep: a folder of its own, processes that start at once, good checkpoints and rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests import warm

CHECKOUT = Path(__file__).parents[2]
CANARY = "hf_canary0Zx9Qw7Er5Ty3Ui1Op8As6Df4Gh2"  # the token of every run here, which must be written nowhere
LIMIT = 240.0  # seconds after which a process is taken to hang, on however busy a machine
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@dataclass
class Row:
    """A line of the table: what was tried, how often, and what was lost."""

    what: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def check(self, name: str, *faults: str | bool | None) -> None:
        """Count one try; each fault that is not empty loses it."""
        self.tried += 1
        found = [str(fault) for fault in faults if fault]
        if found:
            self.lost.append(f"{name}: {'; '.join(found)}")


@dataclass
class Done:
    """A process that has ended, or was ended since it hung (its code is None)."""

    code: int | None
    out: str
    err: str
    seconds: float

    def fault(self, *codes: int) -> str:
        """What is wrong with how it ended; empty if nothing is."""
        if self.code is None:
            return f"hung for {self.seconds:.0f} s"
        if "Traceback" in self.err:
            return f"a traceback: {self.err.strip()[-300:]}"
        if self.code not in codes:
            return f"exit {self.code} instead of {' or '.join(map(str, codes))}: {self.err.strip()[-300:]}"
        return ""


class Ground:
    """Runs hf-leep.

    Args:
        root: a folder for everything that is written.
        python: the start of a command that runs ``python``.
        hub: address of the Hub; None for runs without one.
        first: number of its first process, where several share the folder.
    """

    def __init__(self, root: Path, python: Sequence[str], hub: str | None = None, first: int = 0) -> None:
        self.root, self.python, self.hub = root, list(python), hub
        self._num_started = first
        for name in ("said", "here"):
            (root / name).mkdir(exist_ok=True)

    def start(
        self, *arguments: object, home: str = "home", code: str | None = None, cold: bool = False, **options: object
    ) -> Running:
        """Start ``hf-leep``, or Python code.

        Args:
            arguments: its arguments.
            home: name of its HF_HOME.
            code: Python code to run instead.
            cold: start a new interpreter, which imports what it needs.
            options: those of Popen, and ``env`` to add to the environment.
        """
        added: Mapping[str, str] = options.pop("env", None) or {}  # type: ignore[assignment]
        self._num_started += 1
        said = self.root / "said" / f"{self._num_started:04}"
        place = self.root / "here" / f"{self._num_started:04}"
        place.mkdir()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")])),
            "HF_HOME": str(self.root / home),
            "HF_TOKEN": CANARY,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            **({"HF_ENDPOINT": self.hub} if self.hub else {"HF_HUB_OFFLINE": "1"}),
            **added,
        }
        start = [sys.executable] if cold else self.python
        command = [*start, *(["-c", code] if code else ["-m", "hf_leep"]), *map(str, arguments)]
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, cwd=place, **options)
        return Running(process, said, place)

    def run(self, *arguments: object, timeout: float = LIMIT, **options: object) -> Done:
        """Run it to its end; the arguments of `start`."""
        return self.start(*arguments, **options).wait(timeout)

    def rank(self, data: Path, models: Sequence[Path], output: Path | None, *more: object, **options: object) -> Done:
        """Rank checkpoints."""
        return self.run(*ranking(data, models, output), *more, **options)


class Running:
    """A process that was started."""

    def __init__(self, process: subprocess.Popen, said: Path, place: Path) -> None:
        self.process, self.said, self.place, self.began = process, said, place, time.monotonic()

    def wait(self, timeout: float = LIMIT) -> Done:
        """Wait for its end; one that hangs is killed."""
        code: int | None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        out, err = (self.said.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
        return Done(code, out, err, time.monotonic() - self.began)

    def others(self) -> list[psutil.Process]:
        """The processes that it started and that still run, however they were started: they share its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                here = Path(process.cwd()) == self.place and process.pid != self.process.pid
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def orphans(self) -> str:
        """Which processes outlive it by more than half a minute; empty if none does."""
        stop = time.monotonic() + 30
        while found := self.others():
            if time.monotonic() > stop:
                return f"it left processes behind: {[process.pid for process in found]}"
            time.sleep(0.05)
        return ""


def ranking(data: Path, models: Sequence[Path], output: Path | None) -> list[object]:
    """The arguments that rank checkpoints."""
    folder = [] if output is None else ["--output", output]
    return ["rank", "--dataset", data, "--split", "train", "--batch-size", "8", *folder, "--models", *models]


def read(output: Path) -> dict:
    """The content of a report.json."""
    return json.loads((output / "report.json").read_text())


def ranks(output: Path, keep: Sequence[Path] | None = None) -> list[dict]:
    """What a report says about its candidates but how they were run; of some of them only, if ``keep`` names them."""
    wanted = None if keep is None else set(map(str, keep))
    return [
        {key: value for key, value in candidate.items() if key != "run"}
        for candidate in read(output)["candidates"]
        if wanted is None or candidate["id"] in wanted
    ]


def num_from_store(output: Path) -> int:
    """How many passes of a report were run by an earlier command."""
    return sum(bool(candidate["run"] and candidate["run"]["from_store"]) for candidate in read(output)["candidates"])


def num_finished(home: Path) -> int:
    """How many whole passes the store of an HF_HOME holds."""
    return sum(entry.parent.suffix != ".partial" for entry in (home / "hf_leep").glob("extractions/*/entry.json"))


def leftovers(*folders: Path) -> str:
    """What is half written in some folders; empty if nothing is."""
    found = [p.name for folder in folders for end in ("*.partial", ".*.tmp") for p in folder.rglob(end)]
    return f"half written: {found[:3]}" if found else ""


@contextlib.contextmanager
def warm_python(root: Path) -> Iterator[list[str]]:
    """The start of a command that runs ``python`` without waiting for its imports (see warm.py)."""
    path = root / "warm.socket"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONWARNINGS"))}
    command = [sys.executable, "-P", warm.__file__, "serve", str(listening.fileno()), "tests.preload"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[listening.fileno()],
        env={"OMP_NUM_THREADS": "1", **kept, **warm.PLACEHOLDERS},
        cwd=CHECKOUT,
    ) as server:
        listening.close()
        try:
            yield [sys.executable, "-I", "-S", warm.__file__, "run", str(path)]
        finally:
            server.communicate()  # closes its standard input, with which it ends
            with contextlib.suppress(ProcessLookupError):
                server.send_signal(signal.SIGKILL)


def images(root: Path, num: int) -> list[Path]:
    """Good image classifiers that differ in their weights."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    first = root / "good-000"
    names = {"id2label": {i: f"class {i}" for i in range(5)}, "label2id": {f"class {i}": i for i in range(5)}}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        ResNetForImageClassification(ResNetConfig(**SMALL, **names)).save_pretrained(first)
    ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=1.0).save_pretrained(first)
    weights = load_file(first / "model.safetensors")
    made = [first]
    for number in range(1, num):
        folder = Path(shutil.copytree(first, root / f"good-{number:03}"))
        generator = torch.Generator().manual_seed(number)
        drawn = {
            name: weight + 0.3 * torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else weight
            for name, weight in weights.items()
        }
        save_file(drawn, folder / "model.safetensors", metadata={"format": "pt"})
        made.append(folder)
    return made


def texts(root: Path, num: int) -> list[Path]:
    """Good text classifiers that differ in their weights."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]
    pieces = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=12, initializer_range=0.5, num_labels=4, **size)
    made = []
    for number in range(num):
        folder = root / f"text-{number}"
        with torch.random.fork_rng():
            torch.manual_seed(number)
            BertForSequenceClassification(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=pieces, **special).save_pretrained(folder)
        made.append(folder)
    return made


def pictures(path: Path, num: int = 60) -> Path:
    """Random pictures of three classes of unequal brightness, as a parquet file."""
    import datasets
    from PIL import Image

    generator = np.random.default_rng(3)
    labels = np.arange(num) % 3
    pixels = [generator.integers(20 * y, 20 * y + 100, (12, 12, 3), dtype=np.uint8) for y in labels]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["r", "g", "b"])})
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": labels.tolist()}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


def sentences(path: Path, num: int = 60) -> Path:
    """Random words of two classes, as a CSV file; one of them is where a bad regular expression gives up."""
    generator = np.random.default_rng(5)
    rows = [" ".join(generator.choice(list("abcdefghij"), generator.integers(1, 8))) for _ in range(num - 1)]
    lines = ["text,label", *(f"{row},{'no' if k % 2 else 'yes'}" for k, row in enumerate([*rows, "a" * 40 + "!"]))]
    path.write_text("\n".join(lines) + "\n")
    return path
