"""Pure noise of two widths is not told apart: what `tests/benchmarks/nulls.py` counts, with fewer draws."""

import numpy as np
import pytest

from hf_leep.measures import MEASURES
from hf_leep.ranking.ordering import rank
from tests.benchmarks.nulls import NO_LABELS, Null, drawn, scored, told_apart

DRAWS = 200
AT_MOST = 0.10  # where 5 % are right, 200 draws show more than this in 0.2 % of cases
FEWER = {"pactran-dirichlet": 40}
SLOW = {  # only in the benchmark
    "logme",
    "gbc",
    "transrate",
    "linear-probe",
    "n-leep",
    "pactran-gaussian",
    "regularised-h-score",
    "sfda",
}
SMALL = {"probabilities": Null(100, 3, (5, 60)), "features": Null(100, 2, (10, 60))}


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in NO_LABELS | SLOW])
def test_noise_of_two_widths_is_not_told_apart(name):
    draws = FEWER.get(name, DRAWS)
    assert told_apart(np.random.default_rng(7), [name], SMALL[MEASURES[name].needs], draws)[name] <= AT_MOST


@pytest.mark.parametrize("name", ["leep", "ridge"])
def test_outputs_that_know_the_labels_are_told_apart_from_noise(name):
    needs = MEASURES[name].needs
    labels, (one, other) = drawn(np.random.default_rng(7), needs, SMALL[needs])
    one[np.arange(len(labels)), labels] += 3.0
    both = one / one.sum(axis=1, keepdims=True) if needs == "probabilities" else one, other
    assert [place.tie_group for place in rank(scored([name], labels, needs, both), name).ranked] == [1, 2]


def test_pactran_dirichlet_of_a_random_head_has_the_warning_of_leep():
    # Each row has a source class of its own, which costs nothing and explains nothing.
    labels, both = drawn(np.random.default_rng(7), "probabilities", Null(60, 3, (300, 3000), 300.0))
    found = scored(["pactran-dirichlet"], labels, "probabilities", both)[1].scores["pactran-dirichlet"]
    assert found.value is not None
    assert "overfitting" in found.warnings[-1]
