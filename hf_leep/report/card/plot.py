"""The plot of scores with their intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.wording import examples, level, ranked, title
from hf_leep.report.letters import in_short
from hf_leep.report.schema import ReportData
from hf_leep.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_MOST_ROWS = 40
_INK, _QUIET, _BAND = "#1f2937", "#9ca3af", "#f3f4f6"
_LETTERS = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8, "annotation_clip": False}
_GROUPS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")  # colours of tie groups, in turn


def plot_scores(data: ReportData) -> bytes:
    """Draw each ranked candidate's score and rank with their intervals and tie letters as PNG.

    Tie groups have colours. Candidates whose error is not known have the colour of the text, and no interval.

    Args:
        data: the content of report.json; at least one candidate has a rank.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    candidates = ranked(data)
    shown = candidates[:_MOST_ROWS]
    with_ranks = len(candidates) > 1 and any(c["rank_interval"] for _, c in shown)
    figure = Figure(figsize=(9.5 if with_ranks else 8, 1.3 + 0.34 * len(shown)), dpi=144, layout="constrained")
    axes, *beside = figure.subplots(
        1, 2 if with_ranks else 1, sharey=True, squeeze=False, width_ratios=[3, 1][: 1 + with_ranks]
    )[0]
    beside_axes = axes.get_yaxis_transform()
    for row, (_, candidate) in enumerate(shown):
        group = candidate["tie_group"]
        colour = _QUIET if candidate["stopped"] else _INK if group is None else _GROUPS[(group - 1) % len(_GROUPS)]
        if group is not None and group % 2 == 0:
            for panel in (axes, *beside):
                panel.axhspan(row - 0.5, row + 0.5, color=_BAND, zorder=0, linewidth=0)
        _draw_score(axes, data, candidate, row, colour)
        axes.annotate(in_short(candidate), (1, row), xycoords=beside_axes, color=_INK, **_LETTERS)
        for panel in beside:
            _draw_rank(panel, candidate, row, colour)
    handles = _legend(axes, data, [candidate for _, candidate in shown])

    # parse_math off: a name such as a$b$c is text
    axes.set_yticks(range(len(shown)), [_clip(name) for name, _ in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(_axis_label(data), parse_math=False)
    beyond = f"first {len(shown)} of {len(candidates)}; " if len(candidates) > len(shown) else ""
    axes.set_title(f"{beyond}candidates that share a letter are not told apart", loc="left", fontsize=9, color=_INK)
    for panel in beside:
        _label_ranks(panel, data, len(candidates))
    for panel in (axes, *beside):
        _style(panel)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _draw_score(axes: Axes, data: ReportData, candidate: RankedData, row: int, colour: str) -> None:
    """The score with its interval, and the score of the measure that checks the order."""
    if candidate["interval"]:
        axes.plot(candidate["interval"], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
    if candidate["check"] and candidate["check"]["value"] is not None:
        axes.plot(candidate["check"]["value"], row, "D", ms=5, mfc="white", mec=colour, zorder=3)
    value = candidate["scores"][data["sort_by"]]["value"]
    if value is not None:
        axes.plot(value, row, "o", ms=6.5, color=colour, zorder=4)


def _draw_rank(panel: Axes, candidate: RankedData, row: int, colour: str) -> None:
    """The rank with the ranks that the examples leave open."""
    if candidate["rank_interval"]:
        panel.plot(
            candidate["rank_interval"], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2
        )
        panel.plot(candidate["rank"], row, "o", ms=5, color=colour, zorder=4)


def _legend(axes: Axes, data: ReportData, candidates: Sequence[RankedData]) -> list[Line2D]:
    """Draw the line of the class frequencies, where the measure has one, and make the entries of the legend."""
    from matplotlib.lines import Line2D

    measure = title(data, data["sort_by"])
    handles = [Line2D([], [], marker="o", color=_INK, lw=2.2, ms=6, label=f"{measure}, {level(data)} interval")]
    if data["checked_by"]:
        check = title(data, data["checked_by"])
        handles.append(Line2D([], [], marker="D", mfc="white", mec=_INK, lw=0, ms=5, label=check))
    if data["measure_details"][data["sort_by"]]["needs"] == "probabilities":
        axes.axvline(-data["target"]["class_entropy"], color=_QUIET, linestyle="--", linewidth=1, zorder=1)
        handles.append(Line2D([], [], color=_QUIET, linestyle="--", lw=1, label="class frequencies alone"))
    if any(candidate["stopped"] for candidate in candidates):
        stopped = f"stopped, on fewer {examples(data)}"
        handles.append(Line2D([], [], marker="o", color=_QUIET, lw=2.2, ms=6, label=stopped))
    if any(candidate["tie_letters"] is None for candidate in candidates):
        handles.append(Line2D([], [], marker="o", color=_INK, lw=0, ms=6, label="error not known"))
    return handles


def _axis_label(data: ReportData) -> str:
    details = data["measure_details"][data["sort_by"]]
    unit = f" ({plain(details['unit'])})" if details["unit"] else ""
    return f"{title(data, data['sort_by'])}{unit}, {'higher' if details['higher_is_better'] else 'lower'} is better"


def _label_ranks(panel: Axes, data: ReportData, num_ranked: int) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_xlim(0.5, num_ranked + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.set_xlabel(f"rank, {level(data)} for all at once")


def _style(panel: Axes) -> None:
    panel.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(axis="both", length=0, labelsize=9, labelcolor=_INK)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(_QUIET)


def _clip(name: str, width: int = 44) -> str:
    """Keep both ends of a long name: they tell candidates apart."""
    name = plain(name)
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width // 2 - 1) :]}"
