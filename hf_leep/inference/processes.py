"""The processes of a run, and the messages between them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from hf_leep.errors import HfLeepError, ProcessError, UserError, one_line

if TYPE_CHECKING:
    from accelerate import Accelerator

_T = TypeVar("_T")
_TIMEOUT = timedelta(days=7)  # others wait while the main process downloads; a process that dies is noticed at once


@dataclass(frozen=True)
class _Failure:
    """Sent in place of a result by a process whose work failed."""

    error: Exception


class _OtherProcessError(HfLeepError):
    """Another process failed, and every process knows it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def num_launched() -> int:
    """Number of processes that the launcher (torchrun, accelerate) started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_cores() -> int:
    """Number of cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def is_main() -> bool:
    """Whether this is the main process, the only one that writes files and prints."""
    return num_launched() == 1 or os.environ.get("RANK", "0") == "0"


class Processes:
    """The processes that share the passes of a run; a run without a launcher has one.

    Messages are sent over the CPU, whatever device the models run on: when a process dies, its connections close, and
    the others notice at once.

    Args:
        accelerator: the accelerator of this process; None for a run of one process.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self.index = 0 if accelerator is None else int(accelerator.process_index)
        self.size = 1 if accelerator is None else int(accelerator.num_processes)
        self._broken = False
        if self.size > 1:
            import torch.distributed

            self._group = torch.distributed.new_group(backend="gloo", timeout=_TIMEOUT)
            atexit.register(self._close)

    @property
    def is_main(self) -> bool:
        """Whether this is the main process."""
        return self.index == 0

    def broadcast(self, message: object = None) -> object:
        """Send a message from the main process to all others, which call this without a message to receive it.

        Returns:
            The message, in every process.

        Raises:
            ProcessError: another process has died.
        """
        if self.size == 1 or self._broken:
            return message
        import torch.distributed

        messages = [message]
        self._communicate(lambda: torch.distributed.broadcast_object_list(messages, src=0, group=self._group))
        return messages[0]

    def gather(self, value: _T) -> list[_T]:
        """Collect a value from each process; all processes must call this, and all get the list.

        Returns:
            The values, by the index of their process.

        Raises:
            ProcessError: another process has died.
        """
        values = []
        for received in self._gather(value):
            if isinstance(received, _Failure):
                raise _OtherProcessError(received.error)
            values.append(received)
        return values

    def run_in_all(self, work: Callable[[], _T]) -> list[_T]:
        """Do the same work in all processes, and collect the results; all processes must call this.

        ``work`` may call `gather`. When it fails in one process, that process sends its error to the next `gather` of
        the others, so that none waits forever.

        Returns:
            The results, by the index of their process.

        Raises:
            ProcessError: another process has died.
            Exception: what ``work`` raised, here or in the first process in which it failed.
        """
        try:
            return self.gather(work())
        except _OtherProcessError as other:
            raise other.error from None
        except ProcessError:
            raise
        except Exception as error:
            if self.size > 1:
                can_be_sent = isinstance(error, HfLeepError)  # other exceptions may not survive pickling
                self._gather(_Failure(error if can_be_sent else RuntimeError(one_line(error))))
            raise
        except BaseException:  # an interruption: the others see this process end
            self._broken = True
            raise

    def _close(self) -> None:
        # Its threads would outlive the interpreter, and abort the process now and then. After a failure nothing is
        # closed, since that would wait for the others; the process then ends with an error anyway.
        import torch.distributed

        if torch.distributed.is_initialized() and not self._broken:
            torch.distributed.destroy_process_group()

    def _gather(self, value: _T | _Failure) -> list[_T | _Failure]:
        received = [value] * self.size
        if self.size > 1:
            import torch.distributed

            self._communicate(lambda: torch.distributed.all_gather_object(received, value, group=self._group))
        return received

    def _communicate(self, send: Callable[[], object]) -> None:
        try:
            send()
        except RuntimeError:
            self._broken = True
            raise ProcessError("another process of this run is gone") from None


def check_available(device: str | None) -> None:
    """Check that torch can use a device, even if no pass has to be run; the processor and None always pass.

    Raises:
        UserError: it cannot.
    """
    if device not in ("cuda", "mps"):
        return
    import torch

    if not (torch.cuda if device == "cuda" else torch.backends.mps).is_available():
        raise UserError(f"device {device!r} is not available here")
