"""The second opinion: contradictions are found, and equal candidates rarely contradict."""

from dataclasses import replace

import numpy as np
import pytest

from hf_leep.ranking.ordering import GapToBest, RankedCandidate, Ranking
from hf_leep.ranking.second_opinion import second_opinion
from hf_leep.records import Candidate, Result, Score


def scored(outcomes):
    outcomes = np.asarray(outcomes, dtype=float)
    influence = (outcomes - outcomes.mean()).astype(np.float32)
    error = influence.std(ddof=1) / np.sqrt(len(influence))
    score = Score(float(outcomes.mean()), float(error), influence=influence)
    return Result(Candidate("c"), head_accuracy=score)


def ranking(number, first=0):
    order = [first, *(i for i in range(number) if i != first)][:number]
    ranked = [
        RankedCandidate(i, r + 1, r + 1, "a", GapToBest(0.0, None, None), None, None, None)
        for r, i in enumerate(order)
    ]
    return Ranking("leep", None, 0.95, tuple(ranked), (), 0, 0, "leep", None)


def drawn(rng, accuracies, n=400, shared=0.5):
    """Outcomes that are right with these probabilities, and alike in part, as those of networks are."""
    common, own = rng.standard_normal(n), rng.standard_normal((len(accuracies), n))
    from scipy.special import ndtri

    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own < ndtri(np.asarray(accuracies))[:, None]


def test_a_clearly_better_head_contradicts_and_is_named():
    found = second_opinion([scored(o) for o in drawn(np.random.default_rng(0), [0.7, 0.75, 0.9])], ranking(3))
    assert (found.verdict, found.first, found.best, found.num_compared) == ("contradicted", 0, 2, 3)
    assert found.gap == pytest.approx(0.2, abs=0.05)
    assert 0 < found.standard_error < found.margin < found.gap


def test_the_first_one_is_the_most_accurate():
    results = [scored(o) for o in drawn(np.random.default_rng(1), [0.7, 0.9])]
    found = second_opinion(results, ranking(2, first=1))
    assert (found.verdict, found.first, found.best, found.gap) == ("agrees", 1, 1, 0.0)


def test_within_the_margin_it_depends_on_the_number_of_rows():
    rng = np.random.default_rng(2)
    few = [scored(o) for o in drawn(rng, [0.80, 0.83], n=60)]
    many = [scored(o) for o in drawn(rng, [0.80, 0.80], n=60_000)]
    assert [second_opinion(r, ranking(2)).verdict for r in (few, many)] == ["too few rows", "agrees"]


@pytest.mark.parametrize("number", [2, 12, 100])
def test_equal_heads_contradict_in_at_most_one_of_twenty_runs(number):
    rng, runs = np.random.default_rng(number), 300
    alarms = 0
    for _ in range(runs):
        results = [scored(o) for o in drawn(rng, [0.8] * number, n=200)]
        alarms += second_opinion(results, ranking(number)).verdict == "contradicted"
    assert alarms / runs < 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert alarms / runs > 0.01 or number == 100


def test_who_has_no_accuracy_on_the_same_rows_is_left_out():
    one, two, stopped = (scored(o) for o in drawn(np.random.default_rng(3), [0.7, 0.7, 0.99]))
    stopped = scored([1.0, 0.0] * 50)
    assert second_opinion([one, two, stopped], ranking(3)).num_compared == 2
    assert second_opinion([one, Result(Candidate("x"))], ranking(2)) is None
    assert second_opinion([one, two], ranking(0)) is None
    for same in ("ridge", "ridge-log-likelihood"):
        assert second_opinion([one, two], replace(ranking(2), sort_by=same)) is None


def test_copies_of_one_candidate_never_contradict():
    outcome = np.random.default_rng(4).random(300) < 0.8
    assert second_opinion([scored(outcome), scored(outcome)], ranking(2)).verdict == "agrees"
