"""When requests to the Hub are sent: within its limits, and not for ever to a Hub that is silent.

The Hub grants each login, or each address without one, a number of requests in a window of time, for its API and for
files apart. Every answer says how many are left (``RateLimit`` and ``RateLimit-Policy``), and a request too many is
answered with 429. The hooks here are called before and after each request of huggingface_hub's session, whoever sends
it. They count, wait when nothing is left, and say so. What huggingface_hub would wait by itself after a 429, without a
word, is left to them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hf_leep.errors import HubError, HubLimitError

if TYPE_CHECKING:
    from httpx2 import Request, Response

_LOG = logging.getLogger("hf_leep")
_LONGEST_WAIT = 330.0  # seconds; a window of the Hub has 300
_LONGEST_SILENCE = 60.0  # seconds from a request to any answer, over all tries
_NAMES = {"api": "requests to its API", "resolvers": "requests for files"}


@dataclass
class _Window:
    """What the Hub grants of one kind of requests, as far as its answers say."""

    left: float = math.inf
    ends: float = -math.inf  # of time.monotonic
    limit: float = math.inf
    seconds: float = 0.0
    num_refused: int = 0  # in a row
    refused_since: float = math.inf
    refused_until: float = -math.inf
    announced: float = -math.inf


@dataclass
class _Pace:
    """The windows of this process, and how long it has waited for them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    windows: dict[tuple[str, str], _Window] = field(default_factory=dict)
    num_waiting: int = 0
    waiting_since: float = 0.0
    waited: float = 0.0


_pace = _Pace()


@dataclass
class _Silence:
    """When the first of the requests was sent that no answer has followed; None if there is none."""

    since: float | None = None


_silence: ContextVar[_Silence | None] = ContextVar("_silence", default=None)


class SilentHubError(HubError):
    """The Hub has not answered any of several requests."""


@contextmanager
def no_longer_silent() -> Iterator[None]:
    """Give up a Hub that answers nothing for a minute, however often a library inside would try again."""
    token = _silence.set(_silence.get() or _Silence())
    try:
        yield
    finally:
        _silence.reset(token)


def before(request: Request) -> None:
    """Wait until a request may be sent.

    Args:
        request: to the Hub, or to another host.

    Raises:
        HubLimitError: the Hub asks to wait longer than one of its windows.
        SilentHubError: no earlier request was answered.
    """
    key = _key(request)
    if key is not None:
        _wait_for_turn(key)
    silence = _silence.get()
    if silence is None:
        return
    now = time.monotonic()
    if silence.since is not None and now - silence.since > _LONGEST_SILENCE:
        seconds, silence.since = now - silence.since, None
        raise SilentHubError(f"the Hub did not answer for {seconds:.0f} s: try again later")
    silence.since = silence.since or now


def after(response: Response) -> None:
    """Note what an answer says about the limits.

    Args:
        response: of the Hub, or of another host.
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    silence = _silence.get()
    if silence is not None:
        silence.since = None
    key = _key(response.request)
    if key is None:
        return
    stated = parse_ratelimit_headers(response.headers)
    now = time.monotonic()
    with _pace.lock:
        window = _pace.windows.setdefault(key, _Window())
        if stated is not None:
            ends = now + stated.reset_in_seconds
            # Times are whole seconds, so those of one window differ by up to one.
            new = ends > window.ends + 1.5
            window.left = stated.remaining if new else min(window.left, stated.remaining)
            window.ends = ends if new else window.ends
            window.limit = stated.limit if stated.limit is not None else math.inf
            window.seconds = stated.window_seconds or 0.0
        if response.status_code != 429:
            window.num_refused, window.refused_since = 0, math.inf
            return
        asked = response.headers.get("Retry-After", "").strip()
        if stated is not None and stated.remaining == 0:
            wait = float(stated.reset_in_seconds)
        else:
            wait = float(asked) if asked.isdigit() else 2.0 ** min(window.num_refused, 8)
        if not wait:  # it may say so again and again
            wait = 2.0 ** min(window.num_refused, 8) / 10
        if now >= window.refused_until:  # other threads are refused at the same time
            window.num_refused += 1
        window.refused_since, window.refused_until = min(window.refused_since, now), now + wait
        window.left, window.ends = 0, now + wait
    # huggingface_hub tries some requests again: it should not wait as well.
    for name in ("RateLimit", "RateLimit-Policy"):
        response.headers.pop(name, None)
    response.headers["Retry-After"] = "0"


def is_waiting() -> bool:
    """Whether any thread waits for the Hub's limits."""
    return _pace.num_waiting > 0


def say_waited() -> None:
    """Log how long this process has waited for the Hub's limits, if it has, since this was called last."""
    with _pace.lock:
        seconds, _pace.waited = _pace.waited, 0.0
    if seconds >= 1:
        _LOG.warning("waited %.0f s in all for the Hub's limits; a login has higher ones (hf auth login)", seconds)


def _key(request: Request) -> tuple[str, str] | None:
    """The login and the kind of a request; None if it is to another host, or of a kind that is not limited."""
    from huggingface_hub import constants

    if request.url.host != urlsplit(constants.ENDPOINT).hostname:
        return None
    path = request.url.path
    kind = "resolvers" if "/resolve/" in path else "api" if "/api/" in path else None
    return None if kind is None else (request.headers.get("Authorization", ""), kind)


def _wait_for_turn(key: tuple[str, str]) -> None:
    while True:
        now = time.monotonic()
        with _pace.lock:
            window = _pace.windows.setdefault(key, _Window())
            if now >= window.ends:  # a new window, of which no answer has told yet
                window.left, window.ends = window.limit, now + window.seconds
            if window.left > 0:
                window.left -= 1
                return
            wait = window.ends - now
            if now - window.refused_since > 2 * _LONGEST_WAIT:
                seconds, window.refused_since = now - window.refused_since, math.inf
                raise HubLimitError(
                    f"the Hub has allowed no more {_NAMES[key[1]]} for {seconds:.0f} s: "
                    "run the same command again later"
                )
            say = window.announced < window.ends
            window.announced = window.ends
        if wait > _LONGEST_WAIT:
            raise HubLimitError(
                f"the Hub allows no more {_NAMES[key[1]]} for {wait:.0f} s: run the same command again later, "
                "or log in for a higher limit (hf auth login)"
            )
        if say and wait >= 0.5:
            granted = f" ({window.limit:.0f} in {window.seconds:.0f} s)" if window.limit < math.inf else ""
            _LOG.warning("the Hub allows no more %s now%s: waiting %.0f s", _NAMES[key[1]], granted, math.ceil(wait))
        with _waiting():
            time.sleep(wait)


@contextmanager
def _waiting() -> Iterator[None]:
    """Count the time in which at least one thread waits."""
    with _pace.lock:
        _pace.num_waiting += 1
        if _pace.num_waiting == 1:
            _pace.waiting_since = time.monotonic()
    try:
        yield
    finally:
        with _pace.lock:
            _pace.num_waiting -= 1
            if _pace.num_waiting == 0:
                _pace.waited += time.monotonic() - _pace.waiting_since
