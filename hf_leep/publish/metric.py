"""Push a measure's `evaluate` module."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from hf_leep import hub
from hf_leep.errors import UserError
from hf_leep.evaluate_module import bundle, metric_path
from hf_leep.publish.pushed import Pushed


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
