"""What the tie letters of a report say: which candidates are told apart."""

from __future__ import annotations

import re

from hf_leep.report.candidate_schema import CandidateData

WRITTEN = re.compile(r"(?:[a-z](?:[2-9]|[1-9][0-9]+)?)+")  # the letters of a candidate, one after the other
_LETTER = re.compile(r"([a-z])([0-9]*)")
_LONGEST_RUN = 3  # letters in a row that are written one by one
_MOST_PARTS = 4


def told_apart(one: CandidateData, other: CandidateData) -> bool:
    """Whether the examples tell two candidates apart; not where the error of one is not known."""
    if one["tie_letters"] is None or other["tie_letters"] is None:
        return False
    return not set(_LETTER.findall(one["tie_letters"])) & set(_LETTER.findall(other["tie_letters"]))


def in_short(candidate: CandidateData) -> str:
    """A candidate's letters for a table: more than three in a row as a range, such as a–e; a dash for null."""
    if candidate["tie_letters"] is None:
        return "–"
    runs: list[list[str]] = []
    last = None
    for letter, number in _LETTER.findall(candidate["tie_letters"]):
        place = 26 * int(number or 1) + ord(letter)
        if last is not None and place == last + 1:
            runs[-1].append(letter + number)
        else:
            runs.append([letter + number])
        last = place
    parts = ["".join(run) if len(run) <= _LONGEST_RUN else f"{run[0]}–{run[-1]}" for run in runs]
    if all(len(run) <= _LONGEST_RUN for run in runs) and len(parts) <= _MOST_PARTS:
        return "".join(parts)
    return ",".join(parts[:_MOST_PARTS]) + (",…" if len(parts) > _MOST_PARTS else "")
