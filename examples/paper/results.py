"""Compute the numbers of the report from finished tasks, as plain data; the same tasks give the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from examples.paper.tasks import EXPERIMENTS, Experiment, classes_of, fitted
from examples.paper.transfer import Training
from hf_leep.errors import CandidateError, UserError
from hf_leep.ranking.correlation import (
    Agreement,
    Correlation,
    agreement,
    difference,
    partial_correlation,
    percentile_interval,
    reliability,
)

TRANSFERS = ("head", "head-sgd", "fine-tuning", "cnaps")  # kinds of job that end in the quality of a transferred model
CONVERGENCE = ("convergence", "convergence-large")
NUM_BINS = 3
FEWEST_TASKS = 5  # no correlation of fewer is reported: two points always lie on a line, and three often nearly do
_RESAMPLES = 1000

Record = Mapping[str, Any]


def collect(folder: Path) -> dict[str, Any]:
    """Collect all that the report says.

    Args:
        folder: folder of a study.

    Raises:
        UserError: there is no study, or no finished task.
        CandidateError: all tasks failed.
    """
    try:
        study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no study: {error}") from None
    study["training"] = {**asdict(Training()), **study["training"]}  # of an older release, which had fewer settings
    records: dict[tuple[str, str, str], dict[int, Record]] = {}
    failed: list[Record] = []
    for path in sorted((folder / "tasks").glob("*/*/*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "failed" in record:
            failed.append(record)
            continue
        records.setdefault((record["experiment"], record["source"], record["kind"]), {})[record["index"]] = record
    if failed and not records:
        raise CandidateError(f"{folder}: all {len(failed)} tasks failed, the first because of: {failed[0]['failed']}")
    if not records:
        raise UserError(f"{folder} holds no finished task")
    sources = [name for name in study["sources"] if any(source == name for _, source, _ in records)]
    measures = tuple(study["measures"])
    rows = [
        _row(study, EXPERIMENTS[experiment], source, kind, records.get((experiment, source, "head"), {}), found)
        for experiment in EXPERIMENTS
        for source in sources
        for kind in TRANSFERS
        if experiment not in ("source-selection", *CONVERGENCE)
        and (experiment != "meta-transfer" or kind == "cnaps")
        and (found := records.get((experiment, source, kind)))
    ]
    return {
        "study": study,
        "failures": _failures(failed),
        "rows": [row for row in rows if row["num_tasks"]],
        "meta_training": {
            source: {name: found[0][name] for name in ("episodes", "first", "last")}
            for source in sources
            if (found := records.get(("meta-transfer", source, "meta-training")))
        },
        "convergence": [
            _convergence(experiment, source, records.get((experiment, source, "head"), {}), found, measures)
            for experiment in CONVERGENCE
            for source in sources
            if (found := records.get((experiment, source, "curves")))
        ],
        "selection": _selection({s: records.get(("source-selection", s, "head"), {}) for s in sources}, measures),
    }


def _failures(failed: Sequence[Record]) -> list[dict[str, Any]]:
    """Group the tasks that failed by their reason."""
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for one in failed:
        groups.setdefault((one["experiment"], one["source"], one["kind"], one["failed"]), []).append(one["index"])
    return [
        {"experiment": experiment, "source": source, "kind": kind, "reason": reason, "tasks": indices}
        for (experiment, source, kind, reason), indices in groups.items()
    ]


def _row(
    study: Mapping[str, Any],
    experiment: Experiment,
    source: str,
    kind: str,
    scored: Mapping[int, Record],
    transferred: Mapping[int, Record],
) -> dict[str, Any]:
    """Compute a row of the paper's table: how each measure correlates with the quality after a kind of transfer."""
    indices = sorted(scored.keys() & transferred.keys())
    tasks = [scored[i] for i in indices]
    quality = np.array([transferred[i]["quality"] for i in indices])
    log_t = np.log([task["num_classes"] for task in tasks])
    halves = [transferred[i]["halves"] for i in indices if transferred[i].get("halves")]
    enough = len(halves) >= FEWEST_TASKS
    repeats = reliability(*np.array(halves).T) if enough else None
    return {
        "experiment": experiment.name,
        "source": source,
        "transfer": kind,
        "quality": experiment.quality,
        "num_tasks": len(tasks),
        "num_classes": _range(task["num_classes"] for task in tasks),
        "num_train": _range(task["num_train"] for task in tasks),
        "num_class_sets": _class_sets(study, experiment, indices),
        "quality_range": _range(quality.tolist()),
        "reliability": repeats,
        "ceiling": None if repeats is None else repeats**0.5,
        "ceiling_interval": None if repeats is None else _ceiling_interval(np.array(halves)),
        "baseline": _plain(_correlated(-log_t, quality)),
        "measures": {m: _agreement(m, tasks, quality, log_t) for m in study["measures"]},
        "points": [
            {"index": i, "num_classes": task["num_classes"], "score": task["scores"].get("leep"), "quality": float(q)}
            for i, task, q in zip(indices, tasks, quality, strict=True)
        ],
    }


def _class_sets(study: Mapping[str, Any], experiment: Experiment, indices: Sequence[int]) -> int:
    """Count the different sets of classes of some tasks."""
    own = fitted(experiment, study["num_classes"])
    return len({tuple(classes_of(own, study["num_classes"], study["seed"], i)) for i in indices})


def _ceiling_interval(halves: Any) -> tuple[float, float] | None:
    """Compute the bootstrap interval of the noise ceiling, from the qualities on both halves, ``[k, 2]``."""
    drawn = np.random.default_rng(0).integers(len(halves), size=(_RESAMPLES, len(halves)))
    sides = halves[drawn] - halves[drawn].mean(axis=1, keepdims=True)  # [b, k, 2]
    lengths = np.linalg.norm(sides, axis=1).prod(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip(sides.prod(axis=2).sum(axis=1) / lengths, 0, 1)
    return percentile_interval(np.sqrt(2 * r / (1 + r)))


def _correlated(scores: Any, quality: Any) -> Agreement:
    """Correlate scores with quality; no correlation of fewer than `FEWEST_TASKS` tasks."""
    return agreement(scores, quality) if len(scores) >= FEWEST_TASKS else Agreement(len(scores))


def _given(scores: Any, quality: Any, log_t: Any, *, by_rank: bool = False) -> Correlation | None:
    """Compute the partial correlation given the number of classes, with a seeded bootstrap interval."""
    if len(scores) < FEWEST_TASKS:
        return None
    return partial_correlation(scores, quality, log_t, by_rank=by_rank, resampled=np.random.default_rng(0))


def _known(measure: str, tasks: Sequence[Record]) -> tuple[Any, Any]:
    """Return which tasks a measure scores, and their scores."""
    found = [task["scores"].get(measure) for task in tasks]
    return np.array([f is not None for f in found], dtype=bool), np.array([f for f in found if f is not None])


def _agreement(measure: str, tasks: Sequence[Record], quality: Any, log_t: Any) -> dict[str, Any]:
    """Compute how one measure correlates with quality, on the tasks that it scores."""
    known, scores = _known(measure, tasks)
    leep = [task["scores"].get("leep") for task, k in zip(tasks, known, strict=True) if k]
    comparable = measure != "leep" and None not in leep and len(leep) >= FEWEST_TASKS
    return {
        **asdict(_correlated(scores, quality[known])),
        "partial": _plain(_given(scores, quality[known], log_t[known])),
        "partial_rank": _plain(_given(scores, quality[known], log_t[known], by_rank=True)),
        "ahead_of_leep": _plain(difference(scores, leep, quality[known]) if comparable else None),
    }


def _convergence(
    experiment: str,
    source: str,
    scored: Mapping[int, Record],
    curves: Mapping[int, Record],
    measures: Sequence[str],
) -> dict[str, Any]:
    """Compare fine-tuning, after each epoch, with the reference trained from scratch, for bins of LEEP."""
    indices = sorted(curves)
    transferred = np.array([curves[i]["transferred"] for i in indices])  # [k, epochs]
    reference = np.array([curves[i]["scratch"][-1] for i in indices])
    gain = transferred - reference[:, None]
    passed = [next((e for e, g in enumerate(row, 1) if g >= 0), None) for row in gain.tolist()]
    # a model that never passed counts as one epoch later than the last
    early = -np.array([gain.shape[1] + 1 if p is None else p for p in passed], dtype=float)
    log_t = np.log([curves[i]["num_classes"] for i in indices])
    tasks = [scored.get(i, {"scores": {}}) for i in indices]

    def correlations(measure: str) -> dict[str, Any]:
        known, scores = _known(measure, tasks)
        return {
            "speed": _plain(_correlated(scores, early[known])),
            "first_epoch": _plain(_correlated(scores, gain[known, 0])),
            "first_epoch_partial": _plain(_given(scores, gain[known, 0], log_t[known])),
        }

    known, leep = _known(
        "leep", tasks
    )  # no scores for a source without a head, or where LEEP is not among the measures
    order = np.flatnonzero(known)[np.argsort(leep, kind="stable")]
    bins = [part for part in np.array_split(order, min(NUM_BINS, len(leep)) or 1) if len(part)]
    of_task = {i: task["scores"].get("leep") for i, task in zip(indices, tasks, strict=True)}
    return {
        "experiment": experiment,
        "source": source,
        "num_tasks": len(indices),
        "num_classes": _range(curves[i]["num_classes"] for i in indices),
        "epochs": int(gain.shape[1]),
        "scratch_epochs": len(curves[indices[0]]["scratch"]),
        "bins": [
            {
                "leep": _range(of_task[indices[k]] for k in part),
                "num_tasks": len(part),
                "gain": gain[part].mean(axis=0).tolist(),
            }
            for part in bins
        ],
        "num_passed": sum(p is not None for p in passed),
        "measures": {m: correlations(m) for m in measures},
        "baseline": {
            "speed": _plain(_correlated(-log_t, early)),
            "first_epoch": _plain(_correlated(-log_t, gain[:, 0])),
            "first_epoch_partial": None,
        },
        "points": [
            {"index": i, "leep": of_task[i], "passed": p, "reference": float(r)}
            for i, p, r in zip(indices, passed, reference, strict=True)
        ],
    }


def _selection(records: Mapping[str, Mapping[int, Record]], measures: Sequence[str]) -> dict[str, Any] | None:
    """Compute how well each measure picks a source: for the whole data set, the first task, and over all tasks.

    A measure that does not score every source is evaluated on those that it scores, for each task.
    """
    sources = [name for name, found in records.items() if found]
    indices = sorted(set.intersection(*(set(records[name]) for name in sources))) if len(sources) > 1 else []
    if not indices:
        return None
    accuracy = {i: np.array([records[name][i]["quality"] for name in sources]) for i in indices}
    found: dict[str, Any] = {}
    for measure in measures:
        taus, regrets, judged = [], [], set()
        for i in indices:
            known, scores = _known(measure, [records[name][i] for name in sources])
            if known.sum() < 2:
                continue
            judged |= {name for name, k in zip(sources, known, strict=True) if k}
            own = accuracy[i][known]
            regrets.append(float(own.max() - own[int(np.argmax(scores))]))
            taus.append(agreement(scores, own).kendall)
        tau = [tau for tau in taus if tau is not None]
        found[measure] = {
            "num_tasks": len(regrets),
            "num_sources": len(judged),
            "kendall": float(np.mean(tau)) if tau else None,
            "kendall_interval": _mean_interval(tau),
            "regret": float(np.mean(regrets)) if regrets else None,
            "regret_interval": _mean_interval(regrets),
            "first_is_best": float(np.mean(np.array(regrets) == 0)) if regrets else None,
        }
    return {
        "sources": sources,
        "num_tasks": len(indices),
        "measures": found,
        "regret_of_chance": float(np.mean([a.max() - a.mean() for a in accuracy.values()])),
        "whole": {
            name: {"accuracy": records[name][0]["quality"], "scores": records[name][0]["scores"]} for name in sources
        }
        if indices[0] == 0
        else None,
    }


def _mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute the bootstrap interval of a mean over targets; None for few targets, or where all values are equal."""
    if len(values) < FEWEST_TASKS or min(values) == max(values):
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    return percentile_interval(np.asarray(values)[drawn].mean(axis=1))


def _range(values: Any) -> list[Any]:
    values = list(values)
    return [min(values), max(values)] if values else []


def _plain(record: Any) -> dict[str, Any] | None:
    return None if record is None else asdict(record)
