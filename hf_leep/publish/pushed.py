"""Where something was pushed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pushed:
    """Where something was pushed. Attributes that `huggingface_hub.CommitInfo` has, too, have its names.

    Attributes:
        url: of the pull request if there is one, else of the repository.
        repo_id: OWNER/NAME.
        repo_type: ``dataset``, ``model`` or ``space``.
        revision: the commit.
        pull_request: whether it is a pull request, still to be merged.
        changed: whether anything was committed; False if the repository had all of it.
        private: whether the repository is private.
        repo_url: address of the repository.
        commit_url: address of the commit; None if there is none, or the Hub does not name it.
        commit_message: its first line.
        commit_description: the rest of its message.
        pr_url: address of the pull request; None if it is none.
        pr_num: its number.
        pr_revision: the ref that it can be loaded from, such as ``refs/pr/1``.
        local_names: folders of this machine that the pushed page names, without their paths.
        private_names: private repositories that it names.
        space_url: address of the Space that shows report.html; None if there is none.
    """

    url: str
    repo_id: str
    repo_type: str
    revision: str | None
    pull_request: bool
    changed: bool
    private: bool
    repo_url: str
    commit_url: str | None
    commit_message: str
    commit_description: str
    pr_url: str | None
    pr_num: int | None
    pr_revision: str | None
    local_names: tuple[str, ...] = ()
    private_names: tuple[str, ...] = ()
    space_url: str | None = None

    @property
    def oid(self) -> str | None:
        """The commit, as `huggingface_hub.CommitInfo` calls it: the same as ``revision``."""
        return self.revision
