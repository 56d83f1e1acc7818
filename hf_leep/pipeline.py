"""Compose the ring: data set and candidates in, report out."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from hf_leep import __version__, data, hub, plan, ranking
from hf_leep.card.text import plain
from hf_leep.errors import CandidateError, MeasureError, UserError
from hf_leep.measures import MEASURES, SCORE_VERSION, find
from hf_leep.plan import CandidateLike, Plan, Step
from hf_leep.records import PASS_VERSION, Candidate, Extraction, Result, Run, Score, Target
from hf_leep.report import Report
from hf_leep.store import Store

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_leep.forward import Feed

DEFAULT_MEASURES = ("leep", "leave-one-out-leep", "nce")
_DEVICES = ("cpu", "cuda", "mps")
_DTYPES = ("float32", "bfloat16", "float16")
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
    cache: bool = True,
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
    Interrupting keeps what is finished. A pass that an earlier run finished is taken from the store.

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
        sort_by: the measure that makes the order, the first of ``measures`` by default.
        max_samples: size of a stratified sample, all rows by default; of data whose words are labelled, how many
            sentences, drawn at random.
        streaming: read a sample of ``max_samples`` rows from the Hub instead of the whole data set: seeded, not
            stratified.
        seed: seed of the sample.
        batch_size: rows a batch; chosen by timing the first batches by default, and halved where memory runs out.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type to compute in where that is safe (autocast): ``float32``, ``bfloat16`` or ``float16``.
        cache: keep finished passes and scores in the store (``<HF_HOME>/hf_leep``), and use those that are there.
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
    """
    started = time.perf_counter()
    chosen, sort_by = _checked(candidates, measures, sort_by, seed, batch_size, device, dtype)
    budget = hub.parse_size(max_download, "max_download") if max_download is not None else None
    if prefetch < 0:
        raise UserError(f"prefetch is {prefetch}; it must be 0 or more")
    if search is None and collection is None:
        _named(candidates)
    store = Store(Store.default_root() if cache else None)
    client = hub.Client(token, Path(cache_dir) if cache_dir else None, allow_pickle, store.file_digest)
    for wanted, option in ((search, "--search"), (collection, "--collection")):
        if wanted is not None:
            client.require_online(option)
    target, rows = data.load(
        dataset,
        config=config,
        split=split,
        revision=revision,
        label=label,
        inputs=input,
        max_samples=max_samples,
        streaming=streaming,
        seed=seed,
        progress=progress,
        pin=partial(hub.pin_dataset, client=client),
        token=client.token,
    )
    known = {_name(candidate) for candidate in candidates}
    listed = [*candidates, *(c for c in _found(search, collection, target, client) if str(c) not in known)]
    named = _named(listed)
    job = _Job(
        target=target,
        rows=rows,
        measures=ranking.with_checks(chosen),
        store=store,
        client=client,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        shared=len(named) > 1,
    )
    with _bar(len(named), progress, "candidate", "looking at the candidates") as bar:
        planned = plan.make(
            named, target, job.measures, client, stored=job.stored, max_download=budget, advance=bar.update
        )
    if dry_run:
        return planned
    on_plan(planned)
    scored = _carried_out(planned, job, budget, prefetch, evict, progress)
    names = [_name(candidate) for candidate in listed]
    results = [scored.get(name, Result(Candidate(name), reason="not run: interrupted")) for name in names]
    return Report.build(
        target,
        results,
        ranking.rank(results, sort_by),
        measures=chosen,
        versions={"python": platform.python_version(), "hf-leep": __version__, **{n: version(n) for n in _VERSIONS}},
        command=command,
        seconds=time.perf_counter() - started,
    )


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
    job = _Job(target, rows, (), store, client, batch_size=batch_size, device=device, dtype=dtype)
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


def _found(
    search: hub.Search | None, collection: str | None, target: Target, client: hub.Client
) -> list[CandidateLike]:
    """The candidates that the Hub is asked for."""
    found: list[CandidateLike] = []
    if collection is not None:
        found += hub.collection(collection, client)
    if search is not None:
        from hf_leep.modalities import ADAPTERS

        found += hub.search(replace(search, task=search.task or ADAPTERS[target.modality].task), client)
    return found


def _carried_out(
    planned: Plan, job: _Job, budget: int | None, prefetch: int, evict: bool, progress: bool
) -> dict[str, Result]:
    """Do what was planned: name → result; those that an interruption left out are missing."""
    scored: dict[str, Result] = {}
    needed = [step for step in planned.steps if step.snapshot and step.reason is None and not step.stored]
    users = Counter(step.snapshot.place for step in planned.steps if step.snapshot and step.reason is None)
    running = sum(step.reason is None for step in planned.steps)
    left = None if budget is None else budget - planned.download_bytes

    def unplanned(snapshot: hub.Snapshot) -> Path:
        """Bring a checkpoint whose pass was thought to be in the store, and turned out damaged."""
        nonlocal left
        if left is not None and snapshot.download_bytes > left:
            raise CandidateError("its stored pass is damaged, and the budget does not hold its download: run it again")
        left = None if left is None else left - snapshot.download_bytes
        return hub.fetch(snapshot, job.client)

    with (
        _bar(running * len(job.rows), progress, "row") as bar,
        _bar(planned.download_bytes, progress and planned.download_bytes > 0, "B", "downloaded") as bytes_bar,
        hub.Prefetcher([s.snapshot for s in needed if s.snapshot], job.client, prefetch, bytes_bar.update) as arriving,
    ):
        try:
            for step in planned.steps:
                if step.reason is not None:
                    scored[step.name] = Result(step.candidate, reason=step.reason, headless=step.headless)
                    continue
                bar.set_description(plain(Path(step.name).name[-30:]))
                before = bar.n
                try:
                    scored[step.name] = job.result(step, unplanned if step.stored else arriving.take, bar.update)
                except UserError:
                    raise
                except Exception as error:  # one bad candidate never stops the others, whatever it raises
                    scored[step.name] = Result(step.candidate, reason=plan.reason_of(error))
                bar.update(before + len(job.rows) - bar.n)
                if step.snapshot:
                    users[step.snapshot.place] -= 1
                    if evict and not users[step.snapshot.place]:
                        with contextlib.suppress(Exception):  # what cannot be removed stays; the scores matter more
                            hub.evict(step.snapshot, job.client)
        except KeyboardInterrupt:
            pass  # what is finished is kept
    return scored


@dataclass(frozen=True)
class _Job:
    """What all candidates of a run share."""

    target: Target
    rows: data.Rows
    measures: tuple[str, ...]
    store: Store
    client: hub.Client
    batch_size: int | None
    device: str | None
    dtype: str
    shared: bool = False  # whether more than one pass may be run

    @cached_property
    def feed(self) -> Feed:
        """The rows, read and processed once for the candidates that can share them."""
        from hf_leep import forward

        return forward.Feed(self.rows, budget=None if self.shared else 0)

    @cached_property
    def accelerator(self) -> Accelerator:
        """Made when the first pass is needed: a run whose passes are all in the store never imports torch."""
        from hf_leep import forward

        return forward.accelerator(self.device)

    def stored(self, snapshot: hub.Snapshot) -> Mapping[str, Any] | None:
        """What an earlier run wrote of a snapshot's pass, if one made it."""
        return self.store.description(self._key(snapshot))

    def result(self, step: Step, fetch: Callable[[hub.Snapshot], Path], advance: Callable[[int], object]) -> Result:
        """Score one candidate, with as little work as the store leaves to do."""
        if step.model is not None:
            return ranking.score(self.in_memory(step.model, advance), self.measures)
        if step.snapshot is None:
            raise AssertionError  # a plan resolves whatever is not in memory
        snapshot = step.snapshot
        key = self._key(snapshot)
        labels = hashlib.sha256(self.target.labels.astype("<i8").tobytes()).hexdigest()[:16] + f"-v{SCORE_VERSION}"
        with self.store.lock(key):
            known = self.store.load_scores(key, labels, self.measures)
            if known is not None and set(known["scores"]) == set(self.measures):
                try:
                    return _restored(known, snapshot.candidate)
                except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                    self.store.drop_entry(key, error)
            extraction, from_store = self._pass(snapshot, key, advance, fetch)
            result = replace(ranking.score(extraction, self.measures), from_store=from_store)
            self.store.save_scores(key, labels, _summary(result), {m: vars(s) for m, s in result.scores.items()})
        return result

    def in_memory(self, candidate: tuple[str, Any, Any], advance: Callable[[int], object]) -> Extraction:
        """The pass of a model in memory."""
        name, model, processor = candidate
        return self._run(Candidate(name), lambda adapter: adapter.wrap(model, processor, self._columns), advance)

    def extraction(self, snapshot: hub.Snapshot, advance: Callable[[int], object]) -> Extraction:
        """One candidate's pass: run now, or by an earlier run."""
        key = self._key(snapshot)
        with self.store.lock(key):
            return self._pass(snapshot, key, advance, self._fetch)[0]

    def _fetch(self, snapshot: hub.Snapshot) -> Path:
        return hub.fetch(snapshot, self.client)

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.target.input_columns

    def _key(self, snapshot: hub.Snapshot) -> str:
        """Everything that a pass depends on; the revision covers weights, configuration and processor files."""
        return self.store.key(
            {
                "pass": PASS_VERSION,
                "revision": snapshot.candidate.revision,
                "modality": self.target.modality,
                "inputs": self.target.input_fingerprint,
                "columns": len(self._columns),
                "dtype": self.dtype,
                "backend": {"image": "pil", "audio": f"scipy {version('scipy')}"}.get(self.target.modality),
                "torch": version("torch"),
                "transformers": version("transformers"),
                "tokenizers": version("tokenizers"),
                "pillow": version("pillow"),
            }
        )

    def _pass(
        self,
        snapshot: hub.Snapshot,
        key: str,
        advance: Callable[[int], object],
        fetch: Callable[[hub.Snapshot], Path],
    ) -> tuple[Extraction, bool]:
        """The pass of a checkpoint, and whether it was in the store; the entry's lock is held."""
        found = self.store.load(key)
        if found is not None:
            try:
                return self._stored(snapshot.candidate, *found), True
            except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                self.store.drop_entry(key, error)

        import torch

        path = snapshot.path or fetch(snapshot)

        def load(adapter: Any) -> Any:
            return adapter.load(path, self._columns, torch.float32, self.client.allow_pickle)

        with self.store.writing(key) as writer:
            extraction = self._run(snapshot.candidate, load, advance, writer.allocate)
            pinned = str(snapshot.candidate.revision)
            if pinned.startswith("sha256:"):  # a local folder: it may have changed since it was hashed
                now = hub.resolve(str(snapshot.path), self.client).candidate.revision
                if now != pinned:
                    raise CandidateError("the folder changed while it was run: run it again when it is at rest")
            writer.commit(
                {
                    "candidate": asdict(extraction.candidate),
                    "run": asdict(extraction.run),
                    "missing": dict(extraction.missing),
                }
            )
        return extraction, False

    def _stored(
        self, candidate: Candidate, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
    ) -> Extraction:
        """An extraction as it was written, under the name that the candidate has now."""
        if any(len(array) != len(self.target.labels) for array in arrays.values()):
            raise ValueError("another number of rows")
        return Extraction(
            _renamed(description["candidate"], candidate),
            arrays.get("probabilities"),
            arrays.get("features"),
            self.target.labels,
            Run(**description["run"]),
            description["missing"],
            self.target.sentences,
        )

    def _run(
        self,
        candidate: Candidate,
        load: Callable[[Any], Any],
        advance: Callable[[int], object],
        allocate: Callable[[str, tuple[int, ...]], np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    ) -> Extraction:
        import torch

        from hf_leep import forward
        from hf_leep.modalities import ADAPTERS

        on = self.accelerator  # a wrong device is the caller's error: before the candidate's own
        return forward.extract(
            load(ADAPTERS[self.target.modality]),
            candidate,
            self.feed,
            self.target.labels,
            on=on,
            batch_size=self.batch_size,
            dtype=getattr(torch, self.dtype),
            advance=advance,
            allocate=allocate,
        )


def _summary(result: Result) -> dict[str, Any]:
    """All of a result but its scores, as plain data."""
    kept = ("reason", "headless", "num_source_classes", "effective_source_classes", "num_features")
    return {
        "candidate": asdict(result.candidate),
        "run": asdict(result.run) if result.run else None,
        **{name: getattr(result, name) for name in kept},
    }


def _restored(known: Mapping[str, Any], candidate: Candidate) -> Result:
    """The result that `_summary` and the scores were made of, under the name that the candidate has now."""
    summary = dict(known["summary"])
    described = _renamed(summary.pop("candidate"), candidate)
    run = summary.pop("run")
    scores = {m: Score(**{**s, "warnings": tuple(s["warnings"])}) for m, s in known["scores"].items()}
    if any(score.value is not None for score in scores.values()):
        summary["reason"] = None
    else:
        summary["reason"] = "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason))
    return Result(described, scores, run=Run(**run) if run else None, from_store=True, **summary)


def _renamed(described: Mapping[str, Any], candidate: Candidate) -> Candidate:
    """What a stored pass says of its candidate, under the name, card and licence that it has now."""
    return replace(
        candidate,
        task=described["task"],
        num_parameters=described["num_parameters"],
        source_labels=tuple(described["source_labels"]),
    )


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
    order = find(sort_by).name if sort_by else chosen[0]
    if order not in chosen:
        raise MeasureError(f"sort_by is {order}, which is not among the measures {', '.join(chosen)}")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if device is not None and device not in _DEVICES:
        raise UserError(f"unknown device {device!r}: {', '.join(_DEVICES)}; leave it out for the best at hand")
    if dtype not in _DTYPES:
        raise UserError(f"unknown dtype {dtype!r}: {', '.join(_DTYPES)}")
    return chosen, order


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


def _bar(total: int, show: bool, unit: str, description: str | None = None) -> Any:
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    return tqdm(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        desc=description,
        disable=None if show else True,
        dynamic_ncols=True,
    )
