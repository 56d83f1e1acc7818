"""What a run will do with each candidate, decided before any weights are downloaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from hf_leep import hub
from hf_leep.errors import CandidateError, HfLeepError, HubLimitError, ProcessError, UserError, one_line, option
from hf_leep.measures import find
from hf_leep.records import Candidate, Result, Target
from hf_leep.text import plain, size

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

    from hf_leep.models import Inspection
    from hf_leep.report.card.plan import PlanData
    from hf_leep.runs.isolation import Isolation
    from hf_leep.runs.memory import Memory

# (name, model, processor)
ModelInMemory: TypeAlias = "tuple[str, Module, object]"
# A folder, a repository id, or a model in memory.
CandidateLike: TypeAlias = "str | Path | ModelInMemory"

_T = TypeVar("_T")
_LOG = logging.getLogger("hf_leep")

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "position_ids")  # stored, but not parameters
_NUM_THREADS = 8  # candidates that are looked at simultaneously


@dataclass(frozen=True)
class Step:
    """What a run will do with one candidate.

    Attributes:
        name: the candidate's name, as the user gave it.
        candidate: what is known about it so far.
        model: ``(name, model, processor)`` if it is in memory.
        snapshot: where its files are, or will come from; None for a model in memory, or if the name could not be
            resolved.
        stored: whether its pass is in the store already.
        reason: why it is skipped; None if it will be run, or taken from the store.
        headless: whether it is skipped only because it has no usable head.
        num_source_classes: outputs of its head, if known.
        lacks_head: whether it is known to have no usable head, skipped for that reason or not.
        for_features: whether it is run although it is skipped, since the second opinion needs only its features.
        suspect: whether an earlier run was killed while it was at it; it is run last.
    """

    name: str
    candidate: Candidate
    model: ModelInMemory | None = None
    snapshot: hub.Snapshot | None = None
    stored: bool = False
    reason: str | None = None
    headless: bool = False
    num_source_classes: int | None = None
    lacks_head: bool = False
    for_features: bool = False
    suspect: bool = False

    @property
    def is_run(self) -> bool:
        """Whether its pass is run, or taken from the store."""
        return self.reason is None or self.for_features

    @property
    def download_bytes(self) -> int:
        """Number of bytes to download for it."""
        return self.snapshot.download_bytes if self.snapshot and not self.stored and self.is_run else 0

    def skipped(self) -> Result:
        """The result of a candidate that is skipped."""
        return Result(self.candidate, reason=self.reason, headless=self.headless)

    def as_planned(self, result: Result) -> Result:
        """A candidate's result; if it was run for its features alone, no more than these show."""
        return result if self.reason is None else replace(self.skipped(), head_accuracy=result.head_accuracy)


@dataclass(frozen=True, repr=False)
class Plan:
    """What a run will do.

    Attributes:
        target: the examples.
        steps: one for each candidate, in the order in which they were named.
    """

    target: Target
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        """One line; ``data`` has the content."""
        run = [step for step in self.steps if step.is_run]
        stored = sum(step.stored for step in run)
        parts = [f"{len(run) - stored} to run"]
        parts += [f"{stored} in the store"] if stored else []
        parts += [f"{len(self.steps) - len(run)} skipped"]
        parts += [f"{size(self.download_bytes)} to download"] if self.download_bytes else []
        return f"<hf_leep plan: {', '.join(parts)}>"

    @property
    def download_bytes(self) -> int:
        """Number of bytes to download in total."""
        return sum(step.download_bytes for step in self.steps)

    @property
    def in_order(self) -> list[Step]:
        """The steps in the order in which they are run: a candidate that may have ended an earlier run is the last."""
        return sorted(self.steps, key=lambda step: step.suspect)

    @property
    def num_headless(self) -> int:
        """How many of the candidates that can run are known to have no usable head."""
        return sum(step.lacks_head for step in self.steps if step.reason is None)

    @property
    def worth_showing(self) -> bool:
        """Whether anything is downloaded or skipped."""
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
                    "headless": step.headless,
                    "for_features": step.for_features,
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
    isolation: Isolation,
    memory: Memory,
    max_download: int | None = None,
    advance: Callable[[int], object] = lambda _candidates: None,
) -> Plan:
    """Resolve every candidate, check its head, and add up the downloads.

    Args:
        candidates: name → candidate.
        target: the examples.
        measures: the measures that will be computed.
        client: how to reach the Hub.
        stored: snapshot → the stored description of its pass, or None.
        isolation: judges the candidates.
        memory: what is remembered of candidates that ended the process that ran them.
        max_download: number of bytes that may be downloaded; candidates that do not fit, in the order of the list, are
            skipped.
        advance: called after each candidate.
    """
    needs_head = all(find(name).needs == "probabilities" for name in measures)
    look = partial(_look, client=client, stored=stored, memory=memory, needs_head=needs_head)
    steps: list[Step] = []
    suspects: list[tuple[int, hub.Peek]] = []
    for step, peeked in _in_threads([partial(look, name, candidate) for name, candidate in candidates.items()]):
        # Not in the threads: this silences the log of transformers, which belongs to the whole process.
        if peeked is not None and step.suspect:
            suspects.append((len(steps), peeked))
        elif peeked is not None:
            step = _inspect(step, peeked, target, isolation, memory, needs_head)
        elif step.model is not None:
            step = _inspect_model(step, step.model[1], target, needs_head)
        steps.append(step)
        advance(1)
    for index, peeked in suspects:
        steps[index] = _inspect(steps[index], peeked, target, isolation, memory, needs_head)
    if any(step.reason is None for step in steps):  # otherwise there is no order that features could contradict
        steps = [replace(step, for_features=step.headless) for step in steps]
    return Plan(target, tuple(_within_budget(steps, max_download)))


def _in_threads(calls: Sequence[Callable[[], _T]]) -> Iterator[_T]:
    """Make calls in a few threads, and give their results in the order of the calls.

    The threads are daemons: an interrupted process does not wait for a slow Hub, as an executor would.
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

    for _ in range(min(_NUM_THREADS, len(pairs))):
        threading.Thread(target=work, daemon=True).start()
    for _, future in pairs:
        yield future.result()


def _look(
    name: str,
    candidate: CandidateLike,
    client: hub.Client,
    stored: Callable[[hub.Snapshot], Mapping[str, Any] | None],
    memory: Memory,
    needs_head: bool,
) -> tuple[Step, hub.Peek | None]:
    """Pin a candidate and read its configuration, unless its pass is in the store."""
    if isinstance(candidate, tuple):
        return Step(name, Candidate(name), model=candidate), None
    step = Step(name, Candidate(name))
    try:
        snapshot = hub.resolve(candidate if isinstance(candidate, str) else str(candidate), client)
        step = replace(step, snapshot=snapshot, candidate=snapshot.candidate)
        if (refusal := memory.refusal(snapshot)) is not None:
            return replace(step, reason=refusal), None
        step = replace(step, suspect=memory.is_suspect(snapshot))
        if step.suspect:
            _LOG.warning("an earlier run was killed while it was at %s, which is tried again at the end", plain(name))
        known = stored(snapshot)
        if known is None:
            peeked = hub.peek(snapshot, client)
            return replace(step, snapshot=snapshot.with_sizes(peeked.sizes)), peeked
        return _from_store(step, known, needs_head), None
    except (UserError, HubLimitError):  # of the token, and of the Hub: no candidate's fault
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return replace(step, reason=reason_of(error)), None


def _from_store(step: Step, description: Mapping[str, Any], needs_head: bool) -> Step:
    """Fill in what the description of a stored pass says about its candidate."""
    try:
        about, missing = description["candidate"], description["missing"].get("probabilities")
        classes, parameters = len(about["source_labels"]), about["num_parameters"]
    except (KeyError, TypeError, AttributeError):  # written by another version: the run makes it again
        return step
    step = replace(
        step, stored=True, candidate=replace(step.candidate, num_parameters=parameters), lacks_head=bool(missing)
    )
    if missing and needs_head:
        return replace(step, reason=str(missing), headless=True)
    return replace(step, num_source_classes=None if missing else classes)


def _inspect(
    step: Step, peeked: hub.Peek, target: Target, isolation: Isolation, memory: Memory, needs_head: bool
) -> Step:
    """Decide by the configuration and the shapes of the weights whether a candidate can be run."""
    parameters = None
    if peeked.shapes is not None:
        parameters = sum(prod(shape) for name, shape in peeked.shapes.items() if not name.endswith(_BUFFERS))
    step = replace(step, candidate=replace(step.candidate, num_parameters=parameters))
    try:
        with memory.running(step.snapshot, forget=False):
            inspection = isolation.inspect(peeked, target)
    except (UserError, ProcessError):
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return replace(step, reason=reason_of(error))
    return _with_inspection(step, inspection, needs_head)


def _inspect_model(step: Step, model: Module, target: Target, needs_head: bool) -> Step:
    """Decide whether a model in memory has a head."""
    from hf_leep.models import ADAPTERS

    try:
        inspection = ADAPTERS[target.modality].inspect_model(cast("PreTrainedModel", model), target.class_names)
    except CandidateError as error:
        return replace(step, reason=reason_of(error))
    except AttributeError:  # not a model of transformers: its pass will say what is wrong
        return step
    return _with_inspection(step, inspection, needs_head)


def _with_inspection(step: Step, inspection: Inspection, needs_head: bool) -> Step:
    lacks_head = inspection.no_probabilities is not None
    step = replace(step, num_source_classes=inspection.num_source_classes, lacks_head=lacks_head)
    if inspection.no_probabilities and needs_head:
        return replace(step, reason=inspection.no_probabilities, headless=True)
    return step


def _within_budget(steps: Sequence[Step], max_download: int | None) -> list[Step]:
    """Skip the candidates that exceed the budget; a repository that is listed twice is downloaded once."""
    left, seen = max_download, set()
    kept = list(steps)
    # Those that will have a rank go first.
    for index, step in sorted(enumerate(steps), key=lambda pair: pair[1].for_features):
        place = step.snapshot.pinned if step.snapshot else None
        if step.download_bytes and place in seen and step.snapshot:
            here = {name: replace(file, cached=True) for name, file in step.snapshot.files.items()}
            step = replace(step, snapshot=replace(step.snapshot, files=here))
        if left is not None and step.download_bytes > left and step.for_features:
            step = replace(step, for_features=False)
        elif left is not None and step.download_bytes > left:
            step = replace(
                step,
                reason=f"not downloaded: its {size(step.download_bytes)} do not fit into what is left of the budget "
                f"({size(left)} of {size(max_download or 0)}, {option('hub.max_download')})",
            )
        elif left is not None:
            left -= step.download_bytes
        if step.is_run:
            seen.add(place)
        kept[index] = step
    return kept


def reason_of(error: BaseException) -> str:
    """Why a candidate failed, on one line; options stay marked."""
    if isinstance(error, HfLeepError) or not str(error):
        return one_line(error, 400)
    return f"{type(error).__name__}: {one_line(error, 400)}"
