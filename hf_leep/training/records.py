"""How a shortlist is compared, how far a comparison is, and what it found out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers

LEARNING_RATES = (5e-5, 2.5e-4, 1.25e-3)
BATCH_SIZE = 32


@dataclass(frozen=True)
class Settings:
    """How a shortlist is compared.

    Attributes:
        budget: seconds for all training; None where steps are given.
        steps: steps of each finalist; a run with it can be repeated exactly. None where a budget is given.
        flip: whether images are flipped at random.
        batch_size: rows a step.
        seed: seed of the trials; a finalist's seeds follow it.
        learning_rates: those that are tried.
    """

    budget: float | None = 1200.0
    steps: int | None = None
    flip: bool = False
    batch_size: int = BATCH_SIZE
    seed: int = 0
    learning_rates: tuple[float, ...] = LEARNING_RATES


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        learning_rate: peak learning rate of the pre-trained weights.
        steps: optimiser steps.
        seed: seed of the order of the rows and of dropout.
        batch_size: rows a step.
        flip: whether images are flipped at random, left to right.
    """

    learning_rate: float
    steps: int
    seed: int = 0
    batch_size: int = BATCH_SIZE
    flip: bool = False


@dataclass(frozen=True, eq=False)
class Training:
    """One training of one candidate.

    Attributes:
        candidate: what tells the candidate from the others.
        folder: its files; None for a model in memory.
        recipe: how it is trained.
        train: positions of the rows to train on.
        evaluate: positions of the rows to evaluate on, ascending.
    """

    candidate: str
    folder: Path | None
    recipe: Recipe
    train: Integers
    evaluate: Integers


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of training one network.

    Attributes:
        correct: whether each example that was evaluated on is classified rightly, by its position, ``[m]``.
        loss: mean cross-entropy on these examples, in nats; infinite where training diverged.
        seconds_per_step: seconds a training step, the first one aside where there are several.
        seconds: seconds in all.
        micro_batch: rows that were run at once; fewer than the batch size where memory ran out.
        keep_probability: a dropout rate that was taken for a probability of keeping, and turned round; else None.
    """

    correct: NDArray[np.bool_]
    loss: float
    seconds_per_step: float
    seconds: float
    micro_batch: int
    keep_probability: float | None = None


@dataclass(frozen=True, eq=False)
class Compared:
    """What fine-tuning found out about one candidate.

    Attributes:
        name: the candidate.
        reason: why it could not be trained, or of a finalist not with all seeds; else None.
        learning_rate: its best learning rate.
        steps: steps that it was last trained for.
        finalist: whether it was trained with several seeds and judged.
        chosen_by: accuracy on the choosing rows in its last rung, which chose.
        chosen: of each rung that chose, whether each choosing example is right with its best learning rate, ``[b]``.
        correct: of a finalist, whether each judging example is right for each seed, ``[seeds, m]``.
        seconds: seconds spent on it.
        batch_size: rows a step.
        micro_batch: rows that were run at once, fewer than the batch size where memory ran out.
        keep_probability: a dropout rate that was taken for a probability of keeping, and turned round; else None.
    """

    name: str
    reason: str | None = None
    learning_rate: float | None = None
    steps: int = 0
    finalist: bool = False
    chosen_by: float | None = None
    chosen: tuple[NDArray[np.bool_], ...] = ()
    correct: NDArray[np.bool_] | None = None
    seconds: float = 0.0
    batch_size: int = BATCH_SIZE
    micro_batch: int | None = None
    keep_probability: float | None = None


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a comparison is.

    Attributes:
        rung: which rung, from 1.
        num_rungs: how many there are.
        steps: steps of each trial of this rung.
        num_trials: trials of this rung.
        candidate: the candidate being trained.
        learning_rate: its learning rate.
        seconds_planned: about how long this rung takes.
        seconds_left: what is left of the budget; None without one.
    """

    rung: int
    num_rungs: int
    steps: int
    num_trials: int
    candidate: str
    learning_rate: float
    seconds_planned: float
    seconds_left: float | None
