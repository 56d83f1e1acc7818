"""report.html: the table, the plot of score against cost, and each candidate's details."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.cautions import cautions, left_out
from hf_leep.report.card.metadata import subject
from hf_leep.report.card.order import auto_sentence
from hf_leep.report.card.race import race_sentence
from hf_leep.report.card.second_opinion import head_cells
from hf_leep.report.card.verdict import doubts, headless_note, verdict
from hf_leep.report.card.wording import (
    chance,
    examples,
    level,
    meaning,
    rank_range,
    ranked,
    title,
    with_interval,
)
from hf_leep.report.html.details import embedded
from hf_leep.report.html.sections import sections
from hf_leep.report.letters import in_short, told_apart
from hf_leep.report.palette import DARK, LIGHT, Palette
from hf_leep.report.schema import ReportData
from hf_leep.text import count, duration, number, plain

if TYPE_CHECKING:
    import jinja2

_LONG = re.compile(r"[^\s&;]{16,}")  # a name, as far as no entity is in it
_PART_END = re.compile(r"(?<=[/_:])(?=\w)|(?<=\.)(?=[^\W\d])")
_BAR = 160  # width of an interval's drawing


@dataclass(frozen=True)
class _Cell:
    """A cell of the table.

    Attributes:
        text: what it shows.
        order: what it is sorted by; empty where nothing is known, which comes last.
    """

    text: str
    order: float | str


@dataclass(frozen=True)
class _Row:
    """A candidate in the table.

    Attributes:
        index: its position among the ranked candidates.
        name: what to call it.
        cells: its cells, by column, without those of number, letters, name and score.
        rank: its number.
        letters: its tie letters.
        score: its score, and the number that it is sorted by.
        bar: where its interval and its score are drawn; None where the score is not known.
        tip: the interval in words.
        group: 0 or 1 for the colour of its tie group, - for none, x if a race stopped it.
        may_be_best: whether it is not told apart from the first.
        parameters: their number, if it is known.
    """

    index: int
    name: str
    cells: Sequence[_Cell]
    rank: int
    letters: str
    score: _Cell
    bar: tuple[float, float, float] | None
    tip: str
    group: str
    may_be_best: bool
    parameters: int | None


def interactive(data: ReportData, thumbnails: Mapping[int, bytes] | None = None, shortened: bool = False) -> bytes:
    """Write report.html: one file with its styles, its script and what it shows of report.json.

    Names are text wherever they come: the template escapes them, and the script only sets text. A policy in the page
    forbids requests, and any script or style but its own. Thumbnails are in the file itself.

    Args:
        data: the content of report.json.
        thumbnails: row → a small JPEG; none by default.
        shortened: whether the command of the run lost its paths, which report.json has.
    """
    style, script = _style(), _asset("script.js")
    html = _template().render(
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; "
            f"form-action 'none'{'; img-src data:' if thumbnails else ''}"
        ),
        embedded=embedded(data, thumbnails or {}),
        target=subject(data),
        described=_described(data),
        verdict=[plain(sentence) for sentence in verdict(data, str)],
        doubts=plain(" ".join(doubts(data))),
        asides=[plain(sentence) for sentence in (auto_sentence(data), race_sentence(data)) if sentence],
        sections=sections(data),
        measure=title(data, data["sort_by"]),
        unit=plain(data["measure_details"][data["sort_by"]]["unit"]),
        meaning=meaning(data),
        lower="" if data["measure_details"][data["sort_by"]]["higher_is_better"] else "lower",
        level=level(data),
        columns=_columns(data),
        rows=_rows(data),
        certain=any(candidate["tie_letters"] is not None for _, candidate in ranked(data)),
        bar=_BAR,
        limits=_limits(data),
        left_out=left_out(data),
        headless=(headless_note(data), plain(data["headless"]["command"] or "")) if headless_note(data) else None,
        said=cautions(data),
        shortened=shortened,
        command=plain(data["run"]["command"] or ""),
        took=duration(data["run"]["seconds"]),
        versions=", ".join(f"{plain(name)} {plain(found)}" for name, found in data["run"]["versions"].items()),
    )
    return html.encode("utf-8", "backslashreplace")


def _described(data: ReportData) -> str:
    """The target in a line."""
    target = data["target"]
    places = (("configuration", target["config"]), ("split", target["split"]))
    where = ", ".join(f"{word} {plain(name)}" for word, name in places if name)
    return (
        f"{where}{': ' if where else ''}{target['num_examples']:,} {examples(data)}, {target['num_classes']} classes"
    )


def _rows(data: ReportData) -> list[_Row]:
    candidates = ranked(data)
    if not candidates:
        return []
    best = candidates[0][1]
    cells = _cells(data, [candidate for _, candidate in candidates])
    low, high = _range(data, [candidate for _, candidate in candidates])
    rows = []
    for index, (name, candidate) in enumerate(candidates):
        score = candidate["scores"][data["sort_by"]]
        group = "-" if candidate["tie_group"] is None else str((candidate["tie_group"] - 1) % 2)
        rows.append(
            _Row(
                index=index,
                name=name,
                cells=[column[index] for column in cells],
                rank=candidate["rank"],
                letters=in_short(candidate),
                score=_Cell(number(score["value"]), "" if score["value"] is None else score["value"]),
                bar=_bar(candidate, score["value"], low, high),
                tip=_tip(data, name, candidate),
                group="x" if candidate["stopped"] else group,
                may_be_best=not told_apart(best, candidate),
                parameters=candidate["num_parameters"],
            )
        )
    return rows


def _columns(data: ReportData) -> list[tuple[str, str]]:
    """Headings of the cells, and whether they are numbers (``n``) or text (``t``)."""
    others = [(title(data, measure), "n") for measure in data["measures"] if measure != data["sort_by"]]
    heads = head_cells([candidate for _, candidate in ranked(data)], with_error=False)
    return [
        *others,
        *([("linear head", "n")] if heads else []),
        ("parameters", "n"),
        ("licence", "t"),
        ("ranks", "n"),
        ("best", "n"),
    ]


def _cells(data: ReportData, candidates: Sequence[RankedData]) -> list[list[_Cell]]:
    """The cells under the headings of `_columns`."""
    made = []
    for measure in data["measures"]:
        if measure != data["sort_by"]:
            values = [c["scores"][measure]["value"] if measure in c["scores"] else None for c in candidates]
            made.append([_Cell(number(value), "" if value is None else value) for value in values])
    if heads := head_cells(candidates, with_error=False):
        accuracies = [c["head_accuracy"]["value"] if c["head_accuracy"] else None for c in candidates]
        made.append([_Cell(h, "" if a is None else a) for h, a in zip(heads, accuracies, strict=True)])
    made.append([_Cell(count(c["num_parameters"]), _or_empty(c["num_parameters"])) for c in candidates])
    made.append([_Cell(plain(c["license"] or "–"), plain(c["license"] or "")) for c in candidates])
    ranges = [c["rank_interval"] for c in candidates]
    made.append(
        [
            _Cell(rank_range(c), "" if found is None else found[0] + found[1] / 10**6)
            for c, found in zip(candidates, ranges, strict=True)
        ]
    )
    made.append([_Cell(chance(data, c), _or_empty(c["probability_best"])) for c in candidates])
    return made


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _range(data: ReportData, candidates: Sequence[RankedData]) -> tuple[float, float]:
    """The lowest and the highest value that the drawings of intervals show."""
    values = [value for c in candidates if (value := c["scores"][data["sort_by"]]["value"]) is not None]
    values += [end for c in candidates if c["interval"] for end in c["interval"]]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if 0 < high - low < float("inf") else (low - 0.5, high + 0.5)


def _bar(candidate: RankedData, value: float | None, low: float, high: float) -> tuple[float, float, float] | None:
    """Where a score and the ends of its interval are drawn."""
    if value is None:
        return None
    ends = candidate["interval"] or (value, value)
    shares = [min(max((x - low) / (high - low or 1.0), 0.0), 1.0) for x in (ends[0], value, ends[1])]
    at = [round(6 + share * (_BAR - 12), 1) for share in shares]
    return at[0], at[1], at[2]


def _tip(data: ReportData, name: str, candidate: RankedData) -> str:
    """A candidate's intervals in words."""
    said = f"{name}: {title(data, data['sort_by'])} {with_interval(candidate['scores'][data['sort_by']])}"
    if candidate["interval"]:
        said += (
            f"; {level(data)} interval from {number(candidate['interval'][0])} to {number(candidate['interval'][1])}"
        )
    if candidate["rank_interval"]:
        said += f"; ranks {rank_range(candidate)}"
    return said


def _limits(data: ReportData) -> list[tuple[int, str]]:
    """Numbers of parameters to filter by: powers of ten that leave some candidates out."""
    sizes = [size for _, candidate in ranked(data) if (size := candidate["num_parameters"])]
    powers = [10**power for power in range(4, 13)]
    return [(limit, count(limit)) for limit in powers if sizes and min(sizes) <= limit < max(sizes)]


def _style() -> str:
    """The styles, with the colours of both grounds."""

    def colours(palette: Palette) -> str:
        named_colours = {
            "ground": palette.ground,
            "band": palette.band,
            "grid": palette.grid,
            "ink": palette.ink,
            "quiet": palette.quiet,
            "one": palette.groups[0],
            "two": palette.groups[1],
        }
        return "".join(f"--{name}:{colour};" for name, colour in named_colours.items())

    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {colours(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {colours(LIGHT)} }}\n{dark}\n{_asset('style.css')}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return files("hf_leep.report.html").joinpath(name).read_text(encoding="utf-8")


def _breakable(text: str) -> str:
    """Text as HTML, escaped, that allows line breaks after the slashes, underscores and dots of long names."""
    return _LONG.sub(lambda found: _PART_END.sub("<wbr>", found[0]), escape(text))


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(_asset("page.html.jinja"))
