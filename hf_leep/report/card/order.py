"""What the order is by, and whether it holds: by other measures, after calibration, and compared with size."""

from __future__ import annotations

from collections.abc import Callable

from hf_leep.report.card.wording import named, ranked, temperature, title, titles
from hf_leep.report.schema import ReportData, SizeBandData
from hf_leep.text import count, number

_MOST_MEASURES = 6  # in a table of all pairs; with more measures, each is compared with the one that makes the order
_MOST_ROWS = 10
_ENOUGH_TO_SAY = 6  # candidates from which on the meaning of a correlation is put in words
_MUCH_ALIKE = 0.7  # Kendall's τ from which on one order is called much like another
_ENOUGH = 3  # candidates from which on a correlation of orders is shown at all


def auto_sentence(data: ReportData) -> str | None:
    """Say which measure makes the order if the choice was left to hf_leep; None if it was not, or nothing is ranked.

    Args:
        data: the content of report.json.
    """
    found = data["auto"]
    if found is None or not ranked(data):
        return None
    rule = (
        f"The order is by {title(data, data['sort_by'])}, which chose best in our trials on images and texts. "
        "It scores candidates with and without a trained head."
    )
    if not found["num_headless"]:
        return rule
    lack = "1 candidate has" if found["num_headless"] == 1 else f"{found['num_headless']} candidates have"
    them = "it" if found["num_headless"] == 1 else "them"
    return f"{rule} {lack} no trained head, so the measures that need one have no score for {them}."


def consensus(data: ReportData, name: Callable[[str], str]) -> dict[str, str] | None:
    """The measures that vote, and their consensus; None if there is none.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name.
    """
    if data["consensus"] is None:
        return None
    places: dict[int, list[str]] = {}
    for written, candidate in named(data, name):
        if candidate["consensus"] is not None:
            places.setdefault(candidate["consensus"]["rank"], []).append(written)
    if not places:
        return None
    shown = [f"{rank} {', '.join(places[rank][:_MOST_ROWS])}" for rank in sorted(places)[:_MOST_ROWS]]
    rest = " · …" if len(places) > _MOST_ROWS else ""
    return {"measures": titles(data, data["consensus"]["measures"]), "order": " · ".join(shown) + rest}


def consensus_note(data: ReportData, name: Callable[[str], str]) -> str | None:
    """Say which candidate is first by consensus, if it is not the first of the order.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name.
    """
    if data["consensus"] is None:
        return None
    first = [written for written, c in named(data, name) if c["consensus"] and c["consensus"]["rank"] == 1]
    best = next((written for written, c in named(data, name) if c["rank"] == 1), None)
    if best is None or best in first:
        return None
    who = ", ".join(first[:4]) + (f" and {len(first) - 4} more" if len(first) > 4 else "")
    return f"By the consensus of {titles(data, data['consensus']['measures'])}, {who} would come first."


def agreement_table(data: ReportData) -> list[list[str]] | None:
    """Kendall's tau between the measures, as rows of cells, headings first; None with too few candidates."""
    pairs = {frozenset(pair["measures"]): pair for pair in data["agreement"]}
    if all(pair["num_candidates"] < _ENOUGH for pair in pairs.values()):
        return None

    def cell(a: str, b: str) -> str:
        pair = pairs.get(frozenset((a, b)))
        return signed(pair["kendall"]) if pair is not None and pair["num_candidates"] >= _ENOUGH else "–"

    measures, first = data["measures"], data["sort_by"]
    if len(measures) > _MOST_MEASURES:
        return [["", title(data, first)], *([title(data, m), cell(m, first)] for m in measures if m != first)]
    return [
        ["", *(title(data, m) for m in measures[:-1])],
        *(
            [title(data, m), *(cell(m, o) if k < i else "" for k, o in enumerate(measures[:-1]))]
            for i, m in enumerate(measures)
            if i
        ),
    ]  # each pair once


def calibration_rows(data: ReportData, name: Callable[[str], str]) -> list[list[str]]:
    """Ranked candidates before and after calibration: name, score, best temperature, score there, spread."""
    rows = []
    for written, candidate in ranked(data, name):
        if found := candidate["calibration"]:
            cells = (number(found["as_is"]), temperature(found), number(found["value"]))
            rows.append([written, *cells, number(found["spread"], 2)])
    return rows[:_MOST_ROWS]


def calibration_sentence(data: ReportData) -> str:
    """Say whether the order depends on calibration."""
    pairs, changed = data["calibration"]["num_pairs"], data["calibration"]["num_reordered"]
    if not pairs:
        return "Only one candidate has predictions to calibrate."
    if not changed:
        return "With each candidate at its best temperature, the order by leave-one-out LEEP stays the same."
    return (
        f"With each candidate at its best temperature, leave-one-out LEEP reverses the order of {changed} of {pairs} "
        f"{'pair' if pairs == 1 else 'pairs'}."
    )


def band_rows(data: ReportData, name: Callable[[str], str]) -> list[list[str]]:
    """The best candidate of each size: size, how many, name, rank, score; no rows if all are of one size."""
    bands = data["size"]["bands"]
    if len(bands) < 2:
        return []
    by_rank = {candidate["rank"]: (written, candidate) for written, candidate in ranked(data, name)}
    rows = []
    for band in bands:
        if band["best"]["rank"] not in by_rank:  # the report was shortened
            continue
        written, candidate = by_rank[band["best"]["rank"]]
        score = number(candidate["scores"][data["sort_by"]]["value"])
        rows.append([_band(band), str(band["num_candidates"]), written, str(candidate["rank"]), score])
    return rows


def size_sentence(data: ReportData) -> str | None:
    """Say how far the order follows the number of parameters."""
    tau, num_candidates = data["size"]["kendall"], data["size"]["num_candidates"]
    if tau is None or num_candidates < _ENOUGH:
        return None
    said = f"Score and number of parameters: τ = {signed(tau)} over {num_candidates} candidates"
    if num_candidates < _ENOUGH_TO_SAY:
        return f"{said}, too few to say more."
    if tau >= _MUCH_ALIKE:
        meaning = "the order is much like one by size"
    elif tau >= 0.3:
        meaning = "larger candidates tend to score better"
    elif tau > -0.3:
        meaning = "the order has little to do with size"
    else:
        meaning = "smaller candidates tend to score better"
    return f"{said}: {meaning}."


def baseline_sentence(data: ReportData) -> str | None:
    """Say how far the order follows popularity, width or stable rank; `size_sentence` is about size."""
    found = [
        baseline
        for baseline in data["baselines"]
        if baseline["name"] != "parameters"
        and baseline["kendall"] is not None
        and baseline["num_candidates"] >= _ENOUGH
    ]
    if not found:
        return None
    said = [
        f"Score and {b['name']}: τ = {signed(b['kendall'])} over {b['num_candidates']} candidates"
        + ("." if b["num_candidates"] >= _ENOUGH_TO_SAY else ", too few to say more.")
        for b in found
    ]
    return " ".join([*said, *filter(None, [baseline_note(data)])])


def baseline_note(data: ReportData) -> str | None:
    """Warn that the order is much like one that does not depend on the labels; None if it is not."""
    alike = [
        f"{baseline['name']} (τ = {signed(baseline['kendall'])})"
        for baseline in data["baselines"]
        if baseline["num_candidates"] >= _ENOUGH_TO_SAY and (baseline["kendall"] or 0) >= _MUCH_ALIKE
    ]
    if not alike:
        return None
    depends = "does" if len(alike) == 1 else "do"
    return f"The order is much like one by {' and by '.join(alike)}, which {depends} not depend on the labels."


def signed(value: float | None) -> str:
    """A correlation with its sign; a dash where there is none."""
    if value is None:
        return "–"
    text = number(value, 2)
    return text if text.startswith("−") else f"+{text}"


def _band(band: SizeBandData) -> str:
    low, high = band["from"], band["below"]
    if not low:
        return f"below {count(high)}"
    return f"{count(low)} or more" if high is None else f"{count(low)} to {count(high)}"
