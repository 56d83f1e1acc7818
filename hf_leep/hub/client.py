"""How hf_leep reaches the Hub: the login, the cache, time limits, and error messages for failed requests."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hf_leep.errors import CandidateError, HfLeepError, HubLimitError, UserError, one_line
from hf_leep.hub import pace
from hf_leep.hub.session import within_limits

if TYPE_CHECKING:
    from httpx2 import Response
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

_T = TypeVar("_T")

_TRIES = 3  # while the Hub is busy or has an error
_LONGEST_WAIT = 30.0
_login_valid: dict[tuple[str, str], bool] = {}  # (endpoint, checksum of the token) → as far as the Hub says
_checking_login = threading.Lock()
_NOT_VALID = "your token is not valid: hf auth login, or correct or unset HF_TOKEN"
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - what the Hub says of one
NOT_THERE = "no such folder, and no such model on the Hub that this login can see"
CHECK = "check HF_ENDPOINT, and the proxy of your network"
_SIZES = re.compile(r"should be of size (\d+) but has size (\d+) \((?:.*/)?(.*?)\)")  # of huggingface_hub


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Client:
    """What all requests and downloads of a run share.

    Attributes:
        token: the access token; by default that of HF_TOKEN or ``hf auth login``, if there is one; False to send none.
        cache_dir: folder that checkpoints are downloaded to; the Hugging Face cache by default.
        allow_pickle: accept pickled weights where there are no safetensors.
        digest: computes the SHA-256 of a file, in hex; a caller may pass a function that caches it.
        downloaded: paths in the cache of the files that this client downloaded.
    """

    token: str | bool | None = None
    cache_dir: Path | None = None
    allow_pickle: bool = False
    digest: Callable[[Path], str] = sha256
    downloaded: set[Path] = field(default_factory=set, compare=False)

    @property
    def api(self) -> HfApi:
        """The client of huggingface_hub, with hf_leep in its user agent; `ask` keeps its requests to limits."""
        from huggingface_hub import constants

        return _api(constants.ENDPOINT, self.token)

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE is set."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    def cache_folder(self, repo_id: str) -> Path:
        """The folder of a model's repository in the cache, which need not exist.

        Args:
            repo_id: its id on the Hub.
        """
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name: str = repo_folder_name(repo_id=repo_id, repo_type="model")
        return Path(self.cache_dir or constants.HF_HUB_CACHE) / name

    def require_online(self, what: str) -> None:
        """Raise an error while the Hub may not be reached.

        Args:
            what: what needs the Hub, to begin the message with.

        Raises:
            UserError: HF_HUB_OFFLINE is set.
        """
        if self.offline:
            raise UserError(f"{what} needs the Hub, and HF_HUB_OFFLINE is set: unset it, or do without")

    @property
    def secret(self) -> str | None:
        """The token that requests are sent with, if any; it must not be shown or written anywhere."""
        from huggingface_hub import get_token

        if self.token is False:
            return None
        return self.token if isinstance(self.token, str) else get_token()

    def require_login(self, what: str) -> None:
        """Raise an error if there is no login.

        Args:
            what: what needs the login, to begin the message with.

        Raises:
            UserError: there is none.
        """
        if not self.secret:
            raise UserError(f"{what} needs a login with write access: hf auth login, or HF_TOKEN")

    def check_login(self) -> None:
        """Raise an error if the token that requests are sent with is not valid; the Hub is asked once a process.

        A mirror that cannot say so, or a Hub that does not answer now, is no reason: the requests that follow tell.

        Raises:
            UserError: the Hub says that the token is not valid.
        """
        from huggingface_hub.errors import HTTPError

        secret = self.secret
        if secret is None or self.offline:
            return
        known = (self.api.endpoint, hashlib.sha256(secret.encode()).hexdigest())
        with _checking_login:
            if known not in _login_valid:
                _login_valid[known] = secret.isascii()  # httpx cannot send another one
                try:
                    with within_limits(quiet=True):
                        self.api.whoami(cache=True)
                except HTTPError as error:
                    status = getattr(getattr(error, "response", None), "status_code", None)
                    _login_valid[known] = status != 401
                except (HfLeepError, OSError, ValueError, KeyError, TypeError, AttributeError):
                    pass
        if not _login_valid[known]:
            raise UserError(_NOT_VALID)

    def ask(
        self,
        call: Callable[[HfApi], _T],
        *,
        raises: type[HfLeepError] = CandidateError,
        missing: str = NOT_THERE,
        gone: str = "the repository has no such revision",
        unreachable: str = "",
        tries: int = _TRIES,
        refusals: Mapping[int, str] | None = None,
    ) -> _T:
        """Send a request to the Hub, several times while it is busy, and turn a refusal into a clear message.

        Args:
            call: makes the request.
            raises: the error to raise.
            missing: the message if there is no such repository.
            gone: the message if the repository does not have the revision that is requested.
            unreachable: how the message begins if the Hub refuses or does not answer.
            tries: how many times to try while the Hub is busy; 1 where huggingface_hub itself tries again.
            refusals: the message for an HTTP status, where the usual one would not do.

        Raises:
            HfLeepError: the Hub refused, or did not answer.
            HubLimitError: the Hub allows no more requests now, however long it was waited.
            UserError: the token is not valid.
        """
        attempt = 0
        while True:
            try:
                with within_limits(quiet=True):
                    return call(self.api)
            except pace.SilentHubError as error:
                raise raises(f"{unreachable}{error}") from None
            except HubLimitError:
                raise
            except Exception as raised:
                refusal = _refusal(raised, missing, gone, unreachable, refusals or {}, bool(self.secret))
                if refusal is None:
                    raise
                if refusal.limited:  # the next try waits until the Hub allows it, or is given up
                    continue
                attempt += 1
                if not refusal.busy or attempt == tries:
                    raise raises(refusal.message) from None
                _wait(attempt - 1, refusal.response)


@lru_cache
def _api(endpoint: str, token: str | bool | None) -> HfApi:
    """A client of huggingface_hub, which keeps what ``whoami`` has answered."""
    from huggingface_hub import HfApi

    return HfApi(endpoint, library_name="hf_leep", library_version=version("hf-leep"), token=token)


@dataclass(frozen=True)
class _Refusal:
    """A failed request.

    Attributes:
        message: what to tell the user.
        busy: whether to try again.
        response: the answer of the Hub, if there was one.
        limited: whether it was beyond the Hub's limits of requests.
    """

    message: str
    busy: bool = False
    response: Response | None = None
    limited: bool = False


def _refusal(
    raised: Exception,
    missing: str,
    gone: str,
    unreachable: str,
    refusals: Mapping[int, str],
    logged_in: bool,
) -> _Refusal | None:
    """What an exception of huggingface_hub means; None if it is not about the request."""
    from huggingface_hub import errors

    error = _cause(raised)
    response: Response | None = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 429:
        return _Refusal("the Hub allows no more requests for now", limited=True)
    if status == 401 and response is not None and _BAD_TOKEN in response.headers.get("X-Error-Message", ""):
        raise UserError(_NOT_VALID) from None
    if isinstance(error, errors.DisabledRepoError):
        return _Refusal("the Hub's staff have disabled it, and its page on the Hub may say why")
    if status == 451:
        return _Refusal("the Hub does not give it out, for legal reasons")
    if isinstance(error, errors.GatedRepoError):
        if logged_in:
            return _Refusal("gated, and this login has no access, so ask for it on its page on the Hub")
        return _Refusal("gated, so ask for access on its page on the Hub, and log in (hf auth login)")
    if isinstance(error, errors.RepositoryNotFoundError):
        return _Refusal(missing)
    if isinstance(error, errors.RevisionNotFoundError):
        return _Refusal(gone)
    if isinstance(error, errors.HTTPError) and status is not None and status in refusals and error is raised:
        return _Refusal(refusals[status])
    if isinstance(error, errors.HTTPError) and status == 401:  # also of what only some logins can see
        return _Refusal(missing)
    if isinstance(error, errors.HTTPError):
        message, busy = _failure(error, response)
        return _Refusal(f"{unreachable}{message}", busy and error is raised, response)
    if isinstance(error, errors.HFValidationError):
        return _Refusal(f"no repository on the Hub can have this id ({one_line(error)})")
    if isinstance(error, errors.SafetensorsParsingError):
        return _Refusal(f"its weights are truncated or damaged ({one_line(error)})")
    if isinstance(error, errors.FileMetadataError):
        return _Refusal(f"the Hub's answer about a file names no commit or no checksum: {CHECK}")
    if isinstance(error, json.JSONDecodeError):
        return _Refusal(f"the Hub's answer is not valid JSON, it begins {error.doc[:30]!r}: {CHECK}", busy=True)
    if isinstance(error, RuntimeError):  # hf_xet has no class of its own for most of its errors
        by_http = "with HF_HUB_DISABLE_XET=1 it comes over HTTP"
        return _Refusal(f"it could not be downloaded from the Hub's Xet storage ({one_line(error)}); {by_http}")
    if isinstance(error, OSError) and (sizes := _SIZES.search(str(error))):
        message = f"{sizes[3]} has {sizes[2]} bytes as it came, and {sizes[1]} as the Hub states: try again later"
        return _Refusal(message, busy=True)
    if isinstance(error, OSError) or "too large to be downloaded" in str(error):  # such as a full disk
        return _Refusal(f"it could not be downloaded from the Hub ({one_line(error)})")
    if isinstance(error, (ValueError, TypeError, KeyError, AttributeError)):
        said = f"{type(error).__name__}: {one_line(error)}"
        return _Refusal(f"{unreachable}huggingface_hub cannot read the Hub's answer ({said}): {CHECK}")
    return None


def _cause(raised: Exception) -> BaseException:
    """The error that an exception of huggingface_hub is about."""
    from huggingface_hub import errors

    cause = raised.__cause__
    if cause is not None and isinstance(raised, errors.LocalEntryNotFoundError):
        return cause  # where a file cannot be downloaded, it hides the answer of the Hub, after five tries
    # So it does when a file is downloaded a second time, or is one of several that go up.
    return cause if isinstance(raised, ValueError | RuntimeError) and isinstance(cause, errors.HTTPError) else raised


def _failure(error: HTTPError, response: Response | None) -> tuple[str, bool]:
    """What to say of a failed request, and whether to try again."""
    from httpx2 import RemoteProtocolError, TooManyRedirects

    if isinstance(error, TooManyRedirects):
        return f"the Hub redirects in a circle: {CHECK}", False
    counted = re.search(r"received (\d+) bytes, expected (\d+)", str(error))
    if isinstance(error, RemoteProtocolError) and counted:
        return f"the Hub's answer was cut off after {counted[1]} of {counted[2]} bytes: try again later", True
    if response is None:
        return f"the Hub did not answer ({one_line(error)})", True
    status = response.status_code
    stated = getattr(error, "server_message", None)
    said = one_line(ValueError(stated)) if stated else response.reason_phrase
    answered = f"{pace.called(response.request.url.host)} answered {status}: {said.rstrip('.')}"
    return f"{answered}; try again later" if status >= 500 else answered, status >= 500


def _wait(attempt: int, response: Response | None) -> None:
    """Wait as long as the Hub asks for, or 1, 2, 4 … seconds; at most `_LONGEST_WAIT`."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    seconds = float(asked) if asked.isdigit() else 2.0**attempt
    time.sleep(min(seconds, _LONGEST_WAIT))
