"""Training is the gradient descent that it says, step by step; a network learns by it; a seed repeats it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from examples.paper.finetune import train
from examples.paper.networks import load, seeded


class Linear(torch.nn.Module):
    """The smallest network that looks like one of transformers: 4 numbers → 3 logits."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, pixel_values):
        return SimpleNamespace(logits=pixel_values @ self.weights)


def test_each_step_is_that_of_nesterov_s_momentum_with_decay(rng):
    x, y, w = rng.normal(size=(20, 4)), rng.integers(0, 3, 20), rng.normal(size=(4, 3))
    network, test = Linear(w), rng.normal(size=(50, 4))
    images = torch.tensor(x, dtype=torch.float32)
    predicted = train(
        network, images, y, torch.tensor(test, dtype=torch.float32), epochs=4, learning_rate=0.5, device="cpu"
    )
    velocity, seen = 0.0, []
    for step in range(4):  # each epoch is one batch of all rows
        gradient = x.T @ (softmax(x @ w, axis=1) - np.eye(3)[y]) / 20 + 5e-4 * w
        velocity = 0.9 * velocity + gradient
        w = w - 0.5 * (1 - step / 4) * (gradient + 0.9 * velocity)
        seen.append((test @ w).argmax(axis=1))
    np.testing.assert_allclose(network.weights.detach(), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predicted, seen)


@pytest.fixture
def colours(rng):
    """27 noisy pictures of 3 colours to train on, 30 to test."""
    means = np.array([[170, 90, 90], [90, 170, 90], [90, 90, 170]])

    def drawn(count):
        labels = np.arange(count) % 3
        noise = rng.normal(0, 40, (count, 3, 16, 16))
        return torch.tensor(np.clip(means[labels][:, :, None, None] + noise, 0, 255), dtype=torch.uint8), labels

    return *drawn(27), *drawn(30)


def trained(checkpoints, colours, *, pretrained=True, epochs=4, seed=1, **options):
    """The predictions after each epoch, the truth, and how far each of the parameters went."""
    images, labels, test, truth = colours
    with seeded(0):
        model = load(str(checkpoints["five"]), ["image"], num_classes=3, pretrained=pretrained).model
    before = [p.detach().clone() for p in model.parameters()]
    predicted = train(
        model, images, labels, test, epochs=epochs, learning_rate=0.1, batch_size=9, seed=seed, device="cpu", **options
    )
    moved = [(p.detach() - b).flatten() for p, b in zip(model.parameters(), before, strict=True)]
    return predicted, truth, moved


@pytest.mark.parametrize(("pretrained", "precision"), [(True, "float32"), (False, "float32"), (True, "bfloat16")])
def test_a_network_learns_with_all_of_its_parameters(checkpoints, colours, pretrained, precision):
    predicted, truth, moved = trained(checkpoints, colours, pretrained=pretrained, precision=precision)
    assert len(predicted) == 4
    assert (predicted[-1] == truth).mean() > 0.8
    assert all(change.any() for change in moved)


def test_a_seed_repeats_it_and_nothing_is_drawn_from_the_caller_s_generator(checkpoints, colours):
    before = torch.get_rng_state()
    first, again, other = (torch.cat(trained(checkpoints, colours, epochs=1, seed=seed)[2]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
