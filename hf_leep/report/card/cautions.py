"""What to know before choosing a candidate, and why some have no rank: the same in a terminal, a notebook and HTML."""

from __future__ import annotations

from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.card.order import baseline_note, consensus_note
from hf_leep.report.card.second_opinion import head_note
from hf_leep.report.card.wording import named, notes, warnings
from hf_leep.report.schema import ReportData
from hf_leep.text import plain


def cautions(data: ReportData) -> list[str]:
    """What to know before trusting the order or choosing a candidate.

    Args:
        data: the content of report.json.
    """
    found = [*data["target"]["warnings"], consensus_note(data, str), baseline_note(data)]
    found += [f"{text} ({who})" for by_text in (warnings(data), notes(data)) for text, who in by_text.items()]
    return [plain(note) for note in found if note]


def left_out(data: ReportData) -> list[tuple[str, str]]:
    """Each candidate without a rank, and why.

    Args:
        data: the content of report.json.
    """
    return [(name, reason(candidate)) for name, candidate in named(data) if candidate["rank"] is None]


def reason(candidate: CandidateData) -> str:
    """Why a candidate has no rank.

    Args:
        candidate: a candidate of a report.
    """
    return plain((candidate["reason"] or "no score on this measure") + head_note(candidate))
