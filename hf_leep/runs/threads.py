"""One BLAS thread while a pass is scored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field


@dataclass
class _Limit:
    """The limit of this process, and how many blocks want it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    num_blocks: int = 0
    restoring: ExitStack = field(default_factory=ExitStack)


_limit = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit the BLAS libraries to one thread: the matrices of most measures are too small to gain by a second one.

    The number of threads is that of the whole process. Blocks may be nested and run in several threads at once: the
    first one sets the limit, and the last one restores the former number.
    """
    import scipy.linalg  # noqa: F401 - it brings a BLAS of its own, and only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with _limit.lock:
        if _limit.num_blocks == 0:
            _limit.restoring.enter_context(threadpool_limits(limits=1, user_api="blas"))
        _limit.num_blocks += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.num_blocks -= 1
            if _limit.num_blocks == 0:
                _limit.restoring.close()
