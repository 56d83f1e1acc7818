"""The records that flow through hf_leep: Candidate + Target → Extraction → Score → Result.

The ranking (`hf_leep.ranking.ordering.Ranking`) and the report are made from these. Code below `Extraction` does not
know where arrays came from; everything above it can be computed again without a GPU, a model or the network. All
records are frozen; those that hold arrays compare by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.records.interpretation import Calibration as Calibration
from hf_leep.records.interpretation import ClassQuality as ClassQuality
from hf_leep.records.interpretation import DoubtfulExample as DoubtfulExample
from hf_leep.records.interpretation import Explanation as Explanation
from hf_leep.records.interpretation import Interpretation as Interpretation
from hf_leep.records.interpretation import RelatedClass as RelatedClass
from hf_leep.records.interpretation import SourceClass as SourceClass
from hf_leep.records.interpretation import SourceContribution as SourceContribution

PASS_VERSION = 9  # part of the key of each stored pass: raise it when passes give other numbers than before


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read or processed, and is left out.

    Attributes:
        position: its position among the rows of a pass; in a `Target`, in the split.
        name: what messages call it, such as ``row 5 of the split (a.png)``.
        reason: why, on one line.
        unreadable: whether it is no input for any model; otherwise one model fails on it.
        drawn: whether it was among the drawn rows; otherwise it was left out before rows were drawn.
    """

    position: int
    name: str
    reason: str
    unreadable: bool = True
    drawn: bool = True

    def __str__(self) -> str:
        """Its name and the reason, for messages."""
        return f"{self.name} – {self.reason}"


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
        downloads: downloads in the last month, as the Hub counts them; None if it is not on the Hub.
        stated_accuracy: accuracy that its card states for its own task, 0 to 1; `stated_on` names the data set.
        source_labels: names of the classes of its head, in the order of its outputs; empty without a usable head.
        untrained: whether its weights, apart from the head, are those that it was initialised with.
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
    stated_accuracy: float | None = None
    stated_on: str | None = None
    source_labels: tuple[str, ...] = ()
    untrained: bool = False


@dataclass(frozen=True, eq=False)
class Target:
    """The labelled examples that candidates are ranked for.

    Attributes:
        dataset: id, path or name of the data set.
        config: its configuration, if it has several.
        split: the split as the user gave it, including slices.
        revision: commit of a Hub data set, else None.
        fingerprint: ``sha256:…`` of the chosen rows, their inputs and labels.
        input_fingerprint: ``sha256:…`` of the inputs alone, which are what a pass depends on.
        input_columns: the column that models read; two for sentence pairs.
        label_column: the column of the labels.
        task: Hub task of models for it, such as ``image-classification``.
        unit: what an example is called, in the plural, such as ``images``.
        modality: ``image``, ``audio``, ``text``, ``video``, or ``token`` where the examples are words.
        row_ids: positions of the chosen rows in the split, ``[n]``, ascending; for a streamed sample 0 … n−1, in the
            order in which the rows were drawn. Where the examples are words, the rows are their sentences.
        labels: class of each example, densely encoded, ``[n]``: one for each chosen row, or for each of their words.
        class_names: names of the classes that occur, ``[t]``.
        num_rows: rows of the split before sampling, without those that have no labelled word; where a streamed data
            set does not say how many it has, the number of rows drawn.
        seed: seed of the sample.
        streamed: whether the rows are a streamed sample: seeded, but not stratified.
        num_duplicates: chosen rows whose input repeats an earlier chosen row exactly.
        warnings: what a reader must know about these rows.
        sentences: where the examples are words, the sentence of each, as a position in ``row_ids``, ``[n]``.
        words: where the examples are words, the position of each in its sentence, from 0, ``[n]``.
        bad_rows: rows that were left out.
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
    task: str
    unit: str
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
    bad_rows: tuple[BadRow, ...] = ()

    @property
    def class_entropy(self) -> float:
        """Ĥ(Y) in nats; LEEP is never below −Ĥ(Y)."""
        frequency = np.bincount(self.labels) / len(self.labels)
        return float(-(frequency * np.log(frequency)).sum())


@dataclass(frozen=True)
class Run:
    """How one pass was made.

    Attributes:
        processor: ``sha256:…`` of the processor's configuration.
        processor_backend: library that processes images, ``pil`` or ``torchvision``; None for other inputs.
        dtype: number type of the weights.
        device: device that the model ran on.
        batch_size: examples in a batch.
        seconds: wall time of the pass.
        peak_memory_bytes: peak memory of the device if it is measured there, else of the whole process so far.
        max_length: number of tokens beyond which texts were truncated, where there is a limit.
        max_seconds: length beyond which sounds were truncated, where there is a limit.
        num_truncated: texts or sounds longer than that. Sentences whose words are labelled are not truncated but read
            in pieces; they count as well.
        pooling: how the features of a checkpoint without a head were pooled; None where they are the head's inputs.
        num_processes: number of processes that shared the rows.
        num_padded: sounds shorter than the model needs, which were padded with silence.
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
    num_padded: int = 0


@dataclass(frozen=True, eq=False)
class Extraction:
    """One candidate's one forward pass over one target: the central record.

    Attributes:
        candidate: the candidate.
        probabilities: source probabilities ``[n, s]``, float32, or None without a usable head.
        features: penultimate features ``[n, d]``, float32, or None where they could not be captured.
        labels: target labels ``[n]``, densely encoded.
        run: how the pass was made.
        missing: the reason for each of ``probabilities`` and ``features`` that is None.
        draws: the draw that each example belongs to, 0 … g−1, ``[n]``, where several examples are drawn together, such
            as the words of a sentence; None where each example is a draw of its own.
        bad_rows: rows that were left out, by their position; their probabilities and features are NaN.
    """

    candidate: Candidate
    probabilities: NDArray[np.float32] | None
    features: NDArray[np.float32] | None
    labels: Integers
    run: Run
    missing: Mapping[str, str] = field(default_factory=dict)
    draws: Integers | None = None
    bad_rows: tuple[BadRow, ...] = ()


@dataclass(frozen=True, eq=False)
class Score:
    """One measure of one candidate.

    Attributes:
        value: the score, None where the measure does not apply.
        standard_error: its sampling error, None where it is not known.
        reason: why there is no value.
        warnings: what a reader must know before trusting the value.
        unseen: part of the squared standard error that stands for errors which the examples happen not to contain; it
            is independent between candidates, so that it counts in differences as well.
        interval: lowest and highest value that the examples leave open, at the confidence level.
        influence: influence of each example on the value, ``[n]``, or of each draw, ``[g]``; float32, for the errors
            of paired differences.
        shuffled: the candidate's score with shuffled labels, for a measure that is fitted to the examples that it
            scores; None for other measures.
    """

    value: float | None
    standard_error: float | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    influence: NDArray[np.float32] | None = None
    shuffled: float | None = None
    unseen: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Stop:
    """Why a candidate of a race did not run all rows.

    Attributes:
        look: number of the look after which it was out, from 0.
        behind: id of the candidate that it was most clearly behind; None where the run was interrupted.
        gap: how far it was behind, in the unit of the measure that decides the race.
        margin: half-width of the gap's interval at the race's level.
    """

    look: int
    behind: str | None = None
    gap: float | None = None
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What came of one candidate: scores, or a failure.

    Attributes:
        candidate: the candidate.
        scores: a score for each requested measure, and for the measures that check these; empty if it failed.
        reason: why it failed, else None.
        headless: whether it has features but no usable head.
        num_source_classes: number of classes s of its head.
        effective_source_classes: exp of the entropy of the mean prediction: how many of these the target uses.
        num_features: width d of its features.
        head_accuracy: leave-one-out accuracy of a linear head on its features (the measure ``ridge``), where it has
            features; in a race, on the rows that all candidates ran.
        run: how its pass was made.
        from_store: whether that pass was made by an earlier run.
        interpretation: what its predictions mean.
        num_examples: number of examples that were scored; None for all.
        stop: why it did not run all rows, where a race or an interruption stopped it.
    """

    candidate: Candidate
    scores: Mapping[str, Score] = field(default_factory=dict)
    reason: str | None = None
    headless: bool = False
    num_source_classes: int | None = None
    effective_source_classes: float | None = None
    num_features: int | None = None
    head_accuracy: Score | None = None
    run: Run | None = None
    from_store: bool = False
    interpretation: Interpretation = field(default_factory=Interpretation)
    num_examples: int | None = None
    stop: Stop | None = None
