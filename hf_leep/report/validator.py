"""The JSON Schema of report.json, and the check of a file against it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias, cast

from hf_leep.report import candidate_schema, schema, validation_schema
from hf_leep.report.letters import WRITTEN
from hf_leep.report.schema import SCHEMA_ID, ReportData, is_ranked
from hf_leep.text import plain

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
_Place: TypeAlias = tuple[int | str, ...]  # keys and positions that lead to a value

_LARGEST = 2**63 - 1  # an integer beyond it fits no column of scores.parquet
_MAX_DEPTH = 100  # a report nests a dozen deep; json fails to write at a few hundred
_MOST_DIGITS = 300  # of an integer that a float can hold


def parse(text: str) -> Json:
    """Parse JSON in which all numbers are finite. Where an object holds a key twice, the last one counts.

    Args:
        text: the content of a JSON file.

    Raises:
        ValueError: it is no JSON, it nests too deeply, or it holds NaN, an infinity or an integer beyond 64 bits; the
            message says where.
    """
    try:
        return cast(Json, json.loads(text, parse_float=_finite, parse_int=_small, parse_constant=_finite))
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    except _NumberError:
        place, value = next(_bad_numbers(json.loads(text, parse_int=_any_integer)))
        raise ValueError(f"{_written(place)}: the number {value:.3g} is not allowed") from None


def check(data: Json) -> ReportData:
    """Check that parsed JSON is the content of a report.json.

    Args:
        data: what `parse` returned.

    Returns:
        The same object; keys that the schema does not list stay in it.

    Raises:
        ValueError: a key is missing, a value has another type than the schema says, or the report refers to something
            that is not in it; the message says where.
    """
    from pydantic import ValidationError

    if _depth(data) > _MAX_DEPTH:
        raise ValueError("it nests too deeply")
    try:
        _adapter().validate_python(data, strict=True)
    except ValidationError as error:
        found = [_placed(one, data) for one in error.errors(include_url=False, include_input=False)]
        (place, fault), *others = [one for one in found if one is not None]
        more = f" (and {len(others)} more)" if others else ""
        raise ValueError(f"{_written(place)}: {fault}{more}") from None
    report = cast(ReportData, data)
    for place, fault in _contradictions(report):
        raise ValueError(f"{_written(place)}: {fault}")
    return report


def json_schema() -> str:
    """Make the text of schema.json from the types of report.json."""
    made = _adapter().json_schema()
    documented = {
        name: value for module in (candidate_schema, validation_schema, schema) for name, value in vars(module).items()
    }
    for name, described in [*made["$defs"].items(), ("ReportData", made)]:
        described["description"], fields = _described(documented[name])
        described.pop("title", None)
        for key, value in described["properties"].items():
            value.pop("title", None)
            if key in fields:
                value["description"] = fields[key]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "report.json"}
    return json.dumps({**head, **made}, indent=1, ensure_ascii=False) + "\n"


def _depth(data: Json) -> int:
    """How deeply lists and objects nest in each other, without recursion; no more than one above the limit."""
    depth, level = 0, [data]
    while level and depth <= _MAX_DEPTH:
        inner = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        depth, level = depth + 1, [value for values in inner for value in values]
    return depth


class _NumberError(Exception):
    """A number that report.json must not hold."""


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NumberError
    return value


def _small(text: str) -> int:
    value = _any_integer(text)
    if abs(value) > _LARGEST:
        raise _NumberError
    return cast(int, value)


def _any_integer(text: str) -> float:
    """An integer, or an infinity for one that no float can hold."""
    if len(text) <= _MOST_DIGITS:
        return int(text)
    return -math.inf if text.startswith("-") else math.inf


def _bad_numbers(data: Json, place: _Place = ()) -> Iterator[tuple[_Place, float]]:
    """Numbers that are not finite, or too large, and where they are."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _bad_numbers(value, (*place, key))
    elif isinstance(data, list):
        for position, value in enumerate(data):
            yield from _bad_numbers(value, (*place, position))
    elif isinstance(data, float) and not math.isfinite(data):
        yield place, data
    elif isinstance(data, int) and abs(data) > _LARGEST:
        yield place, float(data)


@cache
def _adapter() -> TypeAdapter[ReportData]:
    from pydantic import TypeAdapter  # not above: it takes longer to import than the rest of this room together

    return TypeAdapter(ReportData)


def _placed(error: ErrorDetails, data: Json) -> tuple[_Place, str] | None:
    """Where an error is, and what it is; None for one about the kind of candidate that this candidate is not."""
    place, fault = error["loc"], error["msg"]
    if error["type"] == "missing":
        fault = "it is missing"
    if len(place) > 2 and place[0] == "candidates" and isinstance(data, dict):
        candidate = cast("list[Json]", data["candidates"])[cast(int, place[1])]
        ranked = isinstance(candidate, dict) and candidate.get("rank") is not None
        if place[2] != ("RankedData" if ranked else "UnrankedData"):
            return None
        place = (*place[:2], *place[3:])
    fault = re.sub(r"\d{17,}", lambda digits: f"{float(digits[0]):.3g}", fault)
    return place, plain(fault[:1].lower() + fault[1:])


def _written(place: _Place) -> str:
    """A place as in Python: candidates[0].scores.leep."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{plain(step)}" for step in place)
    return text.removeprefix(".") or "the whole"


def _contradictions(report: ReportData) -> Iterator[tuple[_Place, str]]:
    """What the types cannot say: what the report refers to but does not have, and numbers that contradict others."""
    yield from _contradicting_numbers(report)
    for place, measure in _named_measures(report):
        if measure not in report["measure_details"]:
            yield place, f"the measure {plain(measure)} is not in measure_details"
    for position, candidate in enumerate(report["candidates"]):
        if not is_ranked(candidate):
            continue
        for measure in (*report["measures"], report["sort_by"]):
            if measure not in candidate["scores"]:
                yield ("candidates", position, "scores", measure), "it is missing, and the candidate has a rank"
        if candidate["scores"][report["sort_by"]]["value"] is None:
            yield ("candidates", position, "scores", report["sort_by"], "value"), "it is null, but makes the rank"
    validation = report.get("validation")
    num_ranked = sum(candidate["rank"] is not None for candidate in report["candidates"])
    if validation and len(validation["candidates"]) > num_ranked:
        yield ("validation", "candidates"), "there are more of them than ranked candidates"


def _contradicting_numbers(report: ReportData) -> Iterator[tuple[_Place, str]]:
    """Counts above the number of what is counted, ranks that two candidates share, and intervals that end first."""
    target, calibration = report["target"], report["calibration"]
    if len(target["class_names"]) != target["num_classes"]:
        yield ("target", "class_names"), f"there are {len(target['class_names'])}, but num_classes is another number"
    if report["num_disagreements"] > report["num_pairs"]:
        yield ("num_disagreements",), "it is more than num_pairs"
    if calibration["num_reordered"] > calibration["num_pairs"]:
        yield ("calibration", "num_reordered"), "it is more than num_pairs"
    taken: set[int] = set()
    for position, candidate in enumerate(report["candidates"]):
        if is_ranked(candidate):
            if candidate["rank"] in taken:
                yield ("candidates", position, "rank"), f"another candidate has rank {candidate['rank']}, too"
            taken.add(candidate["rank"])
            letters = candidate["tie_letters"]
            if (letters is None) != (candidate["tie_group"] is None):
                yield ("candidates", position, "tie_letters"), "it and tie_group are null together or not at all"
            if letters is not None and not WRITTEN.fullmatch(letters):
                yield ("candidates", position, "tie_letters"), "it has to be letters such as ab or za2"
    for place, interval in _intervals(report):
        if interval is not None and interval[0] > interval[1]:
            yield place, "its lower end is above its upper end"


def _intervals(report: ReportData) -> Iterator[tuple[_Place, Sequence[float] | None]]:
    """Every interval in a report, and where."""
    for position, candidate in enumerate(report["candidates"]):
        yield ("candidates", position, "rank_interval"), candidate["rank_interval"]
        yield ("candidates", position, "interval"), candidate["interval"]
        for measure, score in candidate["scores"].items():
            yield ("candidates", position, "scores", measure, "interval"), score["interval"]
        for key, other in (("check", candidate["check"]), ("head_accuracy", candidate["head_accuracy"])):
            if other is not None:
                yield ("candidates", position, key, "interval"), other["interval"]
    for measure, found in report["validation"]["agreement"].items() if "validation" in report else ():
        yield ("validation", "agreement", measure, "pearson_interval"), found["pearson_interval"]
        yield ("validation", "agreement", measure, "kendall_interval"), found["kendall_interval"]


def _named_measures(report: ReportData) -> Iterator[tuple[_Place, str]]:
    """Every measure that a report names, and where."""
    for position, measure in enumerate(report["measures"]):
        yield ("measures", position), measure
    yield ("sort_by",), report["sort_by"]
    yield ("best_by",), report["best_by"]
    if report["checked_by"] is not None:
        yield ("checked_by",), report["checked_by"]
    if report["race"]:
        yield ("race", "decided_by"), report["race"]["decided_by"]
    for position, measure in enumerate(report["consensus"]["measures"] if report["consensus"] else ()):
        yield ("consensus", "measures", position), measure
    for position, candidate in enumerate(report["candidates"]):
        for measure in candidate["scores"]:
            yield ("candidates", position, "scores", measure), measure
    for measure in report["validation"]["agreement"] if "validation" in report else ():
        yield ("validation", "agreement", measure), measure


def _described(described: object) -> tuple[str, Mapping[str, str]]:
    """The first line of a type's docstring, and what it says about each field, with those of its bases."""
    summary, _, attributes = (getattr(described, "__doc__", None) or "").partition("Attributes:")
    found = re.findall(r"^\s*(\w+): (.+?)(?=^\s*\w+: |\Z)", attributes, flags=re.DOTALL | re.MULTILINE)
    fields = {name: " ".join(text.split()) for name, text in found}
    for base in getattr(described, "__orig_bases__", ()):
        fields = {**_described(base)[1], **fields}
    return " ".join(summary.split()), fields
