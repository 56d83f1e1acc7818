"""What a race gave each candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hf_leep.report.card.wording import examples, short_names, title
from hf_leep.text import number


def race_sentence(data: Mapping[str, Any]) -> str | None:
    """Say what a race saved; None where there was none.

    Args:
        data: the content of report.json.
    """
    race = data.get("race")
    if not race or not race["num_examples_of_all"]:
        return None
    n, what = data["target"]["num_examples"], examples(data)
    ran = [c for c in data["candidates"] if c["rank"] is not None]
    stopped = [c for c in ran if c["stopped"] and c["stopped"]["behind"]]
    broken_off = [c for c in ran if c["stopped"] and not c["stopped"]["behind"]]
    best = "the best one" if race["top"] == 1 else f"the best {race['top']}"
    if len(ran) <= race["top"] and not broken_off:
        return f"A race for {best} has nothing to decide among {len(ran)}: all ran all {n:,} {what}."
    share = 100 * race["num_examples_run"] / race["num_examples_of_all"]
    said = (
        f"A race for {best}, with {100 * race['confidence']:.3g} % confidence: {len(stopped)} of {len(ran)} "
        f"candidates were clearly behind by {title(race['decided_by'])} before they had run all {n:,} {what}, and "
        f"stopped. In all {share:.0f} % of the {what} of a full run were run."
    )
    if broken_off:
        said += f" It was broken off: {len(broken_off)} were still in."
    return said


def race_rows(data: Mapping[str, Any], name: Callable[[str], str]) -> list[list[str]]:
    """Ranked candidates of a race: name, examples that its scores are of, and why it stopped.

    Gaps are in the measure that `gap_sentence` names.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    if not data.get("race"):
        return []
    named = list(zip(short_names(data["candidates"]), data["candidates"], strict=True))
    names = {candidate["id"]: name(short) for short, candidate in named}
    return [
        [names[candidate["id"]], f"{candidate['num_examples']:,}", _why(candidate["stopped"], names)]
        for _, candidate in named
        if candidate["rank"] is not None
    ]


def gap_sentence(data: Mapping[str, Any]) -> str | None:
    """Say in which measure candidates were behind when they stopped, and what ± is there; None where no one was.

    Args:
        data: the content of report.json.
    """
    if not any((candidate.get("stopped") or {}).get("behind") for candidate in data["candidates"]):
        return None
    return (
        f"Behind: in {title(data['race']['decided_by'])}, which decides the race, on the {examples(data)} that both "
        "ran; ± is at the race's level, and so wider than at 95 %."
    )


def stops(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Candidates that did not run all examples: name, and after how many of them it stopped and why."""
    ranked = [candidate for candidate in data["candidates"] if candidate["rank"] is not None]
    return [
        (name, f"stopped after {ran} {examples(data)}: {why}")
        for (name, ran, why), candidate in zip(race_rows(data, str), ranked, strict=False)
        if candidate["stopped"]
    ]


def _why(stopped: Mapping[str, Any] | None, names: Mapping[str, str]) -> str:
    if stopped is None:
        return "ran all"
    if stopped["behind"] is None:
        return "the run was broken off"
    ahead = names.get(stopped["behind"], "another")
    return f"behind {ahead} by {number(stopped['gap'])} ± {number(stopped['margin'])}"
