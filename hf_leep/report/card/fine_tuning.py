"""What fine-tuning a shortlist found out: a table and sentences, the same on the card and in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hf_leep.report.card.wording import examples, level, percent_with_error, short_names, title
from hf_leep.report.schema import ReportData
from hf_leep.report.validation_schema import FineTunedData, FineTuningData
from hf_leep.text import counted, duration, number, plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

HEADINGS = (
    "#",
    "candidate",
    "accuracy (%)",
    "behind (points)",
    "# before",
    "round",
    "when choosing (%)",
    "learning rate",
    "steps",
    "time",
)
AGREEMENT_HEADINGS = ("measure", "n", "weighted τ", "Kendall's τ")
_IN_TERMINAL = HEADINGS[:7]
NUM_SHORT = 4  # the first columns, which are enough for a first look and fit a phone
_LEAST = 3  # candidates that a correlation is shown for
_FEW = 5  # candidates below which a correlation says little


def lead(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """Which candidate is the best once fine-tuned, and which were left behind; nothing without fine-tuning.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    if "fine_tuning" not in data:
        return []
    tried = _named(data, name)
    finalists = sorted((one for one in tried if one[1]["accuracy"]), key=lambda one: one[1]["place"] or 0)
    if not finalists:
        return ["None of the shortlist could be fine-tuned."]
    close = [one for one in finalists if _close(one[1])]
    rest = [one for one in tried if one[1]["place"] is not None and one not in close]
    beaten = [who for who, one in rest if not _close(one) and one["accuracy"]]
    stopped = [(who, one) for who, one in rest if not _close(one) and not one["accuracy"]]
    undecided = [(who, one) for who, one in rest if _close(one)]
    said = []
    tail = ""
    if beaten:
        winners = "both beat" if len(close) == 2 else "all beat" if len(close) > 2 else "it beats"
        tail = f"; {winners} {_listed(beaten)}"
    if len(close) == 1:
        who, one = close[0]
        accuracy = f"{percent_with_error(one['accuracy'])} %"
        if len(tried) == 1:
            said.append(f"After fine-tuning, the accuracy of {who} is {accuracy}. No other candidate was tried.")
        else:
            said.append(f"After fine-tuning, {who} is the most accurate ({accuracy}){tail}.")
    else:
        values = _listed([f"{who} ({percent_with_error(one['accuracy'])} %)" for who, one in close])
        said.append(f"After fine-tuning, {values} cannot be told apart{tail}.")
    for some, how, why in (
        (stopped, "clearly behind", ""),
        (undecided, "stopped", ", by a gap smaller than its error"),
    ):
        if some:
            who, was = _listed([who for who, _ in some]), "was" if len(some) == 1 else "were"
            said.append(f"{who} {was} {how} {_when([one for _, one in some])}{why}.")
    return said


def advice(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """Which candidate to take, by the accuracy after fine-tuning; nothing where none has one, or one alone was tried.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    tried = _named(data, name) if "fine_tuning" in data else []
    finalists = [one for one in tried if one[1]["accuracy"] and one[1]["place"]]
    if not finalists or len(tried) < 2:
        return []
    first = min(one["place"] or 0 for _, one in finalists)
    best = [who for who, one in finalists if one["place"] == first]
    if sum(_close(one) for _, one in finalists) < 2:
        return [f"So take {best[0]}."]
    which = "its accuracy is" if len(best) == 1 else "their accuracies are equal, and"
    return [f"If you want only one of them, take {' or '.join(best)}: {which} the highest."]


def remarks(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """What the order before any training lost, and what to keep in mind: what `lead` does not say.

    Args:
        data: the content of report.json; it has a ``fine_tuning``.
        name: how to write a candidate's name.
    """
    found, tried = data["fine_tuning"], _named(data, name)
    said = []
    first = next((one for one in tried if one[1]["rank"] == 1), None)
    if first is not None and first[1]["place"] not in (None, 1):
        behind = first[1]["behind_best"] or first[1]["behind_in_round"]
        where = "" if first[1]["behind_best"] else " on the choosing rows of its last round"
        said.append(
            f"{first[0]}, the first by {title(data, data['sort_by'])}, is number {first[1]['place']}, "
            f"{percent_with_error(behind)} points behind the best{where}"
            f"{', which may be chance' if _close(first[1]) else ''}."
        )
    compared = max((one["num_candidates"] for one in found["agreement"].values()), default=0)
    if _LEAST <= compared < _FEW:
        said.append(f"A correlation of {compared} candidates says little.")
    return said


def method(data: ReportData) -> str:
    """What was done, in a sentence or two."""
    found, what = data["fine_tuning"], examples(data)
    which, seeds = _which(found), max(len(one["seed_accuracies"]) for one in found["candidates"])
    limit = f"{counted(found['steps'], 'step')} for each finalist" if found["steps"] else ""
    if found["budget"]:
        limit = f"a budget of {duration(found['budget'])}"
    return (
        f"All weights of {which} were fine-tuned on {found['num_train']:,} {what}, with {limit}. "
        f"{found['num_choose']:,} other {what} were used to choose learning rates and finalists. Each finalist was "
        f"then trained on both parts with {seeds} {'seed' if seeds == 1 else 'seeds'}, and tested on "
        f"{found['num_judge']:,} {what} that were used for neither. "
        f"± is the half-width of a {level(data)} interval that covers the sampling of {what} and seeds. "
        f"It took {duration(found['seconds'])} on {plain(found['device'])}."
    )


def rows(data: ReportData, name: Callable[[str], str]) -> list[list[str]]:
    """A row for each candidate that could be trained, best first; its cells are those of `HEADINGS`."""
    placed = sorted((one for one in _named(data, name) if one[1]["place"]), key=lambda one: one[1]["place"] or 0)
    return [
        [
            str(one["place"]),
            who,
            percent_with_error(one["accuracy"]),
            "–" if one["place"] == 1 else percent_with_error(one["behind_best"]),
            f"{one['rank'] or '–'}{' (linear head)' if one['second_opinion'] else ''}",
            f"{one['round']} of 3",
            "–" if one["choosing_accuracy"] is None else number(100 * one["choosing_accuracy"], 1),
            "–" if one["learning_rate"] is None else f"{one['learning_rate']:g}",
            "–" if one["steps"] is None else str(one["steps"]),
            duration(one["seconds"]),
        ]
        for who, one in placed
    ]


def notes(data: ReportData, name: Callable[[str], str]) -> list[tuple[str, str]]:
    """What is particular about the training of a candidate, or why it has none: name and text."""
    said = []
    for who, one in _named(data, name):
        if one["reason"]:
            said.append((who, one["reason"] if one["place"] is None else f"not with every seed: {one['reason']}"))
        if one["micro_batch"] is not None:
            said.append(
                (
                    who,
                    f"memory ran out for {one['batch_size']} rows at once: gradients were added up over "
                    f"{one['micro_batch']} rows at a time, which is not the same for batch normalisation",
                )
            )
        if one["keep_probability"] is not None:
            said.append(
                (
                    who,
                    f"its dropout rate of {one['keep_probability']:g} was taken for the probability of keeping a "
                    f"feature, and {1 - one['keep_probability']:g} was used",
                )
            )
    return said


def agreement_rows(data: ReportData) -> list[list[str]]:
    """A row for each measure: how its order agrees with that of fine-tuning; cells as in `AGREEMENT_HEADINGS`.

    There are none where no measure has enough candidates for a correlation.
    """
    if all(found["num_candidates"] < _LEAST for found in data["fine_tuning"]["agreement"].values()):
        return []
    return [
        [
            title(data, measure),
            str(found["num_candidates"]),
            number(found["weighted_tau"] if found["num_candidates"] >= _LEAST else None, 2),
            number(found["kendall"] if found["num_candidates"] >= _LEAST else None, 2),
        ]
        for measure, found in data["fine_tuning"]["agreement"].items()
    ]


def terminal(data: ReportData, width: int | None = None) -> Group:
    """The table, the notes, the agreement and the sentences for a terminal, as a rich renderable.

    Args:
        data: the content of report.json; it has a ``fine_tuning``.
        width: how many characters a line has; None for as many as the tables take.
    """
    from rich.console import Group
    from rich.text import Text

    from hf_leep.report.card.columns import table
    from hf_leep.report.card.validation import LEAST_WIDTHS, by_column

    shown = [HEADINGS.index(heading) for heading in _IN_TERMINAL]
    cells = [[row[k] for k in shown] for row in rows(data, str)]
    parts: list[RenderableType] = [Text(method(data)), Text()]
    if cells:
        parts.append(table(by_column(_IN_TERMINAL, cells), width, LEAST_WIDTHS))
    marks = {one: "✗" for one, entry in _named(data, str) if entry["place"] is None}
    parts += [
        Text.assemble(
            (f"{marks.get(who, '!')} {who}", "bold red" if who in marks else "bold yellow"), f"  {plain(why)}"
        )
        for who, why in notes(data, str)
    ]
    if agreement := agreement_rows(data):
        parts += [Text(), table(by_column(AGREEMENT_HEADINGS, agreement), width, LEAST_WIDTHS)]
    said = [*lead(data, str), *advice(data, str), *remarks(data, str)]
    return Group(*parts, Text(), *(Text(plain(sentence), style="bold") for sentence in said))


def _named(data: ReportData, name: Callable[[str], str]) -> list[tuple[str, FineTunedData]]:
    """Each candidate of the shortlist with its name in the report."""
    found = data["fine_tuning"]["candidates"]
    names = {
        (c["id"], c["revision"]): name(short)
        for c, short in zip(data["candidates"], short_names(data["candidates"]), strict=True)
    }
    return [(names.get((one["id"], one["revision"]), name(one["id"])), one) for one in found]


def _close(one: FineTunedData) -> bool:
    """Whether the gap to the best, of the last round in which a candidate took part, is within its error."""
    gap = one["behind_best"] or one["behind_in_round"]
    return gap is not None and gap["value"] <= (gap["half_width"] or 0.0)


def _when(stopped: Sequence[FineTunedData]) -> str:
    """When some candidates were stopped."""
    if len({(one["round"], one["steps"]) for one in stopped}) > 1 or not stopped[0]["steps"]:
        return "in an earlier round"
    return f"in round {stopped[0]['round']}, after {counted(stopped[0]['steps'], 'step')}"


def _which(found: FineTuningData) -> str:
    count = len(found["candidates"])
    joined = any(one["second_opinion"] for one in found["candidates"])
    number_first = count - joined
    which = (
        "the first candidate" if number_first == 1 else f"the first {number_first} of {found['num_ranked']} candidates"
    )
    if number_first == found["num_ranked"]:
        which = {1: "the only candidate", 2: "both candidates"}.get(number_first, f"all {number_first} candidates")
        which = f"{which} with a rank" if joined else which
    return f"{which}{' and the one with the most accurate linear head' if joined else ''}"


def _listed(names: Sequence[str]) -> str:
    """Names with commas and "and"."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
