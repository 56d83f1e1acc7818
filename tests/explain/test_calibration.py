import numpy as np
import pytest

from hf_leep import measures
from hf_leep.explain.calibration import calibrate, count_reordered
from hf_leep.records import Calibration
from tests.explain.test_predictor import predictor, tempered
from tests.strategies import population


def calibrated(p, y):
    return calibrate(predictor(p, y))[0]


@pytest.mark.parametrize("distortion", [0.5, 0.7, 1.5, 2.0])
def test_a_known_distortion_is_undone(rng, distortion):
    p, y = population(rng, 600, 12, 4)
    own = calibrated(p, y)
    flat = tempered(p, distortion)  # its own temperature over the distortion undoes it
    found = calibrated(flat, y)
    assert found.temperature == pytest.approx(own.temperature / distortion, rel=2**0.25 - 1 + 1e-9)
    assert found.value == pytest.approx(own.value, abs=0.01)
    assert found.as_is < found.value


def test_the_scores_are_those_of_the_measure(rng):
    p, y = population(rng, 300, 10, 5)
    found, level, terms = calibrate(predictor(p, y))
    assert found.as_is == pytest.approx(measures.leave_one_out_leep(p, y), abs=1e-12)
    assert terms.mean() == found.as_is
    assert found.num_examples == 300
    assert level < 21
    explicit = measures.leave_one_out_leep(tempered(p, found.temperature), y)
    assert found.value == pytest.approx(explicit, abs=1e-4)
    for temperature, value in found.curve:
        assert value == pytest.approx(measures.leave_one_out_leep(tempered(p, temperature), y), abs=2e-3)
        assert value <= found.value + 1e-9
    sensible = [value for temperature, value in found.curve if 0.5 <= temperature <= 2]
    assert found.spread == pytest.approx(max(sensible) - min(sensible))
    assert {0.25, 0.5, 1.0, 2.0, 4.0} <= {temperature for temperature, _ in found.curve}
    assert [t for t, _ in found.curve] == sorted(t for t, _ in found.curve)


def test_many_rows_are_calibrated_on_a_seeded_sample_and_scored_on_all(rng):
    p, y = population(rng, 3000, 8, 4)
    found = calibrated(tempered(p, 3.0), y)
    assert found.num_examples == 1000
    assert found == calibrated(tempered(p, 3.0), y)
    explicit = measures.leave_one_out_leep(tempered(tempered(p, 3.0), found.temperature), y)
    assert found.value == pytest.approx(explicit, abs=1e-4)
    assert found.value > found.as_is


def test_a_sample_is_of_whole_draws_and_leaves_them_out(rng):
    p, y = population(rng, 3000, 8, 4)
    draws = np.repeat(np.arange(600), rng.multinomial(2400, np.ones(600) / 600) + 1)
    sums = predictor(tempered(p, 3.0), y, draws=draws)
    found = calibrate(sums)[0]
    assert 900 < found.num_examples <= 1000
    order = np.random.default_rng(0).permutation(600)
    sizes = np.cumsum(np.bincount(draws)[order])
    assert found.num_examples in sizes
    rows = np.flatnonzero(np.isin(draws, order[: np.searchsorted(sizes, found.num_examples) + 1]))
    part = measures.leave_one_out_leep(sums.theta[rows], y[rows], draws=draws[rows])
    assert dict(found.curve)[1.0] == pytest.approx(part, abs=2e-3)
    assert found.as_is == pytest.approx(measures.leave_one_out_leep(sums.theta, y, draws=draws), abs=1e-12)
    two = np.repeat([0, 1], 1500)  # draws larger than the sample
    assert calibrate(predictor(p, y, draws=two))[0].num_examples == 3000


def test_predictions_that_are_certain_have_no_temperature():
    p, y = np.eye(3)[np.arange(60) % 3], np.arange(60) % 2
    found = calibrated(p, y)
    assert found.temperature == 1.0
    assert found.spread == 0.0
    assert found.value == found.as_is


def test_a_class_that_the_sample_misses_is_no_trouble(rng):
    p, y = population(rng, 2000, 8, 3)
    y[0] = 3
    found = calibrated(p, y)
    assert np.isfinite([found.value, found.spread]).all()


def test_reordered_pairs_are_counted_as_in_a_loop(rng):
    made = [Calibration(1.0, float(a), float(b), 0.0, (), 1) for a, b in rng.normal(size=(9, 2))]
    made.append(made[0])
    naive = sum(
        (a.as_is - b.as_is) * (a.value - b.value) < 0 for i, a in enumerate(made) for b in made[:i]
    )  # fmt: skip
    assert count_reordered(made) == (naive, 45)
    assert count_reordered([]) == (0, 0)
    assert count_reordered(made[:1]) == (0, 0)
