"""The single forward pass: one candidate over one target, class probabilities and penultimate features together."""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from hf_leep.errors import CandidateError, HfLeepError, UserError, one_line
from hf_leep.inference.batch_size import BatchSetting, BatchSizeSearch
from hf_leep.inference.loader import Loader, ReadAhead
from hf_leep.inference.outputs import PartialPass, RowWriter
from hf_leep.inference.processes import Processes, num_launched
from hf_leep.inference.protocols import Classifier
from hf_leep.inference.sampler import Batch, BatchSampler
from hf_leep.inference.skipping import Skipping
from hf_leep.records import BadRow, Candidate, Run

COMPILED_BATCH_SIZE = 32  # torch.compile would compile again for each other size
HEAD_TOLERANCE = 1e-3  # of head(features) against logits, relative to the largest logit; bf16 rounds at 4e-3


def accelerator(device: str | None = None) -> Accelerator:
    """Make the accelerator that `run` uses.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.

    Raises:
        UserError: the device is unknown or not available, or the launched processes do not find each other.
    """
    if device not in (None, "cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}: cpu, cuda or mps; leave it out for the best one available")
    launched = num_launched()
    # Without a GPU, several processes find each other only if accelerate is told to use the CPU.
    made = Accelerator(cpu=device == "cpu" or (launched > 1 and not torch.cuda.is_available()))
    if device is not None and made.device.type != device:
        raise UserError(f"device {device!r} is not available here (accelerate found {made.device.type})")
    if made.num_processes != launched:
        raise UserError(
            f"started as {launched} processes, of which accelerate found {made.num_processes}: "
            "launch it with torchrun or `accelerate launch --multi_gpu`"
        )
    return made


def run(
    classifier: Classifier,
    candidate: Candidate,
    loader: Loader,
    *,
    device: torch.device,
    batch_size: int | None,
    dtype: torch.dtype,
    compiled: bool,
    advance: Callable[[int], object],
    output: RowWriter,
    processes: Processes,
    most_bad_rows: int = 0,
) -> PartialPass:
    """Run this process's share of the rows, in evaluation mode and without gradients.

    While the model runs one batch, the next one is read and processed in a thread.

    Args:
        classifier: the loaded checkpoint.
        candidate: its record; source labels, task and size are filled in.
        loader: reads the rows.
        device: where to run.
        batch_size: rows per batch; None to choose by timing the first batches. It is halved when memory runs out.
        dtype: number type that a float32 model computes in, where that is safe (autocast).
        compiled: compile the model first (torch.compile).
        advance: called after each batch with the number of rows that all processes together have run since.
        output: takes the rows of ``probabilities`` ``[n, s]`` (softmax in float32) and ``features`` ``[n, d]``.
        processes: the processes that share the rows.
        most_bad_rows: number of rows that may be left out because they cannot be read, or the model fails on them.

    Raises:
        CandidateError: the model cannot be run on these rows.
        TargetError: too many rows cannot be read.
    """
    started = time.perf_counter()
    model = _Model(classifier, device, dtype, compiled, loader.where)
    order = loader.order()
    search = BatchSizeSearch(
        batch_size if batch_size or not compiled else COMPILED_BATCH_SIZE,
        images=classifier.processor_backend is not None,
        on_cpu=model.device.type == "cpu",
        num_rows=len(order),
        num_processes=processes.size,
    )
    sampler = BatchSampler(order, search, processes.index, processes.size)
    skipping = Skipping(most_bad_rows, loader, classifier)
    num_cut, num_padded, num_run = 0, 0, 0
    batch: Batch | None = None
    try:
        with _no_warnings_of_large_pictures(), model, ReadAhead(loader, classifier) as ahead:
            while not sampler.finished:
                batch = sampler.next()
                if batch is None:
                    if search.chosen is None:
                        search.choose(processes.gather(search.best_seconds))
                    continue
                rest, inputs = skipping.readable(batch, ahead.inputs)
                if (following := sampler.peek()) is not None:
                    ahead.start(following)
                batch_started = time.perf_counter()
                counts = [int(inputs.pop(name, 0)) for name in ("num_truncated", "num_padded")]
                try:
                    outputs = model.outputs(inputs, rest) if len(rest.positions) else {}
                except Exception as error:  # a model may raise anything
                    if _out_of_memory(error) and sampler.halve(batch):
                        model.release_memory()
                        continue  # with half of the same rows
                    rest, outputs = skipping.runnable(rest, error, model.outputs, _out_of_memory)
                for name, values in outputs.items():
                    output.write(name, loader.examples(rest.positions), values)
                search.record(batch.setting, (time.perf_counter() - batch_started) / len(batch.positions))
                num_cut, num_padded = num_cut + counts[0], num_padded + counts[1]
                num_run += (num_new := min(processes.size * len(batch.positions), len(order) - num_run))
                advance(num_new)
    except HfLeepError:
        raise
    except Exception as error:  # a model may raise anything; the candidate fails for that reason
        row = None if batch is None or _out_of_memory(error) else _failing_row(model, loader, classifier, batch)
        raise _failure(error, row, model.device) from None
    return model.report(
        candidate,
        batch_size=min(sampler.max_batch_size, search.chosen.batch_size if search.chosen else 1),
        seconds=time.perf_counter() - started,
        num_cut=num_cut,
        num_padded=num_padded,
        bad_rows=skipping.found,
    )


class _HeadInput:
    """Keeps the last input of the head. As a forward pre-hook it gets the features at no extra cost."""

    def __init__(self) -> None:
        self.features: torch.Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.features = inputs[0]


class _Model:
    """A classifier's model, ready to run within a ``with`` block that leaves it as it was before.

    It is not prepared by the accelerator, which would keep every candidate's model until the run ends.
    """

    def __init__(
        self,
        classifier: Classifier,
        device: torch.device,
        dtype: torch.dtype,
        compiled: bool,
        where: Callable[[int], str],
    ) -> None:
        # With several processes accelerate says cpu:0. Moving a model there copies its weights and rounds differently.
        self.device = torch.device("cpu") if device.type == "cpu" else device
        self.missing = dict(classifier.missing)
        self._classifier, self._where = classifier, where
        self._was_training = classifier.model.training
        self._model = classifier.model.to(self.device).eval()
        self._weights = next(self._model.parameters()).dtype
        self._dtype = dtype if self._weights == torch.float32 else self._weights  # that it computes in
        self._forward = torch.compile(self._model, dynamic=True) if compiled else self._model
        self._head_input = _HeadInput()
        self._is_checked = False
        self._channels_last = False
        self._can_be_channels_last = all(weight.ndim < 5 for weight in self._model.parameters())  # no 3-D convolutions
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> _Model:
        self._contexts.callback(self._model.train, self._was_training)
        self._contexts.callback(self._set_channels_last, False)
        if self._classifier.head is not None:
            self._contexts.callback(self._classifier.head.register_forward_pre_hook(self._head_input).remove)
        self._contexts.enter_context(torch.inference_mode())
        if self._dtype != self._weights:
            self._contexts.enter_context(torch.autocast(self.device.type, dtype=self._dtype))
        return self

    def __exit__(self, *_: object) -> None:
        self._contexts.close()

    def outputs(self, inputs: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Run a batch: ``probabilities`` ``[b, s]`` and ``features`` ``[b, d]``, without those that are missing."""
        logits = self._forward(**self._placed(inputs, batch.setting)).logits
        if logits.ndim != 2:
            raise CandidateError(f"its logits have shape {tuple(logits.shape)}, expected [batch, classes]")
        if not self._is_checked and "features" not in self.missing:
            self._is_checked = True
            if problem := self._problem_with_features(logits):
                self.missing["features"] = problem
        if (nan := logits.isnan().any(dim=1)).any():
            first = (
                batch.positions[int(nan.int().argmax())] if len(nan) == len(batch.positions) else batch.positions[0]
            )
            raise CandidateError(f"its outputs are NaN, first on {self._where(int(first))}")
        outputs = {}
        if "probabilities" not in self.missing:
            outputs["probabilities"] = logits.float().softmax(dim=-1).cpu().numpy()
        if "features" not in self.missing and self._head_input.features is not None:
            outputs["features"] = self._head_input.features.flatten(1).float().cpu().numpy()
        return outputs

    def release_memory(self) -> None:
        """Return cached memory to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def report(
        self,
        candidate: Candidate,
        *,
        batch_size: int,
        seconds: float,
        num_cut: int,
        num_padded: int,
        bad_rows: tuple[BadRow, ...],
    ) -> PartialPass:
        """Describe the pass that was run.

        Args:
            candidate: its record, as it was before the pass.
            batch_size: rows per batch.
            seconds: wall time of the pass.
            num_cut: rows that were cut.
            num_padded: rows that were padded.
            bad_rows: rows that were left out.
        """
        classifier = self._classifier
        described = replace(
            candidate,
            task=classifier.task,
            num_parameters=sum(p.numel() for p in self._model.parameters()),
            source_labels=() if "probabilities" in self.missing else classifier.source_labels,
        )
        record = Run(
            processor=f"sha256:{hashlib.sha256(classifier.processor.encode()).hexdigest()}",
            processor_backend=classifier.processor_backend,
            dtype=str(self._dtype).removeprefix("torch."),
            device=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            batch_size=batch_size,
            seconds=seconds,
            peak_memory_bytes=_peak_memory(self.device),
            max_length=classifier.max_length,
            max_seconds=classifier.max_seconds,
            num_truncated=num_cut,
            num_padded=num_padded,
            pooling=getattr(classifier.model, "pooled_by", None),
        )
        return PartialPass(described, record, self.missing, bad_rows)

    def _placed(self, inputs: Mapping[str, torch.Tensor], setting: BatchSetting) -> dict[str, torch.Tensor]:
        """Inputs on the device, in the number type and the memory format of the model."""
        self._set_channels_last(setting.channels_last and self._can_be_channels_last)
        placed = {}
        for name, tensor in inputs.items():
            x = tensor.pin_memory() if self.device.type == "cuda" else tensor
            # Processors return float32 pixels; half-precision weights need inputs of their own type.
            x = x.to(self.device, self._weights if x.is_floating_point() else None, non_blocking=True)
            # Pixels of 8 bits are converted by the model first, whose convolutions then choose the format.
            last = setting.channels_last and x.ndim == 4 and x.is_floating_point()
            placed[name] = x.contiguous(memory_format=torch.channels_last) if last else x
        return placed

    def _set_channels_last(self, channels_last: bool) -> None:
        if channels_last != self._channels_last:
            self._channels_last = channels_last
            self._model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)  # type: ignore[call-overload]

    def _problem_with_features(self, logits: torch.Tensor) -> str | None:
        """Why the input of the head is not the penultimate feature of each row; None if it is."""
        head, features = self._classifier.head, self._head_input.features
        if head is None or features is None:
            return "the head was not called in the forward pass"
        if features.ndim != 2 or len(features) != len(logits):
            return f"the head's input has shape {tuple(features.shape)}, expected one row of features each"
        expected = head(features)
        scale = float(logits.abs().max()) or 1.0
        tolerance = HEAD_TOLERANCE if logits.dtype == self._dtype == torch.float32 else 10 * HEAD_TOLERANCE
        if expected.shape != logits.shape or float((expected - logits).abs().max()) > tolerance * scale:
            return "the head's output is not the logits: there is another layer behind it"
        return None


@contextlib.contextmanager
def _no_warnings_of_large_pictures() -> Iterator[None]:
    """Pillow warns of half the size that it refuses; a picture is either read or named."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
        yield


def _failing_row(model: _Model, loader: Loader, classifier: Classifier, batch: Batch) -> str | None:
    """The first row of a batch on which a model fails by itself; None if it only fails on the batch."""
    if model.device.type != "cpu":  # an error inside a GPU may make all later calls fail
        return None
    with model:
        for position in batch.positions:
            try:
                inputs = loader.batch(classifier, [int(position)])
                inputs.pop("num_truncated", None)
                inputs.pop("num_padded", None)
                model.outputs(inputs, replace(batch, positions=np.array([position])))
            except Exception:  # whatever it is, the batch's own error is reported
                return loader.where(int(position))
    return None


def _failure(error: Exception, row: str | None, device: torch.device) -> CandidateError:
    if _out_of_memory(error):
        return CandidateError(f"out of memory on {device}, even for a batch of one")
    return CandidateError(f"the forward pass failed{f' on {row}' if row else ''}: {one_line(error)}")


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    process = psutil.Process().memory_info()
    if hasattr(process, "peak_wset"):  # Windows
        return int(process.peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB on Linux
    return int(peak if psutil.MACOS else peak * 1024)


def device_names() -> list[str]:
    """The accelerators that a pass can run on, or the CPU where there is none."""
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]
