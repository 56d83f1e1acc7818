"""Outputs of classification pipelines of ``transformers``: lists of ``{"label": …, "score": …}``, sorted by score.

The scores alone say nothing: sorted, the first is always the highest, whichever class it is of. So they are placed by
their labels, in one order of the classes for all examples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from hf_leep import arrays
from hf_leep.errors import InputError

_ENOUGH_CLASSES, _ENOUGH_ROWS = 3, 20  # with fewer, rows may be in descending order by chance
_ALL_SCORES = "call the pipeline with top_k=None, which returns the scores of all classes"


def is_output(values: object) -> TypeGuard[Sequence[Mapping[str, object] | Sequence[Mapping[str, object]]]]:
    """Whether values are the outputs of a pipeline for several examples.

    Args:
        values: anything.
    """
    if not isinstance(values, list | tuple) or not values:
        return False
    first = values[0][0] if isinstance(values[0], list | tuple) and values[0] else values[0]
    return isinstance(first, Mapping) and {"label", "score"} <= set(first)


def top_labels(outputs: Sequence[Mapping[str, object] | Sequence[Mapping[str, object]]]) -> list[str] | None:
    """The label of each output that holds the top prediction alone, ``[n]``; None if some hold several.

    Args:
        outputs: outputs of a pipeline.
    """
    rows = [[row] if isinstance(row, Mapping) else row for row in outputs]
    return [str(row[0]["label"]) for row in rows] if all(len(row) == 1 for row in rows) else None


def place(
    outputs: Sequence[Mapping[str, object] | Sequence[Mapping[str, object]]],
) -> tuple[NDArray[np.float64], list[str]]:
    """Place the scores by their labels: one column for each class.

    Args:
        outputs: for each example, a dictionary with ``label`` and ``score`` for each class, in any order: what a
            classification pipeline returns with ``top_k=None``.

    Returns:
        The scores, ``[n, s]``, and the labels of the columns, ``[s]``: LABEL_0, LABEL_1, LABEL_2, … by their numbers,
        others in alphabetical order.

    Raises:
        InputError: examples with the scores of some classes only, or two classes of the same name.

    Examples:
        >>> place([[{"label": "b", "score": 0.9}, {"label": "a", "score": 0.1}],
        ...        [{"label": "a", "score": 0.6}, {"label": "b", "score": 0.4}]])
        (array([[0.1, 0.9],
               [0.6, 0.4]]), ['a', 'b'])
    """
    rows = [[row] if isinstance(row, Mapping) else row for row in outputs]
    names = {str(entry["label"]) for row in rows for entry in row}
    order = sorted(
        names, key=lambda name: (not re.fullmatch(r"LABEL_\d+", name), len(name) * name.startswith("LABEL_"), name)
    )
    column = {name: k for k, name in enumerate(order)}
    matrix = np.empty((len(rows), len(order)))
    for index, row in enumerate(rows):
        held = [str(entry["label"]) for entry in row]
        if twice := sorted({name for name in held if held.count(name) > 1}):
            raise InputError(
                f"output {index} of the pipeline has several classes called {twice[0]!r}: give the model's classes "
                "different names (config.id2label)"
            )
        if len(held) < len(order):
            raise InputError(
                f"output {index} of the pipeline holds {len(held)} of {len(order)} classes: {_ALL_SCORES}"
            )
        matrix[index, [column[name] for name in held]] = np.array([entry["score"] for entry in row], float)
    if len(order) == 1:
        raise InputError(f"each output of the pipeline holds one class, {order[0]!r}: {_ALL_SCORES}")
    return matrix, order


def check_unsorted(matrix: arrays.FloatMatrix) -> None:
    """Check that the rows of a matrix are not scores that a pipeline has sorted.

    With 3 columns and 20 rows, rows in random order all fall like this once in 10¹⁵ times.

    Args:
        matrix: probabilities or logits, ``[n, s]``.

    Raises:
        InputError: at least 20 rows of at least 3 columns, not all equal, and each strictly decreasing.
    """
    if len(matrix) < _ENOUGH_ROWS or matrix.shape[1] < _ENOUGH_CLASSES:
        return
    if not all((block[:, 1:] < block[:, :-1]).all() for _, block in arrays.row_blocks(matrix)):
        return
    if (matrix == matrix[0]).all():
        return
    raise InputError(
        f"each of the {len(matrix)} rows is in descending order, like scores of a pipeline with top_k=None: "
        "the class of each score is not known. Pass the pipeline's own output, the lists of "
        "{'label': …, 'score': …}, which are placed by label; if column 0 really is the likeliest class of every "
        "example, pass allow_sorted=True"
    )
