"""NCE, the negative conditional entropy of target labels given hard source labels.

Tran, Nguyen, Hassner: Transferability and Hardness of Supervised Classification Tasks, ICCV 2019;
with the source label taken as the argmax of the source probabilities, as LEEP's paper does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64


def nce(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Score how well the source's top prediction explains the target labels, in nats; higher is better.

    Args:
        probabilities: source probabilities, ``[n, s]``; only each row's argmax is used (the first, where tied).
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        −Ĥ(Y|Z) in [−log t, 0], never below −Ĥ(Y). Invariant to the order of rows and to renaming labels, to the
        order of source columns where no row has a tie, and to repeating the data set. Equal to LEEP for one-hot
        probabilities.

    Raises:
        InputError: as for `leep`.

    Cost: one pass of O(n·s) time and a sort of n numbers; O(n + s + block) memory.

    Not for: examples that are few for the t·s cells of its table, since a plug-in estimate is too high there: at
    n = 200 and 5 balanced classes, random guesses over 1,000 source classes score −0.10 (floor −1.61). Nor for
    comparing targets: the floor −Ĥ(Y) is the target's own.

    Reference: Tran et al. 2019.
    """
    return influence(probabilities, labels)[0]


def influence(probabilities: ArrayLike, labels: ArrayLike) -> tuple[float, Float64]:
    """NCE and the influence of each example on it: value in nats and ``[n]`` values of mean 0.

    With φ(x) = x log x, n·T = Σ_yz φ(n_yz) − Σ_z φ(n_z), and an example adds at its own (y, z)
    IF_i = log(n_yz/n_z) − ½ (1/n_yz − 1/n_z), centred: `leep`'s for one-hot predictions. Without the second term
    errors are a seventh too small where cells are sparse; with φ(x) − φ(x − 1), by deleting the example, a sixth too
    large (`tests/benchmarks/coverage.py`).

    Args and errors: as for `nce`.
    """
    theta = arrays.probabilities(probabilities)
    target = arrays.labels(labels, len(theta))
    num_sources = theta.shape[1]
    source = np.empty(len(theta), dtype=np.int64)  # z_i [n]
    for rows, block in arrays.row_blocks(theta):
        arrays.check_simplex(block, rows.start)
        source[rows] = block.argmax(axis=1)

    _, pair_of, pair_counts = np.unique(target.codes * num_sources + source, return_inverse=True, return_counts=True)
    n_yz, n_z = pair_counts[pair_of], np.bincount(source, minlength=num_sources)[source]  # [n], own cell and column
    value = float(np.log(n_yz / n_z).mean())
    values = np.log(n_yz / n_z) - 0.5 * (1 / n_yz - 1 / n_z)
    return min(value, 0.0), values - values.mean()
