"""What has been trained so far, on disk: a comparison that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep import temporary
from hf_leep.errors import one_line

_LOG = logging.getLogger("hf_leep")


@dataclass(frozen=True)
class Trial:
    """One network, trained once.

    Attributes:
        candidate: name of the candidate.
        learning_rate: peak learning rate of its own weights.
        steps: optimiser steps.
        seed: seed of the order of the rows and of dropout.
        with_choosing: whether the choosing rows were trained on as well, as for finalists.
    """

    candidate: str
    learning_rate: float
    steps: int
    seed: int
    with_choosing: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a trial.

    Attributes:
        correct: whether each example of the choosing rows, or for finalists of the judging rows, is classified
            rightly, ``[m]``.
        loss: mean cross-entropy on them, in nats; infinite where training diverged.
        seconds_per_step: seconds a step.
        seconds: seconds in all.
        micro_batch: rows that were run at once.
        keep_probability: a dropout rate that was taken for a probability of keeping, and turned round; else None.
    """

    correct: NDArray[np.bool_]
    loss: float
    seconds_per_step: float
    seconds: float
    micro_batch: int
    keep_probability: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of the examples that are classified rightly."""
        return float(self.correct.mean())


class Journal:
    """The trials and decisions of one comparison, one JSON object a line.

    A line that was cut off by a kill is ignored. A file of another comparison (other rows, candidates or settings) is
    replaced. Failures are kept for this process alone: a later one tries again, since a disk or the Hub may be back.
    Where the disk is full, the comparison goes on, and what could not be written is written as soon as it can be.

    Args:
        path: the file; None to keep nothing on disk.
        about: what the comparison is of, as plain data.
    """

    def __init__(self, path: Path | None, about: Mapping[str, object]) -> None:
        self._path = path
        self._unwritten, self._failing = "", False
        self._trials: dict[Trial, Outcome] = {}
        self._failures: dict[str, str] = {}
        self._steps: dict[int, int] = {}
        self._timings: dict[str, tuple[float, float]] = {}
        self.seconds = 0.0  # spent so far, in this process or an earlier one
        if path is None:
            return
        header = json.dumps({"about": about}, sort_keys=True)
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
            if not lines or lines[0] != header:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write(path, f"{header}\n".encode())
                return
        except OSError as error:
            _LOG.warning("the store cannot keep what is trained (%s)", one_line(error))
            self._path = None
            return
        for line in dict.fromkeys(lines[1:]):  # one that was written again, since the disk was full, counts once
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            self._read(entry)
        self._unwritten = "\n"  # ends a line that was cut off

    def outcome(self, trial: Trial) -> Outcome | None:
        """What came of a trial; None where it has not been finished."""
        return self._trials.get(trial)

    def add(self, trial: Trial, outcome: Outcome) -> None:
        """Keep a finished trial."""
        self._trials[trial] = outcome
        self.seconds += outcome.seconds
        self._write(
            {
                "trial": vars(trial),
                "correct": "".join("1" if right else "0" for right in outcome.correct),
                "loss": outcome.loss if np.isfinite(outcome.loss) else None,
                "seconds_per_step": outcome.seconds_per_step,
                "seconds": outcome.seconds,
                "micro_batch": outcome.micro_batch,
                "keep_probability": outcome.keep_probability,
            }
        )

    def failure(self, candidate: str) -> str | None:
        """Why a candidate cannot be trained; None where it can, or has not been tried."""
        return self._failures.get(candidate)

    def fail(self, candidate: str, reason: str) -> None:
        """Keep why a candidate cannot be trained."""
        self._failures[candidate] = reason
        self._write({"failed": candidate, "reason": reason})

    def timing(self, candidate: str) -> tuple[float, float] | None:
        """Seconds a step of a candidate, and those that a training takes whatever its steps; None where not timed."""
        return self._timings.get(candidate)

    def time(self, candidate: str, per_step: float, overhead: float, seconds: float) -> None:
        """Keep how fast a candidate is; finding that out took ``seconds``."""
        self._timings[candidate] = per_step, overhead
        self.seconds += seconds
        self._write({"timed": candidate, "per_step": per_step, "overhead": overhead, "seconds": seconds})

    def steps(self, rung: int) -> int | None:
        """Steps of a rung, as decided before; None where they have not been."""
        return self._steps.get(rung)

    def decide(self, rung: int, steps: int) -> None:
        """Keep the steps of a rung: a run that goes on must not decide again."""
        self._steps[rung] = steps
        self._write({"rung": rung, "steps": steps})

    def _read(self, entry: Mapping[str, object]) -> None:
        try:
            if "trial" in entry:
                trial = Trial(**entry["trial"])  # type: ignore[arg-type]
                loss, keep = entry["loss"], entry["keep_probability"]
                outcome = Outcome(
                    np.array([mark == "1" for mark in str(entry["correct"])], dtype=bool),
                    np.inf if loss is None else float(str(loss)),
                    float(str(entry["seconds_per_step"])),
                    float(str(entry["seconds"])),
                    int(str(entry["micro_batch"])),
                    None if keep is None else float(str(keep)),
                )
                self._trials[trial] = outcome
                self.seconds += outcome.seconds
            elif "timed" in entry:
                per_step, overhead, seconds = (float(str(entry[key])) for key in ("per_step", "overhead", "seconds"))
                self._timings[str(entry["timed"])] = per_step, overhead
                self.seconds += seconds
            elif "rung" in entry:
                self._steps[int(str(entry["rung"]))] = int(str(entry["steps"]))
        except (KeyError, TypeError, ValueError):  # a damaged line: what it was about is trained again
            return

    def _write(self, entry: Mapping[str, object]) -> None:
        if self._path is None:
            return
        self._unwritten += json.dumps(entry) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(self._unwritten)
        except OSError as error:
            if not self._failing:
                _LOG.warning("the store cannot keep what is trained for now (%s)", one_line(error))
            self._unwritten = "\n" + self._unwritten.lstrip("\n")  # the line break ends what was written in part
            self._failing = True
        else:
            self._unwritten, self._failing = "", False
