"""What report.json says about trained heads, once ``hf-leep validate`` was run."""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from hf_leep.report.candidate_schema import EstimateData, NamedData
from hf_leep.report.numbers import Correlation, CorrelationInterval, Count, Rank, Share


class TrialData(NamedData):
    """A head that was trained on a ranked candidate.

    Attributes:
        rank: the candidate's rank.
        reason: why there is no accuracy.
        accuracy: cross-validated accuracy, from 0 to 1.
        place: place by accuracy, 1 for the best.
        behind_best: highest accuracy minus its own.
    """

    rank: Rank
    reason: str | None
    accuracy: EstimateData | None
    place: Rank | None
    behind_best: EstimateData | None


class AgreementData(TypedDict):
    """Correlations of a measure's scores with accuracy; null where undefined.

    Attributes:
        num_candidates: number of candidates.
        pearson: Pearson's r.
        pearson_interval: its confidence interval.
        pearson_p_value: its two-sided p-value.
        kendall: Kendall's tau-b.
        kendall_interval: its confidence interval.
        kendall_p_value: its two-sided p-value.
        weighted_tau: weighted tau, mean over both rankings.
        weighted_tau_by_accuracy: weighted tau, weighted by the ranks of accuracy.
    """

    num_candidates: Count
    pearson: Correlation | None
    pearson_interval: CorrelationInterval | None
    pearson_p_value: Share | None
    kendall: Correlation | None
    kendall_interval: CorrelationInterval | None
    kendall_p_value: Share | None
    weighted_tau: Correlation | None
    weighted_tau_by_accuracy: Correlation | None


class ComparedPairsData(TypedDict):
    """Pairs of candidates in different tie groups, compared by accuracy.

    Attributes:
        told_apart: number of pairs.
        confirmed: pairs that accuracy puts in the same order.
        contradicted: pairs that accuracy puts in the opposite order.
        open: pairs whose accuracies do not differ beyond their error.
    """

    told_apart: Count
    confirmed: Count
    contradicted: Count
    open: Count


class ValidationData(TypedDict):
    """How well the accuracy of trained heads follows the order.

    Attributes:
        judged_by: what the accuracy is of.
        folds: number of folds of the cross-validation.
        top: number of candidates that heads were trained on.
        asked: number asked for, if any was.
        num_ranked: number of ranked candidates.
        candidates: a head for each of the first candidates, in their order.
        agreement: measure to correlations.
        pairs: pairs compared by accuracy.
    """

    judged_by: str
    folds: Count
    top: Count
    asked: Count | None
    num_ranked: Count
    candidates: list[TrialData]
    agreement: dict[str, AgreementData]
    pairs: ComparedPairsData
