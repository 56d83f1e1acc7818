"""Compose report, card and Hub: push a report, propose its scores to the candidates' cards, push a metric."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_leep import hub
from hf_leep.errors import HubError, UserError
from hf_leep.evaluate_module import metric_path
from hf_leep.report import Report, card

_FILES = card.FILES | {"report.json"}
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
_DESCRIPTION = (
    "Adds scores of transferability to the model-index of this card: how well the model's predictions or features "
    "explain the labels of `{dataset}` before any training, from one forward pass. They are no accuracy. "
    "The report: {url}"
)


@dataclass(frozen=True)
class Pushed:
    """Where something was pushed.

    Attributes:
        url: of the pull request if there is one, else of the repository.
        repo_id: OWNER/NAME.
        repo_type: ``dataset``, ``model`` or ``space``.
        revision: the commit.
        pull_request: whether it waits to be merged.
        changed: whether anything was committed: nothing is where the repository held all of it.
        private: whether the repository is private.
        local_names: paths of this machine that the pushed page names.
        private_names: private repositories that it names.
    """

    url: str
    repo_id: str
    repo_type: str
    revision: str | None
    pull_request: bool
    changed: bool
    private: bool
    local_names: tuple[str, ...] = ()
    private_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """What became of one candidate's pull request.

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
    repo_type: str = "dataset",
    private: bool | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
) -> Pushed:
    """Push a report to the Hub in one commit: its page, report.json, the plot, and the scores for ``load_dataset``.

    The files are made afresh from the report's data. A second push updates the repository, and removes what an earlier
    report left there.

    Args:
        report: a report, or the folder of one.
        repo_id: OWNER/NAME, made if it is missing.
        repo_type: ``dataset``, or ``model`` for a model card without weights.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        token: as everywhere in the ecosystem; by default that of the login.

    Raises:
        UserError: the call was wrong, there is no login, HF_HUB_OFFLINE is set, or the repository's README.md is no
            report's; nothing was pushed.
        HubError: the Hub refused, somebody else committed meanwhile, or it did not answer.
    """
    report = report if isinstance(report, Report) else Report.load(report)
    _check_call(repo_id, repo_type, token)
    client = hub.Client(token=token)
    clean = Report(_without_tokens(report.data, client.secret))
    try:
        files = {"report.json": clean.to_bytes(), **card.render(clean.data, repo_type)}
    except ValueError as error:  # a number that JSON does not know, in a report.json of somebody else's making
        raise UserError(f"the report cannot be written: {error}") from None
    committed = hub.commit(
        files,
        repo_id,
        repo_type=repo_type,
        message=f"hf_leep: {sum(c['rank'] is not None for c in clean.candidates)} candidates ranked",
        stale=_FILES,
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
        **asdict(committed),
    )


def check(
    repo_id: str,
    *,
    repo_type: str = "dataset",
    private: bool | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
) -> None:
    """Check what can be checked of a push before there is anything to push, so that nothing long is run in vain.

    Raises:
        UserError: no OWNER/NAME, another type than ``dataset`` or ``model``, no login, HF_HUB_OFFLINE is set, or a
            repository where it may not go.
        HubError: the Hub refused, or did not answer.
    """
    _check_call(repo_id, repo_type, token)
    hub.check_destination(
        repo_id,
        repo_type,
        private=private,
        refuse=lambda present: None if create_pr else _no_report(present),
        client=hub.Client(token=token),
    )


def _check_call(repo_id: str, repo_type: str, token: str | bool | None) -> None:
    if repo_type not in ("dataset", "model"):
        raise UserError(f"a report is pushed to a repository of type dataset or model, not {repo_type!r}")
    hub.check_repo_id(repo_id, hub.Client(token=token))


def check_annotations(
    report: Report,
    private: bool | None = None,
    *,
    repo_id: str | None = None,
    repo_type: str = "dataset",
    token: str | bool | None = None,
) -> None:
    """Check that a report's scores can be put on the candidates' cards.

    Args:
        report: the report.
        private: whether its page is, or is to be, private.
        repo_id: where its page is going; looked at, where it is given and the Hub may be asked.
        repo_type: ``dataset`` or ``model``.
        token: as everywhere in the ecosystem.

    Raises:
        UserError: its data set is not on the Hub or private, none of its ranked candidates is a repository that others
            can see, or its page is private.
        HubError: the Hub refused, or did not answer.
    """
    if not card.target_on_hub(report.data):
        raise UserError("scores go on a candidate's card only for a data set on the Hub, which others can find")
    if not card.ranked_on_hub(report.data):
        raise UserError("no ranked candidate is a public repository on the Hub: there is no card to put scores on")
    client = hub.Client(token=token)
    look = partial(hub.check_destination, private=None, refuse=lambda _present: None, client=client)
    asking = repo_id is not None and not client.offline
    if private or (asking and look(str(repo_id), repo_type)):
        raise UserError("a candidate's card would link to a report that is private: leave out one of the two options")
    if asking and look(report.data["target"]["dataset"], "dataset"):
        raise UserError("the data set is private: its name and scores do not go on other people's cards")


def annotate(report: Report, pushed: Pushed, *, token: str | bool | None = None) -> list[Annotation]:
    """Open a pull request on each ranked candidate's card that adds its scores; never a commit.

    A candidate whose repository refuses is named with its reason, and the others go on.

    Args:
        report: the report.
        pushed: where it is, for the link.
        token: as everywhere in the ecosystem.

    Raises:
        UserError: as `check_annotations`.
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

    Args:
        repo_id: OWNER/NAME, where NAME is the measure's, in snake_case: evaluate loads NAME.py.
        metric: the measure.
        private: make a new Space private.
        create_pr: open a pull request instead of committing.
        token: as everywhere in the ecosystem.

    Raises:
        MeasureError: no such measure, or it has no module.
        UserError: the Space has another name or holds something else, no login, or HF_HUB_OFFLINE is set.
        HubError: the Hub refused, somebody else committed meanwhile, or it did not answer.
    """
    folder = Path(metric_path(metric))
    client = hub.Client(token=token)
    hub.check_repo_id(repo_id, client)
    owner, _, name = repo_id.partition("/")
    if name != folder.name:
        raise UserError(f"evaluate.load({repo_id!r}) would look for {name}.py: call the Space {owner}/{folder.name}")
    module = f"{folder.name}.py"

    def refuse(present: Set[str]) -> str | None:
        # A Space has a README.md from the day it is made.
        other = sorted(present - {".gitattributes", "README.md"})
        return f"holds {other[0]} and no {module}: it is another Space" if other and module not in present else None

    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    committed = hub.commit(
        files,
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


def _no_report(present: Set[str]) -> str | None:
    if "README.md" in present and "report.json" not in present:
        return "holds a README.md that is no report's: push elsewhere, or open a pull request (--create-pr)"
    return None


def _without_tokens(value: Any, token: str | None) -> Any:
    """Plain data in which nothing looks like a token, nor is the one in use."""
    if isinstance(value, dict):
        return {key: _without_tokens(inner, token) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_tokens(inner, token) for inner in value]
    if not isinstance(value, str):
        return value
    return _TOKEN.sub("hf_…", value.replace(token, "hf_…") if token else value)
