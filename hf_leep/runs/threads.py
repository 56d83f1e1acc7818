"""One BLAS thread while a pass is scored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_OWNER = threading.RLock()  # held by the thread that has set the limit


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit the BLAS libraries to one thread: the matrices of most measures are too small to gain by a second one.

    The number of threads is that of the whole process. Blocks may be nested and run in several threads at once: the
    thread that sets the limit restores the former number, and a block of another thread changes nothing meanwhile.
    """
    import scipy.linalg  # noqa: F401 - it brings a BLAS of its own, and only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not _OWNER.acquire(blocking=False):
        yield
        return
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        _OWNER.release()
