"""What report.json holds: a type for each of its objects; see also `candidate_schema` and `validation_schema`.

Other keys than these are allowed, so that a report of a later version can be read. Numbers are finite, and a ``float``
may be a whole number. The confidence intervals all have the report's ``confidence``.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypeGuard

from annotated_types import Ge, Gt, Lt, MinLen
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from hf_leep.report.candidate_schema import CandidateData, RankedData
from hf_leep.report.numbers import Correlation, Count, NonNegative, Number, Positive, Rank, Share
from hf_leep.report.second_opinion_schema import SecondOpinionData
from hf_leep.report.validation_schema import FineTuningData, ValidationData

SCHEMA_VERSION = 1
SCHEMA_ID = "urn:hf-leep:report:1"  # the $id of schema.json beside this file; a name, which nothing fetches


class BadRowData(TypedDict):
    """A row that was left out because it cannot be read or processed.

    Attributes:
        row: its position in the split; in a streamed sample, in the order in which rows were drawn.
        name: what it is called, with its file where it has one.
        reason: why; of a row on which one candidate fails, with its name.
        drawn: whether it was among the drawn rows; otherwise it was left out before rows were drawn.
    """

    row: Annotated[int, Ge(0)]
    name: str
    reason: str
    drawn: bool


class TargetData(TypedDict):
    """The labelled examples that the candidates were ranked for.

    Attributes:
        dataset: id, path or name of the data set.
        config: its configuration, if it has several.
        split: the split as asked for, slices included.
        revision: commit of a data set on the Hub.
        num_examples: number n of examples: rows, or labelled words.
        num_classes: number t of classes.
        class_entropy: entropy of the labels, in nats.
        leave_one_out_floor: leave-one-out LEEP of predictions that know only the class frequencies, in nats.
        seed: seed of the sample.
        num_sentences: number of sentences, where the examples are words.
        num_rows: rows of the split before sampling.
        streamed: whether the rows are a streamed sample.
        num_duplicates: rows whose input repeats an earlier row.
        fingerprint: hash of the rows, inputs and labels.
        modality: image, audio, text, video or token.
        task: Hub task of models for it, such as image-classification.
        unit: what an example is called, in the plural, such as images.
        input_columns: columns that the models see.
        label_column: column of the labels.
        class_names: names of the classes.
        bad_rows: rows that were left out.
        warnings: what to know about these rows.
    """

    dataset: str
    config: str | None
    split: str | None
    revision: str | None
    num_examples: Count
    num_classes: Annotated[int, Ge(2)]
    class_entropy: Positive
    leave_one_out_floor: Number
    seed: int
    num_sentences: Count | None
    num_rows: Count
    streamed: bool
    num_duplicates: Count
    fingerprint: str
    modality: str
    task: str
    unit: str
    input_columns: list[str]
    label_column: str
    class_names: list[str]
    bad_rows: list[BadRowData]
    warnings: list[str]


class MeasureData(TypedDict):
    """What a page says about a measure.

    Attributes:
        title: how people write its name.
        unit: unit of its scores; empty if they have none.
        needs: what it is computed from.
        higher_is_better: whether a higher score is better.
        reference: where it comes from.
        summary: what it measures, in one line.
    """

    title: str
    unit: str
    needs: Literal["probabilities", "features"]
    higher_is_better: bool
    reference: str
    summary: str


class SettlingData(TypedDict):
    """How many examples it takes at least to settle the first place.

    Attributes:
        places: 1, for the first place.
        num_examples: it takes at least about so many examples to settle it with a probability of 0.8. null where it is
            settled, or where no such number is known that is above the number of examples.
    """

    places: Count
    num_examples: Count | None


class VotersData(TypedDict):
    """The measures that vote in the consensus.

    Attributes:
        measures: their names.
    """

    measures: Annotated[list[str], MinLen(1)]


class PairData(TypedDict):
    """How far two measures order the candidates alike.

    Attributes:
        measures: the two measures.
        kendall: Kendall's tau-b of their scores, if it is defined.
        num_candidates: candidates that have both scores.
    """

    measures: Annotated[list[str], MinLen(2)]
    kendall: Correlation | None
    num_candidates: Count


class ReorderedData(TypedDict):
    """How many pairs of candidates change their order once each candidate is calibrated.

    Attributes:
        num_pairs: pairs of ranked candidates that can be calibrated.
        num_reordered: pairs that change their order.
    """

    num_pairs: Count
    num_reordered: Count


class BestOfSizeData(TypedDict):
    """The best candidate of a size.

    Attributes:
        id: the candidate.
        rank: its rank.
    """

    id: str
    rank: Rank


SizeBandData = TypedDict(  # "from" is a keyword of Python
    "SizeBandData",
    {"from": Count, "below": Count | None, "num_candidates": Count, "best": BestOfSizeData},
)
SizeBandData.__doc__ = """Ranked candidates of about the same size.

Attributes:
    from: smallest number of parameters.
    below: number of parameters that all of them are below, if there is a limit.
    num_candidates: how many candidates.
    best: the best of them.
"""


class SizeData(TypedDict):
    """The order compared with one by size.

    Attributes:
        bands: candidates by size, smallest first.
        num_unknown: ranked candidates of unknown size.
        kendall: Kendall's tau-b of score and number of parameters, if it is defined.
        num_candidates: candidates that tau is computed from.
    """

    bands: list[SizeBandData]
    num_unknown: Count
    kendall: Correlation | None
    num_candidates: Count


class BaselineData(TypedDict):
    """The order compared with one that does not depend on the labels.

    Attributes:
        name: parameters, downloads, source classes or stable rank.
        kendall: Kendall's tau-b of the score with it, if it is defined.
        num_candidates: ranked candidates for which it is known.
    """

    name: str
    kendall: Correlation | None
    num_candidates: Count


class AutoData(TypedDict):
    """How the measure that makes the order was chosen.

    Attributes:
        num_headless: candidates without a trained classification head.
    """

    num_headless: Count


class RaceData(TypedDict):
    """How a race went.

    Attributes:
        confidence: probability that no candidate among the truly best was stopped.
        top: how many of the best were looked for.
        decided_by: the measure that decided it.
        level: one-sided level of each comparison.
        looks: examples that a candidate had run at each look.
        num_examples_run: examples that all candidates ran together.
        num_examples_of_all: examples that they would have run without a race.
    """

    confidence: Share
    top: Rank
    decided_by: str
    level: Share
    looks: list[Count]
    num_examples_run: Count
    num_examples_of_all: Count


class CertificateData(TypedDict):
    """Result of the checks of the measures on the machine that made the report.

    Attributes:
        num_checks: number of checks.
        failed: the checks that failed.
        unchecked: measures without checks.
    """

    num_checks: Count
    failed: list[str]
    unchecked: list[str]


class HeadlessData(TypedDict):
    """Candidates that have no rank only because they have no trained classification head.

    Attributes:
        count: how many.
        command: command that ranks them too.
    """

    count: Count
    command: str | None


class CommandData(TypedDict):
    """How the report was made.

    Attributes:
        versions: package to version.
        command: the command line, if there was one.
        seconds: wall time of the whole run.
    """

    versions: dict[str, str]
    command: str | None
    seconds: NonNegative


_Identified = TypedDict("_Identified", {"$schema": str})


class ReportData(_Identified):
    """The content of report.json.

    Attributes:
        schema_version: 1.
        confidence: confidence level of all intervals, such as 0.95.
        target: the labelled examples.
        measures: the measures asked for.
        measure_details: what a page says about each measure that the report names.
        sort_by: the measure that makes the order.
        checked_by: the measure that has to agree before two candidates count as different, if any.
        num_pairs: pairs of ranked candidates.
        num_disagreements: pairs that the two measures order differently.
        best_by: the measure that ``probability_best`` is computed from.
        second_opinion: the first candidate compared with the others by a linear head on their features, if it was.
        settling: how many examples it takes at least to settle the first place.
        consensus: the measures that vote, if there are several.
        agreement: how far each two measures agree.
        calibration: how many pairs change their order once calibrated.
        size: the order compared with one by size.
        baselines: the order compared with others that do not depend on the labels.
        candidates: best first, then those without a rank.
        auto: how the measure that makes the order was chosen, if that was left to hf_leep.
        race: how the race went, if there was one.
        certificate: result of the checks of the measures, if they were run.
        headless: candidates that only lack a head.
        run: how the report was made.
        validation: accuracy of trained heads, once ``hf-leep validate`` was run.
        fine_tuning: what fine-tuning a shortlist found out, once ``hf-leep validate --fine-tune`` was run.
    """

    schema_version: Literal[1]
    confidence: Annotated[float, Gt(0), Lt(1)]
    target: TargetData
    measures: Annotated[list[str], MinLen(1)]
    measure_details: dict[str, MeasureData]
    sort_by: str
    checked_by: str | None
    num_pairs: Count
    num_disagreements: Count
    best_by: str
    second_opinion: SecondOpinionData | None
    settling: list[SettlingData]
    consensus: VotersData | None
    agreement: list[PairData]
    calibration: ReorderedData
    size: SizeData
    baselines: list[BaselineData]
    candidates: list[CandidateData]
    auto: AutoData | None
    race: RaceData | None
    certificate: CertificateData | None
    headless: HeadlessData
    run: CommandData
    validation: NotRequired[ValidationData]
    fine_tuning: NotRequired[FineTuningData]


def is_ranked(candidate: CandidateData) -> TypeGuard[RankedData]:
    """Whether a candidate has a rank."""
    return candidate["rank"] is not None
