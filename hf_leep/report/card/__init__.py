"""The page, the plots and the table of a report: pure functions of report.json's content that write no file."""

from __future__ import annotations

from collections.abc import Mapping

from hf_leep.report.card import plots
from hf_leep.report.card.explanation import why_unexplained
from hf_leep.report.card.metadata import (
    annotated,
    annotation_title,
    local_names,
    private_names,
    ranked_on_hub,
    space_page,
    target_on_hub,
)
from hf_leep.report.card.next_steps import Place
from hf_leep.report.card.page import page
from hf_leep.report.card.paths import without_paths
from hf_leep.report.card.table import notebook, parquet
from hf_leep.report.card.wording import short_names
from hf_leep.report.html import interactive
from hf_leep.report.schema import ReportData

__all__ = [
    "FILES",
    "Place",
    "annotated",
    "annotation_title",
    "local_names",
    "notebook",
    "private_names",
    "ranked_on_hub",
    "render",
    "short_names",
    "space_files",
    "target_on_hub",
    "why_unexplained",
    "without_paths",
]

FILES = plots.FILES | {"README.md", "report.html", "scores.parquet"}


def render(
    data: ReportData,
    repo_type: str = "dataset",
    licence: str = "unknown",
    *,
    thumbnails: Mapping[int, bytes] | None = None,
    space: str | None = None,
    place: Place = Place(),  # noqa: B008 - frozen
) -> dict[str, bytes]:
    """Make every file of a report but report.json itself: relative path → content.

    The page, report.html and the plots name no absolute path; the table has the ids of report.json.

    Args:
        data: the content of report.json.
        repo_type: the kind of repository that the files are for: ``dataset``, as in a folder, or ``model``, which has
            no place for a table of data and for report.html.
        licence: the id of the report's licence on the Hub, for the page's metadata.
        thumbnails: row → a small JPEG, for report.html; none by default.
        space: address of the Space that shows report.html, for a link on the page.
        place: where the report is, for the commands on the page.
    """
    shown = without_paths(data)
    shortened = shown["run"]["command"] != data["run"]["command"]
    files = plots.draw(shown)
    if repo_type == "dataset":
        files |= {"scores.parquet": parquet(data), "report.html": interactive(shown, thumbnails, shortened)}
    files["README.md"] = page(shown, repo_type, licence, space, place, shortened).encode("utf-8", "backslashreplace")
    return files


def space_files(
    data: ReportData, repo_id: str, repo_type: str, licence: str, *, thumbnails: Mapping[int, bytes]
) -> dict[str, bytes]:
    """Make the files of a static Space that shows report.html: path in the Space → content.

    Args:
        data: the content of report.json.
        repo_id: the repository with the report, OWNER/NAME.
        repo_type: ``dataset`` or ``model``.
        licence: the id of the report's licence on the Hub.
        thumbnails: row → a small JPEG.
    """
    data = without_paths(data)
    return {
        "README.md": space_page(data, repo_id, repo_type, licence).encode("utf-8", "backslashreplace"),
        "index.html": interactive(data, thumbnails),
    }
