"""What the script of report.html reads: each candidate's details, and the points of score against cost."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from hf_leep.report.candidate_schema import ExplanationData, RankedData
from hf_leep.report.card.cost import points
from hf_leep.report.card.explanation import USELESS, where, why_unexplained
from hf_leep.report.card.race import race_rows
from hf_leep.report.card.second_opinion import head_cells
from hf_leep.report.card.wording import (
    at_start,
    chance,
    examples,
    level,
    percent_with_error,
    rank_range,
    ranked,
    stated_cells,
    temperature,
    title,
    with_error,
    with_interval,
)
from hf_leep.report.letters import in_short
from hf_leep.report.schema import ReportData
from hf_leep.text import classes, count, duration, number, percent, plain

MOST_BYTES = 8_000_000  # of the candidates' details; explanations that do not fit are left out, the last ones first
MOST_IN_ALL = 9_300_000  # bytes with the thumbnails, which leaves room for the table; left out in the same way

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | dict[str, Json] | None"


def embedded(data: ReportData, thumbnails: Mapping[int, bytes]) -> str:
    """JSON in ASCII that can stand inside a script element, whatever the names in it are.

    Args:
        data: the content of report.json.
        thumbnails: row → JPEG, those of the best candidates first.
    """
    names: dict[str, int] = {}
    candidates, room = [], MOST_BYTES
    outcomes = _outcomes(data)
    for index, (name, candidate) in enumerate(ranked(data)):
        before = len(names)
        found_out = outcomes[index]
        whole = _dumped(_details(data, index, name, candidate, found_out, names, explained=True))
        room -= len(whole) + sum(len(_dumped(added)) + 1 for added in list(names)[before:])
        if room < 0:
            whole, room = _dumped(_details(data, index, name, candidate, found_out, names, explained=False)), 0
            names = dict(list(names.items())[:before])
        candidates.append(whole)
    others: Json = {
        "names": list(names),
        "measure": title(data, data["sort_by"]),
        "measure_at_start": at_start(title(data, data["sort_by"])),
        "examples": examples(data),
        "level": level(data),
        "higher": data["measure_details"][data["sort_by"]]["higher_is_better"],
        "cost": _cost(data),
        "thumbnails": _that_fit(thumbnails, MOST_IN_ALL - sum(map(len, candidates)) - len(_dumped(list(names)))),
        "numThumbnails": len(thumbnails),
    }
    return f'{_dumped(others)[:-1]},"candidates":[{",".join(candidates)}]}}'


def _that_fit(thumbnails: Mapping[int, bytes], room: int) -> dict[str, Json]:
    """Thumbnails in base 64 by row, as many as there is room for."""
    made: dict[str, Json] = {}
    for row, content in thumbnails.items():
        text = base64.b64encode(content).decode()
        room -= len(text) + len(str(row)) + 6
        if room < 0:
            break
        made[str(row)] = text
    return made


def _dumped(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cost(data: ReportData) -> Json:
    """The unit, and for each point: number of the candidate, cost, score, and whether it is the best for its cost."""
    found = points(data)
    if found is None:
        return None
    unit, made = found
    indices = {id(candidate): index for index, (_, candidate) in enumerate(ranked(data))}
    places = [[indices[id(p.candidate)], p.cost, p.score, p.best] for p in made if id(p.candidate) in indices]
    return {"unit": unit, "points": places}


def _outcomes(data: ReportData) -> list[list[tuple[str, str]]]:
    """What was found out about each ranked candidate beside its scores: by a race, trained heads, and fine-tuning."""
    stops = [
        why if c["stopped"] else "" for (*_, why), (_, c) in zip(race_rows(data, str), ranked(data), strict=False)
    ]
    heads = {one["rank"]: one["accuracy"] for one in data["validation"]["candidates"]} if "validation" in data else {}
    tuned = (
        {(one["id"], one["revision"]): one for one in data["fine_tuning"]["candidates"]}
        if "fine_tuning" in data
        else {}
    )
    found = []
    for index, (_, candidate) in enumerate(ranked(data)):
        outcome = [("why it was stopped", stops[index] if stops else "")]
        outcome.append(("trained head, accuracy (%)", percent_with_error(heads.get(candidate["rank"]))))
        one = tuned.get((candidate["id"], candidate["revision"]))
        if one is not None and one["place"] is not None:
            accuracy = "" if one["accuracy"] is None else f": {percent_with_error(one['accuracy'])} %"
            outcome.append(("fine-tuned", f"number {one['place']}{accuracy}"))
        found.append(outcome)
    return found


def _details(
    data: ReportData,
    index: int,
    name: str,
    candidate: RankedData,
    found_out: Sequence[tuple[str, str]],
    names: dict[str, int],
    *,
    explained: bool,
) -> Json:
    """One candidate. Class names are numbers: their positions in ``names``, which grows."""
    explanation, calibration = candidate["explanation"], candidate["calibration"]
    made: dict[str, Json] = {
        "index": index,
        "name": name,
        "rank": candidate["rank"],
        "letters": in_short(candidate),
        "group": None if candidate["tie_group"] is None else (candidate["tie_group"] - 1) % 2,
        "facts": [[key, value] for key, value in (*_facts(data, candidate), *found_out) if value not in ("–", "")],
        "notes": [*map(plain, candidate["notes"]), *_warnings(data, candidate)],
    }
    if calibration:
        made["calibration"] = {
            "curve": [[_short(tau), _short(score)] for tau, score in calibration["curve"]],
            "best": temperature(calibration),
            "at": [_short(calibration["temperature"]), _short(calibration["value"])],
            "gain": number(calibration["value"] - calibration["as_is"]),
        }
    if explanation is None:
        made["unexplained"] = plain(why_unexplained(data, candidate))
    elif not explained:
        made["unexplained"] = "left out, as this page would be too large; `hf-leep explain FOLDER NAME` shows it"
    elif explanation["prior_weight"] is None:
        made["unexplained"] = USELESS
    else:
        made["explanation"] = _explanation(explanation, names)
    return made


def _facts(data: ReportData, candidate: RankedData) -> list[tuple[str, str]]:
    """What is known about a candidate, as labels and values."""
    scores = [(title(data, measure), with_interval(score)) for measure, score in candidate["scores"].items()]
    if data["checked_by"] and data["checked_by"] not in candidate["scores"]:
        scores.append((title(data, data["checked_by"]), with_interval(candidate["check"])))
    explained, used = candidate["entropy_explained"], candidate["effective_source_classes"]
    run = candidate["run"]
    return [
        *scores,
        ("same scores as", _copied(data, candidate)),
        ("behind the best", "–" if candidate["rank"] == 1 else with_error(candidate["behind_best"])),
        ("possible ranks", rank_range(candidate)),
        ("probability of being best", chance(data, candidate)),
        ("label entropy explained", "–" if explained is None else percent(round(max(explained, 0), 3))),
        ("linear head", (head_cells([candidate]) or ["–"])[0]),
        ("parameters", count(candidate["num_parameters"])),
        ("its classes", classes(candidate["num_source_classes"]) + (f" ({used:.1f} used)" if used else "")),
        ("licence", plain(candidate["license"] or "–")),
        ("downloads last month", count(candidate["downloads"])),
        ("accuracy its card states", (stated_cells([candidate], plain) or ["–"])[0]),
        ("trained on", plain(", ".join(candidate["trained_on"]))),
        (f"{examples(data)} run", f"{candidate['num_examples']:,}"),
        (
            "forward pass",
            f"{duration(run['seconds'])} on {plain(run['device'])}, {plain(run['dtype'])}" if run else "–",
        ),
        ("revision", plain(candidate["revision"] or "–")[:19]),
    ]


def _copied(data: ReportData, candidate: RankedData) -> str:
    """The first candidate that has the same scores on all examples; empty if there is none."""
    return next((name for name, other in ranked(data) if other["rank"] == candidate["same_as"]), "")


def _warnings(data: ReportData, candidate: RankedData) -> list[str]:
    """Warnings on its scores, each once."""
    said = {
        plain(warning): title(data, measure)
        for measure, score in reversed(candidate["scores"].items())
        for warning in score["warnings"]
    }
    return [f"{warning} ({measure})" for warning, measure in reversed(said.items())]


def _explanation(explanation: ExplanationData, names: dict[str, int]) -> Json:
    """Target classes, source classes and rows as lists, so that hundreds of candidates fit in a page."""

    def place(name: str) -> int:
        return names.setdefault(plain(name), len(names))

    return {
        "classes": [
            [
                place(c["name"]),
                c["count"],
                _short(math.exp(c["log_prediction"])),
                _short(math.exp(min(c["gain"], 700.0))),
                [[place(s["name"]), _short(s["weight"]), _short(s["conditional"])] for s in c["sources"]],
            ]
            for c in explanation["classes"]
        ],
        "hidden": explanation["num_left_out"],
        "sources": [
            [place(s["name"]), _short(s["mass"]), [[place(t["name"]), _short(t["conditional"])] for t in s["targets"]]]
            for s in explanation["source_classes"]
        ],
        "sources_hidden": explanation["num_sources_left_out"],
        "rows": [
            [
                where(e),
                place(e["label"]),
                _short(e["prediction"]),
                place(e["likely"]),
                _short(e["likely_prediction"]),
                place(e["source"]),
                _short(e["source_probability"]),
            ]
            for e in explanation["examples"]
        ],
    }


def _short(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")
