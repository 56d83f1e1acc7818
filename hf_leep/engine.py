"""Carry out a plan: run what has to be run, score it, and let no bad candidate stop the others."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from hf_leep import hub, plan
from hf_leep.card.text import plain
from hf_leep.errors import CandidateError, UserError
from hf_leep.job import Job
from hf_leep.plan import Plan
from hf_leep.records import Result


def carry_out(
    planned: Plan, job: Job, budget: int | None, prefetch: int, evict: bool, progress: bool
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
        progress_bar(running * len(job.rows), progress, "row") as bar,
        progress_bar(planned.download_bytes, progress and planned.download_bytes > 0, "B", "downloaded") as bytes_bar,
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


def progress_bar(total: int, show: bool, unit: str, description: str | None = None) -> Any:
    """A progress bar on stderr, silent where it is not wanted."""
    from huggingface_hub.utils import tqdm  # honours HF_HUB_DISABLE_PROGRESS_BARS

    return tqdm(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        desc=description,
        disable=None if show else True,
        dynamic_ncols=True,
    )
