"""The plots of a report, as PNG and as SVG: pure functions of report.json's content."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hf_leep.report.card.plots import style
from hf_leep.report.card.plots.insight import calibration_finding, classes_finding, draw_calibration, draw_classes
from hf_leep.report.card.plots.scores import draw_ranks, draw_scores, ranks_finding, scores_finding
from hf_leep.report.card.plots.tradeoff import cost_finding, draw_cost
from hf_leep.report.schema import ReportData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FILES", "draw", "findings"]

# Name of a plot → its finding, which is None where there is nothing to draw, and what draws it.
_PLOTS: dict[str, tuple[Callable[[ReportData], str | None], Callable[[ReportData], Figure]]] = {
    "scores": (scores_finding, draw_scores),
    "ranks": (ranks_finding, draw_ranks),
    "cost": (cost_finding, draw_cost),
    "calibration": (calibration_finding, draw_calibration),
    "classes": (classes_finding, draw_classes),
}
FILES = frozenset(f"plots/{name}.{suffix}" for name in _PLOTS for suffix in ("png", "svg"))


def findings(data: ReportData) -> dict[str, str]:
    """What each plot of a report shows, in a sentence or two: name of the plot → its alternative text.

    Args:
        data: the content of report.json.
    """
    found = {name: finding(data) for name, (finding, _) in _PLOTS.items()}
    return {name: text for name, text in found.items() if text is not None}


def draw(data: ReportData) -> dict[str, bytes]:
    """Draw every plot that a report has something for: relative path → content.

    Args:
        data: the content of report.json.
    """
    files = {}
    with style.drawing():
        for name, finding in findings(data).items():
            figure = _PLOTS[name][1](data)
            files[f"plots/{name}.png"] = style.png(figure)
            files[f"plots/{name}.svg"] = style.svg(figure, finding)
    return files
