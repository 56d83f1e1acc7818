"""Predictions and labels as people pass them: lists, columns of data sets, tensors on a device."""

from __future__ import annotations

from typing import cast

import datasets
import numpy as np
from numpy.typing import ArrayLike


def on_cpu(values: ArrayLike) -> ArrayLike:
    """Convert what numpy cannot convert, or only slowly: a data set column, a tensor on a device or in bf16.

    Args:
        values: one value per example, or for one example.
    """
    if isinstance(values, datasets.Column):
        values = values[:]  # numpy would read it row by row
    if hasattr(values, "detach"):  # a torch tensor
        tensor = values.detach().cpu()
        array: ArrayLike = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        return array
    return values


def is_empty(values: ArrayLike) -> bool:
    """Whether a batch has no examples.

    Args:
        values: one value per example.
    """
    shape: tuple[int, ...] | None = getattr(values, "shape", None)
    return shape[0] == 0 if shape else isinstance(values, list | tuple) and not values


def one_row(values: ArrayLike) -> ArrayLike:
    """A batch of one example.

    Args:
        values: the value of the example.
    """
    return np.asarray(values)[None] if hasattr(values, "shape") else cast("ArrayLike", [values])
