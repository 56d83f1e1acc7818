"""The parts of report.html below the ranking: fine-tuning, trained heads, the race, and whether the order holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hf_leep.report.card import fine_tuning, order, validation
from hf_leep.report.card.race import gap_sentence, race_rows
from hf_leep.report.card.wording import examples, ranked, title
from hf_leep.report.schema import ReportData
from hf_leep.text import plain


@dataclass(frozen=True)
class Table:
    """A table of a section.

    Attributes:
        caption: what it shows, for screen readers.
        headings: headings of its columns.
        rows: its cells, row by row.
        texts: positions of the columns that hold text; the others hold numbers.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Collection[int] = (0,)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its id in the page.
        title: its heading.
        sentences: its text, a paragraph each.
        tables: its tables.
        remarks: what is to be known about single candidates: name and text.
    """

    anchor: str
    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    remarks: Sequence[tuple[str, str]] = ()


def sections(data: ReportData) -> list[Section]:
    """The sections that a report has something for, most important first; none where nothing is ranked.

    Args:
        data: the content of report.json.
    """
    if not ranked(data):
        return []
    made = [
        *([_fine_tuning(data)] if "fine_tuning" in data else []),
        *([_validation(data)] if "validation" in data else []),
        *([_race(data)] if race_rows(data, str) else []),
        *_order_holds(data),
    ]
    return [_plain(section) for section in made]


def _fine_tuning(data: ReportData) -> Section:
    agreement = fine_tuning.agreement_rows(data)
    name = "How each measure agrees with the order by fine-tuning"
    return Section(
        "fine-tuned",
        "After fine-tuning",
        [fine_tuning.method(data), " ".join(fine_tuning.remarks(data, str))],  # the rest is in the verdict
        [
            Table(
                "The shortlist by accuracy after fine-tuning", fine_tuning.HEADINGS, fine_tuning.rows(data, str), (1,)
            ),
            Table(name, fine_tuning.AGREEMENT_HEADINGS, agreement),
        ],
        fine_tuning.notes(data, str),
    )


def _validation(data: ReportData) -> Section:
    return Section(
        "trained-heads",
        "Does accuracy follow the order?",
        [" ".join(validation.sentences(data, str)), validation.method(data)],
        [
            Table("Accuracy of trained heads", validation.TRIAL_HEADINGS, validation.trial_rows(data, str), (1, 2)),
            Table(
                "How each measure agrees with accuracy", validation.AGREEMENT_HEADINGS, validation.agreement_rows(data)
            ),
        ],
        validation.failures(data, str),
    )


def _race(data: ReportData) -> Section:
    said = (
        "The scores of a candidate that was stopped are of the "
        f"{examples(data)} that it ran, so do not compare them with the scores of candidates that ran more."
    )
    headings = ("candidate", f"{examples(data)} run", "why it stopped")
    return Section(
        "race",
        "The race",
        [gap_sentence(data) or "", said],
        [Table("How far each candidate came in the race", headings, race_rows(data, str), (0, 2))],
    )


def _order_holds(data: ReportData) -> list[Section]:
    """Other measures, calibration and size, where there is something to compare."""
    consensus, pairs = order.consensus(data, str), order.agreement_table(data)
    bands, calibrated = order.band_rows(data, str), order.calibration_rows(data, str)
    by_size = [order.size_sentence(data) or "", order.baseline_sentence(data) or ""]
    if not (consensus or pairs or bands or len(calibrated) > 1 or any(by_size)):
        return []
    said = [f"The consensus of {consensus['measures']}: {consensus['order']}." if consensus else ""]
    said += [order.calibration_sentence(data) if len(calibrated) > 1 else "", *by_size]
    headings = ("parameters", "candidates", "best", "#", title(data, data["sort_by"]))
    tables = [Table("Kendall's τ between the measures", pairs[0], pairs[1:])] if pairs else []
    tables.append(Table("The best candidate of each size", headings, bands, (0, 2)))
    return [Section("order", "Does the order hold? Other measures, calibration, size", said, tables)]


def _plain(section: Section) -> Section:
    """A section without empty parts, and whose text has no control characters, whatever the names are."""
    return Section(
        section.anchor,
        section.title,
        [plain(sentence) for sentence in section.sentences if sentence],
        [
            Table(plain(one.caption), [*map(plain, one.headings)], [[*map(plain, row)] for row in one.rows], one.texts)
            for one in section.tables
            if one.rows
        ],
        [(plain(name), plain(text)) for name, text in section.remarks],
    )
