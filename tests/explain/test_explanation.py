import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from hf_leep import measures
from hf_leep.explain import interpret, restored
from hf_leep.explain.calibration import calibrate
from hf_leep.explain.explanation import MOST_CLASSES, MOST_SOURCE_CLASSES, explain
from hf_leep.measures.leave_one_out_leep import PRIOR_WEIGHTS
from hf_leep.records import Candidate, Extraction, Interpretation, Run
from tests.explain.test_predictor import predictor, refitted
from tests.strategies import population

RUN = Run("sha256:0", "pil", "float32", "cpu", 32, 1.0, 1)


def extraction(p, y):
    return Extraction(Candidate("x"), None if p is None else p.astype(np.float32), None, y, RUN)


def explained(p, y, draws=None):
    sums = predictor(p, y, draws=draws)
    return explain(sums, *calibrate(sums)[1:])


def planted(rng, n, mapping, s, noise=0.1):
    """Predictions of s source classes, of which mapping[y] gets most of the mass of class y."""
    y = np.arange(n) % len(mapping)
    p = noise * rng.dirichlet(np.ones(s), size=n)
    p[np.arange(n), np.asarray(mapping)[y]] += 1 - noise
    return p, y


def test_a_planted_map_is_recovered(rng):
    mapping = [7, 2, 11, 5]
    found = explained(*planted(rng, 200, mapping, 15))
    assert sorted(served.index for served in found.classes) == [0, 1, 2, 3]
    for served in found.classes:
        assert served.sources[0].index == mapping[served.index]
        assert served.sources[0].weight > 0.9
        assert served.sources[0].target_given_source > 0.9
        assert served.sources[0].source_given_target == pytest.approx(0.9, abs=0.02)


def test_a_source_class_that_takes_everything_in_does_not_explain(rng):
    """Source class 0 gets half of every example: often taken for it, but it tells nothing apart."""
    p, y = planted(rng, 300, [1, 2, 3], 5, noise=0.0)
    p = 0.5 * p + 0.5 * np.eye(5)[0]
    for served in explained(p, y).classes:
        assert served.sources[0].index == served.index + 1
        assert served.sources[0].weight == pytest.approx(0.75)  # ½·1 against ½·⅓
        assert served.sources[1].index == 0
        assert len(served.sources) == 2  # the rest has no part


def test_planted_label_errors_are_among_the_lowest(rng):
    p, y = planted(rng, 300, [4, 1, 9], 12)
    wrong = rng.choice(300, 6, replace=False)
    truth = y.copy()
    y[wrong] = (y[wrong] + 1) % 3
    found = explained(p, y)
    assert {example.index for example in found.examples[:6]} == set(wrong)
    for example in found.examples[:6]:
        assert example.predicted == truth[example.index]
        assert example.predicted_probability > 0.8
        assert example.label_probability < 0.1
        assert example.source == [4, 1, 9][truth[example.index]]
        assert example.source_probability == pytest.approx(p[example.index].max())
    assert len(found.examples) == 10


@pytest.mark.parametrize("together", [False, True])
def test_everything_equals_naive_loops(rng, together):
    p, y = population(rng, 90, 7, 4)
    y[:60] = y[:60] % 2  # classes of different size
    draws = rng.permutation(np.arange(90) % 25) if together else np.arange(90)
    found = explained(p, y)
    if together:
        sums, index = predictor(p, y, draws=draws), PRIOR_WEIGHTS.index(10.0)  # one with which the prior matters
        found = explain(sums, index, sums.log_terms([10.0])[0])
    a, t = found.prior_weight, 4
    assert a in PRIOR_WEIGHTS
    terms = refitted(p, y, a, draws)

    def prior(i, c):
        return (np.sum((draws != draws[i]) & (y == c)) + 1 / t) / (np.sum(draws != draws[i]) + 1)

    counts = np.bincount(y)
    for served in found.classes:
        own = y == served.index
        assert served.count == counts[served.index] == own.sum()
        assert served.log_prediction == pytest.approx(terms[own].mean())
        alone = np.mean([np.log(prior(i, served.index)) for i in np.flatnonzero(own)])
        assert served.gain == pytest.approx(terms[own].mean() - alone)
        parts = [
            np.mean([p[i, z] * p[own, z].sum() / p[:, z].sum() for i in np.flatnonzero(own)]) for z in range(7)
        ]  # the parts of the mean in-sample prediction
        best = np.argsort(-np.array(parts))[:3]
        assert [source.index for source in served.sources] == best.tolist()
        for source in served.sources:
            assert source.weight == pytest.approx(parts[source.index] / sum(parts))
            assert source.target_given_source == pytest.approx(p[own, source.index].sum() / p[:, source.index].sum())
            assert source.source_given_target == pytest.approx(p[own, source.index].mean())
    assert [used.index for used in found.source_classes] == np.argsort(-p.sum(axis=0)).tolist()
    for used in found.source_classes:
        assert used.mass == pytest.approx(p[:, used.index].mean())
        tells = np.array([p[y == c, used.index].sum() for c in range(t)]) / p[:, used.index].sum()  # P̂(y|z)
        assert [told.index for told in used.targets] == np.argsort(-tells)[:3].tolist()
        assert [told.target_given_source for told in used.targets] == pytest.approx(np.sort(tells)[::-1][:3])
    assert found.num_sources_left_out == 0
    gains = [served.gain for served in found.classes]
    assert gains == sorted(gains, reverse=True)
    assert [example.index for example in found.examples] == np.argsort(terms)[:10].tolist()
    for example in found.examples:
        others = draws != draws[example.index]
        prediction = []
        for c in range(t):
            inside = p[others & (y == c)].sum(axis=0) + a * prior(example.index, c)
            prediction.append((p[example.index] * inside / (p[others].sum(axis=0) + a)).sum())
        assert sum(prediction) == pytest.approx(1)
        assert example.label_probability == pytest.approx(prediction[y[example.index]])
        assert (example.predicted, example.predicted_probability) == (
            int(np.argmax(prediction)),
            pytest.approx(max(prediction)),
        )


def test_an_example_does_not_explain_itself():
    """Each example alone in a source class of its own: in-sample that is perfect, left out it is nothing."""
    found = explained(np.eye(40), np.arange(40) % 2)
    assert found.prior_weight is None
    assert found.classes == found.examples == ()


def test_an_example_alone_in_its_source_class_is_given_the_prior():
    y = np.append(np.arange(60) % 2, 1)
    p = np.eye(3)[np.append(y[:-1], 2)]  # the last one is all that is known of source class 2
    lowest = explained(p, y).examples[0]
    assert lowest.index == 60
    assert lowest.label_probability == pytest.approx(30.5 / 61)
    assert lowest.predicted_probability == pytest.approx(30.5 / 61)


def test_only_the_best_and_the_worst_of_many_classes_are_kept(rng):
    t = MOST_CLASSES + 50
    p, y = planted(rng, 3 * t, list(range(t)), t, noise=0.3)
    found = explained(p, y)
    assert len(found.classes) == MOST_CLASSES
    assert found.num_classes_left_out == 50
    every = {c: refitted(p, y, found.prior_weight)[y == c].mean() for c in range(t)}
    order = sorted(every, key=lambda c: -every[c])
    kept = [served.index for served in found.classes]
    assert set(kept) == {*order[:50], *order[-50:]}


def test_only_the_most_used_source_classes_are_kept_and_unused_ones_do_not_count(rng):
    s = MOST_SOURCE_CLASSES + 30
    p, y = planted(rng, 300, [3, 5], s + 7)
    p[:, s:] = 0
    p /= p.sum(axis=1, keepdims=True)
    found = explained(p, y)
    assert len(found.source_classes) == MOST_SOURCE_CLASSES
    assert found.num_sources_left_out == 30
    kept = {used.index for used in found.source_classes}
    assert p.sum(axis=0)[sorted(set(range(s)) - kept)].max() <= p.sum(axis=0)[sorted(kept)].min()
    assert all(len(used.targets) == 2 for used in found.source_classes)  # there are no more


def test_a_part_is_explained_in_terms_of_the_whole(rng):
    """Classes that a part lacks keep their numbers, and its examples have their positions among all."""
    p, y = planted(rng, 400, [7, 2, 11, 5], 15)
    wrong = 40  # of class 0, said to be of class 3
    y[wrong] = 3
    part = np.flatnonzero((y != 1) & (np.arange(400) >= 20))
    found = interpret(extraction(p[part], y[part]), part).explanation
    assert {served.index: served.sources[0].index for served in found.classes} == {0: 7, 2: 11, 3: 5}
    assert {u.index: u.targets[0].index for u in found.source_classes[:3]} == {7: 0, 11: 2, 5: 3}
    assert (found.examples[0].index, found.examples[0].predicted) == (wrong, 0)


def test_fewer_examples_and_source_classes_than_are_shown(rng):
    p, y = population(rng, 6, 2, 2)
    y[:2] = 0, 1
    found = interpret(extraction(p, y)).explanation
    assert found.prior_weight is None or len(found.examples) == 6


def test_words_are_explained_by_other_sentences(rng):
    p, y = population(rng, 120, 7, 4)
    draws = np.arange(120) // 4
    found = interpret(replace(extraction(p, y), draws=draws))
    assert found.explanation == explained(p.astype(np.float32), y, draws)
    assert found.calibration.as_is == pytest.approx(measures.leave_one_out_leep(p, y, draws=draws), abs=1e-5)
    assert interpret(replace(extraction(p, y), draws=0 * draws)) == Interpretation()  # there is no other sentence


def test_nothing_is_said_without_a_head_or_of_broken_outputs():
    y = np.arange(6) % 2
    assert interpret(extraction(None, y)) == Interpretation()
    assert interpret(extraction(np.full((6, 3), np.nan), y)) == Interpretation()


def test_a_way_through_json_changes_nothing(rng):
    p, y = population(rng, 120, 9, 4)
    found = interpret(extraction(p, y))
    assert found.explanation.examples
    assert found.explanation.source_classes
    assert restored(json.loads(json.dumps(asdict(found), allow_nan=False))) == found
    assert restored(asdict(Interpretation())) == Interpretation()


def test_read_only_rows_are_not_changed_and_their_order_does_not_matter(rng):
    p, y = population(rng, 150, 9, 4)
    made = extraction(p, y)
    made.probabilities.setflags(write=False)
    found = interpret(made)
    order = rng.permutation(150)
    again = interpret(replace(made, probabilities=made.probabilities[order], labels=y[order]))
    assert again.calibration.value == pytest.approx(found.calibration.value)
    assert {int(order[e.index]) for e in again.explanation.examples} == {e.index for e in found.explanation.examples}
