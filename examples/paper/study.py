"""Run the tasks: in parallel processes, each finished one kept in a file of its own, none of them run twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.utils import tqdm

from examples.paper import transfer
from examples.paper.sources import Opened, Source
from examples.paper.tasks import EXPERIMENTS, Experiment, Task, draw, fitted, halves, learned_classes
from hf_leep.arrays import FloatMatrix, Integers
from hf_leep.engine import terminable
from hf_leep.errors import UserError
from hf_leep.measures import MEASURES

# All of the registry but the slowest (linear-probe, n-leep, sfda, knn, pactran-dirichlet: seconds to minutes a task).
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


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of a study, beside its data set and its sources.

    Attributes:
        seed: of everything that is drawn.
        measures: what each task is scored with.
        l2: penalty of the re-trained head; the rule of `head.default_l2` where it is None.
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
        kind: what is made of the task, a key of `KINDS`.
        index: of the task.
    """

    experiment: str
    source: str
    kind: str
    index: int

    def path(self, output: Path) -> Path:
        """Where its result is kept."""
        return output / "tasks" / self.experiment / self.source / self.kind / f"{self.index:04d}.json"


@dataclass(frozen=True, eq=False)
class Bench:
    """All that a process needs to run any job.

    Attributes:
        opened: the data set.
        sources: by name.
        settings: what decides the numbers.
        output: folder of the study.
        device: where networks are trained; the best at hand by default.
    """

    opened: Opened
    sources: dict[str, Source]
    settings: Settings
    output: Path
    device: str | None = None

    def seed_of(self, index: int) -> int:
        """The seed of what is trained for a task."""
        return self.settings.seed * 100_003 + index

    def cnaps(self, source: Source) -> Path:
        """Where the source's meta-trained CNAPs is kept."""
        return self.output / "cnaps" / f"{source.name}.safetensors"

    def experiment(self, name: str) -> Experiment:
        """The experiment as this data set allows it."""
        return fitted(EXPERIMENTS[name], self.opened.pool.num_classes)

    def do(self, job: Job) -> None:
        """Run a job and keep its result; the file is whole or absent."""
        experiment, pool, seed = self.experiment(job.experiment), self.opened.pool, self.settings.seed
        task = draw(experiment, pool, seed, job.index)
        found = KINDS[job.kind](self, self.sources[job.source], experiment, job.index, task)
        size = {"num_classes": len(task.classes), "num_train": len(task.train_rows), "num_test": len(task.test_rows)}
        write_json(job.path(self.output), {**asdict(job), **size, **found})


def _head(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Scores, the quality of a re-trained head, and that of two on disjoint halves of the images."""
    theta = None if source.probabilities is None else source.probabilities[task.train_rows]
    l2 = bench.settings.l2
    # Source selection compares sources on one task: how accuracies repeat from task to task is no part of it.
    repeated = experiment.name != "source-selection"
    both = halves(experiment, bench.opened.pool, bench.settings.seed, index) if repeated else ()
    return {
        "scores": scores(bench.settings.measures, theta, source.train[task.train_rows], task.train_labels),
        "quality": _quality(experiment, task, transfer.head(source, task, l2)),
        "halves": [_quality(experiment, half, transfer.head(source, half, l2)) for half in both],
    }


def _head_sgd(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Quality of a head re-trained as in the paper: with stochastic gradient descent."""
    return {"quality": _quality(experiment, task, transfer.head_sgd(source, task, bench.seed_of(index)))}


def _fine_tuning(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Quality after the last epoch of fine-tuning."""
    return {"quality": _curve(bench, source, experiment, index, task, scratch=False)[-1]}


def _curves(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Quality after each epoch of fine-tuning, and of training the same architecture from scratch."""
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
    """Meta-train the CNAPs of a source, on the classes that no task is of; accuracy in its first and last quarter."""
    right = transfer.meta_train(
        source,
        bench.opened,
        learned_classes(bench.opened.pool.num_classes, bench.settings.seed),
        bench.settings.training,
        bench.cnaps(source),
        seed=bench.settings.seed,
        device=bench.device,
    )
    quarter = -(-len(right) // 4)
    return {
        "episodes": len(right), "first": float(np.mean(right[:quarter])), "last": float(np.mean(right[-quarter:]))
    }  # fmt: skip


def _cnaps(bench: Bench, source: Source, experiment: Experiment, index: int, task: Task) -> dict[str, Any]:
    """Quality of the meta-trained CNAPs, adapted in one pass: to the task, and to disjoint halves of its images."""
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
# The transfer that an experiment is about, beside the head that is trained anyway.
OWN_KINDS = {"meta-transfer": ("cnaps",), "convergence": ("curves",), "convergence-large": ("curves",)}


def scores(
    measures: Sequence[str], theta: FloatMatrix | None, features: FloatMatrix, labels: Integers
) -> dict[str, float | None]:
    """Score a task with each measure; None where one does not apply, as `hf_leep.ranking` has it."""
    found: dict[str, float | None] = {}
    for name in measures:
        measure = MEASURES[name]
        inputs = theta if measure.needs == "probabilities" else features
        useless = inputs is None or (measure.noise_scores is not None and len(inputs) <= inputs.shape[1])
        try:
            value = None if useless else float(measure.function(inputs, labels))
        except (ValueError, np.linalg.LinAlgError):
            value = None
        found[name] = value if value is not None and np.isfinite(value) else None
    return found


def run(bench: Bench, plan: dict[str, list[Job]], *, workers: int, progress: bool = True) -> None:
    """Run what is not finished yet.

    Args:
        bench: data set, sources, settings.
        plan: experiment → its jobs.
        workers: parallel processes, each with one thread; 1 for none beside this one.
        progress: show a bar with the time left for each experiment.
    """
    with terminable(), _pool(bench, workers) as pool:
        for name, jobs in plan.items():
            open_jobs = [job for job in jobs if not job.path(bench.output).exists()]
            started = time.perf_counter()
            with tqdm(
                total=len(jobs),
                initial=len(jobs) - len(open_jobs),  # the time left is judged by what this run does
                unit="task",
                desc=name,
                disable=None if progress else True,
                dynamic_ncols=True,
            ) as bar:
                if pool is None:
                    for job in open_jobs:
                        bench.do(job)
                        bar.update(1)
                else:
                    futures = [pool.submit(_do, job) for job in open_jobs]
                    for future in as_completed(futures):
                        future.result()
                        bar.update(1)
            if open_jobs:
                _log(bench.output, name, len(open_jobs), workers, time.perf_counter() - started)


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
    if parent is not None:  # whoever kills the study means its workers, too
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, where a job needs it
    threadpool_limits(1)


def _do(job: Job) -> None:
    _bench.do(job)


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch and BLAS to one thread, so that sums come out the same on any number of cores."""
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
    """The jobs of each experiment.

    Args:
        bench: data set, sources, settings.
        experiments: their names.
        tasks: of each experiment and source; each experiment's own number by default.
        transfers: kinds of transfer beside the re-trained head, keys of `KINDS`; experiments that are about one kind
            have that.
    """
    plan = {}
    for name in experiments:
        kinds = tuple(dict.fromkeys(("head", *OWN_KINDS.get(name, transfers))))
        if "cnaps" in kinds:  # of which each source needs one before the first task
            plan["meta-training"] = [Job(name, source, "meta-training", 0) for source in bench.sources]
        plan[name] = [
            Job(name, source, kind, index)
            for index in range(tasks or EXPERIMENTS[name].num_tasks)
            for source in bench.sources
            for kind in kinds
        ]
    return plan


def settle(bench: Bench) -> None:
    """Note in the study's folder what decides its numbers, or check that it is the same as before.

    Sources may join; what is known of them must not change.

    Raises:
        UserError: the folder holds another study; the message names the first setting that differs.
    """
    path, train = bench.output / "study.json", bench.opened.train[0]
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    described = {
        "dataset": train.dataset,
        "fingerprint": bench.opened.fingerprint,
        "num_classes": bench.opened.pool.num_classes,
        "num_train": len(bench.opened.pool.train),
        "num_test": len(bench.opened.pool.test),
        **asdict(bench.settings),
    }
    sources = {
        source.name: {
            name: getattr(source, name)
            for name in ("revision", "num_source_classes", "num_features", "num_parameters")
        }
        for source in bench.sources.values()
    }
    described = json.loads(json.dumps({**described, "sources": {**known.get("sources", {}), **sources}}))
    for name, before in known.items():
        now = described.get(name)
        if name == "sources":
            before, now = ({s: both[s] for s in known[name] if s in both} for both in (before, now))
        if before != now:
            raise UserError(
                f"{bench.output} holds a study with another {name}: {before}, now {now}; "
                "give this one a folder of its own"
            )
    write_json(path, described)


def _log(output: Path, experiment: str, tasks: int, workers: int, seconds: float) -> None:
    """Note how long it took: beside the results, which are the same every time."""
    line = {"experiment": experiment, "jobs": tasks, "workers": workers, "seconds": round(seconds, 1)}
    with (output / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
