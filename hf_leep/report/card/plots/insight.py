"""The plots of what stands behind the scores: calibration, and what the first candidate's own classes predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import ExplanationData
from hf_leep.report.card.explanation import clipped, share
from hf_leep.report.card.order import calibration_sentence, signed
from hf_leep.report.card.plots import style
from hf_leep.report.card.wording import ranked, temperature
from hf_leep.report.palette import LIGHT
from hf_leep.report.schema import ReportData
from hf_leep.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CALIBRATED = 12
_MOST_SOURCES = 10
_SHADES = (LIGHT.groups[0], "#4a84d1", "#86aee3")  # of the classes that a source class predicts, most likely first
_TEXTS = (LIGHT.ground, LIGHT.ground, LIGHT.ink)  # on these
_A_LETTER = 0.021  # of the width of a row


def calibration_finding(data: ReportData) -> str | None:
    """Say what a better temperature changes; None if no candidate can be calibrated."""
    found = [(name, c["calibration"]) for name, c in ranked(data) if c["calibration"] is not None]
    if not found:
        return None
    name, most = max(found, key=lambda one: one[1]["value"] - one[1]["as_is"])
    gain = f"{name} gains most, {signed(most['value'] - most['as_is'])} nats at temperature {temperature(most)}."
    return f"{calibration_sentence(data)} {gain}" if data["calibration"]["num_pairs"] else gain


def draw_calibration(data: ReportData) -> Figure:
    """Leave-one-out LEEP as it is and at the best temperature; at least one candidate can be calibrated."""
    found = [(name, c, c["calibration"]) for name, c in ranked(data) if c["calibration"] is not None]
    shown = found[:_MOST_CALIBRATED]
    handles = [
        style.handle("leave-one-out LEEP as it is", line=""),
        style.handle("at its best temperature, which is at the right", "D", line="", fill=LIGHT.ground),
    ]
    texts = style.first_of(data, len(shown), len(found))
    figure, axes = style.rows_figure(len(shown), texts, handles)
    for row, (name, candidate, calibration) in enumerate(shown):
        style.band(axes, row, candidate)
        style.label_row(axes, row, name, temperature(calibration))
        own, y = style.colour(candidate), row + style.MARK
        axes.plot([calibration["as_is"], calibration["value"]], [y, y], color=own, lw=1.4, zorder=2)
        axes.plot(calibration["value"], y, "D", ms=6, mfc=LIGHT.ground, mec=own, zorder=3)
        axes.plot(calibration["as_is"], y, "o", ms=5.5, color=own, zorder=4)
    axes.margins(x=0.05)
    axes.set_xlabel("leave-one-out LEEP (nats), higher is better", color=LIGHT.ink)
    return figure


def _explained(data: ReportData) -> tuple[str, ExplanationData] | None:
    """The best candidate whose own classes are known."""
    for name, candidate in ranked(data):
        found = candidate["explanation"]
        if found is not None and found["source_classes"]:
            return name, found
    return None


def classes_finding(data: ReportData) -> str | None:
    """Say what the most used class of the best candidate predicts; None if no candidate has an explanation."""
    explained = _explained(data)
    if explained is None:
        return None
    name, explanation = explained
    used = explanation["source_classes"][0]
    said = (
        f"Of its own classes, {name} predicts {clipped(used['name'])} most ({share(used['mass'])} of its predictions)"
    )
    if not used["targets"]:
        return f"{said}."
    target = used["targets"][0]
    return f"{said}; {share(target['conditional'])} of that is {clipped(target['name'])}."


def draw_classes(data: ReportData) -> Figure:
    """A row for each class that the best candidate uses, divided by P̂(y|z); some candidate has an explanation."""
    name, explanation = _explained(data) or ("", None)
    shown = explanation["source_classes"][:_MOST_SOURCES] if explanation else []
    texts = [
        f"{style.clip(name, 44)}: its own classes,",
        "most used first, and which of your classes they are.",
    ]
    figure, axes = style.rows_figure(len(shown), texts, [])
    for row, source in enumerate(shown):
        style.label_row(axes, row, clipped(source["name"]), f"{share(source['mass'])} of predictions")
        start = 0.0
        for target, shade, ink in zip(source["targets"], _SHADES, _TEXTS, strict=False):
            width = target["conditional"]
            axes.barh(row + style.MARK, width, 0.44, start, color=shade, edgecolor=LIGHT.ground, linewidth=1.2)
            text = _fitting(plain(target["name"]), width)
            axes.text(start + 0.01, row + style.MARK, text, va="center_baseline", color=ink, zorder=3)
            start += width
        rest = max(1 - start, 0)
        axes.barh(row + style.MARK, rest, 0.44, start, color=LIGHT.band, edgecolor=LIGHT.ground, linewidth=1.2)
        others = _fitting("others", rest)
        axes.text(start + 0.01, row + style.MARK, others, va="center_baseline", color=LIGHT.ink, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_xlabel("P̂(y|z): share of a class z that is of your class y", color=LIGHT.ink)
    return figure


def _fitting(name: str, width: float) -> str:
    """As much of a name as fits a bar; nothing if that is less than three letters."""
    room = int((width - 0.02) / _A_LETTER)
    if len(name) <= room:
        return name
    return name[: room - 1] + "…" if room >= 4 else ""
