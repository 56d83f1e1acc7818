"""Order candidates by one measure, and say which differences are larger than their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.measures import Measure, find
from hf_leep.ranking import uncertainty
from hf_leep.ranking.best import first_equals, growth_at_least, probabilities_of_being_best
from hf_leep.ranking.rank_intervals import rank_intervals, simultaneously_better
from hf_leep.ranking.tie_letters import continued, tie_groups, tie_letters
from hf_leep.ranking.uncertainty import Comparison, JointScores, critical_value
from hf_leep.records import Result, Score


@dataclass(frozen=True)
class GapToBest:
    """How far a candidate's score is behind that of the best candidate, on the same examples.

    Attributes:
        value: score of the best minus this one's, in the measure's unit; 0 for the best. It is below 0 where
            a candidate with a higher score was put out of a race, or was never trained.
        standard_error: paired standard error of that difference; None where it is not known.
        half_width: how far the confidence interval of that difference extends to either side; None where the error is
            not known.
    """

    value: float
    standard_error: float | None
    half_width: float | None


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate's rank, and how certain it is.

    Attributes:
        index: position of the candidate in the list of results.
        rank: 1 for the best.
        tie_group: 1 for the best group; any two candidates of different groups differ by more than their paired error,
            and so may two of one group, if others between them link them. None where the score has no error.
        tie_letters: one letter for each set of candidates that are not told apart: two share a letter exactly where
            they do not differ by more than their paired error. None where the score has no error.
        gap_to_best: how far its score is behind that of the best candidate.
        rank_interval: lowest and highest rank that the examples leave possible; the intervals of all candidates hold
            together at the confidence level. None where the score has no error.
        probability_best: probability that its true score on ``best_by`` is the highest among the candidates whose
            error is known, given these examples. None where its own error is not known.
        same_as: rank of the first candidate with the same scores on every example, as exact copies have, with which it
            shares that probability; None if there is none before it.
    """

    index: int
    rank: int
    tie_group: int | None
    tie_letters: str | None
    gap_to_best: GapToBest
    rank_interval: tuple[int, int] | None
    probability_best: float | None
    same_as: int | None


@dataclass(frozen=True)
class Ranking:
    """Candidates ordered by one measure.

    Attributes:
        sort_by: the measure.
        checked_by: the measure that must agree before two candidates count as different, if there is one.
        confidence: the confidence level of the intervals, tie groups and rank intervals.
        ranked: the candidates that have a score on ``sort_by``, best first.
        unranked: positions of the results that have none.
        num_pairs: number of pairs of ranked candidates.
        num_disagreements: number of pairs that ``checked_by`` orders the other way.
        best_by: the measure whose scores give the probability of being the best: ``checked_by`` where there is one,
            since it has no in-sample bias that differs between candidates; else ``sort_by``.
        growth_at_least: the factor by which the number of examples has to grow at least to settle the first rank, as
            of `hf_leep.ranking.best.growth_at_least`. None where it is settled, where the error of the first candidate
            is not known, and where no finite bound above 1 is known.
    """

    sort_by: str
    checked_by: str | None
    confidence: float
    ranked: tuple[RankedCandidate, ...]
    unranked: tuple[int, ...]
    num_pairs: int
    num_disagreements: int
    best_by: str
    growth_at_least: float | None


def rank(results: Sequence[Result], sort_by: str) -> Ranking:
    """Order results by one measure, best first; form tie groups, and compute how certain each rank is.

    Two candidates count as different only if their scores, and those on the measure that checks it, differ in the same
    direction by more than the critical value times the paired standard error: at 95 % 1.96 errors, more where these
    are computed from few resamples. Candidates share a letter where they do not differ, and a new tie group starts
    only where every candidate above differs from every one below; both are among those whose error is known. Rank
    intervals require the same of all pairs at once.

    Candidates that were never trained come after all others (`trained_first`).

    Raises:
        MeasureError: no such measure.
    """
    measure = find(sort_by)

    def ranked(positions: Sequence[int], _untrained: bool) -> Ranking:
        return _rank([results[i] for i in positions], measure)

    def gap_between(best: int, other: int) -> GapToBest:
        return gap(results[best].scores[measure.name], results[other].scores[measure.name], measure)

    return trained_first(results, ranked, gap_between)


def trained_first(
    results: Sequence[Result],
    rank_some: Callable[[Sequence[int], bool], Ranking],
    gap_between: Callable[[int, int], GapToBest],
) -> Ranking:
    """Rank the candidates that were trained, and after them those that never were, whatever their scores.

    The two are told apart by that, and the probability of being the best is one among the candidates that were
    trained. A measure of features can score random ones highly, for a linear head on them may be good. But fine-tuning
    from them is training from scratch.

    Args:
        results: one for each candidate.
        rank_some: ranks the results at some positions; the second argument is whether these were never trained.
        gap_between: how far one position is behind another.
    """
    trained, never = (
        [i for i, result in enumerate(results) if result.candidate.untrained is wanted] for wanted in (False, True)
    )
    if not trained or not never:
        return rank_some(range(len(results)), bool(never))
    first, last = (_moved(rank_some(part, part is never), part) for part in (trained, never))
    if not first.ranked or not last.ranked:
        found = first if first.ranked or not last.ranked else last
        return replace(found, unranked=tuple(sorted((*first.unranked, *last.unranked))))
    num_before, num_groups = len(first.ranked), max((one.tie_group or 0 for one in first.ranked), default=0)
    letters = continued([one.tie_letters for one in last.ranked], [one.tie_letters for one in first.ranked])
    best = first.ranked[0].index
    behind = [
        replace(
            one,
            rank=one.rank + num_before,
            tie_group=None if one.tie_group is None else one.tie_group + num_groups,
            tie_letters=letters[position],
            gap_to_best=gap_between(best, one.index),
            rank_interval=None
            if one.rank_interval is None
            else (one.rank_interval[0] + num_before, one.rank_interval[1] + num_before),
            probability_best=None,
            same_as=None if one.same_as is None else one.same_as + num_before,
        )
        for position, one in enumerate(last.ranked)
    ]
    return replace(
        first,
        ranked=(*first.ranked, *behind),
        unranked=tuple(sorted((*first.unranked, *last.unranked))),
        num_pairs=first.num_pairs + last.num_pairs,
        num_disagreements=first.num_disagreements + last.num_disagreements,
    )


def _rank(results: Sequence[Result], measure: Measure) -> Ranking:
    """Order results by one measure, whether they were trained or not."""
    sign = 1.0 if measure.higher_is_better else -1.0
    values = {index: value for index, result in enumerate(results) if (value := _value(result, measure)) is not None}
    order = sorted(values, key=lambda i: (-sign * values[i], results[i].candidate.id))

    by_measure = _scores_to_compare([results[i].scores for i in order], measure)
    joint, best_by_scores = by_measure[0], by_measure[-1]
    compared = reduce(and_, map(Comparison.of, by_measure))
    best_by, num_disagreements = measure, 0
    if measure.checked_by is not None:
        best_by = find(measure.checked_by)
        num_disagreements = int(np.sum(np.triu(best_by_scores.differences()[0], k=1) < 0))
    probabilities = probabilities_of_being_best(best_by_scores, np.random.default_rng(0))
    alike = list(zip(*(first_equals(each).tolist() for each in by_measure), strict=True))
    equal_to = [alike.index(one) for one in alike]  # copies have the same scores on each measure
    open_to_doubt = bool(order) and compared.known[0] and not compared.settles_first()
    growth = growth_at_least(best_by_scores) if open_to_doubt else 0.0
    at_once = [simultaneously_better(each, np.random.default_rng(0)) for each in by_measure]
    intervals = rank_intervals(np.logical_and.reduce(at_once)) if order else []
    gaps = _gaps_to_first(joint)
    groups, letters = tie_groups(compared.better, compared.known), tie_letters(compared.better, compared.known)

    ranked = [
        RankedCandidate(
            index=index,
            rank=position + 1,
            tie_group=groups[position],
            tie_letters=letters[position],
            gap_to_best=gaps[position],
            rank_interval=intervals[position] if compared.known[position] else None,
            probability_best=float(probabilities[position]) if np.isfinite(probabilities[position]) else None,
            same_as=None if equal_to[position] == position else equal_to[position] + 1,
        )
        for position, index in enumerate(order)
    ]
    return Ranking(
        sort_by=measure.name,
        checked_by=measure.checked_by,
        confidence=uncertainty.CONFIDENCE,
        ranked=tuple(ranked),
        unranked=tuple(i for i in range(len(results)) if i not in values),
        num_pairs=len(order) * (len(order) - 1) // 2,
        num_disagreements=num_disagreements,
        best_by=best_by.name,
        growth_at_least=growth if 1 < growth < np.inf else None,
    )


def _moved(ranking: Ranking, positions: Sequence[int]) -> Ranking:
    """The ranking of results at some positions, as one of all results."""
    return replace(
        ranking,
        ranked=tuple(replace(one, index=positions[one.index]) for one in ranking.ranked),
        unranked=tuple(positions[i] for i in ranking.unranked),
    )


def compare(scores: Sequence[Mapping[str, Score]], measure: Measure) -> Comparison:
    """Compare candidates on the same examples by a measure and by what has to agree with it.

    Args:
        scores: scores of each candidate by the measure's name, and by that of the measure that checks it.
        measure: the measure that makes the order.
    """
    return reduce(and_, map(Comparison.of, _scores_to_compare(scores, measure)))


def gap(best: Score, other: Score, measure: Measure) -> GapToBest:
    """Compute how far one score is behind another on the same examples."""
    joint = JointScores.of([best, other])
    return _gaps_to_first(joint if measure.higher_is_better else replace(joint, values=-joint.values))[1]


def paired_differences(scores: Sequence[Score]) -> tuple[Float64, Float64]:
    """Compute differences of scores on the same examples, row minus column, and their standard errors, ``[K, K]``.

    The standard error of a difference is std(IF_a − IF_b)/√n. Where it is not known it is infinite, so that no two
    candidates count as different.
    """
    return JointScores.of(scores).differences()


def _gaps_to_first(joint: JointScores) -> list[GapToBest]:
    """Compute how far each score is behind the first one; higher is better."""
    if not len(joint.values):
        return []
    differences, errors = (matrix[0] for matrix in joint.differences())
    critical = critical_value(joint.num_values)
    return [
        GapToBest(float(value), float(error), critical * float(error))
        if np.isfinite(error)
        else GapToBest(float(value), None, None)
        for value, error in zip(differences, errors, strict=True)
    ]


def _scores_to_compare(scores: Sequence[Mapping[str, Score]], measure: Measure) -> list[JointScores]:
    """Return the scores that have to agree before two candidates count as different, higher being better.

    These are the scores on the measure; less those of shuffled labels, where it has them; and those on the measure
    that checks it.
    """
    joint = _joint(scores, measure)
    found = [joint]
    if measure.shuffled_baseline:
        sign = 1.0 if measure.higher_is_better else -1.0
        shuffled = np.array([sign * (of[measure.name].shuffled or 0.0) for of in scores])  # 0 where it is not known
        found.append(replace(joint, values=joint.values - shuffled))
    if measure.checked_by is not None:
        found.append(_joint(scores, find(measure.checked_by)))
    return found


def _joint(scores: Sequence[Mapping[str, Score]], measure: Measure) -> JointScores:
    """Combine the scores of candidates on one measure, oriented so that higher is better."""
    joint = JointScores.of([of[measure.name] for of in scores])
    return joint if measure.higher_is_better else replace(joint, values=-joint.values)


def _value(result: Result, measure: Measure) -> float | None:
    return result.scores[measure.name].value if measure.name in result.scores else None
