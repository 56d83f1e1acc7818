"""Finished tasks → the numbers of the report: plain data, the same for the same tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from examples.paper.tasks import EXPERIMENTS, Experiment
from hf_leep.agreement import agreement, difference, partial_correlation, reliability
from hf_leep.errors import UserError

TRANSFERS = ("head", "head-sgd", "fine-tuning", "cnaps")  # kinds of job that end in the quality of a transferred model
CONVERGENCE = ("convergence", "convergence-large")
NUM_BINS = 3
_MOST_SOURCES_NAMED = 12

Record = Mapping[str, Any]


def collect(folder: Path) -> dict[str, Any]:
    """All that the report says.

    Args:
        folder: of a study.

    Raises:
        UserError: there is no study, or no finished task.
    """
    try:
        study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no study: {error}") from None
    records: dict[tuple[str, str, str], dict[int, Record]] = {}
    for path in sorted((folder / "tasks").glob("*/*/*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        records.setdefault((record["experiment"], record["source"], record["kind"]), {})[record["index"]] = record
    if not records:
        raise UserError(f"{folder} holds no finished task")
    sources = [name for name in study["sources"] if any(source == name for _, source, _ in records)]
    measures = tuple(study["measures"])
    rows = [
        _row(EXPERIMENTS[experiment], source, kind, records[experiment, source, "head"], found, measures)
        for experiment in EXPERIMENTS
        for source in sources
        for kind in TRANSFERS
        if experiment not in ("source-selection", *CONVERGENCE)
        and (experiment != "meta-transfer" or kind == "cnaps")
        and (found := records.get((experiment, source, kind)))
    ]
    return {
        "study": study,
        "rows": rows,
        "meta_training": {
            source: {name: found[0][name] for name in ("episodes", "first", "last")}
            for source in sources
            if (found := records.get(("meta-transfer", source, "meta-training")))
        },
        "convergence": [
            _convergence(experiment, source, records[experiment, source, "head"], found)
            for experiment in CONVERGENCE
            for source in sources
            if (found := records.get((experiment, source, "curves")))
        ],
        "selection": _selection({s: records.get(("source-selection", s, "head"), {}) for s in sources}, measures),
    }


def _row(
    experiment: Experiment,
    source: str,
    kind: str,
    scored: Mapping[int, Record],
    transferred: Mapping[int, Record],
    measures: Sequence[str],
) -> dict[str, Any]:
    """One line of the paper's table: how each measure agrees with the quality after one kind of transfer."""
    indices = sorted(scored.keys() & transferred.keys())
    tasks = [scored[i] for i in indices]
    quality = np.array([transferred[i]["quality"] for i in indices])
    log_t = np.log([task["num_classes"] for task in tasks])
    halves = [transferred[i]["halves"] for i in indices if transferred[i].get("halves")]
    repeats = reliability(*np.array(halves).T) if len(halves) == len(indices) > 1 else None
    return {
        "experiment": experiment.name,
        "source": source,
        "transfer": kind,
        "quality": experiment.quality,
        "num_tasks": len(tasks),
        "num_classes": _range(task["num_classes"] for task in tasks),
        "num_train": _range(task["num_train"] for task in tasks),
        "quality_range": _range(quality.tolist()),
        "reliability": repeats,
        "ceiling": None if repeats is None else repeats**0.5,
        "baseline": _plain(agreement(-log_t, quality)),
        "measures": {m: _agreement(m, tasks, quality, log_t) for m in measures},
        "points": [
            {"index": i, "num_classes": task["num_classes"], "score": task["scores"].get("leep"), "quality": float(q)}
            for i, task, q in zip(indices, tasks, quality, strict=True)
        ],
    }


def _agreement(measure: str, tasks: Sequence[Record], quality: Any, log_t: Any) -> dict[str, Any]:
    """How one measure agrees with quality: on the tasks that it scores."""
    known = np.array([task["scores"][measure] is not None for task in tasks], dtype=bool)
    scores = np.array([task["scores"][measure] for task in tasks if task["scores"][measure] is not None])
    leep = [task["scores"].get("leep") for task, k in zip(tasks, known, strict=True) if k]
    ahead = difference(scores, leep, quality[known]) if measure != "leep" and None not in leep else None
    return {
        **_plain(agreement(scores, quality[known])),
        "partial": _plain(partial_correlation(scores, quality[known], log_t[known])),
        "ahead_of_leep": _plain(ahead),
    }


def _convergence(
    experiment: str, source: str, scored: Mapping[int, Record], curves: Mapping[int, Record]
) -> dict[str, Any]:
    """Accuracy of the transferred model less that of the reference trained from scratch, after each epoch, by LEEP."""
    indices = sorted(scored.keys() & curves.keys())
    leep = np.array([scored[i]["scores"]["leep"] for i in indices])
    log_t = np.log([scored[i]["num_classes"] for i in indices])
    transferred = np.array([curves[i]["transferred"] for i in indices])  # [k, epochs]
    reference = np.array([curves[i]["scratch"][-1] for i in indices])
    gain = transferred - reference[:, None]
    passed = [next((e for e, g in enumerate(row, 1) if g >= 0), None) for row in gain.tolist()]
    # never passed: later than the last epoch, which for ranks is one more
    late = np.array([gain.shape[1] + 1 if p is None else p for p in passed], dtype=float)
    bins = [part for part in np.array_split(np.argsort(leep, kind="stable"), min(NUM_BINS, len(leep))) if len(part)]
    return {
        "experiment": experiment,
        "source": source,
        "num_tasks": len(indices),
        "num_classes": _range(scored[i]["num_classes"] for i in indices),
        "epochs": int(gain.shape[1]),
        "scratch_epochs": len(curves[indices[0]]["scratch"]) if indices else 0,
        "bins": [
            {"leep": _range(leep[part].tolist()), "num_tasks": len(part), "gain": gain[part].mean(axis=0).tolist()}
            for part in bins
        ],
        "num_passed": sum(p is not None for p in passed),
        "speed": _plain(agreement(leep, -late)),
        "speed_baseline": _plain(agreement(-log_t, -late)),
        "first_epoch": _plain(agreement(leep, gain[:, 0])),
        "first_epoch_partial": _plain(partial_correlation(leep, gain[:, 0], log_t)),
        "points": [
            {"index": i, "leep": float(s), "passed": p, "reference": float(r)}
            for i, s, p, r in zip(indices, leep, passed, reference, strict=True)
        ],
    }


def _selection(records: Mapping[str, Mapping[int, Record]], measures: Sequence[str]) -> dict[str, Any] | None:
    """Which source each measure picks: for the whole data set, the first task, and over all tasks drawn."""
    sources = [name for name, found in records.items() if found]
    if len(sources) < 2:
        return None
    indices = sorted(set.intersection(*(set(records[name]) for name in sources)))
    accuracy = {i: np.array([records[name][i]["quality"] for name in sources]) for i in indices}
    found: dict[str, Any] = {}
    for measure in measures:
        taus, regrets = [], []
        for i in indices:
            scores = [records[name][i]["scores"][measure] for name in sources]
            if None in scores:
                continue
            regrets.append(float(accuracy[i].max() - accuracy[i][int(np.argmax(scores))]))
            taus.append(agreement(scores, accuracy[i]).kendall)
        known = [tau for tau in taus if tau is not None]
        found[measure] = {
            "num_tasks": len(regrets),
            "kendall": float(np.mean(known)) if known else None,
            "regret": float(np.mean(regrets)) if regrets else None,
            "first_is_best": float(np.mean(np.array(regrets) == 0)) if regrets else None,
        }
    whole = indices[0] == 0 if indices else False
    return {
        "sources": sources[:_MOST_SOURCES_NAMED],
        "num_tasks": len(indices),
        "measures": found,
        "regret_of_chance": float(np.mean([a.max() - a.mean() for a in accuracy.values()])),
        "whole": {
            name: {"accuracy": records[name][0]["quality"], "scores": records[name][0]["scores"]} for name in sources
        }
        if whole
        else None,
    }


def _range(values: Any) -> list[Any]:
    values = list(values)
    return [min(values), max(values)] if values else []


def _plain(record: Any) -> dict[str, Any] | None:
    return None if record is None else asdict(record)
