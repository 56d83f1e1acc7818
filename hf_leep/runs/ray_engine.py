"""Carry out a plan on a Ray cluster: each candidate is a task, which is retried if its worker dies."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hf_leep import hub
from hf_leep.errors import HubLimitError, UserError, one_line, option
from hf_leep.options import Cluster, HubAccess
from hf_leep.records import Result
from hf_leep.runs import plan
from hf_leep.runs.bars import progress_bar
from hf_leep.runs.config import RunConfig
from hf_leep.runs.job import Job
from hf_leep.runs.local import add_not_run, note_result
from hf_leep.runs.passes import errors_of_candidates
from hf_leep.runs.plan import Plan, Step
from hf_leep.text import size

if TYPE_CHECKING:
    import ray

_Outcome: TypeAlias = "Result | UserError | HubLimitError"
_RETRIES = 2  # of a task whose worker or machine died
_GIB = 2**30
_JOBS: dict[str, Job] = {}  # of this worker process: the rows are read once for all its candidates


def check(access: HubAccess) -> None:
    """Check, before anything is opened, that a run can use a cluster.

    Args:
        access: how the run reaches the Hub.

    Raises:
        UserError: Ray is not installed, or an option only makes sense on one machine.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UserError(f'{option("cluster")} needs Ray: pip install "hf-leep[ray]"') from None
    if isinstance(access.token, str):
        raise UserError(
            f"with {option('cluster')} each machine uses its own login (HF_TOKEN, hf auth login): "
            f"leave out {option('hub.token')}"
        )
    if access.evict:
        raise UserError(
            f"{option('hub.evict')} removes what one machine downloaded: leave it out with {option('cluster')}"
        )


def carry_out(planned: Plan, job: Job, config: RunConfig, cluster: Cluster, progress: bool) -> dict[str, Result]:
    """Run the candidates of a plan: name → result.

    Candidates whose pass is in this machine's store are scored here. An interruption keeps what is finished.

    Args:
        planned: the plan.
        job: the run on this machine.
        config: the run, for the workers.
        cluster: the cluster, and what each candidate needs of it.
        progress: show a progress bar.

    Raises:
        UserError: there is no such cluster, no machine in it has what a candidate needs, or a row cannot be decoded.
    """
    import ray

    scored = {step.name: step.skipped() for step in planned.steps if not step.is_run}
    with (
        progress_bar(len(planned.steps) - len(scored), progress, "candidate") as bar,
        _connected(cluster.address),
    ):
        nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        waiting = [step for step in planned.steps if step.name not in scored]
        needs = {step.name: _needs(step, cluster.requested, nodes) for step in waiting}
        running: dict[ray.ObjectRef[_Outcome], Step] = {}
        try:
            sent = ray.put(_with_absolute_dataset(config))
            for step in waiting:
                if step.stored:
                    scored[step.name] = step.as_planned(_result(job, step))
                    bar.update()
                    note_result(len(scored), len(planned.steps), scored[step.name], progress, job.flags)
                else:
                    running[_submit(sent, step, needs[step.name], _num_sharing(needs, nodes))] = step
            while running:
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                step = running.pop(done)
                scored[step.name] = step.as_planned(_collected(done, step))
                bar.update()
                note_result(len(scored), len(planned.steps), scored[step.name], progress, job.flags)
        except (KeyboardInterrupt, HubLimitError) as stop:
            add_not_run(planned, scored, stop)
        finally:
            for task in running:
                with contextlib.suppress(Exception):
                    ray.cancel(task, force=True)
    return scored


def _submit(
    config: ray.ObjectRef[RunConfig], step: Step, need: Mapping[str, float], num_sharing: int
) -> ray.ObjectRef[_Outcome]:
    """Start a candidate's task."""
    import ray

    task = ray.remote(_run).options(
        name=step.name,
        max_retries=_RETRIES,
        num_cpus=need["CPU"],
        num_gpus=need["GPU"],
        memory=int(need["memory"]),
    )
    return task.remote(config, _with_absolute_path(step), num_sharing)


def _run(config: RunConfig, step: Step, num_sharing: int) -> _Outcome:
    """Score one candidate, in a worker; an error that is not the candidate's is returned."""
    try:
        key = repr((config.dataset, config.selection, config.execution, config.measures))
        if key not in _JOBS:
            _JOBS.clear()
            _JOBS[key] = config.job(num_sharing=num_sharing)
        return _result(_JOBS[key], step)
    except (UserError, HubLimitError) as error:
        return error


def _result(job: Job, step: Step) -> Result:
    try:
        with errors_of_candidates():
            return job.result(step, lambda snapshot: hub.fetch(snapshot, job.client), lambda _rows: None)
    except (UserError, HubLimitError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return Result(step.candidate, reason=plan.reason_of(error))


def _collected(done: ray.ObjectRef[_Outcome], step: Step) -> Result:
    """The result of a finished task."""
    import ray

    try:
        outcome = ray.get(done)
    except ray.exceptions.RayError as error:
        message = one_line(error).split(". ")[0]
        return Result(step.candidate, reason=f"its Ray task died, and so did {_RETRIES} retries: {message}")
    if isinstance(outcome, UserError | HubLimitError):
        raise outcome
    return outcome


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster at an address, or start one, unless this process is connected to one already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns about a future change
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            # "local": not a cluster that happens to run here, whose tasks have another environment.
            address=address or (None if os.environ.get("RAY_ADDRESS") else "local"),
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS')}: {one_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _needs(step: Step, requested: Mapping[str, float], nodes: list[dict[str, float]]) -> dict[str, float]:
    """The resources that a candidate needs on one machine.

    Raises:
        UserError: no machine has them.
    """
    has_gpu = any(node.get("GPU", 0) for node in nodes)
    largest_memory = max(node.get("memory", 0) for node in nodes)
    memory = min(largest_memory, _GIB + 3 * _weight_bytes(step))
    need = {"CPU": 1.0, "GPU": float(has_gpu), "memory": memory, **requested}
    if not any(all(node.get(kind, 0) >= amount for kind, amount in need.items()) for node in nodes):
        amounts = {kind: size(int(amount)) if kind == "memory" else f"{amount:g}" for kind, amount in need.items()}
        text = ", ".join(f"{amounts[kind]} {kind}" for kind, amount in need.items() if amount or kind == "memory")
        raise UserError(
            f"no machine of the cluster has {text} for a candidate: ask for less with {option('cluster.resources')}"
        )
    return need


def _with_absolute_dataset(config: RunConfig) -> RunConfig:
    """The same run, for a process with another working directory."""
    if isinstance(config.dataset, str | Path) and Path(config.dataset).exists():
        return replace(config, dataset=str(Path(config.dataset).absolute()))
    return config


def _with_absolute_path(step: Step) -> Step:
    """The same step, for a process with another working directory."""
    if step.snapshot is None or step.snapshot.path is None:
        return step
    return replace(step, snapshot=replace(step.snapshot, path=step.snapshot.path.absolute()))


def _weight_bytes(step: Step) -> int:
    if step.snapshot is None:
        return 0
    if step.snapshot.path is not None:
        return sum(file.stat().st_size for file in Path(step.snapshot.path).glob("*.safetensors"))
    return sum(step.snapshot.files[name].size or 0 for name in step.snapshot.weights)


def _num_sharing(needs: Mapping[str, Mapping[str, float]], nodes: list[dict[str, float]]) -> int:
    """How many candidates may run on one machine simultaneously and share its memory."""
    smallest = min((need["CPU"] for need in needs.values()), default=1.0)
    return max(1, int(max(node.get("CPU", 0) for node in nodes) // max(smallest, 0.1)))
