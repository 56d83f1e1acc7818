"""Push a report to the Hub, propose its scores to the candidates' cards, push a metric."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import cast

from hf_leep import hub
from hf_leep.errors import HubError, UserError, option
from hf_leep.evaluate_module import bundle, metric_path
from hf_leep.options import REPORT_REPO_TYPES, ReportRepoType
from hf_leep.report import Report, card, thumbnails
from hf_leep.report.schema import ReportData

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
_DESCRIPTION = (
    "Adds transferability scores to the model-index of this card: how well the model's predictions or features "
    "explain the labels of `{dataset}` before any training, from one forward pass. They are not accuracies. "
    "The report: {url}"
)


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
        local_names: paths of this machine that the pushed page names.
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


def push(
    report: Report | str | Path,
    repo_id: str,
    *,
    repo_type: ReportRepoType = "dataset",
    private: bool | None = None,
    create_pr: bool = False,
    license: str | None = None,  # noqa: A002 - as huggingface_hub calls it
    commit_message: str | None = None,
    commit_description: str | None = None,
    space: bool = False,
    push_thumbnails: bool = False,
    token: str | bool | None = None,
) -> Pushed:
    """Push a report to the Hub in one commit: its page, report.json, the plot, and the scores for ``load_dataset``.

    All files are made from the report's data. A second push updates the repository, and removes files that an earlier
    report left there.

    Args:
        report: a report, or the folder of one.
        repo_id: OWNER/NAME, created if it does not exist.
        repo_type: ``dataset``, or ``model`` for a model card without weights.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        license: the report's licence, as the Hub calls it, such as ``cc-by-4.0``; stated as ``unknown`` by default.
        commit_message: first line of the commit's message, and the title of a pull request.
        commit_description: the rest of it.
        space: also push report.html as a static Space of the same name, which the page links; it is as private as
            the repository.
        push_thumbnails: also push the thumbnails of the report, which are pictures of your rows.
        token: token for the Hub; by default that of the login.

    Raises:
        UserError: the call was wrong, there is no login, HF_HUB_OFFLINE is set, or the repository's README.md is not
            that of a report, or the Space is another one; nothing was pushed.
        HubError: the Hub refused, somebody else committed at the same time, or it did not answer.
    """
    report = report if isinstance(report, Report) else Report.load(report)
    _check_call(repo_id, repo_type, token)
    _check_extras(
        bool(report.thumbnails), repo_type, space=space, push_thumbnails=push_thumbnails, create_pr=create_pr
    )
    client = hub.Client(token=token)
    clean = Report(
        cast(ReportData, _without_tokens(report.data, client.secret)), report.thumbnails if push_thumbnails else {}
    )
    num_ranked = sum(candidate["rank"] is not None for candidate in clean.candidates)
    message = commit_message or f"hf_leep: {num_ranked} candidates ranked"
    space_url = hub.address(client, repo_id, "space") if space else None
    try:
        files = {
            "report.json": clean.to_bytes(),
            **card.render(clean.data, repo_type, license or "unknown", thumbnails=clean.thumbnails, space=space_url),
        }
        if repo_type == "dataset":
            files |= thumbnails.files(clean.thumbnails)
    except ValueError as error:  # a number that JSON does not allow, in a report.json that was edited
        raise UserError(f"the report cannot be written: {error}") from None
    if space:
        _push_space(clean, repo_id, repo_type, license or "unknown", message, private, client)
    committed = hub.commit(
        files,
        repo_id,
        repo_type=repo_type,
        message=message,
        description=commit_description or "",
        stale=_is_ours,
        refuse=_no_report,
        private=private,
        create_pr=create_pr,
        client=client,
    )
    return Pushed(
        repo_id=repo_id,
        repo_type=repo_type,
        local_names=tuple(card.local_names(clean.data)),
        private_names=tuple(card.private_names(clean.data)),
        space_url=space_url,
        **asdict(committed),
    )


def _check_extras(
    thumbnails: bool, repo_type: ReportRepoType, *, space: bool, push_thumbnails: bool, create_pr: bool
) -> None:
    """Raise where a Space or thumbnails are asked for that cannot be pushed."""
    if space and create_pr:
        raise UserError(f"{option('space')} commits to a Space, and {option('create_pr')} nothing: leave one out")
    named = option("push_thumbnails")
    if push_thumbnails and not thumbnails:
        raise UserError(f"{named}: the report has no thumbnails; rank with {option('thumbnails')}")
    if push_thumbnails and repo_type == "model" and not space:
        raise UserError(f"{named}: a model card shows none; push to a data set, or add {option('space')}")


def _push_space(
    report: Report,
    repo_id: str,
    repo_type: ReportRepoType,
    licence: str,
    message: str,
    private: bool | None,
    client: hub.Client,
) -> None:
    """Push report.html as a static Space, before the page that links it; as private as the report."""
    if hub.check_destination(repo_id, repo_type, private=private, refuse=_no_report, client=client):
        private = True  # a Space that shows a private report
    hub.commit(
        card.space_files(report.data, repo_id, repo_type, licence, thumbnails=report.thumbnails)
        | {"report.json": report.to_bytes()},
        repo_id,
        repo_type="space",
        message=message,
        refuse=_other_space,
        private=private,
        because="space",
        space_sdk="static",
        client=client,
    )


def check(
    repo_id: str,
    *,
    repo_type: ReportRepoType = "dataset",
    private: bool | None = None,
    create_pr: bool = False,
    space: bool = False,
    push_thumbnails: bool = False,
    thumbnails: bool = False,
    token: str | bool | None = None,
) -> None:
    """Check a push before a long run whose report, with or without ``thumbnails``, is to be pushed.

    Raises:
        UserError: not OWNER/NAME, a type other than ``dataset`` or ``model``, no login, HF_HUB_OFFLINE is set, or a
            repository to which nothing may be pushed.
        HubError: the Hub refused, or did not answer.
    """
    _check_call(repo_id, repo_type, token)
    _check_extras(thumbnails, repo_type, space=space, push_thumbnails=push_thumbnails, create_pr=create_pr)
    client = hub.Client(token=token)
    refuse = (lambda _present: None) if create_pr else _no_report
    hub.check_destination(repo_id, repo_type, private=private, refuse=refuse, client=client)
    if space:
        hub.check_destination(repo_id, "space", private=private, refuse=_other_space, client=client)


def _check_call(repo_id: str, repo_type: ReportRepoType, token: str | bool | None) -> None:
    if repo_type not in REPORT_REPO_TYPES:
        raise UserError(
            f"{option('repo_type')} is {repo_type!r}; a report is pushed to a repository of type "
            f"{' or '.join(REPORT_REPO_TYPES)}"
        )
    hub.check_repo_id(repo_id, hub.Client(token=token))


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


def push_metric(
    repo_id: str,
    metric: str = "leep",
    *,
    private: bool | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
) -> Pushed:
    """Push a measure's `evaluate` module as a Space, so that ``evaluate.load(repo_id)`` finds it.

    The Space holds what the module needs of hf_leep, so neither its page nor ``evaluate.load`` needs hf_leep.

    Args:
        repo_id: OWNER/NAME, where NAME is the measure's name in snake_case: evaluate loads NAME.py.
        metric: the measure.
        private: make a new Space private.
        create_pr: open a pull request instead of committing.
        token: token for the Hub; by default that of the login.

    Raises:
        MeasureError: no such measure, or it has no module.
        UserError: the Space has another name or contains something else, no login, or HF_HUB_OFFLINE is set.
        HubError: the Hub refused, somebody else committed at the same time, or it did not answer.
    """
    folder = Path(metric_path(metric))
    client = hub.Client(token=token)
    hub.check_repo_id(repo_id, client)
    owner, _, name = repo_id.partition("/")
    if name != folder.name:
        raise UserError(f"evaluate.load({repo_id!r}) would look for {name}.py: call the Space {owner}/{folder.name}")
    module = f"{folder.name}.py"

    def refuse(present: Set[str]) -> str | None:
        # A Space has a README.md from the beginning.
        other = sorted(present - {".gitattributes", "README.md"})
        return f"contains {other[0]} and no {module}: it is another Space" if other and module not in present else None

    committed = hub.commit(
        bundle.space_files(folder, repo_id, version("hf-leep")),
        repo_id,
        repo_type="space",
        message=f"hf_leep {version('hf-leep')}: the {folder.name} metric",
        refuse=refuse,
        private=private,
        create_pr=create_pr,
        space_sdk="gradio",
        client=client,
    )
    return Pushed(repo_id=repo_id, repo_type="space", **asdict(committed))


def _other_space(present: Set[str]) -> str | None:
    """Why no report may be pushed to a Space that exists: it is something else."""
    other = present - {".gitattributes", "README.md", "report.json"}
    if other and "report.json" not in present:
        return f"is a Space of something else: push the report under another name, or without {option('space')}"
    return None


def _is_ours(path: str) -> bool:
    """Whether a push of a report may have written a file."""
    return path in card.FILES or path == "report.json" or thumbnails.is_one(path)


def _no_report(present: Set[str]) -> str | None:
    if "README.md" in present and "report.json" not in present:
        instead = f"open a pull request ({option('create_pr')})"
        return f"has a README.md that is not a report's: push elsewhere, or {instead}"
    return None


def _without_tokens(value: object, token: str | None) -> object:
    """Plain data without the token in use, or anything else that looks like a token."""
    if isinstance(value, dict):
        return {key: _without_tokens(inner, token) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_tokens(inner, token) for inner in value]
    if not isinstance(value, str):
        return value
    return _TOKEN.sub("hf_…", value.replace(token, "hf_…") if token else value)
