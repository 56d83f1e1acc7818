"""Recorded passes, as arrays, for races that run no model."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from hf_leep.options import Race
from hf_leep.ranking import scoring
from hf_leep.records import BadRow, Candidate, Extraction, Run, Target
from hf_leep.runs.left_out import LeftOut
from hf_leep.runs.memory import Memory
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.race import RunningRace
from hf_leep.runs.subsets import examples_of, select_target
from hf_leep.store.attempts import Attempts

RUN = Run("none", "none", "float32", "cpu", 1, 0.0, 0)


def target_of(labels, seed=0):
    """A target of these labels, one example a row."""
    _, labels = np.unique(labels, return_inverse=True)
    names = tuple(map(str, range(labels.max() + 1)))
    columns = (("x",), "y", "image", "image-classification", "images", np.arange(len(labels)), labels, names)
    return Target("recorded", None, None, None, "sha256:0", "sha256:1", *columns, len(labels), seed)


def extraction_of(name, arrays, target):
    """An extraction of recorded arrays, ``probabilities`` or ``features`` or both."""
    missing = {needed: "none recorded" for needed in ("probabilities", "features") if needed not in arrays}
    found = (arrays.get("probabilities"), arrays.get("features"))
    return Extraction(Candidate(name), *found, target.labels, RUN, missing, target.sentences)


class Job:
    """What a race needs of `hf_leep.runs.job.Job`, with recorded passes; counts the rows that each candidate ran."""

    def __init__(
        self,
        passes,
        target,
        measures=("leave-one-out-leep",),
        positions=None,
        ran=None,
        examples=None,
        left_out=None,
        bad=None,
        fails=None,
    ):
        self.passes, self.target, self.measures = passes, target, scoring.with_checks(measures)
        self.positions = np.arange(len(target.row_ids)) if positions is None else positions
        self.rows = self.positions
        self.examples = np.arange(len(target.labels)) if examples is None else examples  # of the recorded arrays
        self.memory = Memory(None, Attempts(None))
        self.ran = {name: [] for name in passes} if ran is None else ran
        self.left_out = LeftOut() if left_out is None else left_out
        self.bad = bad or {}  # name → rows on which the candidate fails
        self.fails = fails or (lambda _name, _examples: None)  # name, examples of a pass → the error that it ends with

    progress = flags = False

    def select(self, positions):
        return Job(
            self.passes,
            select_target(self.target, positions),
            self.measures,
            self.positions[positions],
            self.ran,
            self.examples[examples_of(self.target, positions)],
            self.left_out,
            self.bad,
            self.fails,
        )

    def is_stored(self, _step):
        return False

    def extraction(self, step, _fetch, advance):
        """Rows of the recorded pass; an error in its place is raised."""
        arrays = self.passes[step.name]
        if isinstance(arrays, BaseException):
            raise arrays
        if (error := self.fails(step.name, self.examples)) is not None:
            raise error
        self.ran[step.name].append(len(self.positions))
        advance(len(self.positions))
        made = extraction_of(step.name, {k: array[self.examples] for k, array in arrays.items()}, self.target)
        found = np.flatnonzero(np.isin(self.positions, self.bad.get(step.name, ())))
        rows = tuple(BadRow(int(k), f"row {self.positions[k]}", "NaN", unreadable=False) for k in found)
        for array in filter(lambda array: array is not None, (made.probabilities, made.features)):
            array[found] = np.nan
        self.left_out.add(step.candidate, rows, self.positions)
        return replace(made, bad_rows=rows), False

    def replace_subsets(self, _step, _extraction, _subsets):
        pass

    def result(self, step, fetch, advance):
        return self.score(step, self.extraction(step, fetch, advance)[0], False)

    def score(self, _step, extraction, from_store):
        rest = self.left_out.rest(extraction, self.target)
        return replace(scoring.score(rest, self.measures), from_store=from_store)


class Downloads:
    """What a race needs of `hf_leep.runs.local.Downloads`: there is nothing to download."""

    def fetch(self, _step):
        return None

    def advance(self, _rows):
        pass

    def running(self, _step, _num_rows):
        return nullcontext()

    def done(self, _step):
        pass


def race(passes, target, sort_by="leave-one-out-leep", rules=None, run=True, for_features=(), bad=None, fails=None):
    """A race over recorded passes: name → result, the race, and the job, which counts the rows of each candidate.

    Those in ``for_features`` have no head, and are run for their features alone.
    """
    left_out = LeftOut(sum(map(len, bad.values()))) if bad else None
    job = Job(passes, target, (sort_by,), left_out=left_out, bad=bad, fails=fails)
    scored = {}
    steps = [Step(name, Candidate(name), reason="no head" if name in for_features else None) for name in passes]
    steps = [replace(step, for_features=step.reason is not None) for step in steps]
    scored |= {step.name: step.skipped() for step in steps if step.reason}
    running = RunningRace(Plan(target, tuple(steps)), job, rules or Race(), sort_by, Downloads(), scored)
    if run:
        running.run()
        running.run_for_features()
        running.score_again()
        running.compare_heads()
    return scored, running, job
