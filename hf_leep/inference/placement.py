"""Where a model runs: everything about a batch that differs between a CPU and a GPU.

On a GPU, a batch takes these steps, none of which the model waits for:

1. The thread that makes inputs copies them to pinned memory (`pinned`).
2. A stream of its own copies them to the GPU while the batch before them is run (`placed`). 8-bit pixels are copied as
   they are, a quarter of float32; the model scales them.
3. The model runs, and softmax and the cast to float32 follow on the GPU.
4. Another stream copies the results to pinned memory while the next batch runs (`start_copying`), and `Copies.wait`
   waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from hf_leep.inference.batch_size import BatchSetting


@dataclass(frozen=True, eq=False)
class Copies:
    """Results of a batch on their way to the memory of this process.

    Attributes:
        tensors: name → tensor on the CPU, complete after `wait`.
        copied: when they are complete; None if they are.
    """

    tensors: Mapping[str, torch.Tensor]
    copied: torch.cuda.Event | None = None

    def wait(self) -> Mapping[str, torch.Tensor]:
        """The results."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.tensors


class Placement:
    """Runs a model on a device.

    Args:
        model: the model, which is moved there.
        device: the device.
        dtype: number type that a float32 model computes in, where that is safe (autocast).
    """

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        # With several processes accelerate says cpu:0. Moving a model there copies its weights and rounds differently.
        self.device = torch.device("cpu") if device.type == "cpu" else device
        self._model = model.to(self.device)
        self._weights = next(model.parameters()).dtype
        self.dtype = dtype if self._weights == torch.float32 else self._weights
        self._channels_last = False
        self._can_be_channels_last = all(weight.ndim < 5 for weight in model.parameters())  # no 3-D convolutions
        on_gpu = self.device.type == "cuda"
        self._copies_in = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._copies_out = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]

    @property
    def overlaps(self) -> bool:
        """Whether a call of the model returns before it has run, so that results can be fetched a batch later."""
        return self._copies_out is not None

    @property
    def name(self) -> str:
        """What the device is called."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def num_threads(self) -> int:
        """Cores of this machine that the model keeps busy."""
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    def computing(self) -> contextlib.AbstractContextManager[object]:
        """A context in which the model computes in the number type that was asked for."""
        if self.dtype == self._weights:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def pinned(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Inputs in memory from which a GPU copies by itself; called by the thread that makes them."""
        if self.device.type != "cuda":
            return inputs
        return {name: x.pin_memory() for name, x in inputs.items()}

    def placed(self, inputs: Mapping[str, torch.Tensor], setting: BatchSetting) -> dict[str, torch.Tensor]:
        """Inputs on the device, in the number type and the memory format of the model."""
        self.set_channels_last(setting.channels_last and self._can_be_channels_last)
        if self._copies_in is None:
            return {name: self._formatted(x.to(self.device), setting) for name, x in inputs.items()}
        with torch.cuda.stream(self._copies_in):
            copied = {name: x.to(self.device, non_blocking=True) for name, x in inputs.items()}
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copies_in)
        for x in copied.values():
            x.record_stream(current)  # its memory is not used again before the model is done with it
        return {name: self._formatted(x, setting) for name, x in copied.items()}

    def start_copying(self, results: Mapping[str, torch.Tensor]) -> Copies:
        """Start to copy results to the memory of this process; the next batch may start meanwhile."""
        if self._copies_out is None:
            return Copies({name: x.cpu() for name, x in results.items()})
        self._copies_out.wait_stream(torch.cuda.current_stream(self.device))
        tensors = {}
        with torch.cuda.stream(self._copies_out):
            for name, x in results.items():
                tensors[name] = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
                tensors[name].copy_(x, non_blocking=True)
                x.record_stream(self._copies_out)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._copies_out)
        return Copies(tensors, copied)

    def set_channels_last(self, channels_last: bool) -> None:
        """Choose how the model's weights lie in memory."""
        if channels_last != self._channels_last:
            self._channels_last = channels_last
            self._model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)  # type: ignore[call-overload]

    def release_memory(self) -> None:
        """Return cached memory to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def peak_memory(self) -> int:
        """Largest number of bytes in use: on the GPU, or of this process."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        process = psutil.Process().memory_info()
        if hasattr(process, "peak_wset"):  # Windows
            return int(process.peak_wset)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB on Linux
        return int(peak if psutil.MACOS else peak * 1024)

    def _formatted(self, x: torch.Tensor, setting: BatchSetting) -> torch.Tensor:
        # Processors return float32 pixels; half-precision weights need inputs of their own type.
        x = x.to(self._weights) if x.is_floating_point() else x
        # Pixels of 8 bits are converted by the model first, whose convolutions then choose the format.
        last = setting.channels_last and x.ndim == 4 and x.is_floating_point()
        return x.contiguous(memory_format=torch.channels_last) if last else x
