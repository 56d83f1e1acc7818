"""Make the content of report.json from the records of a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from hf_leep import explain
from hf_leep.measures import find
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.ranking.baselines import baselines
from hf_leep.ranking.consensus import Votes, agreements, consensus, voters
from hf_leep.ranking.scoring import AUTO, half_width
from hf_leep.ranking.sizes import sizes
from hf_leep.ranking.uncertainty import CONFIDENCE
from hf_leep.records import (
    Calibration,
    Certificate,
    Explanation,
    RaceResult,
    RankedCandidate,
    Ranking,
    Result,
    Score,
    Stop,
    Target,
)
from hf_leep.report.candidate_schema import (
    CalibrationData,
    CandidateData,
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
from hf_leep.report.schema import (
    SCHEMA_ID,
    BaselineData,
    CertificateData,
    MeasureData,
    PairData,
    RaceData,
    ReorderedData,
    ReportData,
    SettlingData,
    SizeBandData,
    SizeData,
    TargetData,
)


def contents(
    target: Target,
    results: Sequence[Result],
    ranking: Ranking,
    *,
    measures: Sequence[str],
    versions: Mapping[str, str],
    command: Sequence[str] | None,
    seconds: float,
    race: RaceResult | None = None,
    num_headless: int | None = None,
    certificate: Certificate | None = None,
) -> ReportData:
    """Make the content of report.json from the records of a run.

    Args:
        target: the target.
        results: one for each candidate.
        ranking: their order.
        measures: the measures asked for.
        versions: package → version.
        command: the words of the command line, if there was one.
        seconds: wall time of the whole run.
        race: how the race went, if there was one.
        num_headless: with ``sort_by="auto"``, the number of candidates without a head; it decided the order's measure.
        certificate: result of the checks of the measures on this machine.
    """
    voting = voters(measures)
    # Scores of fewer rows cannot be compared with those of all rows.
    whole = [replace(r, scores={}) if r.num_examples is not None else r for r in results]
    votes = consensus(whole, voting) if len(voting) > 1 else [None] * len(results)
    headless = sum(results[i].headless for i in ranking.unranked)
    candidates: list[CandidateData] = [
        _ranked(results[place.result], target, place, ranking, measures, votes[place.result])
        for place in ranking.places
    ]
    candidates += [_unranked(results[i], target, ranking, measures, votes[i]) for i in ranking.unranked]
    return {
        "$schema": SCHEMA_ID,
        "schema_version": 1,
        "confidence": CONFIDENCE,
        "target": _target(target),
        "measures": list(measures),
        "measure_details": _details(measures, results, ranking, race, voting),
        "sort_by": ranking.sort_by,
        "checked_by": ranking.checked_by,
        "num_pairs": ranking.num_pairs,
        "num_disagreements": ranking.num_disagreements,
        "best_by": ranking.best_by,
        "settling": _settling(ranking, len(target.labels)),
        "consensus": {"measures": list(voting)} if len(voting) > 1 else None,
        "agreement": _agreement(whole, measures),
        "calibration": _reordered(results, ranking),
        "size": _size(whole, ranking),
        "baselines": _baselines(whole, ranking),
        "candidates": candidates,
        "auto": None if num_headless is None else {"num_headless": num_headless},
        "race": _race(race) if race else None,
        "certificate": _certificate(certificate) if certificate else None,
        "headless": {"count": headless, "command": _on_features(command) if headless else None},
        "run": {
            "versions": dict(versions),
            "command": shlex.join(command) if command else None,
            "seconds": round(seconds, 3),
        },
    }


def _target(target: Target) -> TargetData:
    return {
        "dataset": target.dataset,
        "config": target.config,
        "split": target.split,
        "revision": target.revision,
        "num_examples": len(target.labels),
        "num_classes": len(target.class_names),
        "class_entropy": target.class_entropy,
        "leave_one_out_floor": floor(target.labels),
        "seed": target.seed,
        "num_sentences": None if target.sentences is None else len(target.row_ids),
        "num_rows": target.num_rows,
        "streamed": target.streamed,
        "num_duplicates": target.num_duplicates,
        "fingerprint": target.fingerprint,
        "modality": target.modality,
        "input_columns": list(target.input_columns),
        "label_column": target.label_column,
        "class_names": list(target.class_names),
        "warnings": list(target.warnings),
    }


def _details(
    measures: Iterable[str],
    results: Sequence[Result],
    ranking: Ranking,
    race: RaceResult | None,
    voting: Iterable[str],
) -> dict[str, MeasureData]:
    """What a page says about each measure that the report names."""
    names = [*measures, ranking.sort_by, ranking.best_by, *voting]
    names += [name for name in (ranking.checked_by, race.decided_by if race else None) if name]
    return {
        measure.name: {
            "title": measure.title,
            "unit": measure.unit,
            "needs": measure.needs,
            "higher_is_better": measure.higher_is_better,
            "reference": measure.reference,
            "summary": measure.summary,
        }
        for measure in map(find, dict.fromkeys(names))
    }


def _ranked(
    result: Result,
    target: Target,
    place: RankedCandidate,
    ranking: Ranking,
    measures: Sequence[str],
    votes: Votes | None,
) -> RankedData:
    return {
        **_common(result, target, ranking, measures, votes, result.reason),
        "rank": place.rank,
        "tie_group": place.tie_group,
        "rank_interval": list(place.rank_interval) if place.rank_interval else None,
        "probability_best": place.probability_best,
        "behind_best": _behind(place),
        "interval": _interval(ranking.sort_by, result.scores[ranking.sort_by]),
        "num_examples": result.num_examples or len(target.labels),
    }


def _unranked(
    result: Result, target: Target, ranking: Ranking, measures: Sequence[str], votes: Votes | None
) -> UnrankedData:
    score = result.scores.get(ranking.sort_by)
    return {
        **_common(result, target, ranking, measures, votes, result.reason or (score.reason if score else None)),
        "rank": None,
        "tie_group": None,
        "rank_interval": None,
        "probability_best": None,
        "behind_best": None,
        "interval": None,
        "num_examples": None if result.reason is not None else result.num_examples or len(target.labels),
    }


def _common(
    result: Result,
    target: Target,
    ranking: Ranking,
    measures: Sequence[str],
    votes: Votes | None,
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
        "effective_source_classes": result.effective_source_classes,
        "num_features": result.num_features,
        "headless": result.headless,
        "task": result.candidate.task,
        "license": result.candidate.license,
        "gated": result.candidate.gated,
        "private": result.candidate.private,
        "trained_on": list(result.candidate.trained_on),
        "trained_on_target": trained_on_target(result.candidate, target) is not None,
        "notes": list(notes(result.candidate, target)),
        "scores": {name: _score(result.scores[name]) for name in measures} if ok else {},
        "calibration": _calibration(result.meaning.calibration),
        "explanation": _explanation(result.meaning.explanation, result.candidate.source_labels, target),
        "entropy_explained": _entropy_explained(result, target),
        "check": _score(check) if ok and check else None,
        "run": _run(result),
        "stopped": _stop(result.stop),
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
        "pooling": run.pooling,
        "num_processes": run.num_processes,
        "max_seconds": run.max_seconds,
        "from_store": result.from_store,
    }


def _stop(stop: Stop | None) -> StopData | None:
    return stop and {"look": stop.look, "behind": stop.behind, "gap": stop.gap, "margin": stop.margin}


def _votes(votes: Votes | None) -> VotesData | None:
    return votes and {"rank": votes.rank, "won": votes.won, "lost": votes.lost}


def _calibration(calibration: Calibration | None) -> CalibrationData | None:
    return calibration and {
        "temperature": calibration.temperature,
        "value": calibration.value,
        "as_is": calibration.as_is,
        "spread": calibration.spread,
        "curve": [list(point) for point in calibration.curve],
        "num_examples": calibration.num_examples,
    }


def _entropy_explained(result: Result, target: Target) -> float | None:
    """(T + Ĥ(Y))/Ĥ(Y) with T the leave-one-out LEEP, asked for or not; below 0 for predictions worse than the prior."""
    score, calibration = result.scores.get("leave-one-out-leep"), result.meaning.calibration
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
                    {"name": source(s.index), "weight": s.weight, "conditional": s.conditional, "share": s.share}
                    for s in found.sources
                ],
            }
            for found in explanation.classes
        ],
        "num_left_out": explanation.num_left_out,
        "source_classes": [
            {
                "name": source(used.index),
                "mass": used.mass,
                "targets": [
                    {"name": target.class_names[related.index], "conditional": related.conditional}
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
                "prediction": example.prediction,
                "likely": target.class_names[example.likely],
                "likely_prediction": example.likely_prediction,
                "source": source(example.source),
                "source_probability": example.source_probability,
            }
        )
    return found


def _agreement(results: Sequence[Result], measures: Sequence[str]) -> list[PairData]:
    return [
        {"measures": list(pair.measures), "kendall": pair.kendall, "num_candidates": pair.num_candidates}
        for pair in agreements(results, measures)
    ]


def _reordered(results: Sequence[Result], ranking: Ranking) -> ReorderedData:
    """How many pairs of ranked candidates change their order when each is calibrated."""
    known = (results[place.result].meaning.calibration for place in ranking.places)
    num_reordered, num_pairs = explain.reordered([calibration for calibration in known if calibration])
    return {"num_pairs": num_pairs, "num_reordered": num_reordered}


def _size(results: Sequence[Result], ranking: Ranking) -> SizeData:
    """The best candidate of each size, by its rank, and how far the order follows size."""
    found = sizes(results, ranking)
    ranks = {place.result: place.rank for place in ranking.places}
    bands: list[SizeBandData] = [
        {
            "from": band.low,
            "below": band.high,
            "num_candidates": band.num_candidates,
            "best": {"id": results[band.best].candidate.id, "rank": ranks[band.best]},
        }
        for band in found.bands
    ]
    return {
        "bands": bands,
        "num_unknown": found.num_unknown,
        "kendall": found.kendall,
        "num_candidates": found.num_candidates,
    }


def _baselines(results: Sequence[Result], ranking: Ranking) -> list[BaselineData]:
    return [
        {"name": found.name, "kendall": found.kendall, "num_candidates": found.num_candidates}
        for found in baselines(results, ranking)
    ]


def _settling(ranking: Ranking, num_examples: int) -> list[SettlingData]:
    """About how many examples would settle the first places; None if no number would."""
    return [
        {
            "places": settling.places,
            "num_examples": None if settling.times is None else math.ceil(num_examples * settling.times),
        }
        for settling in ranking.settling
    ]


def _race(race: RaceResult) -> RaceData:
    return {
        "confidence": race.confidence,
        "top": race.top,
        "decided_by": race.decided_by,
        "level": race.level,
        "looks": list(race.looks),
        "num_examples_run": race.num_examples_run,
        "num_examples_of_all": race.num_examples_of_all,
    }


def _certificate(certificate: Certificate) -> CertificateData:
    return {
        "num_checks": certificate.num_checks,
        "failed": list(certificate.failed),
        "unchecked": list(certificate.unchecked),
    }


def _behind(place: RankedCandidate) -> EstimateData:
    return {
        "value": place.behind_best,
        "standard_error": place.behind_best_error,
        "half_width": place.behind_best_half_width,
    }


def _score(score: Score) -> ScoreData:
    return {
        "value": score.value,
        "standard_error": score.standard_error,
        "half_width": half_width(score),
        "shuffled": score.shuffled,
        "warnings": list(score.warnings),
        "reason": score.reason,
    }


def _interval(measure: str, score: Score) -> list[float] | None:
    """Confidence interval of the measure's expectation at this n; a score of probabilities, in nats, is at most 0."""
    half = half_width(score)
    if score.value is None or half is None:
        return None
    high = score.value + half
    return [score.value - half, min(high, 0.0) if find(measure).needs == "probabilities" else high]


def _on_features(command: Sequence[str] | None) -> str:
    """The same command with the order left to hf_leep, which chooses a measure that all candidates can have."""
    if not command:
        return f'hf_leep.rank(..., sort_by="{AUTO}")'
    kept: list[str] = []
    words = iter(command)
    for word in words:
        option, _, value = word.partition("=")
        if option == "--sort-by":
            if not value:
                next(words, None)
        elif option == "--output":
            kept += ["--output", f"{(value or next(words, '')).rstrip('/')}-{AUTO}"]
        else:
            kept.append(word)
    return shlex.join([*kept, "--sort-by", AUTO])
