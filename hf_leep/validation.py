"""How far to trust a ranking: train a head on each candidate's features, and compare the orders.

Nguyen, Hassner, Seeger, Archambeau: LEEP, ICML 2020, section 5.1, for the re-trained head as what a score is to
predict. Each example is judged by a head that was fitted without it (cross-validation), so no other rows are needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_leep import api, data
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.errors import CandidateError, UserError
from hf_leep.measures.blocks import standard_error
from hf_leep.models import MODALITIES
from hf_leep.ranking.correlation import agreement
from hf_leep.ranking.ordering import paired_differences
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.records import Extraction, Score, Target
from hf_leep.report import Report
from hf_leep.report.candidate_schema import EstimateData, RankedData, ScoreData
from hf_leep.report.card import short_names
from hf_leep.report.schema import ReportData, TargetData, is_ranked
from hf_leep.report.validation_schema import AgreementData, ComparedPairsData, ValidationData
from hf_leep.runs import plan
from hf_leep.runs.local import progress_bar

FOLDS = 5
_LOGIT_VARIANCE = 10.0  # of the logits before any data, the same for every candidate: C = 10/d


def validate(
    report: Report,
    *,
    top: int | None = None,
    dataset: Any = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: bool = True,
) -> Report:
    """Train heads on the first candidates of a ranking, and say how well their accuracies follow its order.

    Args:
        report: a finished ranking. Its data set and candidates must be what they were.
        top: how many candidates, from the first; all that have a rank by default.
        dataset: where the data set is now, or the object that was ranked on; where it was by default.
        device: ``cpu``, ``cuda`` or ``mps``, for a pass that is no longer in the store.
        dtype: number type to run in what is no longer in the store; that of the ranking by default.
        progress: show a bar.

    Returns:
        The report with ``validation`` in its data: each candidate's accuracy with its standard error, the correlations
        of each measure with accuracy, and how many of the pairs that the ranking tells apart accuracy confirms.

    Raises:
        UserError: fewer than two candidates, an unknown number type, or rows that are not those that were ranked.
        TargetError: the data set cannot be read.
    """
    if top is not None and top < 2:
        raise UserError(f"--top is {top}; an order has at least two candidates")
    if dtype is not None and dtype not in api.DTYPES:
        raise UserError(f"unknown --dtype {dtype!r}: {', '.join(api.DTYPES)}")
    ranked = [candidate for candidate in report.candidates if is_ranked(candidate)][:top]
    if len(ranked) < 2:
        raise UserError(f"{len(ranked)} of the candidates has a rank; an order has at least two")
    target, rows = _reopened(report.data["target"], dataset, progress)
    names = dict(zip(map(id, report.candidates), short_names(report.candidates), strict=True))
    trials = []
    with progress_bar(len(ranked), progress, "head") as bar:
        for candidate in ranked:
            bar.set_description(names[id(candidate)][-30:])
            trials.append(_tried(candidate, target, rows, device, dtype))
            bar.update(1)
    described: ReportData = {**report.data, "validation": _described(report.data, ranked, trials, top)}
    return Report(described)


@dataclass(frozen=True, eq=False)
class _Trial:
    """What came of one candidate: its accuracy, or why there is none."""

    accuracy: Score
    folds: int = 0


def _reopened(known: TargetData, dataset: Any, progress: bool) -> tuple[Target, data.Rows]:
    """The rows that were ranked, and no others."""
    if dataset is None and known["dataset"].endswith(" object"):
        raise UserError(f"the ranking was of {known['dataset']} in memory: say where its rows are with --dataset")
    used = known["num_examples"] if known["num_sentences"] is None else known["num_sentences"]
    found = data.load(
        known["dataset"] if dataset is None else dataset,
        MODALITIES,
        config=known["config"],
        split=known["split"],
        revision=known["revision"] if dataset is None else None,
        label=known["label_column"],
        inputs=known["input_columns"],
        max_samples=used if known["streamed"] or used < known["num_rows"] else None,
        streaming=known["streamed"],
        seed=known["seed"],
        progress=progress,
    )
    if found[0].fingerprint != known["fingerprint"]:
        raise UserError(f"{found[0].dataset} holds other rows than those that were ranked: rank them first")
    return found


def _tried(candidate: RankedData, target: Target, rows: data.Rows, device: str | None, dtype: str | None) -> _Trial:
    try:
        return _judged(_pass(candidate, target, rows, device, dtype), target)
    except UserError:
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return _Trial(Score(None, reason=plan.reason_of(error)))


def _pass(candidate: RankedData, target: Target, rows: data.Rows, device: str | None, dtype: str | None) -> Extraction:
    """The candidate's pass, from the store, or run again where it is not there."""
    revision = candidate["revision"]
    if revision is None:
        raise CandidateError("it was a model in memory: nothing of it is kept")
    local = revision.startswith("sha256:")
    name = candidate["id"] if local else f"{candidate['id']}@{revision}"
    dtype = dtype or (candidate["run"]["dtype"] if candidate["run"] else "float32")
    found = api.extract(name, target, rows, device=device, dtype=dtype)
    if found.candidate.revision != revision:
        raise CandidateError("the folder is not what it was when it was ranked: rank it again")
    return found


def _judged(extraction: Extraction, target: Target) -> _Trial:
    if extraction.features is None:
        raise CandidateError(extraction.missing.get("features", "the pass caught no features"))
    groups = target.sentences
    right, folds = cross_validated(extraction.features, target.labels, groups=groups, seed=target.seed)
    influence = right - right.mean()
    if groups is not None:  # words of a sentence are no independent draws
        influence = np.bincount(groups, influence) * (groups.max() + 1) / len(groups)
    return _Trial(Score(float(right.mean()), standard_error(influence), influence=influence.astype(np.float32)), folds)


def cross_validated(
    features: FloatMatrix, labels: Integers, *, groups: Integers | None = None, seed: int = 0
) -> tuple[NDArray[np.bool_], int]:
    """Judge each example by a linear head that was fitted without it.

    Args:
        features: penultimate features, ``[n, d]``; each is standardised on the examples that a head is fitted to.
        labels: classes, ``[n]`` in 0 … t − 1.
        groups: group of each example, ``[n]``; those of one group are left out together.
        seed: of the folds, which are stratified by class.

    Returns:
        Whether each example's class was predicted, ``[n]``, and the number of folds: 5, or as many as the largest
        class has examples. A class of one example is never predicted.

    Raises:
        UserError: no class has two examples.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(FOLDS, int(np.bincount(labels).max()))
    if folds < 2:
        raise UserError("no class has two examples, so no head can be judged on others than it was fitted to")
    dealt = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    penalised = LogisticRegression(C=_LOGIT_VARIANCE / features.shape[1], max_iter=1000)
    head = make_pipeline(StandardScaler(), penalised)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is left to gain after 1,000 steps moves no accuracy
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        found = cross_val_predict(head, np.asarray(features, dtype=np.float64), labels, groups=groups, cv=dealt)
    return found == labels, folds


def _described(
    report: ReportData, ranked: Sequence[RankedData], trials: Sequence[_Trial], asked: int | None
) -> ValidationData:
    """All of it as plain data."""
    done = [k for k, trial in enumerate(trials) if trial.accuracy.value is not None]
    gaps, errors = paired_differences([trials[k].accuracy for k in done])
    accuracy = np.array([trials[k].accuracy.value for k in done])
    best = int(accuracy.argmax()) if done else 0
    behind = {k: _estimate(float(gaps[best, i]), float(errors[best, i])) for i, k in enumerate(done)}
    groups = [ranked[k]["tie_group"] for k in done]
    return {
        "judged_by": "accuracy of a re-trained head, cross-validated",
        "folds": max((trial.folds for trial in trials), default=0),
        "top": len(ranked),
        "asked": asked,
        "num_ranked": sum(candidate["rank"] is not None for candidate in report["candidates"]),
        "candidates": [
            {
                "id": candidate["id"],
                "revision": candidate["revision"],
                "rank": candidate["rank"],
                "reason": trial.accuracy.reason,
                "accuracy": None
                if trial.accuracy.value is None
                else _estimate(trial.accuracy.value, trial.accuracy.standard_error),
                "place": None if k not in behind else 1 + int((accuracy > trial.accuracy.value).sum()),
                "behind_best": behind.get(k),
            }
            for k, (candidate, trial) in enumerate(zip(ranked, trials, strict=True))
        ],
        "agreement": {
            measure: _agreement([_comparable(ranked[k], measure) for k in done], accuracy)
            for measure in report["measures"]
        },
        "pairs": _pairs(groups, gaps, critical_value() * errors),
    }


def _estimate(value: float, standard_error: float | None) -> EstimateData:
    half_width = None if standard_error is None else critical_value() * standard_error
    return {"value": value, "standard_error": standard_error, "half_width": half_width}


def _comparable(candidate: RankedData, measure: str) -> ScoreData | None:
    """A candidate's score; none where a race stopped it: its scores are of fewer rows than those of others."""
    return None if candidate["stopped"] else candidate["scores"].get(measure)


def _agreement(scores: Sequence[ScoreData | None], accuracy: Float64) -> AgreementData:
    known = {k: value for k, score in enumerate(scores) if score and (value := score["value"]) is not None}
    found = agreement(list(known.values()), accuracy[list(known)])
    return {
        "num_candidates": found.num_candidates,
        "pearson": found.pearson,
        "pearson_interval": None if found.pearson_interval is None else list(found.pearson_interval),
        "pearson_p_value": found.pearson_p_value,
        "kendall": found.kendall,
        "kendall_interval": None if found.kendall_interval is None else list(found.kendall_interval),
        "kendall_p_value": found.kendall_p_value,
        "weighted_tau": found.weighted_tau,
        "weighted_tau_by_accuracy": found.weighted_tau_by_accuracy,
    }


def _pairs(groups: Sequence[int], gaps: Float64, margins: Float64) -> ComparedPairsData:
    """Pairs that the ranking tells apart: in the order of accuracy, against it, or not told apart by accuracy."""
    counts = {"confirmed": 0, "contradicted": 0, "open": 0}
    for i, j in combinations(range(len(groups)), 2):
        if groups[i] != groups[j]:
            told = abs(gaps[i, j]) > margins[i, j]
            counts["open" if not told else "confirmed" if gaps[i, j] > 0 else "contradicted"] += 1
    return {
        "told_apart": sum(counts.values()),
        "confirmed": counts["confirmed"],
        "contradicted": counts["contradicted"],
        "open": counts["open"],
    }
