"""Rank checkpoints for a data set, or plan to: the functions that put all the other modules together."""

from __future__ import annotations

import contextlib
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from hf_leep import data
from hf_leep import hub as hub_client
from hf_leep.data import DatasetLike
from hf_leep.errors import CandidateError, ProcessError, UserError, WorkerError, name_options
from hf_leep.inference.processes import Processes, num_launched
from hf_leep.measures.measure import Certificate
from hf_leep.options import Cluster, Execution, HubAccess, Race, Search, Selection, check_flag
from hf_leep.ranking import scoring
from hf_leep.records import Candidate, Extraction, Target
from hf_leep.report import Report
from hf_leep.report.builder import contents
from hf_leep.report.thumbnails import shown_rows
from hf_leep.runs.call import Call, carry_out, make_plan, processes_of, read_rows, worker_of
from hf_leep.runs.interruptions import held
from hf_leep.runs.job import Job
from hf_leep.runs.launched import run_shares
from hf_leep.runs.plan import CandidateLike, Plan, Step
from hf_leep.runs.supervisor import Worker
from hf_leep.selfcheck.certificate import certified_meanwhile
from hf_leep.store import Store

DEFAULT_MEASURES = ("leep", "leave-one-out-leep", "nce")
_LOG = logging.getLogger("hf_leep")
_VERSIONS = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy", "scipy")


def rank(
    candidates: Sequence[CandidateLike],
    dataset: DatasetLike,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    input: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    sort_by: str | None = None,
    max_samples: int | None = None,
    streaming: bool = False,
    seed: int = 0,
    skip_bad_rows: int = 0,
    execution: Execution | None = None,
    hub: HubAccess | None = None,
    search: Search | None = None,
    collection: str | None = None,
    race: Race | None = None,
    cluster: Cluster | None = None,
    on_plan: Callable[[Plan], object] = lambda _plan: None,
    thumbnails: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Report:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training.

    Before any weights are downloaded, every candidate is pinned to a commit, and its configuration and the shapes of
    its weights show whether it has a usable head.

    A candidate that cannot be loaded, run or scored becomes a row of the report with its reason; the others go on. An
    interruption keeps what is finished. Passes that an earlier run finished are taken from the store.

    When several processes are started (torchrun, accelerate launch), they share each pass: every process calls this
    function with the same arguments and gets the report. The scores do not depend on the number of processes.

    Args:
        candidates: local folders, repository ids on the Hub (``id@revision`` to pin one), or models in memory as
            ``(name, model, processor)``.
        dataset: a ``datasets.Dataset`` or ``DatasetDict``, a Hub id, a file, a folder, or a ``save_to_disk`` folder;
            with ``max_samples`` also an ``IterableDataset`` or ``IterableDatasetDict``.
        config: configuration of the data set.
        split: split, or a slice such as ``train[:20%]``; never the rows that the chosen model is evaluated on later.
        revision: revision of a data set on the Hub.
        label: label column; inferred if there is no doubt.
        input: input column, or two text columns for pairs; inferred if there is no doubt.
        measures: keys of `hf_leep.measures.MEASURES`.
        sort_by: the measure that candidates are sorted by; by default the first of ``measures``. With ``auto``
            it is the left-out log-likelihood of a linear head on each candidate's features, or, of a candidate without
            features, leave-one-out LEEP.
        max_samples: size of a stratified sample; all rows by default. If words are labelled, it counts sentences,
            which are drawn at random.
        streaming: read a sample of ``max_samples`` rows from the Hub instead of the whole data set; the sample is
            seeded, but not stratified.
        seed: seed of the sample.
        skip_bad_rows: leave out up to so many rows that cannot be read or processed, the same for all candidates; the
            report lists them.
        execution: batch size, device, number type, compilation and use of the store.
        hub: token, cache folder, pickled weights, download limit, prefetching and removal of downloads.
        search: add the candidates that a search on the Hub finds. Its default task is the one that fits the data set.
        collection: add the models of a collection on the Hub, ``owner/title-id``.
        race: run candidates on growing nested samples, and stop those that are clearly behind early.
        cluster: run each candidate as a task of a Ray cluster (the extra ``ray``).
        on_plan: called with the plan before it is carried out.
        thumbnails: keep a small picture of each candidate's hardest rows, for report.html; of images only. They are
            pushed only if that is asked for.
        progress: show progress bars on stderr (HF_HUB_DISABLE_PROGRESS_BARS hides them, too).
        command: the command line that made this call. The report shows it, and its messages use the flags of the
            command line.

    Returns:
        The report, with a row for each candidate.

    Raises:
        UserError: the call or the data set was wrong; nothing has been run.
        KeyboardInterrupt: the run was interrupted before any candidate was finished.
    """
    started = time.perf_counter()
    check_flag("thumbnails", thumbnails)
    call = Call(
        candidates=candidates,
        dataset=dataset,
        selection=Selection(
            config=config,
            split=split,
            revision=revision,
            label=label,
            inputs=input,
            max_samples=max_samples,
            streaming=streaming,
            seed=seed,
            skip_bad_rows=skip_bad_rows,
        ),
        measures=measures,
        sort_by=sort_by,
        execution=execution or Execution(),
        hub=hub or HubAccess(),
        search=search,
        collection=collection,
        race=race,
        cluster=cluster,
        progress=progress,
        command=command,
    )
    processes = processes_of(call)
    if not processes.is_main:
        return run_shares(processes, call.config, {c[0]: c for c in candidates if isinstance(c, tuple)})
    report: Report | None = None
    try:
        with worker_of(call) as worker:
            job = read_rows(call, processes, worker)
            # Planning waits for the worker to import its libraries, which takes about as long as the checks.
            with certified_meanwhile((*_measures(call)[1], scoring.HEAD_MEASURE), job.store) as certificate:
                planned, names = make_plan(call, job)
                on_plan(planned)
                checked = certificate()
            report = _ranked(call, job, planned, names, checked, started)
            if thumbnails:
                report = _with_thumbnails(report, job)
        return report
    finally:
        hub_client.say_waited()
        with contextlib.suppress(ProcessError):  # a process that has died needs no report
            processes.broadcast(report)


def plan(
    candidates: Sequence[CandidateLike],
    dataset: DatasetLike,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    input: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    sort_by: str | None = None,
    max_samples: int | None = None,
    streaming: bool = False,
    seed: int = 0,
    skip_bad_rows: int = 0,
    execution: Execution | None = None,
    hub: HubAccess | None = None,
    search: Search | None = None,
    collection: str | None = None,
    race: Race | None = None,
    cluster: Cluster | None = None,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Plan:
    """Find out what `rank` would do with the same arguments, without downloading any weights.

    Args:
        candidates: all arguments are those of `rank`.
        dataset: data set.
        config: configuration of the data set.
        split: split, or a slice of one.
        revision: revision of a data set on the Hub.
        label: label column.
        input: input column, or two text columns for pairs.
        measures: keys of `hf_leep.measures.MEASURES`.
        sort_by: the measure that candidates are sorted by.
        max_samples: size of the sample.
        streaming: read a sample alone.
        seed: seed of the sample.
        skip_bad_rows: number of rows that may be left out.
        execution: batch size, device, number type, compilation and use of the store.
        hub: token, cache folder, pickled weights, download limit, prefetching and removal of downloads.
        search: add the candidates that a search on the Hub finds.
        collection: add the models of a collection on the Hub.
        race: checked, but without effect on the plan.
        cluster: checked, but without effect on the plan.
        progress: show a progress bar on stderr.
        command: the command line that made this call. The messages of the plan use the flags of the command line.

    Returns:
        For each candidate whether it would be run, taken from the store, or skipped and why; and the downloads.

    Raises:
        UserError: the call or the data set was wrong.
    """
    call = Call(
        candidates=candidates,
        dataset=dataset,
        selection=Selection(
            config=config,
            split=split,
            revision=revision,
            label=label,
            inputs=input,
            max_samples=max_samples,
            streaming=streaming,
            seed=seed,
            skip_bad_rows=skip_bad_rows,
        ),
        measures=measures,
        sort_by=sort_by,
        execution=execution or Execution(),
        hub=hub or HubAccess(),
        search=search,
        collection=collection,
        race=race,
        cluster=cluster,
        progress=progress,
        command=command,
    )
    if num_launched() > 1:
        raise UserError("a plan runs nothing: make it in one process, without a launcher")
    try:
        with worker_of(call) as worker:
            return make_plan(call, read_rows(call, Processes(), worker))[0]
    finally:
        hub_client.say_waited()


def extract(
    candidate: CandidateLike,
    target: Target,
    rows: data.Rows,
    *,
    execution: Execution | None = None,
    hub: HubAccess | None = None,
    advance: Callable[[int], object] = lambda _rows: None,
    worker: Worker | None = None,
) -> Extraction:
    """Run one candidate on the rows of a target, or take its pass from the store.

    Args:
        candidate: folder, repository id, or ``(name, model, processor)``.
        target: the target, as `hf_leep.data.load` returns it.
        rows: its rows.
        execution: batch size, device, number type, compilation and use of the store.
        hub: token, cache folder and pickled weights.
        advance: called with the number of rows after each batch.
        worker: where the candidate is loaded and run, if not in this process.

    Raises:
        CandidateError: the candidate cannot be resolved, loaded or run.
        TargetError: a row cannot be decoded.
    """
    how = execution or Execution()
    store = Store(Store.default_root() if how.cache else None)
    access = hub or HubAccess()
    cache_dir = Path(access.cache_dir) if access.cache_dir else None
    client = hub_client.Client(access.token, cache_dir, access.allow_pickle, store.file_digest)
    job = Job(
        target,
        replace(rows, reduced=how.fast_decode),
        (),
        store,
        client,
        batch_size=how.batch_size,
        device=how.device,
        dtype=how.dtype,
        compiled=how.compile,
        workers=how.workers,
        retry=how.retry,
        timeout=how.timeout_seconds,
        worker=worker,
    )
    if isinstance(candidate, tuple):
        step = Step(candidate[0], Candidate(candidate[0]), model=candidate)
    else:
        snapshot = hub_client.resolve(str(candidate), client)
        step = Step(str(candidate), snapshot.candidate, snapshot=snapshot)
        if (refusal := job.memory.refusal(snapshot)) is not None and not job.is_stored(step):
            raise CandidateError(refusal)
    fetch = partial(hub_client.fetch_within, client=client, timeout=job.timeout)
    with job.memory.running(step.snapshot):
        return job.extraction(step, fetch, advance)[0]


def read_names(path: Path) -> list[str]:
    """Read candidates from a text file: one per line; blank lines and whatever follows a ``#`` are ignored.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise UserError(f"cannot read the list of candidates {path} ({reason})") from None
    return [name for line in lines if (name := line.split("#")[0].strip())]


def _with_thumbnails(report: Report, job: Job) -> Report:
    """A report with small pictures of the rows that it shows; without any, and a warning, where there can be none."""
    rows = shown_rows(report.data)
    if not rows:
        images = report.data["target"]["modality"] == "image"
        why = (
            "no candidate has an explanation"
            if images
            else f"the rows are {report.data['target']['unit']}, not images"
        )
        _LOG.warning("no thumbnails were made: %s", why)
        return report
    try:
        with held():
            return replace(report, thumbnails=job.isolation.thumbnails(rows))
    except (WorkerError, ProcessError) as error:
        _LOG.warning("no thumbnails were made: %s", error)
        return report


def _measures(call: Call) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The measures that are reported, those that are computed, and the one that candidates are sorted by."""
    measures, order = call.chosen, call.order
    if order == scoring.AUTO:
        measures, order = scoring.auto_measures(measures)
    return measures, scoring.with_checks(measures), order


def _ranked(call: Call, job: Job, planned: Plan, names: Sequence[str], checked: Certificate, started: float) -> Report:
    """Run the candidates of a plan and report on them; ``started`` is a time of ``time.perf_counter``."""
    measures, computed, order = _measures(call)
    job = replace(job, measures=computed)
    results, ranking, race = carry_out(call, job, planned, names, order)
    target = job.left_out.target(job.target)
    warnings = tuple(name_options(text, flags=call.command is not None) for text in target.warnings)
    with held():
        return Report(
            contents(
                replace(target, warnings=warnings),
                [replace(result, reason=call.spelled(result.reason)) for result in results],
                ranking,
                measures=measures,
                race=race,
                certificate=checked,
                num_headless=planned.num_headless if call.order == scoring.AUTO else None,
                versions={"python": platform.python_version(), **{n: version(n) for n in ("hf-leep", *_VERSIONS)}},
                command=call.command,
                seconds=time.perf_counter() - started,
            )
        )
