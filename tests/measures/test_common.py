"""Properties that every measure of the registry must have."""

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from hf_leep import measures
from hf_leep.errors import InputError, MeasureError
from hf_leep.measures import MEASURES
from tests.strategies import feature_problems

EVERY = pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda m: m.name)

BY_POSITION = {"linear-probe"}  # measures whose folds depend on the order of the rows
SOLVER_TOLERANCE = {"linear-probe": 1e-5, "pactran-gaussian": 1e-5}  # of measures that use an iterative solver


@pytest.fixture
def inputs(rng):
    y = rng.permutation(np.repeat([0, 2, 7], [30, 20, 10]))
    logits = rng.normal(size=(60, 6)) + np.eye(10)[y][:, :6]
    return {
        "probabilities": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "features": rng.normal(size=(60, 8)) + 0.2 * y[:, None],
        "labels": y,
    }


def score(measure, inputs, change=lambda x: x, labels=None):
    return measure.function(change(inputs[measure.needs]), inputs["labels"] if labels is None else labels)


@EVERY
def test_is_invariant_to_the_order_of_rows_and_columns_and_to_label_names(measure, inputs, rng):
    value = score(measure, inputs)
    rows, columns = rng.permutation(60), rng.permutation(inputs[measure.needs].shape[1])
    rows = np.arange(60) if measure.name in BY_POSITION else rows
    shuffled = score(measure, inputs, lambda x: x[rows][:, columns], inputs["labels"][rows])
    assert shuffled == pytest.approx(value, abs=SOLVER_TOLERANCE.get(measure.name, 1e-9))
    names = np.array(["zebra", "-", "ape", "", "", "", "", "yak"])[inputs["labels"]]
    assert score(measure, inputs, labels=names) == pytest.approx(value, abs=SOLVER_TOLERANCE.get(measure.name, 1e-12))


@EVERY
def test_accepts_every_kind_of_array(measure, inputs, tmp_path):
    import torch

    x = inputs[measure.needs].astype(np.float32)
    value = measure.function(x, inputs["labels"])
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    wide = np.zeros((60, 2 * x.shape[1]), np.float32)
    wide[:, ::2] = x
    for other in (mapped, wide[:, ::2], np.asfortranarray(x), torch.from_numpy(x), x.tolist(), x.astype(">f4")):
        assert measure.function(other, inputs["labels"]) == pytest.approx(value, abs=1e-12)
    for labels in (torch.from_numpy(inputs["labels"]), inputs["labels"].tolist(), inputs["labels"].astype(np.uint8)):
        assert measure.function(x, labels) == pytest.approx(value, abs=1e-12)
    eighths = np.eye(6, dtype=np.float32)[inputs["labels"] % 6] / 2 + np.float32(1 / 8) * (np.arange(6) < 4)
    half = torch.from_numpy(eighths).to(torch.bfloat16)  # exact in bfloat16
    assert measure.function(half, inputs["labels"]) == measure.function(eighths, inputs["labels"])


@EVERY
def test_value_and_influence_agree(measure, inputs):
    value, influence = measure.influence(inputs[measure.needs], inputs["labels"])
    assert value == pytest.approx(score(measure, inputs), abs=1e-12)
    assert isinstance(score(measure, inputs), float)
    assert len(influence) in (60, 10)  # one value per example, or one per resample
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    error = measures.standard_error(measure.name, inputs[measure.needs], inputs["labels"])
    unseen = measure.unseen_variance(value, influence, 60)
    assert (unseen > 0) == (measure.mean_of is not None and error > influence.std(ddof=1) / np.sqrt(len(influence)))
    assert error**2 == pytest.approx(influence.var(ddof=1) / len(influence) + unseen)
    assert error > 0


@EVERY
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 11, 21])
def test_two_examples_are_enough(measure, n, rng):
    x = rng.dirichlet(np.ones(3), size=n)
    value, influence = measure.influence(x, np.arange(n) % 2 * 5)
    assert np.isfinite(value)
    assert np.isfinite(influence).all()
    assert value == pytest.approx(measure.function(x, np.arange(n) % 2 * 5), abs=1e-12)


@EVERY
def test_float32_and_float64_agree(measure, inputs):
    narrow = score(measure, inputs, lambda x: x.astype(np.float32))
    assert narrow == pytest.approx(score(measure, inputs), abs=2e-5)
    exact = score(measure, inputs, lambda x: x.astype(np.float32).astype(np.float64))
    assert exact == pytest.approx(narrow, abs=1e-12)  # sums are in float64 whatever the input


OF_FEATURES = pytest.mark.parametrize(
    "measure", [m for m in MEASURES.values() if m.needs == "features"], ids=lambda m: m.name
)


@OF_FEATURES
@settings(max_examples=25)
@given(feature_problems())
def test_collinear_and_constant_columns_single_examples_and_n_below_d_give_numbers(measure, problem):
    value, influence = measure.influence(*problem)
    assert np.isfinite(value)
    assert np.isfinite(influence).all()
    assert influence.mean() == pytest.approx(0, abs=1e-9 * max(1.0, np.abs(influence).max()))


@OF_FEATURES
@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ([[0.0], [1.0]], [0, 1]),
        ([[0.1, 0.7]] * 5, [0, 1, 0, 1, 1]),  # constant features
        (np.eye(6), [0, 1, 2, 3, 4, 5]),  # classes of one example
        (np.repeat([[1.0, 2.0], [3.0, 5.0]], 4, axis=0), [0, 0, 0, 0, 1, 1, 1, 1]),  # classes of identical points
        (np.repeat([[1.0, 2.0], [3.0, 5.0]], 4, axis=0), [0, 1, 0, 1, 0, 1, 0, 1]),
        (np.outer(np.arange(8), [1e150, 1.0, 1e-150]), [0, 1] * 4),
        (np.array([[6e4, -6e4, 1.0]] * 3 + [[6e-8, 1.0, 1.0]] * 3, np.float16), [0, 0, 1, 1, 2, 2]),
        (np.arange(12).reshape(6, 2) % 2 == 0, ["b", "a", "b", "a", "c", "c"]),
        (np.array([[0.1, -0.9, 6e4, 6e4], [-1, 0.8, 6e4, -6e4], [0.8, 0.1, 6e4, 6e4]], np.float16), [0, 1, 1]),
        ([[3.6e299, 2.9e-309, 2.8e-32], [-7.4e299, -1.6e-309, -4.8e-31]], [1, 0]),
        ([[1.0, 1.1e-160], [1.0, 7.7e-161]], [0, 1]),
        (np.outer(10.0 ** np.array([-320, 0, -30, -308, 300, 150, 2]), [1, -2, 0.5]), [0, 0, 1, 0, 1, 0, 1]),
        (1e-320 * np.outer(np.arange(1, 9), [1, 30, 1]), [0, 1] * 4),
    ],
    ids=[
        "n=2 d=1",
        "constant",
        "singles",
        "no spread",
        "same points",
        "huge",
        "half",
        "booleans",
        "one far",
        "huge differences",
        "small beside 1",
        "all scales",
        "denormal",
    ],
)
def test_degenerate_features_give_numbers(measure, features, labels):
    value, influence = measure.influence(features, labels)
    assert np.isfinite(value)
    assert np.isfinite(influence).all()
    assert value == measure.function(features, labels)


NOT_CENTRED = {"logme", "lfc"}  # measures for which a constant column is a direction of its own


@OF_FEATURES
@pytest.mark.parametrize("value", [0.0, 0.7])
@pytest.mark.parametrize("copies", [1, 70])  # n above and below d
def test_dead_columns_change_nothing(measure, inputs, value, copies):
    if value and measure.name in NOT_CENTRED:
        pytest.skip("not centred, so a constant other than 0 is an intercept")
    dead = np.full((60, copies), value)
    wider = np.hstack([dead, inputs["features"], dead])
    expected, errors = measure.influence(inputs["features"], inputs["labels"])
    found, errors_found = measure.influence(wider, inputs["labels"])
    tolerance = SOLVER_TOLERANCE.get(measure.name, 1e-9)
    assert found == pytest.approx(expected, abs=tolerance)
    assert errors_found.std() == pytest.approx(errors.std(), rel=1e-3, abs=1e-9)


@EVERY
def test_does_not_change_its_inputs_or_the_global_random_state(measure, inputs):
    before = {key: value.copy() for key, value in inputs.items()}
    for value in inputs.values():
        value.flags.writeable = False
    measure.influence(inputs[measure.needs], inputs["labels"])  # a library's first import may draw from `random`
    np.random.random_sample(), random.random()  # not the state in which a seed of the measure's would leave it
    state, other_state = np.random.get_state()[1].tobytes(), random.getstate()
    measure.influence(inputs[measure.needs], inputs["labels"])
    assert all(np.array_equal(before[key], inputs[key]) for key in inputs)
    assert np.random.get_state()[1].tobytes() == state
    assert random.getstate() == other_state


BAD = {
    "lengths": (lambda x, y: (x, y[:-1]), r"60 rows but 59 labels"),
    "one axis": (lambda x, y: (x[0], y), r"must be a matrix \[n, .\], got shape \(\d+,\)"),
    "no rows": (lambda x, y: (x[:0], y[:0]), r"empty|no examples"),
    "negative": (lambda x, y: (x, np.where(np.arange(60) == 5, -1, y)), r"label -1 in row 5 is negative"),
    "ignored": (lambda x, y: (x, np.where(np.arange(60) == 9, -100, y)), r"label -100 in row 9 is negative"),
    "one class": (lambda x, y: (x, np.zeros(60, int)), r"all 60 labels are 0"),
    "floats": (lambda x, y: (x, y + 0.5), r"labels must be integers, booleans or strings, got dtype float64"),
    "NaN": (lambda x, y: (np.where(np.arange(60)[:, None] == 7, np.nan, x), y), r"NaN.* in row 7"),
    "words": (lambda x, y: (x.astype(str), y), r"must hold real numbers"),
    "ragged": (
        lambda x, y: ([[0.5, 0.5], [1.0]], [0, 1]),
        r"rows have different lengths: row 0 has 2 and row 1 has 1$",
    ),
}


@EVERY
@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_clear_line(measure, inputs, bad):
    change, message = BAD[bad]
    with pytest.raises(InputError, match=message) as caught:
        measure.function(*change(inputs[measure.needs], inputs["labels"]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if m.needs == "probabilities"], ids=lambda m: m.name)
def test_rows_that_are_not_probabilities_are_refused(measure):
    y = [0, 1, 0]
    near = np.array([[0.5, 0.5004], [0.2, 0.8], [0.7, 0.3]])  # a bf16 softmax is this far off
    assert np.isfinite(measure.function(near, y))
    with pytest.raises(InputError, match=r"row 2 of probabilities sums to 1.2, not to 1 \(±0.001\)"):
        measure.function([[0.5, 0.5], [0.2, 0.8], [0.9, 0.3]], y)
    with pytest.raises(InputError, match=r"row 1 of probabilities holds a negative value, -0.5"):
        measure.function([[0.5, 0.5], [-0.5, 1.5], [0.5, 0.5]], y)
    with pytest.raises(InputError, match=r"row 0 of probabilities sums to -0.3.*softmax"):
        measure.function([[2.0, -2.3], [0.2, 0.8], [0.5, 0.5]], y)


OF_PROBABILITIES = pytest.mark.parametrize(
    "measure", [m for m in MEASURES.values() if m.needs == "probabilities"], ids=lambda m: m.name
)


@OF_PROBABILITIES
def test_rows_that_sum_to_one_but_for_the_tolerance_score_as_if_they_did(measure, inputs, rng):
    p, y = inputs["probabilities"], inputs["labels"]
    value, errors = measure.influence(p, y)
    off, errors_off = measure.influence(p * rng.uniform(1 - 9e-4, 1 + 9e-4, (60, 1)), y)
    assert off == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(errors_off, errors, atol=1e-9)


@OF_PROBABILITIES
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rows_in_half_precision_may_be_off_by_two_percent(measure, inputs, dtype):
    import torch

    y = inputs["labels"]
    half = torch.from_numpy(inputs["probabilities"] * 1.013).to(getattr(torch, dtype))
    exact = half.double()
    expected = measure.function((exact / exact.sum(dim=1, keepdim=True)).numpy(), y)
    found = [measure.function(half, y)]
    if dtype == "float16":
        found.append(measure.function(half.numpy(), y))
    assert found == pytest.approx([expected] * len(found), abs=1e-6)
    with pytest.raises(InputError, match=r"sums to 1.0\d+, not to 1 \(±0.001\)"):
        measure.function(half.float(), y)  # in full precision, such rows are no softmax
    with pytest.raises(InputError, match=r"sums to 1.0\d+, not to 1 \(±0.02\)"):
        measure.function(half * 1.02, y)


def test_bfloat16_arrays_of_ml_dtypes_are_numbers(inputs):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for needs in ("probabilities", "features"):
        x = inputs[needs].astype(bfloat16)
        name = {"probabilities": "leep", "features": "h-score"}[needs]
        theta = x.astype(np.float64)
        theta = theta / theta.sum(axis=1, keepdims=True) if needs == "probabilities" else theta
        expected = MEASURES[name].function(theta, inputs["labels"])
        assert MEASURES[name].function(x, inputs["labels"]) == pytest.approx(expected, abs=1e-6)


@EVERY
def test_a_record_is_complete_and_consistent(measure):
    assert MEASURES[measure.name] is measure
    assert measure.name == measure.name.lower().replace("_", "-")
    assert measure.needs in ("probabilities", "features")
    assert measure.reference
    assert measure.summary
    assert measure.checked_by is None or measure.checked_by in MEASURES
    assert measure.shares_vote_with is None or measure.shares_vote_with in MEASURES


def test_both_spellings_of_a_name_work_and_a_typo_lists_the_right_names():
    assert measures.find("leave_one_out_leep") is measures.find("leave-one-out-leep")
    assert MEASURES["leave_one_out_leep"] is MEASURES["leave-one-out-leep"]
    assert "h_score" in MEASURES
    assert "leap" not in MEASURES
    assert list(MEASURES) == [name.replace("_", "-") for name in MEASURES]
    with pytest.raises(
        MeasureError, match=r"unknown measure 'lep': did you mean leep\? known are leep, leave-one-out"
    ):
        measures.find("lep")


def test_importing_is_fast_and_needs_only_numpy():
    code = (
        "import time, numpy; start = time.process_time(); import hf_leep, hf_leep.measures;"
        "took = time.process_time() - start; import sys;"
        "heavy = {'torch', 'scipy', 'sklearn', 'transformers', 'datasets', 'huggingface_hub', 'pyarrow'};"
        "print(sorted(heavy & set(sys.modules)), took < 0.3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_memory_beyond_the_inputs_is_small(tmp_path, rng):
    import tracemalloc

    p = np.lib.format.open_memmap(tmp_path / "p.npy", mode="w+", dtype=np.float32, shape=(40_000, 200))
    p[:] = 1 / 200
    p.flush()
    y = rng.integers(0, 10, 40_000)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    measures.leep(mapped[:100], y[:100])  # imports scipy before the measurement
    for name in ("leep", "leave-one-out-leep", "nce"):
        tracemalloc.start()
        MEASURES[name].function(mapped, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6, name  # the matrix has 32 MB, its float64 copy would have 64 MB
