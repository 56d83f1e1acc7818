"""What ``rank`` does with ``--push-to-hub``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from hf_leep.cli.output import announce, complain
from hf_leep.errors import UserError
from hf_leep.options import ReportRepoType

if TYPE_CHECKING:
    from hf_leep.report import Report


class PushOptions(TypedDict):
    """How a report is pushed; keys as the arguments of `hf_leep.push`."""

    private: bool | None
    create_pr: bool
    repo_type: ReportRepoType
    space: bool
    push_thumbnails: bool


@dataclass(frozen=True)
class Push:
    """Where a report goes when it is done.

    Attributes:
        repo_id: OWNER/NAME; None where nothing is pushed.
        options: how.
    """

    repo_id: str | None
    options: PushOptions

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
            publish.check(self.repo_id, **self.options, thumbnails=thumbnails)
        given = [name for name, value in self.options.items() if value not in (None, False, "dataset")]
        if self.repo_id is None and given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(f"{names} {'is' if len(given) == 1 else 'are'} for a push: add --push-to-hub OWNER/NAME")

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
        pushed = publish.push(report, self.repo_id, **self.options)
        announce(pushed, error=json)
