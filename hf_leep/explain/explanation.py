"""Why a candidate scores as it does: which source classes tell which target class, and what it fails at.

All of the empirical predictor P̂(y|x) = Σ_z P̂(y|z) θ(x)_z of Nguyen et al., ICML 2020, eq. (1) and (2); classes and
examples are judged on its leave-one-out form, so that no example explains itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_leep.arrays import Float64, Integers
from hf_leep.explain.predictor import Predictor, conditional
from hf_leep.measures.blocks import divide
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS
from hf_leep.records import ClassQuality, DoubtfulExample, Explanation, RelatedClass, Source, SourceClass

MOST_CLASSES = 100  # with more, the best and the worst served half of these
MOST_SOURCES = 3  # of each target class
MOST_SOURCE_CLASSES = 100  # of those that the predictions use most
MOST_TARGETS = 3  # of each source class
MOST_EXAMPLES = 10


def explain(predictor: Predictor, level: int, terms: Float64) -> Explanation:
    """Explain the predictions of one pass.

    The mean prediction of a class's own label over its examples is Σ_z P̂(z|y) P̂(y|z), in-sample. A source class's
    weight for a target class is its share of that sum: high where examples of the class are often taken for z, and
    z is seldom anything else.

    Args:
        predictor: of all rows, at temperature 1.
        level: place in ``PRIOR_WEIGHTS`` of the prior weight that the score was highest at.
        terms: log h at that weight, ``[n]``.

    Returns:
        The explanation; without classes and examples where the class prior alone predicts better than the source.
    """
    weight = PRIOR_WEIGHTS[level]
    if np.isinf(weight):
        return Explanation(None, (), 0, (), (), 0)
    log_prediction = np.bincount(predictor.codes, weights=terms) / predictor.counts  # [t]
    gain = log_prediction - np.log(predictor.prior)
    order = np.argsort(-gain, kind="stable")
    left_out = max(len(order) - MOST_CLASSES, 0)
    if left_out:
        order = np.concatenate([order[: MOST_CLASSES // 2], order[-(MOST_CLASSES // 2) :]])
    told_by = _sources(predictor, order)
    classes = tuple(
        ClassQuality(int(y), int(predictor.counts[y]), float(log_prediction[y]), float(gain[y]), sources)
        for y, sources in zip(order, told_by, strict=True)
    )
    hardest = np.argsort(terms, kind="stable")[:MOST_EXAMPLES]
    examples = _examples(predictor, hardest, weight, np.exp(terms[hardest]))
    used, num_unused = _used(predictor)
    return Explanation(float(weight), classes, left_out, examples, used, num_unused)


def placed(explanation: Explanation, classes: Integers, examples: Integers) -> Explanation:
    """An explanation of some examples, in terms of all.

    Args:
        explanation: of the part, whose classes are those that occur in it.
        classes: target class of each of those, ``[t]``.
        examples: position of each example of the part among all, ``[n]``.
    """

    def told(targets: tuple[RelatedClass, ...]) -> tuple[RelatedClass, ...]:
        return tuple(replace(target, index=int(classes[target.index])) for target in targets)

    return replace(
        explanation,
        classes=tuple(replace(served, index=int(classes[served.index])) for served in explanation.classes),
        examples=tuple(
            replace(hard, index=int(examples[hard.index]), likely=int(classes[hard.likely]))
            for hard in explanation.examples
        ),
        source_classes=tuple(replace(used, targets=told(used.targets)) for used in explanation.source_classes),
    )


def _used(predictor: Predictor) -> tuple[tuple[SourceClass, ...], int]:
    """The source classes of the most mass, and how many others have some."""
    mass = predictor.joint.sum(axis=0) / len(predictor.codes)  # P̂(z) [s]
    order = np.argsort(-mass, kind="stable")[: np.count_nonzero(mass)]
    shown = order[:MOST_SOURCE_CLASSES]
    tells = conditional(predictor.joint[:, shown])  # P̂(y|z) [t, k]
    targets = np.argsort(-tells, axis=0, kind="stable")[:MOST_TARGETS]
    return tuple(
        SourceClass(
            int(z), float(mass[z]), tuple(RelatedClass(int(y), float(tells[y, k])) for y in best if tells[y, k] > 0)
        )
        for k, (z, best) in enumerate(zip(shown, targets.T, strict=True))
    ), len(order) - len(shown)


def _sources(predictor: Predictor, classes: Integers) -> list[tuple[Source, ...]]:
    """The source classes of highest weight for each of some target classes."""
    tells = conditional(predictor.joint)[classes]  # P̂(y|z) [k, s]
    taken_for = predictor.joint[classes] / predictor.counts[classes, None]  # P̂(z|y) [k, s]
    weight = tells * taken_for
    weight = divide(weight, weight.sum(axis=1, keepdims=True))
    top = np.argpartition(-weight, min(MOST_SOURCES, weight.shape[1]) - 1, axis=1)[:, :MOST_SOURCES]
    found = []
    for row, candidates in enumerate(top):
        best = sorted(candidates.tolist(), key=lambda z: (-weight[row, z], z))
        found.append(
            tuple(
                Source(z, float(weight[row, z]), float(tells[row, z]), float(taken_for[row, z]))
                for z in best
                if weight[row, z] > 0
            )
        )
    return found


def _examples(predictor: Predictor, rows: Integers, weight: float, own: Float64) -> tuple[DoubtfulExample, ...]:
    """What is predicted for some examples, each left out, with the prediction of their own labels given."""
    theta = np.asarray(predictor.theta[rows], dtype=np.float64)  # [k, s]
    codes = predictor.codes[rows]
    share = theta / (np.maximum(predictor.joint.sum(axis=0) - theta, 0.0) + weight)
    prior = (predictor.counts + 1 / len(predictor.counts)) / len(predictor.codes)  # of the classes not left out
    prediction = share @ predictor.joint.T + weight * share.sum(axis=1, keepdims=True) * prior  # P̂(y|x) [k, t]
    prediction[np.arange(len(rows)), codes] = own
    likely, source = prediction.argmax(axis=1), theta.argmax(axis=1)
    return tuple(
        DoubtfulExample(int(i), float(own[k]), int(y), float(min(prediction[k, y], 1.0)), int(z), float(theta[k, z]))
        for k, (i, y, z) in enumerate(zip(rows, likely, source, strict=True))
    )
