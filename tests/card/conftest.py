"""A report with everything a card has to show, as plain data."""

import copy

import pytest


def _score(value, error=None, warnings=(), reason=None):
    return {"value": value, "standard_error": error, "warnings": list(warnings), "reason": reason}


def _candidate(identity, rank, group, leep, loo, behind, **more):
    run = {"processor": "sha256:1", "processor_backend": "pil", "dtype": "float32", "device": "cpu", "batch_size": 32}
    few = "only 2.5 examples a source class (fewer than 5): in-sample scores are too high; compare leave-one-out LEEP"
    return {
        "id": identity,
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "status": "ok",
        "reason": None,
        "rank": rank,
        "tie_group": group,
        "num_source_classes": 1000,
        "num_parameters": 25_557_032,
        "effective_source_classes": 123.4,
        "num_features": 512,
        "headless": False,
        "task": "image-classification",
        "license": "apache-2.0",
        "gated": False,
        "trained_on": [],
        "trained_on_target": False,
        "notes": [],
        "scores": {"leep": _score(leep, 0.02, [few]), "leave-one-out-leep": _score(loo, 0.025)},
        "check": _score(loo, 0.025),
        "behind_best": {"value": behind, "standard_error": 0.015 if behind else 0.0},
        "interval": [leep - 0.0392, leep + 0.0392],
        "run": {**run, "seconds": 12.34, "peak_memory_bytes": 10**9},
        **more,
    }


REPORT = {
    "schema_version": 1,
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
        "num_rows": 60000,
        "num_duplicates": 3,
        "fingerprint": "sha256:2",
        "modality": "image",
        "input_columns": ["image"],
        "label_column": "label",
        "class_names": [str(k) for k in range(10)],
        "warnings": ["3 of 2500 rows repeat an earlier row exactly (1 of them with another label)"],
    },
    "measures": ["leep", "leave-one-out-leep"],
    "sort_by": "leep",
    "checked_by": "leave-one-out-leep",
    "num_pairs": 3,
    "num_disagreements": 1,
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
            notes=["not for commercial use, by the licence cc-by-nc-4.0"],
        ),
        _candidate("weak/resnet", 3, 2, -1.512, -1.721, 0.7),
        {
            **_candidate("base/bert", None, None, -1.0, -1.0, 0.0),
            "status": "failed",
            "notes": ["gated: not of interest, for it has no score"],
            "reason": "no trained classification head: newly initialised classifier.bias, classifier.weight",
            "scores": {},
            "check": None,
            "behind_best": None,
            "interval": None,
            "headless": True,
            "run": None,
        },
    ],
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
