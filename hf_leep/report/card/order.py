"""By what the order is, and whether it holds: by other measures, once calibrated, and beside size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_leep.report.card.wording import short_names, temperature, title
from hf_leep.text import count, number

_MOST_MEASURES = 6  # in a table of each with each; with more, of each with the one that makes the order
_MOST_ROWS = 10
_ENOUGH_TO_SAY = 6  # what a correlation with size means
_MUCH_ALIKE = 0.7  # Kendall's τ, from which on one order is much like another
_ENOUGH = 3  # candidates, below which a correlation of orders says nothing


def auto_sentence(data: Mapping[str, Any]) -> str | None:
    """Say by what the order is, where that was left to hf_leep; None where it was not.

    Args:
        data: the content of report.json.
    """
    found = data.get("auto")
    if not found:
        return None
    if not found["num_headless"]:
        return f"Every candidate has a head, so the order is by {title(data['sort_by'])}."
    lack = "1 candidate has" if found["num_headless"] == 1 else f"{found['num_headless']} candidates have"
    return (
        f"{lack} no trained head, so the order of all is by {title(data['sort_by'])}: it needs none, and of the "
        "measures of features it ordered candidates most like trained heads in our trials (README, Mixed pools). "
        "Scores that need a head stand beside it, and are compared only with one another."
    )


def consensus(data: Mapping[str, Any], name: Callable[[str], str]) -> dict[str, str] | None:
    """The measures that vote, and the order that they give together; None where they are not two.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name.
    """
    if not data.get("consensus"):
        return None
    places: dict[int, list[str]] = {}
    for short, candidate in zip(short_names(data["candidates"]), data["candidates"], strict=True):
        if candidate.get("consensus"):
            places.setdefault(candidate["consensus"]["rank"], []).append(name(short))
    if not places:
        return None
    shown = [f"{rank} {', '.join(places[rank][:_MOST_ROWS])}" for rank in sorted(places)[:_MOST_ROWS]]
    rest = " · …" if len(places) > _MOST_ROWS else ""
    return {"measures": listed(data["consensus"]["measures"]), "order": " · ".join(shown) + rest}


def consensus_note(data: Mapping[str, Any], name: Callable[[str], str]) -> str | None:
    """Say whom the measures put first together, where that is not the first of the order.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name.
    """
    if not data.get("consensus"):
        return None
    named = list(zip(map(name, short_names(data["candidates"])), data["candidates"], strict=True))
    first = [n for n, c in named if c.get("consensus") and c["consensus"]["rank"] == 1]
    best = next((n for n, c in named if c["rank"] == 1), None)
    if best is None or best in first:
        return None
    who = ", ".join(first[:4]) + (f" and {len(first) - 4} more" if len(first) > 4 else "")
    return f"By consensus of {listed(data['consensus']['measures'])}, {who} would come first."


def agreement_table(data: Mapping[str, Any]) -> list[list[str]] | None:
    """Kendall's tau between the measures, as rows of cells, headings first; None with too few candidates."""
    pairs = {frozenset(pair["measures"]): pair for pair in data.get("agreement", ())}
    if all(pair["num_candidates"] < _ENOUGH for pair in pairs.values()):
        return None

    def cell(a: str, b: str) -> str:
        pair = pairs[frozenset((a, b))]
        return signed(pair["kendall"]) if pair["num_candidates"] >= _ENOUGH else "–"

    measures, first = list(data["measures"]), data["sort_by"]
    if len(measures) > _MOST_MEASURES:
        return [["", title(first)], *([title(m), cell(m, first)] for m in measures if m != first)]
    return [
        ["", *map(title, measures[:-1])],
        *(
            [title(m), *(cell(m, o) if k < i else "" for k, o in enumerate(measures[:-1]))]
            for i, m in enumerate(measures)
            if i
        ),
    ]  # each pair once


def calibration_rows(data: Mapping[str, Any], name: Callable[[str], str]) -> list[list[str]]:
    """Ranked candidates before and after calibration: name, score, best temperature, score there, spread."""
    named = zip(map(name, short_names(data["candidates"])), data["candidates"], strict=True)
    rows = []
    for written, candidate in named:
        found = candidate.get("calibration")
        if candidate["rank"] is not None and found:
            cells = (number(found["as_is"]), temperature(found), number(found["value"]))
            rows.append([written, *cells, number(found["spread"], 2)])
    return rows[:_MOST_ROWS]


def calibration_sentence(data: Mapping[str, Any]) -> str:
    """Say whether the order is a matter of calibration."""
    found = data["calibration"]
    pairs, changed = found["num_pairs"], found["num_reordered"]
    if not pairs:
        return "Only one candidate has predictions to calibrate."
    if not changed:
        return "With each candidate at its own best temperature, leave-one-out LEEP keeps its order."
    return (
        f"With each candidate at its own best temperature, leave-one-out LEEP turns {changed} of {pairs} "
        f"{'pair' if pairs == 1 else 'pairs'} round: between those, the order is a matter of calibration."
    )


def band_rows(data: Mapping[str, Any], name: Callable[[str], str]) -> list[list[str]]:
    """The best candidate of each size: band, how many, name, rank, score; none where all are in one band."""
    found = data.get("size") or {"bands": []}
    if len(found["bands"]) < 2:
        return []
    by_rank = {
        c["rank"]: (written, c)
        for written, c in zip(map(name, short_names(data["candidates"])), data["candidates"], strict=True)
    }
    rows = []
    for band in found["bands"]:
        if band["best"]["rank"] not in by_rank:  # whoever shortened the report left it out
            continue
        written, candidate = by_rank[band["best"]["rank"]]
        score = number(candidate["scores"][data["sort_by"]]["value"])
        rows.append([_band(band), str(band["num_candidates"]), written, str(candidate["rank"]), score])
    return rows


def size_sentence(data: Mapping[str, Any]) -> str | None:
    """Say how far the order is one by size."""
    found = data.get("size")
    if not found or found["kendall"] is None or found["num_candidates"] < _ENOUGH:
        return None
    tau = found["kendall"]
    said = f"Score and number of parameters: τ = {signed(tau)} over {found['num_candidates']} candidates"
    if found["num_candidates"] < _ENOUGH_TO_SAY:
        return f"{said}, which are few to tell by."
    if tau >= _MUCH_ALIKE:
        says = "the order is much like a list by size"
    elif tau >= 0.3:
        says = "larger candidates tend to score higher"
    elif tau > -0.3:
        says = "the order has little to do with size"
    else:
        says = "smaller candidates tend to score higher"
    return f"{said}: {says}."


def baseline_sentence(data: Mapping[str, Any]) -> str | None:
    """Say how far the order is one by popularity, width or stable rank; size has a sentence of its own."""
    found = [
        baseline
        for baseline in data.get("baselines") or ()
        if baseline["name"] != "parameters"
        and baseline["kendall"] is not None
        and baseline["num_candidates"] >= _ENOUGH
    ]
    if not found:
        return None
    listed = ", ".join(
        f"{b['name']} τ = {signed(b['kendall'])} over {b['num_candidates']} candidates"
        + ("" if b["num_candidates"] >= _ENOUGH_TO_SAY else " (few to tell by)")
        for b in found
    )
    note = baseline_note(data)
    return f"Score and other things that see no label: {listed}.{f' {note}' if note else ''}"


def baseline_note(data: Mapping[str, Any]) -> str | None:
    """Warn that the order is much like one by something that sees no label; None where it is not."""
    alike = [
        f"{baseline['name']} (τ = {signed(baseline['kendall'])})"
        for baseline in data.get("baselines") or ()
        if baseline["num_candidates"] >= _ENOUGH_TO_SAY and (baseline["kendall"] or 0) >= _MUCH_ALIKE
    ]
    if not alike:
        return None
    sees = "sees" if len(alike) == 1 else "see"
    return f"The order is much like a list by {' and by '.join(alike)}, which {sees} no label."


def signed(value: float | None) -> str:
    """A correlation with its sign; a dash where there is none."""
    if value is None:
        return "–"
    text = number(value, 2)
    return text if text.startswith("−") else f"+{text}"


def _band(band: Mapping[str, Any]) -> str:
    if not band["from"]:
        return f"below {count(band['below'])}"
    return (
        f"{count(band['from'])} or more"
        if band["below"] is None
        else f"{count(band['from'])} to {count(band['below'])}"
    )


def listed(measures: Sequence[str]) -> str:
    """Measures as people write them, in a row."""
    *before, last = map(title, measures)
    return f"{', '.join(before)} and {last}" if before else last
