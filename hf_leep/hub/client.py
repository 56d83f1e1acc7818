"""How hf_leep reaches the Hub: who asks, where files are kept, how long it waits, and refusals put into words."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from hf_leep.errors import CandidateError, HfLeepError, UserError, one_line

_T = TypeVar("_T")

_SECONDS = 30.0  # of silence, in any request; the Hub's client has no limit of its own
_TRIES = 3  # while the Hub says that it is busy or broken
_LONGEST_WAIT = 30.0
NOT_THERE = "no such folder, and no such repository on the Hub that this login can see"


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Client:
    """What all requests and files of a run share.

    Attributes:
        token: as everywhere in the ecosystem: by default the one of HF_TOKEN or ``hf auth login``, where there is one;
            False to send none.
        cache_dir: where checkpoints are kept; the Hugging Face cache by default.
        allow_pickle: accept pickled weights where there are no safetensors.
        digest: file → hex SHA-256, for a caller who remembers them.
        brought: paths in the cache of the files that came through this client.
    """

    token: str | bool | None = None
    cache_dir: Path | None = None
    allow_pickle: bool = False
    digest: Callable[[Path], str] = sha256
    brought: set[Path] = field(default_factory=set, compare=False)

    @property
    def api(self) -> Any:
        """The Hub's own client, which names hf_leep in its user agent; no request of it waits forever."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils import get_session

        hooks = get_session().event_hooks["request"]
        if _bound not in hooks:
            hooks.append(_bound)
        return HfApi(library_name="hf_leep", library_version=version("hf-leep"), token=self.token)

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE is set."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    def require_online(self, what: str) -> None:
        """Raise unless the Hub may be asked.

        Raises:
            UserError: HF_HUB_OFFLINE is set.
        """
        if self.offline:
            raise UserError(f"{what} needs the Hub, and HF_HUB_OFFLINE is set: unset it, or do without")

    @property
    def secret(self) -> str | None:
        """The token that requests are made with, if any: to be kept out of whatever is shown or written."""
        from huggingface_hub import get_token

        if self.token is False:
            return None
        return self.token if isinstance(self.token, str) else get_token()

    def require_login(self, what: str) -> None:
        """Raise unless requests are made with a token.

        Raises:
            UserError: there is none.
        """
        if not self.secret:
            raise UserError(f"{what} needs a login with write access: hf auth login, or HF_TOKEN")

    def ask(
        self,
        call: Callable[[Any], _T],
        *,
        raises: type[HfLeepError] = CandidateError,
        missing: str = NOT_THERE,
        revision: str | None = None,
        silent: str = "",
        tries: int = _TRIES,
        refusals: Mapping[int, str] | None = None,
    ) -> _T:
        """Ask the Hub, again where it says that it is busy or broken, and put its refusals into words.

        Args:
            call: what to do with the Hub's own client.
            raises: the error to raise.
            missing: what to say if the repository is not there.
            revision: the revision that is asked for, to name it.
            silent: what to say first if the Hub does not answer.
            tries: how often, while it is busy or broken; 1 where its client tries again itself.
            refusals: status → what to say if that is the answer.

        Raises:
            HfLeepError: it refused, or did not answer.
        """
        for attempt in range(tries):
            try:
                return call(self.api)
            except Exception as raised:
                refusal = _refusal(raised, missing, revision, silent, refusals or {})
                if refusal is None:
                    raise
                words, busy, response = refusal
                if not busy or attempt == tries - 1:
                    raise raises(words) from None
                _wait(attempt, response)
        raise AssertionError  # the last attempt returned or raised


def _refusal(
    raised: Exception, missing: str, revision: str | None, silent: str, refusals: Mapping[int, str]
) -> tuple[str, bool, Any] | None:
    """What a failed request means in words, whether to ask again, and the answer; None if it is no refusal."""
    from huggingface_hub import errors

    # "No connection, and not in the cache" hides what the Hub answered, five times by then.
    hidden = raised.__cause__ if isinstance(raised, errors.LocalEntryNotFoundError) else None
    error: BaseException = hidden or raised
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "gated: ask for access on its page on the Hub, and log in (hf auth login)", False, response
    if isinstance(error, errors.RepositoryNotFoundError):
        return missing, False, response
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {revision!r}", False, response
    if isinstance(error, errors.HTTPError) and status is not None and status in refusals:
        return refusals[status], False, response
    if isinstance(error, errors.HTTPError):
        busy = hidden is None and (status is None or status == 429 or status >= 500)
        answer = "did not answer" if status is None else f"answered {status}"
        said = one_line(error).partition(" For more information check:")[0]
        return f"{silent}the Hub {answer}: {said}", busy, response
    if isinstance(error, errors.SafetensorsParsingError):
        return f"its weights are truncated or damaged: {one_line(error)}", False, None
    if isinstance(error, (OSError, ValueError)):  # a full disk, a cut-off file, a name that the client refuses
        return f"it could not be brought from the Hub: {one_line(error)}", False, None
    if isinstance(error, (TypeError, KeyError, AttributeError)):  # the client stumbles over what it did not expect
        return f"the Hub gave an answer that makes no sense ({type(error).__name__}: {one_line(error)})", False, None
    return None


def _bound(request: Any) -> None:
    """Give a request of the Hub's client a limit wherever it has none: some of its calls ask for none on purpose."""
    limits = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = {
        kind: _SECONDS if limits.get(kind) is None else limits[kind] for kind in ("connect", "read", "write", "pool")
    }


def _wait(attempt: int, response: Any) -> None:
    """Wait as long as the Hub asks for, or 1, 2, 4 … seconds; never longer than `_LONGEST_WAIT`."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    seconds = float(asked) if asked.isdigit() else 2.0**attempt
    time.sleep(min(seconds, _LONGEST_WAIT))
