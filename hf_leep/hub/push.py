"""Files → a repository: one commit that notices other people's, or a pull request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from hf_leep.errors import HubError, UserError, one_line, option
from hf_leep.hub.client import Client

REPO_TYPES = ("dataset", "model", "space")
_PUBLIC = "{} is public already: make it private on its page first, or push without {}"
_UNCLEAR = "the Hub did not say whether a pull request was opened ({}): look for it at {} before you try again"


@dataclass(frozen=True)
class Committed:
    """What became of a push.

    Attributes:
        url: of the pull request if there is one, else of the repository.
        revision: the commit; None for a pull request of which the Hub does not say it.
        pull_request: whether it waits to be merged.
        changed: whether there was anything to commit.
        private: whether the repository is private.
    """

    url: str
    revision: str | None
    pull_request: bool
    changed: bool
    private: bool


def check_repo_id(repo_id: str, client: Client) -> None:
    """Check what can be checked of a push without asking the Hub.

    Raises:
        UserError: no OWNER/NAME, HF_HUB_OFFLINE is set, or there is no login.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"{repo_id!r} is no repository to push to: it is called OWNER/NAME")
    client.require_online("a push")
    client.require_login("a push")


def commit(
    files: Mapping[str, bytes],
    repo_id: str,
    *,
    repo_type: str,
    message: str,
    stale: Set[str] = frozenset(),
    refuse: Callable[[Set[str]], str | None] = lambda _present: None,
    private: bool | None = None,
    create_pr: bool = False,
    space_sdk: str | None = None,
    client: Client | None = None,
) -> Committed:
    """Put files into a repository in one commit, all or none; it is made if it is missing.

    Args:
        files: path in the repository → content.
        repo_id: OWNER/NAME.
        repo_type: ``dataset``, ``model`` or ``space``.
        message: first line of the commit.
        stale: paths that an earlier push may have left there, and that are to go where ``files`` lack them.
        refuse: paths that the repository holds → why nothing may be pushed there, None if it may; a pull request may.
        private: make a new repository private, or public; the account's default if None.
        create_pr: open a pull request instead.
        space_sdk: what a new Space runs on.
        client: how to reach the Hub.

    Raises:
        UserError: no OWNER/NAME, no login, HF_HUB_OFFLINE is set, ``refuse`` says so, or a private push would land in
            a public repository.
        HubError: the Hub refused, somebody else committed meanwhile, or it did not answer.
    """
    client = client or Client()
    check_repo_id(repo_id, client)
    refusals = {
        **dict.fromkeys((401, 403), f"this login may not write to {repo_id}: it needs a token that may"),
        412: f"somebody else committed to {repo_id} meanwhile, and nothing of this push is there: push again",
    }
    url = _url(client, repo_id, repo_type)
    found = client.ask(lambda api: _look(api, repo_id, repo_type), raises=HubError, refusals=refusals)
    if found is None:
        if create_pr:
            raise HubError(f"a pull request needs a repository, and this login can see no {repo_type} {repo_id}")
        client.ask(
            lambda api: api.create_repo(
                repo_id, repo_type=repo_type, private=private, space_sdk=space_sdk, exist_ok=True
            ),
            raises=HubError,
            missing=refusals[403],
            refusals=refusals,
        )
        found = client.ask(
            lambda api: api.repo_info(repo_id, repo_type=repo_type, files_metadata=True),
            raises=HubError,
            missing=refusals[403],
            refusals=refusals,
        )
    else:
        _check_place(repo_id, found, private, lambda _present: None if create_pr else refuse(_present))
    if private and not found.private:  # made by somebody else a moment ago
        raise UserError(_PUBLIC.format(repo_id, option("private")))
    if _holds(found, files, stale):
        return Committed(url, found.sha, pull_request=False, changed=False, private=found.private)
    parent, hidden = found.sha, found.private
    gone = stale & {sibling.rfilename for sibling in found.siblings or ()} - set(files)

    def make(api: Any) -> Committed:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HTTPError

        try:
            made = api.create_commit(
                repo_id,
                # New ones at each try: they remember what was uploaded.
                [
                    *(CommitOperationAdd(path, content) for path, content in sorted(files.items())),
                    *(CommitOperationDelete(path, is_folder=False) for path in sorted(gone)),
                ],
                commit_message=message,
                repo_type=repo_type,
                create_pr=create_pr,
                parent_commit=parent,
            )
        except HTTPError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 412 and not create_pr:
                # Perhaps it was us: a gateway gave up on our first try, and the commit was made all the same.
                now = _look(api, repo_id, repo_type)
                if now is not None and _holds(now, files, stale):
                    return Committed(url, now.sha, pull_request=False, changed=True, private=now.private)
            unclear = status is None or (status >= 500 and status != 503)
            if create_pr and unclear:  # another try may open a second one
                said = "no answer" if status is None else str(status)
                raise HubError(_UNCLEAR.format(said, f"{url}/discussions")) from None
            raise
        except ValueError as error:  # it read the card, and does not like it
            raise HubError(f"the Hub refuses the files for {repo_id}: {one_line(error)}") from None
        pull_request = made.pr_url is not None
        return Committed(made.pr_url or url, made.oid, pull_request, changed=True, private=hidden)

    return client.ask(make, raises=HubError, missing=refusals[403], refusals=refusals)


@dataclass(frozen=True)
class Proposal:
    """A pull request on somebody's card.

    Attributes:
        url: of the pull request, or of the repository where the card says it all already.
        state: ``opened``, ``already open`` or ``already there``.
    """

    url: str
    state: str


def propose(
    repo_id: str, rewrite: Callable[[str], str], *, title: str, description: str, client: Client | None = None
) -> Proposal:
    """Open a pull request that rewrites a model's card, unless one of the same title by this login is open.

    Args:
        repo_id: the model.
        rewrite: the card as it is, empty if there is none → as it is to be; raises ValueError if it cannot.
        title: of the pull request.
        description: what its reader should know.
        client: how to reach the Hub.

    Raises:
        HubError: the Hub or the repository refused, the card cannot be read, or the Hub did not answer.
    """
    client = client or Client()

    def ask(api: Any) -> Proposal:
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HTTPError

        # Before each try: an earlier one may have gone through although its answer was lost.
        own = {"author": api.whoami()["name"], "discussion_type": "pull_request", "discussion_status": "open"}
        for discussion in api.get_repo_discussions(repo_id, **own):
            if discussion.title == title:
                return Proposal(discussion.url, "already open")
        info = api.repo_info(repo_id, repo_type="model")
        content = ""
        if any(sibling.rfilename == "README.md" for sibling in info.siblings or ()):
            path = api.hf_hub_download(repo_id, "README.md", revision=info.sha)
            with open(path, encoding="utf-8-sig", newline="") as stream:
                content = stream.read()
        try:
            changed = rewrite(content)
            if changed == content:
                return Proposal(_url(client, repo_id, "model"), "already there")
            made = api.create_commit(
                repo_id,
                [CommitOperationAdd("README.md", changed.encode())],
                commit_message=title,
                commit_description=description,
                repo_type="model",
                create_pr=True,
                parent_commit=info.sha,
            )
        except HTTPError:
            raise
        except ValueError as error:
            raise HubError(one_line(error)) from None
        return Proposal(made.pr_url, "opened")

    return client.ask(
        ask,
        raises=HubError,
        missing="this login can see no such repository",
        refusals=dict.fromkeys((401, 403), "it takes no pull requests from this login"),
    )


def check_place(
    repo_id: str,
    repo_type: str,
    *,
    private: bool | None,
    refuse: Callable[[Set[str]], str | None],
    client: Client,
) -> bool:
    """Look at the repository of a push to come; say whether it is there and private.

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
    found = client.ask(lambda api: _look(api, repo_id, repo_type), raises=HubError)
    if found is None:
        return False
    _check_place(repo_id, found, private, refuse)
    return bool(found.private)


def _check_place(repo_id: str, found: Any, private: bool | None, refuse: Callable[[Set[str]], str | None]) -> None:
    reason = refuse({sibling.rfilename for sibling in found.siblings or ()})
    if reason is not None:
        raise UserError(f"{repo_id} {reason}")
    if private and not found.private:
        raise UserError(_PUBLIC.format(repo_id, option("private")))


def _look(api: Any, repo_id: str, repo_type: str) -> Any:
    """What the Hub knows of a repository, its files' checksums included; None if there is none that we can see."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return api.repo_info(repo_id, repo_type=repo_type, files_metadata=True)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None


def _holds(info: Any, files: Mapping[str, bytes], stale: Set[str]) -> bool:
    """Whether a repository has exactly these files among its own, and nothing stale."""
    there = {
        sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id for sibling in info.siblings or ()
    }
    return not (stale - set(files)) & set(there) and all(
        there.get(path) in (hashlib.sha256(content).hexdigest(), _blob_id(content)) for path, content in files.items()
    )


def _blob_id(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _url(client: Client, repo_id: str, repo_type: str) -> str:
    folder = "" if repo_type == "model" else f"/{repo_type}s"
    return f"{client.api.endpoint}{folder}/{repo_id}"
