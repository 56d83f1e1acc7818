"""Predictions and labels as people pass them: lists, columns of data sets, tensors on a device."""

from __future__ import annotations

from typing import cast

import datasets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays
from hf_leep.errors import InputError
from hf_leep.text import counted


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


def as_labels(values: ArrayLike, num_rows: int) -> NDArray[np.integer | np.bool_]:
    """Target labels as an array ``[n]``.

    Args:
        values: integers or booleans, one for each example.
        num_rows: number of examples.

    Raises:
        InputError: another length, shape or type; names, for batches and processes could number them differently.
    """
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise InputError(f"labels must be one-dimensional [n] ({error})") from None
    if labels.ndim != 1:
        raise InputError(f"labels must be one-dimensional [n], got shape {labels.shape}{arrays.label_advice(labels)}")
    if len(labels) != num_rows:
        raise InputError(
            f"got {counted(num_rows, 'row')} but {counted(len(labels), 'label')}; each row needs one label"
        )
    if labels.dtype.kind in "iub":
        return cast("NDArray[np.integer | np.bool_]", labels)
    if labels.dtype.kind == "U" or all(isinstance(value, str) for value in labels):
        raise InputError(
            f"labels must be integers or booleans, got names such as {str(labels[0])[:40]!r}: number the classes, the "
            "same in all batches; numpy.unique(references, return_inverse=True)[1] does it for a whole data set"
        )
    raise InputError(f"labels must be integers or booleans, got dtype {labels.dtype}{arrays.label_advice(labels)}")
