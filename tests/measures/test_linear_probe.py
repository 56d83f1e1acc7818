import numpy as np
import pytest
from hypothesis import given, settings

from hf_leep import arrays, measures
from hf_leep.measures.design import design
from hf_leep.measures.linear_probe import STRENGTHS, folds, influence
from hf_leep.measures.logistic import Parts, fit, fits, solved, systems
from tests.strategies import feature_problems


def floor(y):
    """Held-out log-likelihood of the class prior of the training rows, with 1/t pseudo-examples per class."""
    fold, t = folds(arrays.labels(y, len(y))), len(np.unique(y))
    total = 0.0
    for i in range(len(y)):
        training = y[fold != fold[i]]
        total += np.log((np.sum(training == y[i]) + 1 / t) / (len(training) + 1))
    return total / len(y)


@pytest.mark.parametrize(("d", "shift"), [(5, 0.3), (5, 2.0), (90, 0.3), (90, 0.0)])
def test_equals_scikit_learn_where_all_folds_are_balanced(rng, d, shift):
    # 20 of each of 3 classes make folds of 4 of each: the class prior is the same for all and cancels in the softmax.
    from sklearn.linear_model import LogisticRegression

    y = rng.permutation(np.repeat([0, 1, 2], 20))
    f = rng.normal(size=(60, d)) + shift * np.eye(3, d)[y] * 3
    x = f - f.mean(axis=0)
    x = np.hstack([x / np.sqrt((x**2).sum(axis=1).mean()), np.ones((60, 1))])
    fold = folds(arrays.labels(y, 60))
    assert np.array_equal(np.bincount(fold * 3 + y), np.full(15, 4))
    best = np.full(60, -np.log(3))
    for strength in STRENGTHS:
        terms = np.empty(60)
        for part in range(5):
            head = LogisticRegression(C=strength, fit_intercept=False, tol=1e-9, max_iter=20_000)
            p = head.fit(x[fold != part], y[fold != part]).predict_log_proba(x[fold == part])
            terms[fold == part] = p[np.arange(12), y[fold == part]]
        gained = (terms - best)[fold == 0]
        if terms.mean() <= best.mean() or gained.mean() < -2 * gained.std() / np.sqrt(12):
            break
        best = terms
    assert measures.linear_probe(f, y) == pytest.approx(best.mean(), abs=1e-5)


@settings(max_examples=25)
@given(feature_problems())
def test_never_falls_below_the_class_prior_and_is_finite(problem):
    # A probe without weights is one of the choices.
    f, y = problem
    assert floor(y) - 1e-12 <= measures.linear_probe(f, y) <= 0.0


def test_constant_features_score_the_class_prior():
    y = np.array([0] * 9 + [2] * 5 + [7])
    assert measures.linear_probe(np.full((15, 3), 0.1), y) == pytest.approx(floor(y), abs=1e-12)
    assert influence(np.ones((15, 3)), y)[0] == pytest.approx(floor(y), abs=1e-12)


def test_noise_in_many_columns_scores_about_the_class_prior(rng):
    y = np.arange(100) % 5
    assert measures.linear_probe(rng.normal(size=(100, 300)), y) == pytest.approx(floor(y), abs=0.05)


def test_good_features_approach_zero(rng):
    y = rng.integers(0, 3, 120)
    assert measures.linear_probe(20.0 * np.eye(3)[y] + rng.normal(size=(120, 3)), y) > -0.01


def test_folds_are_stratified_and_do_not_depend_on_label_names(rng):
    y = rng.integers(0, 7, 203)
    fold = folds(arrays.labels(y, 203))
    sizes = np.bincount(fold * 7 + y, minlength=35).reshape(5, 7)
    assert (sizes.max(axis=0) - sizes.min(axis=0)).max() <= 1
    renamed = np.array([3, 6, 0, 1, 5, 2, 4])[y]
    assert np.array_equal(fold, folds(arrays.labels(renamed, 203)))
    assert np.array_equal(folds(arrays.labels([0, 1], 2)), folds(arrays.labels(["b", "a"], 2)))


def test_folds_keep_draws_together_and_spread_rare_classes(rng):
    y = np.where(rng.random(300) < 0.9, 0, rng.integers(1, 4, 300))
    draws = np.unique(rng.integers(0, 60, 300), return_inverse=True)[1]
    fold = folds(arrays.labels(y, 300), draws)
    assert all(len(np.unique(fold[draws == draw])) == 1 for draw in range(draws.max() + 1))
    sizes = np.bincount([fold[draws == draw][0] for draw in range(draws.max() + 1)])
    assert sizes.max() - sizes.min() <= 1
    rarest = np.argmin(np.bincount(y))
    with_it = np.bincount([fold[draws == draw][0] for draw in np.unique(draws[y == rarest])], minlength=5)
    assert with_it.max() - with_it.min() <= 1
    assert np.array_equal(fold, folds(arrays.labels(np.array([9, 3, 5, 0])[y], 300), draws))
    alone = arrays.labels(y, 300)
    assert np.array_equal(folds(alone, np.arange(300)), folds(alone))
    assert set(folds(arrays.labels([0, 1, 1], 3), np.array([0, 0, 1]))) == {0, 1}


def test_copies_in_one_draw_do_not_raise_the_score(rng):
    y = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    f = np.repeat(rng.normal(size=(60, 100)), 2, axis=0)
    draws = np.repeat(np.arange(60), 2)
    assert measures.linear_probe(f, y, draws) < -0.65
    assert measures.linear_probe(f, y) > -0.5
    value, values = influence(f, y, draws)
    assert value == measures.linear_probe(f, y, draws)
    assert len(values) == 120


@settings(max_examples=15)
@given(feature_problems())
def test_rotating_shifting_and_rescaling_change_nothing(problem):
    f, y = problem
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(f.shape[1],) * 2))
    moved = 7.0 * f @ rotation + np.abs(f).max()
    assert measures.linear_probe(moved, y) == pytest.approx(measures.linear_probe(f, y), abs=1e-4)


@pytest.mark.parametrize(("n", "d"), [(60, 6), (200, 6), (100, 20), (40, 60)])
def test_standard_error_agrees_with_independent_samples(rng, n, d):
    # std of 50 draws is accurate to 10 %; first-order errors are too large unless n is many times d.
    means = np.random.default_rng(8).normal(size=(4, d)) / (2 if d == 6 else 3)
    drawn = []
    for _ in range(50):
        y = rng.integers(0, 4, n)
        drawn.append(influence(means[y] + rng.normal(size=(n, d)), y))
    actual = np.std([value for value, _ in drawn], ddof=1)
    claimed = np.sqrt(np.mean([np.var(values, ddof=1) / n for _, values in drawn]))
    assert 0.75 * actual < claimed < 1.9 * actual


def test_intervals_hold_where_the_best_strength_differs_between_samples():
    """2 examples a feature; with the error at the chosen strength alone, they held in 73 % of these samples."""
    rng, d = np.random.default_rng(3), 50
    means = 0.28 * np.random.default_rng(8).normal(size=(5, d))
    found = []
    for _ in range(60):
        y = np.concatenate([np.arange(5), rng.integers(0, 5, 95)])
        value, values = influence(np.maximum(means[y] + rng.normal(size=(100, d)), 0), y)
        found.append((value, values.std(ddof=1) / 10))
    values, errors = np.array(found).T
    assert np.mean(np.abs(values - values.mean()) <= 1.98 * errors) >= 0.9


@pytest.mark.parametrize("shape", [(30, 4), (12, 25)])
def test_the_solver_finds_a_stationary_point_and_inverts_its_hessian(rng, shape):
    y = np.arange(shape[0]) % 3
    f = rng.normal(size=shape) + y[:, None]
    target = arrays.labels(y, shape[0])
    prepared = design(f)
    penalty = np.full(len(prepared.squares), 0.3)
    found = fit(prepared, target, penalty)

    u, sigma, _ = np.linalg.svd(f - f.mean(axis=0), full_matrices=False)
    sigma *= np.sqrt(shape[0]) / np.linalg.norm(sigma)
    rank = len(penalty) - 1
    z = np.hstack(
        [(u * sigma)[:, :rank][:, ::-1], np.ones((shape[0], 1))]
    )  # ascending, as in Design; signs are arbitrary

    def gradient(weights, z):
        p = np.exp(z @ weights)
        return z.T @ (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) + 0.3 * weights

    blocks = np.vstack([logits - found[-1] for _, logits in prepared.logits(found)])
    z[:, :-1] *= np.sign((z[:, :-1].T @ blocks * found[:-1]).sum(axis=1))
    assert np.abs(gradient(found, z)).max() < 1e-3
    right = rng.normal(size=found.shape)
    direction = solved(prepared, target, penalty, found, right)
    change = (gradient(found + 1e-5 * direction, z) - gradient(found - 1e-5 * direction, z)) / 2e-5
    np.testing.assert_allclose(change, right, atol=0.02)


@pytest.mark.parametrize("shape", [(40, 5), (30, 45)])
def test_fits_side_by_side_are_those_alone(rng, shape):
    y = np.arange(shape[0]) % 3
    target = arrays.labels(y, shape[0])
    prepared = design(rng.normal(size=shape) + y[:, None])
    penalty = np.full(len(prepared.squares), 0.3)
    parts = Parts(rng.random((4, shape[0])) < np.array([0.5, 0.7, 0.9, 1.0])[:, None], rng.normal(size=(4, 3)))
    together = fits(prepared, target, penalty, parts, tolerance=1e-9)
    right = rng.normal(size=together.shape)
    solutions = systems(prepared, target, penalty, parts, together, right)
    for part, (kept, offset) in enumerate(zip(parts.kept, parts.offsets, strict=True)):
        alone = fit(prepared, target, penalty, offset=offset, kept=kept, tolerance=1e-9)
        np.testing.assert_allclose(together[:, part], alone, atol=1e-6)
        expected = solved(prepared, target, penalty, alone, right[:, part], offset=offset, kept=kept)
        np.testing.assert_allclose(solutions[:, part], expected, atol=0.02)
