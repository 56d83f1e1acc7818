"""Whether the accuracy of heads trained on the candidates follows the order of the ranking: tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hf_leep.report.card.columns import NAMES, Column, table
from hf_leep.report.card.wording import level, percent_with_error, ranked, title, titles
from hf_leep.report.letters import in_short
from hf_leep.report.numbers import Interval
from hf_leep.report.schema import ReportData
from hf_leep.report.validation_schema import AgreementData, TrialData, ValidationData
from hf_leep.text import number, plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

LEAST_WIDTHS = {NAMES: 15, "measure": 15}  # characters of the columns of texts in a short line
TRIAL_HEADINGS = ("#", "tie", NAMES, "score", "accuracy (%)", "place", "behind (points)")
AGREEMENT_HEADINGS = ("measure", "n", "Pearson's r", "p", "Kendall's τ", "p", "weighted τ", "by accuracy alone")
_IN_TERMINAL = 6  # columns that fit into 80 characters; the card has all
_FEW = 5  # candidates from which on there is an interval of Kendall's tau


def trial_rows(data: ReportData, name: Callable[[str], str]) -> list[list[str]]:
    """A row for each candidate whose head was trained.

    Args:
        data: the content of report.json; it has a validation.
        name: how to write a candidate's name.
    """
    rows = []
    for (written, candidate), trial in zip(ranked(data, name), data["validation"]["candidates"], strict=False):
        if trial["accuracy"] is None:
            continue
        rows.append(
            [
                str(trial["rank"]),
                in_short(candidate),
                written,
                number(candidate["scores"][data["sort_by"]]["value"]),
                percent_with_error(trial["accuracy"]),
                "–" if trial["place"] is None else str(trial["place"]),
                "–"
                if trial["place"] == 1 or trial["behind_best"] is None
                else percent_with_error(trial["behind_best"]),
            ]
        )
    return rows


def failures(data: ReportData, name: Callable[[str], str]) -> list[tuple[str, str]]:
    """Each candidate without a trained head, and why."""
    trials = zip(ranked(data, name), data["validation"]["candidates"], strict=False)
    return [(written, str(trial["reason"])) for (written, _), trial in trials if trial["accuracy"] is None]


def agreement_rows(data: ReportData) -> list[list[str]]:
    """A row for each measure: how its scores agree with accuracy."""
    return [
        [
            title(data, measure),
            str(found["num_candidates"]),
            _with_interval(found["pearson"], found["pearson_interval"]),
            _p_value(found["pearson_p_value"]),
            _with_interval(found["kendall"], found["kendall_interval"]),
            _p_value(found["kendall_p_value"]),
            number(found["weighted_tau"], 2),
            number(found["weighted_tau_by_accuracy"], 2),
        ]
        for measure, found in data["validation"]["agreement"].items()
    ]


def sentences(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """How far to trust the order.

    Args:
        data: the content of report.json; it has a validation.
        name: how to write a candidate's name.
    """
    found, measure = data["validation"], title(data, data["sort_by"])
    trials = zip(ranked(data, name), found["candidates"], strict=False)
    trained = [(written, trial) for (written, _), trial in trials if trial["accuracy"] is not None]
    if not trained:
        return ["No head could be trained, so this says nothing about the order."]
    said = [_first(trained, measure)]
    if data["sort_by"] not in found["agreement"]:
        said.append("The order is by a score of the same linear head, so this is not an independent check.")
    pairs = found["pairs"]
    if pairs["told_apart"]:
        said.append(
            f"Of {pairs['told_apart']} {'pair' if pairs['told_apart'] == 1 else 'pairs'} of candidates without a "
            f"common tie letter, accuracy confirms {pairs['confirmed']}, contradicts {pairs['contradicted']}, and "
            f"leaves {pairs['open']} open."
        )
    agreement = found["agreement"].get(data["sort_by"])
    if len(trained) >= _FEW and (correlation := _correlation(agreement, measure, level(data))):
        said.append(correlation)
    if len(trained) < _FEW:
        said.append(f"A correlation of {len(trained)} candidates says little.")
    elif len(trained) < found["num_ranked"]:
        said.append(
            f"Heads were trained on only {len(trained)} of {found['num_ranked']} candidates; a correlation among the "
            "best alone is lower than one over all."
        )
    return said


def _first(trained: Sequence[tuple[str, TrialData]], measure: str) -> str:
    """Whether the first candidate of the order has the highest accuracy."""
    first, trial = trained[0]
    if trial["place"] == 1:
        share = "" if trial["accuracy"] is None else f": {percent_with_error(trial['accuracy'])} %"
        return f"{first}, the first by {measure}, is also the most accurate{share}."
    said = f"{first}, the first by {measure}, is number {trial['place']} by accuracy"
    best = next((name for name, other in trained if other["place"] == 1), None)
    lost = trial["behind_best"]
    if best is None or lost is None:
        return f"{said}."
    close = lost["half_width"] is not None and lost["value"] <= lost["half_width"]
    return f"{said}: {best} is ahead by {percent_with_error(lost)} points{', which may be chance' if close else ''}."


def _correlation(found: AgreementData | None, measure: str, confidence: str) -> str | None:
    """The correlation of the measure that makes the order, in a sentence."""
    if found is None or found["num_candidates"] < _FEW or found["kendall"] is None:
        return None
    interval, p = found["kendall_interval"], _p_value(found["kendall_p_value"])
    span = f"{confidence} interval {number(interval[0], 2)} to {number(interval[1], 2)}" if interval else "no interval"
    return (
        f"Kendall's τ of {measure} with accuracy, over {found['num_candidates']} candidates: "
        f"{number(found['kendall'], 2)} ({span}, p {p if p.startswith('<') else f'= {p}'})."
    )


def terminal(data: ReportData, width: int | None = None) -> Group:
    """Both tables and the sentences for a terminal, as a rich renderable.

    Args:
        data: the content of report.json; it has a validation.
        width: how many characters a line has; None for as many as the tables take.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(method(data)), Text()]
    if trials := trial_rows(data, str):
        parts.append(table(by_column(TRIAL_HEADINGS, trials), width, LEAST_WIDTHS))
    parts += [Text.assemble((f"✗ {who}", "bold red"), f"  {plain(why)}") for who, why in failures(data, str)]
    rows = [row[:_IN_TERMINAL] for row in agreement_rows(data)]
    if rows:
        parts += [Text(), table(by_column(AGREEMENT_HEADINGS[:_IN_TERMINAL], rows), width, LEAST_WIDTHS)]
    return Group(*parts, Text(), *(Text(plain(sentence), style="bold") for sentence in sentences(data, str)))


def by_column(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Column]:
    """The columns of a table for a terminal, where a heading of numbers is a word a line."""
    return [
        (heading if heading in LEAST_WIDTHS else heading.replace(" ", "\n"), [row[i] for row in rows])
        for i, heading in enumerate(headings)
    ]


def method(data: ReportData) -> str:
    """What was done, in a sentence."""
    words = data["target"]["num_sentences"] is not None
    each, others = ("word", "all other sentences") if words else ("example", "all the others")
    return (
        f"A linear head was fitted to the features of {_which(data['validation'])} ranked candidates. Each {each} was "
        f"judged by a head fitted to {others}. ± is the half-width of a {level(data)} interval."
        f"{_turned(data)}{_left_out(data)}"
    )


def _turned(data: ReportData) -> str:
    """A sentence on measures whose lower scores are better, if there are any."""
    if all(data["measure_details"][measure]["higher_is_better"] for measure in data["measures"]):
        return ""
    return " Measures for which lower is better change their sign first, so +1 always means the same order."


def _left_out(data: ReportData) -> str:
    """A sentence on the measures that are not compared with accuracy, if there are any."""
    omitted = [measure for measure in data["measures"] if measure not in data["validation"]["agreement"]]
    if not omitted:
        return ""
    why = "as it is a score of the same head" if len(omitted) == 1 else "as they are scores of the same head"
    return f" The agreement of {titles(data, omitted)} with accuracy is not shown, {why}."


def _which(found: ValidationData) -> str:
    if (found["asked"] or 0) > found["num_ranked"]:
        return f"all {found['num_ranked']} (of {found['asked']} asked for)"
    return "all" if found["top"] == found["num_ranked"] else f"the first {found['top']} of {found['num_ranked']}"


def _with_interval(value: float | None, interval: Interval | None) -> str:
    """A correlation and its interval; a dash for one that is not defined."""
    if value is None:
        return "–"
    return f"{number(value, 2)} [{f'{number(interval[0], 2)}, {number(interval[1], 2)}' if interval else '–'}]"


def _p_value(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
