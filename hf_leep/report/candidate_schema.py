"""What report.json says about one candidate: a type for each of its objects."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from annotated_types import MinLen
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from hf_leep.report.numbers import (
    AtMostOne,
    Count,
    Interval,
    Logarithm,
    NonNegative,
    Number,
    Position,
    Positive,
    Rank,
    RankInterval,
    Share,
)


class ScoreData(TypedDict):
    """A candidate's score on one measure.

    Attributes:
        value: the score; null if it could not be computed.
        standard_error: its standard error, if known.
        half_width: half-width of its confidence interval, if known; that of the longer side, where it extends further
            to one side.
        interval: lowest and highest value of its confidence interval, if known.
        shuffled: score on shuffled labels, for measures that are fitted to the examples they score.
        warnings: what to know before trusting the score.
        reason: why there is no value.
    """

    value: Number | None
    standard_error: NonNegative | None
    half_width: NonNegative | None
    interval: Interval | None
    shuffled: Number | None
    warnings: list[str]
    reason: str | None


class EstimateData(TypedDict):
    """An estimate and its sampling error.

    Attributes:
        value: the estimate.
        standard_error: its standard error, if known.
        half_width: half-width of its confidence interval, if known.
    """

    value: Number
    standard_error: NonNegative | None
    half_width: NonNegative | None


class CalibrationData(TypedDict):
    """How much a candidate's leave-one-out LEEP depends on how confident its predictions are.

    Attributes:
        temperature: the temperature with the highest score.
        value: the score at that temperature, of all examples, in nats.
        as_is: the score at temperature 1, in nats.
        spread: highest minus lowest score at temperatures from 0.5 to 2, in nats.
        curve: pairs of a temperature and its score.
        num_examples: size of the subsample that the temperature was chosen on.
    """

    temperature: Positive
    value: Number
    as_is: Number
    spread: NonNegative
    curve: Annotated[list[Interval], MinLen(1)]
    num_examples: Count


class SourceData(TypedDict):
    """A source class's part in the prediction of a target class.

    Attributes:
        name: the source class.
        weight: its share of the mean prediction of the target class.
        conditional: P̂(y|z), the share of the source class's mass that is of the target class.
        share: P̂(z|y), the share of the target class's mass that is of the source class.
    """

    name: str
    weight: Share
    conditional: Share
    share: Share


class ClassData(TypedDict):
    """How well a target class is predicted.

    Attributes:
        name: the target class.
        count: number of its examples.
        log_prediction: mean log of the leave-one-out prediction of the right class, in nats.
        gain: how far that is above the log of the class frequency, in nats.
        sources: the source classes that predict it best.
    """

    name: str
    count: Count
    log_prediction: Logarithm
    gain: Logarithm
    sources: list[SourceData]


class RelatedClassData(TypedDict):
    """A target class that a source class predicts.

    Attributes:
        name: the target class.
        conditional: P̂(y|z), the share of the source class's mass that is of the target class.
    """

    name: str
    conditional: Share


class SourceClassData(TypedDict):
    """A source class that the predictions use.

    Attributes:
        name: the source class.
        mass: its share of all predictions.
        targets: the target classes with the highest P̂(y|z).
    """

    name: str
    mass: Share
    targets: list[RelatedClassData]


class ExampleData(TypedDict):
    """An example whose label is unexpected.

    Attributes:
        row: row id in the split, from 0.
        word: position of the word in the row, from 0, where the examples are words.
        label: its label.
        prediction: leave-one-out prediction of that label.
        likely: the class with the highest prediction.
        likely_prediction: that prediction.
        source: the source class with the highest probability.
        source_probability: that probability.
    """

    row: Position
    word: Position | None
    label: str
    prediction: Share
    likely: str
    likely_prediction: Share
    source: str
    source_probability: Share


class ExplanationData(TypedDict):
    """Why a candidate scores as it does.

    Attributes:
        prior_weight: weight of the class frequencies in the predictions; null if the predictions add nothing to them.
        classes: target classes, best predicted first.
        num_left_out: target classes in the middle of that order that are not listed.
        source_classes: source classes, most used first.
        num_sources_left_out: source classes that are used less and not listed.
        examples: examples whose label is least expected, first.
    """

    prior_weight: NonNegative | None
    classes: list[ClassData]
    num_left_out: Count
    source_classes: list[SourceClassData]
    num_sources_left_out: Count
    examples: list[ExampleData]


class RunData(TypedDict):
    """How a candidate's forward pass was run.

    Attributes:
        processor: hash of the processor's configuration.
        processor_backend: library that processed images, if any.
        dtype: number type of the weights.
        device: where the model ran.
        batch_size: examples per batch.
        seconds: wall time.
        peak_memory_bytes: peak memory.
        max_length: tokens beyond which a text was cut, if there is a limit.
        num_truncated: texts or sounds that were longer than the limit.
        num_padded: sounds that were shorter than the model needs.
        pooling: how the features of a model without a head were pooled.
        num_processes: processes that shared the rows.
        max_seconds: seconds beyond which a sound was cut, if there is a limit.
        from_store: whether the pass was run by an earlier command.
    """

    processor: str
    processor_backend: str | None
    dtype: str
    device: str
    batch_size: Count
    seconds: NonNegative
    peak_memory_bytes: Count
    max_length: Count | None
    num_truncated: Count
    num_padded: Count
    pooling: str | None
    num_processes: Count
    max_seconds: NonNegative | None
    from_store: bool


class StopData(TypedDict):
    """Why a candidate did not run all examples.

    Attributes:
        look: number of the look after which it stopped, from 0.
        behind: id of the candidate that was ahead of it; null if the run was interrupted.
        gap: by how much it was behind.
        margin: half-width of the gap's interval at the race's level.
    """

    look: Position
    behind: str | None
    gap: Number | None
    margin: NonNegative | None


class VotesData(TypedDict):
    """A candidate's place in the consensus of several measures.

    Attributes:
        rank: 1 for the best; equal candidates share a rank.
        won: pairs in which more measures put it first.
        lost: pairs in which more measures put the other candidate first.
    """

    rank: Rank
    won: Count
    lost: Count


class NamedData(TypedDict):
    """What a candidate is named by.

    Attributes:
        id: repo id, folder, or name of a model in memory.
        revision: commit on the Hub, or hash of a local folder's content.
    """

    id: str
    revision: str | None


class CommonData(NamedData):
    """What candidates with and without a rank have in common.

    Attributes:
        status: ``failed`` if it has no score at all.
        reason: why it failed, or has no rank.
        num_source_classes: outputs of its head.
        num_parameters: number of parameters.
        downloads: downloads in the last month.
        stated_accuracy: accuracy that its card states for its own task; not checked.
        stated_on: the data set that the card says this accuracy was measured on.
        effective_source_classes: how many source classes the predictions use.
        num_features: width of its features.
        headless: whether it only lacks a trained classification head.
        task: Hub task that it was loaded for.
        license: licence on its card.
        gated: whether users must accept terms first.
        private: whether its repository is private.
        trained_on: data sets that it was trained on, according to its card.
        trained_on_target: whether the target is among them.
        untrained: whether its weights, apart from the head, are those that it was initialised with; it is ranked
            after all candidates that were trained.
        notes: what to know before choosing it.
        scores: measure to score.
        calibration: effect of its confidence on leave-one-out LEEP.
        explanation: why it scores as it does.
        entropy_explained: share of the label entropy that its predictions explain; below 0 if they are worse than the
            class frequencies alone.
        check: score on the measure that checks the order.
        run: how its forward pass was run.
        stopped: why it did not run all examples.
        head_accuracy: leave-one-out accuracy of a linear head on its features, if it has any.
        consensus: its place in the consensus of the measures.
    """

    status: Literal["ok", "failed"]
    reason: str | None
    num_source_classes: Count | None
    num_parameters: Count | None
    downloads: Count | None
    stated_accuracy: Share | None
    stated_on: str | None
    effective_source_classes: NonNegative | None
    num_features: Count | None
    headless: bool
    task: str | None
    license: str | None
    gated: bool
    private: bool
    trained_on: list[str]
    trained_on_target: bool
    untrained: bool
    notes: list[str]
    scores: dict[str, ScoreData]
    calibration: CalibrationData | None
    explanation: ExplanationData | None
    entropy_explained: AtMostOne | None
    check: ScoreData | None
    run: RunData | None
    stopped: StopData | None
    head_accuracy: ScoreData | None
    consensus: VotesData | None


class RankedData(CommonData):
    """A candidate with a rank.

    Attributes:
        rank: 1 for the best.
        tie_group: 1 for the best group; null where the error of the score is not known. A group is a chain: candidates
            of different groups always differ, but so may two of one group, if others between them link them. Whether
            two differ is in tie_letters.
        tie_letters: a letter for each set of candidates that are not told apart, such as ab: two candidates share a
            letter exactly where they are not told apart. After z come a2 to z2, then a3 and so on. null where the
            error of the score is not known, and so nothing about its differences.
        rank_interval: lowest and highest rank that the examples leave open, for all candidates at once.
        probability_best: probability that its true score is the highest among the candidates whose error is known,
            given these examples; null where its own error is not known, or it did not run all examples of a race.
        same_as: rank of the first candidate with the same scores on every example, with which it shares
            ``probability_best``; null if there is none before it.
        behind_best: score of the best minus its own; below 0 where a candidate with a higher score was put out of a
            race, or was never trained.
        interval: confidence interval of the score that makes the order.
        num_examples: examples that its scores are of.
    """

    rank: Rank
    tie_group: Rank | None
    tie_letters: str | None
    rank_interval: RankInterval | None
    probability_best: Share | None
    same_as: Rank | None
    behind_best: EstimateData
    interval: Interval | None
    num_examples: Count


class UnrankedData(CommonData):
    """A candidate without a rank.

    Attributes:
        rank: null.
        tie_group: null.
        tie_letters: null.
        rank_interval: null.
        probability_best: null.
        same_as: null.
        behind_best: null.
        interval: null.
        num_examples: examples that its scores are of, if it has any.
    """

    rank: None
    tie_group: None
    tie_letters: None
    rank_interval: None
    probability_best: None
    same_as: None
    behind_best: None
    interval: None
    num_examples: Count | None


CandidateData: TypeAlias = RankedData | UnrankedData
