"""How far a score is a matter of calibration: leave-one-out LEEP of the tempered probabilities.

LEEP moves with the confidence of a source's predictions even where its decisions stay the same. Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2: temperature scaling, here θ^(1/τ) renormalised, which is
the softmax of the logits over τ, and judged by leave-one-out LEEP instead of the source's own likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_leep.arrays import Float64
from hf_leep.explain.predictor import Predictor
from hf_leep.ranking.uncertainty import RESOLUTION
from hf_leep.records import Calibration

OCTAVES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # log2 τ of the first look; then halves and quarters around the best
SENSIBLE = (0.5, 2.0)  # the range of τ over which the spread is told
_MOST_ROWS = 1000
_MOST_VALUES = 1_000_000  # of the subsample's probabilities: wide heads are calibrated on fewer rows
_FEWEST_ROWS = 200
_SEED = 0


def calibrate(predictor: Predictor) -> tuple[Calibration, int, Float64]:
    """Find the temperature that maximises leave-one-out LEEP, and the score there.

    The temperature is sought on a seeded subsample of the rows, from 1/4 to 4, within a quarter of an octave. Its
    score is of all rows; where a temperature found does not raise that, the answer is 1.

    Args:
        predictor: of all rows, at temperature 1.

    Returns:
        The calibration; and at temperature 1 the place in ``PRIOR_WEIGHTS`` of the prior weight, and the terms log h
        ``[n]`` at it.
    """
    n, s = predictor.theta.shape
    size = min(n, _MOST_ROWS, max(_FEWEST_ROWS, _MOST_VALUES // s))
    part = predictor
    if size < n:
        rows = np.sort(np.random.default_rng(_SEED).choice(n, size, replace=False))
        part = Predictor.of(predictor.theta[rows], predictor.codes[rows], len(predictor.counts))
    found: dict[float, tuple[float, int]] = {}  # log2 τ → (score, level)

    def look(octave: float, level: int | None) -> None:
        if octave not in found and OCTAVES[0] <= octave <= OCTAVES[-1]:
            best, terms = part.tempered(2.0**octave).settle(level)
            found[octave] = float(terms.mean()), best

    look(0.0, None)
    for octave in sorted(OCTAVES, key=abs):
        look(octave, found[octave - np.sign(octave)][1])
    for step in (0.5, 0.25):
        best = max(sorted(found, key=abs), key=lambda octave: found[octave][0])
        for octave in (best - step, best + step):
            look(octave, found[best][1])
    octave = max(sorted(found, key=abs), key=lambda octave: found[octave][0])

    level, terms = predictor.settle(found[0.0][1])
    as_is = value = float(terms.mean())
    temperature = 1.0
    if octave != 0.0:
        tempered = float(predictor.tempered(2.0**octave).settle(found[octave][1])[1].mean())
        if tempered > value:
            value, temperature = tempered, float(2.0**octave)
    curve = tuple((float(2.0**octave), score) for octave, (score, _) in sorted(found.items()))
    sensible = [score for tau, score in curve if SENSIBLE[0] <= tau <= SENSIBLE[1]]
    return Calibration(temperature, value, as_is, max(sensible) - min(sensible), curve, size), level, terms


def reordered(calibrations: Sequence[Calibration]) -> tuple[int, int]:
    """Pairs of candidates whose leave-one-out LEEP is in the other order once each is calibrated, and all pairs."""
    before, after = (np.array([getattr(c, name) for c in calibrations]) for name in ("as_is", "value"))
    first, second = (np.subtract.outer(values, values) for values in (before, after))
    pairs = len(calibrations) * (len(calibrations) - 1) // 2
    return int(
        np.sum(np.triu((first > RESOLUTION) & (second < -RESOLUTION) | (first < -RESOLUTION) & (second > RESOLUTION)))
    ), pairs
