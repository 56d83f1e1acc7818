"""Passes that were made before, as arrays: what a race does with them costs no model."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from hf_leep.ranking import scoring
from hf_leep.ranking.elimination import RaceRules
from hf_leep.records import Candidate, Extraction, Run, Target
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.race import RunningRace
from hf_leep.runs.subsets import part_of

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
    return Extraction(Candidate(name), *found, target.labels, RUN, missing)


class Job:
    """What a race needs of `hf_leep.runs.job.Job`, over recorded passes; keeps what rows each candidate ran."""

    def __init__(self, passes, target, measures=("leave-one-out-leep",), positions=None, ran=None):
        self.passes, self.target, self.measures = passes, target, scoring.with_checks(measures)
        self.positions = np.arange(len(target.row_ids)) if positions is None else positions
        self.rows = self.positions
        self.ran = {name: [] for name in passes} if ran is None else ran

    def part(self, positions):
        return Job(self.passes, part_of(self.target, positions), self.measures, self.positions[positions], self.ran)

    def keeps(self, _step):
        return False

    def run(self, step, _fetch, advance):
        """Rows of the recorded pass; where there is an error in its place, that error."""
        arrays = self.passes[step.name]
        if isinstance(arrays, BaseException):
            raise arrays
        self.ran[step.name].append(len(self.positions))
        advance(len(self.positions))
        return extraction_of(step.name, {k: array[self.positions] for k, array in arrays.items()}, self.target), False

    def finish(self, _step, extraction, from_store, _parts):
        return replace(scoring.score(extraction, self.measures), from_store=from_store)


class Downloads:
    """What a race needs of `hf_leep.runs.local.Downloads`: nothing has to come from anywhere."""

    def fetch(self, _step):
        return None

    def advance(self, _rows):
        pass

    def running(self, _step, _num_rows):
        return nullcontext()

    def done(self, _step):
        pass


def race(passes, target, sort_by="leave-one-out-leep", rules=None, run=True):
    """A race over recorded passes: name → result, its course, and the job, which knows what each candidate ran."""
    job = Job(passes, target, (sort_by,))
    scored = {}
    planned = Plan(target, tuple(Step(name, Candidate(name)) for name in passes))
    course = RunningRace(planned, job, rules or RaceRules(), sort_by, Downloads(), scored)
    if run:
        course.run()
    return scored, course, job
