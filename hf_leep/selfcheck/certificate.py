"""Whether this machine computes the measures of a run correctly, as ``hf-leep verify`` checks; cached in the store."""

from __future__ import annotations

import contextlib
import platform
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version

from hf_leep.measures import SCORE_VERSION
from hf_leep.measures.measure import Certificate
from hf_leep.runs.threads import one_blas_thread
from hf_leep.selfcheck.checks import verify
from hf_leep.store import Store

# The results may depend on these versions, so another version of any means new checks. The machine is part of the key,
# since several machines can share a store.
_PACKAGES = ("numpy", "scipy", "scikit-learn")


def certificate(names: Sequence[str], store: Store) -> Certificate:
    """Run the checks of ``hf-leep verify``, which take a few seconds, unless the store has their results.

    Args:
        names: the measures to check.
        store: where the results are cached.
    """
    machine = {
        **{name: version(name) for name in _PACKAGES},
        "hf-leep": f"{version('hf-leep')}-v{SCORE_VERSION}",
        "python": platform.python_version(),
        "machine": f"{platform.node()} {platform.machine()} {platform.processor()}",
    }
    num_checks, failed, unchecked = 0, [], []
    for name in names:
        checks = store.checks(Store.key({**machine, "measure": name}), partial(_run_checks, name))
        num_checks += len(checks)
        failed += [f"{name}: {claim}" for claim, passed in checks if not passed]
        unchecked += [] if checks else [name]
    return Certificate(num_checks, tuple(failed), tuple(unchecked))


@contextlib.contextmanager
def certified_meanwhile(names: Sequence[str], store: Store) -> Iterator[Callable[[], Certificate]]:
    """Run the checks in a thread of their own while the block does something else, such as wait for a worker.

    Args:
        names: the measures to check.
        store: where the results are cached.

    Yields:
        What waits for the checks and returns their results; it raises what they raised. Call it within the block.
    """
    done: queue.SimpleQueue[Certificate | BaseException] = queue.SimpleQueue()

    def check() -> None:
        try:
            done.put(certificate(names, store))
        except BaseException as error:  # it is raised in the thread that waits
            done.put(error)

    def wait() -> Certificate:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        return found

    with one_blas_thread():  # of this thread, which alone can set the limit
        threading.Thread(target=check, daemon=True).start()  # the end of this process does not wait for it
        yield wait


@cache  # in one process the answer stays the same, whichever stores it is kept in
def _run_checks(name: str) -> list[list[object]]:
    return [[check.claim, check.passed] for check in verify(names=[name])]
