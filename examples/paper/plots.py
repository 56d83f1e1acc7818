"""The plots of the report, as PNG: scatter plots with fitted lines, convergence by LEEP, and source selection."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.paper.tasks import EXPERIMENTS
from hf_leep.report.card.wording import title
from hf_leep.text import number

_INK, _QUIET = "#1f2937", "#9ca3af"
_COLOURS = ("#dc2626", "#d97706", "#2563eb", "#059669", "#9333ea", "#0891b2")
_LABELS = {"head": "re-trained head", "head-sgd": "head by SGD", "fine-tuning": "fine-tuning", "cnaps": "CNAPs"}


def scatter(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Plot LEEP against quality, a panel for each source and kind of transfer, with the least-squares line.

    Args:
        rows: the rows of one experiment, as from `results.collect`.
    """
    columns = min(len(rows), 3)
    figure, panels = _figure(len(rows), columns)
    for axes, row in zip(panels, rows, strict=True):
        points = [p for p in row["points"] if p["score"] is not None]
        x, y = np.array([p["score"] for p in points]), np.array([100 * p["quality"] for p in points])
        sizes = [p["num_classes"] for p in points]
        coloured = {"c": sizes, "cmap": "viridis"} if len(set(sizes)) > 1 else {"color": _COLOURS[2]}
        shown = axes.scatter(x, y, s=14, alpha=0.7, linewidths=0, zorder=3, **coloured)
        if len(points) > 2 and np.ptp(x) > 0:
            slope, start = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, start + slope * ends, color=_COLOURS[0], linewidth=1.4, zorder=4)
        if "c" in coloured:
            figure.colorbar(shown, ax=axes, label="classes", pad=0.02)
        found = row["measures"].get("leep") or {}
        axes.set_title(
            f"{row['source']}, {_LABELS[row['transfer']]}\n{r_with_interval(found)}, n = {len(points)}",
            fontsize=9,
            color=_INK,
        )
        axes.set_xlabel("LEEP (nats)")
        axes.set_ylabel(f"{'accuracy' if row['quality'] == 'accuracy' else 'macro F1'} (%)")
    return _png(figure)


def convergence(found: Sequence[Mapping[str, Any]]) -> bytes:
    """Plot accuracy after each epoch of fine-tuning minus that of training from scratch, a line per bin of LEEP."""
    figure, panels = _figure(len(found), min(len(found), 3))
    for axes, one in zip(panels, found, strict=True):
        axes.axhline(0, color=_QUIET, linewidth=1, zorder=1)
        for colour, part in zip(_COLOURS, one["bins"], strict=False):
            ends = " to ".join(dict.fromkeys(number(v, 2) for v in part["leep"]))
            epochs = range(1, len(part["gain"]) + 1)
            label = f"LEEP {ends} ({part['num_tasks']} task{'s' if part['num_tasks'] > 1 else ''})"
            axes.plot(epochs, [100 * g for g in part["gain"]], "o-", ms=4, color=colour, label=label)
        axes.set_title(
            f"{EXPERIMENTS[one['experiment']].title}, {one['source']}\n"
            f"{one['num_tasks']} tasks of {' to '.join(map(str, dict.fromkeys(one['num_classes'])))} classes",
            fontsize=9,
            color=_INK,
        )
        axes.set_xlabel("epochs of fine-tuning")
        axes.set_ylabel(f"points above {one['scratch_epochs']} epochs from scratch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def selection(found: Mapping[str, Any], measures: Sequence[str]) -> bytes:
    """Plot each source's score against its accuracy on the whole data set, a panel for each measure.

    Args:
        found: results of the source selection, which must include the whole data set.
        measures: the measures to draw; each must score every source.
    """
    whole = found["whole"]
    figure, panels = _figure(len(measures), min(len(measures), 3))
    for axes, measure in zip(panels, measures, strict=True):
        x = np.array([one["scores"][measure] for one in whole.values()])
        y = np.array([100 * one["accuracy"] for one in whole.values()])
        for colour, (name, a, b) in zip(_COLOURS * 3, zip(whole, x, y, strict=True), strict=False):
            axes.plot(a, b, "o", ms=7, color=colour, label=name, zorder=3)
        picked = int(np.argmax(x))
        axes.plot(x[picked], y[picked], "o", ms=13, mfc="none", mec=_INK, zorder=2)
        axes.margins(0.15)
        axes.set_title(title(measure), fontsize=10, color=_INK)
        axes.set_xlabel("score")
        axes.set_ylabel("accuracy of a re-trained head (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def r_with_interval(found: Mapping[str, Any]) -> str:
    """Format Pearson's r with its interval, for a title."""
    if not found or found["pearson"] is None:
        return "no correlation"
    interval = found["pearson_interval"]
    span = f" [{number(interval[0], 2)}, {number(interval[1], 2)}]" if interval else ""
    return f"r = {number(found['pearson'])}{span}"


def _figure(num_panels: int, columns: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = math.ceil(num_panels / columns)
    figure = Figure(figsize=(max(4.6 * columns, 5.2), 3.9 * lines), dpi=110, layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)  # room for the label of a colour bar between two panels
    FigureCanvasAgg(figure)
    panels = list(np.ravel(figure.subplots(lines, columns, squeeze=False)))
    for axes in panels[num_panels:]:
        axes.remove()
    for axes in panels[:num_panels]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK, labelsize=8)
    return figure, panels[:num_panels]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
