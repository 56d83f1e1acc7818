"""Compose the ring: data set and candidates in, report out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hf_leep import __version__, data, hub, ranking
from hf_leep.errors import CandidateError, HfLeepError, MeasureError, UserError, one_line
from hf_leep.measures import MEASURES, SCORE_VERSION, find
from hf_leep.records import PASS_VERSION, Candidate, Extraction, Result, Run, Score, Target
from hf_leep.report import Report
from hf_leep.store import Store

if TYPE_CHECKING:
    from accelerate import Accelerator

# A folder, a repo id, or a model in memory: (name, model, processor).
CandidateLike: TypeAlias = str | Path | tuple[str, Any, Any]

DEFAULT_MEASURES = ("leep", "leave-one-out-leep", "nce")
DEFAULT_BATCH_SIZE = 32
_DEVICES = ("cpu", "cuda", "mps")
_DTYPES = ("float32", "bfloat16", "float16")
_VERSIONS = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy", "scipy")


def rank(
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
    batch_size: int = DEFAULT_BATCH_SIZE,
    device: str | None = None,
    dtype: str = "float32",
    cache: bool = True,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Report:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training.

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
        max_samples: size of a stratified sample, all rows by default.
        streaming: read a sample of ``max_samples`` rows from the Hub instead of the whole data set: seeded, not
            stratified.
        seed: seed of the sample.
        batch_size: rows a batch.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type of the weights: ``float32``, ``bfloat16`` or ``float16``.
        cache: keep finished passes and scores in the store (``<HF_HOME>/hf_leep``), and use those that are there.
        progress: show a bar on stderr (HF_HUB_DISABLE_PROGRESS_BARS silences it too).
        command: the command line that led here, for the report.

    Raises:
        UserError: the call or the target was wrong; nothing has been run.
    """
    started = time.perf_counter()
    named, chosen, sort_by = _checked(candidates, measures, sort_by, seed, batch_size, device, dtype)
    client = hub.Client()
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
    job = _Job(
        target=target,
        rows=rows,
        measures=ranking.with_checks(chosen),
        store=Store(Store.default_root() if cache else None),
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    scored: dict[str, Result] = {}  # a candidate listed twice runs once
    with _bar(len(named) * len(rows), progress) as bar:
        for name, candidate in named.items():
            bar.set_description(Path(name).name[-30:])
            before = bar.n
            try:
                scored[name] = job.result(candidate, bar.update)
            except KeyboardInterrupt:
                break
            except UserError:
                raise
            except Exception as error:  # one bad candidate never stops the others, whatever it raises
                scored[name] = Result(Candidate(name), reason=_reason(error))
            bar.update(before + len(rows) - bar.n)
    listed = [_name(candidate) for candidate in candidates]
    results = [scored.get(name, Result(Candidate(name), reason="not run: interrupted")) for name in listed]
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
    batch_size: int = DEFAULT_BATCH_SIZE,
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
        batch_size: rows a batch.
        device: ``cpu``, ``cuda`` or ``mps``; the best at hand by default.
        dtype: number type of the weights.
        cache: use the store.
        advance: called with the number of rows after each batch.

    Raises:
        CandidateError: the candidate cannot be resolved, loaded or run.
        TargetError: a row cannot be decoded.
    """
    store = Store(Store.default_root() if cache else None)
    job = _Job(target, rows, (), store, batch_size=batch_size, device=device, dtype=dtype)
    return job.extraction(candidate, advance)


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


@dataclass(frozen=True)
class _Job:
    """What all candidates of a run share."""

    target: Target
    rows: data.Rows
    measures: tuple[str, ...]
    store: Store
    batch_size: int
    device: str | None
    dtype: str

    @cached_property
    def client(self) -> hub.Client:
        """How this run reaches the Hub."""
        return hub.Client(digest=self.store.file_digest)

    @cached_property
    def accelerator(self) -> Accelerator:
        """Made when the first pass is needed: a run whose passes are all in the store never imports torch."""
        from hf_leep import forward

        return forward.accelerator(self.device)

    def result(self, candidate: CandidateLike, advance: Callable[[int], object]) -> Result:
        """Score one candidate, with as little work as the store leaves to do."""
        if isinstance(candidate, tuple):
            return ranking.score(self.extraction(candidate, advance), self.measures)
        snapshot = hub.resolve(str(candidate), self.client)
        key = self._key(snapshot)
        labels = hashlib.sha256(self.target.labels.astype("<i8").tobytes()).hexdigest()[:16] + f"-v{SCORE_VERSION}"
        with self.store.lock(key):
            known = self.store.load_scores(key, labels, self.measures)
            if known is not None and set(known["scores"]) == set(self.measures):
                try:
                    return _restored(known, snapshot.candidate)
                except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                    self.store.drop_entry(key, error)
            extraction, from_store = self._pass(snapshot, key, advance)
            result = replace(ranking.score(extraction, self.measures), from_store=from_store)
            self.store.save_scores(key, labels, _summary(result), {m: vars(s) for m, s in result.scores.items()})
        return result

    def extraction(self, candidate: CandidateLike, advance: Callable[[int], object]) -> Extraction:
        """One candidate's pass: run now, or by an earlier run."""
        if isinstance(candidate, tuple):
            name, model, processor = candidate
            return self._run(Candidate(name), lambda adapter: adapter.wrap(model, processor, self._columns), advance)
        snapshot = hub.resolve(str(candidate), self.client)
        key = self._key(snapshot)
        with self.store.lock(key):
            return self._pass(snapshot, key, advance)[0]

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
                "backend": "pil" if self.target.modality == "image" else None,
                "torch": version("torch"),
                "transformers": version("transformers"),
                "tokenizers": version("tokenizers"),
                "pillow": version("pillow"),
            }
        )

    def _pass(self, snapshot: hub.Snapshot, key: str, advance: Callable[[int], object]) -> tuple[Extraction, bool]:
        """The pass of a checkpoint, and whether it was in the store; the entry's lock is held."""
        found = self.store.load(key)
        if found is not None:
            try:
                return self._stored(snapshot.candidate, *found), True
            except (TypeError, KeyError, AttributeError, ValueError) as error:  # records of another version
                self.store.drop_entry(key, error)

        import torch

        path = hub.fetch(snapshot, self.client)

        def load(adapter: Any) -> Any:
            return adapter.load(path, self._columns, getattr(torch, self.dtype))

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
        if any(len(array) != len(self.rows) for array in arrays.values()):
            raise ValueError("another number of rows")
        return Extraction(
            _renamed(description["candidate"], candidate),
            arrays.get("probabilities"),
            arrays.get("features"),
            self.target.labels,
            Run(**description["run"]),
            description["missing"],
        )

    def _run(
        self,
        candidate: Candidate,
        load: Callable[[Any], Any],
        advance: Callable[[int], object],
        allocate: Callable[[str, tuple[int, ...]], np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    ) -> Extraction:
        from hf_leep import forward
        from hf_leep.modalities import ADAPTERS

        on = self.accelerator  # a wrong device is the caller's error: before the candidate's own
        return forward.extract(
            load(ADAPTERS[self.target.modality]),
            candidate,
            self.rows,
            self.target.labels,
            on=on,
            batch_size=self.batch_size,
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
    batch_size: int,
    device: str | None,
    dtype: str,
) -> tuple[dict[str, CandidateLike], tuple[str, ...], str]:
    """Check what can be checked before anything is opened; name → candidate, without repeats."""
    if isinstance(candidates, str | Path):
        raise UserError("candidates is one name; give a list of them")
    named: dict[str, CandidateLike] = {}
    for candidate in candidates:
        if not isinstance(candidate, str | Path | tuple):
            raise UserError(
                f"a candidate is a name, a folder or (name, model, processor), got {type(candidate).__name__}"
            )
        if isinstance(candidate, tuple) and len(candidate) != 3:
            raise UserError(f"a candidate in memory is (name, model, processor), got {len(candidate)} things")
        known = named.setdefault(_name(candidate), candidate)
        if (isinstance(candidate, tuple) or isinstance(known, tuple)) and known is not candidate:
            raise UserError(f"two candidates are called {_name(candidate)!r}: give each model in memory its own name")
    if not named:
        raise UserError("no candidates: name at least one checkpoint")
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
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if device is not None and device not in _DEVICES:
        raise UserError(f"unknown device {device!r}: {', '.join(_DEVICES)}; leave it out for the best at hand")
    if dtype not in _DTYPES:
        raise UserError(f"unknown dtype {dtype!r}: {', '.join(_DTYPES)}")
    return named, chosen, order


def _name(candidate: CandidateLike) -> str:
    return str(candidate[0] if isinstance(candidate, tuple) else candidate)


def _bar(total: int, show: bool) -> Any:
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    return tqdm(total=total, unit="row", disable=None if show else True, dynamic_ncols=True)


def _reason(error: Exception) -> str:
    if isinstance(error, HfLeepError) or not str(error):
        return one_line(error, 400)
    return f"{type(error).__name__}: {one_line(error, 400)}"
