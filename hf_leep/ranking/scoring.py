"""Score an extraction on each measure, with the error of each score and warnings about when not to trust it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.errors import one_line
from hf_leep.measures import Measure, find
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.measures.spectrum import shared
from hf_leep.ranking.interval import interval
from hf_leep.ranking.uncertainty import critical_value
from hf_leep.records import Extraction, Result, Score
from hf_leep.text import form, percent

AUTO = "auto"  # value of ``sort_by`` that leaves the choice of the measure to hf_leep
AUTO_MEASURE = "ridge-log-likelihood"  # the one that it chooses; tests/benchmarks/choice.py shows why
ENOUGH_PER_FEATURE = 5  # with fewer examples per feature, H-score mostly counts features
HEAD_MEASURE = "ridge"  # the accuracy of a linear head, which each candidate with features gets
FLOOR_NOISE = 0.02  # nats by which random predictions were observed to score above the leave-one-out floor
NO_BETTER_THAN_FLOOR = (
    "by leave-one-out LEEP these predictions are no better than guessing by class frequency, so where this score "
    "looks slightly better, that is overfitting"
)
MOST_BY_CHANCE = 0.5  # share of the largest score that shuffled labels may have on average without a warning
ENOUGH_PER_SOURCE_CLASS = 5  # with fewer examples per source class, an in-sample score is too high
ENOUGH_PER_CELL = 5  # with fewer, random predictions gain (s − 1)(t − 1)/2n ≈ 0.1 nats and more in-sample
ENOUGH_PER_TARGET_CLASS = 10  # with fewer, 95 % intervals held in 93 to 99 % of samples (tests/benchmarks/coverage.py)


def with_checks(measures: Sequence[str]) -> tuple[str, ...]:
    """Return the measures by their registry names, without repeats, followed by those that check one of them."""
    names = [find(name).name for name in measures]
    return tuple(dict.fromkeys([*names, *(check for name in names if (check := find(name).checked_by))]))


def auto_measures(measures: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the measures to compute and the one that orders the candidates, where hf_leep chooses that one.

    It is the same for every pool, and scores each candidate alone, so that another candidate never changes the order
    of the others: the left-out log-likelihood of a linear head on the features. Of a candidate without features it is
    that of the predictor from its own classes, leave-one-out LEEP (`Measure.instead`). Both are the mean log
    probability of the label of an example that the predictor has not seen, in nats.

    Args:
        measures: the measures that the user asks for.
    """
    return tuple(dict.fromkeys((*measures, AUTO_MEASURE))), AUTO_MEASURE


def score(extraction: Extraction, measures: Sequence[str], advance: Callable[[], object] = lambda: None) -> Result:
    """Score one extraction on each measure; a measure that does not apply gets a reason instead of a value.

    A linear head on its features is scored as well, whatever the measures are.

    Args:
        extraction: the pass.
        measures: names of the measures.
        advance: called after each measure.
    """
    scores = {}
    with shared(extraction.features):
        for name in measures:
            scores[name] = _score(find(name), extraction)
            advance()
        head = scores[HEAD_MEASURE] if HEAD_MEASURE in scores else head_accuracy(extraction)
    leave_one_out = scores.get("leave-one-out-leep")
    if leave_one_out is not None and _no_better_than_floor(leave_one_out, extraction):
        checked = [name for name, s in scores.items() if find(name).checked_by == "leave-one-out-leep"]
        scores |= {
            name: _warned(scores[name], NO_BETTER_THAN_FLOOR) for name in checked if scores[name].value is not None
        }
    if extraction.run.num_truncated:
        truncated = _truncation(extraction)
        scores = {name: _warned(s, truncated) for name, s in scores.items()}
    if padded := extraction.run.num_padded:
        are = form(padded, "is shorter than the model needs and was", "are shorter than the model needs and were")
        text = f"{padded} of {len(extraction.labels)} sounds {are} padded with silence"
        scores = {name: _warned(s, text) for name, s in scores.items()}
    theta, features = extraction.probabilities, extraction.features
    return Result(
        candidate=extraction.candidate,
        scores=scores,
        reason=None if any(s.value is not None for s in scores.values()) else _shared_reason(scores),
        headless=theta is None and features is not None,
        num_source_classes=None if theta is None else theta.shape[1],
        effective_source_classes=None if theta is None else _effective_classes(theta),
        num_features=None if features is None else features.shape[1],
        head_accuracy=head,
        run=extraction.run,
    )


def head_accuracy(extraction: Extraction) -> Score | None:
    """Return the leave-one-out accuracy of a linear head on an extraction's features; None where it has none."""
    return None if extraction.features is None else _score(find(HEAD_MEASURE), extraction)


def half_width(score: Score) -> float | None:
    """Return how far the confidence interval of a score extends to either side; None where its error is not known.

    At 95 % this is 1.96 standard errors, and more where the error is computed from few values: 2.26 standard errors
    for ten resamples (Student's t). Where the interval extends further to one side, see `Score.interval`, this is
    the longer side.
    """
    if score.standard_error is None:
        return None
    return critical_value(0 if score.influence is None else len(score.influence)) * score.standard_error


def _no_better_than_floor(leave_one_out: Score, extraction: Extraction) -> bool:
    """Whether the leave-one-out score is no higher than that of predictions that know only the class frequencies."""
    if leave_one_out.value is None:
        return False
    bottom = floor(extraction.labels, extraction.draws)
    return leave_one_out.value <= bottom + max(half_width(leave_one_out) or 0.0, FLOOR_NOISE)


def _truncation(extraction: Extraction) -> str:
    """Say how many inputs were longer than the limit, and what was done with these."""
    run, draws = extraction.run, extraction.draws
    if run.max_seconds is not None:
        inputs, limit = f"{len(extraction.labels)} sounds", f"{run.max_seconds:.4g} s"
    else:
        inputs = f"{len(extraction.labels)} texts" if draws is None else f"{draws.max() + 1} sentences"
        limit = f"{run.max_length} tokens"
    treatment = "truncated" if draws is None else "read in pieces"
    are, were = form(run.num_truncated, "is", "are"), form(run.num_truncated, "was", "were")
    return f"{run.num_truncated} of {inputs} {are} longer than {limit} and {were} {treatment}"


def _effective_classes(theta: FloatMatrix) -> float:
    """Compute the exp of the entropy of the mean prediction, in source classes."""
    mean = theta.mean(axis=0, dtype=np.float64)  # P̂(z) [s]
    mean = mean[mean > 0] / mean.sum()
    return float(np.exp(-(mean * np.log(mean)).sum()))


def _warned(score: Score, warning: str) -> Score:
    return replace(score, warnings=(*score.warnings, warning))


def _shared_reason(scores: dict[str, Score]) -> str:
    return "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason is not None))


def _score(measure: Measure, extraction: Extraction) -> Score:
    inputs = getattr(extraction, measure.needs)
    if inputs is None:
        why = extraction.missing.get(measure.needs, f"the pass captured no {measure.needs}")
        instead = None if measure.instead is None else find(measure.instead)
        if instead is None or getattr(extraction, instead.needs) is None:
            return Score(None, reason=why)
        return _warned(_score(instead, extraction), f"{why}, so this is its {instead.title}, in the same unit")
    if measure.saturates_at is not None and len(inputs) <= inputs.shape[1]:
        n, d = inputs.shape
        why = f"with n = {n} and d = {d} any features, even noise, score {measure.saturates_at}"
        return Score(None, reason=f"{measure.title} needs more examples than features: {why}")
    single_draw = extraction.draws is not None and not extraction.draws.any()
    warnings, trusted = _warnings(measure, len(inputs), inputs.shape[1], np.bincount(extraction.labels))
    trusted &= not single_draw  # one draw does not show how much another would differ
    influence = None
    try:
        # Its error is not computed where its value alone shows that it says nothing.
        if trusted and not _uninformed(measure, inputs, extraction):
            value, influence = _computed(measure, inputs, extraction.labels, extraction.draws)
        else:
            value = measure.value_by_draw(inputs, extraction.labels, extraction.draws)
    except (ValueError, np.linalg.LinAlgError) as error:  # mostly outputs that are NaN: no other candidate is affected
        return Score(None, reason=f"{measure.title} cannot be computed, since {error}")
    except Exception as error:  # a measure that fails, perhaps one of another package, must not stop the others
        return Score(None, reason=f"{measure.title} cannot be computed ({type(error).__name__}: {one_line(error)})")
    if not np.isfinite(value):
        return Score(None, reason=f"{measure.title} is {value}")
    if measure.uninformed is not None and value <= (bar := measure.uninformed(extraction.labels)):
        least = f"{measure.title} is {value:.3f}, no higher than that of predictions that never change ({bar:.3f})"
        return Score(None, reason=f"{least}: such a score says nothing about the candidate")
    if measure.by_chance is not None and (share := measure.by_chance(inputs, extraction.labels)) > MOST_BY_CHANCE:
        warnings += (
            f"with shuffled labels {measure.title} would have {percent(round(share, 2))} of its highest value on "
            "average, and this share differs between candidates: do not order by it",
        )
    score = Score(value=value, warnings=warnings)
    draws = extraction.draws
    if influence is not None:
        num_draws = len(extraction.labels) if draws is None else int(draws.max()) + 1
        score = _with_error(score, measure, value, influence, num_draws)
    return _with_shuffled(score, measure, inputs, extraction.labels, draws) if measure.shuffled_baseline else score


def _uninformed(measure: Measure, inputs: FloatMatrix, extraction: Extraction) -> bool:
    if measure.uninformed is None:
        return False
    value = measure.value_by_draw(inputs, extraction.labels, extraction.draws)
    return value <= measure.uninformed(extraction.labels)


def _computed(
    measure: Measure, inputs: FloatMatrix, labels: Integers, draws: Integers | None
) -> tuple[float, Float64]:
    """Compute a measure's value and influence values, and check their shape and that they are finite."""
    value, influence = measure.influence_by_draw(inputs, labels, draws)
    influence = np.asarray(influence, dtype=np.float64)
    expected = len(labels) if draws is None else int(draws.max()) + 1
    if influence.ndim != 1 or len(influence) < 2 or not (measure.resamples or len(influence) == expected):
        wanted = "two or more" if measure.resamples else str(expected)
        raise ValueError(f"its influence has the shape {influence.shape}; expected {wanted} values")
    if not np.isfinite(influence).all():
        raise ValueError("its influence has values that are not finite")
    return float(value), influence


def _with_error(score: Score, measure: Measure, value: float, influence: Float64, num_draws: int) -> Score:
    error = measure.standard_error(value, influence, num_draws)
    unseen = measure.unseen_variance(value, influence, num_draws)
    return replace(
        score,
        standard_error=error,
        unseen=unseen,
        interval=interval(measure, value, error, unseen, len(influence)),
        influence=influence.astype(np.float32),
    )


def _with_shuffled(
    score: Score, measure: Measure, inputs: FloatMatrix, labels: Integers, draws: Integers | None
) -> Score:
    """Add the score with shuffled labels: what a fit to the same examples scores where there is nothing to learn.

    The labels are shuffled once, in the same way for all candidates. On features of a ResNet (n = 500 and 1,000),
    other shuffles gave scores that differed by a fifth to three quarters of the score's own half-width.
    """
    try:
        shuffled = measure.value_by_draw(inputs, shuffled_labels(labels, draws), draws)
    except Exception as error:  # whatever a measure raises, perhaps one of another package: the score itself is valid
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {one_line(error)}"
        return _warned(score, f"{measure.title} cannot be compared with its value for shuffled labels ({why})")
    if not np.isfinite(shuffled):
        return _warned(
            score, f"{measure.title} is {shuffled} with shuffled labels: nothing says what noise would score"
        )
    score = replace(score, shuffled=shuffled)
    sign = 1.0 if measure.higher_is_better else -1.0
    if score.value is None or sign * (score.value - shuffled) > (half_width(score) or 0.0):
        return score
    return _warned(score, f"{measure.title} is no better than with shuffled labels: what it measures here is noise")


def shuffled_labels(labels: Integers, draws: Integers | None) -> Integers:
    """Return the labels in a random order that keeps those of a draw together, ``[n]``.

    The labels of all draws, in a random order of the draws, are dealt out to the draws in turn. Draws of different
    sizes then get a stretch of the labels of their neighbours in that order. Labels that are alike within a sentence
    stay so, and features that are alike within a sentence fit them by chance more closely than they fit any labels of
    single words.

    Args:
        labels: target labels, ``[n]``.
        draws: draw of each example, 0 … g−1, ``[n]``; None where each is its own.
    """
    if draws is None:
        return np.random.default_rng(len(labels)).permutation(labels)
    number = int(draws.max()) + 1
    turn = np.empty(number, np.int64)  # of each draw
    turn[np.random.default_rng(number).permutation(number)] = np.arange(number)
    shuffled = np.empty_like(labels)
    shuffled[np.argsort(draws, kind="stable")] = labels[np.argsort(turn[draws], kind="stable")]
    return shuffled


def _warnings(measure: Measure, n: int, width: int, counts: Integers) -> tuple[tuple[str, ...], bool]:
    """Return warnings about a score with that many classes or features, and whether its error can be trusted."""
    found = []
    trusted = True
    if measure.needs == "probabilities":
        in_sample = measure.checked_by is not None
        what = "estimates look too good on their own rows, so compare leave-one-out LEEP"
        what = what if in_sample else f"the error of {measure.title} is rough"
        if n < ENOUGH_PER_SOURCE_CLASS * width:
            few = f"only {_examples(n / width)} per source class (fewer than {ENOUGH_PER_SOURCE_CLASS})"
            found.append(f"{few}: {what}")
        elif in_sample and n < ENOUGH_PER_CELL * width * len(counts):
            few = f"only {_examples(n / width / len(counts))} per pair of source and target class"
            found.append(f"{few} (fewer than {ENOUGH_PER_CELL}): {what}")
        if width == 2:
            found.append("a head with 2 classes gives at most log 2 = 0.69 nats of information about the target")
    elif measure.saturates_at is not None and n < ENOUGH_PER_FEATURE * width:
        found.append(
            f"only {_examples(n / width, 3)} per feature (fewer than {ENOUGH_PER_FEATURE}): {measure.title} is too "
            "high, most of all for wide features; its error is not known, so it cannot tell candidates apart"
        )
        trusted = False
    usual = min(n / len(counts), float(np.median(counts)))  # a large class does not make up for small ones
    if trusted and usual < ENOUGH_PER_TARGET_CLASS:
        found.append(
            f"only {_examples(usual)} per target class (fewer than {ENOUGH_PER_TARGET_CLASS}): errors are "
            "rough, most of them slightly too large"
        )
    if alone := int((counts == 1).sum()):
        found.append(f"{alone} of {len(counts)} classes {form(alone, 'has', 'have')} only one example")
    return tuple(found), trusted


def _examples(number: float, digits: int = 2) -> str:
    """A mean number of examples in words, such as 1 example or 2.5 examples."""
    written = f"{number:.{digits}g}"
    return f"{written} example{'' if written == '1' else 's'}"
