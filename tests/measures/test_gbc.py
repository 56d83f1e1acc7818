import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import quad
from scipy.stats import norm

from hf_leep import measures
from tests.strategies import feature_problems


def by_definition(f, y, axes=64):
    """−Σ exp(−D) over ordered pairs, class by class, with scikit-learn's PCA."""
    from sklearn.decomposition import PCA

    rank = np.linalg.matrix_rank(f - f.mean(axis=0), tol=1e-9 * np.abs(f).max() * len(f))
    x = PCA(min(axes, rank), svd_solver="full").fit_transform(f)
    labels = np.unique(y)
    sizes = {c: (y == c).sum() for c in labels}
    squares = {c: ((x[y == c] - x[y == c].mean(axis=0)) ** 2).sum() / x.shape[1] for c in labels}
    if len(labels) < len(y):
        pooled = sum(squares.values()) / (len(y) - len(labels))
    else:
        pooled = ((x - x.mean(axis=0)) ** 2).sum() / x.shape[1] / (len(y) - 1)
    variance = {c: squares[c] / (sizes[c] - 1) if sizes[c] > 1 else pooled for c in labels}
    score = 0.0
    for a in labels:
        for b in labels:
            if a == b:
                continue
            between = np.eye(x.shape[1]) * (variance[a] + variance[b]) / 2
            apart = x[y == a].mean(axis=0) - x[y == b].mean(axis=0)
            distance = apart @ np.linalg.solve(between, apart) / 8
            distance += 0.5 * np.linalg.slogdet(between)[1]
            distance -= 0.25 * x.shape[1] * (np.log(variance[a]) + np.log(variance[b]))
            score -= np.exp(-distance)
    return score


@given(feature_problems())
def test_equals_its_definition(problem):
    assert measures.gbc(*problem) == pytest.approx(by_definition(*problem), abs=1e-6)


def test_equals_its_definition_on_64_of_many_axes(rng):
    y = rng.integers(0, 4, 150)
    for d in (100, 300):
        f = rng.normal(size=(150, d)) * np.linspace(3, 0.1, d) + 0.2 * rng.normal(size=(4, d))[y]
        assert measures.gbc(f, y) == pytest.approx(by_definition(f, y), abs=1e-9)
        assert measures.gbc(f, y) != pytest.approx(by_definition(f, y, axes=63), abs=1e-6)


def test_in_one_dimension_is_the_overlap_integral_of_the_densities(rng):
    # exp(−D) = ∫ √(p q), by definition of the Bhattacharyya coefficient; each pair is counted twice.
    y = np.arange(90) % 3
    f = (rng.normal(size=90) * (1 + y) + y)[:, None]
    fitted = [norm(f[y == c].mean(), f[y == c].std(ddof=1)) for c in range(3)]
    overlaps = [
        quad(lambda x, p=fitted[a], q=fitted[b]: np.sqrt(p.pdf(x) * q.pdf(x)), -30, 30)[0]
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert measures.gbc(f, y) == pytest.approx(-2 * sum(overlaps), abs=1e-8)


def test_classes_of_the_same_points_score_lowest_and_distant_classes_zero(rng):
    points = rng.normal(size=(20, 5))
    y = np.repeat([0, 1, 2], 20)
    assert measures.gbc(np.vstack([points] * 3), y) == pytest.approx(-6, abs=1e-12)
    assert measures.gbc(np.vstack([points, points + 1e3, points - 1e3]), y) == pytest.approx(0, abs=1e-12)
    assert measures.gbc([[0.1, 0.7]] * 6, [0, 1, 2, 0, 1, 2]) == -6


def test_classes_of_identical_points_overlap_only_at_the_same_point(rng):
    # D → ∞ as one variance goes to 0: q/2 log(v/√(v_i v_j)) does. Two equal points are one Gaussian, D = 0.
    cloud = rng.normal(size=(20, 2))
    y = np.array([0] * 20 + [1] * 3 + [2] * 3)
    apart = np.vstack([cloud, [[0.1, 0.2]] * 3, [[0.3, 0.4]] * 3])
    together = np.vstack([cloud, [[0.1, 0.2]] * 6])
    assert measures.gbc(apart, y) == 0.0
    assert measures.gbc(together, y) == -2.0


def test_a_class_of_one_example_gets_the_pooled_variance(rng):
    y = np.array([0] * 20 + [1] * 20 + [2])
    f = rng.normal(size=(41, 3)) + y[:, None]
    assert measures.gbc(f, y) == pytest.approx(by_definition(f, y), abs=1e-9)
    assert measures.gbc(f[:6], np.arange(6)) == pytest.approx(by_definition(f[:6], np.arange(6)), abs=1e-9)


def test_shifting_rotating_and_rescaling_change_nothing(rng):
    y = rng.integers(0, 3, 90)
    for d in (5, 100):
        f = rng.normal(size=(90, d)) * np.linspace(2, 1, d) + y[:, None] / 3
        rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
        score = measures.gbc(f, y)
        assert measures.gbc(1e-3 * f @ rotation + 10, y) == pytest.approx(score, abs=1e-6)
        assert measures.gbc(1e200 * f, y) == pytest.approx(score, abs=1e-9)


def test_many_classes_are_processed_in_blocks(rng, monkeypatch):
    y = np.arange(120) % 30
    f = rng.normal(size=(120, 4)) + rng.normal(size=(30, 4))[y]
    score = measures.gbc(f, y)
    monkeypatch.setattr("hf_leep.arrays.BLOCK_BYTES", 8 * 30 * 7)
    assert measures.gbc(f, y) == pytest.approx(score, abs=1e-12)
    assert score == pytest.approx(by_definition(f, y), abs=1e-9)
