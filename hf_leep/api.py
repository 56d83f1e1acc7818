"""Compose the ring: data set and candidates in, report out."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

from hf_leep import data, hub
from hf_leep.errors import MeasureError, ProcessError, UserError
from hf_leep.inference.processes import Processes, launched
from hf_leep.measures import MEASURES, find
from hf_leep.ranking import ordering, scoring
from hf_leep.ranking.elimination import RaceRules
from hf_leep.records import Extraction, Target
from hf_leep.report import Report
from hf_leep.report.builder import contents
from hf_leep.runs import plan, ray_engine
from hf_leep.runs import race as racing
from hf_leep.runs.config import RunConfig
from hf_leep.runs.job import Job
from hf_leep.runs.launched import StartMessage, follow
from hf_leep.runs.local import carry_out, progress_bar
from hf_leep.runs.plan import CandidateLike, Plan
from hf_leep.selfcheck.certificate import certificate
from hf_leep.store import Store

DEFAULT_MEASURES = ("leep", "leave-one-out-leep", "nce")
_DEVICES = ("cpu", "cuda", "mps")
_ENGINES = ("local", "ray")
DTYPES = ("float32", "bfloat16", "float16")
_VERSIONS = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy", "scipy")


@overload
def rank(
    candidates: Sequence[CandidateLike], dataset: Any, *, dry_run: Literal[False] = ..., **options: Any
) -> Report: ...


@overload
def rank(candidates: Sequence[CandidateLike], dataset: Any, *, dry_run: Literal[True], **options: Any) -> Plan: ...


def rank(  # type: ignore[misc]  # mypy would have all options spelled out in each overload
    candidates: Sequence[CandidateLike],
    dataset: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    label: str | None = None,
    input: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
    measures: Sequence[str] = DEFAULT_MEASURES,
    sort_by: str | None = None,
    max_samples: int | None = None,
    streaming: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str = "float32",
    compile: bool = False,  # noqa: A002 - the option's name
    engine: str = "local",
    resources: str | None = None,
    ray_address: str | None = None,
    cache: bool = True,
    race: bool = False,
    confidence: float | None = None,
    top: int | None = None,
    search: hub.Search | None = None,
    collection: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    allow_pickle: bool = False,
    max_download: str | int | None = None,
    prefetch: int = 1,
    evict: bool = False,
    dry_run: bool = False,
    on_plan: Callable[[Plan], object] = lambda _plan: None,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Report | Plan:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training.

    Before any weights are downloaded, every candidate is pinned to a commit, and its head is judged by its
    configuration and the shapes of its weights.

    A candidate that cannot be loaded, run or scored becomes a row of the report with its reason; the others go on.
    Interrupting keeps what is finished, if anything is. A pass that an earlier run finished is taken from the store.

    Started as several processes (torchrun, accelerate launch), each pass is shared among them; every process calls
    this with the same arguments, and gets the report. The scores do not depend on how many there are.

    Args:
        candidates: local folders, repo ids on the Hub (``id@revision`` to pin one), or models in memory as
            ``(name, model, processor)``.
        dataset: a ``datasets.Dataset`` or ``DatasetDict``, a Hub id, a file, a folder, or a ``save_to_disk`` folder;
            with ``max_samples`` also an ``IterableDataset`` or ``IterableDatasetDict``.
        config: configuration of the data set.
        split: split, slices such as ``train[:20%]`` included; never rows that the chosen model is judged on later.
        revision: revision of a data set on the Hub.
        label: label column; inferred where it is clear.
        input: input column, or two text columns for pairs; inferred where it is clear.
        measures: keys of `hf_leep.measures.MEASURES`.
        sort_by: the measure that makes the order, the first of ``measures`` by default; ``auto`` takes a measure of
            features in its place where it needs a head that some candidates lack.
        max_samples: size of a stratified sample, all rows by default; of data whose words are labelled, how many
            sentences, drawn at random.
        streaming: read a sample of ``max_samples`` rows from the Hub instead of the whole data set: seeded, not
            stratified.
        seed: seed of the sample.
        batch_size: rows a batch; chosen by timing the first batches by default, and halved where memory runs out.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type to compute in where that is safe (autocast): ``float32``, ``bfloat16`` or ``float16``.
        compile: compile each model first (torch.compile): worth its time on many rows.
        engine: ``local``, or ``ray``: each candidate a task of a Ray cluster (the extra ``ray``).
        resources: with ``ray``, what a candidate takes, such as ``cpus=2,gpus=1,memory=8GB``; by default one CPU, one
            GPU where the cluster has any, and memory by the size of its weights.
        ray_address: the cluster; by default that of RAY_ADDRESS, else one is started on this machine.
        cache: keep finished passes and scores in the store (``<HF_HOME>/hf_leep``), and use those that are there.
        race: run candidates on growing nested samples, and stop clear losers early.
        confidence: with ``race``, the probability that none of the truly best candidates is stopped; 0.95 by default.
        top: with ``race``, how many best ones are sought; 1 by default.
        search: further candidates: what a search on the Hub finds; its task is that of the data set's modality unless
            it names one.
        collection: further candidates: the models of a collection on the Hub, ``owner/title-id``.
        token: token for the Hub; by default the one of HF_TOKEN or ``hf auth login``, where there is one.
        cache_dir: where downloaded checkpoints are kept; the Hugging Face cache by default.
        allow_pickle: accept pickled weights where there are no safetensors; only tensors are read from them.
        max_download: what may be downloaded in all, in bytes or as in ``20GB``; candidates beyond it are skipped.
        prefetch: how many of the next candidates are downloaded while one runs.
        evict: remove each checkpoint that this run downloaded once it is scored.
        dry_run: stop before the weights are downloaded, and return the plan.
        on_plan: called with the plan before it is carried out.
        progress: show a bar on stderr (HF_HUB_DISABLE_PROGRESS_BARS silences it too).
        command: the command line that led here, for the report.

    Raises:
        UserError: the call or the target was wrong; nothing has been run.
        KeyboardInterrupt: it was interrupted before any candidate was finished.
    """
    started = time.perf_counter()
    chosen, sort_by = _checked(candidates, measures, sort_by, seed, batch_size, device, dtype)
    budget = hub.parse_size(max_download, "--max-download") if max_download is not None else None
    if engine not in _ENGINES:
        raise UserError(f"unknown --engine {engine!r}: {', '.join(_ENGINES)}")
    if engine == "ray":
        wanted_resources = ray_engine.check(resources, token)
        if evict:
            raise UserError("--evict removes what one machine downloaded: leave it out with --engine ray")
        if race:
            raise UserError("--race decides here which rows come next: leave it out with --engine ray")
    elif resources is not None or ray_address is not None:
        raise UserError("--resources and --ray-address are about a cluster: add --engine ray")
    if prefetch < 0:
        raise UserError(f"--prefetch is {prefetch}; it must be 0 or more")
    rules = _rules(race, confidence, top)
    if search is None and collection is None:
        _named(candidates)
    recipe = RunConfig(
        dataset,
        {
            "config": config,
            "split": split,
            "revision": revision,
            "label": label,
            "inputs": input,
            "max_samples": max_samples,
            "streaming": streaming,
            "seed": seed,
        },
        scoring.with_checks(chosen),
        {"batch_size": batch_size, "device": device, "dtype": dtype, "compiled": compile},
        cache,
        token,
        Path(cache_dir) if cache_dir else None,
        allow_pickle,
    )
    for wanted, option in ((search, "--search"), (collection, "--collection")):
        if wanted is not None:
            recipe.client.require_online(option)
    team = _team(device, dry_run, engine)
    if not team.is_main:
        return follow(team, recipe, {_name(c): c for c in candidates if isinstance(c, tuple)})
    report: Report | None = None
    try:
        job = recipe.job(progress=progress, shared=len(candidates) != 1 or bool(search or collection), team=team)
        target = job.target
        team.tell(StartMessage(target.revision, target.fingerprint))
        known = {_name(candidate) for candidate in candidates}
        found = _found(search, collection, target, recipe.client)
        listed = [*candidates, *(candidate for candidate in found if str(candidate) not in known)]
        named = _named(listed)
        with progress_bar(len(named), progress, "candidate", "looking at the candidates") as bar:
            asked = job.measures if sort_by != scoring.AUTO else (*job.measures, scoring.FEATURE_MEASURE)
            planned = plan.make(
                named, target, asked, job.client, stored=job.stored, max_download=budget, advance=bar.update
            )
        if dry_run:
            return planned
        on_plan(planned)
        auto = sort_by == scoring.AUTO
        if auto:
            chosen, sort_by = scoring.auto_measures(chosen, planned.num_headless)
            job = replace(job, measures=scoring.with_checks(chosen))
            recipe = replace(recipe, measures=job.measures)
        course: racing.RunningRace | None = None
        if engine == "ray":
            scored = ray_engine.carry_out(
                planned, job, recipe.at(target.revision), wanted_resources, ray_address, progress
            )
        elif rules is not None:
            scored, course = racing.carry_out(planned, job, rules, sort_by, budget, prefetch, evict, progress)
        else:
            scored = carry_out(planned, job, budget, prefetch, evict, progress)
        names = [_name(candidate) for candidate in listed]
        results = [scored[name] for name in names]
        report = Report(
            contents(
                target,
                results,
                course.ranking(names) if course else ordering.rank(results, sort_by),
                measures=chosen,
                race=course.record() if course else None,
                certificate=certificate(job.measures, job.store),
                num_headless=planned.num_headless if auto else None,
                versions={
                    "python": platform.python_version(),
                    **{n: version(n) for n in ("hf-leep", *_VERSIONS)},
                },
                command=command,
                seconds=time.perf_counter() - started,
            )
        )
        return report
    finally:
        with contextlib.suppress(ProcessError):  # one that is gone needs no news
            team.tell(report)


def extract(
    candidate: CandidateLike,
    target: Target,
    rows: data.Rows,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str = "float32",
    cache: bool = True,
    advance: Callable[[int], object] = lambda _rows: None,
) -> Extraction:
    """Run one candidate over the target's rows, or take its pass from the store.

    Args:
        candidate: folder, repo id, or ``(name, model, processor)``.
        target: the target, as `hf_leep.data.load` gives it.
        rows: its rows.
        batch_size: rows a batch; chosen by timing the first batches by default, and halved where memory runs out.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type to compute in where that is safe (autocast).
        cache: use the store.
        advance: called with the number of rows after each batch.

    Raises:
        CandidateError: the candidate cannot be resolved, loaded or run.
        TargetError: a row cannot be decoded.
    """
    store = Store(Store.default_root() if cache else None)
    client = hub.Client(digest=store.file_digest)
    job = Job(target, rows, (), store, client, batch_size=batch_size, device=device, dtype=dtype)
    if isinstance(candidate, tuple):
        return job.in_memory(candidate, advance)
    return job.extraction(hub.resolve(str(candidate), client), advance)


def read_names(path: Path) -> list[str]:
    """Read candidates from a text file: one a line, blank lines and what follows a ``#`` left out.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list of candidates {path}: {error}") from None
    return [name for line in lines if (name := line.split("#")[0].strip())]


def _team(device: str | None, dry_run: bool, engine: str) -> Processes:
    """The processes of this run; torch is not needed for one."""
    if launched() == 1:
        return Processes()
    if dry_run:
        raise UserError("a dry run runs nothing: start it as one process")
    if engine != "local":
        raise UserError(f"--engine {engine} starts its own processes: run it without a launcher")
    from hf_leep.inference import forward

    return Processes(forward.accelerator(device))


def _found(
    search: hub.Search | None, collection: str | None, target: Target, client: hub.Client
) -> list[CandidateLike]:
    """The candidates that the Hub is asked for."""
    found: list[CandidateLike] = []
    if collection is not None:
        found += hub.collection(collection, client)
    if search is not None:
        found += hub.search(replace(search, task=search.task or target.task), client)
    return found


def _checked(
    candidates: Sequence[CandidateLike],
    measures: Sequence[str],
    sort_by: str | None,
    seed: int,
    batch_size: int | None,
    device: str | None,
    dtype: str,
) -> tuple[tuple[str, ...], str]:
    """Check what can be checked before anything is opened; the measures and the one that makes the order."""
    if isinstance(candidates, str | Path):
        raise UserError("candidates is one name; give a list of them")
    for candidate in candidates:
        if not isinstance(candidate, str | Path | tuple):
            raise UserError(
                f"a candidate is a name, a folder or (name, model, processor), got {type(candidate).__name__}"
            )
        if isinstance(candidate, tuple) and len(candidate) != 3:
            raise UserError(f"a candidate in memory is (name, model, processor), got {len(candidate)} things")
    if isinstance(measures, str):
        measures = measures.split(",")
    chosen = tuple(dict.fromkeys(find(name).name for name in measures))
    if not chosen:
        raise MeasureError(f"no measures: choose from {', '.join(MEASURES)}")
    order = sort_by if sort_by == scoring.AUTO else find(sort_by).name if sort_by else chosen[0]
    if order not in (*chosen, scoring.AUTO):
        raise MeasureError(
            f"--sort-by is {order}, which is not among the --measures {', '.join(chosen)}: add it to them"
        )
    if seed < 0:
        raise UserError(f"--seed is {seed}; it must be 0 or more")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}; it must be at least 1")
    if device is not None and device not in _DEVICES:
        raise UserError(f"unknown --device {device!r}: {', '.join(_DEVICES)}; leave it out for the best at hand")
    if dtype not in DTYPES:
        raise UserError(f"unknown --dtype {dtype!r}: {', '.join(DTYPES)}")
    return chosen, order


def _rules(race: bool, confidence: float | None, top: int | None) -> RaceRules | None:
    """How a race is decided; None without one."""
    if not race:
        if confidence is not None or top is not None:
            raise UserError("--confidence and --top are about a race: add --race")
        return None
    rules = RaceRules(0.95 if confidence is None else confidence, 1 if top is None else top)
    if not 0.5 <= rules.confidence < 1:
        raise UserError(f"--confidence is {rules.confidence}; it must be at least 0.5 and below 1, such as 0.95")
    if rules.top < 1:
        raise UserError(f"--top is {rules.top}; a race looks for at least 1 best candidate")
    return rules


def _named(candidates: Sequence[CandidateLike]) -> dict[str, CandidateLike]:
    """Name → candidate, without repeats."""
    named: dict[str, CandidateLike] = {}
    for candidate in candidates:
        known = named.setdefault(_name(candidate), candidate)
        if (isinstance(candidate, tuple) or isinstance(known, tuple)) and known is not candidate:
            raise UserError(f"two candidates are called {_name(candidate)!r}: give each model in memory its own name")
    if not named:
        raise UserError("no candidates: name at least one checkpoint")
    return named


def _name(candidate: CandidateLike) -> str:
    return str(candidate[0] if isinstance(candidate, tuple) else candidate)
