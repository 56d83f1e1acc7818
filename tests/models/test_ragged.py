"""Rows of unequal size in one batch, none of which sees another's padding."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_leep.models.ragged import SIZES, OneLengthAtATime, in_one_batch, outputs, sees_padding


class Nosy(nn.Module):
    """A classifier that sees all it is given: its one feature is the mean of a row, padding and all."""

    def __init__(self, masked=False):
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.masked = masked

    def forward(self, x, mask=None):
        mean = (x * mask).sum(1) / mask.sum(1) if self.masked else x.flatten(1).mean(1)
        return SimpleNamespace(logits=self.head(mean[:, None]))


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(1, n, generator=generator), "mask": torch.ones(1, n)} for n in (3, 5, 3, 2)]


def test_each_size_is_run_alone_and_the_order_kept(rows):
    model = Nosy()
    heard = []
    model.head.register_forward_pre_hook(lambda _head, inputs: heard.append(inputs[0]))
    expected = torch.cat([model(**row).logits for row in rows])
    means = torch.cat(heard)
    logits = OneLengthAtATime(model, model.head)(**in_one_batch(rows, 1)).logits
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(heard[-1], means)  # the head's inputs, in one piece


def test_images_keep_their_height_and_width():
    images = [{"x": torch.full((1, 3, h, w), 1.0)} for h, w in ((4, 6), (5, 2))]
    batch = in_one_batch(images, 3)
    assert batch["x"].shape == (2, 3, 5, 6)
    assert batch["x"].sum(dim=(1, 2, 3)).tolist() == [72, 30]
    assert batch[SIZES].tolist() == [[3, 4, 6], [3, 5, 2]]
    model = Nosy()
    logits = OneLengthAtATime(model, None)(**batch).logits
    torch.testing.assert_close(logits[0], logits[1])  # all ones, and no zeros beside them


@pytest.mark.parametrize("masked", [False, True])
def test_a_model_that_sees_padding_is_found_out(rows, masked):
    model = Nosy(masked).train()
    together = in_one_batch(rows, 1)
    del together[SIZES]
    assert sees_padding(model, rows, outputs(model, together)) is not masked
    assert model.training
    assert outputs(model, {"y": torch.ones(1)}) is None
