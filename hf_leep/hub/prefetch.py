"""Download the next candidates while the current one runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from hf_leep.errors import CandidateError, option
from hf_leep.hub import pace
from hf_leep.hub.client import Client
from hf_leep.hub.download import fetch
from hf_leep.hub.snapshot import Snapshot

if TYPE_CHECKING:
    from huggingface_hub.utils import tqdm


_TICK_SECONDS = 0.2  # at most, from an interruption until who waits for a download notices it


class Prefetcher:
    """Downloads snapshots in their order, in one thread, a given number ahead of the one that was taken last.

    A context manager. Leaving it stops the current download; the cache keeps the part that has arrived, and the next
    download continues from there.

    Args:
        snapshots: the snapshots to come, in their order.
        client: how to reach the Hub.
        ahead: how many snapshots to download ahead.
        advance: called with the number of bytes, as they arrive.
        timeout: seconds without any byte after which a download is given up.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        client: Client,
        ahead: int,
        advance: Callable[[int], object],
        timeout: float = math.inf,
    ) -> None:
        self._snapshots = list(snapshots)
        self._client = client
        self._ahead = ahead
        self._advance = advance
        self._folders: dict[int, Future[Path]] = {}  # of the snapshots that are to be downloaded by now
        self._stopped = False
        self._changed = threading.Condition()
        self._timeout = timeout
        self._num_signs = 0  # of life: bytes that arrived, and downloads that ended

    def __enter__(self) -> Prefetcher:
        """Start the thread; it waits until the first snapshot is taken."""
        # A daemon thread: the process does not wait for a download when it ends.
        threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop downloading."""
        self.stop()

    def stop(self) -> None:
        """Stop downloading; what waits for a download is interrupted."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def take(self, snapshot: Snapshot) -> Path:
        """Wait for the download of a snapshot, and return its folder.

        Args:
            snapshot: one of the snapshots given at the start.

        Raises:
            CandidateError: it could not be downloaded.
            KeyboardInterrupt: downloading was stopped meanwhile, by another thread.
        """
        position = next(i for i, known in enumerate(self._snapshots) if known is snapshot)
        with self._changed:
            for index in range(position, min(position + 1 + self._ahead, len(self._snapshots))):
                self._folders.setdefault(index, Future())
            self._changed.notify()
        future, silent, signs = self._folders[position], 0.0, self._num_signs
        while True:
            tick = min(_TICK_SECONDS, self._timeout - silent)
            try:
                return future.result(timeout=tick)
            except InterruptedError:
                if self._stopped:
                    raise KeyboardInterrupt from None
                raise
            except TimeoutError:
                if future.done():  # the download raised it
                    raise
                if self._stopped:
                    raise KeyboardInterrupt from None
            # To wait for the Hub's limits is no silence of this candidate.
            silent = 0.0 if signs != self._num_signs or pace.is_waiting() else silent + tick
            signs = self._num_signs
            if silent >= self._timeout:
                raise CandidateError(
                    f"no byte of its download came for {self._timeout:g} seconds "
                    f"({option('execution.candidate_timeout')})"
                )

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._next() is not None)
                position = self._next()
                if self._stopped or position is None:
                    return
            future = self._folders[position]
            try:
                future.set_result(fetch(self._snapshots[position], self._client, self._progress_class()))
                self._num_signs += 1
            except BaseException as error:  # `take` raises it in the thread that waits
                future.set_exception(error)

    def _next(self) -> int | None:
        return min((index for index, future in self._folders.items() if not future.done()), default=None)

    def _progress_class(self) -> type[tqdm]:
        """A progress bar for huggingface_hub that shows nothing: it passes on the bytes, and can stop a download."""
        from huggingface_hub.utils import tqdm

        prefetcher = self

        class Progress(tqdm):
            def __init__(self, *args: object, **kwargs: object) -> None:
                # Of a file that comes in chunks, a second bar counts the bytes on the line, before they are combined.
                self.counts = not str(kwargs.get("name")).endswith(".transfer")
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> None:
                if prefetcher._stopped:
                    raise InterruptedError("the download was stopped")
                prefetcher._num_signs += 1
                if self.counts and n:
                    prefetcher._advance(int(n))

        return Progress


def fetch_within(snapshot: Snapshot, client: Client, timeout: float) -> Path:
    """Download a snapshot, and return its folder.

    Args:
        snapshot: from `resolve`.
        client: how to reach the Hub.
        timeout: seconds without any byte after which it is given up.

    Raises:
        CandidateError: it could not be downloaded.
    """
    if snapshot.path is not None:
        return snapshot.path
    with Prefetcher([snapshot], client, 0, lambda _bytes: None, timeout) as prefetcher:
        return prefetcher.take(snapshot)
