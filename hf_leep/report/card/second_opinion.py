"""What the second opinion says: the accuracy of a linear head on each candidate's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.card.wording import examples, is_uneven, named, title
from hf_leep.report.schema import ReportData
from hf_leep.report.second_opinion_schema import SecondOpinionData
from hf_leep.text import number, plain


def contradiction(data: ReportData, name: Callable[[str], str]) -> str | None:
    """Say that another candidate's head is more accurate than that of the first one; None if that is not known.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    found = data["second_opinion"]
    if found is None or found["verdict"] != "contradicted":
        return None
    first, best = _names(data, name, found)
    by = title(data, data["sort_by"])
    why = ""
    if data["measure_details"][data["sort_by"]]["needs"] == "probabilities":
        why = f" {by} measures only how well the classes that {first} already knows predict yours."
    return (
        f"{first} is first by {by}, but a linear head on the features of {best} is "
        f"{_points(found['gap'])} ± {_points(found['half_width'])} points more accurate{_on(data)}.{why} "
        "Fine-tune both to find out which is better: hf-leep validate --fine-tune."
    )


def confirmation(data: ReportData, name: Callable[[str], str]) -> str | None:
    """Say that the linear heads agree with the first place, or that there are too few examples to say; or None.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    found = data["second_opinion"]
    if found is None or found["verdict"] == "contradicted":
        return None
    first, best = _names(data, name, found)
    if found["first"] == found["best"]:
        return _also_first(data, name, first, found)
    ahead = (
        f"A linear head on the features of {best} is {_points(found['gap'])} ± {_points(found['half_width'])} points "
        f"more accurate than one on {first}{_on(data)}"
    )
    if found["verdict"] == "agrees":
        return f"{ahead}, which may be chance."
    return f"{ahead}. There are too few {examples(data)} to say whether that is chance."


def head_cells(candidates: Sequence[CandidateData], with_error: bool = True) -> list[str] | None:
    """The accuracy of each candidate's head, for a table; None if it is known of none of them.

    Args:
        candidates: the candidates of a report, or some of them.
        with_error: whether to show the half-widths of the intervals.
    """
    if all(candidate["head_accuracy"] is None for candidate in candidates):
        return None
    return [_accuracy(candidate, with_error) for candidate in candidates]


def head_note(candidate: CandidateData) -> str:
    """Say how accurate a linear head on the features of a candidate without a rank is; empty where it is not known.

    Args:
        candidate: a candidate of a report.
    """
    found = candidate["head_accuracy"]
    return (
        "" if found is None or found["value"] is None else f" (a linear head on its features: {_accuracy(candidate)})"
    )


def _accuracy(candidate: CandidateData, with_error: bool = True) -> str:
    found = candidate["head_accuracy"]
    if found is None or found["value"] is None:
        return "–"
    if with_error and is_uneven(found):
        low, high = found["interval"] or (0.0, 0.0)
        return f"{_points(found['value'])} % ({_points(low)} to {_points(high)})"
    half = found["half_width"] if with_error else None
    return f"{_points(found['value'])} %" if half is None else f"{_points(found['value'])} ± {_points(half)} %"


def _names(data: ReportData, name: Callable[[str], str], found: SecondOpinionData) -> tuple[str, str]:
    """The names of the first candidate and of the one with the most accurate head."""
    names = {candidate["id"]: written for written, candidate in reversed(named(data, name))}
    first, best = (names.get(found[key], name(plain(found[key]))) for key in ("first", "best"))
    return first, best


def _also_first(data: ReportData, name: Callable[[str], str], first: str, found: SecondOpinionData) -> str:
    """Say that no head is more accurate than that of the first candidate, and how far it is ahead of the next one."""
    untrained = {candidate["id"] for candidate in data["candidates"] if candidate["untrained"]}
    left_out = set() if found["first"] in untrained else untrained
    known = [
        (head["value"], written, candidate["id"])
        for written, candidate in named(data, name)
        if (head := candidate["head_accuracy"]) is not None and head["value"] is not None
    ]
    own = [value for value, _, identity in known if identity == found["first"]]
    others = [(value, who) for value, who, identity in known if identity not in {found["first"], *left_out}]
    said = f"A linear head on the features of {first} is also the most accurate"
    if not own or not others:
        return f"{said}{_on(data)}."
    value, written = max(others, key=lambda one: one[0])
    if (ahead := own[0] - value) <= 0:
        return f"Linear heads on the features of {first} and of {written} are equally accurate{_on(data)}."
    lead = f"{_points(ahead)} ± {_points(found['half_width'])} points"
    if ahead <= found["half_width"]:
        return f"{said}{_on(data)}, but its lead of {lead} over that of {written} may be chance."
    return f"{said}{_on(data)}, {lead} ahead of that of {written}."


def _on(data: ReportData) -> str:
    """On how many examples, where these are not all of them."""
    found = data["second_opinion"]
    num_examples = data["target"]["num_examples"]
    if found is None or found["num_examples"] == num_examples:
        return ""
    return f" on the {found['num_examples']:,} of {num_examples:,} {examples(data)} that all candidates ran"


def _points(share: float) -> str:
    """A share in percentage points."""
    return number(100 * share, 1)
