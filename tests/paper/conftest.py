"""A small data set for the study's tests."""

import datasets
import numpy as np
import pytest


@pytest.fixture(scope="package")
def colours(tmp_path_factory):
    """6 classes that differ in colour, 40 training and 20 test pictures of each, saved to disk."""
    from PIL import Image

    rng = np.random.default_rng(8)
    colours = rng.integers(60, 190, (6, 3))

    def rows(count):
        labels = np.arange(6 * count) % 6
        pixels = np.clip(colours[labels][:, None, None] + rng.normal(0, 60, (len(labels), 8, 8, 3)), 0, 255)
        named = datasets.ClassLabel(names=list("abcdef"))
        features = datasets.Features({"image": datasets.Image(), "label": named})
        images = [Image.fromarray(p.astype(np.uint8)) for p in pixels]
        return datasets.Dataset.from_dict({"image": images, "label": labels.tolist()}, features=features)

    folder = tmp_path_factory.mktemp("study") / "colours"
    datasets.DatasetDict({"train": rows(40), "test": rows(20)}).save_to_disk(str(folder))
    return folder
