"""The records that flow through hf_leep: Candidate + Target → Extraction → Score → Ranking.

Below `Extraction` nothing knows where arrays came from; above it everything can be recomputed without a GPU, a model
or the network. All are frozen; those that hold arrays compare by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers

PASS_VERSION = 5  # part of each stored pass's key: raise it when a pass comes to give other numbers


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be fine-tuned.

    Attributes:
        id: repo id on the Hub, path of a local folder, or the name given to a model in memory.
        revision: 40-hex commit on the Hub, ``sha256:…`` of a local folder's content, None for a model in memory.
        task: Hub task that it was loaded for, such as ``image-classification``.
        license: licence that its card states, if any.
        trained_on: data sets that its card or tags say it was trained on.
        gated: whether its repository asks each user to accept terms.
        private: whether its repository is private.
        num_parameters: number of parameters.
        downloads: downloads in the last month, as the Hub counts them; None for what is not from there.
        source_labels: names of the classes of its head, in the order of its outputs; empty without a usable head.
    """

    id: str
    revision: str | None = None
    task: str | None = None
    license: str | None = None
    trained_on: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    num_parameters: int | None = None
    downloads: int | None = None
    source_labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Target:
    """The labelled examples that candidates are ranked for.

    Attributes:
        dataset: id, path or name of the data set.
        config: its configuration, if it has several.
        split: the split as asked for, slices included.
        revision: commit of a Hub data set, else None.
        fingerprint: ``sha256:…`` over the chosen rows, inputs and labels.
        input_fingerprint: the same over the inputs alone: what a pass depends on.
        input_columns: the column that models see; two for sentence pairs.
        label_column: the column of the labels.
        modality: ``image``, ``audio``, ``text``, ``video``, or ``token`` where the examples are words.
        row_ids: positions of the chosen rows in the split, ``[n]``, ascending; of a streamed sample, 0 … n−1 in the
            order drawn. Where the examples are words, the rows are their sentences.
        labels: class of each example, densely encoded, ``[n]``: of each chosen row, or of each of their words.
        class_names: names of the classes that occur, ``[t]``.
        num_rows: rows of the split before sampling, those without a labelled word left out; as many as were drawn
            where a streamed data set does not say.
        seed: seed of the sample.
        streamed: whether the rows are a streamed sample: seeded, but not stratified.
        num_duplicates: chosen rows whose input repeats an earlier chosen row exactly.
        warnings: what a reader must know about these rows.
        sentences: where the examples are words, the sentence of each, as a place in ``row_ids``, ``[n]``.
        words: where they are, the place of each in its sentence, from 0, ``[n]``.
    """

    dataset: str
    config: str | None
    split: str | None
    revision: str | None
    fingerprint: str
    input_fingerprint: str
    input_columns: tuple[str, ...]
    label_column: str
    modality: str
    row_ids: Integers
    labels: Integers
    class_names: tuple[str, ...]
    num_rows: int
    seed: int
    streamed: bool = False
    num_duplicates: int = 0
    warnings: tuple[str, ...] = ()
    sentences: Integers | None = None
    words: Integers | None = None

    @property
    def class_entropy(self) -> float:
        """Ĥ(Y) in nats; −Ĥ(Y) is LEEP's floor."""
        frequency = np.bincount(self.labels) / len(self.labels)
        return float(-(frequency * np.log(frequency)).sum())


@dataclass(frozen=True)
class Run:
    """How one pass was made.

    Attributes:
        processor: ``sha256:…`` of the processor's configuration.
        processor_backend: library that does the image work, ``pil`` or ``torchvision``; None where it does not apply.
        dtype: number type of the weights.
        device: where the model ran.
        batch_size: examples a batch.
        seconds: wall time of the pass.
        peak_memory_bytes: peak memory: of the device where it counts, else of the whole process so far.
        max_length: tokens beyond which a text was cut, where there is a limit.
        max_seconds: seconds beyond which a sound was cut, where there is a limit.
        num_truncated: texts or sounds that were cut; sentences whose words are labelled are read in pieces instead.
        pooling: how the features of a checkpoint without a head were pooled; None where they are what its head sees.
        num_processes: processes that shared the rows.
    """

    processor: str
    processor_backend: str | None
    dtype: str
    device: str
    batch_size: int
    seconds: float
    peak_memory_bytes: int
    max_length: int | None = None
    num_truncated: int = 0
    pooling: str | None = None
    num_processes: int = 1
    max_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Extraction:
    """One candidate's one forward pass over one target: the central record.

    Attributes:
        candidate: whose pass it was.
        probabilities: source probabilities ``[n, s]``, float32, or None without a usable head.
        features: penultimate features ``[n, d]``, float32, or None where they could not be caught.
        labels: target labels ``[n]``, densely encoded.
        run: how the pass was made.
        missing: for each of ``probabilities`` and ``features`` that is None, the reason.
        groups: group of each example, 0 … g−1, ``[n]``, where examples of one group are no independent draws, as the
            words of a sentence; None where all are.
    """

    candidate: Candidate
    probabilities: NDArray[np.float32] | None
    features: NDArray[np.float32] | None
    labels: Integers
    run: Run
    missing: Mapping[str, str] = field(default_factory=dict)
    groups: Integers | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """One measure of one candidate.

    Attributes:
        value: the score, None where it does not apply.
        standard_error: its sampling error, None where it is not known.
        reason: why there is no value.
        warnings: what a reader must know before trusting the value.
        influence: each example's influence on the value, ``[n]``, or each group's, ``[g]``; float32, for paired
            differences.
        shuffled: what the candidate scores once the labels are shuffled, of a measure that is fitted to the examples
            that it scores; None for others.
    """

    value: float | None
    standard_error: float | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    influence: NDArray[np.float32] | None = None
    shuffled: float | None = None


@dataclass(frozen=True)
class Calibration:
    """How far a candidate's leave-one-out LEEP is a matter of how confident its predictions are.

    Attributes:
        temperature: the τ at which θ^(1/τ), renormalised, scores highest: above 1 the predictions are too sure of
            themselves.
        value: leave-one-out LEEP at that temperature, of all examples, in nats.
        as_is: the same at temperature 1.
        spread: highest minus lowest score over τ from 1/2 to 2, on the subsample, in nats.
        curve: pairs of τ and its score on the subsample, by τ.
        num_examples: size of the seeded subsample on which the temperature was sought.
    """

    temperature: float
    value: float
    as_is: float
    spread: float
    curve: tuple[tuple[float, float], ...]
    num_examples: int


@dataclass(frozen=True)
class Source:
    """A source class's part in telling a target class.

    Attributes:
        index: output of the head.
        weight: its share of the mean prediction of the target class over that class's examples, Σ_z P̂(z|y) P̂(y|z).
        conditional: P̂(y|z), how much of its mass is of examples of the target class.
        share: P̂(z|y), how much of the target class's examples goes to it.
    """

    index: int
    weight: float
    conditional: float
    share: float


@dataclass(frozen=True)
class ClassQuality:
    """How well a candidate's predictions tell a target class.

    Attributes:
        index: the target class.
        count: its examples.
        log_prediction: mean over them of the log of the leave-one-out prediction of their label, in nats.
        gain: by how much that exceeds the log of the class's leave-one-out frequency, in nats.
        sources: the source classes that tell it best.
    """

    index: int
    count: int
    log_prediction: float
    gain: float
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class RelatedClass:
    """A target class that a source class tells of.

    Attributes:
        index: the target class.
        conditional: P̂(y|z), how much of the source class's mass is of its examples.
    """

    index: int
    conditional: float


@dataclass(frozen=True)
class SourceClass:
    """A source class that the predictions use, and which target classes it tells of.

    Attributes:
        index: output of the head.
        mass: its share of all predictions, P̂(z) = Σ_i θ_iz / n.
        targets: the target classes of the highest P̂(y|z), highest first.
    """

    index: int
    mass: float
    targets: tuple[RelatedClass, ...]


@dataclass(frozen=True)
class DoubtfulExample:
    """An example whose label the others do not predict: wrongly labelled, or hard.

    Attributes:
        index: position of the example.
        prediction: leave-one-out prediction of its label.
        likely: the target class of the highest prediction.
        likely_prediction: that prediction.
        source: the source class that the checkpoint takes it for.
        source_probability: how surely.
    """

    index: int
    prediction: float
    likely: int
    likely_prediction: float
    source: int
    source_probability: float


@dataclass(frozen=True)
class Explanation:
    """Why a candidate scores as it does.

    Attributes:
        prior_weight: weight of the class prior in the leave-one-out predictions; None where the prior alone predicts
            better than the candidate, and there is nothing to explain.
        classes: target classes, best served first, which is by their gain.
        num_left_out: classes in the middle that are left out of these.
        examples: the examples of the lowest predictions, lowest first.
        source_classes: the source classes of the most mass, most first.
        num_sources_left_out: source classes of less mass that are left out of these; those of none do not count.
    """

    prior_weight: float | None
    classes: tuple[ClassQuality, ...]
    num_left_out: int
    examples: tuple[DoubtfulExample, ...]
    source_classes: tuple[SourceClass, ...]
    num_sources_left_out: int


@dataclass(frozen=True)
class Interpretation:
    """What a candidate's predictions mean for the target; both None without a usable head."""

    calibration: Calibration | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Stop:
    """Why a candidate of a race did not run all rows.

    Attributes:
        look: number of the look after which it was out, from 0.
        behind: id of the candidate that was ahead of it most clearly; None where the run was interrupted.
        gap: by how much, in the unit of the measure that decides the race.
        margin: half-width of the gap's interval at the race's level.
    """

    look: int
    behind: str | None = None
    gap: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class RaceResult:
    """How a race went.

    Attributes:
        confidence: with which probability none of the truly best candidates was put out.
        top: how many best ones were sought.
        decided_by: the measure that decided it.
        level: one-sided level of one comparison at one look.
        looks: examples that a candidate had run at each look.
        num_examples_run: examples that the candidates ran together, those that failed left out.
        num_examples_of_all: examples that they would have run without a race.
    """

    confidence: float
    top: int
    decided_by: str
    level: float
    looks: tuple[int, ...]
    num_examples_run: int
    num_examples_of_all: int


@dataclass(frozen=True, eq=False)
class Result:
    """What came of one candidate: scores, or a failure.

    Attributes:
        candidate: the candidate.
        scores: a score for each measure asked for, and for the measure that checks the order; empty if it failed.
        reason: why it failed, else None.
        headless: whether only the want of a usable head stands between it and a score: its features are fine.
        num_source_classes: classes s of its head.
        effective_source_classes: exp of the entropy of the mean prediction: how many of them the target uses.
        num_features: width d of its features.
        run: how its pass was made.
        from_store: whether that pass was made by an earlier run.
        meaning: what its predictions mean.
        num_examples: examples that its scores are of; None for all.
        stop: why it did not run all rows, where a race or an interruption stopped it.
    """

    candidate: Candidate
    scores: Mapping[str, Score] = field(default_factory=dict)
    reason: str | None = None
    headless: bool = False
    num_source_classes: int | None = None
    effective_source_classes: float | None = None
    num_features: int | None = None
    run: Run | None = None
    from_store: bool = False
    meaning: Interpretation = field(default_factory=Interpretation)
    num_examples: int | None = None
    stop: Stop | None = None


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate's place in a ranking.

    Attributes:
        result: position of the candidate in the list of results.
        rank: 1 for the best.
        tie_group: 1 for the best group; candidates of different groups all differ beyond their paired error.
        behind_best: score of the best minus this one's, in the measure's unit; 0 for the best.
        behind_best_error: paired standard error of that difference, None where it is not known.
        behind_best_half_width: how far the 95 % interval of that difference reaches, None likewise.
        rank_interval: smallest and largest rank that these examples leave open, 95 % for all candidates at once; None
            where the score has no error.
        probability_best: share of draws from the joint sampling distribution of ``best_by``, centred at the scores,
            in which this candidate is the best; None where some error is not known.
    """

    result: int
    rank: int
    tie_group: int
    behind_best: float
    behind_best_error: float | None
    behind_best_half_width: float | None
    rank_interval: tuple[int, int] | None
    probability_best: float | None


@dataclass(frozen=True)
class RowsNeeded:
    """How many examples would settle the first places.

    Attributes:
        places: the first so many.
        times: by how many times the examples would have to be more (less than 1 where they are settled), at the same
            spread and gaps; None where no number would.
    """

    places: int
    times: float | None


@dataclass(frozen=True)
class Ranking:
    """Candidates ordered by one measure.

    Attributes:
        sort_by: the measure.
        checked_by: the measure that has to agree before two candidates count as different, if any.
        places: the ranked candidates, best first.
        unranked: positions of the results that have no score on ``sort_by``.
        num_pairs: pairs of ranked candidates.
        num_disagreements: pairs that ``checked_by`` orders the other way.
        best_by: the measure whose scores give the probability of being best: ``checked_by`` where there is one, for
            it has no in-sample bias that differs between candidates; else ``sort_by``.
        settling: what would settle the first place, and the first three, as far as there are so many.
    """

    sort_by: str
    checked_by: str | None
    places: tuple[RankedCandidate, ...]
    unranked: tuple[int, ...]
    num_pairs: int
    num_disagreements: int
    best_by: str
    settling: tuple[RowsNeeded, ...]


@dataclass(frozen=True)
class Certificate:
    """What came of the checks of some measures.

    Attributes:
        num_checks: how many there were.
        failed: measure and claim of each that did not hold.
        unchecked: measures that have none, being of other packages.
    """

    num_checks: int
    failed: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
