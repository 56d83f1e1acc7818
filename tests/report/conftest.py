"""A report with everything a card has to show, as plain data."""

import copy

import pytest

from hf_leep.measures import MEASURES
from hf_leep.report.schema import SCHEMA_ID


def _score(value, error=None, warnings=(), reason=None):
    half = None if error is None else 1.96 * error
    found = {"value": value, "standard_error": error, "half_width": half, "shuffled": None}
    found["interval"] = None if half is None else [value - half, value + half]
    return {**found, "warnings": list(warnings), "reason": reason}


def _explanation():
    def source(name, weight):
        return {"name": name, "weight": weight, "conditional": 0.8, "share": 0.6}

    def served(name, count, log_prediction, gain, *sources):
        found = {"name": name, "count": count, "log_prediction": log_prediction, "gain": gain}
        return {**found, "sources": [source(*s) for s in sources]}

    def example(row, label, prediction, likely, surely, seen):
        found = {"row": row, "word": None, "label": label, "prediction": prediction, "likely": likely}
        return {**found, "likely_prediction": surely, "source": seen, "source_probability": 0.912}

    long = "daisy, Bellis perennis, a name that is long"
    return {
        "prior_weight": 0.01,
        "classes": [
            served("daisy", 250, -0.105, 2.197, (long, 0.91), ("bee", 0.04)),
            *(served(f"flower {k}", 249, -0.5 - k / 10, 1.8 - k / 10, (f"plant {k}", 0.5)) for k in range(8)),
            served("weed", 258, -2.4, -0.1, ("hay", 0.31), ("rapeseed", 0.2), ("broom", 0.05)),
        ],
        "num_left_out": 0,
        "source_classes": [
            {
                "name": long,
                "mass": 0.213,
                "targets": [{"name": "daisy", "conditional": 0.8}, {"name": "flower 1", "conditional": 0.0312}],
            },
            *(
                {"name": f"plant {k}", "mass": 0.1 - k / 200, "targets": [{"name": f"flower {k}", "conditional": 0.5}]}
                for k in range(15)
            ),
        ],
        "num_sources_left_out": 984,
        "examples": [
            example(41234, "weed", 0.00012, "daisy", 0.97, long),
            *(example(100 + k, "rose", 0.004 + k / 100, "tulip", 0.5, "vase") for k in range(8)),
        ],
    }


def _calibration(score):
    curve = [[0.5, score - 0.3], [1.0, score], [1.41, score + 0.05], [2.0, score - 0.1]]
    found = {"temperature": 2**0.5, "value": score + 0.05, "as_is": score, "spread": 0.35}
    return {**found, "curve": curve, "num_examples": 1000}


def _candidate(identity, rank, group, leep, loo, behind, **more):
    run = {"processor": "sha256:1", "processor_backend": "pil", "dtype": "float32", "device": "cpu", "batch_size": 32}
    run |= {
        "max_length": None,
        "num_truncated": 0,
        "num_padded": 0,
        "pooling": None,
        "num_processes": 1,
        "max_seconds": None,
    }
    few = (
        "only 2.5 examples a source class (fewer than 5): estimates look too good on their own rows, so compare "
        "leave-one-out LEEP"
    )
    return {
        "id": identity,
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "status": "ok",
        "reason": None,
        "rank": rank,
        "tie_group": group,
        "tie_letters": None if group is None else "ab"[group - 1],
        "rank_interval": None if rank is None else [[1, 2], [1, 3], [2, 3]][rank - 1],
        "probability_best": None if rank is None else (0.2958, 0.704, 0.0002)[rank - 1],
        "same_as": None,
        "num_source_classes": 1000,
        "num_parameters": 25_557_032,
        "downloads": None,
        "stated_accuracy": None if rank == 2 else 0.7613,
        "stated_on": "ImageNet-1k (validation)" if rank == 1 else None,
        "effective_source_classes": 123.4,
        "num_features": 512,
        "headless": False,
        "task": "image-classification",
        "license": "apache-2.0",
        "gated": False,
        "private": False,
        "trained_on": [],
        "trained_on_target": False,
        "untrained": False,
        "notes": [],
        "scores": {"leep": _score(leep, 0.02, [few]), "leave-one-out-leep": _score(loo, 0.025)},
        "calibration": _calibration(loo),
        "explanation": _explanation(),
        "entropy_explained": (loo + 2.302585) / 2.302585,
        "consensus": None,
        "check": _score(loo, 0.025),
        "behind_best": {"value": behind, "standard_error": 0.015, "half_width": 0.0294}
        if behind
        else {
            "value": 0.0,
            "standard_error": 0.0,
            "half_width": 0.0,
        },
        "interval": [leep - 0.0392, leep + 0.0392],
        "run": {**run, "seconds": 12.34, "peak_memory_bytes": 10**9, "from_store": False},
        "num_examples": 2500,
        "stopped": None,
        "head_accuracy": None if rank is None else _score((0.8312, 0.842, 0.61)[rank - 1], 0.0075),
        **more,
    }


def measure(name):
    """What report.json says about a measure that is installed here."""
    found = MEASURES[name]
    keys = ("title", "unit", "needs", "higher_is_better", "reference", "summary")
    return {key: getattr(found, key) for key in keys}


REPORT = {
    "$schema": SCHEMA_ID,
    "schema_version": 1,
    "confidence": 0.95,
    "target": {
        "dataset": "user/flowers",
        "config": None,
        "split": "train",
        "revision": "89abcdef0123456789abcdef0123456789abcdef",
        "num_examples": 2500,
        "num_classes": 10,
        "class_entropy": 2.302585,
        "leave_one_out_floor": -2.306,
        "seed": 0,
        "num_sentences": None,
        "num_rows": 60000,
        "streamed": False,
        "num_duplicates": 3,
        "fingerprint": "sha256:2",
        "modality": "image",
        "task": "image-classification",
        "unit": "images",
        "input_columns": ["image"],
        "label_column": "label",
        "bad_rows": [],
        "class_names": [str(k) for k in range(10)],
        "warnings": ["3 of 2500 rows repeat an earlier row exactly (1 with another label)"],
    },
    "measures": ["leep", "leave-one-out-leep"],
    "measure_details": {
        "leep": {
            "title": "LEEP",
            "unit": "nats",
            "needs": "probabilities",
            "higher_is_better": True,
            "reference": "Nguyen et al., ICML 2020, eq. (2)",
            "summary": "how well source predictions explain the target labels; in-sample",
        },
        "leave-one-out-leep": {
            "title": "leave-one-out LEEP",
            "unit": "nats",
            "needs": "probabilities",
            "higher_is_better": True,
            "reference": "after Nguyen et al., ICML 2020, eq. (2)",
            "summary": "LEEP with each example scored by all others",
        },
    },
    "sort_by": "leep",
    "checked_by": "leave-one-out-leep",
    "num_pairs": 3,
    "num_disagreements": 1,
    "best_by": "leave-one-out-leep",
    "second_opinion": {
        "measure": "ridge",
        "verdict": "agrees",
        "first": "big/resnet",
        "best": "small/resnet",
        "gap": 0.0108,
        "standard_error": 0.006,
        "half_width": 0.0117,
        "num_compared": 3,
        "num_examples": 2500,
    },
    "settling": [{"places": 1, "num_examples": 6691}],
    "consensus": None,
    "agreement": [{"measures": ["leep", "leave-one-out-leep"], "kendall": 1 / 3, "num_candidates": 3}],
    "calibration": {"num_pairs": 3, "num_reordered": 1},
    "size": {
        "bands": [
            {"from": 0, "below": 10**7, "num_candidates": 1, "best": {"id": "small/resnet", "rank": 2}},
            {"from": 10**7, "below": 10**8, "num_candidates": 2, "best": {"id": "big/resnet", "rank": 1}},
        ],
        "num_unknown": 0,
        "kendall": 0.0,
        "num_candidates": 3,
    },
    "baselines": [
        {"name": "parameters", "kendall": 0.0, "num_candidates": 3},
        {"name": "downloads", "kendall": 1 / 3, "num_candidates": 3},
        {"name": "source classes", "kendall": None, "num_candidates": 3},
    ],
    "candidates": [
        _candidate("big/resnet", 1, 1, -0.812, -1.021, 0.0),
        _candidate(
            "small/resnet",
            2,
            1,
            -0.83,
            -0.99,
            0.018,
            num_parameters=5_000_000,
            license="cc-by-nc-4.0",
            notes=["not for commercial use, according to its licence cc-by-nc-4.0"],
        ),
        _candidate("weak/resnet", 3, 2, -1.512, -1.721, 0.7),
        {
            **_candidate("base/bert", None, None, -1.0, -1.0, 0.0),
            "status": "failed",
            "notes": ["gated: not of interest, for it has no score"],
            "reason": "no trained classification head: newly initialised classifier.bias, classifier.weight",
            "scores": {},
            "check": None,
            "calibration": None,
            "explanation": None,
            "entropy_explained": None,
            "behind_best": None,
            "interval": None,
            "headless": True,
            "run": None,
            "num_examples": None,
        },
    ],
    "auto": None,
    "race": None,
    "certificate": {"num_checks": 10, "failed": [], "unchecked": []},
    "headless": {"count": 1, "command": "hf-leep rank --dataset user/flowers --split train --measures logme"},
    "run": {
        "versions": {"python": "3.11.7", "hf-leep": "0.1.0"},
        "command": "hf-leep rank --dataset user/flowers --split train",
        "seconds": 95.2,
    },
}


@pytest.fixture
def report():
    return copy.deepcopy(REPORT)
