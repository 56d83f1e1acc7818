"""The whole job on real images without network: train checkpoints on digits, rank them, check the order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_leep import api, data
from hf_leep.arrays import Integers
from hf_leep.errors import UserError
from hf_leep.models import MODALITIES
from hf_leep.models.classifier import transformers_silent
from hf_leep.ranking.correlation import Agreement, agreement
from hf_leep.ranking.uncertainty import CONFIDENCE, critical_value
from hf_leep.report import Report
from hf_leep.runs.bars import progress_bar
from hf_leep.text import number

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Group
    from transformers import PreTrainedModel, ViTImageProcessorPil

_Pixels: TypeAlias = NDArray[np.uint8]  # [n, 8, 8]

RECIPE_VERSION = "v1"  # raise it when a checkpoint or the split changes
NUM_RANKING, NUM_TEST = 500, 500  # target images; the other 797 of 1,797 train the sources
_SEED = 0
_STEPS, _BATCH_SIZE, _LEARNING_RATE = 400, 64, 3e-3
_TARGET = "digits"
_DIGITS = tuple("0123456789")
_CORRELATIONS = {"pearson": "Pearson's r", "kendall": "Kendall's τ", "weighted_tau": "weighted τ"}


@dataclass(frozen=True)
class Source:
    """How one source checkpoint is made.

    Attributes:
        name: name of its folder.
        classes: names of its classes, ``[s]``.
        class_of: its class for each digit 0 … 9; None for digits that it is not trained on.
        steps: training steps.
        noise: share of the labels that are replaced by random classes.
        head: whether the head is saved, too.
    """

    name: str
    classes: tuple[str, ...]
    class_of: tuple[int | None, ...]
    steps: int = _STEPS
    noise: float = 0.0
    head: bool = True


def _first(count: int) -> tuple[int | None, ...]:
    return tuple(digit if digit < count else None for digit in range(10))


SOURCES = (
    Source("ten-digits", _DIGITS, _first(10)),
    Source("eight-digits", _DIGITS[:8], _first(8)),
    Source("five-digits", _DIGITS[:5], _first(5)),
    Source("three-digits", _DIGITS[:3], _first(3)),
    Source("odd-even", ("even", "odd"), tuple(digit % 2 for digit in range(10))),
    Source("low-high", ("0 to 4", "5 to 9"), tuple(digit // 5 for digit in range(10))),
    Source("noisy-labels", _DIGITS, _first(10), noise=0.6),
    Source("barely-trained", _DIGITS, _first(10), steps=5),
    Source("no-head", _DIGITS, _first(10), head=False),
)


@dataclass(frozen=True)
class Trial:
    """One candidate's scores, and the accuracy of a head re-trained on its features.

    Attributes:
        name: the candidate.
        leep: its LEEP in nats, None if it has none.
        leave_one_out_leep: its leave-one-out LEEP in nats, None if it has none.
        accuracy: share of the test images that the re-trained head classifies correctly, in [0, 1].
    """

    name: str
    leep: float | None
    leave_one_out_leep: float | None
    accuracy: float


@dataclass(frozen=True)
class Outcome:
    """How well the order predicted the accuracy.

    Attributes:
        trials: one for each candidate, in the report's order.
        num_test: number of images that each accuracy is measured on.
        leep: agreement of LEEP with accuracy, over the candidates that have both.
        leave_one_out_leep: the same for leave-one-out LEEP.
    """

    trials: tuple[Trial, ...]
    num_test: int
    leep: Agreement
    leave_one_out_leep: Agreement

    @property
    def scored(self) -> list[Trial]:
        """The trials of the candidates that have a score, best LEEP first."""
        return [trial for trial in self.trials if trial.leep is not None]


def run(
    progress: bool = True, home: Path | None = None, *, sources: Sequence[Source] = SOURCES
) -> tuple[Report, Outcome]:
    """Train the sources unless they are on disk, rank them for the target, and re-train a head on each.

    Args:
        progress: show progress bars on stderr.
        home: folder of the checkpoints and the target; by default ``hf_leep/demo`` in Hugging Face's home.
        sources: the checkpoints to make.

    Returns:
        The report, as from `hf_leep.api.rank`, and the outcome.

    Raises:
        UserError: the folder cannot be written.
    """
    import torch
    from huggingface_hub import constants

    home = Path(constants.HF_HOME, "hf_leep", "demo", RECIPE_VERSION) if home is None else home
    home = home.expanduser().absolute()
    paths, target = [str(home / source.name) for source in sources], str(home / _TARGET)
    command = ["hf-leep", "rank", "--dataset", target, "--split", "train", "--models", *paths]
    # Making a model draws from torch's global generator, and so does loading one without its head.
    with torch.random.fork_rng(devices=[]), _one_thread():
        try:
            home.mkdir(parents=True, exist_ok=True)
            _make(home, sources, progress)
        except OSError as error:
            raise UserError(f"cannot write the demo's checkpoints to {home} ({error.strerror or error})") from None
        report = api.rank(paths, target, split="train", progress=progress, command=command)
        return report, _retrain(report, progress)


def outcome_table(outcome: Outcome) -> Group:
    """The outcome for a terminal: a table of scores and accuracies, and a summary in words."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("candidate", overflow="fold")
    for heading in ("LEEP", "leave-one-out\nLEEP", "accuracy of a\nre-trained head", "# by\naccuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    scored = outcome.scored
    for position, trial in enumerate(scored, start=1):
        better = sum(other.accuracy > trial.accuracy for other in scored)
        table.add_row(str(position), *_cells(trial, outcome.num_test), str(better + 1))
    for trial in outcome.trials:
        if trial.leep is None:
            table.add_row("–", *_cells(trial, outcome.num_test), "–", style="dim")
    table.add_row()
    for name in ("pearson", "kendall", "weighted_tau"):
        both = [number(getattr(found, name), 2) for found in (outcome.leep, outcome.leave_one_out_leep)]
        table.add_row("", f"{_CORRELATIONS[name]} with accuracy", *both, style="italic")
    return Group(
        Text(f"\nA head re-trained on each candidate, tested on {outcome.num_test} other images:\n"),
        table,
        Text(),
        Text(sentence(outcome), style="bold"),
    )


def sentence(outcome: Outcome) -> str:
    """Say how well the order by LEEP predicted the order by accuracy."""
    scored, found = outcome.scored, outcome.leep
    if found.kendall is None or found.pearson is None:
        return "There are too few scores, or too few different ones, to compare with the accuracies."
    pairs = (k := found.num_candidates) * (found.num_candidates - 1) // 2
    right = _pairs_in_order([(trial.leep, trial.accuracy) for trial in scored])
    right_left_out = _pairs_in_order([(trial.leave_one_out_leep, trial.accuracy) for trial in scored])
    interval = (
        f", {100 * CONFIDENCE:g} % interval {number(found.pearson_interval[0], 2)} to "
        f"{number(found.pearson_interval[1], 2)}, wide because there are only {k} candidates"
        if found.pearson_interval
        else f"; {k} candidates are too few for an interval"
    )
    first, best = scored[0], max(scored, key=lambda trial: trial.accuracy)
    choice = (
        f"is {100 * (best.accuracy - first.accuracy):.1f} points of accuracy behind the best, {best.name}"
        if best.accuracy > first.accuracy
        else "has the best accuracy of those that have a LEEP"
    )
    return (
        f"LEEP puts {right} of the {pairs} pairs of candidates in the order of their accuracies, leave-one-out LEEP "
        f"{right_left_out}; guessing would get {pairs / 2:g}. Pearson's r is {number(found.pearson, 2)}{interval}. "
        f"LEEP's first choice, {first.name}, {choice}."
    )


def _cells(trial: Trial, num_test: int) -> list[str]:
    half_width = critical_value() * (trial.accuracy * (1 - trial.accuracy) / num_test) ** 0.5
    shown = number(trial.leep), number(trial.leave_one_out_leep)
    return [trial.name, *shown, f"{100 * trial.accuracy:.1f} ± {100 * half_width:.1f} %"]


def _pairs_in_order(points: Sequence[tuple[float | None, float]]) -> int:
    """Number of pairs of candidates in which the higher score has the higher accuracy; ties do not count."""
    known = [(score, accuracy) for score, accuracy in points if score is not None]
    return sum(a[0] > b[0] and a[1] > b[1] for a in known for b in known)


def _make(home: Path, sources: Sequence[Source], progress: bool) -> None:
    """Make the target and the sources that are not in the folder yet; no source is trained on images of the target."""
    from sklearn.datasets import load_digits

    missing = [source for source in sources if not (home / source.name).exists()]
    if not missing and (home / _TARGET).exists():
        return
    found = load_digits()
    digits: Integers = found.target.astype(np.int64)
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8], stored as 0 … 16
    training, ranking, test = _split(digits)
    if not (home / _TARGET).exists():
        with _complete(home / _TARGET) as folder:
            _save_target(folder, pixels, digits, {"train": ranking, "test": test})
    with progress_bar(sum(source.steps for source in missing), progress, "step") as bar:
        for source in missing:
            bar.set_description(source.name)
            seed = sources.index(source)
            model, processor = _train(source, pixels[training], digits[training], seed, bar.update)
            with _complete(home / source.name) as folder, transformers_silent():
                model.save_pretrained(folder)
                processor.save_pretrained(folder)


def _split(digits: Integers) -> tuple[Integers, Integers, Integers]:
    """Positions of the images for training sources, for ranking, and for the test: disjoint, stratified."""
    rng = np.random.default_rng(_SEED)
    everything = np.arange(len(digits))
    target = data.stratified_sample(digits, NUM_RANKING + NUM_TEST, rng)
    ranking = target[data.stratified_sample(digits[target], NUM_RANKING, rng)]
    return np.setdiff1d(everything, target), ranking, np.setdiff1d(target, ranking)


def _train(
    source: Source, pixels: _Pixels, digits: Integers, seed: int, advance: Callable[[int], object]
) -> tuple[PreTrainedModel, ViTImageProcessorPil]:
    """Train a small ResNet on the images of the digits that the source knows.

    Args:
        source: what to train.
        pixels: images ``[n, 8, 8]``, uint8.
        digits: their digits ``[n]``.
        seed: of weights, label noise and batches.
        advance: called with 1 after each step.

    Returns:
        The model to save, without its head if the source has none, and its image processor.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    torch.default_generator.manual_seed(seed)  # for the weights; the caller restores its state
    generator = torch.Generator().manual_seed(seed)
    config = ResNetConfig(
        num_channels=1,
        embedding_size=16,
        hidden_sizes=[32],
        depths=[1],
        layer_type="basic",
        id2label=dict(enumerate(source.classes)),
        label2id={name: index for index, name in enumerate(source.classes)},
    )
    model = ResNetForImageClassification(config).train()
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    seen = [i for i, digit in enumerate(digits.tolist()) if source.class_of[digit] is not None]
    inputs = processor(_images(pixels[seen]), return_tensors="pt")["pixel_values"]  # [m, 1, 8, 8]
    labels = torch.tensor([source.class_of[digit] for digit in digits[seen].tolist()])  # [m]
    replaced = torch.rand(len(seen), generator=generator) < source.noise
    labels[replaced] = torch.randint(len(source.classes), (int(replaced.sum()),), generator=generator)

    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)
    for _ in range(source.steps):
        batch = torch.randint(len(seen), (_BATCH_SIZE,), generator=generator)
        loss = cross_entropy(model(inputs[batch]).logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance(1)
    return (model if source.head else model.base_model).eval(), processor


def _retrain(report: Report, progress: bool) -> Outcome:
    """Re-train a head on each candidate whose pass recorded features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset = report.data["target"]["dataset"]
    splits = [data.load(dataset, MODALITIES, split=split, progress=progress) for split in ("train", "test")]
    (ranking, _), (test, _) = splits
    usable = [c for c in report.candidates if c["headless"] or c["num_features"]]
    trials = []
    with progress_bar(len(usable), progress, "head") as bar:
        for candidate in usable:
            name = Path(candidate["id"]).name
            bar.set_description(name)
            train_features, test_features = (
                api.extract(candidate["id"], target, rows).features for target, rows in splits
            )
            head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
            accuracy = float(head.fit(train_features, ranking.labels).score(test_features, test.labels))
            trials.append(Trial(name, _value(candidate, "leep"), _value(candidate, "leave-one-out-leep"), accuracy))
            bar.update(1)
    return Outcome(
        trials=tuple(trials),
        num_test=len(test.labels),
        leep=_agreement([(trial.leep, trial.accuracy) for trial in trials]),
        leave_one_out_leep=_agreement([(trial.leave_one_out_leep, trial.accuracy) for trial in trials]),
    )


def _value(candidate: Mapping[str, Any], measure: str) -> float | None:
    score = candidate["scores"].get(measure)
    return score["value"] if score else None


def _agreement(points: Sequence[tuple[float | None, float]]) -> Agreement:
    known = [(score, accuracy) for score, accuracy in points if score is not None]
    return agreement([score for score, _ in known], [accuracy for _, accuracy in known])


def _save_target(folder: Path, pixels: _Pixels, digits: Integers, splits: Mapping[str, Integers]) -> None:
    """Save the rows of each split as a DatasetDict with an image and a label column."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(_DIGITS))})
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict(
                    {"image": _images(pixels[rows]), "label": digits[rows].tolist()}, features=features
                )
                for split, rows in splits.items()
            }
        ).save_to_disk(folder)
    finally:
        if shown:
            datasets.enable_progress_bars()


def _images(pixels: _Pixels) -> list[Image]:
    from PIL.Image import fromarray

    return [fromarray(image) for image in pixels]


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to save to, and rename it once it is complete: the folder is never half-written."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        unfinished = Path(temporary, folder.name)
        yield unfinished
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another run was faster
                raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch and BLAS to one thread: results are then the same on any number of cores.

    For models this small a second thread gains nothing, and may cost a minute when the cores are busy.
    """
    import sklearn.linear_model  # noqa: F401 - only libraries that are loaded can be limited
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
