"""The plot of score against cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_leep.report.card.cost import Point, points
from hf_leep.report.card.plots import style
from hf_leep.report.card.plots.scores import axis_label
from hf_leep.report.palette import LIGHT
from hf_leep.report.schema import ReportData
from hf_leep.text import count, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMED = 6  # candidates that are named in the text
_HEIGHT = 2.9  # inches
_ALIKE = 3  # ratio of the highest to the lowest cost up to which the axis is not logarithmic
_DIGIT = 7.0  # points that a digit is wide, with the space around it
_LIFT = 7.0  # points from a mark to its number


def cost_finding(data: ReportData) -> str | None:
    """Say which candidates score best for what they cost; None if the cost of fewer than two is known."""
    found = points(data)
    if found is None:
        return None
    unit, made = found
    best = [point for point in made if point.best]
    names = ", ".join(f"{point.name} ({_cost(point, unit)})" for point in best[-_MOST_NAMED:][::-1])
    more = f" and {len(best) - _MOST_NAMED} cheaper ones" if len(best) > _MOST_NAMED else ""
    which = "with as few parameters" if unit == "parameters" else "that take as few seconds"
    return f"Best among candidates {which}: {names}{more}."


def draw_cost(data: ReportData) -> Figure:
    """Score against parameters, or seconds, with the best candidates of each cost named."""
    unit, made = points(data) or ("parameters", [])
    best = [point for point in made if point.best]
    texts = ["The line joins the best for their cost. Numbers are ranks:"]
    texts += [
        f"{point.candidate['rank']}  {style.clip(point.name)}, {_cost(point, unit)}"
        for point in best[::-1][:_MOST_NAMED]
    ]
    above = 0.5 + 0.2 * len(texts)
    figure, axes = style.figure_of(_HEIGHT, above, (0.72, 0.2))
    for line, text in enumerate(texts):
        y = 1 - (0.14 + 0.2 * line) / figure.get_size_inches()[1]
        figure.text(0.14 / 5, y, text, va="center", color=LIGHT.ink)
    # The name of the axis is above it: long numbers would push it off the edge.
    named = 1 - (above - 0.16) / figure.get_size_inches()[1]
    figure.text(0.14 / 5, named, axis_label(data).split(",")[0], va="center", color=LIGHT.ink)
    axes.grid(axis="y", color=LIGHT.grid, linewidth=0.8)
    axes.plot([p.cost for p in best], [p.score for p in best], color=LIGHT.quiet, lw=1.2, zorder=1, ls="-")
    for point in made:
        own = style.colour(point.candidate)
        axes.plot(point.cost, point.score, "o", ms=8 if point.best else 5, mec=own, zorder=3, mfc=own)
    axes.margins(0.1)
    _scale(axes, unit)
    if not data["measure_details"][data["sort_by"]]["higher_is_better"]:
        axes.invert_yaxis()
    _number(axes, [*best[::-1], *sorted((p for p in made if not p.best), key=lambda p: p.candidate["rank"])])
    axes.set_xlabel("parameters" if unit == "parameters" else "seconds of the forward pass", color=LIGHT.ink)
    return figure


def _number(axes: Axes, made: list[Point]) -> None:
    """Write each candidate's rank above its point, unless it would touch another rank or point."""
    axes.autoscale_view()
    to_points = axes.transData.transform([(p.cost, p.score) for p in made]) * 72 / axes.figure.dpi  # [n, 2]
    placed: list[tuple[float, float, float]] = []
    for k, (point, (x, y)) in enumerate(zip(made, to_points, strict=True)):
        rank = str(point.candidate["rank"])
        half, middle = _DIGIT * len(rank) / 2, y + _LIFT + style.FONT / 2
        beside = abs(to_points[:, 0] - x) < half + 3
        covered = beside & (abs(to_points[:, 1] - middle) < style.FONT / 2 + 3)
        covered[k] = False
        near = (abs(x - a) < half + other and abs(y - b) < style.FONT + 2 for a, b, other in placed)
        if not covered.any() and not any(near):
            placed.append((x, y, half))
            axes.annotate(
                rank, (point.cost, point.score), (0, _LIFT), textcoords="offset points",
                ha="center", va="bottom", color=LIGHT.ink, annotation_clip=False,
            )  # fmt: skip


def _scale(axes: Axes, unit: str) -> None:
    """A logarithmic axis with few numbers, unless all costs are alike."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.dataLim.intervalx
    if high / low < _ALIKE:
        axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}" if high < 1000 else f"{x:,.0f}"))
        return
    axes.set_xscale("log")
    wide = high / low > 200
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6 if wide else 12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x) if unit == "parameters" else f"{x:g}"))


def _cost(point: Point, unit: str) -> str:
    return count(point.cost) if unit == "parameters" else duration(point.cost)
