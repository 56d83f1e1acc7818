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
        why = f": {by} sees only what {first}'s own classes say about yours"
    return (
        f"By {by} {first} is first, but a linear head on the features of {best} is "
        f"{_points(found['gap'])} ± {_points(found['half_width'])} points more accurate{_on(data)}{why}. "
        "Fine-tuning both will tell: hf-leep validate DIR --fine-tune."
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
        said = f"A linear head on its features agrees: that of {first} is the most accurate"
        return f"{said}{_lead(data, name)}{_on(data)}."
    ahead = (
        f"that of {best} is the most accurate, {_points(found['gap'])} ± {_points(found['half_width'])} points ahead "
        f"of that of {first}{_on(data)}"
    )
    if found["verdict"] == "agrees":
        return f"Linear heads on the features do not contradict this: {ahead}."
    return f"There are too few {examples(data)} to say whether linear heads on the features agree: {ahead}."


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


def _lead(data: ReportData, name: Callable[[str], str]) -> str:
    """How far the head of the first candidate is ahead of the next one."""
    found = data["second_opinion"]
    known = [
        (head["value"], written, candidate["id"])
        for written, candidate in named(data, name)
        if (head := candidate["head_accuracy"]) is not None and head["value"] is not None
    ]
    own = [value for value, _, identity in known if found and identity == found["first"]]
    others = [(value, written) for value, written, identity in known if found and identity != found["first"]]
    if not found or not own or not others:
        return ""
    value, written = max(others, key=lambda one: one[0])
    if own[0] <= value:
        return f", level with that of {written}"
    return f", {_points(own[0] - value)} ± {_points(found['half_width'])} points ahead of that of {written}"


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
