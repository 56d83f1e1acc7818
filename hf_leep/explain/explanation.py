"""Why a candidate scores as it does: which source classes predict which target class, and where it fails.

This describes the empirical predictor P̂(y|x) = Σ_z P̂(y|z) θ(x)_z of Nguyen et al., ICML 2020, eq. (1) and (2). Classes
and examples are evaluated with its leave-one-out form, so that no example contributes to its own prediction, nor to
that of another example of its draw.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64, Integers
from hf_leep.explain.predictor import Predictor, conditional
from hf_leep.measures.blocks import divide
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS
from hf_leep.records import (
    ClassQuality,
    DoubtfulExample,
    Explanation,
    RelatedClass,
    SourceClass,
    SourceContribution,
)

MOST_CLASSES = 100  # of more classes, the 50 that are predicted best and the 50 predicted worst are kept
MOST_SOURCES = 3  # for each target class
MOST_SOURCE_CLASSES = 100  # those with the most mass
MOST_TARGETS = 3  # for each source class
MOST_EXAMPLES = 10


def explain(predictor: Predictor, weight_index: int, terms: Float64) -> Explanation:
    """Explain the predictions of one pass.

    The mean prediction of a class's own label over its examples is Σ_z P̂(z|y) P̂(y|z), in-sample. The weight of a
    source class z for a target class is its share of that sum. It is high where z is often predicted for examples of
    the class, and seldom for others.

    Args:
        predictor: the predictor of all rows, at temperature 1.
        weight_index: index in ``PRIOR_WEIGHTS`` of the prior weight with the highest score.
        terms: log h at that weight, ``[n]``.

    Returns:
        The explanation; without classes and examples where the class prior alone predicts better than the source.
    """
    weight = PRIOR_WEIGHTS[weight_index]
    if np.isinf(weight):
        return Explanation(None, (), 0, (), (), 0)
    log_prediction = np.bincount(predictor.codes, weights=terms) / predictor.counts  # [t]
    gain = log_prediction - np.bincount(predictor.codes, weights=np.log(predictor.drawn.prior)) / predictor.counts
    order = np.argsort(-gain, kind="stable")
    left_out = max(len(order) - MOST_CLASSES, 0)
    if left_out:
        order = np.concatenate([order[: MOST_CLASSES // 2], order[-(MOST_CLASSES // 2) :]])
    sources_of = _source_contributions(predictor, order)
    classes = tuple(
        ClassQuality(int(y), int(predictor.counts[y]), float(log_prediction[y]), float(gain[y]), sources)
        for y, sources in zip(order, sources_of, strict=True)
    )
    hardest = np.argsort(terms, kind="stable")[:MOST_EXAMPLES]
    examples = _doubtful_examples(predictor, hardest, weight, np.exp(terms[hardest]))
    source_classes, num_sources_left_out = _source_classes(predictor)
    return Explanation(float(weight), classes, left_out, examples, source_classes, num_sources_left_out)


def renumbered(explanation: Explanation, classes: Integers, examples: Integers) -> Explanation:
    """Change an explanation of some examples to the numbers that classes and examples have in the whole target.

    Args:
        explanation: of some examples; its classes are numbered among those that occur in these.
        classes: class in the whole target of each of those, ``[t]``.
        examples: position in the whole target of each example, ``[n]``.
    """

    def renumber(targets: tuple[RelatedClass, ...]) -> tuple[RelatedClass, ...]:
        return tuple(replace(target, index=int(classes[target.index])) for target in targets)

    return replace(
        explanation,
        classes=tuple(replace(quality, index=int(classes[quality.index])) for quality in explanation.classes),
        examples=tuple(
            replace(example, index=int(examples[example.index]), predicted=int(classes[example.predicted]))
            for example in explanation.examples
        ),
        source_classes=tuple(
            replace(source, targets=renumber(source.targets)) for source in explanation.source_classes
        ),
    )


def _source_classes(predictor: Predictor) -> tuple[tuple[SourceClass, ...], int]:
    """Return the source classes with the most mass, and how many others have some."""
    mass = predictor.joint.sum(axis=0) / len(predictor.codes)  # P̂(z) [s]
    order = np.argsort(-mass, kind="stable")[: np.count_nonzero(mass)]
    shown = order[:MOST_SOURCE_CLASSES]
    target_given_source = conditional(predictor.joint[:, shown])  # P̂(y|z) [t, k]
    targets = np.argsort(-target_given_source, axis=0, kind="stable")[:MOST_TARGETS]
    found = []
    for k, (z, best) in enumerate(zip(shown, targets.T, strict=True)):
        shares = [(int(y), float(target_given_source[y, k])) for y in best]
        found.append(SourceClass(int(z), float(mass[z]), tuple(RelatedClass(y, p) for y, p in shares if p > 0)))
    return tuple(found), len(order) - len(shown)


def _source_contributions(predictor: Predictor, classes: Integers) -> list[tuple[SourceContribution, ...]]:
    """Return the source classes with the highest weight for each of some target classes."""
    target_given_source = conditional(predictor.joint)[classes]  # P̂(y|z) [k, s]
    source_given_target = predictor.joint[classes] / predictor.counts[classes, None]  # P̂(z|y) [k, s]
    weight = target_given_source * source_given_target
    weight = divide(weight, weight.sum(axis=1, keepdims=True))
    top = np.argpartition(-weight, min(MOST_SOURCES, weight.shape[1]) - 1, axis=1)[:, :MOST_SOURCES]
    found = []
    for row, heaviest in enumerate(top):
        best = sorted(heaviest.tolist(), key=lambda z: (-weight[row, z], z))
        arrays = (weight[row], target_given_source[row], source_given_target[row])
        found.append(
            tuple(SourceContribution(z, *(float(array[z]) for array in arrays)) for z in best if weight[row, z] > 0)
        )
    return found


def _together(draws: Integers, example: int) -> Integers:
    """Return the positions of the examples that belong to the draw of one."""
    return np.flatnonzero(draws == draws[example])


def _doubtful_examples(
    predictor: Predictor, rows: Integers, weight: float, label_probability: Float64
) -> tuple[DoubtfulExample, ...]:
    """Compute the leave-one-out predictions of some examples, given those of their labels."""
    theta = np.asarray(predictor.theta[rows], dtype=np.float64)  # [k, s]
    codes, t = predictor.codes[rows], len(predictor.counts)
    prediction = np.empty((len(rows), t))  # P̂(y|x); that of the example's own class is replaced below
    for k, i in enumerate(rows):
        together = np.array([i]) if predictor.drawn.index is None else _together(predictor.drawn.index, i)
        drawn = np.asarray(predictor.theta[together], dtype=np.float64)
        of_drawn = predictor.codes[together]
        share = theta[k] / (np.maximum(predictor.joint.sum(axis=0) - drawn.sum(axis=0), 0.0) + weight)
        left = predictor.counts - np.bincount(of_drawn, minlength=t)
        prior = (left + 1 / t) / (len(predictor.codes) - len(together) + 1)
        own = np.bincount(of_drawn, weights=drawn @ share, minlength=t)
        prediction[k] = np.maximum(predictor.joint @ share - own, 0.0) + weight * share.sum() * prior
    prediction[np.arange(len(rows)), codes] = label_probability
    predicted, source = prediction.argmax(axis=1), theta.argmax(axis=1)
    return tuple(
        DoubtfulExample(
            index=int(i),
            label_probability=float(label_probability[k]),
            predicted=int(y),
            predicted_probability=float(min(prediction[k, y], 1.0)),
            source=int(z),
            source_probability=float(theta[k, z]),
        )
        for k, (i, y, z) in enumerate(zip(rows, predicted, source, strict=True))
    )
