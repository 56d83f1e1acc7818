"""What report.json says about the second opinion, as typed dictionaries."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from hf_leep.report.numbers import Count, NonNegative, Share


class SecondOpinionData(TypedDict):
    """The first candidate compared with all others by the accuracy of a linear head on the features.

    Attributes:
        measure: the measure of the accuracies, which are each candidate's head_accuracy.
        verdict: contradicted if another candidate's head is more accurate beyond the half-width; agrees if the first
            candidate's head is the most accurate, or the half-width is small; else too few rows.
        first: id of the first candidate.
        best: id of the candidate whose head is the most accurate beyond the error, or else the most accurate.
        gap: by how much its accuracy exceeds that of the first candidate, in [0, 1].
        standard_error: paired standard error of the gap.
        half_width: gap that these examples allow if no head is more accurate than the first one's, over all candidates
            at once.
        num_compared: candidates whose accuracy is known.
        num_examples: examples of the accuracies: all of them, or those that every candidate of a race ran.
    """

    measure: str
    verdict: Literal["contradicted", "agrees", "too few rows"]
    first: str
    best: str
    gap: Share
    standard_error: NonNegative
    half_width: NonNegative
    num_compared: Count
    num_examples: Count
