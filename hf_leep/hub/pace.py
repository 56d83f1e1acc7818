"""When requests to the Hub are sent: within its limits, and not for ever to a Hub that is silent or very slow.

The Hub grants each login, or each address without one, a number of requests in a window of time, for its API and for
files apart. Every answer says how many are left (``RateLimit`` and ``RateLimit-Policy``), and a request too many is
answered with 429; so may the hosts be that it keeps large files on. The hooks here are called before and after each
request of huggingface_hub's session, whoever sends it. They count, wait when nothing is left, and say so. What
huggingface_hub would wait by itself after a 429, without a word, is left to them.
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

from hf_leep.errors import HubError, HubLimitError, one_line

if TYPE_CHECKING:
    from httpx2 import Request, Response, SyncByteStream

_LOG = logging.getLogger("hf_leep")
_LONGEST_WAIT = 330.0  # seconds; a window of the Hub has 300
_LONGEST_SILENCE = 60.0  # seconds from a request to any answer, over all tries
_UNTIL_ANOTHER_TRY = 90.0  # seconds from the last request to a silent host until it is sent another one
_SLOWEST = 1000.0  # bytes a second, on average over an answer
_NAMES = {"api": "requests to its API", "resolvers": "requests for files", "uploads": "uploads"}


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
    said: str = ""  # with the last refusal


@dataclass
class _Silence:
    """The requests to a host that no answer has followed: when the first of them was sent, and the last."""

    since: float
    last: float


@dataclass
class _Pace:
    """The windows of this process, and how long it has waited for them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    windows: dict[tuple[str, str], _Window] = field(default_factory=dict)
    silences: dict[str, _Silence] = field(default_factory=dict)  # by host
    num_waiting: int = 0
    waiting_since: float = 0.0
    waited: float = 0.0
    without_login: bool = False  # whether any of that was


_pace = _Pace()
_gives_up: ContextVar[bool] = ContextVar("_gives_up", default=False)  # in this thread, by `no_longer_silent`


class SilentHubError(HubError):
    """The Hub has not answered any of several requests, or sends hardly a byte."""


@contextmanager
def no_longer_silent() -> Iterator[None]:
    """Give up a Hub that answers nothing for a minute, however often a library inside would try again.

    For a while after that, other requests are not sent at all: a run of many candidates does not wait for each.
    """
    token = _gives_up.set(True)
    try:
        yield
    finally:
        _gives_up.reset(token)


def before(request: Request) -> None:
    """Wait until a request may be sent.

    Args:
        request: to the Hub, or to another host.

    Raises:
        HubLimitError: the Hub asks to wait longer than one of its windows.
        SilentHubError: no earlier request was answered.
    """
    _wait_for_turn(_key(request))
    if not _gives_up.get():
        return
    host, now = request.url.host, time.monotonic()
    with _pace.lock:
        silence = _pace.silences.setdefault(host, _Silence(now, now))
        if now - silence.last > _UNTIL_ANOTHER_TRY:
            silence.since = now
        if now - silence.since > _LONGEST_SILENCE:
            raise SilentHubError(f"{called(host)} did not answer for {now - silence.since:.0f} s: try again later")
        silence.last = now


def after(response: Response) -> None:
    """Note what an answer says about the limits.

    Args:
        response: of the Hub, or of another host.
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    key = _key(response.request)
    response.stream = _not_too_slow(response.stream, called(response.request.url.host))  # type: ignore[arg-type]
    stated = parse_ratelimit_headers(response.headers)
    said = _words(response) if response.status_code == 429 else ""
    now = time.monotonic()
    with _pace.lock:
        _pace.silences.pop(response.request.url.host, None)
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
        window.said = said
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
        hint = "; a login has higher ones (hf auth login)" if _pace.without_login else ""
        _pace.without_login = False
    if seconds >= 1:
        _LOG.warning("waited %.0f s in all for the Hub's limits%s", seconds, hint)


def _is_hub(host: str) -> bool:
    from huggingface_hub import constants

    return host == urlsplit(constants.ENDPOINT).hostname


def called(host: str) -> str:
    """How messages name a host."""
    return "the Hub" if _is_hub(host) else f"{host}, where the Hub keeps files,"


def _key(request: Request) -> tuple[str, str]:
    """The login of a request, and its kind: a kind of the Hub's limits, or the other host that it is to."""
    host, path = request.url.host, request.url.path
    if not _is_hub(host):
        return "", host
    kind = "resolvers" if "/resolve/" in path else "api" if "/api/" in path else "uploads"
    return request.headers.get("Authorization", ""), kind


def _words(response: Response) -> str:
    """What a refusal says, on one line: a limit may be about something else than the number of requests."""
    try:
        response.read()
        said = response.json()["error"]
    except Exception:  # cut off, not JSON, or of another form
        return ""
    return f" ({one_line(ValueError(said), 200)})" if isinstance(said, str) and said else ""


def _not_too_slow(stream: SyncByteStream, called: str) -> SyncByteStream:
    """The bytes of an answer, until they come too slowly; what the reader does between them takes no time of theirs.

    A timeout is about two bytes that follow each other: an answer that comes byte by byte would never meet it.
    """
    from httpx2 import SyncByteStream

    class NotTooSlow(SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            seconds, num_bytes, parts = 0.0, 0, iter(stream)
            while True:
                start = time.monotonic()
                part = next(parts, None)
                seconds += time.monotonic() - start
                if part is None:
                    return
                num_bytes += len(part)
                if seconds > _LONGEST_SILENCE and num_bytes < _SLOWEST * seconds:
                    raise SilentHubError(f"{called} sent only {num_bytes:,} bytes in {seconds:.0f} s: try again later")
                yield part

        def close(self) -> None:
            stream.close()

    return NotTooSlow()


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
                    f"{_limited(key)} for {seconds:.0f} s{window.said}: run the same command again later"
                )
            say = window.announced < window.ends
            window.announced = window.ends
        if wait > _LONGEST_WAIT:
            login = "" if key[0] or key[1] not in _NAMES else ", or log in for a higher limit (hf auth login)"
            raise HubLimitError(
                f"{_limited(key)} for {wait:.0f} s{window.said}: run the same command again later{login}"
            )
        if say and wait >= 0.5:
            granted = f" ({window.limit:.0f} in {window.seconds:.0f} s)" if window.limit < math.inf else ""
            _LOG.warning("%s now%s: waiting %.0f s", _limited(key), granted, math.ceil(wait))
        with _waiting(without_login=not key[0] and key[1] in _NAMES):
            time.sleep(wait)


def _limited(key: tuple[str, str]) -> str:
    kind = key[1]
    return f"the Hub allows no more {_NAMES[kind]}" if kind in _NAMES else f"{kind} allows no more requests"


@contextmanager
def _waiting(*, without_login: bool) -> Iterator[None]:
    """Count the time in which at least one thread waits."""
    with _pace.lock:
        _pace.without_login |= without_login
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
