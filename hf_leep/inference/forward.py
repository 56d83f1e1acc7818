"""The single forward pass: one candidate over one target, class probabilities and penultimate features together."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, HfLeepError, UserError, one_line
from hf_leep.inference.batch_size import BatchSetting, BatchSizeSearch
from hf_leep.inference.loader import Loader, ReadAhead
from hf_leep.inference.outputs import Arrays, PartialPass, Sink, put_together
from hf_leep.inference.sampler import Batch, BatchSampler
from hf_leep.records import Candidate, Extraction, Run

__all__ = ["Arrays", "Loader", "PartialPass", "Sink", "accelerator", "extract", "put_together", "run"]

_T = TypeVar("_T")
COMPILED_BATCH_SIZE = 32  # each other size would be compiled, or generalised, again
HEAD_TOLERANCE = 1e-3  # head(features) against logits, relative to the largest logit; bf16 rounds at 4e-3


class Classifier(Protocol):
    """What the pass needs of a loaded checkpoint; see hf_leep.models."""

    @property
    def model(self) -> nn.Module: ...
    @property
    def head(self) -> nn.Module | None: ...
    @property
    def collate(self) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]: ...
    @property
    def row_wise(self) -> bool: ...
    @property
    def source_labels(self) -> tuple[str, ...]: ...
    @property
    def missing(self) -> Mapping[str, str]: ...
    @property
    def task(self) -> str: ...
    @property
    def processor(self) -> str: ...
    @property
    def processor_backend(self) -> str | None: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def max_seconds(self) -> float | None: ...


class Processes(Protocol):
    """The processes that share the rows; see hf_leep.inference.processes."""

    @property
    def index(self) -> int: ...
    @property
    def size(self) -> int: ...
    def exchange(self, thing: _T) -> list[_T]: ...


class _Alone:
    """A team of one."""

    index, size = 0, 1

    def exchange(self, thing: _T) -> list[_T]:
        return [thing]


class _Catcher:
    """Keep what goes into the head: a forward pre-hook, so the features cost nothing extra."""

    def __init__(self) -> None:
        self.caught: torch.Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.caught = inputs[0]


def accelerator(device: str | None = None) -> Accelerator:
    """Make the accelerator that `extract` runs on.

    Args:
        device: ``"cpu"`` to stay off a GPU, None for the best at hand.

    Raises:
        UserError: another device, or processes that do not find each other.
    """
    if device not in (None, "cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}: cpu, cuda or mps; leave it out for the best one available")
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    # Without a GPU several processes find each other only if they are told to stay on the CPU.
    made = Accelerator(cpu=device == "cpu" or (launched > 1 and not torch.cuda.is_available()))
    if device is not None and made.device.type != device:
        raise UserError(f"device {device!r} is not available here (accelerate found {made.device.type})")
    if made.num_processes != launched:
        raise UserError(
            f"started as {launched} processes, of which accelerate found {made.num_processes}: "
            "launch it with torchrun or `accelerate launch --multi_gpu`"
        )
    return made


def extract(
    classifier: Classifier,
    candidate: Candidate,
    rows: Any,
    labels: Integers,
    *,
    on: Accelerator,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    advance: Callable[[int], object],
    allocate: Callable[[str, tuple[int, ...]], NDArray[np.float32]] | None = None,
) -> Extraction:
    """Run a candidate once over all rows, in this process.

    Args:
        classifier: the loaded checkpoint.
        candidate: its record; the source labels, task and size are filled in.
        rows: the chosen rows, a `Loader` where other candidates run on them too.
        labels: their classes, ``[n]``; where each row holds several examples, those of all of them.
        on: where to run.
        batch_size: rows a batch; chosen by timing the first batches by default; halved where memory does not suffice.
        dtype: number type that a float32 model computes in, where that is safe (autocast).
        compiled: compile the model first (torch.compile).
        advance: called with the number of rows after each batch.
        allocate: makes the float32 arrays to fill, from name and shape; plain memory by default.

    Returns:
        Probabilities ``[n, s]`` (softmax in float32) and features ``[n, d]``, float32; each None with a reason where
        the checkpoint has none.

    Raises:
        CandidateError: the model cannot be run on these rows.
    """
    kept = Arrays(len(labels), allocate)
    feed = rows if isinstance(rows, Loader) else Loader(rows, budget=0)
    share = run(
        classifier,
        candidate,
        feed,
        on=on,
        batch_size=batch_size,
        dtype=dtype,
        compiled=compiled,
        advance=advance,
        sink=kept,
        team=_Alone(),
    )
    return put_together([share], kept.arrays, labels, feed.groups)


def run(
    classifier: Classifier,
    candidate: Candidate,
    feed: Loader,
    *,
    on: Accelerator,
    batch_size: int | None,
    dtype: torch.dtype,
    compiled: bool,
    advance: Callable[[int], object],
    sink: Sink,
    team: Processes,
) -> PartialPass:
    """Run this process's share of the rows, in evaluation mode and without gradients.

    While the model runs one batch, the next one is read and processed.

    Args:
        classifier: the loaded checkpoint.
        candidate: its record.
        feed: the rows.
        on: where to run.
        batch_size: rows a batch, None to choose by timing.
        dtype: number type that a float32 model computes in, where that is safe (autocast).
        compiled: compile the model first.
        advance: called with the number of rows that all processes have run since.
        sink: takes the rows of ``probabilities`` and ``features``, float32.
        team: the processes that share the rows.

    Raises:
        CandidateError: the model cannot be run on these rows.
    """
    started = time.perf_counter()
    was_training = classifier.model.training
    # Among several processes accelerate says cpu:0: a move there would copy the weights, and round in another way.
    device = torch.device("cpu") if on.device.type == "cpu" else on.device
    # Not prepared by the accelerator, which would keep each candidate's model until the run ends.
    model = classifier.model.to(device).eval()
    weights = next(model.parameters()).dtype
    missing = dict(classifier.missing)
    catcher = _Catcher()
    order = feed.order()
    pace = BatchSizeSearch(
        batch_size if batch_size or not compiled else COMPILED_BATCH_SIZE,
        images=classifier.processor_backend is not None,
        on_cpu=device.type == "cpu",
        num_rows=len(order),
        num_processes=team.size,
    )
    deal = BatchSampler(order, pace, team.index, team.size)
    layout = _Layout(model)
    called = torch.compile(model, dynamic=True) if compiled else model
    truncated, verified, told = 0, False, 0
    batch: Batch | None = None
    handle = classifier.head.register_forward_pre_hook(catcher) if classifier.head is not None else None
    try:
        with (
            torch.inference_mode(),
            _computing_in(dtype if weights == torch.float32 else weights, weights, device),
            ReadAhead(feed, classifier) as reader,
        ):
            while not deal.finished:
                batch = deal.next()
                if batch is None:
                    if pace.chosen is None:
                        pace.decide(team.exchange(pace.fastest))
                    continue
                inputs = reader.take(batch)
                if (following := deal.peek()) is not None:
                    reader.start(following)
                before = time.perf_counter()
                cut = int(inputs.pop("num_truncated", 0))
                try:
                    logits = called(**layout.placed(inputs, batch.setting, weights, device)).logits
                    if logits.ndim != 2:
                        raise CandidateError(f"its logits have shape {tuple(logits.shape)}, expected [batch, classes]")
                    if not verified and "features" not in missing:
                        verified = True
                        if why := _bad_catch(classifier.head, catcher, logits, dtype):
                            missing["features"] = why
                    if logits.isnan().any():
                        raise CandidateError(f"its outputs are NaN, first on row {batch.positions[0]} of the sample")
                    if "probabilities" not in missing:
                        sink.put(
                            "probabilities", feed.places(batch.positions), logits.float().softmax(dim=-1).cpu().numpy()
                        )
                    if "features" not in missing and catcher.caught is not None:
                        sink.put(
                            "features", feed.places(batch.positions), catcher.caught.flatten(1).float().cpu().numpy()
                        )
                except (RuntimeError, MemoryError) as error:
                    if not _out_of_memory(error) or not deal.halve(batch):
                        raise
                    _release(device)
                    continue  # the same rows, half of them
                pace.took(batch.setting, (time.perf_counter() - before) / len(batch.positions))
                truncated += cut
                rows_of_all = min(team.size * len(batch.positions), len(order) - told)
                told += rows_of_all
                advance(rows_of_all)
    except HfLeepError:
        raise
    except Exception as error:  # a model can raise anything; what it raised becomes the candidate's reason
        if _out_of_memory(error):
            raise CandidateError(f"out of memory on {device}, even for a batch of one") from None
        where = "" if batch is None else f" on rows {batch.positions.min()} to {batch.positions.max()} of the sample"
        raise CandidateError(f"the forward pass failed{where}: {one_line(error)}") from None
    finally:
        if handle is not None:
            handle.remove()
        layout.restore()
        model.train(was_training)
    described = replace(
        candidate,
        task=classifier.task,
        num_parameters=sum(p.numel() for p in model.parameters()),
        source_labels=() if "probabilities" in missing else classifier.source_labels,
    )
    made = Run(
        processor=f"sha256:{hashlib.sha256(classifier.processor.encode()).hexdigest()}",
        processor_backend=classifier.processor_backend,
        dtype=str(dtype if weights == torch.float32 else weights).removeprefix("torch."),
        device=_device_name(device),
        batch_size=min(deal.limit, pace.chosen.batch_size if pace.chosen else 1),
        seconds=time.perf_counter() - started,
        peak_memory_bytes=_peak_memory(device),
        max_length=classifier.max_length,
        max_seconds=classifier.max_seconds,
        num_truncated=truncated,
        pooling=getattr(classifier.model, "pooled_by", None),
    )
    return PartialPass(described, made, missing)


class _Layout:
    """The memory format of a model and its images: convolutions are often faster with their channels last."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._channels_last = False
        self._can_change = all(weight.ndim < 5 for weight in model.parameters())  # not convolutions over time

    def placed(
        self, batch: Mapping[str, torch.Tensor], setting: BatchSetting, dtype: torch.dtype, device: torch.device
    ) -> dict[str, torch.Tensor]:
        """A batch where the model is, as it wants it."""
        self._change(setting.channels_last and self._can_change)
        placed = {}
        for name, tensor in batch.items():
            x = tensor.pin_memory() if device.type == "cuda" else tensor
            # Processors give float32 pixels; half-precision weights want their own kind.
            x = x.to(device, dtype if x.is_floating_point() else None, non_blocking=True)
            # Pixels of 8 bits are turned into others first; whatever convolves them does the rest.
            last = setting.channels_last and x.ndim == 4 and x.is_floating_point()
            placed[name] = x.contiguous(memory_format=torch.channels_last) if last else x
        return placed

    def restore(self) -> None:
        """Leave a model of the caller's as it was."""
        self._change(False)

    def _change(self, channels_last: bool) -> None:
        if channels_last != self._channels_last:
            self._channels_last = channels_last
            self._model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)  # type: ignore[call-overload]


@contextlib.contextmanager
def _computing_in(dtype: torch.dtype, weights: torch.dtype, device: torch.device) -> Iterator[None]:
    """Autocast, where the weights are float32 and another number type is wanted."""
    if weights != torch.float32 or dtype == torch.float32:
        yield
        return
    with torch.autocast(device.type, dtype=dtype):
        yield


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _bad_catch(head: nn.Module | None, catcher: _Catcher, logits: torch.Tensor, dtype: torch.dtype) -> str | None:
    """Say why what the hook caught is not the penultimate feature of each row; None if it is."""
    if head is None or catcher.caught is None:
        return "the head was not called in the forward pass"
    caught = catcher.caught
    if caught.ndim != 2 or len(caught) != len(logits):
        return f"the head's input has shape {tuple(caught.shape)}, expected one row of features each"
    again = head(caught)
    scale = float(logits.abs().max()) or 1.0
    tolerance = HEAD_TOLERANCE if logits.dtype == dtype == torch.float32 else 10 * HEAD_TOLERANCE
    if again.shape != logits.shape or float((again - logits).abs().max()) > tolerance * scale:
        return "the head's output is not the logits: there is another layer behind it"
    return None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    process = psutil.Process().memory_info()
    if hasattr(process, "peak_wset"):  # Windows
        return int(process.peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB on Linux
    return int(peak if psutil.MACOS else peak * 1024)
