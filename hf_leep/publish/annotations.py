"""Propose a report's scores to the cards of its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from hf_leep import hub
from hf_leep.errors import HubError, UserError
from hf_leep.options import ReportRepoType
from hf_leep.publish.pushed import Pushed
from hf_leep.report import Report, card

_DESCRIPTION = (
    "Adds transferability scores to the model-index of this card: how well the model's predictions or features "
    "explain the labels of `{dataset}` before any training, from one forward pass. They are not accuracies. "
    "The report: {url}"
)


@dataclass(frozen=True)
class Annotation:
    """The outcome of one candidate's pull request.

    Attributes:
        id: the candidate.
        state: ``opened``, ``already open``, ``already there`` or ``failed``.
        url: of the pull request, or of the candidate; None if it failed.
        reason: why it failed.
    """

    id: str
    state: str
    url: str | None
    reason: str | None = None


def check_annotations(
    report: Report,
    private: bool | None = None,
    *,
    repo_id: str | None = None,
    repo_type: ReportRepoType = "dataset",
    token: str | bool | None = None,
) -> None:
    """Check that a report's scores can be put on the candidates' cards.

    Args:
        report: the report.
        private: whether its page is, or is to be, private.
        repo_id: repository that the report is pushed to; if given, and unless HF_HUB_OFFLINE is set, the Hub is asked
            whether it is private.
        repo_type: ``dataset`` or ``model``.
        token: token for the Hub; by default that of the login.

    Raises:
        UserError: its data set is private or not on the Hub, no ranked candidate is a public repository, or its page
            is private.
        HubError: the Hub refused, or did not answer.
    """
    if not card.target_on_hub(report.data):
        raise UserError(
            "scores are added to a candidate's card only if the data set is on the Hub, where others can find it"
        )
    if not card.ranked_on_hub(report.data):
        raise UserError("no ranked candidate is a public repository on the Hub: there is no card to put scores on")
    client = hub.Client(token=token)
    look = partial(hub.check_destination, private=None, refuse=lambda _present: None, client=client)
    asking = repo_id is not None and not client.offline
    if private or (asking and look(str(repo_id), repo_type)):
        raise UserError("a candidate's card would link to a private report: push it to a public repository")
    if asking and look(report.data["target"]["dataset"], "dataset"):
        raise UserError("the data set is private: its name and scores are not added to other people's cards")


def annotate(report: Report, pushed: Pushed, *, token: str | bool | None = None) -> list[Annotation]:
    """Open a pull request on each ranked candidate's card that adds its scores; never a commit.

    A repository that refuses is reported with its reason, and the others go on.

    Args:
        report: the report.
        pushed: where the report was pushed, for the link.
        token: token for the Hub; by default that of the login.

    Raises:
        UserError: as for `check_annotations`.
    """
    check_annotations(report, pushed.private)
    client = hub.Client(token=token)
    done = []
    for candidate in card.ranked_on_hub(report.data):
        try:
            proposal = hub.propose(
                candidate["id"],
                partial(card.annotated, data=report.data, candidate=candidate, source=pushed.url),
                title=card.annotation_title(report.data),
                description=_DESCRIPTION.format(dataset=report.data["target"]["dataset"], url=pushed.url),
                client=client,
            )
        except HubError as error:
            done.append(Annotation(candidate["id"], "failed", None, str(error)))
        else:
            done.append(Annotation(candidate["id"], proposal.state, proposal.url))
    return done
