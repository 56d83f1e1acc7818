"""The plot of scores with their intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from hf_leep.measures import find
from hf_leep.report.card.wording import examples, short_names, title
from hf_leep.text import plain

_MOST_ROWS = 40
_INK, _QUIET, _BAND = "#1f2937", "#9ca3af", "#f3f4f6"
_GROUPS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")  # one a tie group, in turn


def plot_scores(data: Mapping[str, Any]) -> bytes:
    """Draw each ranked candidate's score and rank with their 95 % intervals, coloured by tie group, as PNG.

    Args:
        data: the content of report.json; at least one candidate has a rank.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    everyone = data["candidates"]
    named = [(n, c) for n, c in zip(short_names(everyone), everyone, strict=True) if c["rank"] is not None]
    shown = named[:_MOST_ROWS]
    measure = find(data["sort_by"])

    ranks = [c.get("rank_interval") for _, c in shown]
    with_ranks = len(named) > 1 and any(ranks)
    figure = Figure(figsize=(9.5 if with_ranks else 8, 1.3 + 0.34 * len(shown)), dpi=144, layout="constrained")
    axes, *beside = figure.subplots(
        1, 2 if with_ranks else 1, sharey=True, squeeze=False, width_ratios=[3, 1][: 1 + with_ranks]
    )[0]
    groups = [c["tie_group"] for _, c in shown]
    for row, (_, candidate) in enumerate(shown):
        colour = _GROUPS[(candidate["tie_group"] - 1) % len(_GROUPS)]
        if candidate.get("stopped"):
            colour = _QUIET
        if candidate["tie_group"] % 2 == 0:
            for panel in (axes, *beside):
                panel.axhspan(row - 0.5, row + 0.5, color=_BAND, zorder=0, linewidth=0)
        value = candidate["scores"][measure.name]["value"]
        if candidate["interval"]:
            axes.plot(candidate["interval"], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
        if candidate["check"] and candidate["check"]["value"] is not None:
            axes.plot(candidate["check"]["value"], row, "D", ms=5, mfc="white", mec=colour, zorder=3)
        axes.plot(value, row, "o", ms=6.5, color=colour, zorder=4)
        for panel in beside if ranks[row] else ():
            panel.plot(ranks[row], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
            panel.plot(candidate["rank"], row, "o", ms=5, color=colour, zorder=4)

    handles = [Line2D([], [], marker="o", color=_INK, lw=2.2, ms=6, label=f"{measure.title}, 95 % interval")]
    if data["checked_by"]:
        check = title(data["checked_by"])
        handles.append(Line2D([], [], marker="D", mfc="white", mec=_INK, lw=0, ms=5, label=check))
    if measure.needs == "probabilities":
        axes.axvline(-data["target"]["class_entropy"], color=_QUIET, linestyle="--", linewidth=1, zorder=1)
        handles.append(Line2D([], [], color=_QUIET, linestyle="--", lw=1, label="knows only the class frequencies"))
    if any(c.get("stopped") for _, c in shown):
        handles.append(
            Line2D([], [], marker="o", color=_QUIET, lw=2.2, ms=6, label=f"stopped, on fewer {examples(data)}")
        )
    # parse_math off: a name such as a$b$c is text
    axes.set_yticks(range(len(shown)), [_clip(name) for name, _ in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{measure.title}{f' ({measure.unit})' if measure.unit else ''}, higher is better")
    beyond = f", first {len(shown)} of {len(named)}" if len(named) > len(shown) else ""
    kind = f"{len(set(groups))} tie {'group' if len(set(groups)) == 1 else 'groups'}, told by colour and band{beyond}"
    axes.set_title(kind, loc="left", fontsize=9, color=_INK)
    for panel in beside:
        panel.set_xlim(0.5, len(named) + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_xlabel("rank, 95 % for all at once")
    for panel in (axes, *beside):
        panel.grid(axis="x", color="#e5e7eb", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(axis="both", length=0, labelsize=9, labelcolor=_INK)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.spines["bottom"].set_color(_QUIET)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _clip(name: str, width: int = 44) -> str:
    """Keep both ends of a long name: they tell candidates apart."""
    name = plain(name)
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width // 2 - 1) :]}"
