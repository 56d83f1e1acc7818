"""What a run does about candidates that ended the process that ran them, in an earlier run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hf_leep import hub
from hf_leep.errors import option
from hf_leep.store.attempts import Attempt, Attempts

_MOST_KILLED = 2  # runs at one candidate, after which it is not tried any more


@dataclass(frozen=True)
class Memory:
    """What a run remembers of earlier attempts at its candidates.

    Attributes:
        attempts: the attempts that came to no orderly end.
        key: the key of a candidate and of what is done with it.
        retry: try such candidates again.
    """

    attempts: Attempts
    key: Callable[[hub.Snapshot], str]
    retry: bool = False

    def refusal(self, snapshot: hub.Snapshot) -> str | None:
        """Why a candidate is not tried again; None if it is tried.

        Args:
            snapshot: its files.
        """
        known = self._known(snapshot)
        if known is not None and known.reason is not None:
            return f"in an earlier run, {known.reason}; {option('execution.retry')} tries it again"
        if known is not None and known.num_killed >= _MOST_KILLED:
            return (
                f"{known.num_killed} runs were killed while they were at it, as by the kernel when memory runs out; "
                f"{option('execution.retry')} tries it again"
            )
        return None

    def is_suspect(self, snapshot: hub.Snapshot) -> bool:
        """Whether an earlier run was killed while it was at a candidate, which is then tried last.

        Args:
            snapshot: its files.
        """
        return self._known(snapshot) is not None

    @contextlib.contextmanager
    def running(self, snapshot: hub.Snapshot | None, forget: bool = True, blame: bool = True) -> Iterator[None]:
        """Remember that a candidate is at work.

        Args:
            snapshot: its files; None for a model in memory, of which nothing is remembered.
            forget: whether an orderly end clears it of earlier attempts; to be judged is not enough.
            blame: whether it is to blame if memory runs out.
        """
        if snapshot is None:
            yield
            return
        with self.attempts.running(self.key(snapshot), forget, blame):
            yield

    def _known(self, snapshot: hub.Snapshot) -> Attempt | None:
        return None if self.retry else self.attempts.get(self.key(snapshot))
