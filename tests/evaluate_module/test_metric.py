"""The evaluate modules, loaded as users load them; every way to pass inputs, against the measure and a naive loop."""

import doctest
import importlib.util
import inspect
import math
import os
import re
import runpy
import subprocess
import sys
import tracemalloc
from pathlib import Path

import datasets
import evaluate
import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

import hf_leep
from hf_leep import measures
from hf_leep.errors import InputError, MeasureError, UserError
from hf_leep.evaluate_module import metric, space
from tests.strategies import population
from tests.warm import HANGING

ROOT = Path(__file__).parents[2]
PROBABILITY_MODULES = ["leep", "nce", "leave_one_out_leep"]
FEATURE_MODULES = ["h_score", "logme"]
MODULES = PROBABILITY_MODULES + FEATURE_MODULES
EXACT = {"rel": 0, "abs": 1e-12}


@pytest.fixture
def load(tmp_path):
    """evaluate.load of a module by its name, with a separate cache."""

    def load(name, **options):
        return evaluate.load(hf_leep.metric_path(name), cache_dir=str(tmp_path / "cache"), **options)

    return load


@pytest.fixture
def problem(rng):
    """(probabilities [n, s] float64, labels [n])"""
    return population(rng, 600, 7, 4)


@pytest.fixture
def expected(problem):
    probabilities, labels = problem
    return pytest.approx(measures.leep(probabilities.astype(np.float32), labels), **EXACT)


def naive_leep(probabilities, labels):
    """Equations (1) and (2) as loops over examples, classes and source classes."""
    theta = np.asarray(probabilities, dtype=np.float64)
    n, s = theta.shape
    joint = {y: [math.fsum(theta[i, z] for i in range(n) if labels[i] == y) for z in range(s)] for y in set(labels)}
    mass = [math.fsum(row[z] for row in joint.values()) for z in range(s)]
    return (
        math.fsum(
            math.log(math.fsum(theta[i, z] * joint[labels[i]][z] / mass[z] for z in range(s) if mass[z]))
            for i in range(n)
        )
        / n
    )


def batches(n, sizes):
    start = 0
    while start < n:
        for size in sizes:
            yield slice(start, start + size)
            start += size


# Loading


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("spelling", [str, lambda name: name.replace("_", "-")], ids=["snake", "kebab"])
def test_metric_path_leads_to_the_module(name, spelling):
    assert hf_leep.metric_path(spelling(name)) == str(ROOT / "metric_card" / name)


def test_every_measure_with_a_module_is_tested_here():
    assert sorted(path.parent.name for path in (ROOT / "metric_card").glob("*/app.py")) == sorted(MODULES)


@pytest.mark.parametrize("name", ["leap", "LEEPS", "", "../leep"])
def test_an_unknown_name_lists_the_right_ones(name):
    with pytest.raises(MeasureError, match="leave-one-out-leep.*h-score"):
        hf_leep.metric_path(name)


@pytest.mark.parametrize("name", MODULES)
def test_module_is_found_by_folder_and_by_file_and_has_its_name(name, tmp_path):
    for path in (ROOT / "metric_card" / name, ROOT / "metric_card" / name / f"{name}.py"):
        module = evaluate.load(str(path), cache_dir=str(tmp_path))
        assert (module.name, module.measure, module.module_type) == (name, name, "metric")


# Every way to pass inputs gives the same value


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda p: p, id="float64"),
        pytest.param(lambda p: p.astype(np.float32), id="float32"),
        pytest.param(lambda p: p.tolist(), id="lists"),
        pytest.param(lambda p: tuple(map(tuple, p)), id="tuples"),
        pytest.param(lambda p: [list(map(np.float64, row)) for row in p], id="lists-of-scalars"),
        pytest.param(lambda p: np.asfortranarray(p.astype(np.float32)), id="fortran-order"),
        pytest.param(lambda p: np.repeat(p.astype(np.float32), 2, axis=1)[:, ::2], id="strided"),
        pytest.param(lambda p: torch.tensor(p), id="torch-float64"),
        pytest.param(lambda p: torch.tensor(p, dtype=torch.float32, requires_grad=True), id="torch-with-gradient"),
        pytest.param(lambda p: datasets.Dataset.from_dict({"p": p.tolist()})["p"], id="column-of-a-dataset"),
        pytest.param(
            lambda p: datasets.Dataset.from_dict({"p": p.tolist()}).with_format("torch")["p"], id="torch-column"
        ),
    ],
)
def test_inputs_of_every_kind(load, problem, expected, convert):
    probabilities, labels = problem
    assert load("leep").compute(predictions=convert(probabilities), references=labels) == {"leep": expected}
    assert naive_leep(probabilities.astype(np.float32), labels) == expected


@pytest.mark.parametrize("kind", ["memmap", "float16", "torch-float16", "torch-bfloat16"])
def test_half_precision_and_memory_mapped_inputs_give_the_same_score(load, rng, tmp_path, kind):
    # quarters are exact in every type, so that the rows sum to 1 in all of them
    quarters = np.array([[4, 0, 0], [2, 1, 1], [1, 2, 1], [1, 0, 3], [0, 4, 0]])[rng.integers(0, 5, 200)] / 4
    labels = rng.integers(0, 3, 200)
    if kind == "memmap":
        np.save(tmp_path / "p.npy", quarters.astype(np.float32))
        given = np.load(tmp_path / "p.npy", mmap_mode="r")
    else:
        given = torch.tensor(quarters).to(getattr(torch, kind.removeprefix("torch-")))
        given = given if kind.startswith("torch") else given.numpy()
    score = load("leep").compute(predictions=given, references=labels)["leep"]
    assert score == pytest.approx(naive_leep(quarters, labels), **EXACT)


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        torch.tensor,
        lambda y: y.astype(np.uint8),
        lambda y: y * 100 + 3,
        lambda y: datasets.Dataset.from_dict({"y": y})["y"],
        lambda y: [np.int32(v) for v in y],
    ],
    ids=["list", "tuple", "torch", "uint8", "gaps", "column-of-a-dataset", "scalars"],
)
def test_labels_of_every_kind(load, problem, expected, convert):
    probabilities, labels = problem
    assert load("leep").compute(predictions=probabilities, references=convert(labels)) == {"leep": expected}


def test_boolean_labels_are_two_classes(load, problem):
    probabilities, labels = problem
    both = [load("leep").compute(predictions=probabilities, references=y) for y in (labels == 2, (labels == 2) * 1)]
    assert both[0] == both[1]
    assert both[0]["leep"] == pytest.approx(naive_leep(probabilities.astype(np.float32), labels == 2), **EXACT)


@pytest.mark.parametrize("keep_in_memory", [False, True])
@pytest.mark.parametrize("sizes", [(600,), (256,), (1, 7, 90), (1,)], ids=str)
def test_batches_of_any_size(load, problem, expected, sizes, keep_in_memory):
    probabilities, labels = problem
    leep = load("leep", keep_in_memory=keep_in_memory)
    for _ in range(2):  # twice, since compute starts afresh
        for rows in batches(600, sizes):
            leep.add_batch(predictions=probabilities[rows], references=labels[rows])
        leep.add_batch(predictions=probabilities[:0], references=labels[:0])
        assert len(leep) == 600
        assert leep.compute() == {"leep": expected}
        assert len(leep) == 0


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_single_examples_batches_and_compute_add_up(load, problem, expected, keep_in_memory):
    probabilities, labels = problem
    leep = load("leep", keep_in_memory=keep_in_memory)
    leep.add(prediction=probabilities[0].tolist(), reference=int(labels[0]))
    leep.add(prediction=torch.tensor(probabilities[1]), reference=torch.tensor(labels[1]))
    leep.add_batch(predictions=probabilities[2:50], references=labels[2:50])
    for row in range(50, 70):
        leep.add(prediction=probabilities[row], reference=labels[row])
    assert len(leep) == 70
    assert leep.compute(predictions=probabilities[70:], references=labels[70:]) == {"leep": expected}


def test_width_may_change_after_compute(load, rng):
    leep = load("leep")
    for columns in (3, 5):
        probabilities, labels = population(rng, 40, columns, 2)
        leep.add_batch(predictions=probabilities[:30], references=labels[:30])
        score = leep.compute(predictions=probabilities[30:], references=labels[30:])["leep"]
        assert score == pytest.approx(naive_leep(probabilities.astype(np.float32), labels), **EXACT)


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_the_caller_may_reuse_its_buffers(load, problem, expected, keep_in_memory):
    probabilities, labels = problem
    leep = load("leep", keep_in_memory=keep_in_memory)
    matrix, row = np.empty((10, 7), dtype=np.float32), np.empty(7, dtype=np.float32)
    codes = np.empty(10, dtype=np.int64)
    for start in range(0, 300, 10):
        matrix[:], codes[:] = probabilities[start : start + 10], labels[start : start + 10]
        leep.add_batch(predictions=matrix, references=codes)
    for i in range(300, 600):
        row[:], codes[0] = probabilities[i], labels[i]
        leep.add(prediction=row, reference=codes[0, ...])
    matrix[:], codes[:] = np.nan, -1
    assert leep.compute() == {"leep": expected}


def test_a_batch_too_large_for_one_arrow_list_is_split(load, problem, expected, monkeypatch):
    probabilities, labels = problem
    monkeypatch.setattr(metric, "_MAX_VALUES", 7 * 101 + 6)  # in place of 2**31 - 1: 101 rows of 600
    assert load("leep").compute(predictions=probabilities, references=labels) == {"leep": expected}


def test_two_at_once_do_not_mix(load, problem, expected):
    probabilities, labels = problem
    first, second = load("leep"), load("leep")
    first.add_batch(predictions=probabilities, references=labels)
    second.add_batch(predictions=probabilities[:100], references=labels[:100])
    part = measures.leep(probabilities[:100].astype(np.float32), labels[:100])
    assert second.compute() == {"leep": pytest.approx(part, **EXACT)}
    assert first.compute() == {"leep": expected}


def test_a_failure_does_not_remove_the_files_of_others(load, problem, expected):
    probabilities, labels = problem
    first, second = load("leep"), load("leep")
    first.compute(predictions=probabilities, references=labels)
    second.add_batch(predictions=probabilities, references=labels)  # into the file name that the first one used
    with pytest.raises(InputError):
        first.compute(predictions=probabilities, references=-labels)
    assert second.compute() == {"leep": expected}


@pytest.mark.parametrize("way", ["compute", "add_batch", "add"])
def test_combined_with_itself_under_two_names(load, problem, expected, way):
    probabilities, labels = problem
    both = evaluate.combine({"first": load("leep"), "second": load("leep", keep_in_memory=True)})
    if way == "compute":
        scores = both.compute(predictions=probabilities, references=labels)
    else:
        for row in range(600) if way == "add" else ():
            both.add(prediction=probabilities[row], reference=labels[row])
        for rows in batches(600, (200,)) if way == "add_batch" else ():
            both.add_batch(predictions=probabilities[rows], references=labels[rows])
        scores = both.compute()
    assert scores == {"first_leep": expected, "second_leep": expected}


def test_combined_by_its_folder(problem, expected):
    probabilities, labels = problem
    both = evaluate.combine([hf_leep.metric_path("leep"), hf_leep.metric_path("nce")])
    nce = measures.nce(probabilities.astype(np.float32), labels)
    scores = both.compute(predictions=probabilities, references=labels)
    assert scores == {"leep": expected, "nce": pytest.approx(nce, **EXACT)}


PROCESS = """
import sys
import evaluate, hf_leep
import numpy as np
from hf_leep.errors import InputError

process, cache, arrays = int(sys.argv[1]), sys.argv[2], np.load(sys.argv[3])
probabilities, labels = arrays["probabilities"], arrays["labels"]


def load(experiment):
    options = {"num_process": 2, "process_id": process, "experiment_id": experiment, "cache_dir": cache, "timeout": 60}
    return evaluate.load(hf_leep.metric_path("leep"), **options)


leep = load("halves")
half = slice(process, None, 2)
for rows in (slice(0, 100), slice(100, None)):
    leep.add_batch(predictions=probabilities[half][rows], references=labels[half][rows])
print(leep.compute())

leep = load("one-has-none")
rows = slice(None) if process == 0 else slice(0, 0)
leep.add_batch(predictions=probabilities[rows], references=labels[rows])
print(leep.compute())

leep = load("ragged")
width = 7 - process
part = probabilities[:, :width] / probabilities[:, :width].sum(axis=1, keepdims=True)
leep.add_batch(predictions=part, references=labels)
try:
    print(leep.compute())
except InputError as error:
    print(error)
"""


def test_two_processes(problem, expected, tmp_path):
    probabilities, labels = problem
    np.savez(tmp_path / "arrays.npz", probabilities=probabilities, labels=labels)
    (tmp_path / "process.py").write_text(PROCESS)
    command = [sys.executable, "-W", "error", str(tmp_path / "process.py")]
    arguments = [str(tmp_path / "cache"), str(tmp_path / "arrays.npz")]
    running = [
        subprocess.Popen(
            [*command, str(process), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for process in (0, 1)
    ]
    outputs = [process.communicate(timeout=HANGING) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    halves, one_has_none, ragged = outputs[0][0].splitlines()
    for line in (halves, one_has_none):
        assert float(re.fullmatch(r"\{'leep': (.*)\}", line).group(1)) == expected
    assert ragged == "the processes added rows of different length: 6 and 7 columns"
    assert outputs[1][0].splitlines() == ["None"] * 3
    assert not list((tmp_path / "cache").rglob("*.arrow"))


# Options


@pytest.mark.parametrize("name", PROBABILITY_MODULES)
def test_logits_are_put_through_a_softmax_that_does_not_overflow(load, problem, name):
    probabilities, labels = problem
    logits = (np.log(probabilities) + 300 * np.arange(600)[:, None]).astype(np.float32)
    exact = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    softmax = (np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)).astype(np.float32)
    for given in (logits, torch.tensor(logits), logits.tolist()):
        score = load(name).compute(predictions=given, references=labels, from_logits=True)
        assert score == {name: pytest.approx(getattr(measures, name)(softmax, labels), **EXACT)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rows_are_divided_by_their_sums(load, problem, dtype):
    import torch

    probabilities, labels = problem
    half = (1.013 * torch.tensor(probabilities)).to(getattr(torch, dtype))
    exact = half.double().numpy()
    expected = measures.leep(exact / exact.sum(axis=1, keepdims=True), labels)
    metric = load("leep")
    assert metric.compute(predictions=half, references=labels)["leep"] == pytest.approx(expected, abs=1e-6)
    metric.add_batch(predictions=half[:5], references=labels[:5])
    metric.add_batch(predictions=probabilities[5:], references=labels[5:])
    assert metric.compute()["leep"] <= 0
    with pytest.raises(InputError, match="not to 1"):
        metric.compute(predictions=half.float(), references=labels)


def test_bfloat16_logits_of_a_confident_model(load, problem):
    probabilities, labels = problem
    logits = torch.tensor(3 * np.log(probabilities)).bfloat16()  # its softmax in bfloat16 does not sum to 1
    score = load("leep").compute(predictions=logits, references=labels, from_logits=True)["leep"]
    softmax = torch.softmax(logits.double(), dim=1).float().numpy()
    assert score == pytest.approx(measures.leep(softmax, labels), **EXACT)


def test_masked_logits_have_no_probability(load):
    logits = [[1.0, -math.inf, 1.0], [2.0, -math.inf, 2.0]]
    scores = load("leep").compute(predictions=logits, references=[0, 1], from_logits=True)
    assert scores == {"leep": pytest.approx(-math.log(2), **EXACT)}


@pytest.mark.parametrize("name", MODULES)
def test_standard_error_stands_beside_the_score(load, problem, name):
    inputs, labels = problem
    as_float32 = inputs.astype(np.float32)
    scores = load(name).compute(predictions=inputs, references=labels, standard_error=True)
    assert scores == {
        name: pytest.approx(getattr(measures, name)(as_float32, labels), **EXACT),
        "standard_error": pytest.approx(measures.standard_error(name, as_float32, labels), **EXACT),
    }
    assert scores["standard_error"] > 0


def test_leave_one_out_stands_beside_leep(load, problem, expected):
    probabilities, labels = problem
    scores = load("leep").compute(predictions=probabilities, references=labels, leave_one_out=True)
    left_out = measures.leave_one_out_leep(probabilities.astype(np.float32), labels)
    assert scores == {"leep": expected, "leave_one_out_leep": pytest.approx(left_out, **EXACT)}
    assert scores["leave_one_out_leep"] < scores["leep"]


@pytest.mark.parametrize(
    ("name", "option", "right"),
    [
        ("leep", "from_logit", "from_logits, standard_error, allow_sorted, leave_one_out"),
        ("nce", "leave_one_out", "from_logits, standard_error, allow_sorted"),
        ("h_score", "from_logits", "standard_error"),
    ],
)
def test_an_unknown_option_lists_the_right_ones_and_keeps_the_examples(load, problem, name, option, right):
    inputs, labels = problem
    metric = load(name)
    metric.add_batch(predictions=inputs, references=labels)
    with pytest.raises(MeasureError, match=f"^{name} has no option '{option}'; its options are {right}$"):
        metric.compute(**{option: True})
    assert metric.compute()[name] == pytest.approx(getattr(measures, name)(inputs.astype(np.float32), labels), **EXACT)


# Bad input


GOOD = {"predictions": [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], "references": [0, 1, 1]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predictions": [0.9, 0.1, 0.5]}, r"probabilities must be a matrix \[n, s\], got shape \(3,\)"),
        ({"predictions": np.ones((3, 2, 1))}, r"must be a matrix \[n, s\], got shape \(3, 2, 1\)"),
        ({"predictions": np.float64(3)}, r"must be a matrix \[n, s\], got shape \(\)"),
        ({"predictions": 3, "references": []}, r"must be a matrix \[n, s\], got shape \(\)"),
        ({"predictions": [[0.9, 0.1], [1.0], [0.5, 0.5]]}, "rows have different lengths"),
        ({"predictions": [["a", "b"]] * 3}, "must hold real numbers, got dtype <U1"),
        ({"predictions": np.empty((3, 0))}, r"probabilities are empty: got shape \(3, 0\)"),
        ({"predictions": [[0.9, 0.1], [0.2, 0.3], [0.5, 0.5]]}, "row 1 of probabilities sums to 0.5, not to 1"),
        (
            {"predictions": [[0.9, 0.1], [1.2, -0.2], [0.5, 0.5]]},
            "row 1 of probabilities holds a negative value, -0.2",
        ),
        ({"predictions": [[0.9, 0.1], [0.2, 0.8], [math.nan, 1]]}, "probabilities hold NaN in row 2"),
        ({"predictions": None}, "predictions are missing"),
        ({"references": None}, "references are missing"),
        ({"references": [0, 1]}, "got 3 rows but 2 labels"),
        ({"references": []}, "got 3 rows but 0 labels"),
        ({"references": [[0], [1], [1]]}, r"labels must be one-dimensional \[n\], got shape \(3, 1\)"),
        ({"references": [[0], [1, 2], [1]]}, r"labels must be one-dimensional \[n\]"),
        ({"references": [0, -1, 1]}, "label -1 in row 1 of this batch is negative"),
        ({"references": torch.tensor([0, 1, -100])}, "label -100 in row 2 of this batch is negative"),
        (
            {"references": np.array([0, 2**63 + 5, 1], np.uint64)},
            r"label 9223372036854775813 in row 1 of this batch is larger than 2\^63 − 1: number the classes from 0",
        ),
        ({"references": [1, 1, 1]}, "all 3 labels are 1; a score needs at least two classes"),
        ({"references": [0.0, 1.0, 1.0]}, "got dtype float64: these are whole numbers, so give labels.astype"),
        (
            {"references": [2**63, 1, 1]},
            r"numbers above 2\^53 lose digits as floats, so give labels of an integer type",
        ),
        ({"references": [0.5, 1.0, 1.0]}, "got dtype float64: 0.5 in row 0 is no class"),
        ({"references": ["a", "b", "b"]}, r"got names such as 'a': number the classes, .*numpy.unique\("),
        ({"references": [0, None, 1]}, "got dtype object: row 1 has none"),
        ({"references": [[0, 1], [1, 0], [1, 0]]}, "one-hot rows, so give the positions of the ones"),
        ({"predictions": [], "references": []}, r"there are no examples \(n = 0\)"),
        ({"predictions": None, "references": None}, "nothing to score: pass predictions and references, or call add"),
    ],
)
@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_bad_input_is_one_clear_line_and_leaves_nothing_behind(load, tmp_path, keep_in_memory, changed, message):
    leep = load("leep", keep_in_memory=keep_in_memory)
    with pytest.raises(InputError, match=message) as caught:
        leep.compute(**GOOD | changed)
    assert "\n" not in str(caught.value)
    del caught
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    score = leep.compute(**GOOD)["leep"]
    assert score == pytest.approx(naive_leep(np.float32(GOOD["predictions"]), GOOD["references"]), **EXACT)
    with datasets.utils.filelock.FileLock(
        tmp_path / "cache" / "leep" / "default" / "default_experiment-1-0.arrow.lock", timeout=0
    ):
        pass  # raises if a lock is left


@pytest.mark.parametrize("logit", [math.nan, math.inf])
def test_logits_without_a_softmax(load, logit):
    with pytest.raises(InputError, match="^row 1 of the logits has no softmax"):
        load("leep").compute(predictions=[[0, 1], [2, logit], [0, 0]], references=[0, 1, 1], from_logits=True)
    with pytest.raises(InputError, match="^row 0 of the logits has no softmax"):
        load("leep").compute(predictions=[[-math.inf] * 2, [0, 0]], references=[0, 1], from_logits=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])  # the last one overflows float32
@pytest.mark.parametrize("name", FEATURE_MODULES)
def test_features_that_are_not_finite(load, name, value):
    with pytest.raises(InputError, match="features hold NaN or an infinity in row 1"):
        load(name).compute(predictions=[[0.0], [value], [1.0]], references=[0, 1, 1])


@pytest.mark.parametrize("name", MODULES)
def test_a_batch_of_another_width_is_refused_and_the_others_are_kept(load, problem, name):
    inputs, labels = problem
    metric = load(name)
    metric.add_batch(predictions=inputs, references=labels)
    with pytest.raises(InputError, match="have 2 columns in this batch but 7 before it"):
        metric.add_batch(predictions=[[0.5, 0.5]], references=[0])
    with pytest.raises(InputError, match="have 2 columns in this batch but 7"):
        metric.add(prediction=[0.5, 0.5], reference=0)
    assert metric.compute()[name] == pytest.approx(getattr(measures, name)(inputs.astype(np.float32), labels), **EXACT)


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_a_refused_last_batch_does_not_discard_the_others(load, problem, expected, keep_in_memory):
    probabilities, labels = problem
    leep = load("leep", keep_in_memory=keep_in_memory)
    leep.add_batch(predictions=probabilities, references=labels)
    with pytest.raises(InputError, match="label -1 in row 0"):
        leep.compute(predictions=probabilities[:1], references=[-1])
    assert leep.compute() == {"leep": expected}


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"prediction": [0.5, 0.5]}, "the reference is missing"),
        ({"reference": 1}, "the prediction is missing"),
        ({"prediction": [[0.5, 0.5]], "reference": 1}, r"must be a matrix \[n, s\], got shape \(1, 1, 2\)"),
        ({"prediction": [0.5, 0.5], "reference": [1, 2]}, r"labels must be one-dimensional \[n\], got shape \(1, 2\)"),
    ],
)
def test_a_bad_example_is_one_clear_line(load, example, message):
    with pytest.raises(InputError, match=message):
        load("leep").add(**example)


# Cost


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_wide_batches_need_neither_python_objects_nor_copies(load, rng, keep_in_memory):
    matrix = rng.dirichlet(np.ones(1000), size=8000).astype(np.float32)  # 32 MB
    labels = np.arange(8000) % 3
    leep = load("leep", keep_in_memory=keep_in_memory)
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        leep.add_batch(predictions=matrix, references=labels)
        leep.compute()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)
    # A float object takes 24 bytes, six times its float32, and a copy as much as the matrix. What is used are the
    # measure's blocks, and Arrow's offsets and labels; in memory Arrow's growing buffer holds up to twice the matrix.
    assert peak < matrix.nbytes / 2
    assert pool.max_memory() < (2.5 * matrix.nbytes if keep_in_memory else matrix.nbytes / 8)


def test_importing_the_path_needs_no_evaluate():
    code = (
        "import sys, hf_leep; hf_leep.metric_path('leep'); "
        "print({'evaluate', 'datasets', 'pyarrow', 'torch', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The modules as evaluate wants them


@pytest.mark.parametrize("name", MODULES)
def test_cases_of_the_space(load, name):
    cases = runpy.run_path(str(ROOT / "metric_card" / name / "tests.py"))["test_cases"]
    assert len(cases) > 1
    for case in cases:
        scores = load(name).compute(predictions=case["predictions"], references=case["references"])
        assert scores == pytest.approx(case["result"], rel=0, abs=1e-9)


@pytest.mark.parametrize("name", MODULES)
def test_module_meets_the_requirements_of_evaluate(load, name):
    metric = load(name)
    module = sys.modules[type(metric).__module__]
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    assert classes == [type(metric)]  # evaluate takes the first metric that it finds
    kinds = [parameter.kind for parameter in inspect.signature(metric._compute).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert type(metric).__doc__.startswith(metric.description + metric.inputs_description)
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 1
    imports = evaluate.loading.get_imports(module.__file__)
    assert imports == [("library", "evaluate", "evaluate", None), ("library", "hf_leep", "hf-leep", None)]


REQUIREMENTS = ["evaluate>=0.4.6", "gradio>=6", "numpy>=2.0", "scikit-learn>=1.5", "scipy>=1.14"]
SECTIONS = [
    "# Metric Card for {title}", "## Metric Description", "## How to Use", "### Inputs", "### Output Values",
    "#### Values from Popular Papers", "### Examples", "## Limitations and Bias", "## Citation",
    "## Further References",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_metric_card_is_complete_and_its_examples_run(load, name):
    folder = ROOT / "metric_card" / name
    _, front, card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front)
    metric, title = load(name), measures.find(name).title
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {settings.pop("colorFrom"), settings.pop("colorTo")} <= colours
    assert len(settings.pop("emoji")) == 1
    assert re.fullmatch(r"6\.\d+\.\d+", settings.pop("sdk_version"))
    assert settings.pop("description")
    assert settings == {
        "title": title[0].upper() + title[1:],
        "sdk": "gradio",
        "app_file": "app.py",
        "pinned": False,
        "license": "apache-2.0",
        "python_version": "3.11",
        "tags": ["evaluate", "metric"],
    }
    found = re.findall(r"^#+ .*$", card, flags=re.MULTILINE)
    assert found == [line.format(title=settings["title"]) for line in SECTIONS]
    for option in ["predictions", "references", *metric._options()]:
        assert f"**{option}**" in card
    assert metric.citation.strip() in card
    assert (folder / "requirements.txt").read_text().split() == REQUIREMENTS
    examples = doctest.DocTestParser().get_doctest(re.sub("^```.*$", "", card, flags=re.MULTILINE), {}, name, name, 0)
    assert len(examples.examples) > 4
    assert doctest.DocTestRunner().run(examples).failed == 0


# The page of the Space


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ("0.9 0.1\n0.2, 0.8\n\n0.5,0.5\n", "0 1 1"),
        ("[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]", "[0, 1, 1]"),
        ("0.9\t0.1\n0.2\t0.8\n0.5\t0.5", "0\n1\n1\n"),
        ("0.9 0.1\n0.2 0.8\n0.5 0.5", "cat dog dog"),
        ("0.9 0.1\n0.2 0.8\n0.5 0.5", "a cat, a dog, a dog"),
        ("0.9 0.1\n0.2 0.8\n0.5 0.5", "a cat\na dog\na dog\n"),
        ("0.9 0.1\n0.2 0.8\n0.5 0.5", '["a cat", "a dog", "a dog"]'),
    ],
)
@pytest.mark.parametrize("uploaded", [False, True])
def test_the_page_reads_pasted_and_uploaded_numbers(tmp_path, predictions, references, uploaded):
    module = ROOT / "metric_card" / "leep" / "leep.py"
    expected = {"leep": pytest.approx(naive_leep(np.float32(GOOD["predictions"]), GOOD["references"]), **EXACT)}
    if uploaded:
        (tmp_path / "p.csv").write_text(predictions)
        (tmp_path / "y.txt").write_text(references)
        files = (str(tmp_path / "p.csv"), "1 2 3", str(tmp_path / "y.txt"))
        assert space.score_pasted(module, "pasted, but a file counts", *files) == expected
    else:
        assert space.score_pasted(module, predictions, None, references, None) == expected


@pytest.mark.parametrize(("top", "references"), [("3\n3\n1\n1", "0 0 0 1"), ("tabby\ntabby\npug\npug", "a a a b")])
def test_the_page_of_nce_reads_top_predictions(top, references):
    module = ROOT / "metric_card" / "nce" / "nce.py"
    expected = measures.nce([3, 3, 1, 1], [0, 0, 0, 1])
    assert space.score_pasted(module, top, None, references, None) == {"nce": pytest.approx(expected, **EXACT)}
    both = space.score_pasted(module, "0 1\n0 1\n1 0\n1 0", None, references, None)
    assert both == {"nce": pytest.approx(expected, **EXACT)}


def test_the_page_reads_arrays_and_accepts_options(tmp_path):
    np.save(tmp_path / "p.npy", np.log(GOOD["predictions"]))
    np.save(tmp_path / "y.npy", GOOD["references"])
    files = ("", str(tmp_path / "p.npy"), "", str(tmp_path / "y.npy"))
    module = ROOT / "metric_card" / "leep" / "leep.py"
    scores = space.score_pasted(module, *files, from_logits=True, leave_one_out=True)
    assert list(scores) == ["leep", "leave_one_out_leep"]
    assert scores["leep"] == pytest.approx(naive_leep(GOOD["predictions"], GOOD["references"]), abs=1e-7)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ("a b", "0 1", "expected numbers: could not convert string to float: 'a'"),
        ("[[1, 2", "0 1", "expected a list in JSON: "),
        ("1 0\n0 1", "0 1.5", "expected whole numbers or names as labels, got '0 1.5'"),
        ("1 0\n0 1", "[[0], [1, 1]]", "expected one label for each example, got lists of different lengths$"),
        ("1 0\n0 1", "cat", "got 2 rows but 1 label;"),
        ("1 0\n0", "0 1", "rows have different lengths: row 0 has 2 and row 1 has 1$"),
        ("", "", "there are no examples"),
    ],
)
def test_the_page_says_what_it_cannot_read(predictions, references, message):
    with pytest.raises(InputError, match=f"^{message}"):
        space.score_pasted(ROOT / "metric_card" / "leep" / "leep.py", predictions, None, references, None)


def test_the_page_without_gradio_names_it():
    if importlib.util.find_spec("gradio") is not None:
        pytest.skip("gradio is installed here")
    with pytest.raises(UserError, match="pip install gradio"):
        runpy.run_path(str(ROOT / "metric_card" / "leep" / "app.py"))


# Installed from the wheel


INSTALLED = """
import sys
from pathlib import Path
import evaluate, hf_leep

site = Path(sys.argv[1])
for name in sys.argv[2:]:
    assert Path(hf_leep.metric_path(name)).is_relative_to(site / "hf_leep"), hf_leep.metric_path(name)
leep = evaluate.load(hf_leep.metric_path("leep"))
print(leep.compute(predictions=[[0.75, 0.25], [0.25, 0.75]], references=[0, 1]))
"""


def test_installed_from_the_wheel(tmp_path):
    wheels, site, elsewhere = (tmp_path / name for name in ("wheels", "site", "elsewhere"))
    if importlib.util.find_spec("hatchling") is not None:
        build = ["build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    else:  # pip fetches the build backend
        build = ["pip", "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    at_once = os.environ | {"PIP_RETRIES": "0"}
    built = subprocess.run([sys.executable, "-m", *build], env=at_once, capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr and "No matching distribution" in built.stderr:
        pytest.skip("hatchling, the build backend, is neither installed nor within reach")
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.glob("hf_leep-*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], capture_output=True, check=True)
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INSTALLED, str(site), *MODULES],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(site), "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    score = float(re.fullmatch(r"\{'leep': (.*)\}\n", done.stdout).group(1))
    assert score == pytest.approx(math.log(0.75**2 + 0.25**2), **EXACT)
