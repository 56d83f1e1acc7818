"""Fine-tunes checkpoints on the rows of a target, in whichever process: loads one network at a time and trains it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from hf_leep import data
from hf_leep.errors import CandidateError
from hf_leep.inference.forward import accelerator
from hf_leep.inference.loader import Loader
from hf_leep.models import ADAPTERS, Classifier
from hf_leep.options import Device
from hf_leep.records import Target
from hf_leep.runs.plan import ModelInMemory
from hf_leep.training.fine_tune import Examples, fine_tune
from hf_leep.training.records import Trained, Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Trainer:
    """Trains candidates on the rows of a target.

    Args:
        target: the examples.
        rows: its rows.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        UserError: the device is not available.
    """

    def __init__(self, target: Target, rows: data.Rows, device: Device | None, allow_pickle: bool) -> None:
        self._on = accelerator(device)
        self._target, self._loader, self._allow_pickle = target, Loader(rows), allow_pickle
        self._loaded: tuple[str, Classifier] | None = None  # trainings of one candidate follow each other

    @property
    def device(self) -> str:
        """The kind of device that is trained on."""
        return str(self._on.device.type)

    def train(
        self, training: Training, advance: Callable[[int], object], model: ModelInMemory | None = None
    ) -> Trained:
        """Train a candidate, and evaluate it.

        Args:
            training: what to train, how, and on which rows.
            advance: called with the number of steps done since, 0 as a sign of life.
            model: the candidate, if it is in memory.

        Returns:
            The outcome; its seconds are those of loading the checkpoint, too.

        Raises:
            CandidateError: it cannot be loaded or trained.
            TargetError: a row cannot be decoded.
        """
        started = time.perf_counter()
        network = self._network(training, model)
        examples = Examples(
            lambda rows: self._loader.batch(network, rows.tolist()),
            self._loader.examples,
            self._target.labels,
            len(self._target.class_names),
        )
        trained = fine_tune(
            network, examples, training.train, training.evaluate, training.recipe, on=self._on, advance=advance
        )
        return replace(trained, seconds=time.perf_counter() - started)

    def _network(self, training: Training, model: ModelInMemory | None) -> Classifier:
        if self._loaded is None or self._loaded[0] != training.candidate:
            self._loaded = None  # before the next one is loaded: one network in memory at a time
            self._loaded = training.candidate, self._load(training.folder, model)
        return self._loaded[1]

    def _load(self, folder: Path | None, model: ModelInMemory | None) -> Classifier:
        adapter, columns, names = ADAPTERS[self._target.modality], self._target.input_columns, self._target.class_names
        if folder is not None:
            return adapter.load(folder, columns, torch.float32, self._allow_pickle, class_names=names)
        if model is None:
            raise AssertionError  # a candidate without a folder is in memory
        dtype = next(model[1].parameters()).dtype
        if dtype != torch.float32:
            raise CandidateError(f"its weights are {dtype}, but fine-tuning is in float32: convert it with .float()")
        return adapter.wrap(cast("PreTrainedModel", model[1]), model[2], columns, class_names=names)
