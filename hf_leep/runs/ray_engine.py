"""Carry out a plan on a Ray cluster: each candidate a task with its resources, tried again where its worker dies."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_leep import hub
from hf_leep.errors import UserError, one_line
from hf_leep.records import Result
from hf_leep.runs import plan
from hf_leep.runs.config import RunConfig
from hf_leep.runs.job import Job
from hf_leep.runs.local import add_not_run, progress_bar, sigterm_interrupts
from hf_leep.runs.plan import Plan, Step
from hf_leep.text import size

_RETRIES = 2  # of a task whose worker or machine died
_GIB = 2**30
_KINDS = {"cpus": "CPU", "gpus": "GPU", "memory": "memory"}
_JOBS: dict[str, Job] = {}  # of this worker process: the rows are read once for all its candidates


def check(resources: str | None, token: str | bool | None) -> dict[str, float]:
    """Check what can be checked before anything is opened; what each candidate takes, as far as the user says.

    Args:
        resources: such as ``cpus=2,gpus=1,memory=8GB``.
        token: for the Hub.

    Raises:
        UserError: Ray is not installed, or the resources cannot be read.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UserError('--engine ray needs Ray: pip install "hf-leep[ray]"') from None
    if isinstance(token, str):
        raise UserError("with --engine ray each machine uses its own login (HF_TOKEN, hf auth login): give no token")
    found: dict[str, float] = {}
    for part in filter(None, (resources or "").split(",")):
        kind, _, amount = (word.strip() for word in part.partition("="))
        try:
            found[_KINDS[kind]] = hub.parse_size(amount, "memory") if kind == "memory" else float(amount)
        except (KeyError, ValueError):
            raise UserError(f"--resources {part!r}: write it like cpus=2,gpus=1,memory=8GB") from None
        if found[_KINDS[kind]] < 0:
            raise UserError(f"--resources {part!r}: less than nothing")
    return found


def carry_out(
    planned: Plan, job: Job, recipe: RunConfig, wanted: Mapping[str, float], address: str | None, progress: bool
) -> dict[str, Result]:
    """Do what was planned: name → result.

    What is in this machine's store already is scored here. Interrupting keeps what is finished.

    Args:
        planned: the plan.
        job: the run on this machine.
        recipe: the run, for the workers.
        wanted: Ray's resources of each candidate.
        address: of the cluster.
        progress: show a bar.

    Raises:
        UserError: no such cluster, no machine in it that suffices, or a row cannot be decoded.
    """
    import ray

    scored = {s.name: Result(s.candidate, reason=s.reason, headless=s.headless) for s in planned.steps if s.reason}
    with (
        progress_bar(len(planned.steps) - len(scored), progress, "candidate") as bar,
        _connected(address),
    ):
        known: Any = ray
        nodes = [node["Resources"] for node in known.nodes() if node["Alive"]]
        needs = {s.name: _needs(s, wanted, nodes) for s in planned.steps if s.name not in scored}
        run = ray.remote(_run)
        running: dict[Any, Step] = {}
        try:
            with sigterm_interrupts():
                sent = ray.put(_findable(recipe))
                rivals = _rivals(needs, nodes)
                for step in planned.steps:
                    if step.name in scored:
                        continue
                    if step.stored:
                        scored[step.name] = _result(job, step)
                        bar.update()
                        continue
                    need = needs[step.name]
                    options = {"num_cpus": need["CPU"], "num_gpus": need["GPU"], "memory": int(need["memory"])}
                    task = run.options(name=step.name, max_retries=_RETRIES, **options)
                    running[task.remote(sent, _anywhere(step), rivals)] = step
                while running:
                    (done, *_), _ = ray.wait(list(running), num_returns=1)
                    step = running.pop(done)
                    scored[step.name] = _taken(done, step)
                    bar.update()
        except KeyboardInterrupt as stop:
            add_not_run(planned, scored, stop)
        finally:
            for task in running:
                with contextlib.suppress(Exception):
                    ray.cancel(task, force=True)
    return scored


def _run(recipe: RunConfig, step: Step, rivals: int) -> Result | UserError:
    """Score one candidate, in a worker."""
    try:
        key = repr((recipe.dataset, recipe.reading, recipe.running, recipe.measures))
        if key not in _JOBS:
            _JOBS.clear()
            _JOBS[key] = recipe.job(num_sharing=rivals)
        return _result(_JOBS[key], step)
    except UserError as error:
        return error


def _result(job: Job, step: Step) -> Result:
    try:
        return job.result(step, lambda snapshot: hub.fetch(snapshot, job.client), lambda _rows: None)
    except UserError:
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return Result(step.candidate, reason=plan.reason_of(error))


def _taken(done: Any, step: Step) -> Result:
    """What a task returned."""
    import ray

    try:
        outcome: Result | UserError = ray.get(done)
    except ray.exceptions.RayError as error:
        told = one_line(error).split(". ")[0]
        return Result(step.candidate, reason=f"its Ray task died, and {_RETRIES} more tries: {told}")
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


@contextlib.contextmanager
def _connected(address: str | None) -> Any:
    """A cluster: the one that this process is connected to, one at an address, or one of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without it, Ray warns of a change to come
    import ray

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        ray.init(address=address, include_dashboard=None if address else False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS')}: {one_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _needs(step: Step, wanted: Mapping[str, float], nodes: list[Mapping[str, float]]) -> dict[str, float]:
    """What a candidate takes of a machine.

    Raises:
        UserError: no machine has it.
    """
    gpu = any(node.get("GPU", 0) for node in nodes)
    most = max(node.get("memory", 0) for node in nodes)
    need = {"CPU": 1.0, "GPU": float(gpu), "memory": min(most, _GIB + 3 * _weight_bytes(step)), **wanted}
    if not any(all(node.get(kind, 0) >= amount for kind, amount in need.items()) for node in nodes):
        amounts = {**need, "memory": size(int(need["memory"]))}
        text = ", ".join(f"{a if isinstance(a, str) else format(a, 'g')} {kind}" for kind, a in amounts.items() if a)
        raise UserError(f"no machine of the cluster has {text} for a candidate: ask for less with --resources")
    return need


def _findable(recipe: RunConfig) -> RunConfig:
    """The same, for a process in another folder."""
    named = isinstance(recipe.dataset, str | Path) and Path(recipe.dataset).exists()
    return replace(recipe, dataset=str(Path(recipe.dataset).absolute())) if named else recipe


def _anywhere(step: Step) -> Step:
    """The same, for a process in another folder."""
    if step.snapshot is None or step.snapshot.path is None:
        return step
    return replace(step, snapshot=replace(step.snapshot, path=step.snapshot.path.absolute()))


def _weight_bytes(step: Step) -> int:
    if step.snapshot is None:
        return 0
    if step.snapshot.path is not None:
        return sum(file.stat().st_size for file in Path(step.snapshot.path).glob("*.safetensors"))
    return sum(step.snapshot.files[name].size or 0 for name in step.snapshot.weights)


def _rivals(needs: Mapping[str, Mapping[str, float]], nodes: list[Mapping[str, float]]) -> int:
    """How many candidates may run on one machine at once, and share its memory."""
    smallest = min((need["CPU"] for need in needs.values()), default=1.0)
    return max(1, int(max(node.get("CPU", 0) for node in nodes) // max(smallest, 0.1)))
