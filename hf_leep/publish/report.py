"""Push a report to the Hub."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import asdict
from pathlib import Path
from typing import cast

from hf_leep import hub
from hf_leep.errors import UserError, option
from hf_leep.options import REPORT_REPO_TYPES, ReportRepoType
from hf_leep.publish.pushed import Pushed
from hf_leep.report import Report, card, thumbnails
from hf_leep.report.schema import ReportData

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}")


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

    All files are made from the report's data; absolute paths of this machine are replaced by names. A second push
    updates the repository, and removes files that an earlier report left there.

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
            that of a report, or the Space holds something else; nothing was pushed.
        HubError: the Hub refused, somebody else committed at the same time, or it did not answer.
    """
    report = report if isinstance(report, Report) else Report.load(report)
    _check_call(repo_id, repo_type, token)
    _check_extras(
        bool(report.thumbnails), repo_type, space=space, push_thumbnails=push_thumbnails, create_pr=create_pr
    )
    client = hub.Client(token=token)
    safe = card.without_paths(cast(ReportData, _without_tokens(report.data, client.secret)))
    clean = Report(safe, report.thumbnails if push_thumbnails else {})
    num_ranked = sum(candidate["rank"] is not None for candidate in clean.candidates)
    message = commit_message or f"hf_leep: {num_ranked} candidates ranked"
    space_url = hub.address(client, repo_id, "space") if space else None
    try:
        files = {
            "report.json": clean.to_bytes(),
            **card.render(
                clean.data,
                repo_type,
                license or "unknown",
                thumbnails=clean.thumbnails,
                space=space_url,
                place=card.Place(repo_id=repo_id, repo_type=repo_type),
            ),
        }
        if repo_type == "dataset":
            files |= thumbnails.files(clean.thumbnails)
    except ValueError as error:  # a number that JSON does not allow, in a report.json that was edited
        raise UserError(f"the report cannot be written ({error})") from None
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
        raise UserError(
            f"{option('space')} commits to a Space, but {option('create_pr')} must not commit: leave one out"
        )
    named = option("push_thumbnails")
    if push_thumbnails and not thumbnails:
        raise UserError(f"{named}: the report has no thumbnails; rank with {option('thumbnails')}")
    if push_thumbnails and repo_type == "model" and not space:
        raise UserError(f"{named}: a model card cannot show them; push to a data set, or add {option('space')}")


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
        return (
            f"has a README.md that is not a report's: push elsewhere, or open a pull request ({option('create_pr')})"
        )
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
