"""Order candidates by one measure, and say which differences are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.measures import Measure, find
from hf_leep.ranking.uncertainty import Comparison, JointScores, chances_of_being_best, critical_value
from hf_leep.records import RankedCandidate, Ranking, Result, RowsNeeded, Score

CONFIDENCE_Z = 1.96  # two-sided 95 %
TOP = (1, 3)  # how many of the first places readers care to see settled


def rank(results: Sequence[Result], sort_by: str) -> Ranking:
    """Order results by one measure, best first, cut the order into tie groups, and say how sure each place is.

    Two candidates count as different only if their scores, and those of the measure that checks it, differ beyond
    1.96 paired standard errors (more where these are of few resamples) in the same direction. A new tie group starts
    only where every candidate above differs from every one below, so candidates of different groups always differ.
    Rank intervals ask the same of all pairs at once.

    Raises:
        MeasureError: no such measure.
    """
    measure = find(sort_by)
    ranked = [i for i, result in enumerate(results) if _value(result, measure.name) is not None]
    sign = 1.0 if measure.higher_is_better else -1.0
    ranked.sort(key=lambda i: (-sign * (_value(results[i], measure.name) or 0.0), results[i].candidate.id))
    joint = _joint(results, ranked, measure)
    gap, error = joint.differences()
    reach = critical_value(joint.num_values)
    compared, best_by, judge = Comparison.of(joint), measure, joint
    disagreements = 0
    if measure.shuffled_baseline:
        judge = replace(joint, values=joint.values - _of_shuffled_labels(results, ranked, measure))
        compared &= Comparison.of(judge)
    if measure.checked_by is not None:
        best_by = find(measure.checked_by)
        judge = _joint(results, ranked, best_by)
        compared &= Comparison.of(judge)
        disagreements = int(np.sum(np.triu(judge.differences()[0], k=1) < 0))
    chances = chances_of_being_best(judge, np.random.default_rng(0))
    intervals = compared.rank_intervals()

    places, group = [], 1
    for position, index in enumerate(ranked):
        if position and compared.ahead[:position, position:].all():
            group += 1
        behind_error = float(error[0, position]) if np.isfinite(error[0, position]) else None
        known = results[index].scores[measure.name].influence is not None
        places.append(
            RankedCandidate(
                result=index,
                rank=position + 1,
                tie_group=group,
                behind_best=float(gap[0, position]),
                behind_best_error=behind_error,
                behind_best_half_width=None if behind_error is None else reach * behind_error,
                rank_interval=intervals[position] if known else None,
                probability_best=None if chances is None else float(chances[position]),
            )
        )
    return Ranking(
        sort_by=measure.name,
        checked_by=measure.checked_by,
        places=tuple(places),
        unranked=tuple(i for i in range(len(results)) if i not in set(ranked)),
        num_pairs=len(ranked) * (len(ranked) - 1) // 2,
        num_disagreements=disagreements,
        best_by=best_by.name,
        settling=tuple(RowsNeeded(top, compared.settling(top)) for top in TOP if top < len(ranked)),
    )


def paired_differences(scores: Sequence[Score]) -> tuple[Float64, Float64]:
    """Differences of scores on the same examples, row minus column, and their standard errors: two ``[K, K]``.

    SE of a difference = std(IF_a − IF_b)/√n. Where an error is not known it is infinite: nothing can then be told
    apart.
    """
    return JointScores.of(scores).differences()


def _joint(results: Sequence[Result], ranked: Sequence[int], measure: Measure) -> JointScores:
    """Scores of the ranked candidates on one measure, turned so that higher is better."""
    joint = JointScores.of([results[i].scores[measure.name] for i in ranked])
    return joint if measure.higher_is_better else replace(joint, values=-joint.values)


def _of_shuffled_labels(results: Sequence[Result], ranked: Sequence[int], measure: Measure) -> Float64:
    """What the ranked candidates score of shuffled labels, turned like their scores; 0 where that is not known."""
    sign = 1.0 if measure.higher_is_better else -1.0
    return np.array([sign * (results[i].scores[measure.name].shuffled or 0.0) for i in ranked])


def _value(result: Result, name: str) -> float | None:
    return result.scores[name].value if name in result.scores else None
