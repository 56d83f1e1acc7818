"""Carry out a plan as a race: candidates run on growing nested samples, and clear losers stop early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import log2

import numpy as np

from hf_leep import explain
from hf_leep.arrays import Integers
from hf_leep.errors import ProcessError
from hf_leep.measures import find
from hf_leep.ranking import elimination, scoring
from hf_leep.ranking.elimination import Eliminated, RaceResult, RaceRules
from hf_leep.ranking.ordering import Ranking
from hf_leep.records import Extraction, Interpretation, Result, Score, Stop
from hf_leep.runs.job import Job
from hf_leep.runs.local import Downloads, attempt, keep_going, stopped, supplied, terminable
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.subsets import examples_of, join, take


def carry_out(
    planned: Plan,
    job: Job,
    rules: RaceRules,
    sort_by: str,
    budget: int | None,
    prefetch: int,
    evict: bool,
    progress: bool,
) -> tuple[dict[str, Result], RunningRace]:
    """Do what was planned as a race: name → result, and how it went.

    Each look runs only the rows that are new, of the candidates still in, as a pass of its own, and judges them on all
    rows so far. Once no more than K are left there is nothing to decide: they run the rest at once. Who ran all rows
    has the result, and in the store the pass, of a run without a race.

    An interruption, SIGTERM among them, and the death of another process end the race at the last look that all of
    those still in came to.
    """
    scored = {s.name: Result(s.candidate, reason=s.reason, headless=s.headless) for s in planned.steps if s.reason}
    with supplied(planned, job, budget, prefetch, evict, progress) as supply:
        race = RunningRace(planned, job, rules, sort_by, supply, scored)
        try:
            with terminable():
                race.run()
        except (KeyboardInterrupt, ProcessError) as stop:
            race.interrupted(stop)
            stopped(planned, scored, stop)
            keep_going(job, stop)
    return scored, race


@dataclass
class _Runner:
    """A candidate of the race.

    Attributes:
        step: the candidate.
        kept: its passes over the parts, where they are not in the store.
        from_store: whether earlier runs made all of its passes so far.
        trail: its scores at each look.
        earlier: its score on the first half of the first look's rows.
    """

    step: Step
    kept: dict[int, Extraction] = field(default_factory=dict)
    from_store: bool = True
    trail: list[Mapping[str, Score]] = field(default_factory=list)
    earlier: Score | None = None


class RunningRace:
    """A race under way."""

    def __init__(
        self, planned: Plan, job: Job, rules: RaceRules, sort_by: str, supply: Downloads, scored: dict[str, Result]
    ) -> None:
        self._job, self._rules, self._sort_by, self._supply, self._scored = job, rules, sort_by, supply, scored
        self._judge = elimination.deciding_measure(sort_by)
        self._runners = {s.name: _Runner(s) for s in planned.steps if s.reason is None}
        target = job.target
        labels = target.labels if target.sentences is None else None
        self._order = elimination.nested_order(labels, len(job.rows), np.random.default_rng(target.seed))
        self._sizes = elimination.looks(len(job.rows), len(target.class_names))
        if len(self._runners) <= rules.top:
            self._sizes = self._sizes[-1:]
        self._level = rules.level(len(self._sizes) - 1, len(self._runners))
        self._parts: list[Integers] = []  # positions of the rows that each look added

    def run(self) -> None:
        """Run all looks."""
        alive = list(self._runners.values())
        done = 0
        for look, size in enumerate(self._sizes):
            last = size == len(self._order)
            if not last and len(alive) <= self._rules.top:
                continue
            self._parts.append(np.sort(self._order[done:size]))
            part = self._job.part(self._parts[-1])
            for runner in alive:
                with self._supply.running(runner.step, size - done):
                    found = attempt(runner.step, partial(self._finish if last else self._look, runner, part))
                if isinstance(found, Result):
                    self._leave(runner, found, len(self._order) - size)
            alive = [runner for runner in alive if runner.step.name not in self._scored]
            done = size
            if not last:
                for out in self._out(alive, size):
                    runner, ahead = alive[out.index], alive[out.by].step.candidate.id
                    stop = Stop(look, ahead, out.gap, out.margin)
                    result = attempt(runner.step, partial(self._put_out, runner, stop))
                    self._leave(runner, result, len(self._order) - size)
            alive = [runner for runner in alive if runner.step.name not in self._scored]

    def interrupted(self, stop: BaseException) -> None:
        """Give those that are still in what they have: their scores at the last look that all of them came to."""
        alive = [runner for runner in self._runners.values() if runner.step.name not in self._scored]
        look = min((len(runner.trail) for runner in alive), default=0) - 1
        for runner in alive if look >= 0 else ():
            reason = f"not made: {str(stop) or 'interrupted'}"
            scores = {name: Score(None, reason=reason) for name in self._job.measures} | dict(runner.trail[look])
            n = self._examples(self._sizes[look])
            self._scored[runner.step.name] = Result(
                runner.step.candidate, scores, num_examples=n, stop=Stop(look), from_store=runner.from_store
            )

    def ranking(self, names: Sequence[str]) -> Ranking:
        """The order of the results of some candidates, all of the plan."""
        trail = {
            index: [scores[self._sort_by] for scores in self._runners[name].trail]
            for index, name in enumerate(names)
            if name in self._runners
        }
        return elimination.rank_race([self._scored[name] for name in names], self._sort_by, trail, self._rules.top)

    def record(self) -> RaceResult:
        """How it went."""
        n = len(self._job.target.labels)
        ran = [self._scored[name] for name in self._runners if name in self._scored]
        ran = [result for result in ran if result.reason is None]
        return RaceResult(
            confidence=self._rules.confidence,
            top=self._rules.top,
            decided_by=self._judge,
            level=self._level,
            looks=tuple(self._examples(size) for size in self._sizes),
            num_examples_run=sum(n if result.num_examples is None else result.num_examples for result in ran),
            num_examples_of_all=n * len(ran),
        )

    def _look(self, runner: _Runner, part: Job) -> Result | None:
        """Run a candidate's new rows and score all that it has; a result where it has no use of more."""
        extraction = self._extend(runner, part)
        names = tuple(dict.fromkeys((self._sort_by, self._judge)))
        if any(find(name).needs in extraction.missing for name in names):
            result = scoring.score(extraction, self._job.measures)
            return replace(result, num_examples=len(extraction.labels), from_store=runner.from_store)
        runner.trail.append(scoring.score(extraction, names).scores)
        if len(runner.trail) == 1:
            seen, half = np.sort(self._parts[0]), np.sort(self._order[: -(-len(self._parts[0]) // 2)])
            whole = self._job.part(seen).target
            runner.earlier = scoring.score(take(extraction, whole, np.searchsorted(seen, half)), names[-1:]).scores[
                self._judge
            ]
        return None

    def _finish(self, runner: _Runner, part: Job) -> Result:
        """Run what is left of a candidate's rows, and score all."""
        if self._job.keeps(runner.step):
            return self._job.result(runner.step, self._supply.fetch(runner.step), self._supply.advance)
        extraction = self._extend(runner, part)
        jobs = [self._job.part(positions) for positions in self._parts]
        return self._job.finish(runner.step, extraction, runner.from_store, jobs)

    def _extend(self, runner: _Runner, part: Job) -> Extraction:
        """A candidate's pass over all parts so far: the newest is run, the others are there."""
        fetch, advance = self._supply.fetch(runner.step), self._supply.advance
        if self._job.keeps(runner.step):
            whole, _ = self._job.run(runner.step, fetch, advance)
            return take(whole, self._job.target, np.sort(np.concatenate(self._parts)))
        parts = []
        for number, positions in enumerate(self._parts):
            newest = number == len(self._parts) - 1
            found = runner.kept.get(number)
            if found is None:
                job = part if newest else self._job.part(positions)
                found, from_store = job.run(runner.step, fetch, advance if newest else lambda _rows: None)
                runner.from_store &= from_store
                if not job.keeps(runner.step):
                    runner.kept[number] = found
            parts.append((positions, found))
        return join(parts, self._job.target)

    def _out(self, alive: Sequence[_Runner], size: int) -> list[Eliminated]:
        now = [runner.trail[-1][self._judge] for runner in alive]
        before = [runner.trail[-2][self._judge] if len(runner.trail) > 1 else runner.earlier for runner in alive]
        return elimination.eliminated(
            now,
            [score or Score(None) for score in before],
            higher_is_better=find(self._judge).higher_is_better,
            top=self._rules.top,
            level=self._level,
            doublings=log2(len(self._order) / size),
        )

    def _put_out(self, runner: _Runner, stop: Stop) -> Result:
        """Score and explain a candidate that is out on what it ran."""
        extraction = self._extend(runner, self._job.part(self._parts[-1]))
        result = scoring.score(extraction, self._job.measures)
        ran = examples_of(self._job.target, np.sort(np.concatenate(self._parts)))
        return replace(
            result,
            num_examples=len(extraction.labels),
            stop=stop,
            from_store=runner.from_store,
            # Calibrations are compared with one another, and this one would be of fewer rows.
            interpretation=Interpretation(explanation=explain.interpret(extraction, ran).explanation),
        )

    def _leave(self, runner: _Runner, result: Result, rows_left: int) -> None:
        """A candidate runs no more rows."""
        self._scored[runner.step.name] = result
        runner.kept.clear()
        self._supply.advance(rows_left)
        self._supply.done(runner.step)

    def _examples(self, size: int) -> int:
        return len(examples_of(self._job.target, np.sort(self._order[:size])))
