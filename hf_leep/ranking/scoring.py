"""Score an extraction on each measure, with the error of each score and what to know before trusting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.errors import one_line
from hf_leep.measures import Measure, find
from hf_leep.measures.blocks import standard_error
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.records import Extraction, Result, Score

AUTO = "auto"  # what an order can be by, beside the name of a measure
FEATURE_MEASURE = "logme"  # orders pools with headless candidates; tests/benchmarks/choice.py says why
ENOUGH_PER_FEATURE = 5  # below this, H-score mostly counts features
FLOOR_NOISE = 0.02  # nats by which predictions of lot were seen to score above the leave-one-out floor
FLATTERED = "leave-one-out these predictions explain nothing measurable: what stands above the floor here is in-sample"
ENOUGH_PER_SOURCE_CLASS = 5  # below this many examples a source class, an in-sample score is flattered
ENOUGH_PER_CELL = 5  # below this, random predictions gain (s − 1)(t − 1)/2n ≈ 0.1 nats and more in-sample
ENOUGH_PER_TARGET_CLASS = 10  # below this, 95 % intervals held 93 to 99 % of the time (tests/benchmarks/coverage.py)


def with_checks(measures: Sequence[str]) -> tuple[str, ...]:
    """Return the measures by their registry names, without repeats, and then those that check one of them."""
    names = [find(name).name for name in measures]
    return tuple(dict.fromkeys([*names, *(check for name in names if (check := find(name).checked_by))]))


def measures_of(measures: Sequence[str], num_headless: int) -> tuple[tuple[str, ...], str]:
    """The measures to compute, and the one that makes the order, where that is left to hf_leep.

    Leave-one-out LEEP, if all candidates can have it; where some have no head, one measure of features for all of
    them. A score of one measure is never compared with one of another.

    Args:
        measures: those that are asked for.
        num_headless: candidates that are known to have no head.
    """
    order = FEATURE_MEASURE if num_headless else "leave-one-out-leep"
    return tuple(dict.fromkeys((*measures, order))), order


def score(extraction: Extraction, measures: Sequence[str]) -> Result:
    """Score one extraction on each measure; a measure that does not apply gets a reason instead of a value."""
    scores = {name: _score(find(name), extraction) for name in measures}
    if (judge := scores.get("leave-one-out-leep")) is not None and _knows_nothing(judge, extraction.labels):
        flattered = [
            n for n, s in scores.items() if s.value is not None and find(n).checked_by == "leave-one-out-leep"
        ]
        scores |= {n: replace(scores[n], warnings=(*scores[n].warnings, FLATTERED)) for n in flattered}
    if extraction.run.num_truncated:
        run, groups = extraction.run, extraction.groups
        if run.max_seconds is not None:
            whole, limit = f"{len(extraction.labels)} sounds", f"{run.max_seconds:.4g} s"
        else:
            whole = f"{len(extraction.labels)} texts" if groups is None else f"{groups.max() + 1} sentences"
            limit = f"{run.max_length} tokens"
        fate = "cut there" if groups is None else "read in pieces"
        cut = f"{run.num_truncated} of {whole} are longer than {limit} and were {fate}"
        scores = {name: replace(s, warnings=(*s.warnings, cut)) for name, s in scores.items()}
    theta, features = extraction.probabilities, extraction.features
    effective = None
    if theta is not None:
        mean = theta.mean(axis=0, dtype=np.float64)  # P̂(z) [s]
        mean = mean[mean > 0]
        effective = float(np.exp(-(mean * np.log(mean)).sum()))
    return Result(
        candidate=extraction.candidate,
        scores=scores,
        reason=None if any(s.value is not None for s in scores.values()) else _shared_reason(scores),
        headless=theta is None and features is not None,
        num_source_classes=None if theta is None else theta.shape[1],
        effective_source_classes=effective,
        num_features=None if features is None else features.shape[1],
        run=extraction.run,
    )


def half_width(score: Score) -> float | None:
    """How far the 95 % interval of a score reaches to either side; None where its error is not known.

    1.96 standard errors, or more where the error is of few values (2.26 of ten resamples): Student's t.
    """
    if score.standard_error is None:
        return None
    return critical_value(0 if score.influence is None else len(score.influence)) * score.standard_error


def _knows_nothing(leave_one_out: Score, labels: Integers) -> bool:
    """Whether predictions score no more than the class frequencies alone would, each example left out."""
    if leave_one_out.value is None:
        return False
    return leave_one_out.value <= floor(labels) + max(half_width(leave_one_out) or 0.0, FLOOR_NOISE)


def _shared_reason(scores: dict[str, Score]) -> str:
    return "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason is not None))


def _score(measure: Measure, extraction: Extraction) -> Score:
    inputs = getattr(extraction, measure.needs)
    if inputs is None:
        return Score(None, reason=extraction.missing.get(measure.needs, f"the pass caught no {measure.needs}"))
    if measure.saturates_at is not None and len(inputs) <= inputs.shape[1]:
        n, d = inputs.shape
        why = f"any features, noise included, score {measure.saturates_at}"
        return Score(None, reason=f"{measure.title} of n = {n} ≤ d = {d}: {why}")
    one_draw = extraction.groups is not None and not extraction.groups.any()
    draws = None if one_draw else extraction.groups
    try:
        value, influence = _computed(measure, inputs, extraction.labels, draws)
    except (ValueError, np.linalg.LinAlgError) as error:  # outputs that are NaN, mostly: this candidate's fault alone
        return Score(None, reason=f"{measure.title}: {error}")
    except Exception as error:  # one bad measure, of another package perhaps, never takes the others with it
        return Score(None, reason=f"{measure.title}: {type(error).__name__}: {one_line(error)}")
    if not np.isfinite(value):
        return Score(None, reason=f"{measure.title} came out as {value}")
    warnings, trusted = _warnings(measure, len(inputs), inputs.shape[1], np.bincount(extraction.labels))
    trusted &= not one_draw  # nobody knows how far another one would differ
    score = Score(
        value=value,
        standard_error=standard_error(influence) if trusted else None,
        warnings=warnings,
        influence=influence.astype(np.float32) if trusted else None,
    )
    return _beside_shuffled(score, measure, inputs, extraction.labels) if measure.shuffled_baseline else score


def _computed(
    measure: Measure, inputs: FloatMatrix, labels: Integers, draws: Integers | None
) -> tuple[float, Float64]:
    """A measure's value and influence values, held to what is promised of them."""
    value, influence = measure.influence_by_draw(inputs, labels, draws)
    influence = np.asarray(influence, dtype=np.float64)
    expected = len(labels) if draws is None else int(draws.max()) + 1
    if influence.ndim != 1 or len(influence) < 2 or not (measure.resamples or len(influence) == expected):
        wanted = "two or more" if measure.resamples else str(expected)
        raise ValueError(f"its influence has the shape {influence.shape}, where {wanted} values were expected")
    if not np.isfinite(influence).all():
        raise ValueError("its influence has values that are not finite")
    return float(value), influence


def _beside_shuffled(score: Score, measure: Measure, inputs: FloatMatrix, labels: Integers) -> Score:
    """Add what a fit to the same examples scores where there is nothing to learn.

    One shuffle, the same for all candidates: from one to another it moved by a fifth to three quarters of the score's
    own half-width, on features of a ResNet (n of 500 and 1,000).
    """
    try:
        shuffled = float(measure.function(inputs, np.random.default_rng(len(labels)).permutation(labels)))
    except Exception:  # the score itself stands
        return score
    if not np.isfinite(shuffled):
        return score
    score = replace(score, shuffled=shuffled)
    sign = 1.0 if measure.higher_is_better else -1.0
    if score.value is None or sign * (score.value - shuffled) > (half_width(score) or 0.0):
        return score
    noise = f"{measure.title} is no better than of shuffled labels: what it found here is noise"
    return replace(score, warnings=(*score.warnings, noise))


def _warnings(measure: Measure, n: int, width: int, counts: Integers) -> tuple[tuple[str, ...], bool]:
    """Return what to know about a score of that many classes or features, and whether its error can be trusted."""
    found = []
    trusted = True
    if measure.needs == "probabilities":
        in_sample = measure.checked_by is not None
        what = "in-sample scores are too high; compare leave-one-out LEEP"
        what = what if in_sample else f"the error of {measure.title} is rough"
        if n < ENOUGH_PER_SOURCE_CLASS * width:
            few = f"only {n / width:.2g} examples a source class (fewer than {ENOUGH_PER_SOURCE_CLASS})"
            found.append(f"{few}: {what}")
        elif in_sample and n < ENOUGH_PER_CELL * width * len(counts):
            few = f"only {n / width / len(counts):.2g} examples a pair of source and target class"
            found.append(f"{few} (fewer than {ENOUGH_PER_CELL}): {what}")
        if width == 2:
            found.append("a head of 2 classes tells at most log 2 = 0.69 nats about the target")
    elif measure.saturates_at is not None and n < ENOUGH_PER_FEATURE * width:
        found.append(
            f"only {n / width:.3g} examples a feature (fewer than {ENOUGH_PER_FEATURE}): {measure.title} is too high, "
            "the more so the wider the features; it has no error here, and settles no order"
        )
        trusted = False
    usual = min(n / len(counts), float(np.median(counts)))  # one large class says nothing of the others
    if trusted and usual < ENOUGH_PER_TARGET_CLASS:
        found.append(
            f"only {usual:.2g} examples a target class (fewer than {ENOUGH_PER_TARGET_CLASS}): errors are rough, "
            "most a little too large"
        )
    if (counts == 1).any():
        found.append(f"{int((counts == 1).sum())} of {len(counts)} classes have one example")
    return tuple(found), trusted
