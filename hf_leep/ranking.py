"""Score an extraction; order candidates; say which differences are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64, Integers
from hf_leep.measures import Measure, find
from hf_leep.measures.blocks import standard_error
from hf_leep.records import Extraction, Place, Ranking, Result, Score

CONFIDENCE_Z = 1.96  # two-sided 95 %
RESOLUTION = 1e-5  # what a float32 pass can vary by with batch size and order: smaller differences are none
ENOUGH_PER_FEATURE = 5  # below this, H-score mostly counts features
_EXAMPLES_AT_ONCE = 4096
ENOUGH_PER_SOURCE_CLASS = 5  # below this many examples a source class, an in-sample score is flattered


def with_checks(measures: Sequence[str]) -> tuple[str, ...]:
    """Return the measures by their registry names, without repeats, and then those that check one of them."""
    names = [find(name).name for name in measures]
    return tuple(dict.fromkeys([*names, *(check for name in names if (check := find(name).checked_by))]))


def score(extraction: Extraction, measures: Sequence[str]) -> Result:
    """Score one extraction on each measure; a measure that does not apply gets a reason instead of a value."""
    scores = {name: _score(find(name), extraction) for name in measures}
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


def rank(results: Sequence[Result], sort_by: str) -> Ranking:
    """Order results by one measure, best first, and cut the order into tie groups.

    Two candidates count as different only if their scores, and those of the measure that checks it, differ beyond
    1.96 paired standard errors in the same direction. A new tie group starts only where every candidate above
    differs from every one below, so candidates of different groups always differ.

    Raises:
        MeasureError: no such measure.
    """
    measure = find(sort_by)
    ranked = [i for i, result in enumerate(results) if _value(result, measure.name) is not None]
    sign = 1.0 if measure.higher_is_better else -1.0
    ranked.sort(key=lambda i: (-sign * (_value(results[i], measure.name) or 0.0), results[i].candidate.id))
    scores = [results[i].scores[measure.name] for i in ranked]
    gap, error = paired_differences(scores)
    ahead = sign * gap > _margin(error)  # [K, K]: row candidate better than column candidate

    disagreements = 0
    if measure.checked_by is not None:
        check = find(measure.checked_by)
        check_gap, check_error = paired_differences([results[i].scores[check.name] for i in ranked])
        check_sign = 1.0 if check.higher_is_better else -1.0
        ahead &= check_sign * check_gap > _margin(check_error)
        disagreements = int(np.sum(np.triu(check_sign * check_gap, k=1) < 0))

    places, group = [], 1
    for position, index in enumerate(ranked):
        if position and ahead[:position, position:].all():
            group += 1
        behind_error = float(error[0, position])
        places.append(
            Place(
                result=index,
                rank=position + 1,
                tie_group=group,
                behind_best=float(sign * gap[0, position]),
                behind_best_error=behind_error if np.isfinite(behind_error) else None,
            )
        )
    unranked = tuple(i for i in range(len(results)) if i not in set(ranked))
    num_pairs = len(ranked) * (len(ranked) - 1) // 2
    return Ranking(measure.name, measure.checked_by, tuple(places), unranked, num_pairs, disagreements)


def paired_differences(scores: Sequence[Score]) -> tuple[Float64, Float64]:
    """Differences of scores on the same examples, row minus column, and their standard errors: two ``[K, K]``.

    SE of a difference = std(IF_a − IF_b)/√n. Where an error is not known it is infinite: nothing can then be told
    apart.
    """
    values = np.array([s.value for s in scores], dtype=np.float64)
    errors = np.full((len(scores), len(scores)), np.inf)
    influence = [s.influence for s in scores if s.influence is not None]
    if influence:
        known = [k for k, s in enumerate(scores) if s.influence is not None]
        n = len(influence[0])
        product = np.zeros((len(known), len(known)))  # Σ_i IF_a IF_b; each IF has mean 0
        for start in range(0, n, _EXAMPLES_AT_ONCE):
            chunk = np.array([row[start : start + _EXAMPLES_AT_ONCE] for row in influence], dtype=np.float64)
            product += chunk @ chunk.T
        own = np.diag(product)
        squared = np.maximum(own[:, None] + own[None, :] - 2 * product, 0.0)
        errors[np.ix_(known, known)] = np.sqrt(squared / (n - 1) / n)
    np.fill_diagonal(errors, 0.0)
    return np.subtract.outer(values, values), errors


def _margin(error: Float64) -> Float64:
    return np.maximum(CONFIDENCE_Z * error, RESOLUTION)


def _value(result: Result, name: str) -> float | None:
    return result.scores[name].value if name in result.scores else None


def _shared_reason(scores: dict[str, Score]) -> str:
    return "; ".join(dict.fromkeys(s.reason for s in scores.values() if s.reason is not None))


def _score(measure: Measure, extraction: Extraction) -> Score:
    inputs = getattr(extraction, measure.needs)
    if inputs is None:
        return Score(None, reason=extraction.missing.get(measure.needs, f"the pass caught no {measure.needs}"))
    if measure.noise_scores is not None and len(inputs) <= inputs.shape[1]:
        n, d = inputs.shape
        why = f"any features, noise included, score {measure.noise_scores}"
        return Score(None, reason=f"{measure.title} of n = {n} ≤ d = {d}: {why}")
    one_draw = extraction.groups is not None and not extraction.groups.any()
    try:
        value, influence = measure.influence_by_draw(
            inputs, extraction.labels, None if one_draw else extraction.groups
        )
    except (ValueError, np.linalg.LinAlgError) as error:  # outputs that are NaN, mostly: this candidate's fault alone
        return Score(None, reason=f"{measure.title}: {error}")
    if not np.isfinite(value):
        return Score(None, reason=f"{measure.title} came out as {value}")
    warnings, trusted = _warnings(measure, len(inputs), inputs.shape[1], np.bincount(extraction.labels))
    trusted &= not one_draw  # nobody knows how far another one would differ
    return Score(
        value=value,
        standard_error=standard_error(influence) if trusted else None,
        warnings=warnings,
        influence=influence.astype(np.float32) if trusted else None,
    )


def _warnings(measure: Measure, n: int, width: int, counts: Integers) -> tuple[tuple[str, ...], bool]:
    """Return what to know about a score of that many classes or features, and whether its error can be trusted."""
    found = []
    trusted = True
    if measure.needs == "probabilities":
        if measure.checked_by is not None and n < ENOUGH_PER_SOURCE_CLASS * width:
            found.append(
                f"only {n / width:.1f} examples a source class (fewer than {ENOUGH_PER_SOURCE_CLASS}): "
                "in-sample scores are too high; compare leave-one-out LEEP"
            )
        if width == 2:
            found.append("a head of 2 classes tells at most log 2 = 0.69 nats about the target")
    elif measure.noise_scores is not None and n < ENOUGH_PER_FEATURE * width:
        found.append(
            f"only {n / width:.3g} examples a feature (fewer than {ENOUGH_PER_FEATURE}): {measure.title} is too high, "
            "the more so the wider the features; it has no error here, and settles no order"
        )
        trusted = False
    if (counts == 1).any():
        found.append(f"{int((counts == 1).sum())} of {len(counts)} classes have one example")
    return tuple(found), trusted
