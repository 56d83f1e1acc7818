"""Make the content of report.json from the records of a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hf_leep import explain
from hf_leep.measures import find
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.measures.measure import Certificate
from hf_leep.ranking.baselines import baselines
from hf_leep.ranking.consensus import agreements, consensus, informative, voters
from hf_leep.ranking.elimination import RaceResult
from hf_leep.ranking.ordering import Ranking
from hf_leep.ranking.scoring import AUTO
from hf_leep.ranking.second_opinion import SecondOpinion, second_opinion
from hf_leep.ranking.sizes import sizes
from hf_leep.ranking.uncertainty import CONFIDENCE
from hf_leep.records import Result, Target
from hf_leep.report.candidate_builder import ranked_data, unranked_data
from hf_leep.report.candidate_schema import CandidateData
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
from hf_leep.report.second_opinion_schema import SecondOpinionData
from hf_leep.text import first_few


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
        num_headless: with ``sort_by="auto"``, the number of candidates without a head.
        certificate: result of the checks of the measures on this machine.
    """
    # Scores of fewer rows cannot be compared with those of all rows.
    whole = [replace(r, scores={}) if r.num_examples is not None else r for r in results]
    voting = informative(whole, voters(measures), {"leave-one-out-leep": floor(target.labels)})
    votes = consensus(whole, voting) if len(voting) > 1 else [None] * len(results)
    opinion = second_opinion(results, ranking)
    headless = sum(results[i].headless for i in ranking.unranked)
    candidates: list[CandidateData] = [
        ranked_data(results[place.index], target, place, ranking, measures, votes[place.index])
        for place in ranking.ranked
    ]
    candidates += [unranked_data(results[i], target, ranking, measures, votes[i]) for i in ranking.unranked]
    return {
        "$schema": SCHEMA_ID,
        "schema_version": 1,
        "confidence": CONFIDENCE,
        "target": _target(target),
        "measures": list(measures),
        "measure_details": _details((*measures, *([opinion.measure] if opinion else [])), ranking, race, voting),
        "sort_by": ranking.sort_by,
        "checked_by": ranking.checked_by,
        "num_pairs": ranking.num_pairs,
        "num_disagreements": ranking.num_disagreements,
        "best_by": ranking.best_by,
        "second_opinion": _second_opinion(results, opinion, race, len(target.labels)),
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
        "leave_one_out_floor": floor(target.labels, target.sentences),
        "seed": target.seed,
        "num_sentences": None if target.sentences is None else len(target.row_ids),
        "num_rows": target.num_rows,
        "streamed": target.streamed,
        "num_duplicates": target.num_duplicates,
        "fingerprint": target.fingerprint,
        "modality": target.modality,
        "task": target.task,
        "unit": target.unit,
        "input_columns": list(target.input_columns),
        "label_column": target.label_column,
        "class_names": list(target.class_names),
        "bad_rows": [
            {"row": int(row.position), "name": row.name, "reason": row.reason, "drawn": row.drawn}
            for row in target.bad_rows
        ],
        "warnings": [*target.warnings, *_about_bad_rows(target)],
    }


def _about_bad_rows(target: Target) -> list[str]:
    """A warning about the rows that were left out."""
    if not target.bad_rows:
        return []
    count = len(target.bad_rows)
    rows = "1 bad row was" if count == 1 else f"{count} bad rows were"
    return [f"{rows} left out for all candidates: {first_few(target.bad_rows)}"]


def _details(
    measures: Iterable[str],
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


def _second_opinion(
    results: Sequence[Result], found: SecondOpinion | None, race: RaceResult | None, num_examples: int
) -> SecondOpinionData | None:
    if found is None:
        return None
    return {
        "measure": found.measure,
        "verdict": found.verdict,
        "first": results[found.first].candidate.id,
        "best": results[found.best].candidate.id,
        "gap": found.gap,
        "standard_error": found.standard_error,
        "half_width": found.margin,
        "num_compared": found.num_compared,
        "num_examples": race.num_examples_of_heads if race else num_examples,
    }


def _agreement(results: Sequence[Result], measures: Sequence[str]) -> list[PairData]:
    return [
        {"measures": list(pair.measures), "kendall": pair.kendall, "num_candidates": pair.num_candidates}
        for pair in agreements(results, measures)
    ]


def _reordered(results: Sequence[Result], ranking: Ranking) -> ReorderedData:
    """How many pairs of ranked candidates change their order when each is calibrated."""
    known = (results[place.index].interpretation.calibration for place in ranking.ranked)
    num_reordered, num_pairs = explain.count_reordered([calibration for calibration in known if calibration])
    return {"num_pairs": num_pairs, "num_reordered": num_reordered}


def _size(results: Sequence[Result], ranking: Ranking) -> SizeData:
    """The best candidate of each size, by its rank, and how far the order follows size."""
    found = sizes(results, ranking)
    ranks = {place.index: place.rank for place in ranking.ranked}
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
    """At least how many examples it takes to settle the first place; None if it is settled, or not known."""
    if len(ranking.ranked) < 2:
        return []
    growth = ranking.growth_at_least
    return [{"places": 1, "num_examples": None if growth is None else math.ceil(num_examples * growth)}]


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
