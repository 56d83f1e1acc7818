"""A call of `hf_leep.rank` or `hf_leep.plan`: checked, planned and carried out."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hf_leep import hub as hub_client
from hf_leep.data import DatasetLike
from hf_leep.errors import MeasureError, UserError, name_options, option
from hf_leep.inference.processes import Processes, num_launched
from hf_leep.measures import MEASURES, find
from hf_leep.options import Cluster, Execution, HubAccess, Race, Search, Selection, check_flag, check_text
from hf_leep.ranking import ordering, scoring
from hf_leep.ranking.elimination import RaceResult
from hf_leep.ranking.ordering import Ranking
from hf_leep.records import Result, Target
from hf_leep.runs import local, plan, ray_engine
from hf_leep.runs import race as racing
from hf_leep.runs.bars import progress_bar
from hf_leep.runs.config import RunConfig
from hf_leep.runs.interruptions import held
from hf_leep.runs.job import Job
from hf_leep.runs.launched import StartMessage
from hf_leep.runs.plan import CandidateLike, Plan, Step
from hf_leep.runs.supervisor import Worker, open_worker
from hf_leep.text import plain, with_article

_LOG = logging.getLogger("hf_leep")
_RECORDS = {"execution": Execution, "hub": HubAccess, "search": Search, "race": Race, "cluster": Cluster}


@dataclass(frozen=True)
class Call:
    """The arguments of a call of `rank` or `plan`, checked before anything is opened."""

    candidates: Sequence[CandidateLike]
    dataset: DatasetLike
    selection: Selection
    measures: str | Sequence[str]
    sort_by: str | None
    execution: Execution
    hub: HubAccess
    search: Search | None
    collection: str | None
    race: Race | None
    cluster: Cluster | None
    progress: bool
    command: Sequence[str] | None

    def __post_init__(self) -> None:
        """Check the arguments together; each record has checked itself.

        Raises:
            UserError: the call is wrong.
        """
        _check_candidates(self.candidates)
        check_text("sort_by", self.sort_by)
        check_text("collection", self.collection)
        check_flag("progress", self.progress)
        for name, record in _RECORDS.items():
            given = getattr(self, name)
            if given is not None and not isinstance(given, record):
                raise UserError(
                    f"{option(name)} is {with_article(type(given).__name__)}; give a hf_leep.{record.__name__}"
                )
        if not (self.candidates or self.search or self.collection):
            raise UserError(
                f"no candidates: name at least one checkpoint with {option('candidates')}, or find some with "
                f"{option('search.text')} or {option('collection')}"
            )
        if self.order not in (*self.chosen, scoring.AUTO):
            raise MeasureError(
                f"{option('sort_by')} is {self.order}, which is not among the {option('measures')} "
                f"{', '.join(self.chosen)}: add it to them"
            )
        if self.execution.jobs > 1 and self.race is not None:
            raise UserError(
                f"{option('race')} decides which rows are run next when all candidates have run the same: leave out "
                f"{option('execution.jobs')}"
            )
        if self.cluster is not None:
            if self.execution.jobs > 1:
                raise UserError(
                    f"{option('cluster')} runs as many candidates at a time as {option('cluster.resources')} lets it: "
                    f"leave out {option('execution.jobs')}"
                )
            ray_engine.check(self.hub)
            if self.selection.skip_bad_rows:
                raise UserError(
                    f"{option('skip_bad_rows')} compares what the passes of all candidates found, on one machine: "
                    f"leave it out with {option('cluster')}, or drop the bad rows first"
                )
            if self.race is not None:
                raise UserError(
                    f"{option('race')} decides on one machine which rows are run next: "
                    f"leave it out with {option('cluster')}"
                )
        if self.collection is not None:
            hub_client.check_collection(self.collection)
        for wanted, name in ((self.search, "search"), (self.collection, "collection")):
            if wanted is not None:
                self.config.client.require_online(option(name))

    @cached_property
    def chosen(self) -> tuple[str, ...]:
        """The names of the measures that were asked for.

        Raises:
            MeasureError: there is none, or one is unknown.
        """
        if not isinstance(self.measures, Iterable):
            raise MeasureError(f'{option("measures")} is {self.measures!r}; give names such as ["leep", "nce"]')
        names = self.measures.split(",") if isinstance(self.measures, str) else self.measures
        chosen = tuple(dict.fromkeys(find(name).name for name in names))
        if not chosen:
            raise MeasureError(f"no measures: choose from {', '.join(MEASURES)}")
        return chosen

    @cached_property
    def order(self) -> str:
        """The name of the measure that candidates are sorted by, or ``auto``.

        Raises:
            MeasureError: there is no such measure.
        """
        if self.sort_by == scoring.AUTO:
            return scoring.AUTO
        if not self.sort_by:
            return self.chosen[0]
        try:
            return find(self.sort_by).name
        except MeasureError as error:
            if not isinstance(self.sort_by, str):
                raise
            raise MeasureError(f"{error}, and for {option('sort_by')} also {scoring.AUTO}") from None

    @cached_property
    def config(self) -> RunConfig:
        """What every process of the run needs."""
        return RunConfig(self.dataset, self.selection, scoring.with_checks(self.chosen), self.execution, self.hub)

    def spelled(self, text: str | None) -> str | None:
        """A text with options named as the caller names them."""
        return None if text is None else name_options(text, flags=self.command is not None)


def processes_of(call: Call) -> Processes:
    """The processes of a run; a single one does not import torch for this."""
    if num_launched() == 1:
        return Processes()
    if call.cluster is not None:
        raise UserError(f"{option('cluster')} starts its own processes: run it without a launcher")
    if call.execution.jobs > 1:
        raise UserError(
            f"the processes of a launcher run one candidate at a time together: leave out {option('execution.jobs')}, "
            "or run without a launcher"
        )
    from hf_leep.inference import forward

    return Processes(forward.accelerator(call.execution.device))


def worker_of(call: Call) -> contextlib.AbstractContextManager[Worker | None]:
    """The worker of a run, as `hf_leep.runs.supervisor.open_worker` opens it; a cluster has devices of its own."""
    device = call.execution.device if call.cluster is None else None
    in_memory = all(isinstance(candidate, tuple) for candidate in call.candidates)
    needed = not in_memory or call.search is not None or call.collection is not None
    return open_worker(call.execution.timeout_seconds, device, at_once=needed)


def read_rows(call: Call, processes: Processes, worker: Worker | None) -> Job:
    """Read the rows, and let the other processes read the same ones."""
    several = len(call.candidates) != 1 or call.search is not None or call.collection is not None
    job = call.config.job(progress=call.progress, keep_rows=several, processes=processes, worker=worker)
    job = replace(job, flags=call.command is not None)
    processes.broadcast(StartMessage(job.target.revision, job.target.fingerprint))
    return job


def make_plan(call: Call, job: Job) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and the name of each candidate in the order of the call; one that has several names counts once."""
    listed: list[CandidateLike] = [*call.candidates]
    known = {_name(candidate) for candidate in listed}
    listed += [name for name in _found(call, job.target) if name not in known]
    by_name = {_name(candidate): candidate for candidate in listed}
    asked = job.measures if call.order != scoring.AUTO else (*job.measures, scoring.AUTO_MEASURE)
    with progress_bar(len(by_name), call.progress, "candidate", "looking at the candidates") as bar:
        made = plan.make(
            by_name,
            job.target,
            asked,
            job.client,
            stored=job.stored,
            isolation=job.isolation,
            memory=job.memory,
            max_download=call.hub.max_download_bytes,
            advance=bar.update,
        )
    steps = tuple(replace(step, reason=call.spelled(step.reason)) for step in _once(made.steps))
    for name, count in Counter(map(_name, call.candidates)).items():
        if count > 1:
            _LOG.warning("%s is named %d times: it is ranked once", plain(name), count)
    return replace(made, steps=steps), tuple(step.name for step in steps)


def _once(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps without those whose candidate, at the same revision, an earlier one has under another name."""
    first: dict[tuple[str, str | None], str] = {}
    for step in steps:
        if step.snapshot is not None:
            earlier = first.setdefault(step.snapshot.pinned, step.name)
            if earlier != step.name:
                _LOG.warning("%s is the same candidate as %s: it is ranked once", plain(step.name), plain(earlier))
                continue
        yield step


def _found(call: Call, target: Target) -> list[str]:
    """The candidates that the collection and the search find on the Hub."""
    found: list[str] = []
    if call.collection is not None:
        found += hub_client.collection(call.collection, call.config.client)
    if call.search is not None:
        found += hub_client.search(replace(call.search, task=call.search.task or target.task), call.config.client)
    return found


def carry_out(
    call: Call, job: Job, planned: Plan, names: Sequence[str], order: str
) -> tuple[list[Result], Ranking, RaceResult | None]:
    """Carry out a plan: the result of each name, their ranking, and how the race went if it was one."""
    limits = (call.hub.max_download_bytes, call.hub.prefetch, call.hub.evict, call.progress)
    if call.race is not None:
        scored, race = racing.carry_out(planned, job, call.race, order, *limits)
        with held():
            return [scored[name] for name in names], race.ranking(names), race.record()
    if call.cluster is not None:
        config = replace(call.config, measures=job.measures).at(job.target.revision)
        scored = ray_engine.carry_out(planned, job, config, call.cluster, call.progress)
    else:
        scored = local.carry_out(planned, job, *limits, jobs=call.execution.jobs)
    results = [scored[name] for name in names]
    with held():
        return results, ordering.rank(results, order), None


def _check_candidates(candidates: Sequence[CandidateLike]) -> None:
    """Raise unless each candidate has a form that can be used and a name of its own.

    Raises:
        UserError: one does not.
    """
    if isinstance(candidates, str | Path):
        raise UserError("candidates is one name; give a list of them")
    if not isinstance(candidates, Sequence):
        raise UserError(f"candidates is {candidates!r:.60}; give a list of names, folders or (name, model, processor)")
    by_name: dict[str, CandidateLike] = {}
    for candidate in candidates:
        if not isinstance(candidate, str | Path | tuple):
            raise UserError(
                f"a candidate is a name, a folder or (name, model, processor), got {type(candidate).__name__}"
            )
        if not _name(candidate).strip():
            raise UserError("a candidate has no name: give a repository id or a folder")
        if isinstance(candidate, tuple) and len(candidate) != 3:
            raise UserError(f"a candidate in memory is (name, model, processor), got {len(candidate)} values")
        known = by_name.setdefault(_name(candidate), candidate)
        if (isinstance(candidate, tuple) or isinstance(known, tuple)) and known is not candidate:
            raise UserError(f"two candidates are called {_name(candidate)!r}: give each model in memory its own name")


def _name(candidate: CandidateLike) -> str:
    return str(candidate[0] if isinstance(candidate, tuple) else candidate)
