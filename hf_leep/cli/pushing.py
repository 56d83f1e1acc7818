"""What ``rank`` does with ``--push-to-hub``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_leep.cli.output import announce, complain
from hf_leep.errors import UserError
from hf_leep.options import ReportRepoType

if TYPE_CHECKING:
    from hf_leep.report import Report

_OPTIONS = ("--private", "--create-pr", "--repo-type", "--space", "--push-thumbnails")


@dataclass(frozen=True)
class Push:
    """Where a report goes when it is done; attributes as the arguments of `hf_leep.push`."""

    repo_id: str | None
    repo_type: ReportRepoType
    private: bool
    create_pr: bool
    space: bool
    push_thumbnails: bool

    def check(self, thumbnails: bool, ask: bool) -> None:
        """Check before the run what would refuse the push after it.

        Args:
            thumbnails: whether the report will have some.
            ask: whether to ask the Hub: in the main process only.

        Raises:
            UserError: nothing may be pushed there, or there is nowhere to push to.
            HubError: the Hub refused, or did not answer.
        """
        from hf_leep import publish

        if self.repo_id is not None and ask:
            publish.check(
                self.repo_id,
                repo_type=self.repo_type,
                private=self.private or None,
                create_pr=self.create_pr,
                space=self.space,
                push_thumbnails=self.push_thumbnails,
                thumbnails=thumbnails,
            )
        given = (self.private, self.create_pr, self.repo_type != "dataset", self.space, self.push_thumbnails)
        if self.repo_id is None and any(given):
            names = ", ".join(name for name, value in zip(_OPTIONS, given, strict=True) if value)
            raise UserError(f"{names}: for a push; add its target, --push-to-hub OWNER/NAME")

    def run(self, report: Report, json: bool) -> None:
        """Push a report if it was asked for, and some candidate in it has a rank; print where it is.

        Raises:
            UserError: nothing may be pushed there.
            HubError: the Hub refused, or did not answer.
        """
        from hf_leep import publish

        if self.repo_id is None:
            return
        if report.exit_code == 1:
            complain("no candidate has a rank: nothing is pushed")
            return
        pushed = publish.push(
            report,
            self.repo_id,
            repo_type=self.repo_type,
            private=self.private or None,
            create_pr=self.create_pr,
            space=self.space,
            push_thumbnails=self.push_thumbnails,
        )
        announce(pushed, error=json)
