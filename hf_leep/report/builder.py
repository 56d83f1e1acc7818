"""What report.json says: the records of a run as plain dicts, lists, strings and finite numbers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from hf_leep import explain
from hf_leep.measures import find
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.ranking.baselines import baselines
from hf_leep.ranking.consensus import agreements, consensus, voters
from hf_leep.ranking.elimination import RaceResult
from hf_leep.ranking.ordering import RankedCandidate, Ranking
from hf_leep.ranking.scoring import AUTO, half_width
from hf_leep.ranking.sizes import sizes
from hf_leep.records import (
    Calibration,
    Certificate,
    Explanation,
    Result,
    Score,
    Target,
)
from hf_leep.report.caveats import notes, trained_on_target

SCHEMA_VERSION = 1


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
) -> dict[str, Any]:
    """Put the records of a run together as the content of report.json.

    Args:
        target: the target.
        results: one a candidate.
        ranking: their order.
        measures: the measures asked for.
        versions: package → version.
        command: the command line, word by word, if there was one.
        seconds: wall time of the whole run.
        race: how the race went, if it was one.
        num_headless: with ``sort_by="auto"``, the candidates without a head that the order was chosen for.
        certificate: what the checks of the measures gave on this machine.
    """
    ranked = [_candidate(results[place.index], target, place, ranking, measures) for place in ranking.ranked]
    others = [_candidate(results[i], target, None, ranking, measures) for i in ranking.unranked]
    voting = voters(measures)
    # Scores of fewer rows are others: only those of all rows are compared.
    whole = [replace(r, scores={}) if r.num_examples is not None else r for r in results]
    standings = consensus(whole, voting) if len(voting) > 1 else [None] * len(results)
    for index, row in zip(_order(ranking), ranked + others, strict=True):
        standing = standings[index]
        row["consensus"] = asdict(standing) if standing else None
    headless = sum(results[i].headless for i in ranking.unranked)
    return {
        "schema_version": SCHEMA_VERSION,
        "target": {
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
        },
        "measures": list(measures),
        "sort_by": ranking.sort_by,
        "checked_by": ranking.checked_by,
        "num_pairs": ranking.num_pairs,
        "num_disagreements": ranking.num_disagreements,
        "best_by": ranking.best_by,
        "settling": _rows_needed(ranking, len(target.labels)),
        "consensus": {"measures": list(voting)} if len(voting) > 1 else None,
        "agreement": [{**asdict(pair), "measures": list(pair.measures)} for pair in agreements(whole, measures)],
        "calibration": _reordered(results, ranking),
        "size": _size(whole, ranking),
        "baselines": [asdict(baseline) for baseline in baselines(whole, ranking)],
        "candidates": ranked + others,
        "auto": {"num_headless": num_headless} if num_headless is not None else None,
        "race": {**asdict(race), "looks": list(race.looks)} if race else None,
        "certificate": _certificate(certificate) if certificate else None,
        "headless": {"count": headless, "command": _on_features(command) if headless else None},
        "run": {
            "versions": dict(versions),
            "command": shlex.join(command) if command else None,
            "seconds": round(seconds, 3),
        },
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {**asdict(certificate), "failed": list(certificate.failed), "unchecked": list(certificate.unchecked)}


def _candidate(
    result: Result, target: Target, place: RankedCandidate | None, ranking: Ranking, measures: Sequence[str]
) -> dict[str, Any]:
    ok = result.reason is None
    check = result.scores.get(ranking.checked_by) if ranking.checked_by else None
    missing = result.scores.get(ranking.sort_by)
    return {
        "id": result.candidate.id,
        "revision": result.candidate.revision,
        "status": "ok" if ok else "failed",
        "reason": result.reason or (missing.reason if missing and place is None else None),
        "rank": place.rank if place else None,
        "tie_group": place.tie_group if place else None,
        "rank_interval": list(place.rank_interval) if place and place.rank_interval else None,
        "probability_best": place.probability_best if place else None,
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
        "calibration": _calibration(result.interpretation.calibration),
        "explanation": _explanation(result.interpretation.explanation, result.candidate.source_labels, target),
        "explained": _explained(result, target),
        "check": _score(check) if ok and check else None,
        "behind_best": _behind(place) if place else None,
        "interval": _interval(ranking.sort_by, result.scores[ranking.sort_by]) if place else None,
        "run": {**asdict(result.run), "from_store": result.from_store} if result.run else None,
        "num_examples": None if not ok else result.num_examples or len(target.labels),
        "stopped": asdict(result.stop) if result.stop else None,
    }


def _order(ranking: Ranking) -> list[int]:
    """The results as a report lists them: best first, then those without a rank."""
    return [*(place.index for place in ranking.ranked), *ranking.unranked]


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    return {**asdict(calibration), "curve": [list(point) for point in calibration.curve]} if calibration else None


def _explained(result: Result, target: Target) -> float | None:
    """(T + Ĥ(Y))/Ĥ(Y) with T the leave-one-out LEEP, asked for or not; below 0 where noise is better."""
    score, calibration = result.scores.get("leave-one-out-leep"), result.interpretation.calibration
    value = score.value if score else calibration.as_is if calibration else None
    return None if value is None else (value + target.class_entropy) / target.class_entropy


def _explanation(
    explanation: Explanation | None, source_labels: Sequence[str], target: Target
) -> dict[str, Any] | None:
    """An explanation with the names of classes and the rows of examples in place of their positions."""
    if explanation is None:
        return None

    def source(index: int) -> str:
        return source_labels[index] if index < len(source_labels) else f"output {index}"

    def row(index: int) -> dict[str, int | None]:
        if target.sentences is None:
            return {"row": int(target.row_ids[index]), "word": None}
        word = None if target.words is None else int(target.words[index])
        return {"row": int(target.row_ids[target.sentences[index]]), "word": word}

    return {
        "prior_weight": explanation.prior_weight,
        "classes": [
            {
                "name": target.class_names[served.index],
                "count": served.count,
                "log_prediction": served.log_prediction,
                "gain": served.gain,
                "sources": [
                    {
                        "name": source(s.index),
                        "weight": s.weight,
                        "conditional": s.target_given_source,
                        "share": s.source_given_target,
                    }
                    for s in served.sources
                ],
            }
            for served in explanation.classes
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
        "examples": [
            {
                **row(example.index),
                "label": target.class_names[target.labels[example.index]],
                "prediction": example.label_probability,
                "likely": target.class_names[example.predicted],
                "likely_prediction": example.predicted_probability,
                "source": source(example.source),
                "source_probability": example.source_probability,
            }
            for example in explanation.examples
        ],
    }


def _reordered(results: Sequence[Result], ranking: Ranking) -> dict[str, int]:
    """How many pairs of ranked candidates change places when each is calibrated."""
    known = (results[place.index].interpretation.calibration for place in ranking.ranked)
    num_reordered, num_pairs = explain.count_reordered([calibration for calibration in known if calibration])
    return {"num_pairs": num_pairs, "num_reordered": num_reordered}


def _size(results: Sequence[Result], ranking: Ranking) -> dict[str, Any]:
    """The best candidate of each size, by its rank, and how far the order is one by size."""
    found = sizes(results, ranking)
    ranks = {place.index: place.rank for place in ranking.ranked}
    bands = [
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


def _rows_needed(ranking: Ranking, num_examples: int) -> list[dict[str, Any]]:
    """About how many examples would settle the first places; None where no number would."""
    return [
        {
            "places": needed.top,
            "num_examples": None if needed.growth is None else math.ceil(num_examples * needed.growth),
        }
        for needed in ranking.rows_needed
    ]


def _behind(place: RankedCandidate) -> dict[str, Any]:
    return {
        "value": place.gap_to_best.value,
        "standard_error": place.gap_to_best.standard_error,
        "half_width": place.gap_to_best.half_width,
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "standard_error": score.standard_error,
        "half_width": half_width(score),
        "shuffled": score.shuffled,
        "warnings": list(score.warnings),
        "reason": score.reason,
    }


def _interval(measure: str, score: Score) -> list[float] | None:
    """95 % interval for the measure's expectation at this n; a score in nats of probabilities is never above 0."""
    half = half_width(score)
    if score.value is None or half is None:
        return None
    high = score.value + half
    return [score.value - half, min(high, 0.0) if find(measure).needs == "probabilities" else high]


def _on_features(command: Sequence[str] | None) -> str:
    """The same command on a measure that all candidates can have."""
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
