"""Why a candidate scores as it does: in rows for a page, and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import CandidateData, ClassData, ExampleData, ExplanationData
from hf_leep.report.card.wording import examples, short_names, temperature
from hf_leep.report.schema import ReportData
from hf_leep.text import number, plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

USELESS = "its predictions are no better than guessing by class frequency"

EXAMPLE_HEADINGS = ("row", "label", "its probability", "most likely", "source class")

_MOST_CLASSES = 12  # in a terminal, from the best predicted and from the worst predicted each
_MOST_SOURCES = 12  # in a terminal
_LEAST_SHARE = 0.001  # of a source class that is worth a mention
_WIDTH = 26  # of a source class's name: those of ImageNet are lists of synonyms


def class_rows(classes: Sequence[ClassData], name: Callable[[str], str]) -> list[list[str]]:
    """Target classes: name, examples, prediction of the right class, ratio to its frequency, source classes.

    Each source class comes with its share, and P̂(y|z) in brackets.
    """
    return [
        [
            name(found["name"]),
            f"{found['count']:,}",
            share(math.exp(found["log_prediction"])),
            _times(math.exp(found["gain"])),
            ", ".join(
                f"{name(clipped(source['name']))} {share(source['weight'])} ({share(source['conditional'])})"
                for position, source in enumerate(found["sources"])
                if not position or source["weight"] >= _LEAST_SHARE
            ),
        ]
        for found in classes
    ]


def best_and_worst_rows(explanation: ExplanationData, most: int, name: Callable[[str], str]) -> list[list[str]]:
    """Rows of the best and the worst predicted target classes, at most so many of each, the worst last."""
    classes = explanation["classes"]
    if len(classes) <= 2 * most and not explanation["num_left_out"]:
        return class_rows(classes, name)
    between = explanation["num_left_out"] + max(len(classes) - 2 * most, 0)
    half = min(most, len(classes) // 2)
    gap = [f"… {between} more …", "", "", "", ""]
    return [*class_rows(classes[:half], name), gap, *class_rows(classes[len(classes) - half :], name)]


def source_rows(explanation: ExplanationData, most: int, name: Callable[[str], str]) -> list[list[str]]:
    """Rows of at most so many of the most used source classes: name, mass, target classes by P̂(y|z)."""
    used = explanation["source_classes"]
    rows = [
        [
            name(clipped(source["name"])),
            share(source["mass"]),
            ", ".join(
                f"{name(clipped(target['name']))} {share(target['conditional'])}" for target in source["targets"]
            ),
        ]
        for source in used[:most]
    ]
    hidden = len(used) - len(rows) + explanation["num_sources_left_out"]
    return [*rows, [f"… {hidden} that are used less …", "", ""]] if hidden else rows


def example_rows(found: Sequence[ExampleData], name: Callable[[str], str]) -> list[list[str]]:
    """Examples with the lowest predictions: row, label, its prediction, the most likely class, the source class."""
    return [
        [
            where(example),
            name(example["label"]),
            share(example["prediction"]),
            f"{name(example['likely'])} {share(example['likely_prediction'])}",
            f"{name(clipped(example['source']))} {share(example['source_probability'])}",
        ]
        for example in found
    ]


def where(example: ExampleData) -> str:
    """An example's row, and the position of a word in it."""
    row = f"{example['row']:d}"
    return row if example["word"] is None else f"{row}, word {example['word']:d}"


def clipped(name: str) -> str:
    """The beginning of a long name."""
    text = plain(name)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1].rstrip(" ,;") + "…"


def share(value: float) -> str:
    """A probability as a percentage, with fewer digits the larger it is."""
    percentage = 100 * value
    if percentage >= 10:
        return f"{percentage:.0f}\u00a0%"
    if percentage >= 0.1:
        return f"{percentage:.1f}\u00a0%"
    return f"{percentage:.1g}\u00a0%" if percentage >= 0.001 else "<\u00a00.001\u00a0%"


def why_unexplained(data: ReportData, candidate: CandidateData) -> str:
    """Why a candidate has no explanation.

    Args:
        data: the content of report.json.
        candidate: one of its candidates that has none.
    """
    if candidate["reason"]:
        return candidate["reason"]
    stopped = candidate["stopped"]
    if stopped is not None and stopped["behind"] is None:
        ran = f"{candidate['num_examples'] or 0:,} {examples(data)}"
        return f"the run was interrupted after {ran}; run the same command again to continue it"
    details = data["measure_details"]
    reasons = [
        score["reason"]
        for measure, score in candidate["scores"].items()
        if score["reason"] and details[measure]["needs"] == "probabilities"
    ]
    if reasons:
        return reasons[0]
    if candidate["num_source_classes"] is None:
        return "it has no head, so it makes no predictions that could be explained"
    return "its predictions are not probabilities"


def terminal(data: ReportData, candidate: CandidateData, everything: bool = False) -> Group:
    """A candidate's explanation for a terminal, as a rich renderable.

    Args:
        data: the content of report.json.
        candidate: one of its candidates that has an explanation.
        everything: whether to show every class that the report holds.

    Raises:
        ValueError: the candidate has no explanation.
    """
    from rich.console import Group
    from rich.text import Text

    explanation = candidate["explanation"]
    if explanation is None:
        raise ValueError(why_unexplained(data, candidate))
    parts: list[RenderableType] = [*_head(data, candidate)]
    if explanation["prior_weight"] is None:
        return Group(*parts, Text(f"There is nothing to explain: {USELESS}."))
    num_classes, num_used = len(explanation["classes"]), len(explanation["source_classes"])
    rows = best_and_worst_rows(explanation, num_classes if everything else _MOST_CLASSES, plain)
    used = source_rows(explanation, num_used if everything else _MOST_SOURCES, plain)
    parts += [
        Text(),
        Text("Target classes, best predicted first", style="bold"),
        Text(
            "right: probability of the true class, given the predictions (geometric mean). ×: that probability over "
            "the frequency of the class. predicted by: the checkpoint's own classes z that this probability comes "
            "from, each with its share, and P̂(y|z) in brackets",
            style="dim",
        ),
        _table(("class", "examples", "right", "×", "predicted by"), rows, (1, 2, 3)),
        Text(),
    ]
    if used:
        parts += [
            Text("Its own classes, most used first", style="bold"),
            Text("used: share of all predictions; predicts: the target classes with the highest P̂(y|z)", style="dim"),
            _table(("its class", "used", "predicts"), used, (1,)),
            Text(),
        ]
    parts += [
        Text("Rows with the least likely labels: they may be mislabelled, or hard", style="bold"),
        _table(EXAMPLE_HEADINGS, example_rows(explanation["examples"], plain), (2,)),
    ]
    if not everything and (num_classes > 2 * _MOST_CLASSES or num_used > _MOST_SOURCES):
        parts += [Text(), Text("--all shows every class that report.json holds.", style="dim")]
    return Group(*parts)


def _head(data: ReportData, candidate: CandidateData) -> list[RenderableType]:
    """The candidate, and what holds for all of its explanation."""
    from rich.text import Text

    names = dict(zip(map(id, data["candidates"]), short_names(data["candidates"]), strict=True))
    name = names.get(id(candidate), plain(candidate["id"]))
    rank = "" if candidate["rank"] is None else f", number {candidate['rank']} of the ranking"
    parts: list[RenderableType] = [Text(f"{name}{rank}", style="bold")]
    if calibration := candidate["calibration"]:
        parts.append(
            Text(
                f"Leave-one-out LEEP is {number(calibration['as_is'])} nats, and {number(calibration['value'])} at "
                f"the best temperature, {temperature(calibration)}. Temperatures from 0.5 to 2 change it by "
                f"{number(calibration['spread'], 2)}."
            )
        )
    if candidate["stopped"]:
        ran = f"{candidate['num_examples'] or 0:,} {examples(data)}"
        parts.append(Text(f"It was stopped early: all of this is about the {ran} that it ran."))
    return parts


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

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


def _times(ratio: float) -> str:
    return f"{ratio:.0f}\u00a0×" if ratio >= 10 else f"{ratio:.1f}\u00a0×"
