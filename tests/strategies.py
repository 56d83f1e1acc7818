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


SCALES = (1e-320, 1e-308, 1e-160, 1e-30, 1.0, 1e30, 1e150, 1e300)


@st.composite
def wild_features(draw):
    """(features [n, d], labels [n]) of any scale, dtype and memory order; labels may all be alike, or n be 1."""
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    f = generator.normal(size=(n, d))
    f *= draw(st.sampled_from(SCALES))
    match draw(st.sampled_from(["alike", "columns", "rows", "one row", "shifted", "counts"])):
        case "columns":
            f = generator.normal(size=(n, d)) * generator.choice(SCALES, size=d)
        case "rows":
            f = generator.normal(size=(n, d)) * generator.choice(SCALES, size=(n, 1))
        case "one row":
            f[0] = draw(st.sampled_from(SCALES))
        case "shifted":
            f += draw(st.sampled_from(SCALES))
        case "counts":
            f = generator.poisson(0.5, size=(n, d)).astype(float)
    if draw(st.booleans()):
        f[:, 0] = draw(st.sampled_from((0.0, 1.0, 1e-320, -1e300)))
    limits = {np.float16: 6e4, np.float32: 3e38, np.float64: 1e308}
    dtype = draw(st.sampled_from(list(limits)))
    f = np.clip(f, -limits[dtype], limits[dtype]).astype(dtype)
    return stored(draw, f), generator.integers(0, draw(st.integers(1, 4)), n)


@st.composite
def wild_probabilities(draw):
    """(probabilities [n, s], labels [n]): tiny entries, rows off by rounding, any dtype and memory order, n from 1."""
    n, s = draw(st.integers(1, 14)), draw(st.integers(1, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = generator.dirichlet(np.full(s, draw(st.sampled_from([0.01, 1.0, 100.0]))), size=n)
    p[:, 1:] *= draw(st.sampled_from(SCALES[:5]))
    p[:, 0] = 1 - p[:, 1:].sum(axis=1)
    p = np.maximum(p, 0.0) * (1 + draw(st.sampled_from([0.0, 1e-9, 9e-4])))
    p = p.astype(draw(st.sampled_from([np.float16, np.float32, np.float64])))
    return stored(draw, p), generator.integers(0, draw(st.integers(1, 4)), n)


def stored(draw, array):
    """The same numbers in Fortran order, in every second column of a wider array, or read-only."""
    match draw(st.sampled_from(["C", "F", "strided", "read-only"])):
        case "F":
            return np.asfortranarray(array)
        case "strided":
            wide = np.zeros((len(array), 2 * array.shape[1]), array.dtype)
            wide[:, ::2] = array
            return wide[:, ::2]
        case "read-only":
            array.flags.writeable = False
    return array
