"""What each candidate did in a race, and what the race saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hf_leep.report.candidate_schema import StopData
from hf_leep.report.card.wording import examples, level, named, ranked, title
from hf_leep.report.schema import ReportData
from hf_leep.text import number, percent


def race_sentence(data: ReportData) -> str | None:
    """Say what a race saved; None if there was no race.

    Args:
        data: the content of report.json.
    """
    race = data["race"]
    if race is None or not race["num_examples_of_all"]:
        return None
    n, what = data["target"]["num_examples"], examples(data)
    stops = [candidate["stopped"] for _, candidate in ranked(data)]
    num_behind = sum(stop is not None and stop["behind"] is not None for stop in stops)
    num_interrupted = sum(stop is not None and stop["behind"] is None for stop in stops)
    best = "the best candidate" if race["top"] == 1 else f"the best {race['top']} candidates"
    if len(stops) <= race["top"] and not num_interrupted:
        return f"The race for {best} of {len(stops)} had nothing to decide: every candidate ran all {n:,} {what}."
    share = 100 * race["num_examples_run"] / race["num_examples_of_all"]
    who = f"{num_behind or 'None'} of {len(stops)} candidates {'were' if num_behind > 1 else 'was'}"
    said = (
        f"This was a race for {best}, with {percent(race['confidence'])} confidence. {who} clearly behind in "
        f"{title(data, race['decided_by'])} and stopped before running all {n:,} {what}. The race took {share:.0f} % "
        f"of the {what} of a full run."
    )
    if num_interrupted:
        still = "1 candidate was" if num_interrupted == 1 else f"{num_interrupted} candidates were"
        said += f" The run was interrupted while {still} still in the race."
    return said


def race_rows(data: ReportData, name: Callable[[str], str]) -> list[list[str]]:
    """Ranked candidates of a race: name, number of examples that its scores are of, and why it stopped.

    Gaps are in the measure that `gap_sentence` names.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    if data["race"] is None:
        return []
    names = {candidate["id"]: written for written, candidate in named(data, name)}
    return [
        [names[candidate["id"]], f"{candidate['num_examples']:,}", _why(candidate["stopped"], names)]
        for _, candidate in ranked(data)
    ]


def gap_sentence(data: ReportData) -> str | None:
    """Say which measure the gaps of stopped candidates are in, and what ± means there; None if no one was behind.

    Args:
        data: the content of report.json.
    """
    stops = (candidate["stopped"] for candidate in data["candidates"])
    if data["race"] is None or not any(stop and stop["behind"] is not None for stop in stops):
        return None
    return (
        f"Candidates are stopped by their gap in {title(data, data['race']['decided_by'])}, on the {examples(data)} "
        f"that both candidates ran. Its ± is at the level of the race, so it is wider than at {level(data)}."
    )


def stops(data: ReportData) -> list[tuple[str, str]]:
    """Candidates that did not run all examples: name, after how many examples it stopped, and why."""
    return [
        (name, f"stopped after {num_run} {examples(data)} – {why}")
        for (name, num_run, why), (_, candidate) in zip(race_rows(data, str), ranked(data), strict=False)
        if candidate["stopped"]
    ]


def _why(stopped: StopData | None, names: Mapping[str, str]) -> str:
    if stopped is None:
        return "ran all"
    if stopped["behind"] is None:
        return "the run was interrupted"
    ahead = names.get(stopped["behind"], "another")
    return f"behind {ahead} by {number(stopped['gap'])} ± {number(stopped['margin'])}"
