"""Files → a repository on the Hub: a commit that never overwrites somebody else's, or a pull request."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

from hf_leep.errors import HubError, UserError, one_line, option
from hf_leep.hub.client import Client

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.hf_api import RepoSibling

_LOG = logging.getLogger("hf_leep")
_TITLE = re.compile(r"hf_leep: \d+ candidates? ranked")  # of the push of a report, whatever it ranks
REPO_TYPES = ("dataset", "model", "space")
_PUBLIC = "{} is public already: make it private on its page first, or push without {}"
UNCLEAR = "the Hub did not say whether a pull request was opened ({}): look for it at {} before you try again"


@dataclass(frozen=True)
class Committed:
    """The result of a push. Attributes that `huggingface_hub.CommitInfo` has, too, have its names.

    Attributes:
        url: address of the pull request if there is one, else of the repository.
        revision: the commit; None for a pull request whose commit the Hub does not name.
        pull_request: whether it is a pull request, still to be merged.
        changed: whether there was anything to commit.
        private: whether the repository is private.
        repo_url: address of the repository.
        commit_url: address of the commit that was made; None if none was, or its address is not known.
        commit_message: its first line.
        commit_description: the rest of its message.
        pr_url: address of the pull request, if it is one.
        pr_num: its number.
        pr_revision: the ref that it can be loaded from, such as ``refs/pr/1``.
    """

    url: str
    revision: str | None
    pull_request: bool
    changed: bool
    private: bool
    repo_url: str
    commit_url: str | None = None
    commit_message: str = ""
    commit_description: str = ""
    pr_url: str | None = None
    pr_num: int | None = None
    pr_revision: str | None = None


@dataclass(frozen=True)
class _Repository:
    """What the Hub knows of a repository.

    Attributes:
        revision: its newest commit.
        private: whether it is private.
        files: path → checksum: SHA-256 of large files, of small ones the id that git gives them.
    """

    revision: str | None
    private: bool
    files: Mapping[str, str | None]

    def left(self, files: Mapping[str, bytes], stale: Callable[[str], bool]) -> set[str]:
        """What an earlier push has left in it, and a push of these files deletes."""
        return {path for path in self.files if path not in files and stale(path)}

    def holds(self, files: Mapping[str, bytes], stale: Callable[[str], bool]) -> bool:
        """Whether these files are in it as they are, and none of the stale ones is."""
        return not self.left(files, stale) and all(
            self.files.get(path) in (hashlib.sha256(content).hexdigest(), _blob_id(content))
            for path, content in files.items()
        )


@dataclass(frozen=True)
class _Push:
    """The parts of a push that all its requests share; see `commit`."""

    files: Mapping[str, bytes]
    stale: Callable[[str], bool]
    repo_id: str
    repo_type: str
    message: str
    description: str
    create_pr: bool
    url: str
    ref: str | None = None

    def unchanged(self, found: _Repository, *, changed: bool) -> Committed:
        """The result where the repository holds the files: ``changed`` by an earlier try of this push, or before."""
        return Committed(self.url, found.revision, False, changed, found.private, self.url)


def check_repo_id(repo_id: str, client: Client) -> None:
    """Check before a push what can be checked without a request.

    Args:
        repo_id: OWNER/NAME.
        client: how to reach the Hub.

    Raises:
        UserError: the id is not OWNER/NAME, HF_HUB_OFFLINE is set, or there is no login.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"{repo_id!r} is not the name of a repository: give OWNER/NAME")
    client.require_online("a push")
    client.require_login("a push")


def commit(
    files: Mapping[str, bytes],
    repo_id: str,
    *,
    repo_type: str,
    message: str,
    description: str = "",
    stale: Callable[[str], bool] = lambda _path: False,
    refuse: Callable[[Set[str]], str | None] = lambda _paths: None,
    private: bool | None = None,
    create_pr: bool = False,
    because: str = "private",
    space_sdk: str | None = None,
    client: Client | None = None,
) -> Committed:
    """Put files into a repository in a single commit; the repository is created if it does not exist.

    Args:
        files: path in the repository → content.
        repo_id: OWNER/NAME.
        repo_type: ``dataset``, ``model`` or ``space``.
        message: first line of the commit message.
        description: the rest of it.
        stale: path → whether an earlier push may have written it; those that are not in ``files`` are deleted.
        refuse: the paths in the repository → the reason why nothing may be pushed there, None if it may; not asked for
            a pull request.
        private: make a new repository private or public; None for the account's default.
        create_pr: open a pull request instead, or add to the one that an earlier push of this login has opened.
        because: the option to leave out where the push is private and the repository public.
        space_sdk: the SDK of a new Space.
        client: how to reach the Hub.

    Raises:
        UserError: the id is not OWNER/NAME, there is no login, HF_HUB_OFFLINE is set, ``refuse`` gives a reason, or
            the push is private and the repository is public.
        HubError: the Hub refused, somebody else has committed meanwhile, or the Hub did not answer.
    """
    client = client or Client()
    check_repo_id(repo_id, client)
    client.check_login()
    refusals = {
        **dict.fromkeys((401, 403), f"this login may not write to {repo_id}: it needs a token that may"),
        412: f"somebody else committed to {repo_id} meanwhile, and nothing of this push is there: push again",
    }
    found = client.ask(lambda api: _look_up(api, repo_id, repo_type), raises=HubError, refusals=refusals)
    if found is None:
        if create_pr:
            raise HubError(f"a pull request needs a repository, and this login can see no {repo_type} {repo_id}")

        def create(api: HfApi) -> _Repository:
            api.create_repo(repo_id, repo_type=repo_type, private=private, space_sdk=space_sdk, exist_ok=True)
            return _describe(api, repo_id, repo_type)

        found = client.ask(create, raises=HubError, missing=refusals[403], refusals=refusals)
    else:
        _check(_called(repo_id, repo_type), found, private, (lambda _paths: None) if create_pr else refuse, because)
    if private and not found.private:  # somebody else has created it in the meantime
        raise UserError(_PUBLIC.format(_called(repo_id, repo_type), option(because)))
    url = address(client, repo_id, repo_type)
    push = _Push(files, stale, repo_id, repo_type, message, description, create_pr, url)
    if create_pr:
        opened = client.ask(lambda api: _add_to_open(api, push), raises=HubError, refusals=refusals)
        if opened is not None:
            return opened
    if found.holds(files, stale):
        return push.unchanged(found, changed=False)
    return client.ask(lambda api: _commit(api, push, found), raises=HubError, missing=refusals[403], refusals=refusals)


def _commit(api: HfApi, push: _Push, found: _Repository) -> Committed:
    """Commit on top of the commit that was found, once."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HTTPError

    deleted = found.left(push.files, push.stale)
    try:
        made = api.create_commit(
            push.repo_id,
            # New operations for each try, since they remember what was uploaded. As streams they go over HTTP and not
            # through Xet: that brings nothing for files this small, and an upload through it has no time limit.
            [
                *(CommitOperationAdd(path, BytesIO(content)) for path, content in sorted(push.files.items())),
                *(CommitOperationDelete(path, is_folder=False) for path in sorted(deleted)),
            ],
            commit_message=push.message,
            commit_description=push.description,
            repo_type=push.repo_type,
            create_pr=push.create_pr,
            revision=push.ref,
            parent_commit=found.revision,
        )
    except HTTPError as error:
        done = _after_error(error, api, push)
        if done is None:
            raise
        return done
    except json.JSONDecodeError:  # of an answer; the commit may have been made, and the next try would find it
        if push.create_pr:
            raise HubError(UNCLEAR.format("its answer is not JSON", f"{push.url}/discussions")) from None
        raise
    except ValueError as error:  # huggingface_hub checks the card before it sends it
        raise HubError(f"the Hub refuses the files for {push.repo_id}: {one_line(error)}") from None
    return Committed(
        made.pr_url or push.url,
        made.oid,
        pull_request=made.pr_url is not None,
        changed=True,
        private=found.private,
        repo_url=push.url,
        commit_url=made.commit_url,
        commit_message=made.commit_message,
        commit_description=made.commit_description,
        pr_url=made.pr_url,
        pr_num=made.pr_num,
        pr_revision=made.pr_revision,
    )


def _add_to_open(api: HfApi, push: _Push) -> Committed | None:
    """Commit to the pull request that this login has opened with an earlier push; None if none is open."""
    me = api.whoami(cache=True)["name"]
    number = next(
        (
            known.num
            for known in api.get_repo_discussions(
                push.repo_id,
                author=me,
                discussion_type="pull_request",
                discussion_status="open",
                repo_type=push.repo_type,
            )
            if known.title == push.message or (_TITLE.match(known.title) and _TITLE.match(push.message))
        ),
        None,
    )
    if number is None:
        return None
    ref, url = f"refs/pr/{number}", f"{push.url}/discussions/{number}"
    there = _describe(api, push.repo_id, push.repo_type, ref)
    if there.holds(push.files, push.stale):
        return _in_pull_request(push.unchanged(there, changed=False), url, number)
    made = _commit(api, replace(push, create_pr=False, ref=ref), there)
    conflicts = api.get_discussion_details(push.repo_id, number, repo_type=push.repo_type).conflicting_files
    if conflicts:
        named = f" ({', '.join(conflicts[:3])})" if isinstance(conflicts, list) else ""
        _LOG.warning("%s is in conflict with main%s: resolve it there, or close it and push again", url, named)
    return _in_pull_request(made, url, number)


def _in_pull_request(made: Committed, url: str, number: int) -> Committed:
    return replace(made, url=url, pull_request=True, pr_url=url, pr_num=number, pr_revision=f"refs/pr/{number}")


def _after_error(error: HTTPError, api: HfApi, push: _Push) -> Committed | None:
    """The result of a push whose request failed, if an earlier try of the same push has succeeded.

    Raises:
        HubError: a pull request may have been opened: another try could open a second one.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if push.create_pr:
        if status is None or (status >= 500 and status != 503):
            answer = "no answer" if status is None else str(status)
            raise HubError(UNCLEAR.format(answer, f"{push.url}/discussions")) from None
    elif status == 412:
        # The other commit may be our own: our first try may have succeeded although a gateway reported an error.
        now = _look_up(api, push.repo_id, push.repo_type, push.ref)
        if now is not None and now.holds(push.files, push.stale):
            return push.unchanged(now, changed=True)
    return None


def check_destination(
    repo_id: str,
    repo_type: str,
    *,
    private: bool | None,
    refuse: Callable[[Set[str]], str | None],
    client: Client,
) -> bool:
    """Check the repository that a push would go to; say whether it exists and is private.

    Args:
        repo_id: OWNER/NAME.
        repo_type: ``dataset``, ``model`` or ``space``.
        private: whether the push is to be private.
        refuse: as for `commit`.
        client: how to reach the Hub.

    Raises:
        UserError: nothing may be pushed there.
        HubError: the Hub refused, or did not answer.
    """
    client.check_login()
    found = client.ask(lambda api: _look_up(api, repo_id, repo_type), raises=HubError)
    if found is None:
        return False
    _check(_called(repo_id, repo_type), found, private, refuse, "private")
    return found.private


def _called(repo_id: str, repo_type: str) -> str:
    """A repository in a message; a Space may have the name of a data set."""
    return f"the Space {repo_id}" if repo_type == "space" else repo_id


def _check(
    called: str, found: _Repository, private: bool | None, refuse: Callable[[Set[str]], str | None], because: str
) -> None:
    reason = refuse(set(found.files))
    if reason is not None:
        raise UserError(f"{called} {reason}")
    if private and not found.private:
        raise UserError(_PUBLIC.format(called, option(because)))


def _look_up(api: HfApi, repo_id: str, repo_type: str, revision: str | None = None) -> _Repository | None:
    """A repository with the checksums of its files; None if there is none that this login can see."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return _describe(api, repo_id, repo_type, revision)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None


def _describe(api: HfApi, repo_id: str, repo_type: str, revision: str | None = None) -> _Repository:
    info = api.repo_info(repo_id, repo_type=repo_type, revision=revision, files_metadata=True)
    siblings: list[RepoSibling] = getattr(info, "siblings", None) or []  # a repository of kernels has none
    files = {sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id for sibling in siblings}
    return _Repository(info.sha, bool(info.private), files)


def _blob_id(content: bytes) -> str:
    """The id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def address(client: Client, repo_id: str, repo_type: str) -> str:
    """The address of a repository's page."""
    folder = "" if repo_type == "model" else f"/{repo_type}s"
    return f"{client.api.endpoint}{folder}/{repo_id}"
