"""Bring the next candidates while the current one runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hf_leep.hub.client import Client
from hf_leep.hub.snapshot import Snapshot, fetch


class Prefetcher:
    """Fetches snapshots in their order, in one thread: as many ahead of the one asked for as it is told.

    A context manager; leaving it breaks off what is still being brought (the cache keeps the part, and goes on from
    there the next time).
    """

    def __init__(
        self, snapshots: Sequence[Snapshot], client: Client, ahead: int, advance: Callable[[int], object]
    ) -> None:
        """Take the snapshots to come, in their order, and whom to tell of each byte that has come."""
        self._snapshots = list(snapshots)
        self._client = client
        self._ahead = ahead
        self._advance = advance
        self._results: dict[int, Future[Path]] = {}
        self._stopped = False
        self._wanted = threading.Condition()

    def __enter__(self) -> Prefetcher:
        """Start the thread; it waits until something is asked for."""
        # A daemon: the end of the process does not wait for a download.
        threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Break off."""
        with self._wanted:
            self._stopped = True
            self._wanted.notify()

    def take(self, snapshot: Snapshot) -> Path:
        """The folder of a snapshot, once it is here.

        Raises:
            CandidateError: it could not be brought.
        """
        position = next(i for i, known in enumerate(self._snapshots) if known is snapshot)
        with self._wanted:
            for index in range(position, min(position + 1 + self._ahead, len(self._snapshots))):
                self._results.setdefault(index, Future())
            self._wanted.notify()
        return self._results[position].result()

    def _work(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._stopped or self._next() is not None)
                position = self._next()
                if self._stopped or position is None:
                    return
            future = self._results[position]
            try:
                future.set_result(fetch(self._snapshots[position], self._client, self._bar()))
            except BaseException as error:  # whoever takes it gets it, whatever it is
                future.set_exception(error)

    def _next(self) -> int | None:
        return min((index for index, future in self._results.items() if not future.done()), default=None)

    def _bar(self) -> Any:
        """A bar for the Hub's client that shows nothing itself: it passes on the bytes, and breaks off when told."""
        from huggingface_hub.utils import tqdm

        outer = self

        class Silent(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                # Where a file comes in chunks, a second bar counts what came over the line before it is put together.
                self.counts = not str(kwargs.get("name")).endswith(".transfer")
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> None:
                if outer._stopped:
                    raise InterruptedError("broken off")
                if self.counts and n:
                    outer._advance(int(n))

        return Silent
