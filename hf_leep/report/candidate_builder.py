"""Make what report.json says about one candidate from its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_leep.ranking.consensus import ConsensusRank
from hf_leep.ranking.ordering import RankedCandidate, Ranking
from hf_leep.ranking.scoring import half_width
from hf_leep.records import Calibration, Explanation, Result, Score, Stop, Target
from hf_leep.report.candidate_schema import (
    CalibrationData,
    CommonData,
    EstimateData,
    ExampleData,
    ExplanationData,
    RankedData,
    RunData,
    ScoreData,
    StopData,
    UnrankedData,
    VotesData,
)
from hf_leep.report.caveats import notes, trained_on_target


def ranked_data(
    result: Result,
    target: Target,
    place: RankedCandidate,
    ranking: Ranking,
    measures: Sequence[str],
    votes: ConsensusRank | None,
) -> RankedData:
    """What report.json says about a candidate with a rank.

    Args:
        result: the candidate's scores.
        target: the target.
        place: its place in the ranking.
        ranking: the ranking.
        measures: the measures asked for.
        votes: its place in the consensus of the measures, if it has one.
    """
    return {
        **_common(result, target, ranking, measures, votes, result.reason),
        "rank": place.rank,
        "tie_group": place.tie_group,
        "tie_letters": place.tie_letters,
        "rank_interval": list(place.rank_interval) if place.rank_interval else None,
        "probability_best": place.probability_best,
        "same_as": place.same_as,
        "behind_best": _behind(place),
        "interval": _interval(result.scores[ranking.sort_by]),
        "num_examples": result.num_examples or len(target.labels),
    }


def unranked_data(
    result: Result, target: Target, ranking: Ranking, measures: Sequence[str], votes: ConsensusRank | None
) -> UnrankedData:
    """What report.json says about a candidate without a rank; arguments as of `ranked_data`."""
    score = result.scores.get(ranking.sort_by)
    return {
        **_common(result, target, ranking, measures, votes, result.reason or (score.reason if score else None)),
        "rank": None,
        "tie_group": None,
        "tie_letters": None,
        "rank_interval": None,
        "probability_best": None,
        "same_as": None,
        "behind_best": None,
        "interval": None,
        "num_examples": None if result.reason is not None else result.num_examples or len(target.labels),
    }


def _common(
    result: Result,
    target: Target,
    ranking: Ranking,
    measures: Sequence[str],
    votes: ConsensusRank | None,
    reason: str | None,
) -> CommonData:
    """What the report says about a candidate, with a rank or without."""
    ok = result.reason is None
    check = result.scores.get(ranking.checked_by) if ranking.checked_by else None
    return {
        "id": result.candidate.id,
        "revision": result.candidate.revision,
        "status": "ok" if ok else "failed",
        "reason": reason,
        "num_source_classes": result.num_source_classes,
        "num_parameters": result.candidate.num_parameters,
        "downloads": result.candidate.downloads,
        "stated_accuracy": result.candidate.stated_accuracy,
        "stated_on": result.candidate.stated_on,
        "effective_source_classes": result.effective_source_classes,
        "num_features": result.num_features,
        "headless": result.headless,
        "task": result.candidate.task,
        "license": result.candidate.license,
        "gated": result.candidate.gated,
        "private": result.candidate.private,
        "trained_on": list(result.candidate.trained_on),
        "trained_on_target": trained_on_target(result.candidate, target) is not None,
        "untrained": result.candidate.untrained,
        "notes": list(notes(result.candidate, target)),
        "scores": {name: _score(result.scores[name]) for name in measures} if ok else {},
        "calibration": _calibration(result.interpretation.calibration),
        "explanation": _explanation(result.interpretation.explanation, result.candidate.source_labels, target),
        "entropy_explained": _entropy_explained(result, target),
        "check": _score(check) if ok and check else None,
        "run": _run(result),
        "stopped": _stop(result.stop),
        "head_accuracy": _score(result.head_accuracy) if result.head_accuracy else None,
        "consensus": _votes(votes),
    }


def _run(result: Result) -> RunData | None:
    run = result.run
    if run is None:
        return None
    return {
        "processor": run.processor,
        "processor_backend": run.processor_backend,
        "dtype": run.dtype,
        "device": run.device,
        "batch_size": run.batch_size,
        "seconds": run.seconds,
        "peak_memory_bytes": run.peak_memory_bytes,
        "max_length": run.max_length,
        "num_truncated": run.num_truncated,
        "num_padded": run.num_padded,
        "pooling": run.pooling,
        "num_processes": run.num_processes,
        "max_seconds": run.max_seconds,
        "from_store": result.from_store,
    }


def _stop(stop: Stop | None) -> StopData | None:
    return None if stop is None else {"look": stop.look, "behind": stop.behind, "gap": stop.gap, "margin": stop.margin}


def _votes(votes: ConsensusRank | None) -> VotesData | None:
    return None if votes is None else {"rank": votes.rank, "won": votes.won, "lost": votes.lost}


def _calibration(calibration: Calibration | None) -> CalibrationData | None:
    if calibration is None:
        return None
    return {
        "temperature": calibration.temperature,
        "value": calibration.value,
        "as_is": calibration.as_is,
        "spread": calibration.spread,
        "curve": [list(point) for point in calibration.curve],
        "num_examples": calibration.num_examples,
    }


def _entropy_explained(result: Result, target: Target) -> float | None:
    """(T + Ĥ(Y))/Ĥ(Y) with T the leave-one-out LEEP, computed even if not asked for; it may be below 0."""
    score, calibration = result.scores.get("leave-one-out-leep"), result.interpretation.calibration
    value = score.value if score else calibration.as_is if calibration else None
    return None if value is None else (value + target.class_entropy) / target.class_entropy


def _explanation(
    explanation: Explanation | None, source_labels: Sequence[str], target: Target
) -> ExplanationData | None:
    """An explanation with the names of classes and the rows of examples instead of their positions."""
    if explanation is None:
        return None

    def source(index: int) -> str:
        return source_labels[index] if index < len(source_labels) else f"output {index}"

    return {
        "prior_weight": explanation.prior_weight,
        "classes": [
            {
                "name": target.class_names[found.index],
                "count": found.count,
                "log_prediction": found.log_prediction,
                "gain": found.gain,
                "sources": [
                    {
                        "name": source(s.index),
                        "weight": s.weight,
                        "conditional": s.target_given_source,
                        "share": s.source_given_target,
                    }
                    for s in found.sources
                ],
            }
            for found in explanation.classes
        ],
        "num_left_out": explanation.num_classes_left_out,
        "source_classes": [
            {
                "name": source(used.index),
                "mass": used.mass,
                "targets": [
                    {"name": target.class_names[related.index], "conditional": related.target_given_source}
                    for related in used.targets
                ],
            }
            for used in explanation.source_classes
        ],
        "num_sources_left_out": explanation.num_sources_left_out,
        "examples": _examples(explanation, source, target),
    }


def _examples(explanation: Explanation, source: Callable[[int], str], target: Target) -> list[ExampleData]:
    """The doubtful examples; a word is found by its sentence's row and its position there."""
    found: list[ExampleData] = []
    for example in explanation.examples:
        row, word = example.index, None
        if target.sentences is not None:
            row = int(target.sentences[example.index])
            word = None if target.words is None else int(target.words[example.index])
        found.append(
            {
                "row": int(target.row_ids[row]),
                "word": word,
                "label": target.class_names[target.labels[example.index]],
                "prediction": example.label_probability,
                "likely": target.class_names[example.predicted],
                "likely_prediction": example.predicted_probability,
                "source": source(example.source),
                "source_probability": example.source_probability,
            }
        )
    return found


def _behind(place: RankedCandidate) -> EstimateData:
    return {
        "value": place.gap_to_best.value,
        "standard_error": place.gap_to_best.standard_error,
        "half_width": place.gap_to_best.half_width,
    }


def _score(score: Score) -> ScoreData:
    return {
        "value": score.value,
        "standard_error": score.standard_error,
        "half_width": half_width(score),
        "interval": _interval(score),
        "shuffled": score.shuffled,
        "warnings": list(score.warnings),
        "reason": score.reason,
    }


def _interval(score: Score) -> list[float] | None:
    return None if score.interval is None else list(score.interval)
