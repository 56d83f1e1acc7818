"""What a run will do, for a terminal, before it starts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from hf_leep.report.candidate_schema import NamedData
from hf_leep.report.card.columns import NAMES, fitting, table
from hf_leep.report.card.wording import short_names
from hf_leep.text import classes, count, plain, size

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text


_HEADINGS = (NAMES, "revision", "source\nclasses", "para-\nmeters", "download", "licence")
_EXPENDABLE = ("revision", "source\nclasses", "para-\nmeters")  # columns that are left out, in this order, to fit
_WIDTHS = {NAMES: 20, "licence": 20}  # least number of characters in a short line


class PlannedTargetData(TypedDict):
    """The labelled examples of a plan; fields as in `hf_leep.report.schema.TargetData`."""

    dataset: str
    config: str | None
    split: str | None
    revision: str | None
    num_examples: int
    num_classes: int


class PlannedData(NamedData):
    """A candidate of a plan.

    Attributes:
        action: ``run``, ``stored`` if its pass is in the store, or ``skip``.
        reason: why it is skipped.
        num_source_classes: outputs of its head, if known.
        num_parameters: number of parameters, if known.
        license: licence on its card.
        gated: whether users must accept terms first.
        headless: whether it is skipped only because it has no trained classification head.
        for_features: whether it is run although it is skipped, since the second opinion needs only its features.
        download_bytes: bytes that have to be downloaded for it.
    """

    action: Literal["run", "stored", "skip"]
    reason: str | None
    num_source_classes: int | None
    num_parameters: int | None
    license: str | None
    gated: bool
    headless: bool
    for_features: bool
    download_bytes: int


class PlanData(TypedDict):
    """A plan as plain data.

    Attributes:
        target: the labelled examples.
        candidates: the candidates, in the order in which they were named.
        download_bytes: bytes that have to be downloaded in all.
    """

    target: PlannedTargetData
    candidates: list[PlannedData]
    download_bytes: int


def planned(data: PlanData, width: int | None = None) -> Group:
    """A plan as a rich renderable: each candidate, what it costs, or why it is skipped, and the whole download.

    Args:
        data: a plan's data.
        width: how many characters a line has; if the table needs more, its least important columns are left out, and
            names are cut. None for as many as it takes.
    """
    from rich.console import Group
    from rich.text import Text

    candidates = data["candidates"]
    names = short_names(candidates)
    skipped, rows, styles = [], [], []
    for name, candidate in zip(names, candidates, strict=True):
        if candidate["action"] == "skip":
            line = Text.assemble((f"✗ {name}", "bold red"), f"  {plain(candidate['reason'])}")
            if candidate["for_features"]:
                bytes_needed = candidate["download_bytes"]
                cost = f" ({size(bytes_needed)} to download)" if bytes_needed else ""
                line.append(f"; a linear head on its features is compared with the others{cost}")
            skipped.append(line)
            continue
        stored = candidate["action"] == "stored"
        cells = [
            name,
            (candidate["revision"] or "–").removeprefix("sha256:")[:7],
            classes(candidate["num_source_classes"]),
            count(candidate["num_parameters"]),
            "in the store" if stored else size(candidate["download_bytes"]) if candidate["download_bytes"] else "–",
            plain(candidate["license"] or "–")[:30] + (" (gated)" if candidate["gated"] else ""),
        ]
        rows.append(cells)
        styles.append("cyan" if stored else "")
    columns = [(heading, [row[i] for row in rows]) for i, heading in enumerate(_HEADINGS)]
    columns = fitting(columns, _EXPENDABLE, width, _WIDTHS)
    numbers = Counter[str](candidate["action"] for candidate in candidates)
    for_features = sum(candidate["for_features"] for candidate in candidates)
    counts = {
        "to run": numbers["run"],
        "in the store": numbers["stored"],
        "to run for features alone": for_features,
        "skipped": numbers["skip"] - for_features,
    }
    total = ", ".join(f"{number} {words}" for words, number in counts.items() if number)
    parts: list[RenderableType] = [table(columns, width, _WIDTHS, styles)] if rows else []
    summary = Text(f"{total}; to download: {size(data['download_bytes'])}", style="bold")
    advice = [] if rows else _headless_advice(candidates)
    return Group(*parts, *skipped, Text(), summary, *advice)


def _headless_advice(candidates: list[PlannedData]) -> list[Text]:
    """How to rank the candidates that only lack a head, where none can be ranked as asked; empty if none are so."""
    from rich.text import Text

    missing = sum(candidate["headless"] for candidate in candidates)
    if not missing:
        return []
    subject, them = ("1 candidate has", "it") if missing == 1 else (f"{missing} candidates have", "them")
    return [Text(f"{subject} no trained classification head. To rank {them} by features, add --sort-by auto.")]
