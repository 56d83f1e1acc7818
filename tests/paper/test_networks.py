"""A source model to be trained is the checkpoint with a new head, on pixels that mean what its processor's do."""

import shutil

import datasets
import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
)

from examples.paper.networks import load, minibatches, pixels, predict, seeded
from hf_leep.data import Rows
from hf_leep.errors import CandidateError


def test_a_new_head_on_the_checkpoint_s_own_weights(checkpoints):
    path = str(checkpoints["five"])
    network = load(path, ["image"], num_classes=3)
    weights = network.model.model.state_dict()
    for name, tensor in AutoModelForImageClassification.from_pretrained(path).state_dict().items():
        if not name.startswith("classifier"):
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=0)
    assert weights["classifier.1.weight"].shape == (3, 16)
    assert not weights["classifier.1.weight"].any()
    assert not weights["classifier.1.bias"].any()


def test_from_scratch_the_weights_are_drawn_from_the_seed(checkpoints):
    path = str(checkpoints["five"])

    def drawn(seed):
        with seeded(seed):
            network = load(path, ["image"], num_classes=3, pretrained=False)
        return torch.cat([p.flatten() for p in network.model.parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_its_pixels_give_the_checkpoint_s_own_logits(checkpoints, rng):
    path = str(checkpoints["five"])
    images = [rng.integers(0, 256, (40, 32, 3), dtype=np.uint8) for _ in range(5)]
    features = datasets.Features({"image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"image": images}, features=features)
    chosen = np.array([4, 1, 2])
    network = load(path, ["image"])
    found = pixels(network.collate, Rows(dataset, np.arange(5)), chosen)
    assert found.dtype == torch.uint8
    whole = AutoImageProcessor.from_pretrained(path, backend="pil")([images[i] for i in chosen], return_tensors="pt")
    with torch.inference_mode():
        expected = AutoModelForImageClassification.from_pretrained(path)(**whole).logits
        network.model.eval()
        torch.testing.assert_close(network.model(pixel_values=found).logits, expected, rtol=1e-4, atol=1e-5)
    predicted = predict(lambda batch: network.model(pixel_values=batch).logits, found)
    np.testing.assert_array_equal(predicted, expected.argmax(dim=1))


def test_what_a_port_from_tensorflow_drops_is_kept(tmp_path, checkpoints):
    config = MobileNetV1Config(depth_multiplier=0.25, image_size=32, num_labels=3)
    assert config.classifier_dropout_prob > 0.9  # the share that TensorFlow keeps, and torch would drop
    MobileNetV1ForImageClassification(config).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(checkpoints["five"], backend="pil").save_pretrained(tmp_path)
    modules = list(load(str(tmp_path), ["image"]).model.modules())
    assert {round(m.p, 6) for m in modules if isinstance(m, torch.nn.Dropout)} == {0.001}
    assert {m.momentum for m in modules if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("num_rows", [1, 7, 32, 33, 100])
def test_batches_hold_each_row_once_and_are_of_nearly_one_size(num_rows, rng):
    batches = minibatches(num_rows, 32, rng)
    sizes = [len(rows) for rows in batches]
    assert sorted(np.concatenate(batches)) == list(range(num_rows))
    assert max(sizes) <= 32
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("with_processor", [False, True])
def test_what_cannot_be_trained_is_said_on_one_line(checkpoints, tmp_path, with_processor):
    folder = shutil.copytree(checkpoints["text"], tmp_path / "text")
    if with_processor:
        AutoImageProcessor.from_pretrained(checkpoints["five"], backend="pil").save_pretrained(folder)
    with pytest.raises(CandidateError, match=r"text cannot be trained: .") as caught:
        load(str(folder), ["image"], num_classes=3)
    assert "\n" not in str(caught.value)
