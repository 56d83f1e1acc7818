"""Report → page, plots, table: pure functions of report.json's data that write nothing themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_leep.card.page import page
from hf_leep.card.plot import plot_scores
from hf_leep.card.table import notebook, parquet

__all__ = ["FILES", "notebook", "render"]

FILES = frozenset({"README.md", "scores.parquet", "plots/scores.png"})


def render(data: Mapping[str, Any]) -> dict[str, bytes]:
    """Make every file of a report but report.json itself: relative path → content.

    Args:
        data: the content of report.json.
    """
    files = {"scores.parquet": parquet(data)}
    if any(candidate["rank"] is not None for candidate in data["candidates"]):
        files["plots/scores.png"] = plot_scores(data)
    files["README.md"] = page(data).encode("utf-8", "backslashreplace")
    return files
