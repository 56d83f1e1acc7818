"""Run the tasks in parallel processes; each result is saved in a file of its own, and no task is run twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from huggingface_hub.utils import tqdm

from examples.paper import transfer
from examples.paper.sources import Opened, Source
from examples.paper.tasks import (
    EXPERIMENTS,
    MANY_CLASSES,
    Experiment,
    Task,
    draw,
    fitted,
    halves,
    learned_classes,
    most_tasks,
)
from hf_leep.arrays import FloatMatrix, Integers
from hf_leep.errors import CandidateError, ProcessError, UserError
from hf_leep.measures import MEASURES
from hf_leep.runs.local import terminable
from hf_leep.runs.plan import reason_of

# All but the slowest measures: linear-probe, n-leep, sfda, knn and pactran-dirichlet take seconds to minutes a task.
FAST = (
    "leep",
    "leave-one-out-leep",
    "nce",
    "h-score",
    "regularised-h-score",
    "logme",
    "gbc",
    "parc",
    "transrate",
    "lfc",
    "stable-rank",
)


# Version of how sets of classes are drawn where there are few classes; a study of another version cannot be continued.
# With `MANY_CLASSES` and more they are still drawn as in version 1, which study.json does not mention.
_DRAWING = 2
_EVERY = 60.0  # seconds between two lines of progress, where no bar can be shown


@dataclass(frozen=True)
class Settings:
    """Settings that the numbers of a study depend on, beside its data set and its sources.

    Attributes:
        seed: seed of everything that is drawn at random.
        measures: the measures that each task is scored with.
        l2: penalty of the re-trained head; `head.default_l2` if it is None.
        training: how networks are trained.
    """

    seed: int = 0
    measures: tuple[str, ...] = FAST
    l2: float | None = None
    training: transfer.Training = field(default_factory=transfer.Training)


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        experiment: name of the experiment.
        source: name of the source.
        kind: what to do with the task, a key of `KINDS`.
        index: number of the task.
    """

    experiment: str
    source: str
    kind: str
    index: int

    def path(self, output: Path) -> Path:
        """The file that its result is saved in."""
        return output / "tasks" / self.experiment / self.source / self.kind / f"{self.index:04d}.json"


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything that a process needs to run any job.

    Attributes:
        opened: the data set.
        sources: the source models by name.
        settings: the settings of the study.
        output: folder of the study.
        device: device that networks are trained on; the best available by default.
    """

    opened: Opened
    sources: dict[str, Source]
    settings: Settings
    output: Path
    device: str | None = None

    def seed_of(self, index: int) -> int:
        """Return the seed for what is trained for a task."""
        return self.settings.seed * 100_003 + index

    def cnaps(self, source: Source) -> Path:
        """Return the file of the source's meta-trained CNAPs."""
        return self.output / "cnaps" / f"{source.name}.safetensors"

    def experiment(self, name: str) -> Experiment:
        """Return the experiment as this data set allows it."""
        return fitted(EXPERIMENTS[name], self.opened.pool.num_classes)

    def is_open(self, job: Job, *, retry: bool = False) -> bool:
        """Whether a job has to be run: it has no result yet, or the result lacks measures.

        Args:
            job: the job.
            retry: whether a job that failed is run again.
        """
        known = read_record(job.path(self.output))
        return known is None or (retry if "failed" in known else bool(self._unscored(job, known)))

    def attempt(self, job: Job) -> bool:
        """Run a job and save its result, or why it failed; the file is complete or absent.

        Returns:
            Whether it succeeded.
        """
        try:
            self.do(job)
        except Exception as error:  # a task that fails must not stop the others, whatever it raises
            write_json(job.path(self.output), {**asdict(job), "failed": reason_of(error)})
            return False
        return True

    def do(self, job: Job) -> None:
        """Run a job, or compute the measures that its result lacks, and save the result."""
        experiment, pool, seed = self.experiment(job.experiment), self.opened.pool, self.settings.seed
        task, source = draw(experiment, pool, seed, job.index), self.sources[job.source]
        path = job.path(self.output)
        known = read_record(path)
        if known is not None and "failed" not in known and (missing := self._unscored(job, known)):
            write_json(path, {**known, "scores": {**known["scores"], **_scored(missing, source, task)}})
            return
        found = KINDS[job.kind](self, source, experiment, job.index, task)
        size = {"num_classes": len(task.classes), "num_train": len(task.train_rows), "num_test": len(task.test_rows)}
        write_json(path, {**asdict(job), **size, **found})

    def _unscored(self, job: Job, known: Mapping[str, Any]) -> list[str]:
        return [m for m in self.settings.measures if job.kind == "head" and m not in known["scores"]]


def _head(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Compute scores, the quality of a re-trained head, and that of two heads on disjoint halves of the images."""
    l2 = bench.settings.l2
    # Source selection compares sources on one task, so it does not need the reliability of accuracies.
    repeated = experiment.name != "source-selection"
    both = halves(experiment, bench.opened.pool, bench.settings.seed, index) if repeated else ()
    return {
        "scores": _scored(bench.settings.measures, source, task),
        "quality": _quality(experiment, task, transfer.head(source, task, l2)),
        "halves": [_quality(experiment, half, transfer.head(source, half, l2)) for half in both],
    }


def _scored(measures: Sequence[str], source: Source, task: Task) -> dict[str, float | None]:
    theta = None if source.probabilities is None else source.probabilities[task.train_rows]
    return scores(measures, theta, source.train[task.train_rows], task.train_labels)


def _head_sgd(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Compute the quality of a head that is re-trained with stochastic gradient descent, as in the paper."""
    predicted = transfer.head_sgd(source, task, bench.settings.training, bench.seed_of(index))
    return {"quality": _quality(experiment, task, predicted)}


def _fine_tuning(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Compute the quality after the last epoch of fine-tuning."""
    return {"quality": _curve(bench, source, experiment, index, task, scratch=False)[-1]}


def _curves(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Compute the quality after each epoch of fine-tuning, and of training the same architecture from scratch."""
    return {
        name: _curve(bench, source, experiment, index, task, scratch=scratch)
        for name, scratch in (("transferred", False), ("scratch", True))
    }


def _curve(
    bench: Bench, source: Source, experiment: Experiment, index: int, task: Task, *, scratch: bool
) -> list[float]:
    predicted = transfer.fine_tuned(
        source, bench.opened, task, bench.settings.training,
        seed=bench.seed_of(index), device=bench.device, scratch=scratch,
    )  # fmt: skip
    return [_quality(experiment, task, one) for one in predicted]


def _meta_training(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Meta-train the CNAPs of a source on the classes that no task uses; accuracy in the first and last quarter."""
    classes = learned_classes(bench.opened.pool.num_classes, bench.settings.seed)
    right = transfer.meta_train(
        source, bench.opened, classes, bench.settings.training, bench.cnaps(source),
        seed=bench.settings.seed, device=bench.device,
    )  # fmt: skip
    quarter = -(-len(right) // 4)
    return {
        "episodes": len(right), "first": float(np.mean(right[:quarter])), "last": float(np.mean(right[-quarter:]))
    }  # fmt: skip


def _cnaps(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Compute the quality of the meta-trained CNAPs, adapted to the task and to disjoint halves of its images."""
    if not bench.cnaps(source).exists():
        raise CandidateError(f"{source.name} has no meta-trained CNAPs")
    tasks = (task, *halves(experiment, bench.opened.pool, bench.settings.seed, index))
    predicted = transfer.by_cnaps(
        source, bench.opened, tasks, bench.settings.training, bench.cnaps(source), device=bench.device
    )
    quality, *both = (_quality(experiment, of, by) for of, by in zip(tasks, predicted, strict=True))
    return {"quality": quality, "halves": both}


def _quality(experiment: Experiment, task: Task, predicted: Integers) -> float:
    return transfer.quality(predicted, task.test_labels, len(task.classes), experiment.quality)


KINDS = {
    "head": _head,
    "head-sgd": _head_sgd,
    "fine-tuning": _fine_tuning,
    "curves": _curves,
    "meta-training": _meta_training,
    "cnaps": _cnaps,
}
# The kinds of transfer that belong to an experiment, beside the re-trained head that every experiment has.
OWN_KINDS: dict[str, tuple[str, ...]] = {
    "meta-transfer": ("cnaps",),
    "convergence": ("curves",),
    "convergence-large": ("curves",),
    "source-selection": (),
}


def scores(
    measures: Sequence[str], theta: FloatMatrix | None, features: FloatMatrix, labels: Integers
) -> dict[str, float | None]:
    """Score a task with each measure; None where a measure does not apply, as in `hf_leep.ranking`."""
    found: dict[str, float | None] = {}
    for name in measures:
        measure = MEASURES[name]
        inputs = theta if measure.needs == "probabilities" else features
        useless = inputs is None or (measure.saturates_at is not None and len(inputs) <= inputs.shape[1])
        try:
            value = None if useless else float(measure.function(inputs, labels))
        except (ValueError, np.linalg.LinAlgError):
            value = None
        found[name] = value if value is not None and np.isfinite(value) else None
    return found


def run(
    bench: Bench, plan: Mapping[str, Sequence[Job]], *, workers: int, progress: bool = True, retry: bool = False
) -> int:
    """Run the jobs that are not finished; a job that fails is recorded, and the others continue.

    Args:
        bench: data set, sources, settings.
        plan: experiment → its jobs.
        workers: parallel processes, each with one thread; with 1 the jobs run in this process.
        progress: show a bar with the time left, or print a line every minute where no bar can be shown.
        retry: run jobs again that failed before.

    Returns:
        The number of jobs in the plan that failed, now or before.

    Raises:
        ProcessError: a worker process was killed.
    """
    left = {name: [job for job in jobs if bench.is_open(job, retry=retry)] for name, jobs in plan.items()}
    total, to_do = sum(map(len, plan.values())), sum(map(len, left.values()))
    with terminable(), _pool(bench, workers) as pool, _progress(total, to_do, progress) as advance:
        for name, jobs in left.items():
            started = time.perf_counter()
            try:
                for _ in map(bench.attempt, jobs) if pool is None else _done(pool, jobs):
                    advance(name)
            except BrokenProcessPool:
                raise ProcessError(
                    "a worker process was killed, perhaps because memory ran out: the same command continues from "
                    "here, and fewer --workers need less memory"
                ) from None
            if jobs:
                _log(bench.output, name, len(jobs), workers, time.perf_counter() - started)
    records = (read_record(job.path(bench.output)) for jobs in plan.values() for job in jobs)
    return sum(record is not None and "failed" in record for record in records)


def _done(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[bool]:
    for future in as_completed([pool.submit(_attempt, job) for job in jobs]):
        yield future.result()


@contextmanager
def _progress(total: int, to_do: int, show: bool) -> Iterator[Callable[[str], None]]:
    """Yield the function to call after each job with the name of its experiment; it updates a bar, or prints lines."""
    lines = Lines(total, to_do, sys.stderr)
    with tqdm(
        total=total,
        initial=total - to_do,  # so that the time left is estimated from this run alone
        unit="task",
        disable=None if show else True,
        dynamic_ncols=True,
    ) as bar:

        def advance(name: str) -> None:
            if bar.disable:
                lines.advance(name, write=show)
            else:
                bar.set_description(name, refresh=False)
                bar.update(1)

        yield advance


class Lines:
    """Print the progress of a run as lines, for a log.

    Args:
        total: number of jobs in the plan.
        to_do: number of these that this run has to do.
        stream: where to write the lines.
        clock: returns the time in seconds.
    """

    def __init__(self, total: int, to_do: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._to_do, self._stream, self._clock = total, to_do, stream, clock
        self._started = self._last_line = clock()
        self._done = 0

    def advance(self, name: str, *, write: bool = True) -> None:
        """Count a job of an experiment, and write a line if the last one was a minute ago."""
        self._done += 1
        now = self._clock()
        if write and now - self._last_line >= _EVERY:
            self._last_line = now
            left = (now - self._started) / self._done * (self._to_do - self._done)
            finished = self._total - self._to_do + self._done
            print(
                f"{name}: {finished} of all {self._total} tasks done, about {max(1, round(left / 60))} min left",
                file=self._stream,
                flush=True,
            )


@contextmanager
def _pool(bench: Bench, workers: int) -> Iterator[ProcessPoolExecutor | None]:
    if workers == 1:
        with one_thread():
            yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(bench,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


_bench: Bench  # of a worker process


def _start(bench: Bench) -> None:
    global _bench
    from threadpoolctl import threadpool_limits

    _bench = bench
    parent = multiprocessing.parent_process()
    if parent is not None:  # workers must not outlive the process that started them
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, where a job needs it
    threadpool_limits(1)


def _attempt(job: Job) -> bool:
    return _bench.attempt(job)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and BLAS to one thread, so that results do not depend on the number of cores."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def planned(
    bench: Bench, experiments: Sequence[str], tasks: int | None, transfers: Sequence[str] = ()
) -> dict[str, list[Job]]:
    """Return the jobs of each experiment.

    Args:
        bench: data set, sources, settings.
        experiments: their names.
        tasks: number of tasks of each experiment and source, if there can be so many; by default the experiment's own.
        transfers: kinds of transfer in addition to the re-trained head, keys of `KINDS`. Experiments about one kind of
            transfer use that instead, and source selection uses heads alone.

    Raises:
        TargetError: there are too few classes.
    """
    plan = {}
    for name in experiments:
        kinds = tuple(dict.fromkeys(("head", *OWN_KINDS.get(name, transfers))))
        if "cnaps" in kinds:  # each source needs one before its first task
            plan["meta-training"] = [Job(name, source, "meta-training", 0) for source in bench.sources]
        count = EXPERIMENTS[name].num_tasks if tasks is None else tasks
        most = most_tasks(bench.experiment(name), bench.opened.pool.num_classes)
        plan[name] = [
            Job(name, source, kind, index)
            for index in range(count if most is None else min(count, most))
            for source in bench.sources
            for kind in kinds
        ]
    return plan


def known_study(output: Path) -> dict[str, Any]:
    """Read a folder's study.json; empty if there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = output / "study.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from None


def known_sources(output: Path) -> set[str]:
    """Return the names of the sources in the folder's study."""
    return set(known_study(output).get("sources", {}))


def settled_training(output: Path, asked: Mapping[str, Any]) -> transfer.Training:
    """Return how networks are trained: as given; else as in the folder's earlier results; else by default.

    Args:
        output: folder of the study.
        asked: settings of `Training` by name; None for those that the user did not give.
    """
    known = known_study(output).get("training", {})
    used = {name: known[name] for name in _trained_with(output) if name in known}
    return transfer.Training(**{**used, **{name: value for name, value in asked.items() if value is not None}})


def _trained_with(output: Path) -> set[str]:
    """Return the settings of `Training` that results in the folder depend on."""
    kinds = {path.parent.name for path in (output / "tasks").glob("*/*/*/*.json")}
    return {name for kind in kinds for name in transfer.USED.get(kind, ())}


def settle(bench: Bench) -> Bench:
    """Write what the study's numbers depend on to its folder, or check that it is the same as before.

    Sources and measures may be added, but sources must not change. Training settings may change as long as no result
    depends on them. The data set may be moved, but its content must not change.

    Returns:
        The bench with all measures of the study.

    Raises:
        UserError: the folder holds another study; the message names what differs.
    """
    path, train, pool = bench.output / "study.json", bench.opened.train[0], bench.opened.pool
    known = known_study(bench.output)
    measures = tuple(dict.fromkeys((*known.get("measures", ()), *bench.settings.measures)))
    settings = replace(bench.settings, measures=measures)
    described = {
        "dataset": known.get("dataset", train.dataset),
        "fingerprint": bench.opened.fingerprint,
        "num_classes": pool.num_classes,
        "num_train": len(pool.train),
        "num_test": len(pool.test),
        **({"drawing": _DRAWING} if pool.num_classes < MANY_CLASSES else {}),
        **asdict(settings),
        "sources": {
            **known.get("sources", {}),
            **{
                source.name: {
                    name: getattr(source, name)
                    for name in ("revision", "num_source_classes", "num_features", "num_parameters")
                }
                for source in bench.sources.values()
            },
        },
    }
    described = json.loads(json.dumps(described))
    if known and (differs := _difference(known, described, _trained_with(bench.output))):
        raise UserError(f"{bench.output} holds a study with another {differs}; give this one a folder of its own")
    write_json(path, described)
    return replace(bench, settings=settings)


def _difference(known: Mapping[str, Any], now: Mapping[str, Any], trained_with: set[str]) -> str | None:
    """Describe the first difference that makes it another study; None if there is none."""
    if known["fingerprint"] != now["fingerprint"]:
        return (
            f"data set: {known['dataset']} of {known['num_train']} and {known['num_test']} images is not what it was"
        )
    for name in ("seed", "l2", "drawing"):
        if known.get(name) != now.get(name):
            return f"{name}: {known.get(name)}, now {now.get(name)}"
    for name, source in known["sources"].items():
        if source != now["sources"][name]:
            differing = next(key for key in source if source[key] != now["sources"][name].get(key))
            return f"source {name}: {differing} {source[differing]}, now {now['sources'][name].get(differing)}"
    before = {**json.loads(json.dumps(asdict(transfer.Training()))), **known["training"]}
    for name in sorted(trained_with):
        if before[name] != now["training"][name]:
            return f"--{name.replace('_', '-')}: {before[name]}, now {now['training'][name]}"
    return None


def _log(output: Path, experiment: str, tasks: int, workers: int, seconds: float) -> None:
    """Append the time taken to a log; the result files themselves do not depend on it."""
    line = {"experiment": experiment, "jobs": tasks, "workers": workers, "seconds": round(seconds, 1)}
    with (output / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a job's result, which has the reason under ``failed`` if it failed; None if it was not run."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
