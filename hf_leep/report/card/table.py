"""The ranking as tables: for a terminal, for a notebook, and as a parquet file."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.cautions import cautions, left_out, reason
from hf_leep.report.card.columns import NAMES, fitting, table
from hf_leep.report.card.order import auto_sentence
from hf_leep.report.card.race import gap_sentence, race_sentence, stops
from hf_leep.report.card.second_opinion import head_cells
from hf_leep.report.card.verdict import doubts, headless_note, verdict
from hf_leep.report.card.wording import (
    chance,
    entropy_explained_cells,
    examples,
    named,
    rank_range,
    ranked,
    title,
    with_interval,
)
from hf_leep.report.letters import in_short
from hf_leep.report.schema import ReportData, TargetData, is_ranked
from hf_leep.text import classes, count, number, plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

_NAME_WIDTH = {NAMES: 15}  # least number of characters of candidates' names in a short line
_EXPENDABLE = (
    "best",
    "source\nclasses",
    "para-\nmeters",
    "expl.",
    "linear\nhead",
    "ranks",
)  # columns that are left out, in this order, to fit a terminal
_MOST_LINES = 3  # of a command
_GROUP_STYLES = ("bold green", "cyan", "yellow", "magenta", "blue", "white")


def terminal(data: ReportData, width: int | None = None) -> Group:
    """The report for a terminal, as a rich renderable: target, table, failures, notes, verdict.

    Args:
        data: the content of report.json.
        width: how many characters a line has; if the table needs more, its least important columns are left out, and
            names are cut. None for as many as it takes.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_target(data["target"]))]
    others = [_heading(data, measure) for measure in reversed(data["measures"]) if measure != data["sort_by"]]
    columns = fitting(_columns(data, ranked(data)), (*_EXPENDABLE, *others), width, _NAME_WIDTH)
    if ranked(data):
        parts += [Text(), table(columns, width, _NAME_WIDTH, [_style(candidate) for _, candidate in ranked(data)])]
        shown = {heading for heading, _ in columns}
        scored = _scored(data, [candidate for _, candidate in ranked(data)])
        hidden = sum(_heading(data, measure) not in shown for measure in scored)
        if hidden:
            subject = "1 more measure is" if hidden == 1 else f"{hidden} more measures are"
            parts.append(Text(f"{subject} only on the card (README.md of the report).", style="dim"))
    unranked = left_out(data)
    if unranked:
        parts.append(Text())
    parts += [Text.assemble((f"✗ {name}", "bold red"), f"  {why}") for name, why in unranked]
    stopped = stops(data)
    if stopped:
        parts.append(Text())
    parts += [Text.assemble((f"■ {name}", "bold"), f"  {why}") for name, why in stopped]
    if behind := gap_sentence(data):
        parts.append(Text(behind))
    notes: list[RenderableType] = [Text.assemble(("! ", "bold yellow"), note) for note in cautions(data)]
    if note := headless_note(data):
        notes += [Text(note), _command(data, width)]
    parts += [Text(), *notes] if notes else []
    parts += [Text(), *(Text(plain(sentence), style="bold") for sentence in verdict(data, str))]
    parts += [Text(plain(sentence)) for sentence in doubts(data)]
    parts += [Text(sentence) for sentence in (auto_sentence(data), race_sentence(data)) if sentence]
    return Group(*parts)


def _command(data: ReportData, width: int | None) -> Text:
    """The command that ranks all candidates: on one line, to be copied, or what it changes if it is far too long."""
    from rich.text import Text

    command = plain(data["headless"]["command"])
    if width is None or len(command) <= _MOST_LINES * width:
        return Text(command, style="bold", no_wrap=True, overflow="ignore")
    words = shlex.split(command)
    output = words[words.index("--output") :][:2] if "--output" in words else []
    where = " (report.json has all of it, as headless.command)" if output else ""
    return Text.assemble("repeat the command with ", (shlex.join([*output, *words[-2:]]), "bold"), where)


def _target(target: TargetData) -> str:
    where = " ".join(plain(part) for part in (target["dataset"], target["config"], target["split"]) if part)
    return (
        f"{where}: {_rows(target)}, {target['num_classes']} classes, "
        f"input {', '.join(map(plain, target['input_columns']))}, label {plain(target['label_column'])}, "
        f"seed {target['seed']}"
    )


def _rows(target: TargetData) -> str:
    """How many of the rows were used; a streamed data set may not say how many it has."""
    sentences, there_are = target["num_sentences"], target["num_rows"]
    used = target["num_examples"] if sentences is None else sentences
    what = "rows" if sentences is None else "sentences"
    words = "" if sentences is None else f"{target['num_examples']:,} words in "
    if target["streamed"] and there_are == used:
        return f"{words}{used:,} streamed {what}"
    return f"{words}{used:,} of {there_are:,} {what}"


def _style(candidate: RankedData) -> str | None:
    """The colour of a candidate's tie group; none where its error is not known."""
    group = candidate["tie_group"]
    return None if group is None else _GROUP_STYLES[(group - 1) % len(_GROUP_STYLES)]


def _columns(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[tuple[str, list[str]]]:
    """The headings of the terminal's table, each with its cells."""
    everyone = [candidate for _, candidate in candidates]
    columns = [
        ("#", [str(c["rank"]) for c in everyone]),
        ("tie", [in_short(c) for c in everyone]),
        (NAMES, [name for name, _ in candidates]),
    ]
    for measure in _scored(data, everyone):
        scores = [c["scores"][measure] for c in everyone]
        cells = [with_interval(score) if measure == data["sort_by"] else number(score["value"]) for score in scores]
        columns.append((_heading(data, measure), cells))
    if shares := entropy_explained_cells(everyone):
        columns.append(("expl.", shares))
    if accuracies := head_cells(everyone, with_error=False):
        columns.append(("linear\nhead", accuracies))
    columns += [
        ("source\nclasses", [classes(c["num_source_classes"]) for c in everyone]),
        ("para-\nmeters", [count(c["num_parameters"]) for c in everyone]),
        ("ranks", [rank_range(c) for c in everyone]),
        ("best", [chance(data, c) for c in everyone]),
    ]
    if data["race"]:
        columns.insert(3, (f"{examples(data)}\nrun", [f"{c['num_examples']:,}" for c in everyone]))
    return columns


def _scored(data: ReportData, candidates: Sequence[RankedData]) -> list[str]:
    """The measures that have a score of any candidate: without a trained head, none has a LEEP."""
    return [m for m in data["measures"] if any(c["scores"][m]["value"] is not None for c in candidates)]


def _heading(data: ReportData, measure: str) -> str:
    return title(data, measure).replace("leave-one-out ", "leave-\none-out\n")


def notebook(data: ReportData) -> str:
    """The ranking as an HTML table under its verdict, for a notebook; every name escaped.

    Args:
        data: the content of report.json.
    """
    from html import escape

    everyone = [candidate for _, candidate in ranked(data)]
    shares, accuracies = entropy_explained_cells(everyone), head_cells(everyone)
    scored = _scored(data, everyone)
    headings = ["#", "tie letters", "candidate", *(title(data, measure) for measure in scored)]
    headings += ["entropy explained"] if shares else []
    headings += ["linear head"] if accuracies else []
    headings += ["source classes", "parameters", "ranks", "best"]
    headings += [f"{examples(data)} run"] if data["race"] else []
    rows = []
    for name, candidate in named(data):
        if not is_ranked(candidate):
            why = f"✗ {name} – {reason(candidate)}"
            rows.append(f'<tr><td colspan="{len(headings)}" style="text-align:left">{escape(why)}</td></tr>')
            continue
        cells = [str(candidate["rank"]), in_short(candidate), name]
        cells += [with_interval(candidate["scores"][measure]) for measure in scored]
        cells += [shares[len(rows)]] if shares else []
        cells += [accuracies[len(rows)]] if accuracies else []
        cells += [classes(candidate["num_source_classes"]), count(candidate["num_parameters"])]
        cells += [rank_range(candidate), chance(data, candidate)]
        cells += [f"{candidate['num_examples']:,}"] if data["race"] else []
        styles = ["white-space:nowrap" + ";text-align:left" * (cell is name) for cell in cells]
        said = (f'<td style="{style}">{escape(cell)}</td>' for style, cell in zip(styles, cells, strict=True))
        rows.append(f"<tr>{''.join(said)}</tr>")
    sentences = [*verdict(data, str), *doubts(data), auto_sentence(data), race_sentence(data), *cautions(data)]
    sentences += [f"■ {name} {why}" for name, why in stops(data)] + [gap_sentence(data)]
    above = "".join(f"<p>{escape(plain(sentence))}</p>" for sentence in sentences if sentence)
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def parquet(data: ReportData) -> bytes:
    """One row per candidate: rank, tie group and letters, identity, sizes, each measure with error and interval.

    Args:
        data: the content of report.json.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        ("rank", pa.int64()),
        ("tie_group", pa.int64()),
        ("tie_letters", pa.string()),
        ("id", pa.string()),
        ("revision", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("num_source_classes", pa.int64()),
        ("num_parameters", pa.int64()),
        ("license", pa.string()),
        ("stated_accuracy", pa.float64()),
        ("stated_on", pa.string()),
    ]
    rows: list[dict[str, object]] = [
        {
            "rank": candidate["rank"],
            "tie_group": candidate["tie_group"],
            "tie_letters": candidate["tie_letters"],
            "id": _unicode(candidate["id"]),
            "revision": _unicode(candidate["revision"]),
            "status": candidate["status"],
            "reason": _unicode(candidate["reason"]),
            "num_source_classes": candidate["num_source_classes"],
            "num_parameters": candidate["num_parameters"],
            "license": _unicode(candidate["license"]),
            "stated_accuracy": _float(candidate["stated_accuracy"]),
            "stated_on": _unicode(candidate["stated_on"]),
        }
        for candidate in data["candidates"]
    ]
    for measure in dict.fromkeys(data["measures"]):
        column = measure.replace("-", "_")
        ends = [f"{column}_interval_low", f"{column}_interval_high"]
        fields += [(name, pa.float64()) for name in (column, f"{column}_standard_error", *ends)]
        for row, candidate in zip(rows, data["candidates"], strict=True):
            score = candidate["scores"].get(measure)
            row[column] = _float(score["value"]) if score else None
            row[f"{column}_standard_error"] = _float(score["standard_error"]) if score else None
            interval = (score["interval"] if score else None) or (None, None)
            row |= {name: _float(end) for name, end in zip(ends, interval, strict=True)}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), buffer)
    return buffer.getvalue()


def _float(number: float | None) -> float | None:
    """Arrow refuses a whole number that is larger than a float can hold exactly."""
    return None if number is None else float(number)


def _unicode(text: str | None) -> str | None:
    """A path that is no UTF-8 reaches Python with lone surrogates, which Arrow refuses."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
