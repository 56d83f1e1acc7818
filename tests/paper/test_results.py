"""What the report says of planted tasks, worked out by hand."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from examples.paper import plots, results
from examples.paper.report import page
from examples.paper.study import Job, write_json


@pytest.fixture
def folder(tmp_path):
    """Six tasks of two to seven classes: the higher LEEP, the earlier fine-tuning passes 60 %, the last one never."""
    known = {"dataset": "planted", "num_classes": 9, "num_train": 90, "num_test": 90, "seed": 0, "measures": ["leep"]}
    source = {"num_source_classes": 10, "num_features": 4, "num_parameters": None}
    training = {"epochs": 4, "learning_rate": 0.01, "scratch_epochs": 2, "scratch_learning_rate": 0.1,
                "batch_size": 32, "precision": "float32", "episodes": 1}  # fmt: skip
    write_json(tmp_path / "study.json", {**known, "sources": {"net": source}, "training": training})
    for index, leep in enumerate([-1.0, -1.2, -1.1, -2.0, -1.6, -2.5]):
        place = {"experiment": "convergence", "source": "net", "index": index}
        size = {"num_classes": index + 2, "num_train": 20, "num_test": 20}
        passing = (1, 2, 1, 3, 4, 5)[index]  # the epoch
        curve = [0.7 if epoch >= passing else 0.5 for epoch in range(1, 5)]
        for kind, found in (
            ("head", {"scores": {"leep": leep}, "quality": 0.6, "halves": [0.6, 0.6]}),
            ("curves", {"transferred": curve, "scratch": [0.3, 0.6]}),
        ):
            write_json(Job("convergence", "net", kind, index).path(tmp_path), {**place, "kind": kind, **size, **found})
    return tmp_path


def test_convergence_is_told_by_bins_of_leep(folder):
    (found,) = results.collect(folder)["convergence"]
    assert (found["num_tasks"], found["num_passed"], found["epochs"], found["scratch_epochs"]) == (6, 5, 4, 2)
    assert [point["passed"] for point in found["points"]] == [1, 2, 1, 3, 4, None]
    assert [part["leep"] for part in found["bins"]] == [[-2.5, -2.0], [-1.6, -1.2], [-1.1, -1.0]]
    np.testing.assert_allclose(
        [part["gain"] for part in found["bins"]],
        [[-0.1, -0.1, 0.0, 0.0], [-0.1, 0.0, 0.0, 0.1], [0.1, 0.1, 0.1, 0.1]],
        atol=1e-12,
    )
    tau = kendalltau([-1.0, -1.2, -1.1, -2.0, -1.6, -2.5], [-1, -2, -1, -3, -4, -5])
    speed = found["measures"]["leep"]["speed"]
    assert speed["kendall"] == pytest.approx(tau.statistic)
    assert speed["kendall_p_value"] == pytest.approx(tau.pvalue)


def test_a_page_and_a_picture_of_it(folder):
    found = results.collect(folder)
    said = page(found, {"convergence.png"})
    assert "6 tasks of 2 to 7 classes; 5 pass the accuracy that 2 epochs from scratch reach, within 4 epochs" in said
    assert "Networks are trained by SGD" in said
    assert plots.convergence(found["convergence"]).startswith(b"\x89PNG")
