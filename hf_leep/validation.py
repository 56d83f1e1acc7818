"""How far to trust a ranking: train a head on each candidate's features, and compare the orders.

Nguyen, Hassner, Seeger, Archambeau: LEEP, ICML 2020, section 5.1: a score should predict the accuracy of the
re-trained head. Each example is classified by a head that was fitted without it (cross-validation), so no other rows
are needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep import api, data
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.data import DatasetLike
from hf_leep.errors import CandidateError, TargetError, UserError, option
from hf_leep.measures.blocks import standard_error
from hf_leep.models import MODALITIES
from hf_leep.options import DTYPES, Device, Dtype, Execution, check_count, check_device, check_dtype, check_flag
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
    report: Report | str | Path,
    *,
    top: int | None = None,
    dataset: DatasetLike | None = None,
    device: Device | None = None,
    dtype: Dtype | None = None,
    progress: bool = True,
) -> Report:
    """Train heads on the first candidates of a ranking, and measure how well their accuracies agree with its order.

    Args:
        report: a finished ranking, or the folder of one. Its data set and candidates must not have changed.
        top: number of candidates, from the first; by default all that have a rank.
        dataset: where the data set is now, or the object that was ranked on; by default where it was.
        device: ``cpu``, ``cuda`` or ``mps``, for passes that are no longer in the store.
        dtype: number type for passes that are no longer in the store; by default that of the ranking.
        progress: show a progress bar.

    Returns:
        The report with ``validation`` in its data: each candidate's accuracy with its standard error, the correlations
        of each measure with accuracy, and how many of the pairs in different tie groups accuracy confirms.

    Raises:
        UserError: fewer than two candidates, an unknown device or number type, a folder without a report that can be
            read, or rows other than those that were ranked.
        TargetError: the data set cannot be read.
    """
    if top is not None:
        check_count("top", top, at_least=2)
    check_flag("progress", progress)
    check_device("device", device)
    if dtype is not None:
        check_dtype("dtype", dtype)
    report = report if isinstance(report, Report) else Report.load(report)
    ranked = [candidate for candidate in report.candidates if is_ranked(candidate)][:top]
    if len(ranked) < 2:
        raise UserError(f"{len(ranked)} of the candidates has a rank; an order has at least two candidates")
    target, rows = _reopened(report.data["target"], dataset, progress)
    names = dict(zip(map(id, report.candidates), short_names(report.candidates), strict=True))
    trials = []
    with progress_bar(len(ranked), progress, "head") as bar:
        for candidate in ranked:
            bar.set_description(names[id(candidate)][-30:])
            trials.append(_trial(candidate, target, rows, device, dtype))
            bar.update(1)
    described: ReportData = {**report.data, "validation": _as_data(report.data, ranked, trials, top)}
    return Report(described)


def exit_code(report: Report) -> int:
    """0 if every candidate of a validation has an accuracy, 3 if some have, 1 if none has."""
    tried = [candidate["accuracy"] is not None for candidate in report.data["validation"]["candidates"]]
    return 0 if all(tried) else 3 if any(tried) else 1


@dataclass(frozen=True, eq=False)
class _Trial:
    """One candidate's accuracy, or why it has none, and the number of folds."""

    accuracy: Score
    folds: int = 0


def _reopened(known: TargetData, dataset: DatasetLike | None, progress: bool) -> tuple[Target, data.Rows]:
    """Read exactly the rows that were ranked."""
    if dataset is None and known["dataset"].endswith(" object"):
        raise UserError(
            f"the ranking was of {known['dataset']} in memory: say where its rows are with {option('dataset')}"
        )
    used = known["num_examples"] if known["num_sentences"] is None else known["num_sentences"]
    try:
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
    except TargetError as error:
        if not any(option(name) in error.marked() for name in ("input", "label")):
            raise
        columns = ", ".join(map(repr, (*known["input_columns"], known["label_column"])))
        # What follows the colon is about options that only a ranking has.
        problem = error.marked().partition(":")[0].replace(option("input"), "column")
        raise TargetError(f"this is not the data set that was ranked, with the columns {columns}: {problem}") from None
    if found[0].fingerprint != known["fingerprint"]:
        raise UserError(f"{found[0].dataset} has other rows than those that were ranked: rank them first")
    return found


def _trial(
    candidate: RankedData, target: Target, rows: data.Rows, device: Device | None, dtype: Dtype | None
) -> _Trial:
    try:
        return _cross_validate(_extraction(candidate, target, rows, device, dtype), target)
    except UserError:
        raise
    except Exception as error:  # one bad candidate never stops the others, whatever it raises
        return _Trial(Score(None, reason=plan.reason_of(error)))


def _extraction(
    candidate: RankedData, target: Target, rows: data.Rows, device: Device | None, dtype: Dtype | None
) -> Extraction:
    """The candidate's pass, from the store if it is there, or else run again."""
    revision = candidate["revision"]
    if revision is None:
        raise CandidateError("it was a model in memory, which is not kept")
    local = revision.startswith("sha256:")
    name = candidate["id"] if local else f"{candidate['id']}@{revision}"
    ran_in = candidate["run"]["dtype"] if candidate["run"] else "float32"
    known: Dtype = next((name for name in DTYPES if name == ran_in), "float32")
    execution = Execution(device=device, dtype=dtype or known)
    found = api.extract(name, target, rows, execution=execution)
    if found.candidate.revision != revision:
        raise CandidateError("the folder has changed since it was ranked: rank it again")
    return found


def _cross_validate(extraction: Extraction, target: Target) -> _Trial:
    if extraction.features is None:
        raise CandidateError(extraction.missing.get("features", "the pass recorded no features"))
    groups = target.sentences
    right, folds = cross_validated(extraction.features, target.labels, groups=groups, seed=target.seed)
    influence = right - right.mean()
    if groups is not None:  # the words of a sentence are not independent
        influence = np.bincount(groups, influence) * (groups.max() + 1) / len(groups)
    return _Trial(Score(float(right.mean()), standard_error(influence), influence=influence.astype(np.float32)), folds)


def cross_validated(
    features: FloatMatrix, labels: Integers, *, groups: Integers | None = None, seed: int = 0
) -> tuple[NDArray[np.bool_], int]:
    """Classify each example by a linear head that was fitted without it.

    Args:
        features: penultimate features, ``[n, d]``; each is standardised on the examples that the head is fitted to.
        labels: classes, ``[n]`` in 0 … t − 1.
        groups: group of each example, ``[n]``; the examples of a group are left out together.
        seed: of the folds, which are stratified by class.

    Returns:
        Whether each example was classified correctly, ``[n]``, and the number of folds: 5, or the number of examples
        of the largest class if that is smaller. A class of one example is never predicted.

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
        raise UserError("no class has two examples, so no head can be tested on examples that it was not fitted to")
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    penalised = LogisticRegression(C=_LOGIT_VARIANCE / features.shape[1], max_iter=1000)
    head = make_pipeline(StandardScaler(), penalised)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after 1,000 steps the accuracy no longer changes
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        found = cross_val_predict(head, np.asarray(features, dtype=np.float64), labels, groups=groups, cv=splitter)
    return found == labels, folds


def _as_data(
    report: ReportData, ranked: Sequence[RankedData], trials: Sequence[_Trial], asked: int | None
) -> ValidationData:
    """The validation as plain data."""
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
