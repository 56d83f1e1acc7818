"""NCE, the negative conditional entropy of the target labels given hard source labels.

Tran, Nguyen, Hassner: Transferability and Hardness of Supervised Classification Tasks, ICCV 2019. As in LEEP's paper,
the source label of an example is the class with the highest source probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, Integers
from hf_leep.measures.measure import Measure


def nce(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Score how well the source's top prediction explains the target labels, in nats; higher is better.

    Args:
        probabilities: source probabilities, ``[n, s]``; only the argmax of each row is used (the first one of a tie).
            Or the source's top predictions themselves, ``[n]``: integers ≥ 0, booleans or strings.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        −Ĥ(Y|Z) in [−log t, 0], never below −Ĥ(Y). Invariant to the order of rows, to renaming the labels, to repeating
        the data set and, if no row has a tie, to the order of source columns. Equal to LEEP for one-hot probabilities.

    Raises:
        InputError: as for `leep`; top predictions that are negative or of another type.

    Cost: one pass of O(n·s) time and a sort of n numbers; O(n + s + block) memory.

    Not for: fewer than several examples per pair of source and target class, because this in-sample estimate is then
    too high. With n = 200 and 5 balanced classes, random guesses over 1,000 source classes score −0.10 (floor −1.61).
    Not for comparing targets either, since each target has its own floor −Ĥ(Y).

    Reference: Tran et al. 2019.

    Examples:
        >>> from hf_leep import measures
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
        >>> measures.nce(probabilities, [0, 0, 1, 1])
        0.0
        >>> round(measures.nce(probabilities, [0, 1, 1, 1]), 4)
        -0.3466
        >>> measures.nce(["cat", "cat", "dog", "dog"], [0, 0, 1, 1])
        0.0
    """
    return influence(probabilities, labels)[0]


def influence(probabilities: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return NCE in nats and the influence of each example on it, ``[n]`` values of mean 0.

    With φ(x) = x log x, n·T = Σ_yz φ(n_yz) − Σ_z φ(n_z). An example with the pair (y, z) has the influence
    IF_i = log(n_yz/n_z) − ½ (1/n_yz − 1/n_z), centred: that of `leep` for one-hot predictions. With few examples per
    pair, leaving out the second term makes standard errors 14 % too small, and deleting the example (φ(x) − φ(x − 1))
    makes them 17 % too large (`tests/benchmarks/coverage.py`).

    Of examples that are drawn together, such as the words of a sentence, the second term is ½ (m_yz/n_yz − m_z/n_z),
    where m counts the examples of this draw. Without that, standard errors were up to 20 % too small where draws are
    few for the source classes.

    Args:
        probabilities: as for `nce`.
        labels: as for `nce`.
        draws: draw of each example, 0 … g−1, all occurring, ``[n]``; by default each is its own draw.

    Errors: as for `nce`.
    """
    source, num_sources = _top_predictions(probabilities)
    target = arrays.labels(labels, len(source))
    num_pairs = num_sources * target.num_classes
    pairs = target.codes * num_sources + source  # (y, z) of each example
    n_yz, n_z = _counts(pairs), _counts(source)  # [n], own cell and column
    m_yz = m_z = np.ones(len(source), np.int64)
    if draws is not None:
        m_yz, m_z = _counts(draws * num_pairs + pairs), _counts(draws * num_sources + source)
    value = float(np.log(n_yz / n_z).mean())
    values = np.log(n_yz / n_z) - 0.5 * (m_yz / n_yz - m_z / n_z)
    return min(value, 0.0), values - values.mean()


def _counts(keys: Integers) -> Integers:
    """How many examples have the key of each, ``[n]``."""
    _, position, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[position])


def _top_predictions(probabilities: ArrayLike) -> tuple[Integers, int]:
    """The source class of each example, ``[n]`` integers from 0, and a number above all of them."""
    if (hard := arrays.source_labels(probabilities)) is not None:
        return hard
    theta = arrays.probabilities(probabilities)
    source = np.empty(len(theta), dtype=np.int64)  # z_i [n]
    for rows, block in arrays.row_blocks(theta):
        source[rows] = block.argmax(axis=1)
    return source, theta.shape[1]


MEASURE = Measure(
    name="nce",
    title="NCE",
    needs="probabilities",
    unit="nats",
    reference="Tran et al., ICCV 2019",
    summary="LEEP on the source's top prediction alone",
    function=nce,
    influence=influence,
    influence_takes_draws=True,
    mean_of="log-likelihoods",
    checked_by="leave-one-out-leep",
)
