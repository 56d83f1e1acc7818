"""Why a candidate scores as it does: in rows for a page, and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_leep.measures import find
from hf_leep.report.card.wording import examples, short_names, temperature
from hf_leep.text import number, plain

if TYPE_CHECKING:
    from rich.console import Group

NO_USE = (
    "its predictions tell no more about these labels than the class frequencies do, so there is nothing to explain"
)

_MOST_SERVED = 12  # in a terminal, of the best and of the worst each
_MOST_USED = 12  # source classes in a terminal
_LEAST_SHARE = 0.001  # of a source class that is worth a word
_WIDTH = 26  # of a source class's name: ImageNet's list synonyms


def class_rows(classes: Sequence[Mapping[str, Any]], name: Callable[[str], str]) -> list[list[str]]:
    """Target classes: name, examples, prediction of the right class, that against its frequency, source classes.

    Of each source class its share, and in brackets P̂(y|z).
    """
    return [
        [
            name(served["name"]),
            f"{served['count']:,}",
            share(math.exp(served["log_prediction"])),
            _times(math.exp(served["gain"])),
            ", ".join(
                f"{name(clipped(source['name']))} {share(source['weight'])} ({share(source['conditional'])})"
                for place, source in enumerate(served["sources"])
                if not place or source["weight"] >= _LEAST_SHARE
            ),
        ]
        for served in classes
    ]


def served_rows(explanation: Mapping[str, Any], most: int, name: Callable[[str], str]) -> list[list[str]]:
    """Rows of the best and the worst served target classes, at most so many of each, the worst last."""
    classes = list(explanation["classes"])
    if len(classes) <= 2 * most and not explanation["num_left_out"]:
        return class_rows(classes, name)
    between = explanation["num_left_out"] + max(len(classes) - 2 * most, 0)
    half = min(most, len(classes) // 2)
    gap = [f"… {between} between …", "", "", "", ""]
    return [*class_rows(classes[:half], name), gap, *class_rows(classes[-half:], name)]


def source_rows(explanation: Mapping[str, Any], most: int, name: Callable[[str], str]) -> list[list[str]]:
    """Rows of at most so many of the most used source classes: name, mass, target classes by P̂(y|z).

    Empty for a report of an older hf_leep.
    """
    used = explanation.get("source_classes") or ()
    rows = [
        [
            name(clipped(source["name"])),
            share(source["mass"]),
            ", ".join(f"{name(clipped(told['name']))} {share(told['conditional'])}" for told in source["targets"]),
        ]
        for source in used[:most]
    ]
    hidden = len(used) - len(rows) + explanation.get("num_sources_left_out", 0)
    return [*rows, [f"… {hidden} less used …", "", ""]] if hidden else rows


def example_rows(examples: Sequence[Mapping[str, Any]], name: Callable[[str], str]) -> list[list[str]]:
    """Examples of the lowest predictions: row, label, how likely that is, the likeliest class, what it is seen as."""
    return [
        [
            where(example),
            name(example["label"]),
            share(example["prediction"]),
            f"{name(example['likely'])} {share(example['likely_prediction'])}",
            f"{name(clipped(example['source']))} {share(example['source_probability'])}",
        ]
        for example in examples
    ]


def where(example: Mapping[str, Any]) -> str:
    """An example's row, and of a word its place in it."""
    row = f"{example['row']:d}"
    return row if example["word"] is None else f"{row}, word {example['word']:d}"


def clipped(name: object) -> str:
    """The beginning of a long name."""
    text = plain(name)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1].rstrip(" ,;") + "…"


def share(value: float) -> str:
    """A probability for people."""
    percent = 100 * value
    if percent >= 10:
        return f"{percent:.0f}\u00a0%"
    if percent >= 0.1:
        return f"{percent:.1f}\u00a0%"
    return f"{percent:.1g}\u00a0%" if percent >= 0.001 else "<\u00a00.001\u00a0%"


def unexplained(data: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """Why a candidate has no explanation.

    Args:
        data: the content of report.json.
        candidate: one of its candidates that has none.
    """
    if candidate["reason"]:
        return str(candidate["reason"])
    stopped = candidate.get("stopped")
    if stopped and stopped["behind"] is None:
        ran = f"{candidate['num_examples']:,} {examples(data)}"
        return f"the run was broken off when it had run {ran}: the same command goes on from there"
    reasons = [
        score["reason"]
        for measure, score in candidate["scores"].items()
        if score["reason"] and find(measure).needs == "probabilities"
    ]
    if reasons:
        return str(reasons[0])
    if candidate["num_source_classes"] is None:
        return "it has no head, so no predictions to explain"
    if stopped:  # a report of an older hf_leep
        ran = f"{candidate['num_examples']:,} {examples(data)}"
        return f"stopped in the race after {ran}: rank it again to see why"
    if "explanation" not in candidate:
        return "the report is of an older hf_leep, which explained nothing: rank again"
    return "its predictions are no probabilities"


def explained(data: Mapping[str, Any], candidate: Mapping[str, Any], everything: bool = False) -> Group:
    """A candidate's explanation for a terminal, as a rich renderable.

    Args:
        data: the content of report.json.
        candidate: one of its candidates that has an explanation.
        everything: whether to show every class that the report holds.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Table:
        made = Table(box=None, header_style="bold", pad_edge=False)
        for column, heading in enumerate(headings):
            made.add_column(
                heading,
                justify="right" if column in right else "left",
                overflow="fold",
                no_wrap=column in right,
            )
        for row in rows:
            made.add_row(*map(Text, row))
        return made

    names = dict(zip(map(id, data["candidates"]), short_names(data["candidates"]), strict=True))
    explanation = candidate["explanation"]
    rank = "" if candidate["rank"] is None else f", number {candidate['rank']} of the ranking"
    parts: list[Any] = [Text(f"{names[id(candidate)]}{rank}", style="bold")]
    if calibration := candidate.get("calibration"):
        parts.append(
            Text(
                f"Leave-one-out LEEP {number(calibration['as_is'])} nats; {number(calibration['value'])} at "
                f"temperature {temperature(calibration)}, the best for it; temperatures from 0.5 to 2 "
                f"move it by {number(calibration['spread'], 2)}."
            )
        )
    if candidate.get("stopped"):
        ran = f"{candidate['num_examples']:,} {examples(data)}"
        parts.append(Text(f"It was stopped in the race: all of this is of the {ran} that it ran."))
    if explanation["prior_weight"] is None:
        return Group(*parts, Text(f"There is no more to say: {NO_USE}."))
    num_classes, num_used = len(explanation["classes"]), len(explanation.get("source_classes") or ())
    rows = served_rows(explanation, num_classes if everything else _MOST_SERVED, plain)
    used = source_rows(explanation, num_used if everything else _MOST_USED, plain)
    parts += [
        Text(),
        Text("Target classes, best served first", style="bold"),
        Text(
            "right: probability that the predictions give the true class, a geometric mean; ×: that against the "
            "frequency of the class; told by: the checkpoint's own classes z that it goes by, their share, and in "
            "brackets P̂(y|z), how much of what z gets is of the class",
            style="dim",
        ),
        table(("class", "examples", "right", "×", "told by"), rows, (1, 2, 3)),
        Text(),
    ]
    if used:
        parts += [
            Text("Its own classes, most used first", style="bold"),
            Text("used: share of all predictions; tells: the target classes of the highest P̂(y|z)", style="dim"),
            table(("its class", "used", "tells"), used, (1,)),
            Text(),
        ]
    parts += [
        Text("Rows whose label is least expected: wrongly labelled, or hard", style="bold"),
        table(
            ("row", "label", "expected", "rather", "seen as"),
            example_rows(explanation["examples"], plain),
            (2,),
        ),
    ]
    if not everything and (num_classes > 2 * _MOST_SERVED or num_used > _MOST_USED):
        parts += [Text(), Text("--all shows every class that report.json holds.", style="dim")]
    return Group(*parts)


def _times(ratio: float) -> str:
    return f"{ratio:.0f}\u00a0×" if ratio >= 10 else f"{ratio:.1f}\u00a0×"
