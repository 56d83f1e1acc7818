"""CNAPs starts as the nearest class mean, is indifferent to order and names, adapts by FiLM, and learns to."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    ConvNextForImageClassification,
    ResNetForImageClassification,
    ViTForImageClassification,
)

from examples.paper.cnaps import Cnaps, classify, meta_train, restore, save
from examples.paper.networks import load, seeded
from hf_leep.errors import CandidateError


def make(checkpoints, seed=0, **options):
    with seeded(seed):
        return Cnaps(load(str(checkpoints["five"]), ["image"]), **options)


@pytest.fixture
def cnaps(checkpoints):
    return make(checkpoints)


def waken(cnaps):
    """Let its generators say something, as after meta-training."""
    with seeded(3), torch.no_grad():
        for generator in (*cnaps.film, cnaps.head):
            torch.nn.init.normal_(generator[-1].weight, std=0.3)
            torch.nn.init.normal_(generator[-1].bias, std=0.3)
    return cnaps


def drawn(rng, classes, count, glare=0):
    """So many pictures of each class, which differ in colour: as pixels of 8 bits, and their classes.

    Glare, of a strength of its own in each picture, has nothing to do with the class.
    """
    colours = np.random.default_rng(4).integers(70, 180, (20, 3))[classes]
    labels = np.repeat(np.arange(len(classes)), count)
    pixels = colours[labels][:, :, None, None] + rng.normal(0, 60, (len(labels), 3, 16, 16))
    pixels += rng.uniform(-glare, glare, (len(labels), 1, 1, 1))
    return torch.tensor(np.clip(pixels, 0, 255), dtype=torch.uint8), labels


def test_it_starts_as_the_nearest_class_mean(cnaps, rng):
    context, labels = drawn(rng, [0, 1, 2], 4)
    query, _ = drawn(rng, [0, 1, 2], 8)

    def features(images):
        with torch.inference_mode():
            found = cnaps.backbone(pixel_values=images).logits.numpy().astype(np.float64)
        return (found - found.mean(1, keepdims=True)) / np.sqrt(found.var(1, keepdims=True) + 1e-5)

    means = np.array([features(context)[labels == c].mean(0) for c in range(3)])
    distance = ((features(query)[:, None] - means) ** 2).sum(2)
    np.testing.assert_array_equal(classify(cnaps, context, labels, query, device="cpu"), distance.argmin(1))


def test_the_order_of_the_context_says_nothing_and_names_say_no_more(cnaps, rng):
    awake = waken(cnaps)
    context, labels = drawn(rng, [0, 1, 2], 4)
    query, _ = drawn(rng, [0, 1, 2], 3)
    order, names = rng.permutation(12), np.array([2, 0, 1])
    with torch.inference_mode():
        logits = awake.logits(query, awake.adapt(context, torch.tensor(labels), 3))
        renamed = torch.tensor(names[labels][order])
        other = awake.logits(query, awake.adapt(context[order], renamed, 3))
    torch.testing.assert_close(other[:, names], logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ResNetForImageClassification, {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}),
        (ConvNextForImageClassification, {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}),
        (ViTForImageClassification, {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                                     "intermediate_size": 8, "image_size": 16, "patch_size": 4}),
    ],
)  # fmt: skip
def test_film_is_a_change_of_the_weights_of_the_normalisation_layers(kind, options, checkpoints, tmp_path, rng):
    """Of batch normalisation, and of layer normalisation wherever the channels are."""
    AutoImageProcessor.from_pretrained(checkpoints["five"], backend="pil").save_pretrained(tmp_path)
    with seeded(1):
        kind(kind.config_class(**options)).save_pretrained(tmp_path)
        cnaps = waken(Cnaps(load(str(tmp_path), ["image"])))
    context, labels = drawn(rng, [0, 1], 5)
    with torch.inference_mode():
        film = cnaps.adapt(context, torch.tensor(labels), 2).film
        plain, found = cnaps.features(context, None), cnaps.features(context, film)
        norms = (torch.nn.BatchNorm2d, torch.nn.LayerNorm)
        layers = [layer for layer in cnaps.backbone.modules() if isinstance(layer, norms)]
        for layer, (gamma, beta) in zip(layers, film, strict=True):
            layer.weight.mul_(1 + gamma)
            layer.bias.mul_(1 + gamma).add_(beta)
        folded = cnaps.features(context, None)
    torch.testing.assert_close(found, folded, rtol=1e-3, atol=1e-3)
    assert (found - plain).abs().max() > 0.1


def test_it_learns_to_tell_classes_that_it_never_met(cnaps, rng):
    """Meta-trained on 8 colours under glare, it tells 4 others apart better than their nearest mean does."""
    images, labels = drawn(rng, range(8), 12, glare=70)
    context, given = drawn(rng, range(8, 12), 5, glare=70)
    query, truth = drawn(rng, range(8, 12), 25, glare=70)
    before = (classify(cnaps, context, given, query, device="cpu") == truth).mean()
    backbone = [tensor.clone() for tensor in cnaps.backbone.state_dict().values()]
    right = meta_train(cnaps, images, labels + 7, episodes=30, learning_rate=3e-3, device="cpu")
    after = (classify(cnaps, context, given, query, device="cpu") == truth).mean()
    assert np.mean(right[-10:]) > np.mean(right[:10]) + 0.05
    assert after > before + 0.05
    for tensor, kept in zip(cnaps.backbone.state_dict().values(), backbone, strict=True):
        assert torch.equal(tensor, kept)


def test_what_was_meta_trained_is_kept_without_the_backbone_and_a_seed_repeats_it(checkpoints, rng, tmp_path):
    images, labels = drawn(rng, range(6), 12)
    path = tmp_path / "cnaps" / "five.safetensors"
    weights = []
    for seed in (1, 1, 2):
        trained = make(checkpoints)
        meta_train(trained, images, labels, episodes=2, seed=seed, device="cpu")
        weights.append(torch.cat([tensor.flatten() for tensor in trained.adapter().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    save(trained, path)
    other = make(checkpoints, seed=9)
    restore(other, path)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert [found.name for found in path.parent.iterdir()] == ["five.safetensors"]
    assert not any(name.startswith("backbone") for name in load_file(path))


def test_a_backbone_that_cannot_be_adapted_is_refused(checkpoints):
    network = load(str(checkpoints["five"]), ["image"])
    for name, module in list(network.model.named_modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            network.model.set_submodule(name, torch.nn.Identity())
    with pytest.raises(CandidateError, match="adapts normalisation layers"):
        Cnaps(network)
