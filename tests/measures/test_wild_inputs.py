"""Numbers of any scale, type and memory layout give every measure a value or a reason, never NaN or a warning."""

import numpy as np
import pytest
from hypothesis import given, settings

from hf_leep.errors import InputError
from hf_leep.measures import MEASURES
from hf_leep.records import Run
from tests.strategies import wild_features, wild_probabilities

RUN = Run("none", "none", "float32", "cpu", 1, 0.0, 0)


def of_measures(needs):
    found = [measure for measure in MEASURES.values() if measure.needs == needs]
    return pytest.mark.parametrize("measure", found, ids=lambda measure: measure.name)


def answers(measure, inputs, labels):
    """Check that a measure and its error are finite, or that the input is refused in words."""
    if len(np.unique(labels)) < 2:
        with pytest.raises(InputError, match=r"a score needs at least two classes"):
            measure.influence(inputs, labels)
        return
    value, influence = measure.influence(inputs, labels)
    assert np.isfinite(value)
    assert np.isfinite(influence).all()
    assert measure.function(inputs, labels) == pytest.approx(value, abs=1e-12)


@of_measures("features")
@settings(max_examples=40)
@given(wild_features())
def test_wild_features_give_a_value_or_a_reason(measure, problem):
    answers(measure, *problem)


@of_measures("probabilities")
@settings(max_examples=40)
@given(wild_probabilities())
def test_wild_probabilities_give_a_value_or_a_reason(measure, problem):
    answers(measure, *problem)
