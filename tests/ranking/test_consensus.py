from itertools import permutations

import numpy as np
import pytest

from hf_leep.ranking.consensus import agreements, consensus, voters
from hf_leep.records import Candidate, Result, Score
from tests.ranking.test_correlation import naive_tau

THREE = ("leave-one-out-leep", "h-score", "logme")


def results(*columns, measures=THREE):
    """Candidates from a list of scores for each measure; None where one has none."""
    rows = [dict(zip(measures, row, strict=True)) for row in zip(*columns, strict=True)]
    return [Result(Candidate(str(k)), {m: Score(v) for m, v in row.items()}) for k, row in enumerate(rows)]


def ranks(*columns, measures=THREE):
    measures = measures[: len(columns)]
    return [found and found.rank for found in consensus(results(*columns, measures=measures), measures)]


def test_a_common_order_is_the_consensus_whatever_the_scales(rng):
    order = rng.permutation(8).astype(float)
    expected = (8 - order).astype(int).tolist()
    assert ranks(order, 1e6 * order - 3, -np.exp(-order)) == expected


@pytest.mark.parametrize("fault", ["reversed", "random", "constant", "failed", "huge"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_measure_that_fails_changes_nothing_where_two_agree(rng, fault, place):
    order = [5.0, 3.0, 4.0, 1.0, 2.0]
    bad = {
        "reversed": [-v for v in order],
        "random": rng.normal(size=5).tolist(),
        "constant": [1.0] * 5,
        "failed": [None] * 5,
        "huge": [1e300 * v for v in rng.normal(size=5)],
    }[fault]
    columns = [order, order, order]
    columns[place] = bad
    assert ranks(*columns) == [1, 3, 2, 5, 4]


def test_two_that_disagree_leave_a_tie():
    assert ranks([2.0, 1.0], [1.0, 2.0]) == [1, 1]
    # 0 is first for both, of 1 and 2 each is once ahead
    assert ranks([3.0, 2.0, 1.0], [3.0, 1.0, 2.0]) == [1, 2, 2]


def test_a_circle_is_a_tie():
    assert ranks([3, 2, 1], [1, 3, 2], [2, 1, 3]) == [1, 1, 1]


def test_equal_scores_do_not_vote():
    assert ranks([1.0, 1.0 + 1e-7], [2.0, 1.0]) == [1, 2]
    assert ranks([1.0, 1.0], [2.0, 2.0]) == [1, 1]
    assert ranks([1.0 + 1e-7, 1.0]) == [1, 1]


def test_a_missing_score_does_not_vote():
    # candidate 2 has no head: the second measure alone places it, between the others
    assert ranks([3.0, 1.0, None], [3.0, 1.0, 2.0]) == [1, 3, 2]
    assert ranks([3.0, None, 1.0], [None, None, None]) == [1, None, 2]


def test_pairs_are_counted_as_in_a_loop(rng):
    columns = rng.integers(0, 4, size=(3, 7)).astype(float).tolist()
    columns[0][2] = columns[1][5] = None
    found = consensus(results(*columns), THREE)
    for i in range(7):
        won = lost = 0
        for j in range(7):
            votes = [np.sign(c[i] - c[j]) for c in columns if c[i] is not None and c[j] is not None]
            won, lost = won + (sum(votes) > 0), lost + (sum(votes) < 0)
        assert (found[i].won, found[i].lost) == (won, lost)
    net = [s.won - s.lost for s in found]
    assert [s.rank for s in found] == [1 + sum(other > own for other in net) for own in net]


def test_the_order_of_candidates_and_measures_does_not_matter():
    columns = [[4.0, 2.0, 3.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]]
    expected = ranks(*columns)
    for order in permutations(range(3)):
        assert ranks(*(columns[k] for k in order)) == expected
        moved = ranks(*([column[k] for k in order] for column in columns))
        assert moved == [expected[k] for k in order]


def test_related_measures_have_one_vote():
    assert voters(["leep", "leave-one-out-leep", "nce"]) == ("leave-one-out-leep",)
    assert voters(["nce", "logme", "h-score", "leep"]) == ("leave-one-out-leep", "logme", "h-score")
    assert voters(["logme"]) == ("logme",)
    assert voters(["pactran-dirichlet", "leep", "stable-rank"]) == ("leave-one-out-leep",)
    assert voters(["pactran-dirichlet", "stable-rank", "logme"]) == ("leave-one-out-leep", "logme")
    assert voters(["h-score", "regularised-h-score"]) == ("regularised-h-score",)


def test_agreement_of_each_two_over_the_candidates_of_both(rng):
    columns = rng.integers(0, 5, size=(3, 9)).astype(float).tolist()
    columns[0][1] = columns[2][4] = None
    found = agreements(results(*columns), THREE)
    assert [pair.measures for pair in found] == [THREE[:2], (THREE[0], THREE[2]), THREE[1:]]
    for pair in found:
        a, b = (columns[THREE.index(measure)] for measure in pair.measures)
        both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
        assert pair.num_candidates == len(both)
        assert pair.kendall == pytest.approx(naive_tau(*zip(*both, strict=True)))


def test_agreement_of_too_few_is_not_a_number_but_none():
    assert [p.kendall for p in agreements(results([1.0, None], [1.0, 2.0], measures=THREE[:2]), THREE[:2])] == [None]
    assert [p.kendall for p in agreements(results([1.0, 2.0], [1.0, 1.0], measures=THREE[:2]), THREE[:2])] == [None]
    failed = [Result(Candidate("x"), reason="no")]
    assert consensus(failed, THREE) == [None]
    assert agreements(failed, THREE)[0].num_candidates == 0
