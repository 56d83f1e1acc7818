"""What is left without the examples of a draw: against loops over the draws."""

import numpy as np
import pytest

from hf_leep import arrays, measures
from hf_leep.errors import InputError
from hf_leep.measures import MEASURES
from hf_leep.measures.draws import Draws

TAKING = [measure for measure in MEASURES.values() if measure.takes_draws]


@pytest.fixture
def drawn(rng):
    codes, index = rng.permutation(np.arange(90) % 4), np.unique(rng.integers(0, 20, 90), return_inverse=True)[1]
    return Draws(codes, np.bincount(codes), index)


def test_the_prior_counts_the_other_draws_and_one_example_more(drawn):
    for i in range(90):
        others = drawn.index != drawn.index[i]
        assert drawn.others[i] == others.sum() + 1
        same = np.sum(others & (drawn.codes == drawn.codes[i]))
        assert drawn.prior[i] == pytest.approx((same + 1 / 4) / (others.sum() + 1))
    alone = Draws(drawn.codes, drawn.counts, None)
    each = Draws(drawn.codes, drawn.counts, np.arange(90))
    np.testing.assert_array_equal(alone.prior, each.prior)


@pytest.mark.parametrize("block_bytes", [1, 8 * 3 * 10, 2**20])
def test_blocks_hold_whole_draws_and_every_row_once(drawn, rng, block_bytes):
    matrix, weights = rng.normal(size=(90, 3)).astype(np.float32), rng.normal(size=90)
    seen = np.zeros(90, dtype=int)
    for block in drawn.blocks(matrix, block_bytes):
        np.add.at(seen, block.rows, 1)
        np.testing.assert_array_equal(block.values, matrix[block.rows])
        np.testing.assert_array_equal(block.codes, drawn.codes[block.rows])
        of_draw, of_class = block.of_draw(block.values), block.of_class(block.values)
        of_weights = block.of_class(weights[block.rows])
        for k, i in enumerate(block.rows):
            own = drawn.index == drawn.index[i]
            np.testing.assert_allclose(of_draw[k], matrix[own].sum(axis=0, dtype=np.float64), atol=1e-12)
            own &= drawn.codes == drawn.codes[i]
            np.testing.assert_allclose(of_class[k], matrix[own].sum(axis=0, dtype=np.float64), atol=1e-12)
            assert of_weights[k] == pytest.approx(weights[own].sum())
    assert (seen == 1).all()


def inputs_of(measure, rng):
    y = rng.permutation(np.arange(120) % 3)
    if measure.needs == "features":
        return rng.normal(size=(120, 6)) + np.eye(3, 6)[y], y
    return rng.dirichlet(np.ones(6), 120), y


@pytest.mark.parametrize("measure", TAKING, ids=lambda m: m.name)
def test_draws_of_one_example_change_nothing_and_others_do(measure, rng):
    x, y = inputs_of(measure, rng)
    value, values = measure.influence(x, y)
    for each in (np.arange(120), 7 * rng.permutation(120)):
        assert measure.function(x, y, draws=each) == measure.function(x, y) == value
        np.testing.assert_array_equal(measure.influence(x, y, each)[1], values)
    pairs = np.arange(120) // 2
    together = measure.function(np.repeat(x[::2], 2, axis=0), np.repeat(y[::2], 2), draws=pairs)
    assert together < measure.function(np.repeat(x[::2], 2, axis=0), np.repeat(y[::2], 2))
    assert measure.influence(x, y, pairs)[0] == measure.function(x, y, draws=pairs)


@pytest.mark.parametrize("measure", TAKING, ids=lambda m: m.name)
def test_any_integers_name_the_draws(measure, rng):
    x, y = inputs_of(measure, rng)
    index = rng.permutation(np.repeat(np.arange(30), 4))
    value = measure.function(x, y, draws=index)
    assert measure.function(x, y, draws=(5 * index + 3).tolist()) == value
    for wrong, said in (
        (index[:-1], r"draws must be integers, one for each of 120 rows, got int64 of shape \(119,\)"),
        (index / 2, r"draws must be integers, one for each of 120 rows, got float64 of shape \(120,\)"),
        (index - 1, r"draw -1 in row \d+ is negative"),
        (np.zeros(120, int), r"all examples belong to one draw: there are no others to predict them from"),
    ):
        with pytest.raises(InputError, match=said):
            measure.function(x, y, draws=wrong)


def test_draws_are_numbered_without_gaps():
    np.testing.assert_array_equal(arrays.draws([7, 2, 7, 9], 4), [1, 0, 1, 2])
    assert arrays.draws([7, 2, 5, 9], 4) is arrays.draws(None, 4) is None
    np.testing.assert_array_equal(arrays.draws([3, 3], 2, fewest=1), [0, 0])


def test_a_standard_error_is_that_of_the_draws(rng):
    p, y = rng.dirichlet(np.ones(5), 600), np.arange(600) % 3
    copies, labels, draws = np.repeat(p, 4, axis=0), np.repeat(y, 4), 2 * np.repeat(np.arange(600), 4)
    for name in ("nce", "leep"):
        once = measures.standard_error(name, p, y)
        assert measures.standard_error(name, copies, labels, draws) == pytest.approx(once, rel=1e-6)
        assert measures.standard_error(name, copies, labels) == pytest.approx(once / 2, rel=0.05)


@pytest.mark.parametrize("measure", [measure for measure in MEASURES.values() if measure.influence_takes_draws])
def test_draws_of_one_example_leave_the_influence_as_it_is(measure, rng):
    p, y = rng.dirichlet(np.ones(5), 60), np.arange(60) % 3
    order = rng.permutation(60)
    alone = measure.influence(p, y)[1]
    np.testing.assert_allclose(measure.influence(p, y, order)[1], alone, atol=1e-12)
    np.testing.assert_allclose(measure.influence_by_draw(p, y, order)[1][order], alone, atol=1e-12)
    assert np.abs(measure.influence(p, y, order // 3)[1] - alone).max() > 1e-3
