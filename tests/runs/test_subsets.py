from dataclasses import replace

import numpy as np

from hf_leep.runs.subsets import concatenate, examples_of, select, select_target
from tests.recorded import extraction_of, target_of


def whole(rng, words):
    """A target of seven rows, the rows of words being sentences, and a pass over it."""
    sentences = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6])
    n = len(sentences) if words else 7
    target = target_of(np.arange(n) % 3)
    if words:
        target = replace(target, row_ids=np.arange(10, 17), sentences=sentences, words=np.arange(n))
    arrays = {"probabilities": rng.dirichlet(np.ones(4), n), "features": rng.normal(size=(n, 5))}
    found = extraction_of("a", {k: array.astype(np.float32) for k, array in arrays.items()}, target)
    return target, replace(found, draws=target.sentences)


def test_parts_of_a_pass_joined_are_the_pass(rng):
    for words in (False, True):
        target, extraction = whole(rng, words)
        parts = [np.array([1, 5]), np.array([0, 2, 6]), np.array([3, 4])]
        joined = concatenate([(part, select(extraction, target, part)) for part in parts], target)
        for name in ("probabilities", "features", "labels", "draws"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(extraction, name))
        first = concatenate([(part, select(extraction, target, part)) for part in parts[:2]], target)
        same = select(extraction, target, np.array([0, 1, 2, 5, 6]))
        np.testing.assert_array_equal(first.features, same.features)
        np.testing.assert_array_equal(first.labels, same.labels)


def test_a_part_of_words_is_that_of_their_sentences(rng):
    target, _ = whole(rng, words=True)
    part = select_target(target, np.array([2, 5]))
    assert list(examples_of(target, np.array([2, 5]))) == [3, 4, 5, 8, 9]
    assert list(part.row_ids) == [12, 15]
    assert list(part.sentences) == [0, 0, 0, 1, 1]
    assert list(part.words) == [3, 4, 5, 8, 9]
    assert list(part.labels) == [0, 1, 2, 2, 0]


def test_a_part_has_a_fingerprint_of_its_own_and_always_the_same(rng):
    target, _ = whole(rng, words=False)
    prints = [select_target(target, np.array(p)).input_fingerprint for p in ([0, 1], [0, 2], [0, 1])]
    assert prints[0] == prints[2] != prints[1]
    assert target.input_fingerprint not in prints


def test_what_a_part_lacks_the_whole_lacks(rng):
    target, extraction = whole(rng, words=False)
    extraction = replace(extraction, probabilities=None, missing={"probabilities": "no head"})
    parts = [np.array([0, 1, 2]), np.array([3, 4, 5, 6])]
    joined = concatenate([(part, select(extraction, target, part)) for part in parts], target)
    assert joined.probabilities is None
    assert joined.missing == {"probabilities": "no head"}
