"""What report.json says of candidates and scores, as the words and numbers of a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hf_leep.measures import find
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.text import number, plain


def short_names(candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each candidate: the last part of a local folder's path where that is unique, else the whole id."""
    last = [PurePath(plain(c["id"])).name if _is_local(c) else plain(c["id"]) for c in candidates]
    owners: dict[str, set[str]] = {}
    for name, candidate in zip(last, candidates, strict=True):
        owners.setdefault(name, set()).add(candidate["id"])
    return [
        name if name and len(owners[name]) == 1 else plain(candidate["id"])
        for name, candidate in zip(last, candidates, strict=True)
    ]


def with_error(score: Mapping[str, Any] | None) -> str:
    """A score and the half-width of its 95 % interval."""
    if score is None or score["value"] is None:
        return "–"
    half = half_width(score)
    if half is None:
        return number(score["value"])
    digits = 2 if half >= 0.02 else 3
    return f"{number(score['value'], digits)} ± {number(half, digits)}"


def half_width(score: Mapping[str, Any]) -> float | None:
    """The half-width of a score's 95 % interval; of an older report, 1.96 standard errors."""
    if score["standard_error"] is None:
        return None
    found = score.get("half_width")
    return critical_value() * float(score["standard_error"]) if found is None else float(found)


def places(candidate: Mapping[str, Any]) -> str:
    """The ranks that the examples leave open to a candidate; a dash where that is not known."""
    found = candidate.get("rank_interval")
    if not found:
        return "–"
    low, high = found
    return f"{low}" if low == high else f"{low}–{high}"


def chance(data: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """The probability that a candidate is the best; a dash where that is not known, or there is no other."""
    found = candidate.get("probability_best")
    if found is None or num_compared(data) < 2:
        return "–"
    if found < 0.005:
        return "< 1 %"
    return "> 99 %" if found > 0.995 else f"{100 * found:.0f} %"


def num_compared(data: Mapping[str, Any]) -> int:
    """How many candidates the probability of being best is one among: in a race, those that ran all rows."""
    return sum(candidate.get("probability_best") is not None for candidate in data["candidates"])


def temperature(calibration: Mapping[str, Any]) -> str:
    """The best temperature of those that were tried; at an end of these, that it is at least so high, or so low."""
    found, tried = calibration["temperature"], [tau for tau, _ in calibration["curve"]]
    if found == max(tried):
        return f"≥ {found:g}"
    return f"≤ {found:g}" if found == min(tried) else number(found, 2)


def title(measure: str) -> str:
    """How people write a measure's name."""
    return find(measure).title


def examples(data: Mapping[str, Any]) -> str:
    """What a report's examples are: rows, or the words of its sentences."""
    return "rows" if data["target"].get("num_sentences") is None else "words"


def explained(data: Mapping[str, Any], candidate: Mapping[str, Any]) -> float | None:
    """(T + Ĥ)/Ĥ, the share of the label entropy that is explained; comparable across targets.

    T is leave-one-out LEEP, since the in-sample score explains a share of anything; below 0 it explains nothing.
    """
    if "explained" in candidate:
        found = candidate["explained"]
    else:  # a report of an older hf_leep
        score, entropy = leave_one_out(data, candidate), data["target"]["class_entropy"]
        found = None if score is None else (score["value"] + entropy) / entropy
    return None if found is None else max(float(found), 0.0)


def explained_cells(data: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """That share of each of some candidates, for a table; None where no one has it."""
    shares = [explained(data, candidate) for candidate in candidates]
    if all(share is None for share in shares):
        return None
    return ["–" if share is None else f"{100 * share:.0f} %" for share in shares]


def leave_one_out(data: Mapping[str, Any], candidate: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A candidate's leave-one-out LEEP, asked for or made as a check; None where there is none."""
    score = candidate["scores"].get("leave-one-out-leep")
    if score is None and data["checked_by"] == "leave-one-out-leep":
        score = candidate["check"]
    return score if score is not None and score["value"] is not None else None


def repeated_warnings(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each distinct warning on a score → the candidates that carry it, in the report's order."""
    names = short_names(data["candidates"])
    found: dict[str, list[str]] = {}
    for name, candidate in zip(names, data["candidates"], strict=True):
        for score in candidate["scores"].values():
            for warning in score["warnings"]:
                if name not in found.setdefault(warning, []):
                    found[warning].append(name)
    return found


def repeated_notes(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each distinct note → the candidates with scores that it is about, in the report's order."""
    found: dict[str, list[str]] = {}
    for name, candidate in zip(short_names(data["candidates"]), data["candidates"], strict=True):
        for note in candidate.get("notes", []) if candidate["scores"] else []:
            if name not in found.setdefault(note, []):
                found[note].append(name)
    return found


def listed(names: Sequence[str], data: Mapping[str, Any], write: Callable[[str], str] = str) -> str:
    """Who carries a warning, in few words."""
    if len(names) > 1 and len(names) == sum(bool(candidate["scores"]) for candidate in data["candidates"]):
        return "all candidates"
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(write(name) for name in names[:4]) + rest


def _is_local(candidate: Mapping[str, Any]) -> bool:
    return str(candidate["revision"]).startswith("sha256:") or "/" in str(candidate["id"]).strip("/").partition("/")[2]
