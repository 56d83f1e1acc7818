"""Outputs of pipelines as predictions, top predictions, and rows that were sorted."""

import evaluate
import numpy as np
import pytest

import hf_leep
from hf_leep import measures
from hf_leep.errors import InputError
from hf_leep.evaluate_module import pipelines
from tests.strategies import population

EXACT = {"rel": 0, "abs": 1e-12}


@pytest.fixture
def load(tmp_path):
    return lambda name, **options: evaluate.load(hf_leep.metric_path(name), cache_dir=str(tmp_path), **options)


@pytest.fixture
def problem(rng):
    """(probabilities [n, s] float32, labels [n])"""
    probabilities, labels = population(rng, 60, 12, 3)
    return probabilities.astype(np.float32), labels


def outputs_of(probabilities, names=None):
    """What a pipeline returns with top_k=None."""
    names = names or [f"LABEL_{k}" for k in range(probabilities.shape[1])]
    return [
        [{"label": names[k], "score": float(row[k])} for k in np.argsort(-row, kind="stable")] for row in probabilities
    ]


@pytest.mark.parametrize("name", ["leep", "nce", "leave_one_out_leep"])
@pytest.mark.parametrize("batch", [60, 7])
def test_outputs_of_a_pipeline_are_placed_by_label(load, problem, name, batch):
    probabilities, labels = problem
    metric, outputs = load(name), outputs_of(probabilities)
    for _ in range(2):  # twice, since compute starts afresh
        for start in range(0, 60, batch):
            metric.add_batch(predictions=outputs[start : start + batch], references=labels[start : start + batch])
        expected = measures.find(name).function(probabilities, labels)
        assert metric.compute()[name] == pytest.approx(expected, **EXACT)


def test_one_output_at_a_time(load, problem):
    probabilities, labels = problem
    metric = load("leep")
    for output, label in zip(outputs_of(probabilities), labels, strict=True):
        metric.add(prediction=output, reference=label)
    assert metric.compute()["leep"] == pytest.approx(measures.leep(probabilities, labels), **EXACT)


def test_columns_are_in_the_order_of_the_models_classes(problem):
    probabilities, _ = problem
    matrix, names = pipelines.place(outputs_of(probabilities))
    assert names == [f"LABEL_{k}" for k in range(12)]
    np.testing.assert_array_equal(matrix, probabilities)
    assert pipelines.place(outputs_of(probabilities[:, :2], ["b", "a"]))[1] == ["a", "b"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda outputs: [row[:3] for row in outputs], "holds 3 of .* classes: call the pipeline with top_k=None"),
    (lambda outputs: [row[0] for row in outputs], "call the pipeline with top_k=None"),
    (lambda outputs: [[{**e, "label": "x"} for e in row] for row in outputs], "several classes called 'x'"),
])  # fmt: skip
def test_outputs_without_all_classes_are_refused_with_the_recipe(load, problem, change, message):
    probabilities, labels = problem
    with pytest.raises(InputError, match=message):
        load("leep").compute(predictions=change(outputs_of(probabilities)), references=labels)


def test_outputs_are_no_features(load, problem):
    with pytest.raises(InputError, match="logme needs features"):
        load("logme").compute(predictions=outputs_of(problem[0]), references=problem[1])


def test_batches_with_other_columns_are_refused(load, problem):
    probabilities, labels = problem
    metric = load("leep")
    metric.add_batch(predictions=outputs_of(probabilities[:9]), references=labels[:9])
    with pytest.raises(
        InputError, match="in this batch they are unnamed, and in the batches before it the 12 classes"
    ):
        metric.add_batch(predictions=probabilities[9:], references=labels[9:])


@pytest.mark.parametrize("name", ["leep", "nce", "leave_one_out_leep"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_rows_that_were_sorted_are_refused_unless_allowed(load, problem, name, from_logits):
    probabilities, labels = problem
    ordered = -np.sort(-probabilities.astype(np.float64), axis=1)
    given = np.log(ordered) if from_logits else ordered
    with pytest.raises(InputError, match=r"each of the 60 rows is in descending order.*top_k=None.*allow_sorted=True"):
        load(name).compute(predictions=given, references=labels, from_logits=from_logits)
    score = load(name).compute(predictions=given, references=labels, from_logits=from_logits, allow_sorted=True)
    assert score[name] == pytest.approx(measures.find(name).function(ordered, labels), abs=1e-6)  # never refuses


@pytest.mark.parametrize("rows", [
    pytest.param(lambda ordered: ordered[:19], id="few-rows"),
    pytest.param(lambda ordered: ordered[:, :2] / ordered[:, :2].sum(axis=1, keepdims=True), id="two-classes"),
    pytest.param(lambda ordered: np.repeat(ordered[:1], 60, axis=0), id="equal-rows"),
    pytest.param(lambda ordered: np.concatenate([ordered[:-1], ordered[-1:, ::-1]]), id="one-other-row"),
    pytest.param(lambda ordered: ordered[:, ::-1], id="ascending"),
])  # fmt: skip
def test_other_rows_are_not_taken_for_sorted_ones(load, problem, rows):
    given = rows(-np.sort(-problem[0].astype(np.float64), axis=1))
    labels = np.arange(len(given)) % 2
    assert load("leep").compute(predictions=given, references=labels)["leep"] <= 0


@pytest.mark.parametrize("convert", [
    pytest.param(lambda top: top, id="array"), pytest.param(lambda top: top.tolist(), id="list"),
    pytest.param(lambda top: [f"class {z}" for z in top], id="names"),
    pytest.param(lambda top: [{"label": f"LABEL_{z}", "score": 0.9} for z in top], id="top-1-outputs"),
    pytest.param(lambda top: [[{"label": f"LABEL_{z}", "score": 0.9}] for z in top], id="lists-of-top-1-outputs"),
])  # fmt: skip
@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_nce_takes_top_predictions(load, problem, convert, keep_in_memory):
    probabilities, labels = problem
    given, nce = convert(probabilities.argmax(axis=1)), load("nce", keep_in_memory=keep_in_memory)
    expected = {
        "nce": pytest.approx(measures.nce(probabilities, labels), **EXACT),
        "standard_error": pytest.approx(measures.standard_error("nce", probabilities, labels), **EXACT),
    }
    assert nce.compute(predictions=given, references=labels, standard_error=True) == expected
    nce.add_batch(predictions=given[:50], references=labels[:50])
    for one, label in zip(given[50:], labels[50:], strict=True):
        nce.add(prediction=one, reference=label)
    assert nce.compute(standard_error=True) == expected


def test_nce_does_not_mix_top_predictions_with_rows(load, problem):
    probabilities, labels = problem
    for first, second in (
        (probabilities, probabilities.argmax(axis=1)),
        (probabilities.argmax(axis=1), probabilities),
    ):
        nce = load("nce")
        nce.add_batch(predictions=first, references=labels)
        with pytest.raises(InputError, match="mix top predictions"):
            nce.add_batch(predictions=second, references=labels)


def test_labels_have_no_logits(load):
    with pytest.raises(InputError, match="from_logits is for logits"):
        load("nce").compute(predictions=[0, 1, 1], references=[0, 1, 1], from_logits=True)
