"""Names, scores and warnings of report.json as the words and numbers of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import PurePath

from hf_leep.report.candidate_schema import (
    CalibrationData,
    CandidateData,
    EstimateData,
    NamedData,
    RankedData,
    ScoreData,
)
from hf_leep.report.schema import ReportData, is_ranked
from hf_leep.text import is_absolute, number, percent, plain


def short_names(candidates: Sequence[NamedData]) -> list[str]:
    """What to call each candidate: its id, or for a local folder as many last parts of its path as make it unique."""
    ids = [plain(candidate["id"]) for candidate in candidates]
    parts = {  # of each local folder, last first
        name: tuple(part for part in reversed(PurePath(name).parts) if part != "/")
        for name, candidate in zip(ids, candidates, strict=True)
        if _is_local(candidate)
    }
    taken = set(ids) - parts.keys()
    ends = Counter(found[:length] for found in parts.values() for length in range(1, len(found) + 1))
    chosen: dict[str, str] = {}
    for name, found in parts.items():
        unique = (length for length in range(1, len(found) + 1) if ends[found[:length]] == 1)
        whole = None if is_absolute(name) else len(found)
        shown = (name if length == whole else "/".join(reversed(found[:length])) for length in unique)
        numbered = (f"{found[0] if found else name} ({k})" for k in count(2))  # /x beside a repository x
        chosen[name] = next(short for short in chain(shown, numbered) if short not in taken)
        taken.add(chosen[name])
    return [chosen.get(name, name) for name in ids]


def named(data: ReportData, write: Callable[[str], str] = str) -> list[tuple[str, CandidateData]]:
    """Each candidate with its name.

    Args:
        data: the content of report.json.
        write: how to write a name, such as `hf_leep.text.code`.
    """
    return list(zip(map(write, short_names(data["candidates"])), data["candidates"], strict=True))


def ranked(data: ReportData, write: Callable[[str], str] = str) -> list[tuple[str, RankedData]]:
    """Each candidate that has a rank with its name, best first; arguments as of `named`."""
    return [(name, candidate) for name, candidate in named(data, write) if is_ranked(candidate)]


def to_choose_from(data: ReportData, write: Callable[[str], str] = str) -> list[tuple[str, RankedData]]:
    """The ranked candidates that were trained, or all of them if none was; arguments as of `named`."""
    found = ranked(data, write)
    return [one for one in found if not one[1]["untrained"]] or found


def with_error(estimate: ScoreData | EstimateData | None) -> str:
    """A score and the half-width of its interval; a dash where there is none."""
    if estimate is None or estimate["value"] is None:
        return "–"
    half = estimate["half_width"]
    if half is None:
        return number(estimate["value"])
    digits = 2 if half >= 0.02 else 3
    return f"{number(estimate['value'], digits)} ± {number(half, digits)}"


def with_interval(score: ScoreData | None) -> str:
    """A score with its interval: as a half-width, or from low to high where it extends further to one side."""
    if score is None or score["value"] is None or not is_uneven(score):
        return with_error(score)
    low, high = score["interval"] or (0.0, 0.0)
    digits = 2 if high - low >= 0.04 else 3
    return f"{number(score['value'], digits)} ({number(low, digits)} to {number(high, digits)})"


def is_uneven(score: ScoreData) -> bool:
    """Whether one side of a score's interval is so much shorter that one half-width would not describe it."""
    value, half = score["value"], score["half_width"]
    if value is None or half is None or score["interval"] is None:
        return False
    below, above = value - score["interval"][0], score["interval"][1] - value
    return abs(below - above) > half / 2


def percent_with_error(estimate: EstimateData | None) -> str:
    """A share, or a difference of two, in points with the half-width of its interval; a dash where there is none."""
    if estimate is None:
        return "–"
    half = estimate["half_width"]
    return number(100 * estimate["value"], 1) + ("" if half is None else f" ± {number(100 * half, 1)}")


def level(data: ReportData) -> str:
    """The confidence level of a report's intervals, such as 95 %."""
    return percent(data["confidence"])


def rank_range(candidate: CandidateData) -> str:
    """The ranks that the examples leave open to a candidate; a dash where they are not known."""
    if candidate["rank_interval"] is None:
        return "–"
    low, high = candidate["rank_interval"]
    return f"{low}" if low == high else f"{low}–{high}"


def chance(data: ReportData, candidate: CandidateData) -> str:
    """The probability of being best; a dash where it is not known, or there is no other candidate."""
    found = candidate["probability_best"]
    if found is None or num_compared(data) < 2:
        return "–"
    if found < 0.005:
        return "<\u00a01\u00a0%"
    return ">\u00a099\u00a0%" if found > 0.995 else f"{100 * found:.0f}\u00a0%"


def num_compared(data: ReportData) -> int:
    """How many candidates have a probability of being best: in a race, those that ran all examples."""
    return sum(candidate["probability_best"] is not None for candidate in data["candidates"])


def temperature(calibration: CalibrationData) -> str:
    """The best of the temperatures that were tried; with ≥ or ≤ if it is the highest or the lowest of them."""
    found, tried = calibration["temperature"], [tau for tau, _ in calibration["curve"]]
    if found == max(tried):
        return f"≥ {found:g}"
    return f"≤ {found:g}" if found == min(tried) else number(found, 2)


def title(data: ReportData, measure: str) -> str:
    """How people write a measure's name."""
    return plain(data["measure_details"][measure]["title"])


def meaning(data: ReportData) -> str:
    """What the measure that makes the order says, in a sentence for a reader who does not know it."""
    found = data["measure_details"][data["sort_by"]]
    what = "a checkpoint's features"
    if found["needs"] == "probabilities":
        what = "how well a checkpoint's predictions fit these labels"
    better = "higher" if found["higher_is_better"] else "lower"
    return f"{at_start(title(data, data['sort_by']))} scores {what} before any training; {better} is better."


def at_start(name: str) -> str:
    """The name of a measure as it begins a sentence: ``Leave-one-out LEEP``, but ``kNN``."""
    return name[0].upper() + name[1:] if name.partition(" ")[0].islower() else name


def titles(data: ReportData, measures: Sequence[str]) -> str:
    """The names of one or more measures, as people write them, with commas and "and"."""
    *before, last = (title(data, measure) for measure in measures)
    return f"{', '.join(before)} and {last}" if before else last


def examples(data: ReportData) -> str:
    """What a report's examples are called, in the plural, such as images."""
    return plain(data["target"]["unit"])


def entropy_explained_cells(candidates: Sequence[CandidateData]) -> list[str] | None:
    """The share of the label entropy that each candidate explains, for a table; None if it is known of none of them.

    (T + Ĥ)/Ĥ with T the leave-one-out LEEP, since the in-sample score explains a share of anything; shown as 0 where
    it is below.
    """
    shares = [candidate["entropy_explained"] for candidate in candidates]
    if all(share is None for share in shares):
        return None
    return ["–" if share is None else f"{100 * max(share, 0.0):.0f} %" for share in shares]


def stated_cells(candidates: Sequence[CandidateData], write: Callable[[str], str]) -> list[str] | None:
    """The accuracy that each candidate's card states, for a table; None if none of them states one.

    Args:
        candidates: the candidates of a report, or some of them.
        write: writes the name of the data set that it was measured on.
    """
    if all(candidate["stated_accuracy"] is None for candidate in candidates):
        return None
    return [_stated(candidate, write) for candidate in candidates]


def _stated(candidate: CandidateData, write: Callable[[str], str]) -> str:
    accuracy, data_set = candidate["stated_accuracy"], candidate["stated_on"]
    if accuracy is None:
        return "–"
    return f"{100 * accuracy:.1f} %" + (f" on {write(data_set)}" if data_set else "")


def leave_one_out(data: ReportData, candidate: CandidateData) -> ScoreData | None:
    """A candidate's leave-one-out LEEP, asked for or computed as a check; None where there is none."""
    score = candidate["scores"].get("leave-one-out-leep")
    if score is None and data["checked_by"] == "leave-one-out-leep":
        score = candidate["check"]
    return score if score is not None and score["value"] is not None else None


def notes(data: ReportData, write: Callable[[str], str] = str) -> dict[str, str]:
    """Each note → the candidates with scores that it is about, in the report's order; arguments as of `named`."""
    return _by_text(data, write, [c["notes"] if c["scores"] else [] for c in data["candidates"]])


def warnings(data: ReportData, write: Callable[[str], str] = str) -> dict[str, str]:
    """Each warning on a score → the candidates that have it, in the report's order; arguments as of `named`."""
    return _by_text(
        data, write, [[w for s in c["scores"].values() for w in s["warnings"]] for c in data["candidates"]]
    )


def _by_text(data: ReportData, write: Callable[[str], str], texts: Sequence[Sequence[str]]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for (name, _), said in zip(named(data, write), texts, strict=True):
        for text in said:
            found.setdefault(text, {})[name] = None
    return {text: _listed(list(names), data) for text, names in found.items()}


def _listed(names: Sequence[str], data: ReportData) -> str:
    """Some candidates in a few words."""
    if len(names) > 1 and len(names) == sum(bool(candidate["scores"]) for candidate in data["candidates"]):
        return "all candidates"
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + rest


def _is_local(candidate: NamedData) -> bool:
    name = candidate["id"]
    return (
        str(candidate["revision"]).startswith("sha256:")
        or is_absolute(name)
        or "/" in name.strip("/").partition("/")[2]
    )
