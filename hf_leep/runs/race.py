"""Carry out a plan as a race: candidates run on growing nested samples, and clear losers stop early."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from math import log2

import numpy as np

from hf_leep import explain
from hf_leep.arrays import Integers
from hf_leep.errors import HubLimitError, ProcessError
from hf_leep.measures import find
from hf_leep.options import Race
from hf_leep.ranking import elimination
from hf_leep.ranking.elimination import RaceResult
from hf_leep.ranking.ordering import Ranking
from hf_leep.records import Extraction, Interpretation, Result, Score, Stop
from hf_leep.runs import scores
from hf_leep.runs.job import Job
from hf_leep.runs.local import (
    Downloads,
    add_not_run,
    attempt,
    note_result,
    open_downloads,
    sigterm_interrupts,
    wait_for_report,
)
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.racer import Racer, eliminate
from hf_leep.runs.subsets import concatenate, examples_of, select


def carry_out(
    planned: Plan,
    job: Job,
    rules: Race,
    sort_by: str,
    budget: int | None,
    prefetch: int,
    evict: bool,
    progress: bool,
) -> tuple[dict[str, Result], RunningRace]:
    """Carry out a plan as a race.

    At each look, every candidate still in the race runs the rows that are new, as a pass of its own, and is judged on
    all rows so far. When at most K candidates are left, they run all remaining rows at once. A candidate that has run
    all rows gets the result, and the stored pass, of a run without a race.

    An interruption or the death of another process ends it at the last look that all those still in it have reached.

    Args:
        planned: the plan.
        job: the run.
        rules: when a candidate is eliminated.
        sort_by: the measure of the ranking.
        budget: bytes that may be downloaded; None for no limit.
        prefetch: number of next candidates that are downloaded while one runs.
        evict: remove each downloaded checkpoint after its last use.
        progress: show bars.

    Returns:
        Name → result, and the race.

    Raises:
        KeyboardInterrupt: the race was interrupted before the first look was finished.
        UserError: the device is not available, or a row cannot be decoded.
    """
    results = {step.name: step.skipped() for step in planned.steps if step.reason}
    with open_downloads(planned, job, budget, prefetch, evict, progress) as downloads:
        race = RunningRace(planned, job, rules, sort_by, downloads, results)
        try:
            with sigterm_interrupts() if job.processes.size > 1 else nullcontext():
                race.run()
                race.run_for_features()
        except (KeyboardInterrupt, ProcessError, HubLimitError) as error:
            race.interrupt(error)
            add_not_run(planned, results, error)
            wait_for_report(job, error)
        race.score_again()
        race.compare_heads()
    return results, race


class RunningRace:
    """A race while it is run, and its ranking and record afterwards.

    Args:
        planned: the plan.
        job: the run.
        rules: when a candidate is eliminated.
        sort_by: the measure of the ranking.
        downloads: the checkpoints.
        results: name → result; it is filled while the race runs.
    """

    def __init__(
        self, planned: Plan, job: Job, rules: Race, sort_by: str, downloads: Downloads, results: dict[str, Result]
    ) -> None:
        self._job, self._rules, self._sort_by = job, rules, sort_by
        self._downloads, self._results = downloads, results
        self._decided_by = elimination.deciding_measure(sort_by)
        self._racers = {s.name: Racer(s) for s in planned.in_order if s.reason is None}
        self._for_features = [step for step in planned.steps if step.for_features]
        target = job.target
        labels = target.labels if target.sentences is None else None
        self._order = elimination.nested_order(labels, len(job.rows), np.random.default_rng(target.seed))
        self._sizes = elimination.looks(len(job.rows), len(target.class_names))
        if len(self._racers) <= rules.top:
            self._sizes = self._sizes[-1:]
        self._level = elimination.comparison_level(rules, len(self._sizes) - 1, len(self._racers))
        self._added: list[Integers] = []  # positions of the rows that each look added

    def run(self) -> None:
        """Run all looks."""
        racers = list(self._racers.values())
        num_run = 0
        for look, size in enumerate(self._sizes):
            last = size == len(self._order)
            if not last and len(racers) <= self._rules.top:
                continue
            self._added.append(np.sort(self._order[num_run:size]))
            subset = self._job.select(self._added[-1])
            if self._job.left_out.most:  # all passes come first, so that all are scored without the same rows
                for racer in racers:
                    with self._downloads.running(racer.step, size - num_run):
                        found = attempt(racer.step, partial(self._extend, racer, subset), self._job.memory)
                    if isinstance(found, Result):
                        self._stop(racer, found, len(self._order) - size)
                self._drop(len(self._order) - size)
                racers = self._remaining()
            for racer in racers:
                with self._downloads.running(racer.step, 0 if self._job.left_out.most else size - num_run):
                    result = attempt(
                        racer.step, partial(self._finish if last else self._look, racer, subset), self._job.memory
                    )
                if result is not None:
                    self._stop(racer, result, len(self._order) - size)
            racers = self._remaining()
            num_run = size
            level, doublings = self._level, log2(len(self._order) / size)
            for eliminated in () if last else eliminate(racers, self._decided_by, self._rules.top, level, doublings):
                racer, winner = racers[eliminated.index], racers[eliminated.by].step.candidate.id
                stop = Stop(look, winner, eliminated.gap, eliminated.margin)
                result = attempt(racer.step, partial(self._result_of_eliminated, racer, stop), self._job.memory)
                self._stop(racer, result, len(self._order) - size)
            racers = self._remaining()

    def run_for_features(self) -> None:
        """Run the candidates whose features alone are of use, on the rows that all candidates of the race ran."""
        if not self._added:
            return
        positions = np.sort(np.concatenate(self._added[: self._num_common_looks()]))
        whole = len(positions) == len(self._order)
        for step in self._for_features:
            with self._downloads.running(step, len(self._order)):
                result = attempt(step, partial(self._head, step, None if whole else positions), self._job.memory)
            self._results[step.name] = step.as_planned(result)
            self._downloads.done(step)

    def score_again(self) -> None:
        """Score again, without the bad rows, what was scored before a later pass found them."""
        self._drop()
        left_out = self._job.left_out.positions.tolist()
        for name, racer in self._racers.items():
            result = self._results.get(name)
            if result is None or not result.scores or racer.left_out_of_all == left_out:
                continue
            for look, scored in enumerate(racer.scores):
                if racer.left_out[look] != self._left_out(look):
                    again = self._scored(self._rest(racer, look), tuple(scored))
                    racer.scores[look], racer.heads[look] = again.scores, again.head_accuracy
            again_of_all = attempt(racer.step, partial(self._score_again, racer, result), self._job.memory)
            self._results[name] = replace(again_of_all, from_store=result.from_store)
        for step in self._for_features if self._job.left_out.most else ():
            if (known := self._results.get(step.name)) is not None and known.head_accuracy is not None:
                positions = self._positions(self._num_common_looks() - 1)
                head = attempt(step, partial(self._head, step, positions), self._job.memory)
                self._results[step.name] = replace(known, head_accuracy=head.head_accuracy)

    def _score_again(self, racer: Racer, result: Result) -> Result:
        if result.stop is None and result.num_examples is None:
            again = self._job.result(racer.step, self._downloads.fetch(racer.step), self._downloads.advance)
            racer.heads[-1] = again.head_accuracy
            return again
        look = len(racer.heads) - 1
        if result.stop is None:
            lacking = self._scored(rest := self._rest(racer, look), self._job.measures)
            return replace(lacking, num_examples=len(rest.labels))
        if result.stop.behind is not None:
            return self._result_of_eliminated(racer, result.stop)
        scores = {**result.scores, **racer.scores[result.stop.look]}
        return replace(result, scores=scores, num_examples=self._num_examples(self._sizes[result.stop.look]))

    def _drop(self, num_rows_left: int = 0) -> None:
        """Let candidates fail whose bad rows are too many together with those of the others."""
        self._job.left_out.settle(self._job.target)
        for racer in self._racers.values():
            reason = self._job.left_out.reason(racer.step.candidate)
            known = self._results.get(racer.step.name)
            if reason is None or (known is not None and known.reason is not None):
                continue
            failed = Result(racer.step.candidate, reason=reason)
            if known is None:
                self._stop(racer, failed, num_rows_left)
            else:
                self._results[racer.step.name] = failed

    def compare_heads(self) -> None:
        """Give each candidate of the race the accuracy of its head on the rows that all of them ran."""
        look = self._num_common_looks() - 1
        for name, racer in self._racers.items():
            if name in self._results:
                head = racer.heads[look] if 0 <= look < len(racer.heads) else None
                self._results[name] = replace(self._results[name], head_accuracy=head)

    def interrupt(self, error: BaseException) -> None:
        """Give those still in the race their scores at the last look that all of them have reached.

        Args:
            error: what stopped the race.
        """
        racers = self._remaining()
        look = min((len(racer.scores) for racer in racers), default=0) - 1
        for racer in racers if look >= 0 else ():
            reason = f"not made: {str(error) or 'interrupted'}"
            scores = {name: Score(None, reason=reason) for name in self._job.measures} | dict(racer.scores[look])
            self._results[racer.step.name] = Result(
                replace(racer.step.candidate, untrained=racer.untrained),
                scores,
                num_examples=self._num_examples(self._sizes[look]),
                stop=Stop(look),
                from_store=racer.from_store,
            )

    def ranking(self, names: Sequence[str]) -> Ranking:
        """Rank the results of some candidates.

        Args:
            names: their names.
        """
        scores = {index: self._racers[name].scores for index, name in enumerate(names) if name in self._racers}
        return elimination.rank_race([self._results[name] for name in names], self._sort_by, scores, self._rules.top)

    def record(self) -> RaceResult:
        """The record of the race for the report."""
        n = len(self._job.left_out.target(self._job.target).labels)
        results = [self._results[name] for name in self._racers if name in self._results]
        results = [result for result in results if result.reason is None]
        return RaceResult(
            confidence=self._rules.confidence,
            top=self._rules.top,
            decided_by=self._decided_by,
            level=self._level,
            looks=tuple(self._num_examples(size) for size in self._sizes),
            num_examples_run=sum(n if result.num_examples is None else result.num_examples for result in results),
            num_examples_of_all=n * len(results),
            num_examples_of_heads=self._num_examples(sum(map(len, self._added[: self._num_common_looks()]))),
        )

    def _num_common_looks(self) -> int:
        """How many looks all candidates reached that did not fail."""
        results = {name: self._results.get(name) for name in self._racers}
        failed = {name for name, result in results.items() if result is not None and result.reason is not None}
        return min((len(racer.heads) for name, racer in self._racers.items() if name not in failed), default=0)

    def _remaining(self) -> list[Racer]:
        return [racer for racer in self._racers.values() if racer.step.name not in self._results]

    def _look(self, racer: Racer, subset: Job) -> Result | None:
        """Run a candidate's new rows and score it on all rows so far.

        Returns:
            The result of a candidate that lacks what the measure of the race needs: more rows are of no use to it.
        """
        whole = self._extend(racer, subset)
        look = len(racer.heads)
        extraction = self._job.left_out.rest(whole, self._job.target, self._positions(look))
        racer.left_out.append(self._left_out(look))
        names = tuple(dict.fromkeys((self._sort_by, self._decided_by)))
        if any(find(name).needs in extraction.missing for name in names):
            result = self._scored(extraction, self._job.measures)
            racer.heads.append(result.head_accuracy)
            return replace(result, num_examples=len(extraction.labels), from_store=racer.from_store)
        result = self._scored(extraction, names)
        racer.scores.append(result.scores)
        racer.untrained = result.candidate.untrained
        racer.heads.append(result.head_accuracy)
        if len(racer.scores) == 1:
            rows, half = np.sort(self._added[0]), np.sort(self._order[: -(-len(self._added[0]) // 2)])
            first_half = select(whole, self._job.select(rows).target, np.searchsorted(rows, half))
            first_half = self._job.left_out.rest(first_half, self._job.target, half)
            racer.first_half = self._scored(first_half, names[-1:]).scores[self._decided_by]
        return None

    def _rest(self, racer: Racer, look: int) -> Extraction:
        """A candidate's pass over all rows up to a look, without the bad ones."""
        added = self._added[: look + 1]
        whole = self._extend(racer, self._job.select(added[-1]), added)
        return self._job.left_out.rest(whole, self._job.target, self._positions(look))

    def _positions(self, look: int) -> Integers:
        """Positions of all rows up to a look."""
        return np.sort(np.concatenate(self._added[: look + 1]))

    def _left_out(self, look: int) -> list[int]:
        return [int(row) for row in np.intersect1d(self._positions(look), self._job.left_out.positions)]

    def _scored(self, extraction: Extraction, measures: Sequence[str]) -> Result:
        return scores.compute(extraction, measures, self._job.progress)

    def _head(self, step: Step, positions: Integers | None) -> Result:
        """A candidate's head on some rows, or on all of them."""
        self._job.left_out.check(step.candidate)
        fetch, advance = self._downloads.fetch(step), self._downloads.advance
        if positions is None:
            return self._job.result(step, fetch, advance)
        if self._job.is_stored(step):
            whole, _ = self._job.extraction(step, fetch, advance)
            extraction = select(whole, self._job.target, positions)
        else:
            extraction, _ = self._job.select(positions).extraction(step, fetch, advance)
        return self._scored(self._job.left_out.rest(extraction, self._job.target, positions), ())

    def _finish(self, racer: Racer, subset: Job) -> Result:
        """Run a candidate's remaining rows, and score it on all rows."""
        result = self._result_of_all_rows(racer, subset)
        racer.heads.append(result.head_accuracy)
        racer.left_out.append(self._job.left_out.positions.tolist())
        return result

    def _result_of_all_rows(self, racer: Racer, subset: Job) -> Result:
        if self._job.is_stored(racer.step):
            return self._job.result(racer.step, self._downloads.fetch(racer.step), self._downloads.advance)
        extraction = self._extend(racer, subset)
        subsets = [self._job.select(positions) for positions in self._added]
        self._job.replace_subsets(racer.step, extraction, subsets)
        return self._job.score(racer.step, extraction, racer.from_store)

    def _extend(self, racer: Racer, subset: Job, added: Sequence[Integers] | None = None) -> Extraction:
        """A candidate's pass over all rows so far; the rows of the latest look are run, unless they are stored."""
        added = self._added if added is None else added
        fetch, advance = self._downloads.fetch(racer.step), self._downloads.advance
        if self._job.is_stored(racer.step):
            whole, _ = self._job.extraction(racer.step, fetch, advance)
            return select(whole, self._job.target, np.sort(np.concatenate(added)))
        parts = []
        for look, positions in enumerate(added):
            latest = look == len(added) - 1
            extraction = racer.kept.get(look)
            if extraction is None:
                job = subset if latest else self._job.select(positions)
                extraction, from_store = job.extraction(racer.step, fetch, advance if latest else lambda _rows: None)
                racer.from_store &= from_store
                if not job.is_stored(racer.step):
                    racer.kept[look] = extraction
            parts.append((positions, extraction))
        return concatenate(parts, self._job.target)

    def _result_of_eliminated(self, racer: Racer, stop: Stop) -> Result:
        """Score and explain an eliminated candidate on the rows that it has run."""
        extraction = self._rest(racer, stop.look)
        result = self._scored(extraction, self._job.measures)
        target, left_out = self._job.target, self._job.left_out.positions
        kept = examples_of(target, np.setdiff1d(np.arange(len(target.row_ids)), left_out))
        own = examples_of(target, np.setdiff1d(self._positions(stop.look), left_out))
        examples = np.searchsorted(kept, own)
        return replace(
            result,
            num_examples=len(extraction.labels),
            stop=stop,
            from_store=racer.from_store,
            # No calibration: calibrations are compared with one another, and this one would be of fewer rows.
            interpretation=Interpretation(explanation=explain.interpret(extraction, examples).explanation),
        )

    def _stop(self, racer: Racer, result: Result, num_rows_left: int) -> None:
        """Record the result of a candidate that runs no more rows."""
        self._results[racer.step.name] = result
        if result.reason is not None:
            self._job.left_out.forget(racer.step.candidate)
        show = self._job.progress and self._job.processes.is_main
        note_result(len(self._racers) - len(self._remaining()), len(self._racers), result, show, self._job.flags)
        racer.left_out_of_all = self._job.left_out.positions.tolist()
        if not self._job.left_out.most:
            racer.kept.clear()
        self._downloads.advance(num_rows_left)
        self._downloads.done(racer.step)

    def _num_examples(self, size: int) -> int:
        rows = np.setdiff1d(self._order[:size], self._job.left_out.positions)
        return len(examples_of(self._job.target, rows))
