"""What a worker is asked to do for fine-tuning: open the rows, and train a candidate on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_leep import data
from hf_leep.options import Device
from hf_leep.records import Target
from hf_leep.training.records import Trained, Training

if TYPE_CHECKING:
    from hf_leep.training.trainer import Trainer


@dataclass
class _Opened:
    """What this worker trains with."""

    trainer: Trainer | None = None


_opened = _Opened()


def open_rows(
    target: Target, rows: data.Rows, device: Device | None, allow_pickle: bool, num_threads: int | None
) -> None:
    """Open the rows, for all trainings that follow.

    Args:
        target: the examples.
        rows: its rows.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        allow_pickle: accept pickled weights where there are no safetensors.
        num_threads: number of threads of torch, where the caller has chosen it.

    Raises:
        UserError: the device is not available.
    """
    import torch

    from hf_leep.training.trainer import Trainer

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    _opened.trainer = Trainer(target, rows, device, allow_pickle)


def train(training: Training, *, advance: Callable[[int], object]) -> Trained:
    """Train a candidate on the rows that were opened.

    Args:
        training: what to train, how, and on which rows.
        advance: called with the number of steps done since, 0 as a sign of life.

    Raises:
        CandidateError: it cannot be loaded or trained.
        TargetError: a row cannot be decoded.
    """
    return _trainer().train(training, advance)


def device() -> str:
    """The kind of device that is trained on."""
    return _trainer().device


def _trainer() -> Trainer:
    if _opened.trainer is None:
        raise AssertionError  # the rows are opened first
    return _opened.trainer
