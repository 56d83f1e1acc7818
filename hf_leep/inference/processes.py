"""The processes of a run: the main one drives, the others run their share of each pass."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from hf_leep.errors import HfLeepError, ProcessError, one_line

if TYPE_CHECKING:
    from accelerate import Accelerator

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)  # the others wait while the main process downloads; one that dies is noticed at once


class ElsewhereError(HfLeepError):
    """Another process failed; all of them know."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def launched() -> int:
    """How many processes the launcher of this run started: torchrun and accelerate say so; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process drives the run; it is the only one that writes and talks."""
    return launched() == 1 or os.environ.get("RANK", "0") == "0"


class Processes:
    """The processes of a run, and what they tell each other. One process is a team as well.

    They talk over a channel of their own on the CPU, whatever device they compute on: there a process that dies closes
    its connections, so that nobody waits for it.

    Args:
        on: the accelerator that was made in each of them; None for one process.
    """

    def __init__(self, on: Accelerator | None = None) -> None:
        self.index = 0 if on is None else int(on.process_index)
        self.size = 1 if on is None else int(on.num_processes)
        self._broken = False
        if self.size > 1:
            import torch.distributed

            self._channel = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
            atexit.register(self._leave)

    @property
    def is_main(self) -> bool:
        """Whether this process drives."""
        return self.index == 0

    def tell(self, message: Any = None) -> Any:
        """Give every process what the main one says; the others call it without a message to hear it.

        Raises:
            ProcessError: another process is gone.
        """
        if self.size == 1 or self._broken:
            return message
        import torch.distributed

        said = [message]
        self._talk(lambda: torch.distributed.broadcast_object_list(said, src=0, group=self._channel))
        return said[0]

    def exchange(self, thing: _T) -> list[_T]:
        """Give every process what each of them says, in their order: all must call it.

        Raises:
            ProcessError: another process is gone.
        """
        said = self._all_of((True, thing))
        for went_well, what in said:
            if not went_well:
                raise ElsewhereError(what)
        return [what for _, what in said]

    def together(self, work: Callable[[], _T]) -> list[_T]:
        """Do something in every process, and give each of them all results, or the first error of any.

        ``work`` may `exchange` in between: a process that failed before takes part with its error, and so nobody waits
        in vain.

        Raises:
            ProcessError: another process is gone.
            Exception: what the work raised, here or in another process.
        """
        try:
            mine = work()
            return self.exchange(mine)
        except ElsewhereError as told:
            raise told.error from None
        except ProcessError:
            raise
        except Exception as error:
            if self.size > 1:
                known = isinstance(error, HfLeepError)  # any other may not survive the way
                self._all_of((False, error if known else RuntimeError(one_line(error))))
            raise
        except BaseException:  # an interruption: the others wait for what will not come, and end with this process
            self._broken = True
            raise

    def _leave(self) -> None:
        # Threads of a channel that outlive the interpreter let go of what they sent when it is gone, and that aborts
        # the process now and then. After a failure nothing is waited for, and the process ends with an error anyway.
        import torch.distributed

        if torch.distributed.is_initialized() and not self._broken:
            torch.distributed.destroy_process_group()

    def _all_of(self, thing: Any) -> list[Any]:
        if self.size == 1:
            return [thing]
        import torch.distributed

        said: list[Any] = [None] * self.size
        self._talk(lambda: torch.distributed.all_gather_object(said, thing, group=self._channel))
        return said

    def _talk(self, action: Callable[[], object]) -> None:
        try:
            action()
        except RuntimeError:
            self._broken = True
            raise ProcessError("another process of this run is gone") from None
