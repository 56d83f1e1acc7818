"""Run each source model over the data set once, through the package's store; all tasks share the arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.paper.tasks import Pool
from hf_leep import Execution, api, data
from hf_leep.errors import CandidateError, TargetError, UserError
from hf_leep.models import MODALITIES
from hf_leep.records import Extraction, Target
from hf_leep.runs import plan
from hf_leep.runs.local import progress_bar
from hf_leep.runs.subsets import select_target

PLAIN = "CifarResNet"  # the architecture in the config.json of plain weights
_WRITTEN_FROM = ".written-from"  # file with the hash of the plain weights that a checkpoint was made from
_BATCH_SIZE = 64  # fixed, since another size would change the last digits when a pass is repeated


@dataclass(frozen=True)
class Dataset:
    """The data set that targets are drawn from.

    Attributes:
        name: path or id.
        config: its configuration, if it has several.
        train: the split that tasks train on, and are scored on.
        test: the split that accuracy is measured on.
        label: label column; inferred if there is only one candidate, or one named ``fine_label``.
        input: image column; inferred if there is only one candidate.
        hold_out: share of each class of the training split that is held out for measuring accuracy, instead of using
            a test split.
        seed: seed of the choice of what is held out.
    """

    name: str
    config: str | None = None
    train: str = "train"
    test: str = "test"
    label: str | None = None
    input: str | None = None
    hold_out: float | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Opened:
    """Both splits, opened.

    Attributes:
        pool: labels that tasks are drawn from.
        train: the training split.
        test: the test split.
    """

    pool: Pool
    train: tuple[Target, data.Rows]
    test: tuple[Target, data.Rows]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the content of both splits."""
        return f"{self.train[0].fingerprint} {self.test[0].fingerprint}"


@dataclass(frozen=True)
class Array:
    """An array that processes share: a file of the store that each maps, or the array itself if it is not stored."""

    content: Path | NDArray[np.float32]

    @classmethod
    def of(cls, array: NDArray[np.float32]) -> Array:
        """Refer to an array by its file, if it has one."""
        path = Path(getattr(array, "filename", None) or "")
        return cls(path if isinstance(array, np.memmap) and path.is_file() else np.asarray(array))

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return a copy of these rows."""
        whole = np.load(self.content, mmap_mode="r") if isinstance(self.content, Path) else self.content
        return np.asarray(whole[rows])


@dataclass(frozen=True)
class Source:
    """A source model and its passes.

    Attributes:
        name: its name in the study.
        path: folder or id of the checkpoint.
        revision: commit, or hash of a folder's content.
        num_source_classes: number of outputs of its head; None without a head.
        num_features: width of its features.
        num_parameters: number of parameters.
        seconds: wall time of both passes, when they were made.
        probabilities: source probabilities of the training images, ``[N, s]``.
        train: features of the training images, ``[N, d]``.
        test: features of the test images, ``[M, d]``.
    """

    name: str
    path: str
    revision: str | None
    num_source_classes: int | None
    num_features: int
    num_parameters: int | None
    seconds: float
    probabilities: Array | None
    train: Array
    test: Array


def open_dataset(dataset: Dataset) -> Opened:
    """Open both splits.

    Raises:
        TargetError: a split cannot be used, or the test split has classes that the training split lacks.
    """
    train = _load(dataset, dataset.train, "--train-split")
    if train[0].modality != "image":
        raise TargetError(f"{dataset.name} contains {train[0].modality}; the study needs images")
    if dataset.hold_out is not None:
        train, test = _parted(train, dataset.hold_out, np.random.default_rng(dataset.seed))
    else:
        known = replace(dataset, label=train[0].label_column, input=",".join(train[0].input_columns))
        test = _load(known, dataset.test, "--test-split")
    names = {name: code for code, name in enumerate(train[0].class_names)}
    unknown = sorted(set(test[0].class_names) - set(names))
    if unknown:
        raise TargetError(
            f"{dataset.name}: {unknown[0]!r} occurs in {dataset.test}, but not in {dataset.train}; "
            "slices of a split that is sorted by class lack classes: --hold-out 0.2 keeps a part of each for testing"
        )
    codes = np.array([names[name] for name in test[0].class_names])
    return Opened(Pool(train[0].labels, codes[test[0].labels], len(names)), train, test)


def _load(dataset: Dataset, split: str, option: str) -> tuple[Target, data.Rows]:
    options = {"config": dataset.config, "split": split, "inputs": dataset.input, "progress": False}
    try:
        return data.load(dataset.name, MODALITIES, label=dataset.label, **options)
    except TargetError as error:
        if dataset.label is None:
            try:  # CIFAR100 has coarse labels, too
                return data.load(dataset.name, MODALITIES, label="fine_label", **options)
            except TargetError:
                pass
        if "no split" not in str(error):
            raise
        instead = "" if option == "--train-split" else ", or keep a part of the training split with --hold-out 0.2"
        raise TargetError(f"{error} ({option} NAME{instead})") from None


def _parted(
    whole: tuple[Target, data.Rows], share: float, rng: np.random.Generator
) -> tuple[tuple[Target, data.Rows], tuple[Target, data.Rows]]:
    """Split off a share of each class, rounded but never all of it; returns the rest, and what was split off."""
    target, rows = whole
    held = []
    for c in range(len(target.class_names)):
        own = rng.permutation(np.flatnonzero(target.labels == c))
        held.append(own[: min(round(share * len(own)), len(own) - 1)])
    out = np.sort(np.concatenate(held))
    if len(out) == 0:
        raise TargetError(f"--hold-out {share} of {len(target.labels)} images in {len(held)} classes holds out none")
    first, second = (
        (select_target(target, k), rows.subset(k)) for k in (np.setdiff1d(np.arange(len(rows)), out), out)
    )
    return first, second


def extract(
    names: Sequence[str], opened: Opened, folder: Path, *, device: str | None = None, progress: bool = True
) -> list[Source]:
    """Run each source over both splits, or read its passes from the store.

    Args:
        names: checkpoints: ids, folders, or folders with the plain weights of a CIFAR ResNet.
        opened: the data set.
        folder: where plain weights are written as checkpoints.
        device: ``cpu``, ``cuda`` or ``mps``; the best available by default.
        progress: show a bar.

    Raises:
        UserError: a source is given twice.
        CandidateError: a source cannot be loaded or run, or has no features.
    """
    from examples.paper import cifar_resnet  # imports transformers, which processes that re-train heads do not need

    cifar_resnet.register()
    short = names_of(names)
    splits = (opened.train, opened.test)
    sources = []
    with progress_bar(len(names) * sum(len(rows) for _, rows in splits), progress, "image") as bar:
        for name, path in zip(short, names, strict=True):
            bar.set_description(name)
            checkpoint = str(as_checkpoint(path, folder / name))
            before = bar.n
            passes = []
            for target, rows in splits:
                execution = Execution(device=device, batch_size=_BATCH_SIZE)
                api.extract(checkpoint, target, rows, execution=execution, advance=bar.update)
                # Read it from the store: the arrays of a new pass are mapped from a path that was renamed.
                passes.append(api.extract(checkpoint, target, rows, execution=execution))
            bar.update(before + sum(len(rows) for _, rows in splits) - bar.n)
            sources.append(_source(name, checkpoint, *passes))
    return sources


def names_of(paths: Sequence[str]) -> list[str]:
    """Name each source by the last parts of its path, as many as needed to be unique, joined by hyphens.

    Raises:
        UserError: a source is given twice.
    """
    parts = [(Path(path).resolve() if Path(path).is_dir() else Path(path)).parts for path in paths]
    names = []
    for path, own in zip(paths, parts, strict=True):
        others = [other for other in parts if other is not own]
        if own in others:
            raise UserError(f"--source {path} is given twice")
        taken = next(k for k in range(1, len(own) + 2) if all(other[-k:] != own[-k:] for other in others))
        names.append("-".join(part.strip("/\\") for part in own[-taken:]) or "root")
    return names


def as_checkpoint(path: str, folder: Path) -> str | Path:
    """Return the checkpoint itself; plain weights of a CIFAR ResNet are first written as a checkpoint.

    They are written again if they have changed.

    Raises:
        CandidateError: the plain weights cannot be read.
    """
    described = Path(path) / "config.json"
    try:
        description = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    except ValueError:
        return path  # loading it reports what is wrong
    if not isinstance(description, dict) or description.get("architecture") != PLAIN:
        return path
    digest = hashlib.sha256()
    for file in (described, described.with_name("model.safetensors")):
        digest.update(file.read_bytes() if file.is_file() else b"")
    written = folder / _WRITTEN_FROM
    if written.is_file() and written.read_text(encoding="utf-8") == digest.hexdigest():
        return folder
    from examples.paper import cifar_resnet
    from hf_leep.models.classifier import transformers_silent

    written.unlink(missing_ok=True)
    try:
        with transformers_silent():
            cifar_resnet.convert(path, folder)
    except Exception as error:  # whatever the file contains
        raise CandidateError(
            f"{path}: its weights cannot be read as a CIFAR ResNet: {plan.reason_of(error)}"
        ) from None
    written.write_text(digest.hexdigest(), encoding="utf-8")
    return folder


def _source(name: str, checkpoint: str, train: Extraction, test: Extraction) -> Source:
    if train.features is None or test.features is None:
        raise CandidateError(f"{checkpoint} has no features to re-train a head on: {train.missing.get('features')}")
    return Source(
        name=name,
        path=checkpoint,
        revision=train.candidate.revision,
        num_source_classes=None if train.probabilities is None else train.probabilities.shape[1],
        num_features=train.features.shape[1],
        num_parameters=train.candidate.num_parameters,
        seconds=train.run.seconds + test.run.seconds,
        probabilities=None if train.probabilities is None else Array.of(train.probabilities),
        train=Array.of(train.features),
        test=Array.of(test.features),
    )
