"""What will become of each candidate, told before any weight moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from hf_leep import hub
from hf_leep.errors import CandidateError, HfLeepError, one_line
from hf_leep.measures import find
from hf_leep.records import Candidate, Target
from hf_leep.text import size

if TYPE_CHECKING:
    from hf_leep.models import Inspection
    from hf_leep.report.card.plan import PlanData

# A folder, a repo id, or a model in memory: (name, model, processor).
CandidateLike: TypeAlias = str | Path | tuple[str, Any, Any]

_T = TypeVar("_T")

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "position_ids")  # stored, but no parameters
_AT_ONCE = 8  # candidates that are asked about at the same time


@dataclass(frozen=True)
class Step:
    """One candidate of a run.

    Attributes:
        name: as it was named.
        candidate: what is known of it so far.
        model: ``(name, model, processor)`` for one in memory.
        snapshot: where its files are, or come from; None for a model in memory, or when it could not be resolved.
        stored: whether its pass is in the store already.
        reason: why it is skipped; None if it will be run, or taken from the store.
        headless: whether it is skipped for the want of a usable head alone.
        num_source_classes: outputs of its head, where they are known.
        lacks_head: whether it is known to have no usable head, skipped for that or not.
    """

    name: str
    candidate: Candidate
    model: tuple[str, Any, Any] | None = None
    snapshot: hub.Snapshot | None = None
    stored: bool = False
    reason: str | None = None
    headless: bool = False
    num_source_classes: int | None = None
    lacks_head: bool = False

    @property
    def download_bytes(self) -> int:
        """What has to be downloaded for it."""
        return self.snapshot.download_bytes if self.snapshot and not self.stored and self.reason is None else 0


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        target: the examples.
        steps: one a candidate, in the order in which they were named.
    """

    target: Target
    steps: tuple[Step, ...]

    @property
    def download_bytes(self) -> int:
        """What has to be downloaded in all."""
        return sum(step.download_bytes for step in self.steps)

    @property
    def num_headless(self) -> int:
        """How many of the candidates that can run are known to have no usable head."""
        return sum(step.lacks_head for step in self.steps if step.reason is None)

    @property
    def worth_showing(self) -> bool:
        """Whether a reader learns anything from it: something is downloaded, or skipped."""
        return any(step.download_bytes or step.reason for step in self.steps)

    @property
    def exit_code(self) -> int:
        """0 if every candidate will be run, 3 if some are skipped, 1 if all are."""
        skipped = sum(step.reason is not None for step in self.steps)
        return 1 if skipped == len(self.steps) else 3 if skipped else 0

    @property
    def data(self) -> PlanData:
        """The plan as plain data."""
        target = self.target
        return {
            "target": {
                "dataset": target.dataset,
                "config": target.config,
                "split": target.split,
                "revision": target.revision,
                "num_examples": len(target.labels),
                "num_classes": len(target.class_names),
            },
            "candidates": [
                {
                    "id": step.candidate.id,
                    "revision": step.candidate.revision,
                    "action": "skip" if step.reason else "stored" if step.stored else "run",
                    "reason": step.reason,
                    "num_source_classes": step.num_source_classes,
                    "num_parameters": step.candidate.num_parameters,
                    "license": step.candidate.license,
                    "gated": step.candidate.gated,
                    "download_bytes": step.download_bytes,
                }
                for step in self.steps
            ],
            "download_bytes": self.download_bytes,
        }


def make(
    candidates: Mapping[str, CandidateLike],
    target: Target,
    measures: Sequence[str],
    client: hub.Client,
    *,
    stored: Callable[[hub.Snapshot], Mapping[str, Any] | None],
    max_download: int | None = None,
    advance: Callable[[int], object] = lambda _candidates: None,
) -> Plan:
    """Resolve every candidate, judge its head, and add up the downloads.

    Args:
        candidates: name → candidate.
        target: the examples.
        measures: those that will be computed.
        client: how to reach the Hub.
        stored: what is in the store of a snapshot's pass, if it is there.
        max_download: bytes that may be downloaded; candidates that do not fit, in the order of the list, are skipped.
        advance: called after each candidate.
    """
    needs_head = all(find(name).needs == "probabilities" for name in measures)
    looked: list[Step] = []
    looking = partial(_look, client=client, stored=stored, needs_head=needs_head)
    for step, peeked in _side_by_side([partial(looking, name, candidate) for name, candidate in candidates.items()]):
        # Not in the threads: it holds back the log of transformers, which belongs to the whole process.
        if peeked is not None:
            step = _judge(step, peeked, target, needs_head)
        elif step.model is not None:
            step = _judge_model(step, step.model[1], target, needs_head)
        looked.append(step)
        advance(1)
    return Plan(target, tuple(_within(looked, max_download)))


def _side_by_side(calls: Sequence[Callable[[], _T]]) -> Iterator[_T]:
    """Results of calls that are made a few at a time, in their order.

    In daemon threads: whoever interrupts does not wait for a slow Hub, as the end of an executor would.
    """
    pairs = [(call, Future[_T]()) for call in calls]
    waiting = iter(pairs)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                call, future = next(waiting, (None, None))
            if call is None or future is None:
                return
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

    for _ in range(min(_AT_ONCE, len(pairs))):
        threading.Thread(target=work, daemon=True).start()
    for _, future in pairs:
        yield future.result()


def _look(
    name: str,
    candidate: CandidateLike,
    client: hub.Client,
    stored: Callable[[hub.Snapshot], Mapping[str, Any] | None],
    needs_head: bool,
) -> tuple[Step, hub.Peek | None]:
    """Pin a candidate and read what it tells of itself, unless its pass is there already."""
    if isinstance(candidate, tuple):
        return Step(name, Candidate(name), model=candidate), None
    step = Step(name, Candidate(name))
    try:
        snapshot = hub.resolve(candidate if isinstance(candidate, str) else str(candidate), client)
        step = replace(step, snapshot=snapshot, candidate=snapshot.candidate)
        known = stored(snapshot)
        if known is None:
            return step, hub.peek(snapshot, client)
        return _known(step, known, needs_head), None
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return replace(step, reason=reason_of(error)), None


def _known(step: Step, description: Mapping[str, Any], needs_head: bool) -> Step:
    """What a pass in the store says of its candidate."""
    try:
        about, missing = description["candidate"], description["missing"].get("probabilities")
        classes, parameters = len(about["source_labels"]), about["num_parameters"]
    except (KeyError, TypeError, AttributeError):  # records of another version, which the run makes again
        return step
    step = replace(
        step, stored=True, candidate=replace(step.candidate, num_parameters=parameters), lacks_head=bool(missing)
    )
    if missing and needs_head:
        return replace(step, reason=str(missing), headless=True)
    return replace(step, num_source_classes=None if missing else classes)


def _judge(step: Step, peeked: hub.Peek, target: Target, needs_head: bool) -> Step:
    """Hold against a candidate what its configuration and the shapes of its weights say."""
    from hf_leep.models import ADAPTERS  # torch: only where there is something to judge

    parameters = None
    if peeked.shapes is not None:
        parameters = sum(prod(shape) for name, shape in peeked.shapes.items() if not name.endswith(_BUFFERS))
    step = replace(step, candidate=replace(step.candidate, num_parameters=parameters))
    try:
        inspection = ADAPTERS[target.modality].inspect(peeked.folder, peeked.shapes, target.class_names)
    except CandidateError as error:
        return replace(step, reason=str(error))
    return _with(step, inspection, needs_head)


def _judge_model(step: Step, model: Any, target: Target, needs_head: bool) -> Step:
    """Hold against a model in memory that it has no head."""
    from hf_leep.models import ADAPTERS

    try:
        inspection = ADAPTERS[target.modality].inspect_model(model, target.class_names)
    except CandidateError as error:
        return replace(step, reason=str(error))
    except AttributeError:  # no model of transformers: its pass says what is wrong
        return step
    return _with(step, inspection, needs_head)


def _with(step: Step, inspection: Inspection, needs_head: bool) -> Step:
    lacks_head = inspection.no_probabilities is not None
    step = replace(step, num_source_classes=inspection.num_source_classes, lacks_head=lacks_head)
    if inspection.no_probabilities and needs_head:
        return replace(step, reason=inspection.no_probabilities, headless=True)
    return step


def _within(steps: Sequence[Step], max_download: int | None) -> list[Step]:
    """Skip what the budget does not hold; a repository listed twice comes once."""
    left, seen, kept = max_download, set(), []
    for step in steps:
        place = step.snapshot.pinned if step.snapshot else None
        if step.download_bytes and place in seen and step.snapshot:
            here = {name: replace(file, cached=True) for name, file in step.snapshot.files.items()}
            step = replace(step, snapshot=replace(step.snapshot, files=here))
        if left is not None and step.download_bytes > left:
            step = replace(
                step,
                reason=f"not downloaded: its {size(step.download_bytes)} do not fit into what is left of the budget "
                f"({size(left)} of {size(max_download or 0)}, --max-download)",
            )
        elif left is not None:
            left -= step.download_bytes
        if step.reason is None:
            seen.add(place)
        kept.append(step)
    return kept


def reason_of(error: Exception) -> str:
    """Why a candidate failed, on one line."""
    if isinstance(error, HfLeepError) or not str(error):
        return one_line(error, 400)
    return f"{type(error).__name__}: {one_line(error, 400)}"
