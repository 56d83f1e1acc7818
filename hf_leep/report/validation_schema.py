"""What report.json says about trained heads and fine-tuned networks, once ``hf-leep validate`` was run."""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from hf_leep.report.candidate_schema import EstimateData, NamedData
from hf_leep.report.numbers import Correlation, CorrelationInterval, Count, NonNegative, Rank, Share


class TrialData(NamedData):
    """A head that was trained on a ranked candidate.

    Attributes:
        rank: the candidate's rank.
        reason: why there is no accuracy.
        accuracy: accuracy of the head, each example left out, from 0 to 1.
        place: place by accuracy, 1 for the best.
        behind_best: highest accuracy minus its own.
    """

    rank: Rank
    reason: str | None
    accuracy: EstimateData | None
    place: Rank | None
    behind_best: EstimateData | None


class AgreementData(TypedDict):
    """Correlations of a measure's scores with accuracy, or with the order by accuracy; null where undefined.

    Scores of a measure whose lower scores are better have changed their sign, so that +1 always means the same order.

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
    """Pairs of candidates that the ranking tells apart, which share no tie letter, compared by accuracy.

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
        top: number of candidates that heads were trained on.
        asked: number asked for, if any was.
        num_ranked: number of ranked candidates.
        candidates: a head for each of the first candidates, in their order.
        agreement: measure to correlations, for measures that are not scores of the same head.
        pairs: pairs compared by accuracy.
    """

    judged_by: str
    top: Count
    asked: Count | None
    num_ranked: Count
    candidates: list[TrialData]
    agreement: dict[str, AgreementData]
    pairs: ComparedPairsData


class FineTunedData(NamedData):
    """A candidate of the shortlist that was fine-tuned.

    Attributes:
        rank: the candidate's rank before any training; null if it has none.
        second_opinion: whether it is in the shortlist as the first by the second opinion.
        reason: why it could not be trained, or of a finalist not with all seeds.
        place: place by fine-tuning, 1 for the best: finalists by accuracy, then the others by how far they came.
        round: the round that it was trained in last, from 1; null if it could not be trained.
        learning_rate: its best learning rate.
        steps: optimiser steps of each training of that round.
        choosing_accuracy: accuracy on the choosing rows in the last round that chose, from 0 to 1.
        behind_in_round: of a candidate that was left behind, the highest accuracy on the choosing rows in its last
            round minus its own; null for finalists.
        seed_accuracies: of a finalist, the accuracy on the judging rows for each seed.
        accuracy: of a finalist, their mean, with an error for the rows and for the seeds.
        behind_best: of a finalist, the highest accuracy minus its own.
        batch_size: rows of a step.
        micro_batch: rows that were run at once, if memory ran out for the whole batch; null otherwise.
        keep_probability: the dropout rate that was taken for a probability of keeping and turned round; null if none.
        seconds: seconds that its trainings took.
    """

    rank: Rank | None
    second_opinion: bool
    reason: str | None
    place: Rank | None
    round: Rank | None
    learning_rate: NonNegative | None
    steps: Count | None
    choosing_accuracy: Share | None
    behind_in_round: EstimateData | None
    seed_accuracies: list[Share]
    accuracy: EstimateData | None
    behind_best: EstimateData | None
    batch_size: Count
    micro_batch: Count | None
    keep_probability: Share | None
    seconds: NonNegative


class FineTuningData(TypedDict):
    """What fine-tuning a shortlist of the candidates found out.

    Attributes:
        judged_by: what the accuracy is of.
        top: number of candidates from the first on that were taken.
        num_ranked: number of ranked candidates.
        budget: seconds for all training; null where the number of steps was given.
        steps: steps of each finalist, where they were given.
        flip: whether images were flipped at random.
        num_train: examples that every network was trained on.
        num_choose: examples that chose rates and candidates; finalists were trained on them as well.
        num_judge: examples that finalists were judged on, and that chose nothing.
        device: where it ran.
        seconds: seconds that all trainings took, those of interrupted runs included.
        candidates: the shortlist, in the order of the ranking.
        agreement: measure to correlations with the order by fine-tuning.
    """

    judged_by: str
    top: Count
    num_ranked: Count
    budget: NonNegative | None
    steps: Count | None
    flip: bool
    num_train: Count
    num_choose: Count
    num_judge: Count
    device: str
    seconds: NonNegative
    candidates: list[FineTunedData]
    agreement: dict[str, AgreementData]
