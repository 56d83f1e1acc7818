"""Validate the inputs of the measures and convert them to numpy arrays.

Matrices have one row per example. The inputs may be numpy arrays (also memory-mapped and read-only ones), nested lists
and torch tensors on the CPU. The results are numpy arrays, without a copy if possible; no input is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_leep.errors import InputError
from hf_leep.text import counted, form

FloatMatrix: TypeAlias = NDArray[np.floating]  # [n, s] or [n, d]; float16, float32 or float64
Float64: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

ROW_SUM_TOLERANCE = 1e-3  # of sums of rows, which should be 1: a softmax computed in bf16 and stored in float32
HALF_TOLERANCE = 2e-2  # the same for float16 and bfloat16, where each of the s numbers is rounded
_ROUNDING = 1e-6  # rows whose sums are off by less are used as they are
_NEGLIGIBLE = 1e-150  # smaller float64 probabilities count as 0: their squares underflow, and no score depends on them
_LARGEST_SCALE = 2.0**1023
_ALL_WHOLE = 2.0**53  # below, a float holds every whole number
BLOCK_BYTES = 4 * 2**20  # a float64 block: large enough to hide numpy's call overhead, small enough for the cache


@dataclass(frozen=True)
class Labels:
    """Target labels, encoded without gaps.

    Attributes:
        codes: class index of each example, ``[n]``, in 0 … t−1.
        classes: the label that each index stands for, ``[t]``, ascending.
        counts: number of examples of each class, ``[t]``, all positive.
    """

    codes: Integers
    classes: NDArray[np.generic]
    counts: Integers

    def __len__(self) -> int:
        """Return the number of examples n."""
        return len(self.codes)

    @property
    def num_classes(self) -> int:
        """Number of classes t that occur."""
        return len(self.counts)


def labels(values: ArrayLike, num_examples: int) -> Labels:
    """Encode target labels as 0 … t−1; the labels may have gaps (0, 2, 7).

    Args:
        values: integers ≥ 0, booleans or strings, ``[n]``.
        num_examples: the number n of rows, which must equal the number of labels.

    Raises:
        InputError: wrong length or type, negative labels, no examples, or only one class.
    """
    array = _as_numpy(values)
    if array.ndim != 1:
        raise InputError(f"labels must be one-dimensional [n], got shape {array.shape}{label_advice(array)}")
    if len(array) != num_examples:
        raise InputError(
            f"got {counted(num_examples, 'row')} but {counted(len(array), 'label')}; each row needs one label"
        )
    if len(array) == 0:
        raise InputError("there are no examples (n = 0)")
    if array.dtype.kind in "iub":
        codes, classes, counts = _encode_integers(cast("NDArray[np.integer]", array))
    elif array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(v, str) for v in array)):
        classes, codes, counts = np.unique(array.astype(str), return_inverse=True, return_counts=True)
    else:
        raise InputError(f"labels must be integers, booleans or strings, got dtype {array.dtype}{label_advice(array)}")
    if len(classes) < 2:
        every = form(len(array), "the only label is", f"all {len(array)} labels are")
        raise InputError(f"{every} {classes[0]!s}; a score needs at least two classes")
    return Labels(codes.astype(np.int64, copy=False), classes, counts.astype(np.int64, copy=False))


def label_advice(array: NDArray[np.generic]) -> str:
    """What to do about labels of another shape or type, as the end of a message; empty if nothing is known.

    Args:
        array: the labels.
    """
    kind = array.dtype.kind
    if array.ndim == 2 and array.shape[1] == 1:
        return ": take the only column, as labels[:, 0]"
    if array.ndim == 2 and kind in "biuf" and len(array) and (array.astype(float).sum(axis=1) == 1).all():
        if np.isin(array, (0, 1)).all():
            return ": these are one-hot rows, so give the positions of the ones, as labels.argmax(axis=1)"
        return ": these are probabilities of classes, so give the likeliest of each row, as labels.argmax(axis=1)"
    if array.ndim == 2:
        return ": a score needs one label for each row"
    if array.ndim != 1 or not len(array):
        return ""
    if kind == "f":
        numbers = array.astype(float)
        whole = np.equal(np.mod(np.where(np.isfinite(numbers), numbers, 0.5), 1), 0)
        if whole.all() and (np.abs(numbers) >= _ALL_WHOLE).any():
            return ": numbers above 2^53 lose digits as floats, so give labels of an integer type, or texts"
        if whole.all():
            return ": these are whole numbers, so give labels.astype(int)"
        row = int(np.argmin(whole))
        if np.isnan(numbers[row]):
            return f": row {row} has none (NaN), so drop such rows first"
        return f": {numbers[row]:g} in row {row} is no class, so give classes, such as bins of the numbers"
    missing = [row for row, value in enumerate(array.tolist()) if value is None] if kind == "O" else []
    if missing:
        return f": row {missing[0]} has none (None), so drop such rows first"
    if kind == "S":
        return ": these are bytes, so give labels.astype(str)"
    return ""


def source_labels(values: ArrayLike) -> tuple[Integers, int] | None:
    """Encode hard source labels as 0 … s−1; unlike target labels, they may all be the same.

    Args:
        values: integers ≥ 0, booleans or strings, ``[n]``.

    Returns:
        The class of each example, ``[n]``, and the number of classes s; None if the values are no such labels, as a
        matrix of probabilities is not.

    Raises:
        InputError: negative labels.
    """
    array = _as_numpy(values)
    if array.ndim != 1 or not len(array):
        return None
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array):
        array = array.astype(str)
    if array.dtype.kind not in "iubU":
        return None
    if array.dtype.kind == "i" and (below := np.less(array, 0)).any():
        row = int(np.argmax(below))
        raise InputError(f"source label {array[row]} in row {row} is negative: drop these rows first")
    classes, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.int64, copy=False), len(classes)


def draws(values: ArrayLike | None, num_examples: int, fewest: int = 2) -> Integers | None:
    """Encode the draw that each example belongs to, such as the sentence of a word, as 0 … g−1; numbers may have gaps.

    Args:
        values: integers ≥ 0, ``[n]``; None if each example is a draw of its own.
        num_examples: the number n of rows, which must equal the number of values.
        fewest: number of draws that are needed.

    Returns:
        The draw of each example, ``[n]``; None if no two examples share one.

    Raises:
        InputError: wrong length or type, negative values, or too few draws.
    """
    if values is None:
        return None
    array = _as_numpy(values)
    if array.shape != (num_examples,) or array.dtype.kind not in "iu":
        raise InputError(
            f"draws must be integers, one for each of {num_examples} rows, got {array.dtype} of shape {array.shape}"
        )
    found, index = np.unique(array, return_inverse=True)
    if len(found) and found[0] < 0:
        raise InputError(f"draw {found[0]} in row {int(np.argmin(array))} is negative")
    if len(found) < fewest:
        raise InputError("all examples belong to one draw: there are no others to predict them from")
    return None if len(found) == num_examples else index.astype(np.int64, copy=False)


def real_targets(values: ArrayLike, num_examples: int) -> Float64:
    """Convert regression targets ``[n]`` or ``[n, m]`` to a float64 matrix ``[n, m]``.

    Args:
        values: real numbers.
        num_examples: the number n of rows, which must equal the number of targets.

    Raises:
        InputError: wrong shape or type, NaN or infinite values, or a target that is the same for all examples.
    """
    array = _as_numpy(values)
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise InputError(f"targets must be real numbers [n] or [n, m], got shape {array.shape}")
    if array.dtype.kind not in "fbiu":
        raise InputError(f"targets must hold real numbers, got dtype {array.dtype}")
    if len(array) != num_examples:
        raise InputError(f"got {counted(num_examples, 'row')} but {counted(len(array), 'target')}; each row needs one")
    matrix = array.reshape(num_examples, -1).astype(np.float64)
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise InputError(f"targets hold NaN or an infinity in row {int(np.argmin(finite))}")
    constant = (matrix == matrix[0]).all(axis=0)
    if constant.any():
        column = int(np.argmax(constant))
        raise InputError(f"target {column} is {matrix[0, column]:.6g} for all {num_examples} examples")
    return matrix


def probabilities(values: ArrayLike) -> FloatMatrix:
    """Convert source probabilities to a matrix ``[n, s]``, check them, and make each row sum to 1.

    The matrix is copied only if a row's sum is off by more than 1e-6, or if it holds tiny float64 numbers.

    Raises:
        InputError: not a matrix of real numbers, an empty one, or as for `check_simplex`.
    """
    return simplex(matrix(values, "probabilities", "[n, s]"), HALF_TOLERANCE if is_half(values) else ROW_SUM_TOLERANCE)


def simplex(theta: FloatMatrix, tolerance: float) -> FloatMatrix:
    """Check the rows of a matrix ``[n, s]`` as `check_simplex` does, and divide each by its sum, in a copy if needed.

    Args:
        theta: probabilities.
        tolerance: how far the sum of a row may be from 1.

    Raises:
        InputError: as for `check_simplex`.
    """
    sums, tiny = np.empty(len(theta)), False
    for rows, block in row_blocks(theta):
        sums[rows] = check_simplex(block, rows.start, tolerance)
        if theta.dtype == np.float64:  # others hold none
            tiny = tiny or bool(((block > 0) & (block < _NEGLIGIBLE)).any())
    if not tiny and np.abs(sums - 1.0).max() <= _ROUNDING:
        return theta
    result = np.empty(theta.shape, np.float32 if theta.dtype in (np.float16, np.float32) else np.float64)
    for rows, block in row_blocks(theta):
        block[block < _NEGLIGIBLE] = 0.0
        block /= sums[rows, None]
        result[rows] = block
    return result


def features(values: ArrayLike) -> FloatMatrix:
    """Convert penultimate features to a matrix ``[n, d]``; `check_finite` checks the values later, block by block.

    Raises:
        InputError: not a matrix of real numbers, or an empty one.
    """
    return matrix(values, "features", "[n, d]")


def matrix(values: ArrayLike, name: str, shape: str) -> FloatMatrix:
    """Convert real numbers to a matrix, whatever they are.

    Args:
        values: the numbers.
        name: what they are, for the message.
        shape: the shape that they must have, such as ``"[n, d]"``, for the message.

    Raises:
        InputError: not a matrix of real numbers, or an empty one.
    """
    array = _as_numpy(values)
    if array.ndim != 2:
        raise InputError(f"{name} must be a matrix {shape}, got shape {array.shape}")
    if array.dtype.kind not in "fbiu":  # integers, such as one-hot rows, become floats block by block
        raise InputError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if 0 in array.shape:
        raise InputError(f"{name} are empty: got shape {array.shape}, expected {shape}")
    if array.dtype.itemsize > 8:  # of more than float64's precision and range
        with np.errstate(over="ignore"):  # reported as infinite, with their row
            return array.astype(np.float64)
    return cast(FloatMatrix, array)


def is_half(values: object) -> bool:
    """Whether an array or tensor is in half precision, float16 or bfloat16."""
    dtype = getattr(values, "dtype", None)
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.") in ("float16", "bfloat16")


def scale_of(largest: float) -> float:
    """Return a factor that brings numbers up to ``largest`` into [0, 1], so that their powers do not overflow.

    Of the smallest numbers, below 1e-307, it makes some below 1e-12, since no float64 is 1/largest there.
    """
    return min(1.0 / largest, _LARGEST_SCALE) if largest > 0 else 1.0


def row_blocks(matrix: FloatMatrix, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[slice, Float64]]:
    """Yield ``(rows, float64 block)`` of a matrix. They share a buffer: a block is valid until the next one."""
    height = max(1, block_bytes // (8 * matrix.shape[1]))
    buffer = np.empty((min(height, len(matrix)), matrix.shape[1]))
    for start in range(0, len(matrix), height):
        rows = slice(start, min(start + height, len(matrix)))
        block = buffer[: rows.stop - rows.start]
        np.copyto(block, matrix[rows])
        yield rows, block


def check_simplex(block: Float64, first_row: int, tolerance: float = ROW_SUM_TOLERANCE) -> Float64:
    """Return the sum of each row of a float64 block ``[b, s]``, and raise unless all are probability vectors.

    Args:
        block: some rows of the probabilities.
        first_row: position of the first of them, for the message.
        tolerance: how far the sum of a row may be from 1.

    Raises:
        InputError: a row with NaN or a negative value, or one that does not sum to 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sums = block @ np.ones(block.shape[1])
        wrong = ~(np.abs(sums - 1.0) <= tolerance)  # NaN fails this too
    if wrong.any():
        row = int(np.argmax(wrong))
        if np.isnan(sums[row]):
            what = "NaN" if np.isnan(block[row]).any() else "infinities"
            raise InputError(f"probabilities hold {what} in row {first_row + row}")
        raise InputError(
            f"row {first_row + row} of probabilities sums to {sums[row]:.6g}, not to 1 (±{tolerance:g}): "
            "logits must go through a softmax first, in float32 or better"
        )
    if block.min() < 0:
        row = int(np.argmax(block.min(axis=1) < 0))
        raise InputError(f"row {first_row + row} of probabilities holds a negative value, {block[row].min():.6g}")
    return np.asarray(sums)


def check_finite(block: Float64, first_row: int) -> None:
    """Raise if a float64 block ``[b, d]`` of features holds NaN or infinite values.

    Args:
        block: some rows of the features.
        first_row: position of the first of them, for the message.

    Raises:
        InputError: a row with NaN or an infinite value.
    """
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"features hold NaN or an infinity in row {first_row + row}")


def _as_numpy(values: ArrayLike) -> NDArray[np.generic]:
    if hasattr(values, "detach"):  # a torch tensor, recognised without importing torch
        tensor = values.detach()
        if tensor.device.type != "cpu":
            raise InputError(f"got a tensor on {tensor.device}; move it to the CPU first: tensor.cpu()")
        if str(tensor.dtype) == "torch.bfloat16":  # numpy has no bfloat16
            tensor = tensor.float()
        return np.asarray(tensor.numpy())
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"rows have different lengths{_two_lengths(values)}") from None
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array  # a type of another package


def _two_lengths(values: ArrayLike) -> str:
    """The first two lengths of rows that differ, as the end of a message; empty where rows have no lengths."""
    try:
        lengths = [len(row) for row in values]  # type: ignore[union-attr, arg-type]
    except TypeError:
        return ""
    odd = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    return "" if odd is None else f": row 0 has {lengths[0]} and row {odd} has {lengths[odd]}"


def _encode_integers(array: NDArray[np.integer]) -> tuple[Integers, NDArray[np.integer], Integers]:
    low, high = array.min(), array.max()
    if low < 0:
        row = int(np.argmax(array < 0))
        raise InputError(
            f"label {array[row]} in row {row} is negative (unlabelled examples are often marked −1 or −100): "
            "drop these rows first"
        )
    if int(high) > 4 * len(array) + 1024:  # labels with large gaps: sorting is cheaper than counting
        classes, codes, counts = np.unique(array, return_inverse=True, return_counts=True)
        return codes, classes, counts
    array = array.astype(np.int64, copy=False)
    counts_of_all = np.bincount(array)
    occurring = np.flatnonzero(counts_of_all)
    position = np.zeros(len(counts_of_all), dtype=np.int64)
    position[occurring] = np.arange(len(occurring))
    return position[array], occurring, counts_of_all[occurring]
