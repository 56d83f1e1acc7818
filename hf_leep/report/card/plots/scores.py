"""The plots of scores and of ranks, each with its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.plots import style
from hf_leep.report.card.wording import examples, level, rank_range, ranked, title, to_choose_from, with_interval
from hf_leep.report.letters import in_short, told_apart
from hf_leep.report.palette import LIGHT
from hf_leep.report.schema import ReportData
from hf_leep.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def scores_finding(data: ReportData) -> str | None:
    """Say which candidate scores best, and which are not told apart from it; None if none is ranked."""
    candidates = to_choose_from(data)
    if not candidates:
        return None
    name, best = candidates[0]
    among = " of the trained candidates" if len(candidates) < len(ranked(data)) else ""
    extreme = "highest" if data["measure_details"][data["sort_by"]]["higher_is_better"] else "lowest"
    score = with_interval(best["scores"][data["sort_by"]])
    said = f"{name} has the {extreme} {title(data, data['sort_by'])}{among}, {score}"
    if len(candidates) == 1:
        return f"{said}."
    known = [candidate for _, candidate in candidates[1:] if candidate["tie_letters"] is not None]
    if best["tie_letters"] is None or not known:
        return f"{said}. The error of its lead is not known."
    tied = sum(not told_apart(best, candidate) for candidate in known)
    if not tied:
        others = "the other one" if len(known) == 1 else f"each of the other {len(known)}"
        return f"{said}, and is told apart from {others}."
    return f"{said}; {tied} of the other {len(known)} {'is' if tied == 1 else 'are'} not told apart from it."


def draw_scores(data: ReportData) -> Figure:
    """Each candidate's score with its interval and tie letters; at least one candidate has a rank."""
    candidates = ranked(data)
    shown = candidates[: style.MOST_ROWS]
    texts = style.first_of(data, len(shown), len(candidates))
    if any(candidate["tie_letters"] is not None for _, candidate in shown[1:]):
        texts.append("Candidates that share a letter are not told apart.")
    figure, axes = style.rows_figure(len(shown), texts, _score_handles(data, [c for _, c in shown]))
    for row, (name, candidate) in enumerate(shown):
        style.band(axes, row, candidate)
        style.label_row(axes, row, name, in_short(candidate))
        _draw_score(axes, data, candidate, row + style.MARK)
    if _has_floor(data):
        floor = -data["target"]["class_entropy"]
        for row in range(len(shown)):  # beside the marks, not through the names
            axes.plot(
                [floor, floor], [row - 0.02, row + 0.42], color=LIGHT.quiet, linestyle=(0, (2, 2)), lw=1.2, zorder=1
            )
    axes.margins(x=0.04)
    axes.set_xlabel(axis_label(data), color=LIGHT.ink)
    return figure


def ranks_finding(data: ReportData) -> str | None:
    """Say which ranks the first candidate may have; None if no ranks are known, or of one candidate only."""
    candidates = ranked(data)
    known = [candidate for _, candidate in candidates if candidate["rank_interval"]]
    if len(candidates) < 2 or not known:
        return None
    may = sum(candidate["rank_interval"] is not None and candidate["rank_interval"][0] == 1 for candidate in known)
    name, best = candidates[0]
    said = f"With {level(data)} confidence for all at once, {may} of {len(candidates)} candidates may be first"
    return f"{said}; the rank of {name} is {rank_range(best)}." if best["rank_interval"] else f"{said}."


def draw_ranks(data: ReportData) -> Figure:
    """Each candidate's rank with the ranks that the examples leave open; some are known."""
    from matplotlib.ticker import MaxNLocator

    candidates = ranked(data)
    shown = candidates[: style.MOST_ROWS]
    texts = style.first_of(data, len(shown), len(candidates))
    handles = [style.handle(f"rank, and the ranks that these {examples(data)} leave open")]
    figure, axes = style.rows_figure(len(shown), texts, handles)
    for row, (name, candidate) in enumerate(shown):
        style.band(axes, row, candidate)
        style.label_row(axes, row, name, rank_range(candidate))
        if candidate["rank_interval"]:
            _interval(axes, candidate["rank_interval"], row + style.MARK, style.colour(candidate))
            _mark(axes, candidate["rank"], row + style.MARK, candidate)
    last = max([*(c["rank_interval"][1] for _, c in shown if c["rank_interval"]), len(shown)])
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel(f"rank, with {level(data)} confidence for all at once", color=LIGHT.ink)
    return figure


def axis_label(data: ReportData) -> str:
    """The measure that makes the order, with its unit and orientation."""
    details = data["measure_details"][data["sort_by"]]
    unit = f" ({plain(details['unit'])})" if details["unit"] else ""
    return f"{title(data, data['sort_by'])}{unit}, {'higher' if details['higher_is_better'] else 'lower'} is better"


def _draw_score(axes: Axes, data: ReportData, candidate: RankedData, y: float) -> None:
    """The score with its interval, and the score of the measure that checks the order."""
    if candidate["interval"]:
        _interval(axes, candidate["interval"], y, style.colour(candidate))
    if candidate["check"] and candidate["check"]["value"] is not None:
        axes.plot(candidate["check"]["value"], y, "D", ms=5, mfc=LIGHT.ground, mec=style.colour(candidate), zorder=3)
    value = candidate["scores"][data["sort_by"]]["value"]
    if value is not None:
        _mark(axes, value, y, candidate)


def _interval(axes: Axes, ends: Sequence[float], y: float, colour: str) -> None:
    axes.plot(ends, [y, y], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=2)


def _mark(axes: Axes, x: float, y: float, candidate: RankedData) -> None:
    own = style.colour(candidate)
    fill = LIGHT.ground if style.is_hollow(candidate) else own
    marker = "s" if candidate["tie_letters"] is None else "o"
    axes.plot(x, y, marker, ms=6.5, mfc=fill, mec=own, zorder=4)


def _score_handles(data: ReportData, candidates: list[RankedData]) -> list[Line2D]:
    """What the marks mean."""
    handles = []
    if any(candidate["interval"] for candidate in candidates):
        handles.append(style.handle(f"{title(data, data['sort_by'])} with its {level(data)} interval"))
    if data["checked_by"]:
        handles.append(style.handle(title(data, data["checked_by"]), "D", line="", fill=LIGHT.ground))
    if any(style.is_hollow(candidate) for candidate in candidates):
        stopped = f"stopped early, on fewer {examples(data)}"
        handles.append(style.handle(stopped, fill=LIGHT.ground, ink=LIGHT.quiet))
    if any(candidate["tie_letters"] is None for candidate in candidates):
        handles.append(style.handle("the error is not known", "s", line=""))
    if _has_floor(data):
        handles.append(style.handle("class frequencies alone", "", line=(0, (2, 2)), ink=LIGHT.quiet))
    return handles


def _has_floor(data: ReportData) -> bool:
    """Whether the class frequencies alone have a score on the measure that makes the order."""
    return data["measure_details"][data["sort_by"]]["needs"] == "probabilities"
