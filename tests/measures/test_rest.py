"""Parts of the examples from one decomposition of all of them."""

import numpy as np
import pytest

from hf_leep import arrays
from hf_leep.measures import MEASURES
from hf_leep.measures.resampling import jackknife_parts
from hf_leep.measures.rest import rest
from hf_leep.measures.spectrum import shared, spectrum

FROM_ALL = {"logme": 1e-4, "gbc": 1e-9, "transrate": 1e-9, "regularised-h-score": 1e-9, "sfda": 1e-9}


def problem(rng, n, d):
    y = rng.permutation(np.append(np.arange(n - 2) % 3, [7, 7]))
    return 5 + rng.normal(size=(8, d))[y] + rng.normal(size=(n, d)), y


@pytest.mark.parametrize(("n", "d"), [(40, 6), (30, 50)])
def test_the_rest_has_the_moments_of_its_examples(rng, n, d):
    f, y = problem(rng, n, d)
    target = arrays.labels(y, n)
    decomposed = spectrum(f, target, whitened=False, centred=True)
    axes = np.linalg.lstsq(f - f.mean(axis=0), decomposed.coordinates(np.ones(n, bool)), rcond=None)[0]
    for kept in (rng.random(n) < 0.8, y != 7):
        found = rest(decomposed, target, kept)
        z = (f[kept] - f[kept].mean(axis=0)) @ axes
        np.testing.assert_allclose(found.scatter, z.T @ z, atol=1e-9)
        np.testing.assert_allclose(found.mean, (f[kept].mean(axis=0) - f.mean(axis=0)) @ axes, atol=1e-9)
        sums = [z[y[kept] == label].sum(axis=0) for label in np.unique(y[kept])]
        np.testing.assert_allclose(found.sums, sums, atol=1e-9)


@pytest.mark.parametrize("name", FROM_ALL)
@pytest.mark.parametrize(("n", "d"), [(60, 6), (60, 40)])
def test_the_jackknife_scores_a_part_as_if_it_were_all_the_data(rng, name, n, d):
    f, y = problem(rng, n, d)
    without = np.array([MEASURES[name].function(f[kept], y[kept]) for kept in jackknife_parts(n)])
    found = MEASURES[name].influence(f, y)[1]
    np.testing.assert_allclose(
        found, 9 * (without.mean() - without), atol=FROM_ALL[name] * max(1, np.abs(found).max())
    )


def test_a_shared_decomposition_is_computed_once_and_forgotten(rng, monkeypatch):
    f, y = problem(rng, 40, 6)
    target, calls = arrays.labels(y, 40), []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: calls.append(len(matrix)) or eigh(matrix))
    alone = spectrum(f, target, whitened=False, centred=True)
    with shared(f):
        for _ in range(2):
            found = spectrum(f, target, whitened=False, centred=True)
            np.testing.assert_array_equal(found.projections, alone.projections)
        spectrum(f.copy(), target, whitened=False, centred=True)  # another array with the same numbers
        spectrum(f, target, whitened=True)
    spectrum(f, target, whitened=False, centred=True)
    assert len(calls) == 5


def test_scores_do_not_depend_on_what_is_shared(rng):
    f, y = problem(rng, 60, 8)
    of_features = [measure for measure in MEASURES.values() if measure.needs == "features"]
    with shared(f):
        together = [measure.influence(f, y) for measure in of_features]
    for measure, (value, values) in zip(of_features, together, strict=True):
        alone, expected = measure.influence(f, y)
        assert value == alone, measure.name
        np.testing.assert_array_equal(values, expected)


def test_heads_of_other_labels_or_sentences_are_fitted_anew(rng):
    f, y = problem(rng, 60, 8)
    sentences = np.arange(60) // 2
    calls = [(y, None), (rng.permutation(y), None), (y, sentences), (y, None)]
    with shared(f):
        together = [MEASURES["ridge-log-likelihood"].function(f, labels, draws) for labels, draws in calls]
    alone = [MEASURES["ridge-log-likelihood"].function(f, labels, draws) for labels, draws in calls]
    assert together == alone
    assert len(set(alone)) == 3
