"""The single forward pass: one candidate over one target, class probabilities and penultimate features together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, HfLeepError, UserError, one_line
from hf_leep.records import Candidate, Extraction, Run

HEAD_TOLERANCE = 1e-3  # head(features) against logits, relative to the largest logit; bf16 rounds at 4e-3


class Classifier(Protocol):
    """What the pass needs of a loaded checkpoint; see hf_leep.modalities."""

    @property
    def model(self) -> nn.Module: ...  # noqa: D102
    @property
    def head(self) -> nn.Module | None: ...  # noqa: D102
    @property
    def collate(self) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]: ...  # noqa: D102
    @property
    def source_labels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def missing(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def processor(self) -> str: ...  # noqa: D102
    @property
    def processor_backend(self) -> str | None: ...  # noqa: D102
    @property
    def max_length(self) -> int | None: ...  # noqa: D102


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
        UserError: another device, or several processes.
    """
    if device not in (None, "cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}: cpu, cuda or mps; leave it out for the best at hand")
    made = Accelerator(cpu=device == "cpu")
    if device is not None and made.device.type != device:
        raise UserError(f"device {device!r} is not available here (accelerate found {made.device.type})")
    if made.num_processes != 1:
        raise UserError(f"started as {made.num_processes} processes; hf_leep runs as one: drop `accelerate launch`")
    return made


def extract(
    classifier: Classifier,
    candidate: Candidate,
    rows: Any,
    labels: Integers,
    *,
    on: Accelerator,
    batch_size: int,
    advance: Callable[[int], object],
    allocate: Callable[[str, tuple[int, ...]], NDArray[np.float32]] | None = None,
) -> Extraction:
    """Run a candidate once over all rows, in evaluation mode and without gradients.

    Args:
        classifier: the loaded checkpoint.
        candidate: its record; the source labels, task and size are filled in.
        rows: the chosen rows, a ``datasets.Dataset`` of n rows with the input columns.
        labels: their classes, ``[n]``.
        on: where to run.
        batch_size: rows a batch.
        advance: called with the number of rows after each batch.
        allocate: makes the float32 arrays to fill, from name and shape; plain memory by default.

    Returns:
        Probabilities ``[n, s]`` (softmax in float32) and features ``[n, d]``, float32; each None with a reason where
        the checkpoint has none.

    Raises:
        CandidateError: the model cannot be run on these rows.
    """
    started = time.perf_counter()
    was_training = classifier.model.training
    model = on.prepare_model(classifier.model, evaluation_mode=True).eval()
    # A generator of its own: even an unshuffled DataLoader draws a seed, from the global one by default.
    loader = on.prepare_data_loader(
        DataLoader(rows, batch_size=batch_size, collate_fn=classifier.collate, generator=torch.Generator())
    )
    allocate = allocate or (lambda _name, shape: np.empty(shape, dtype=np.float32))
    missing = dict(classifier.missing)
    catcher = _Catcher()
    handle = classifier.head.register_forward_pre_hook(catcher) if classifier.head is not None else None
    probabilities: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    dtype = next(model.parameters()).dtype
    n, done, truncated = len(labels), 0, 0
    try:
        with torch.inference_mode():
            for batch in loader:
                truncated += int(batch.pop("num_truncated", 0))
                # Processors give float32 pixels; half-precision weights want their own kind.
                batch = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.items()}
                logits = model(**batch).logits
                if logits.ndim != 2:
                    raise CandidateError(f"its logits have shape {tuple(logits.shape)}, expected [batch, classes]")
                if done == 0 and "features" not in missing and (why := _bad_catch(classifier.head, catcher, logits)):
                    missing["features"] = why
                if logits.isnan().any():
                    raise CandidateError(f"its outputs are NaN, first on rows {done} to {done + len(logits) - 1}")
                stop = done + len(logits)
                if "probabilities" not in missing:
                    if probabilities is None:
                        probabilities = allocate("probabilities", (n, logits.shape[1]))
                    probabilities[done:stop] = logits.float().softmax(dim=-1).cpu().numpy()
                if "features" not in missing and catcher.caught is not None:
                    caught = catcher.caught.flatten(1).float().cpu().numpy()
                    if features is None:
                        features = allocate("features", (n, caught.shape[1]))
                    features[done:stop] = caught
                done = stop
                advance(len(logits))
    except HfLeepError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise CandidateError(f"out of memory on {on.device} at batch size {batch_size}: lower --batch-size") from None
    except Exception as error:  # a model can raise anything; what it raised becomes the candidate's reason
        text = one_line(error)
        last = min(done + batch_size, n) - 1
        raise CandidateError(f"the forward pass failed on rows {done} to {last} of the sample: {text}") from None
    finally:
        if handle is not None:
            handle.remove()
        model.train(was_training)
    if done != n:
        raise CandidateError(f"the pass gave {done} outputs for {n} rows")

    run = Run(
        processor=f"sha256:{hashlib.sha256(classifier.processor.encode()).hexdigest()}",
        processor_backend=classifier.processor_backend,
        dtype=str(dtype).removeprefix("torch."),
        device=_device_name(on.device),
        batch_size=batch_size,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=_peak_memory(on.device),
        max_length=classifier.max_length,
        num_truncated=truncated,
        pooling=getattr(classifier.model, "pooled_by", None),
    )
    described = replace(
        candidate,
        task=classifier.task,
        num_parameters=sum(p.numel() for p in model.parameters()),
        source_labels=() if "probabilities" in missing else classifier.source_labels,
    )
    return Extraction(described, probabilities, features, labels, run, missing)


def _bad_catch(head: nn.Module | None, catcher: _Catcher, logits: torch.Tensor) -> str | None:
    """Say why what the hook caught is not the penultimate feature of each row; None if it is."""
    if head is None or catcher.caught is None:
        return "the head was not called in the forward pass"
    caught = catcher.caught
    if caught.ndim != 2 or len(caught) != len(logits):
        return f"the head's input has shape {tuple(caught.shape)}, expected one row of features each"
    again = head(caught)
    scale = float(logits.abs().max()) or 1.0
    tolerance = HEAD_TOLERANCE if logits.dtype == torch.float32 else 10 * HEAD_TOLERANCE
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
