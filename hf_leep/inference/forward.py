"""The single forward pass: one candidate over one target, class probabilities and penultimate features together."""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from hf_leep.errors import CandidateError, HfLeepError, UserError, one_line
from hf_leep.inference.batch_size import BatchSizeSearch
from hf_leep.inference.feed import Feed
from hf_leep.inference.initial_weights import is_untrained
from hf_leep.inference.loader import Loader
from hf_leep.inference.outputs import PartialPass, RowWriter
from hf_leep.inference.placement import Copies, Placement
from hf_leep.inference.pool import Pool
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
    pool: Pool | None = None,
    workers: int | None = 0,
    num_sharing: int = 1,
    most_bad_rows: int = 0,
) -> PartialPass:
    """Run this process's share of the rows, in evaluation mode and without gradients.

    While the model runs one batch, the next ones are read and processed, and on a GPU the results of the one before
    are copied back.

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
        pool: other processes that read and process rows.
        workers: their number; 0 for none, None to choose it by timing the first batches.
        num_sharing: number of runs that share this machine's cores, this one included.
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
    shared = _Pass(loader, len(order), output, advance, processes.size)
    skipping = Skipping(most_bad_rows, loader, classifier)
    batch: Batch | None = None
    overlaps = model.placement.overlaps
    feed = Feed(loader, classifier, pool, workers, model.placement.pinned, num_sharing * processes.size)
    try:
        with _no_warnings_of_large_pictures(), model, feed:
            while not sampler.finished:
                batch = sampler.next()
                if batch is None:
                    if search.chosen is None:
                        search.choose(processes.gather(search.best_seconds))
                    continue
                feed.start([batch, *sampler.upcoming(feed.depth)])
                rest, inputs = skipping.readable(batch, feed.inputs)
                batch_started = time.perf_counter()
                counts = [int(inputs.pop(name, 0)) for name in ("num_truncated", "num_padded")]
                try:
                    results = model.start(inputs, rest) if len(rest.positions) else None
                    # At once while batches are timed, and where bad rows are to be found one by one.
                    if results is not None and (not overlaps or search.chosen is None or most_bad_rows):
                        results.wait()
                except Exception as error:  # a model may raise anything
                    if _out_of_memory(error) and sampler.halve(batch):
                        model.placement.release_memory()
                        continue  # with half of the same rows
                    results = _Results.of(*skipping.runnable(rest, error, model.outputs, _out_of_memory))
                seconds = (time.perf_counter() - batch_started) / len(batch.positions)
                search.record(batch.setting, seconds)
                shared.take(results, len(batch.positions), counts, later=overlaps)
                feed.choose(seconds, model.placement.num_threads, len(order) - shared.num_run)
            shared.finish()
    except HfLeepError:
        raise
    except Exception as error:  # a model may raise anything; the candidate fails for that reason
        row = None if batch is None or _out_of_memory(error) else _failing_row(model, loader, classifier, batch)
        raise _failure(error, row, model.device) from None
    return model.report(
        candidate,
        batch_size=min(sampler.max_batch_size, search.chosen.batch_size if search.chosen else 1),
        seconds=time.perf_counter() - started,
        num_cut=shared.num_cut,
        num_padded=shared.num_padded,
        bad_rows=skipping.found,
    )


@dataclass(frozen=True, eq=False)
class _Results:
    """What a model made of a batch, which may still be on its way."""

    batch: Batch
    copies: Copies
    where: Callable[[int], str]

    @classmethod
    def of(cls, batch: Batch, outputs: Mapping[str, torch.Tensor]) -> _Results:
        """Those that are there already."""
        return cls(batch, Copies({**outputs, "nan": torch.zeros(1, dtype=torch.bool)}), str)

    def wait(self) -> Mapping[str, torch.Tensor]:
        """The results: ``probabilities`` ``[b, s]`` and ``features`` ``[b, d]``, without those that are missing.

        Raises:
            CandidateError: some are NaN.
        """
        results = dict(self.copies.wait())
        nan = results.pop("nan")
        if nan.any():
            positions = self.batch.positions
            first = positions[int(nan.int().argmax())] if len(nan) == len(positions) else positions[0]
            raise CandidateError(f"its outputs are NaN, first on {self.where(int(first))}")
        return results


class _Pass:
    """The rows of a pass that are done: each batch at once, or after the next one has started."""

    def __init__(
        self, loader: Loader, num_rows: int, output: RowWriter, advance: Callable[[int], object], num_processes: int
    ) -> None:
        self.num_run = self.num_cut = self.num_padded = 0
        self._loader, self._num_rows, self._output = loader, num_rows, output
        self._advance, self._num_processes = advance, num_processes
        self._last: tuple[_Results | None, int, list[int]] | None = None

    def take(self, results: _Results | None, num_rows: int, counts: list[int], later: bool) -> None:
        """Write the results of a batch, or those of the batch before it.

        Args:
            results: the results; None if all of its rows were left out.
            num_rows: number of its rows, with those that were left out.
            counts: numbers of rows that were cut, and padded.
            later: whether to write them after the next batch has started.
        """
        self.finish()
        self._last = results, num_rows, counts
        if not later:
            self.finish()

    def finish(self) -> None:
        """Write the results that were left for later."""
        if self._last is None:
            return
        (results, num_rows, (num_cut, num_padded)), self._last = self._last, None
        if results is not None:
            examples = self._loader.examples(results.batch.positions)
            for name, values in results.wait().items():
                self._output.write(name, examples, values.numpy())
        self.num_cut += num_cut
        self.num_padded += num_padded
        self.num_run += (num_new := min(self._num_processes * num_rows, self._num_rows - self.num_run))
        self._advance(num_new)


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
        self.missing = dict(classifier.missing)
        self._classifier, self._where = classifier, where
        self._was_training = classifier.model.training
        self._model = classifier.model.eval()
        self._untrained = is_untrained(self._model, classifier.head)  # before the weights are on a device
        self.placement = Placement(self._model, device, dtype)
        self.device = self.placement.device
        self._forward = torch.compile(self._model, dynamic=True) if compiled else self._model
        self._head_input = _HeadInput()
        self._is_checked = False
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> _Model:
        self._contexts.callback(self._model.train, self._was_training)
        self._contexts.callback(self.placement.set_channels_last, False)
        if self._classifier.head is not None:
            self._contexts.callback(self._classifier.head.register_forward_pre_hook(self._head_input).remove)
        self._contexts.enter_context(torch.inference_mode())
        self._contexts.enter_context(self.placement.computing())
        return self

    def __exit__(self, *_: object) -> None:
        self._contexts.close()

    def start(self, inputs: Mapping[str, torch.Tensor], batch: Batch) -> _Results:
        """Start to run a batch; on a CPU it has run then."""
        logits = self._forward(**self.placement.placed(inputs, batch.setting)).logits
        if logits.ndim != 2:
            raise CandidateError(f"its logits have shape {tuple(logits.shape)}, expected [batch, classes]")
        if not self._is_checked and "features" not in self.missing:
            self._is_checked = True
            if problem := self._problem_with_features(logits):
                self.missing["features"] = problem
        results = {"nan": logits.isnan().any(dim=1)}
        if "probabilities" not in self.missing:
            results["probabilities"] = logits.float().softmax(dim=-1)
        if "features" not in self.missing and self._head_input.features is not None:
            results["features"] = self._head_input.features.flatten(1).float()
        return _Results(batch, self.placement.start_copying(results), self._where)

    def outputs(self, inputs: Mapping[str, torch.Tensor], batch: Batch) -> Mapping[str, torch.Tensor]:
        """Run a batch, and wait for its results."""
        return self.start(inputs, batch).wait()

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
            untrained=self._untrained,
        )
        record = Run(
            processor=f"sha256:{hashlib.sha256(classifier.processor.encode()).hexdigest()}",
            processor_backend=classifier.processor_backend,
            dtype=str(self.placement.dtype).removeprefix("torch."),
            device=self.placement.name,
            batch_size=batch_size,
            seconds=seconds,
            peak_memory_bytes=self.placement.peak_memory(),
            max_length=classifier.max_length,
            max_seconds=classifier.max_seconds,
            num_truncated=num_cut,
            num_padded=num_padded,
            pooling=getattr(classifier.model, "pooled_by", None),
        )
        return PartialPass(described, record, self.missing, bad_rows)

    def _problem_with_features(self, logits: torch.Tensor) -> str | None:
        """Why the input of the head is not the penultimate feature of each row; None if it is."""
        head, features = self._classifier.head, self._head_input.features
        if head is None or features is None:
            return "the head was not called in the forward pass"
        if features.ndim != 2 or len(features) != len(logits):
            return f"the head's input has shape {tuple(features.shape)}, expected one row of features each"
        expected = head(features)
        scale = float(logits.abs().max()) or 1.0
        tolerance = HEAD_TOLERANCE if logits.dtype == self.placement.dtype == torch.float32 else 10 * HEAD_TOLERANCE
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
                model.start(inputs, replace(batch, positions=np.array([position]))).wait()
            except Exception:  # whatever it is, the batch's own error is reported
                return loader.where(int(position))
    return None


def _failure(error: Exception, row: str | None, device: torch.device) -> CandidateError:
    if _out_of_memory(error):
        return CandidateError(f"out of memory on {device}, even for a batch of one row", out_of_memory=True)
    return CandidateError(f"the forward pass failed{f' on {row}' if row else ''} ({one_line(error)})")


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def device_names() -> list[str]:
    """The accelerators that a pass can run on, or the CPU where there is none."""
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]
