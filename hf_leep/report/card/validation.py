"""Whether heads that were trained on the candidates come out in the order of the ranking, in tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_leep.ranking.uncertainty import critical_value
from hf_leep.report.card.wording import short_names, title
from hf_leep.text import number, plain

if TYPE_CHECKING:
    from rich.console import Group

TRIAL_HEADINGS = ("#", "tie", "candidate", "score", "accuracy (%)", "place", "behind (points)")
AGREEMENT_HEADINGS = ("measure", "n", "Pearson's r", "p", "Kendall's τ", "p", "weighted τ", "by accuracy alone")
_IN_TERMINAL = 6  # columns of it that 80 characters have room for; the card has all
_FEW = 5  # candidates, below which there is no interval of Kendall's tau


def trial_rows(data: Mapping[str, Any], name: Callable[[str], str]) -> list[list[str]]:
    """A line for each candidate whose head was trained, as cells.

    Args:
        data: the content of report.json; it has a validation.
        name: how to write a candidate's name.
    """
    ranked = _ranked(data)
    rows = []
    for place, trial in enumerate(data["validation"]["candidates"]):
        short, candidate = ranked[place]
        if trial["accuracy"] is None:
            continue
        rows.append(
            [
                str(trial["rank"]),
                str(candidate["tie_group"]),
                name(short),
                number(candidate["scores"][data["sort_by"]]["value"]),
                _percent(trial["accuracy"]),
                str(trial["place"]),
                "–" if trial["place"] == 1 else _percent(trial["behind_best"]),
            ]
        )
    return rows


def failures(data: Mapping[str, Any], name: Callable[[str], str]) -> list[tuple[str, str]]:
    """Each candidate without a head, and why."""
    trials = zip(_ranked(data), data["validation"]["candidates"], strict=False)
    return [(name(short), str(trial["reason"])) for (short, _), trial in trials if trial["accuracy"] is None]


def agreement_rows(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each measure, as cells: how its scores agree with accuracy."""
    return [
        [
            title(measure),
            str(found["num_candidates"]),
            _with_interval(found, "pearson"),
            _p_value(found["pearson_p_value"]),
            _with_interval(found, "kendall"),
            _p_value(found["kendall_p_value"]),
            number(found["weighted_tau"], 2),
            number(found["weighted_tau_by_accuracy"], 2),
        ]
        for measure, found in data["validation"]["agreement"].items()
    ]


def sentences(data: Mapping[str, Any], name: Callable[[str], str]) -> list[str]:
    """How far to trust the order.

    Args:
        data: the content of report.json; it has a validation.
        name: how to write a candidate's name.
    """
    found = data["validation"]
    tried = [(name(s), t) for (s, _), t in zip(_ranked(data), found["candidates"], strict=False) if t["accuracy"]]
    if not tried:
        return ["No head could be trained: nothing is known of the order."]
    said = []
    first, trial = tried[0]
    measure = title(data["sort_by"])
    if trial["place"] == 1:
        said.append(f"{first}, the first by {measure}, is also the most accurate: {_percent(trial['accuracy'])} %.")
    else:
        best = next(who for who, t in tried if t["place"] == 1)
        lost = trial["behind_best"]
        close = lost["value"] <= critical_value() * lost["standard_error"]
        said.append(
            f"{first}, the first by {measure}, is number {trial['place']} by accuracy: {best} is ahead by "
            f"{_percent(lost)} points{', which may be chance' if close else ''}."
        )
    pairs = found["pairs"]
    if pairs["told_apart"]:
        said.append(
            f"Pairs that the ranking tells apart: {pairs['told_apart']}; accuracy confirms {pairs['confirmed']}, "
            f"contradicts {pairs['contradicted']}, and leaves {pairs['open']} open."
        )
    if len(tried) >= _FEW and (told := _told(data["validation"]["agreement"].get(data["sort_by"]), measure)):
        said.append(told)
    if len(tried) < _FEW:
        said.append(f"A correlation of {len(tried)} candidates says little.")
    elif len(tried) < found["num_ranked"]:
        said.append(
            f"Only {len(tried)} of {found['num_ranked']} were trained: among the best alone a correlation is lower "
            "than over all."
        )
    return said


def _told(found: Mapping[str, Any] | None, measure: str) -> str | None:
    """The correlation of the ranking's own measure, in a sentence."""
    if found is None or found["num_candidates"] < _FEW or found["kendall"] is None:
        return None
    interval, p = found["kendall_interval"], _p_value(found["kendall_p_value"])
    span = f"95 % interval {number(interval[0], 2)} to {number(interval[1], 2)}" if interval else "no interval"
    return (
        f"Kendall's τ of {measure} with accuracy, over {found['num_candidates']} candidates: "
        f"{number(found['kendall'], 2)} ({span}, p {p if p.startswith('<') else f'= {p}'})."
    )


def terminal(data: Mapping[str, Any]) -> Group:
    """Both tables and the sentences for a terminal, as a rich renderable.

    Args:
        data: the content of report.json; it has a validation.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(method(data)), Text(), _table(TRIAL_HEADINGS, trial_rows(data, str), words=2)]
    parts += [Text.assemble((f"✗ {who}", "bold red"), f"  {plain(why)}") for who, why in failures(data, str)]
    rows = [row[:_IN_TERMINAL] for row in agreement_rows(data)]
    parts += [Text(), _table(AGREEMENT_HEADINGS[:_IN_TERMINAL], rows, words=0), Text()]
    return Group(*parts, *(Text(plain(sentence), style="bold") for sentence in sentences(data, str)))


def method(data: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    found = data["validation"]
    which = "all" if found["top"] == found["num_ranked"] else f"the first {found['top']} of {found['num_ranked']}"
    if (found.get("asked") or 0) > found["num_ranked"]:
        which = f"all {found['num_ranked']} (of {found['asked']} asked for)"
    return (
        f"A linear head was trained on the features of {which} ranked candidates, and judged on the same "
        f"examples in {found['folds']} folds, each by a head that was fitted without it; ± is the half-width of a "
        "95 % interval."
    )


def _ranked(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    named = zip(short_names(data["candidates"]), data["candidates"], strict=True)
    return [(short, candidate) for short, candidate in named if candidate["rank"] is not None]


def _table(headings: Sequence[str], rows: list[list[str]], words: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        if place == words:
            table.add_column(heading, overflow="fold", min_width=15)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _percent(value: Mapping[str, Any]) -> str:
    """A share and the half-width of its interval, in points."""
    error = value["standard_error"]
    half = f" ± {number(100 * critical_value() * error, 1)}" if error is not None else ""
    return number(100 * value["value"], 1) + half


def _with_interval(found: Mapping[str, Any], name: str) -> str:
    """A correlation and its interval; a dash in the brackets of one that has none, and for what is not defined."""
    if found[name] is None:
        return "–"
    interval = found[f"{name}_interval"]
    return f"{number(found[name], 2)} [{f'{number(interval[0], 2)}, {number(interval[1], 2)}' if interval else '–'}]"


def _p_value(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
