"""How much a score depends on calibration: leave-one-out LEEP of probabilities scaled by a temperature.

LEEP changes with the confidence of a source's predictions even where its decisions stay the same. Temperature scaling
is from Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2: θ^(1/τ), renormalised, which is
the softmax of the logits divided by τ. Here leave-one-out LEEP is maximised, instead of the source's own likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_leep.arrays import Float64, Integers
from hf_leep.explain.predictor import Predictor
from hf_leep.measures.draws import Draws
from hf_leep.ranking.uncertainty import RESOLUTION
from hf_leep.records import Calibration

OCTAVES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # log2 τ tried first; then halves and quarters around the best
SPREAD_RANGE = (0.5, 2.0)  # the range of τ over which the spread is computed
_MOST_ROWS = 1000
_MOST_VALUES = 1_000_000  # probabilities in the subsample: wide heads are calibrated on fewer rows
_FEWEST_ROWS = 200
_SEED = 0


def calibrate(predictor: Predictor) -> tuple[Calibration, int, Float64]:
    """Find the temperature that maximises leave-one-out LEEP, and the score at it.

    The temperature is searched for on a seeded subsample of the rows, between 1/4 and 4, to a quarter of an octave.
    Draws of several examples, such as sentences, are sampled as a whole.
    The score is computed on all rows; where the temperature found does not raise it, the result is temperature 1.

    Args:
        predictor: the predictor of all rows, at temperature 1.

    Returns:
        The calibration; and, at temperature 1, the index of the best prior weight in ``PRIOR_WEIGHTS`` and the terms
        log h at that weight, ``[n]``.
    """
    n, s = predictor.theta.shape
    size = min(n, _MOST_ROWS, max(_FEWEST_ROWS, _MOST_VALUES // s))
    part = predictor
    if size < n:
        rows, drawn = _sample(predictor.drawn, size)
        part, size = Predictor.of(predictor.theta[rows], drawn), len(rows)
    found: dict[float, tuple[float, int]] = {}  # log2 τ → (score, index of the prior weight)

    def evaluate(octave: float, start: int | None) -> None:
        if octave not in found and OCTAVES[0] <= octave <= OCTAVES[-1]:
            weight_index, terms = part.tempered(2.0**octave).best_prior_weight(start)
            found[octave] = float(terms.mean()), weight_index

    evaluate(0.0, None)
    for octave in sorted(OCTAVES, key=abs):
        evaluate(octave, found[octave - np.sign(octave)][1])
    for step in (0.5, 0.25):
        best = max(sorted(found, key=abs), key=lambda octave: found[octave][0])
        for octave in (best - step, best + step):
            evaluate(octave, found[best][1])
    octave = max(sorted(found, key=abs), key=lambda octave: found[octave][0])

    weight_index, terms = predictor.best_prior_weight(found[0.0][1])
    as_is = value = float(terms.mean())
    temperature = 1.0
    if octave != 0.0:
        tempered = float(predictor.tempered(2.0**octave).best_prior_weight(found[octave][1])[1].mean())
        if tempered > value:
            value, temperature = tempered, float(2.0**octave)
    curve = tuple((float(2.0**octave), score) for octave, (score, _) in sorted(found.items()))
    within = [score for tau, score in curve if SPREAD_RANGE[0] <= tau <= SPREAD_RANGE[1]]
    return Calibration(temperature, value, as_is, max(within) - min(within), curve, size), weight_index, terms


def _sample(drawn: Draws, size: int) -> tuple[Integers, Draws]:
    """Return a random sample of about that many rows: whole draws, at least two of them."""
    rng = np.random.default_rng(_SEED)
    if drawn.index is None:
        rows, index = np.sort(rng.choice(len(drawn.codes), size, replace=False)), None
    else:
        sizes = np.bincount(drawn.index)
        order = rng.permutation(len(sizes))
        number = max(int(np.searchsorted(np.cumsum(sizes[order]), size, side="right")), 2)
        rows = np.flatnonzero(np.isin(drawn.index, order[:number]))
        index = np.unique(drawn.index[rows], return_inverse=True)[1]
    codes = drawn.codes[rows]
    return rows, Draws(codes, np.bincount(codes, minlength=len(drawn.counts)), index)


def count_reordered(calibrations: Sequence[Calibration]) -> tuple[int, int]:
    """Count the pairs of candidates whose leave-one-out LEEP changes order by calibration, and all pairs."""
    as_is, calibrated = np.array([c.as_is for c in calibrations]), np.array([c.value for c in calibrations])
    before, after = np.subtract.outer(as_is, as_is), np.subtract.outer(calibrated, calibrated)
    num_reordered = int(np.sum((before > RESOLUTION) & (after < -RESOLUTION)))  # each pair is there in both orders
    return num_reordered, len(calibrations) * (len(calibrations) - 1) // 2
