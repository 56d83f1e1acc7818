"""When a candidate is out of a race: the looks, the order of the rows, and which candidates are clearly behind.

Candidates run on growing nested samples of the rows. After each of these (a look), except the last, a candidate is out
when at least K others (`top`) are clearly better on the rows that all have run. The comparison is

- **leave-one-out**: it uses the measure that checks the one asked for: leave-one-out LEEP for LEEP and NCE, whose
  in-sample scores are too high for wide heads, most of all on few examples. Other measures are compared themselves;
- **paired**: the error of a gap comes from the influence of the same examples (or of the same parts of them) on both
  scores, with Student's t for the number of values. It allows for errors that the examples do not contain
  (`hf_leep.measures.unseen`): on few examples an overconfident candidate may not have been wrong yet;
- **corrected**: each comparison is one-sided at the level α = (1 − confidence)/(L K (C − 1)) for L looks and C
  candidates (Bonferroni). A candidate that is truly among the best K is out only if one of the at most C − 1 that are
  truly worse wrongly appears better, at one of L looks; so all of the best K stay with probability `confidence`;
- **extrapolated**: a leave-one-out score rises with the number of examples, and that of a wide head keeps rising for
  longer, so a narrow head may lead on few examples only. With D(m) the lead on m examples, the lead on all n is
  estimated as D(m) − h log₂(n/m), where h = D(m/2) − D(m), if positive, is what the lead lost when the examples last
  doubled. The two leads share half of their examples, so the error of this estimate is √(1 + log₂²(n/m)) times that of
  D(m).

Candidates whose error is not known are never out, and never put others out. Neither does one that was never trained
put out one that was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hf_leep.arrays import Integers
from hf_leep.measures import find
from hf_leep.options import Race
from hf_leep.ranking import ordering
from hf_leep.ranking.ordering import GapToBest, RankedCandidate, Ranking
from hf_leep.ranking.tie_letters import tie_groups, tie_letters
from hf_leep.ranking.uncertainty import RESOLUTION, JointScores, critical_value
from hf_leep.records import Result, Score

MOST_LOOKS = 5  # n/16, n/8, n/4, n/2, n: at each look every model that is still in has to be loaded again
FEWEST_EXAMPLES, FEWEST_PER_CLASS = 100, 2  # of the first look
_ALL_ROWS = (-MOST_LOOKS, False)  # sorts the candidates that ran all rows before those that stopped at any look


@dataclass(frozen=True)
class RaceResult:
    """How a race went.

    Attributes:
        confidence: probability that none of the truly best candidates was put out.
        top: how many of the best candidates it looked for.
        decided_by: the measure that decided it.
        level: one-sided level of one comparison at one look.
        looks: number of examples that a candidate had run at each look.
        num_examples_run: examples that the candidates ran in total, those that failed left out.
        num_examples_of_all: examples that they would have run without a race.
        num_examples_of_heads: examples that all candidates ran, on which the second opinion compares them.
    """

    confidence: float
    top: int
    decided_by: str
    level: float
    looks: tuple[int, ...]
    num_examples_run: int
    num_examples_of_all: int
    num_examples_of_heads: int


@dataclass(frozen=True)
class Eliminated:
    """A candidate that is put out of a race.

    Attributes:
        index: position of the candidate.
        by: position of the candidate that is most clearly ahead of it.
        gap: how far it is behind that one, in the measure's unit.
        margin: half-width of the gap's interval at the race's level.
    """

    index: int
    by: int
    gap: float
    margin: float


def comparison_level(race: Race, num_looks: int, num_candidates: int) -> float:
    """Return the one-sided level of one comparison at one look, so that all together have ``race.confidence``.

    Args:
        race: the options of the race.
        num_looks: looks at which candidates can be put out.
        num_candidates: candidates at the start.
    """
    return (1 - race.confidence) / (max(num_looks, 1) * race.top * max(num_candidates - 1, 1))


def deciding_measure(sort_by: str) -> str:
    """Return the measure that decides a race ordered by a measure: the one that checks it, or itself."""
    return find(sort_by).checked_by or find(sort_by).name


def looks(num_rows: int, num_classes: int) -> tuple[int, ...]:
    """Return how many rows a candidate has run at each look: the numbers double, and the last one is all rows.

    Args:
        num_rows: number of all rows.
        num_classes: target classes; the first look has at least 100 rows, and at least two a class.
    """
    fewest = max(FEWEST_EXAMPLES, FEWEST_PER_CLASS * num_classes)
    sizes = [num_rows]
    while len(sizes) < MOST_LOOKS and -(-sizes[-1] // 2) >= fewest:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(reversed(sizes))


def nested_order(labels: Integers | None, num_rows: int, rng: np.random.Generator) -> Integers:
    """Return an order of the rows whose first m rows are a stratified sample for every m, ``[num_rows]``.

    The j-th row of a class with n_c rows comes after the share (j + u)/n_c of all rows, with u drawn once for each
    class. The first m rows then have m n_c/n rows of the class, give or take one.

    Args:
        labels: class of each row, ``[num_rows]``; None where a row has no single class: then the order is random.
        num_rows: number of rows.
        rng: source of the randomness.
    """
    order = rng.permutation(num_rows)
    if labels is None:
        return order
    _, codes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    offset = rng.random(len(counts))
    by_class = np.argsort(codes, kind="stable")
    turn = np.empty(num_rows)
    turn[by_class] = np.concatenate([(np.arange(count) + u) / count for count, u in zip(counts, offset, strict=True)])
    return order[np.argsort(turn, kind="stable")]


def eliminated(
    scores: Sequence[Score],
    earlier: Sequence[Score],
    *,
    untrained: Sequence[bool] | None = None,
    higher_is_better: bool,
    top: int,
    level: float,
    doublings: float,
) -> list[Eliminated]:
    """Find the candidates that are clearly behind at a look.

    Args:
        scores: scores of the candidates still in the race, on the m rows that all have run.
        earlier: their scores on the first half of these rows.
        untrained: whether each of them was never trained; None if none was.
        higher_is_better: the orientation of the measure.
        top: how many others have to be clearly better.
        level: one-sided level of one comparison.
        doublings: log₂(n/m), how often the number of rows doubles until all have been run.
    """
    known = [k for k, (now, before) in enumerate(zip(scores, earlier, strict=True)) if _known(now) and _known(before)]
    if len(known) < 2:
        return []
    sign = 1.0 if higher_is_better else -1.0
    joint = JointScores.of([scores[k] for k in known])
    gap, error = joint.differences()
    before, _ = JointScores.of([earlier[k] for k in known]).differences()
    lead = sign * gap  # [k, k]: of the row candidate over the column candidate
    lost = np.maximum(sign * before - lead, 0.0)
    quantile = critical_value(joint.num_values, 2 * level)
    certain = lead - doublings * lost - quantile * np.hypot(1.0, doublings) * error
    never = np.array([untrained is not None and untrained[k] for k in known])
    ahead = (certain > RESOLUTION) & (never[None, :] | ~never[:, None])
    found = []
    for column in np.flatnonzero(ahead.sum(axis=0) >= top):
        best = int(np.argmax(np.where(ahead[:, column], certain[:, column], -np.inf)))
        margin = quantile * float(error[best, column])
        found.append(Eliminated(known[column], known[best], float(lead[best, column]), margin))
    return found


def rank_race(
    results: Sequence[Result], sort_by: str, scores_by_look: Mapping[int, Sequence[Mapping[str, Score]]], top: int
) -> Ranking:
    """Order the results of a race: first those that ran all rows, then those put out, the last ones out first.

    Candidates that were never trained come after all others, whenever they were put out.

    Those that ran all rows are ordered by `hf_leep.ranking.ordering.rank`. Those put out at the same look are ordered
    among themselves, on the rows that they ran. The gap of a candidate to the best is computed on the rows that both
    ran, and so is whether two candidates are told apart.

    A candidate that was put out is not among the best K. Nothing more is known of its rank, so its rank interval is
    from K + 1 to the last, and the interval of another candidate outside the best K also extends below those put out,
    which may still be better. The probability of being the best is one among the candidates that ran all rows.

    Args:
        results: one for each candidate.
        sort_by: the measure.
        scores_by_look: position in ``results`` → the scores at each look that the candidate reached, by the names of
            ``sort_by`` and of the measure that checks it.
        top: K, how many of the best candidates the race looked for.
    """

    def ranked(positions: Sequence[int], untrained: bool) -> Ranking:
        some = {k: scores_by_look[i] for k, i in enumerate(positions) if i in scores_by_look}
        # The race says nothing about the ranks of those that were never trained: none of them is among the best K.
        return _rank_race([results[i] for i in positions], sort_by, some, 0 if untrained else top)

    def gap_between(best: int, other: int) -> GapToBest:
        looks = [stop.look for i in (best, other) if (stop := results[i].stop) is not None]
        scores = [scores_by_look[i][min(looks)] if looks else results[i].scores for i in (best, other)]
        return ordering.gap(scores[0][sort_by], scores[1][sort_by], find(sort_by))

    return ordering.trained_first(results, ranked, gap_between)


def _rank_race(
    results: Sequence[Result], sort_by: str, scores_by_look: Mapping[int, Sequence[Mapping[str, Score]]], top: int
) -> Ranking:
    """Rank the results of a race, whether they were trained or not; arguments as of `rank_race`."""
    stages: dict[tuple[int, bool], list[int]] = {_ALL_ROWS: []}
    for index, result in enumerate(results):
        stop = result.stop  # candidates that were interrupted at a look come before those put out there
        stages.setdefault((-stop.look, stop.behind is not None) if stop else _ALL_ROWS, []).append(index)
    by_stage = {stage: ordering.rank([results[i] for i in stages[stage]], sort_by) for stage in sorted(stages)}
    num_ranked = sum(len(part.ranked) for part in by_stage.values())
    ranked: list[RankedCandidate] = []
    for stage, part in by_stage.items():
        num_below = num_ranked - len(ranked) - len(part.ranked)
        for candidate in part.ranked:
            index = stages[stage][candidate.index]
            moved = replace(candidate, index=index, rank=len(ranked) + 1)
            if stage == _ALL_ROWS:
                if candidate.rank_interval:
                    low, high = candidate.rank_interval
                    moved = replace(moved, rank_interval=(low, high if high <= top else high + num_below))
            else:
                interval = (top + 1, num_ranked) if stage[1] else None
                moved = replace(moved, rank_interval=interval, probability_best=None, same_as=None)
                if ranked:
                    look = -stage[0]
                    best, own = (scores_by_look[i][look][sort_by] for i in (ranked[0].index, index))
                    moved = replace(moved, gap_to_best=ordering.gap(best, own, find(sort_by)))
            ranked.append(moved)
    better, known = _told_apart(results, ranked, sort_by, scores_by_look)
    tied = zip(ranked, tie_groups(better, known), tie_letters(better, known), strict=True)
    return replace(
        by_stage[_ALL_ROWS],
        ranked=tuple(replace(place, tie_group=group, tie_letters=letters) for place, group, letters in tied),
        unranked=tuple(sorted(stages[stage][i] for stage, part in by_stage.items() for i in part.unranked)),
        num_pairs=sum(part.num_pairs for part in by_stage.values()),
        num_disagreements=sum(part.num_disagreements for part in by_stage.values()),
    )


def _told_apart(
    results: Sequence[Result],
    ranked: Sequence[RankedCandidate],
    sort_by: str,
    scores_by_look: Mapping[int, Sequence[Mapping[str, Score]]],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the row is better than the column on the rows that both ran, and whether a candidate's error is known.

    Args:
        results: one for each candidate.
        ranked: the candidates in order: those put out at an earlier look come after those that stayed longer.
        sort_by: the measure.
        scores_by_look: as of `rank_race`.

    Returns:
        ``[K, K]`` and ``[K]``, in the order of the candidates.
    """
    stops = [results[place.index].stop for place in ranked]
    better, known = np.zeros((len(ranked), len(ranked)), np.bool_), np.zeros(len(ranked), np.bool_)
    for look in {stop.look if stop else None for stop in stops}:
        own = np.array([(stop.look if stop else None) == look for stop in stops])
        reached = np.arange(np.flatnonzero(own)[-1] + 1)  # those put out there, and all that stayed longer
        if look is None:
            scores = [results[ranked[k].index].scores for k in reached]
        else:
            scores = [scores_by_look[ranked[k].index][look] for k in reached]
        compared = ordering.compare(scores, find(sort_by))
        mine = own[reached]
        pairs = np.triu(mine[:, None] | mine[None, :])  # a pair was last compared where the first of them went out
        better[np.ix_(reached, reached)] |= compared.better & pairs
        known[own] = compared.known[mine]
    return better, known


def _known(score: Score) -> bool:
    return score.value is not None and score.influence is not None
