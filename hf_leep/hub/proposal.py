"""A pull request on a model's card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Literal

from hf_leep.errors import HubError, one_line
from hf_leep.hub.client import Client
from hf_leep.hub.push import address

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Proposal:
    """A pull request on a model's card.

    Attributes:
        url: address of the pull request, or of the repository where the card needs no change.
        state: ``opened`` now, ``already open`` before, or ``already there``: the card needs no change.
    """

    url: str
    state: Literal["opened", "already open", "already there"]


def propose(
    repo_id: str, rewrite: Callable[[str], str], *, title: str, description: str, client: Client | None = None
) -> Proposal:
    """Open a pull request that rewrites a model's card, unless this login has one of the same title open.

    Args:
        repo_id: the model.
        rewrite: the present card, empty if there is none → the new one; raises ValueError if it cannot.
        title: title of the pull request.
        description: its text.
        client: how to reach the Hub.

    Raises:
        HubError: the Hub or the repository refused, the card cannot be read, or the Hub did not answer.
    """
    client = client or Client()

    def ask(api: HfApi) -> Proposal:
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HTTPError

        # Checked before each try, since an earlier one may have succeeded although its answer was lost.
        discussions = api.get_repo_discussions(
            repo_id, author=api.whoami(cache=True)["name"], discussion_type="pull_request", discussion_status="open"
        )
        for discussion in discussions:
            if discussion.title == title:
                return Proposal(discussion.url, "already open")
        info = api.model_info(repo_id)
        content = ""
        if any(sibling.rfilename == "README.md" for sibling in info.siblings or ()):
            path = api.hf_hub_download(repo_id, "README.md", revision=info.sha)
            with open(path, encoding="utf-8-sig", newline="") as stream:
                content = stream.read()
        try:
            changed = rewrite(content)
            if changed == content:
                return Proposal(address(client, repo_id, "model"), "already there")
            made = api.create_commit(
                repo_id,
                [CommitOperationAdd("README.md", changed.encode())],
                commit_message=title,
                commit_description=description,
                repo_type="model",
                create_pr=True,
                parent_commit=info.sha,
            )
        except (HTTPError, JSONDecodeError):
            raise
        except ValueError as error:
            raise HubError(one_line(error)) from None
        return Proposal(str(made.pr_url), "opened")

    return client.ask(
        ask,
        raises=HubError,
        missing="this login can see no such repository",
        refusals=dict.fromkeys((401, 403), "it takes no pull requests from this login"),
    )
