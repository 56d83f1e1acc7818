import numpy as np
import pytest
from hypothesis import given

from hf_leep import measures
from hf_leep.measures.leep import influence
from tests.strategies import population, problems


def textbook(p, y):
    """Equations (1) and (2), one example and one class at a time."""
    joint = {}
    for row, label in zip(p, y, strict=True):
        joint[label] = joint.get(label, 0) + row / len(p)
    marginal = sum(joint.values())
    total = 0.0
    for row, label in zip(p, y, strict=True):
        total += np.log(sum(joint[label][z] / marginal[z] * row[z] for z in range(len(row)) if marginal[z] > 0))
    return total / len(p)


def entropy(y):
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    return -(frequency * np.log(frequency)).sum()


@given(problems())
def test_equals_the_textbook_loop(problem):
    p, y = problem
    assert measures.leep(p, y) == pytest.approx(textbook(p, y), abs=1e-12)


@given(problems())
def test_is_finite_and_never_positive(problem):
    # Finite: the i-th term is at least Σ_z θ_iz²/(n P̂(z)) > 0. Not positive: a mean of logs of numbers ≤ 1.
    assert -np.inf < measures.leep(*problem) <= 0.0


@given(problems())
def test_constant_predictions_score_the_negative_entropy(problem):
    p, y = problem
    constant = np.repeat(p[:1], len(p), axis=0)
    assert measures.leep(constant, y) == pytest.approx(-entropy(y), abs=1e-12)


@given(problems())
def test_one_hot_predictions_score_nce(problem):
    p, y = problem
    one_hot = np.eye(p.shape[1])[p.argmax(axis=1)]
    assert measures.leep(one_hot, y) == pytest.approx(measures.nce(p, y), abs=1e-12)


@given(problems())
def test_lower_bound_keeps_one_term_of_the_sum(problem):
    # Σ_z P̂(y|z) θ_z ≥ P̂(y|z*) θ_z* for z* the argmax: keep one non-negative term, take logs, average.
    p, y = problem
    classes, codes = np.unique(y, return_inverse=True)
    joint = np.stack([p[codes == c].sum(axis=0) for c in range(len(classes))])
    top = p.argmax(axis=1)
    conditional = joint[codes, top] / joint.sum(axis=0)[top]
    with np.errstate(divide="ignore"):
        bound = np.log(conditional).mean() + np.log(p[np.arange(len(p)), top]).mean()
    assert measures.leep(p, y) >= bound - 1e-12


def test_the_papers_lower_bound_with_nce_does_not_hold_for_this_estimator():
    p = np.array([[0.25, 0.75], [0.30, 0.70], [0.70, 0.30], [0.70, 0.30]])
    y = [0, 0, 1, 1]
    bound = measures.nce(p, y) + np.log(p.max(axis=1)).mean()
    assert measures.leep(p, y) == pytest.approx(-0.527, abs=5e-4)
    assert bound == pytest.approx(-0.339, abs=5e-4)
    assert measures.leep(p, y) < bound


@given(problems(max_n=30, max_s=6))
def test_upper_bound_is_the_best_head_over_the_source_outputs(problem):
    # The predictor Σ_z W(y|z) θ_z with free column-stochastic W contains the empirical one, so the best W is no
    # worse. EM from the empirical predictor never lowers the likelihood (Dempster, Laird, Rubin 1977).
    p, y = problem
    classes, codes = np.unique(y, return_inverse=True)
    joint = np.stack([p[codes == c].sum(axis=0) for c in range(len(classes))])
    w = np.divide(joint, joint.sum(axis=0), out=np.zeros_like(joint), where=joint.sum(axis=0) > 0)
    for _ in range(30):
        share = w[codes] * p
        share /= share.sum(axis=1, keepdims=True)
        w = np.stack([share[codes == c].sum(axis=0) for c in range(len(classes))])
        w = np.divide(w, w.sum(axis=0), out=np.zeros_like(w), where=w.sum(axis=0) > 0)
    assert measures.leep(p, y) <= np.log((w[codes] * p).sum(axis=1)).mean() + 1e-9


@given(problems())
def test_repeated_rows_and_split_columns_change_nothing(problem):
    p, y = problem
    score = measures.leep(p, y)
    assert measures.leep(np.tile(p, (3, 1)), np.tile(y, 3)) == pytest.approx(score, abs=1e-12)
    halves = np.hstack([p[:, :1] / 2, p[:, :1] / 2, p[:, 1:]])
    assert measures.leep(halves, y) == pytest.approx(score, abs=1e-12)


def test_block_size_and_width_do_not_change_the_score(rng, monkeypatch):
    p = rng.dirichlet(np.ones(50), 300)
    y = rng.integers(0, 40, 300)
    scores = set()
    for block_bytes in (1, 50 * 8 * 7, 2**30):  # one row at a time; fewer rows than classes; all at once
        monkeypatch.setattr("hf_leep.arrays.row_blocks.__defaults__", (block_bytes,))
        monkeypatch.setattr("hf_leep.arrays.BLOCK_BYTES", 4 * block_bytes)
        scores.add(round(measures.leep(p, y), 12))
    assert len(scores) == 1
    assert scores.pop() == pytest.approx(textbook(p, y), abs=1e-12)


@pytest.mark.parametrize(("n", "s", "t", "repeats"), [(500, 20, 4, 200), (100, 50, 5, 800), (60, 10, 20, 800)])
def test_standard_error_agrees_with_independent_samples(rng, n, s, t, repeats):
    scores, errors = [], []
    for _ in range(repeats):
        p, y = population(rng, n, s, t)
        scores.append(measures.leep(p, y))
        errors.append(measures.standard_error("leep", p, y))
    # std of r draws is accurate to 1/√(2r), 5 or 2.5 %; three times that
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.15 if repeats < 800 else 0.08)


def test_influence_is_the_derivative_by_weight_minus_half_the_own_term(rng):
    p, y = population(rng, 60, 5, 3)

    def logs(w):
        joint = np.stack([(w[:, None] * p)[y == c].sum(axis=0) for c in range(3)])
        return np.log(((joint / joint.sum(axis=0))[y] * p).sum(axis=1))

    value, values = influence(p, y)
    assert value == pytest.approx(logs(np.ones(60)).mean(), abs=1e-12)
    assert values.mean() == pytest.approx(0, abs=1e-12)
    expected = []
    for e in 1e-5 * np.eye(60):
        slope = ((1 + e) @ logs(1 + e) - (1 - e) @ logs(1 - e)) / 2e-5
        pull = (logs(1 + e) - logs(1 - e))[e > 0].item() / 2e-5
        expected.append(slope - pull / 2)
    np.testing.assert_allclose(values, np.array(expected) - np.mean(expected), atol=1e-6)


def test_paired_error_of_a_model_with_itself_is_zero(rng):
    p, y = population(rng, 100, 5, 3)
    assert np.std(influence(p, y)[1] - influence(p.copy(), y)[1]) == 0.0
