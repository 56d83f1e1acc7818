"""The ranking as tables: for a terminal, and as a parquet file."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_leep.report.card.order import auto_sentence, baseline_note, consensus_note
from hf_leep.report.card.race import gap_sentence, race_sentence, stops
from hf_leep.report.card.verdict import disagreement, headless_note, verdict
from hf_leep.report.card.wording import (
    chance,
    examples,
    explained_cells,
    listed,
    places,
    repeated_notes,
    repeated_warnings,
    short_names,
    title,
    with_error,
)
from hf_leep.text import classes, count, number, plain, size

if TYPE_CHECKING:
    from rich.console import Group

_NAME_WIDTH = 15  # of candidates' names, which fold beyond it where the line is short
_EXPENDABLE = (
    "best",
    "source\nclasses",
    "para-\nmeters",
    "ranks",
)  # columns that go, in this order, to fit a terminal
_GROUP_STYLES = ("bold green", "cyan", "yellow", "magenta", "blue", "white")


def terminal(data: Mapping[str, Any], width: int | None = None) -> Group:
    """The report for a terminal, as a rich renderable: target, table, failures, notes, verdict.

    Args:
        data: the content of report.json.
        width: how many characters a line has; where the table has more, it goes without its least telling columns.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    target = data["target"]
    where = " ".join(plain(part) for part in (target["dataset"], target["config"], target["split"]) if part)
    parts: list[Any] = [
        Text(
            f"{where}: {_rows(target)}, {target['num_classes']} classes, "
            f"input {', '.join(map(plain, target['input_columns']))}, label {plain(target['label_column'])}, "
            f"seed {target['seed']}"
        )
    ]
    names = short_names(data["candidates"])
    table = Table(box=None, header_style="bold", pad_edge=False)
    ranked = [(n, c) for n, c in zip(names, data["candidates"], strict=True) if c["rank"] is not None]
    columns = _fitting(_columns(data, ranked), [_heading(m) for m in data["measures"] if m != data["sort_by"]], width)
    for heading, _ in columns:
        if heading == "candidate":
            table.add_column(heading, overflow="fold", min_width=_NAME_WIDTH)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row, (_, candidate) in enumerate(ranked):
        style = _GROUP_STYLES[(candidate["tie_group"] - 1) % len(_GROUP_STYLES)]
        table.add_row(*(Text(cells[row]) for _, cells in columns), style=style)
    if table.row_count:
        parts += [Text(), table]
        shown = {heading for heading, _ in columns}
        hidden = sum(_heading(measure) not in shown for measure in data["measures"])
        if hidden:
            subject = "1 more measure is" if hidden == 1 else f"{hidden} more measures are"
            parts.append(Text(f"{subject} on the card (README.md of the report) only.", style="dim"))
    left_out = [(n, c) for n, c in zip(names, data["candidates"], strict=True) if c["rank"] is None]
    if left_out:
        parts.append(Text())
    parts += [Text.assemble((f"✗ {name}", "bold red"), f"  {plain(c['reason'])}") for name, c in left_out]
    stopped = stops(data)
    if stopped:
        parts.append(Text())
    parts += [Text.assemble((f"■ {name}", "bold"), f"  {why}") for name, why in stopped]
    if behind := gap_sentence(data):
        parts.append(Text(behind))

    notes = [*target["warnings"], disagreement(data), consensus_note(data, str), baseline_note(data)]
    for said_of_some in (repeated_warnings(data), repeated_notes(data)):
        notes += [f"{words}: {listed(who, data)}" for words, who in said_of_some.items()]
    parts += [Text()] + [Text.assemble(("! ", "bold yellow"), plain(note)) for note in notes if note]
    if note := headless_note(data):
        # On one line, however long: it is there to be copied.
        command = Text(plain(data["headless"]["command"]), style="bold", no_wrap=True, overflow="ignore")
        parts += [Text(note), command]
    parts += [Text(), *(Text(plain(sentence), style="bold") for sentence in verdict(data, str))]
    parts += [Text(sentence) for sentence in (auto_sentence(data), race_sentence(data)) if sentence]
    return Group(*parts)


def _columns(data: Mapping[str, Any], ranked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, list[str]]]:
    """The headings of the terminal's table, each with its cells."""
    everyone = [candidate for _, candidate in ranked]
    columns = [
        ("#", [str(c["rank"]) for c in everyone]),
        ("tie", [str(c["tie_group"]) for c in everyone]),
        ("candidate", [name for name, _ in ranked]),
    ]
    for measure in data["measures"]:
        scores = [c["scores"][measure] for c in everyone]
        cells = [with_error(score) if measure == data["sort_by"] else number(score["value"]) for score in scores]
        columns.append((_heading(measure), cells))
    if shares := explained_cells(data, everyone):
        columns.append(("expl.", shares))
    columns += [
        ("source\nclasses", [classes(c["num_source_classes"]) for c in everyone]),
        ("para-\nmeters", [count(c["num_parameters"]) for c in everyone]),
    ]
    if data.get("race"):
        columns.insert(3, (f"{examples(data)}\nrun", [f"{c['num_examples']:,}" for c in everyone]))
    if data.get("best_by"):
        columns += [("ranks", [places(c) for c in everyone]), ("best", [chance(data, c) for c in everyone])]
    return columns


def _heading(measure: str) -> str:
    return title(measure).replace("leave-one-out ", "leave-\none-out\n")


def _fitting(
    columns: list[tuple[str, list[str]]], measures: Sequence[str], width: int | None
) -> list[tuple[str, list[str]]]:
    """The columns without those that have to go so that the others fit.

    Args:
        columns: headings with their cells.
        measures: headings of the measures that may go, the last ones first.
        width: how many characters a line has.
    """

    def needed(heading: str, cells: list[str]) -> int:
        return _NAME_WIDTH if heading == "candidate" else max(map(len, [*heading.split("\n"), *cells]))

    for expendable in (*_EXPENDABLE, *reversed(measures)):
        if width is None or sum(needed(*column) + 2 for column in columns) - 2 <= width:
            break
        columns = [column for column in columns if column[0] != expendable]
    return columns


def planned(data: Mapping[str, Any]) -> Group:
    """What a run will do, for a terminal: each candidate, what it costs, or why it is skipped, and the download.

    Args:
        data: a plan's data.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    candidates = data["candidates"]
    names = short_names(candidates)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("candidate", overflow="fold", min_width=20)
    for heading in ("revision", "source\nclasses", "para-\nmeters", "download"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    skipped = []
    for name, candidate in zip(names, candidates, strict=True):
        if candidate["action"] == "skip":
            skipped.append(Text.assemble((f"✗ {name}", "bold red"), f"  {plain(candidate['reason'])}"))
            continue
        stored = candidate["action"] == "stored"
        cells = [
            name,
            str(candidate["revision"] or "–").removeprefix("sha256:")[:7],
            classes(candidate["num_source_classes"]),
            count(candidate["num_parameters"]),
            "in the store" if stored else size(candidate["download_bytes"]) if candidate["download_bytes"] else "–",
            plain(candidate["license"] or "–")[:30] + (" (gated)" if candidate["gated"] else ""),
        ]
        table.add_row(*(Text(cell) for cell in cells), style="cyan" if stored else "")
    numbers = Counter(candidate["action"] for candidate in candidates)
    words = {"run": "to run", "stored": "in the store", "skip": "skipped"}
    total = ", ".join(f"{numbers[action]} {word}" for action, word in words.items() if numbers[action])
    parts: list[Any] = [table] if table.row_count else []
    return Group(*parts, *skipped, Text(), Text(f"{total}; to download: {size(data['download_bytes'])}", style="bold"))


def notebook(data: Mapping[str, Any]) -> str:
    """The ranking as an HTML table under its verdict, for a notebook; every name escaped.

    Args:
        data: the content of report.json.
    """
    from html import escape

    ranked = [candidate for candidate in data["candidates"] if candidate["rank"] is not None]
    shares = explained_cells(data, ranked)
    headings = ["#", "tie group", "candidate", *map(title, data["measures"])]
    headings += ["explained"] if shares else []
    headings += ["source classes", "parameters"]
    sure = bool(data.get("best_by"))
    headings += ["ranks", "best"] if sure else []
    headings += [f"{examples(data)} run"] if data.get("race") else []
    rows = []
    for name, candidate in zip(short_names(data["candidates"]), data["candidates"], strict=True):
        if candidate["rank"] is None:
            reason = f"✗ {name}: {plain(candidate['reason'])}"
            rows.append(f'<tr><td colspan="{len(headings)}" style="text-align:left">{escape(reason)}</td></tr>')
            continue
        cells = [candidate["rank"], candidate["tie_group"], name]
        cells += [with_error(candidate["scores"][measure]) for measure in data["measures"]]
        cells += [shares[len(rows)]] if shares else []
        cells += [classes(candidate["num_source_classes"]), count(candidate["num_parameters"])]
        cells += [places(candidate), chance(data, candidate)] if sure else []
        cells += [f"{candidate['num_examples']:,}"] if data.get("race") else []
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    sentences = [*verdict(data, str), auto_sentence(data), race_sentence(data)]
    said = "".join(f"<p>{escape(plain(sentence))}</p>" for sentence in sentences if sentence)
    notes = [*data["target"]["warnings"], disagreement(data), consensus_note(data, str), baseline_note(data)]
    for said_of_some in (repeated_warnings(data), repeated_notes(data)):
        notes += [f"{words}: {listed(who, data)}" for words, who in said_of_some.items()]
    notes += [f"■ {name} {why}" for name, why in stops(data)] + [gap_sentence(data)]
    said += "".join(f"<p>{escape(plain(note))}</p>" for note in notes if note)
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return f"{said}<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def parquet(data: Mapping[str, Any]) -> bytes:
    """One row a candidate: rank, tie group, identity, sizes, and each measure with its standard error.

    Args:
        data: the content of report.json.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        ("rank", pa.int64()),
        ("tie_group", pa.int64()),
        ("id", pa.string()),
        ("revision", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("num_source_classes", pa.int64()),
        ("num_parameters", pa.int64()),
        ("license", pa.string()),
    ]
    rows = [{name: _unicode(candidate[name]) for name, _ in fields} for candidate in data["candidates"]]
    for measure in data["measures"]:
        column = measure.replace("-", "_")
        fields += [(column, pa.float64()), (f"{column}_standard_error", pa.float64())]
        for row, candidate in zip(rows, data["candidates"], strict=True):
            score = candidate["scores"].get(measure) or {}
            row[column] = score.get("value")
            row[f"{column}_standard_error"] = score.get("standard_error")
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), buffer)
    return buffer.getvalue()


def _rows(target: Mapping[str, Any]) -> str:
    """How many of the rows were used; a streamed data set may not say how many it has."""
    sentences, there_are = target.get("num_sentences"), target["num_rows"]
    used = target["num_examples"] if sentences is None else sentences
    what = "rows" if sentences is None else "sentences"
    words = "" if sentences is None else f"{target['num_examples']:,} words in "
    if target.get("streamed") and there_are == used:
        return f"{words}{used:,} streamed {what}"
    return f"{words}{used:,} of {there_are:,} {what}"


def _unicode(value: Any) -> Any:
    """A path that is no UTF-8 reaches Python with lone surrogates, which Arrow refuses."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
