import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from hf_leep import arrays, measures
from hf_leep.measures.left_out_ridge import RidgePath
from hf_leep.measures.ridge import influence
from hf_leep.measures.ridge_head import STRENGTHS, RidgeHead, mixture
from hf_leep.measures.ridge_log_likelihood import influence as likelihood_influence
from tests.strategies import feature_problems


def scaled(f):
    """Centred columns, each divided by √(l² + m²), m the mean length l of those that vary; constant ones become 0."""
    centred = f - f.mean(axis=0)
    lengths = np.sqrt((centred**2).sum(axis=0))
    vary = lengths > 1e-12 * np.abs(f).max()
    return np.where(vary, centred / np.hypot(lengths, lengths[vary].mean()), 0.0)


def refitted(f, y, strength, draws=None):
    """Class values of each example by a ridge regression, with an intercept, on the examples of all other draws."""
    x, codes = scaled(f), np.unique(y, return_inverse=True)[1]
    largest = np.linalg.eigvalsh(x @ x.T)[-1] or 1.0
    indicators = np.eye(codes.max() + 1)[codes]
    draws = np.arange(len(y)) if draws is None else draws
    found, frequencies = np.empty(indicators.shape), np.empty(indicators.shape)
    for i in range(len(y)):
        kept = draws != draws[i]
        centre, mean = x[kept].mean(axis=0), indicators[kept].mean(axis=0)
        own = x[kept] - centre
        penalised = own.T @ own + strength * largest * np.eye(x.shape[1])
        found[i] = mean + (x[i] - centre) @ np.linalg.solve(penalised, own.T @ (indicators[kept] - mean))
        frequencies[i] = mean
    return found, frequencies


def problem(rng, n, d, t=3):
    y = rng.permutation(np.concatenate([np.arange(t), rng.integers(0, t, n - t)]))
    return rng.normal(size=(n, d)) * np.geomspace(1, 50, d) + 30 * rng.normal(size=(t, d))[y], y


def outcome(found, frequencies, y):
    codes = np.unique(y, return_inverse=True)[1]
    shares = np.bincount(codes) / len(y)
    votes = shares + np.sqrt(shares * (1 - shares) / (frequencies * (1 - frequencies))) * (found - frequencies)
    winning = np.abs(votes - votes.max(axis=1, keepdims=True)) < 1e-9
    return winning[np.arange(len(y)), codes] / winning.sum(axis=1)


SHAPES = pytest.mark.parametrize(("n", "d"), [(30, 5), (20, 19), (20, 20), (20, 21), (15, 40)])


@SHAPES
@pytest.mark.parametrize("grouped", [False, True])
def test_equals_refitting_without_each_row_or_draw(rng, n, d, grouped):
    f, y = problem(rng, n, d)
    draws = np.unique(rng.integers(0, n // 3, n), return_inverse=True)[1] if grouped else None
    target = arrays.labels(y, n)
    path = RidgePath.of(f, target, draws)
    for strength, inverses in zip(STRENGTHS, path.inverses(STRENGTHS), strict=True):
        found, frequencies = refitted(f, y, strength, draws)
        rows = []
        for batch in path.left_out(strength, inverses):
            np.testing.assert_allclose(batch.left_out, found[batch.rows], atol=1e-8)
            np.testing.assert_allclose(batch.frequencies, frequencies[batch.rows], atol=1e-12)
            rows += batch.rows.tolist()
        assert sorted(rows) == list(range(n))
    head = RidgeHead.fit(f, y, draws)
    found, frequencies = refitted(f, y, head.strength, draws)
    np.testing.assert_allclose(head.predictions, found, atol=1e-8)
    np.testing.assert_allclose(head.correct, outcome(found, frequencies, y), atol=1e-12)


@SHAPES
def test_the_strength_is_the_largest_unless_smaller_ones_gain_two_nats(rng, n, d):
    f, y = problem(rng, n, d)
    f += 60 * rng.normal(size=f.shape)  # some errors, so that a finite temperature is best
    codes = np.unique(y, return_inverse=True)[1]
    best, chosen = {}, max(STRENGTHS)
    for strength in sorted(STRENGTHS, reverse=True):
        found, _ = refitted(f, y, strength)

        def lost(tau, found=found):
            return -log_softmax(tau * found, axis=1)[np.arange(n), codes].mean()

        best[strength] = -minimize_scalar(lost, bounds=(0, 1e3), method="bounded", options={"xatol": 1e-9}).fun
        if n * (best[strength] - best[chosen]) > 2:
            chosen = strength
    assert RidgeHead.fit(f, y).strength == chosen
    assert measures.ridge_log_likelihood(f, y) == pytest.approx(best[chosen], abs=1e-7)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (25, 60)])
def test_equals_scikit_learn_before_the_correction(rng, n, d):
    from sklearn.linear_model import RidgeClassifierCV

    f, y = problem(rng, n, d, t=4)
    path = RidgePath.of(f, arrays.labels(y, n))
    alphas = [strength * path.unit for strength in STRENGTHS]
    signs = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    squares = RidgeClassifierCV(alphas, store_cv_results=True).fit(scaled(f), y).cv_results_  # [n, t, strengths]
    for k, (strength, inverses) in enumerate(zip(STRENGTHS, path.inverses(STRENGTHS), strict=True)):
        for batch in path.left_out(strength, inverses):
            errors = 2 * batch.left_out - 1 - signs[batch.rows]
            np.testing.assert_allclose(errors**2, squares[batch.rows, :, k], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("n", "d", "t"), [(200, 64, 5), (200, 200, 5), (100, 400, 5), (100, 100, 2)])
def test_balanced_noise_scores_chance_within_its_error(n, d, t):
    # Without the correction for the class that is left out, chance 0.2 would come out as 0.05 to 0.07. The mean of 40
    # samples is known to a sixth of the error of one.
    rng = np.random.default_rng(5)
    y = np.arange(n) % t
    found = [influence(rng.normal(size=(n, d)), rng.permutation(y)) for _ in range(40)]
    scores = np.array([value for value, _ in found])
    errors = np.array([values.std(ddof=1) / np.sqrt(n) for _, values in found])
    assert abs(scores.mean() - 1 / t) < 0.6 * errors.mean()
    assert (np.abs(scores - 1 / t) <= 2.5 * errors).mean() > 0.9


@pytest.mark.parametrize(("n", "d", "t"), [(100, 10, 20), (60, 90, 20), (100, 30, 50)])
def test_noise_of_small_classes_scores_chance(n, d, t):
    # With the frequencies alone corrected, classes of 5, 3 and 2 examples would have 0.038, 0.027 and 0.009. The mean
    # of 200 samples is known to 0.0014, 0.0015 and 0.001.
    rng, y = np.random.default_rng(3), np.arange(n) % t
    found = [measures.ridge(rng.normal(size=(n, d)), y) for _ in range(200)]
    assert np.mean(found) == pytest.approx(1 / t, abs=0.0055)


def test_agrees_with_folds_of_one_example_of_each_class():
    """There the frequencies stay as they are, so that votes need no correction."""
    from sklearn.linear_model import RidgeClassifier

    rng, n, d, t = np.random.default_rng(1), 60, 30, 4
    y, gaps = np.arange(n) % t, []
    for _ in range(25):
        f = rng.normal(size=(n, d)) + 0.3 * np.eye(t, d)[y]
        head, right = RidgeHead.fit(f, y), []
        for fold in range(n // t):
            held_out = np.arange(n) // t == fold
            ridge = RidgeClassifier(alpha=head.strength * head.path.unit).fit(scaled(f)[~held_out], y[~held_out])
            right.append(ridge.predict(scaled(f)[held_out]) == y[held_out])
        gaps.append(head.correct.mean() - np.mean(right))
    assert np.mean(gaps) == pytest.approx(0, abs=0.04)  # known to 0.01; uncorrected votes are too low by 0.1 to 0.2


def test_noise_of_two_widths_is_rarely_told_apart():
    # At most 7 % of 1,000 draws (`tests/benchmarks/coverage.py`); of 60, more than 9 would have a chance of 1 %.
    rng, apart = np.random.default_rng(0), 0
    for _ in range(60):
        y = rng.permutation(np.arange(100) % 5)
        (first, one), (second, other) = (influence(rng.normal(size=(100, d)), y) for d in (20, 150))
        apart += abs(first - second) > 1.96 * (one - other).std(ddof=1) / np.sqrt(100)
    assert apart <= 9


@pytest.mark.parametrize(("n", "d"), [(60, 120), (100, 50), (150, 15)])
def test_standard_errors_agree_with_independent_samples(n, d):
    # The standard deviation of 80 scores is known to 8 %. That of the outcomes alone would be 10 to 25 % too small.
    rng = np.random.default_rng(4)
    means = np.random.default_rng(d).normal(size=(4, d)) * 2 / np.sqrt(d)
    drawn = []
    for _ in range(80):
        y = np.concatenate([np.arange(4), rng.integers(0, 4, n - 4)])
        head = RidgeHead.fit(means[y] + rng.normal(size=(n, d)), y)
        drawn.append(
            (
                (head.correct.mean(), head.log_likelihood.mean()),
                (head.correct_influence().var(ddof=1) / n, head.log_likelihood_influence().var(ddof=1) / n),
            )
        )
    actual = np.std([scores for scores, _ in drawn], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([variances for _, variances in drawn], axis=0))
    assert ((0.8 * actual < claimed) & (claimed < 1.4 * actual)).all(), claimed / actual


def test_influence_is_the_derivative_by_the_weight_of_an_example(rng):
    # At fixed strength and temperature; leverages are low here, so that left-out residuals are close to residuals.
    n, d = 400, 3
    y = np.arange(n) % 3
    f = rng.normal(size=(n, d)) + np.eye(3)[y]
    head, x, indicators = RidgeHead.fit(f, y), scaled(f), np.eye(3)[y]
    penalty = head.strength * np.linalg.eigvalsh(x.T @ x)[-1]

    def likelihood(weights):
        total = 0.0
        for i in range(n):
            kept = weights * (np.arange(n) != i)
            centre, mean = kept @ x / kept.sum(), kept @ indicators / kept.sum()
            own = x - centre
            slopes = np.linalg.solve(
                (own * kept[:, None]).T @ own + penalty * np.eye(d), (own * kept[:, None]).T @ (indicators - mean)
            )
            total += log_softmax(head.temperature * (mean + (x[i] - centre) @ slopes))[y[i]]
        return total

    moved = head.log_likelihood_influence() - (head.log_likelihood - head.log_likelihood.mean())
    found, examples = [], np.arange(12)
    for j in examples:
        up, down = np.ones(n), np.ones(n)
        up[j], down[j] = 1.01, 0.99
        found.append((likelihood(up) - likelihood(down)) / 0.02)
    claimed = 2 * moved[examples]  # half of it counts
    assert np.corrcoef(claimed, found)[0, 1] > 0.98
    assert np.std(claimed) == pytest.approx(np.std(found), rel=0.2)  # terms of second order are left out


def test_examples_of_a_draw_are_left_out_together(rng):
    y = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    f = np.repeat(rng.normal(size=(60, 100)), 2, axis=0)  # each example and its copy
    draws = np.repeat(np.arange(60), 2)
    assert measures.ridge(f, y, draws) < 0.75 < 0.9 < measures.ridge(f, y)
    assert measures.ridge_log_likelihood(f, y, draws) < -0.5 < -0.1 < measures.ridge_log_likelihood(f, y)
    value, values = influence(f, y, draws)
    assert value == measures.ridge(f, y, draws)
    assert len(values) == 120
    alone = np.random.default_rng(0).permutation(120)
    assert measures.ridge(f, y, alone) == pytest.approx(measures.ridge(f, y), abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(feature_problems())
def test_shifting_each_column_and_rescaling_all_changes_nothing(problem):
    f, y = problem
    shifts = np.random.default_rng(1).uniform(-3.0, 3.0, f.shape[1]) * np.abs(f).max()
    moved = RidgeHead.fit(0.3 * f + shifts, y)
    head = RidgeHead.fit(f, y)
    assert moved.strength == head.strength or head.log_likelihood.mean() > -1e-6
    assert moved.log_likelihood.mean() == pytest.approx(head.log_likelihood.mean(), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(feature_problems())
def test_never_falls_below_uniform_predictions_and_rows_sum_to_one(problem):
    f, y = problem
    head = RidgeHead.fit(f, y)
    assert -np.log(len(np.unique(y))) - 1e-12 <= head.log_likelihood.mean() <= 0.0
    assert ((head.correct >= 0) & (head.correct <= 1)).all()
    np.testing.assert_allclose(head.predictions.sum(axis=1), 1.0, atol=1e-8)


def test_features_that_do_not_vary_score_chance():
    balanced = np.arange(20) % 4
    assert measures.ridge(np.full((20, 3), 0.1), balanced) == pytest.approx(0.25, abs=1e-12)
    assert measures.ridge_log_likelihood(np.ones((20, 3)), balanced) == pytest.approx(-np.log(4), abs=1e-12)
    assert measures.ridge(np.ones((20, 3)), np.arange(20) < 5) == pytest.approx(0.75, abs=1e-12)


def test_classes_of_one_example_and_a_thousand_classes(rng):
    y = np.concatenate([np.arange(1000), rng.integers(0, 1000, 500)])
    f = 3 * rng.normal(size=(1000, 32))[y] + rng.normal(size=(1500, 32))
    head = RidgeHead.fit(f, y)
    single = np.bincount(y)[y] == 1
    assert (head.correct[single] == 0).all()
    assert head.correct[~single].mean() > 0.2
    assert np.isfinite(head.correct_influence()).all()
    assert np.isfinite(head.log_likelihood_influence()).all()


def test_decisions_without_error_score_zero(rng):
    y = np.arange(60) % 3
    f = 100.0 * np.eye(3)[y] + rng.normal(size=(60, 3))
    assert measures.ridge(f, y) == 1.0
    value, values = likelihood_influence(f, y)
    assert value == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(values, 0.0, atol=1e-6)


def test_the_scales_of_columns_leak_next_to_nothing(rng):
    """As rectified units far from their data: constant but for noise, and large on a few rows.

    Nearly the same comes out where scales, too, are computed anew without each row.
    """
    n, d = 80, 40
    y = np.arange(n) % 4
    f = 0.01 * rng.normal(size=(n, d)) + (rng.random((n, d)) < 0.03) * rng.exponential(size=(n, d))
    f[:, :10] = rng.normal(size=(n, 10)) + np.eye(4, 10)[y]
    head, anew, indicators = RidgeHead.fit(f, y), np.empty((n, 4)), np.eye(4)[y]
    penalty = head.strength * head.path.unit
    for i in range(n):
        kept = np.arange(n) != i
        found = RidgePath.of(f[kept], arrays.labels(y[kept], n - 1)).decomposed
        coordinates = (f[i] * found.scale - found.centre) @ found.basis
        weights = np.sqrt(found.eigenvalues) / (found.eigenvalues + penalty)
        anew[i] = indicators[kept].mean(axis=0) + (coordinates * weights) @ found.projections
    terms = log_softmax(head.temperature * anew, axis=1)[np.arange(n), y]
    assert terms.mean() == pytest.approx(head.log_likelihood.mean(), abs=0.05)
    assert (anew.argmax(axis=1) == head.predictions.argmax(axis=1)).mean() > 0.93


def test_memory_beyond_the_inputs_is_bounded(rng):
    import tracemalloc

    y = np.arange(20_000) % 10
    f = rng.normal(size=(20_000, 400)).astype(np.float32) + y[:, None].astype(np.float32) / 10
    RidgeHead.fit(f[:500], y[:500]).correct_influence()  # imports first
    tracemalloc.start()
    RidgeHead.fit(f, y).correct_influence()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the float64 copy of the features would have 64 MB


def test_a_mixture_finds_the_better_predictor_and_never_falls_below_it(rng):
    good, bad = np.log(rng.uniform(0.5, 0.9, 50)), np.log(rng.uniform(0.05, 0.4, 50))
    assert mixture(good, bad)[0] == pytest.approx(1.0, abs=1e-6)
    assert mixture(bad, good)[0] == pytest.approx(0.0, abs=1e-6)
    mixed = np.where(np.arange(50) < 25, good, bad), np.where(np.arange(50) < 25, bad, good)
    weight, terms = mixture(*mixed)
    grid = np.linspace(0, 1, 10_001)[:, None]
    best = np.log(grid * np.exp(mixed[0]) + (1 - grid) * np.exp(mixed[1])).mean(axis=1)
    assert weight == pytest.approx(grid[best.argmax(), 0], abs=1e-4)
    assert terms.mean() == pytest.approx(best.max(), abs=1e-7)
