"""What a candidate's predictions mean for the target: the records of `hf_leep.explain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """How much a candidate's leave-one-out LEEP depends on the confidence of its predictions.

    Attributes:
        temperature: the τ at which the renormalised θ^(1/τ) scores highest; above 1 the predictions are overconfident.
        value: leave-one-out LEEP at that temperature, on all examples, in nats.
        as_is: leave-one-out LEEP at temperature 1.
        spread: highest minus lowest score for τ between 1/2 and 2, on the subsample, in nats.
        curve: pairs of τ and the score at it, on the subsample, in the order of τ.
        num_examples: size of the seeded subsample on which the temperature was found.
    """

    temperature: float
    value: float
    as_is: float
    spread: float
    curve: tuple[tuple[float, float], ...]
    num_examples: int


@dataclass(frozen=True)
class SourceContribution:
    """How much one source class contributes to predicting one target class.

    Attributes:
        index: output of the head.
        weight: its share of the mean prediction of the target class over the examples of that class, which is
            Σ_z P̂(z|y) P̂(y|z).
        target_given_source: P̂(y|z), the share of the source class's mass that comes from examples of the target class.
        source_given_target: P̂(z|y), the mean probability of the source class for examples of the target class.
    """

    index: int
    weight: float
    target_given_source: float
    source_given_target: float


@dataclass(frozen=True)
class ClassQuality:
    """How well a candidate predicts a target class.

    Attributes:
        index: the target class.
        count: number of its examples.
        log_prediction: mean log of the leave-one-out prediction of their label, in nats.
        gain: that minus the log of the class's leave-one-out frequency, in nats: what the candidate adds to the prior.
        sources: the source classes that contribute most.
    """

    index: int
    count: int
    log_prediction: float
    gain: float
    sources: tuple[SourceContribution, ...]


@dataclass(frozen=True)
class RelatedClass:
    """A target class whose examples a source class is predicted for.

    Attributes:
        index: the target class.
        target_given_source: P̂(y|z), the share of the source class's mass that comes from examples of the target class.
    """

    index: int
    target_given_source: float


@dataclass(frozen=True)
class SourceClass:
    """A source class that the candidate predicts, and the target classes that it goes with.

    Attributes:
        index: output of the head.
        mass: its share of all predictions, P̂(z) = Σ_i θ_iz / n.
        targets: the target classes with the highest P̂(y|z), highest first.
    """

    index: int
    mass: float
    targets: tuple[RelatedClass, ...]


@dataclass(frozen=True)
class DoubtfulExample:
    """An example whose label is not what the other examples predict: it is mislabelled, or hard.

    Attributes:
        index: position of the example.
        label_probability: leave-one-out prediction of its label.
        predicted: the target class with the highest prediction.
        predicted_probability: the prediction of that class.
        source: the source class with the highest probability.
        source_probability: the probability of that source class.
    """

    index: int
    label_probability: float
    predicted: int
    predicted_probability: float
    source: int
    source_probability: float


@dataclass(frozen=True)
class Explanation:
    """Why a candidate scores as it does.

    Attributes:
        prior_weight: weight of the class prior in the leave-one-out predictions; None where the prior alone predicts
            better than the candidate, so that there is nothing to explain.
        classes: target classes, best predicted first, by their gain.
        num_classes_left_out: target classes in the middle of that order that are left out.
        examples: the examples whose labels have the lowest predictions, lowest first.
        source_classes: the source classes with the most mass, most first.
        num_sources_left_out: source classes with less mass that are left out; those without any are not counted.
    """

    prior_weight: float | None
    classes: tuple[ClassQuality, ...]
    num_classes_left_out: int
    examples: tuple[DoubtfulExample, ...]
    source_classes: tuple[SourceClass, ...]
    num_sources_left_out: int


@dataclass(frozen=True)
class Interpretation:
    """What a candidate's predictions mean for the target; both parts are None without a usable head."""

    calibration: Calibration | None = None
    explanation: Explanation | None = None
