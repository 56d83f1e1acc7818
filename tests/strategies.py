"""Inputs for the measures: random, extreme, and from a population that can be sampled again."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def problems(draw, max_n=40, max_s=12):
    """(probabilities [n, s], labels [n]): from one-hot to uniform rows, few to many classes, gaps in the labels."""
    n, s = draw(st.integers(2, max_n)), draw(st.integers(1, max_s))
    t = draw(st.integers(2, min(n, 6)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sharpness = draw(st.sampled_from([0.0, 0.1, 1.0, 5.0, 60.0, 1000.0]))
    logits = generator.normal(size=(n, s)) * sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    if s > 1 and draw(st.booleans()):
        p[:, -1] = 0.0  # a column of zero mass
        p[p.sum(axis=1) == 0, 0] = 1.0
    p /= p.sum(axis=1, keepdims=True)
    y = generator.permutation(np.concatenate([np.arange(t), generator.integers(0, t, n - t)]))
    return p, y * draw(st.sampled_from([1, 3, 1000]))


def population(rng, n, s, t):
    """A population with some signal: source logits around a mean of each class."""
    means = np.random.default_rng(5).normal(size=(t, s))
    y = rng.integers(0, t, n)
    logits = 2 * (means[y] + rng.normal(size=(n, s)))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), y


@st.composite
def feature_problems(draw):
    """(features [n, d], labels [n]) with n below, at and above d, collinear and constant columns, single examples."""
    n, d = draw(st.integers(3, 40)), draw(st.integers(1, 40))
    t = draw(st.integers(2, min(n, 5)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = generator.permutation(np.concatenate([np.arange(t), generator.integers(0, t, n - t)]))
    f = generator.normal(size=(n, d)) + y[:, None] * draw(st.sampled_from([0.0, 0.3, 3.0]))
    if d > 2 and draw(st.booleans()):
        f[:, 1] = 2 * f[:, 0]
        f[:, 2] = 1.5
    return f * draw(st.sampled_from([1e-3, 1.0, 1e3])), y
