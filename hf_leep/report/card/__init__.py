"""The page, the plots and the table of a report: pure functions of report.json's content that write no file."""

from __future__ import annotations

from hf_leep.report.card import plots
from hf_leep.report.card.explanation import why_unexplained
from hf_leep.report.card.metadata import (
    annotated,
    annotation_title,
    local_names,
    private_names,
    ranked_on_hub,
    target_on_hub,
)
from hf_leep.report.card.page import page
from hf_leep.report.card.table import notebook, parquet
from hf_leep.report.card.wording import short_names
from hf_leep.report.html import interactive
from hf_leep.report.schema import ReportData

__all__ = [
    "FILES",
    "annotated",
    "annotation_title",
    "local_names",
    "notebook",
    "private_names",
    "ranked_on_hub",
    "render",
    "short_names",
    "target_on_hub",
    "why_unexplained",
]

FILES = plots.FILES | {"README.md", "report.html", "scores.parquet"}


def render(data: ReportData, repo_type: str = "dataset", licence: str = "unknown") -> dict[str, bytes]:
    """Make every file of a report but report.json itself: relative path → content.

    Args:
        data: the content of report.json.
        repo_type: the kind of repository that the files are for: ``dataset``, as in a folder, or ``model``, which has
            no place for a table of data and for report.html.
        licence: the id of the report's licence on the Hub, for the page's metadata.
    """
    files = plots.draw(data)
    if repo_type == "dataset":
        files |= {"scores.parquet": parquet(data), "report.html": interactive(data)}
    files["README.md"] = page(data, repo_type, licence).encode("utf-8", "backslashreplace")
    return files
