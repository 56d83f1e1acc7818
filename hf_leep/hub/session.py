"""The session of huggingface_hub while hf_leep uses it: time limits, the Hub's limits, and fewer log lines.

huggingface_hub has one session a process, which the user's own code uses as well. What is changed about it is undone
when hf_leep's last request has ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hf_leep.hub import pace
from hf_leep.options import verbose

if TYPE_CHECKING:
    from httpx2 import Client as Session
    from httpx2 import Request

_SECONDS = 30.0  # timeout of any request; huggingface_hub has none for some of them
_LOGGERS = ("huggingface_hub.utils._http", "huggingface_hub._commit_api")


@dataclass
class _Use:
    """Who uses the session now: the calls of `within_limits` that have not ended, in any thread.

    huggingface_hub uploads, and datasets reads, in threads of their own, so this is counted for the whole process.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    num: int = 0
    num_quiet: int = 0
    sessions: list[Session] = field(default_factory=list)  # that have the hooks


_use = _Use()


@contextmanager
def within_limits(*, quiet: bool = False) -> Iterator[None]:
    """Keep requests of huggingface_hub to the Hub's limits and to time limits, and give up a silent Hub.

    Args:
        quiet: hide what huggingface_hub logs about each retry, unless hf_leep is to be verbose.
    """
    with _use.lock:
        if _use.num == 0:
            _add()
        _use.num += 1
        _use.num_quiet += quiet
    try:
        with pace.no_longer_silent():
            yield
    finally:
        with _use.lock:
            _use.num -= 1
            _use.num_quiet -= quiet
            if _use.num == 0:
                _remove()


def _add() -> None:
    from huggingface_hub.utils import _http, get_session

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_wanted)
    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
    if factory is not None:
        # After a refused connection huggingface_hub closes its session, and makes another one to try again.
        # `set_client_factory` would close this one, under the requests of other threads; and there is no
        # public way to read the present factory, which may be the user's.
        _http._GLOBAL_CLIENT_FACTORY = _Hooked(factory)
    _add_hooks(get_session())


def _remove() -> None:
    from huggingface_hub.utils import _http

    for name in _LOGGERS:
        logging.getLogger(name).removeFilter(_is_wanted)
    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
    if isinstance(factory, _Hooked):  # the user may have set another one meanwhile
        _http._GLOBAL_CLIENT_FACTORY = factory.make
    for session in _use.sessions:
        # New lists, since another thread may go through the present ones.
        session.event_hooks = {
            kind: [hook for hook in hooks if hook not in (_add_timeout, pace.before, pace.after)]
            for kind, hooks in session.event_hooks.items()
        }
    _use.sessions.clear()


@dataclass(frozen=True)
class _Hooked:
    """Makes sessions of huggingface_hub that keep to the Hub's limits and have a timeout.

    Attributes:
        make: makes a session without that.
    """

    make: Callable[[], Session]

    def __call__(self) -> Session:
        session = self.make()
        _add_hooks(session)
        return session


def _add_hooks(session: Session) -> None:
    hooks = session.event_hooks
    if _add_timeout not in hooks["request"]:
        session.event_hooks = {
            "request": [*hooks["request"], _add_timeout, pace.before],
            "response": [*hooks["response"], pace.after],
        }
        _use.sessions.append(session)


def _add_timeout(request: Request) -> None:
    """Set a timeout on a request that has none: huggingface_hub sends some without one."""
    limits = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = {
        kind: _SECONDS if limits.get(kind) is None else limits[kind] for kind in ("connect", "read", "write", "pool")
    }


def _is_wanted(record: logging.LogRecord) -> bool:
    said = str(record.msg)
    # `pace` says itself that it waits, in the place of huggingface_hub; and small files go over HTTP on purpose.
    if said.startswith(("Rate limited", "HTTP Error 429")) or "not supported by Xet Storage" in said:
        return False
    return verbose() or not _use.num_quiet or not ("Retrying in" in said or "thrown while requesting" in said)
