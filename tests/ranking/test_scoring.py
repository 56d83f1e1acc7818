import re
from dataclasses import replace

import numpy as np
import pytest

from hf_leep import measures
from hf_leep.measures import MEASURES
from hf_leep.measures.blocks import standard_error, summed_by_draw
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.measures.leep import influence
from hf_leep.measures.regularised_h_score import by_chance
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.scoring import NO_BETTER_THAN_FLOOR, score, shuffled_labels, with_checks
from tests.ranking.extractions import extraction, signal, softmax

MEASURED = with_checks(["leep"])


def test_a_candidate_without_a_head_is_scored_on_its_features(rng):
    y = np.arange(90) % 3
    result = score(extraction("headless", None, y, rng.normal(size=(90, 4))), ("leep", "logme"))
    assert result.headless
    assert result.scores["leep"].value is None
    assert result.scores["leep"].reason == "no trained head"
    assert result.scores["logme"].value is not None
    assert result.reason is None
    alone = score(extraction("headless", None, y, rng.normal(size=(90, 4))), MEASURED)
    assert alone.reason == "no trained head"
    ranking = rank([alone], "leep")
    assert ranking.ranked == ()
    assert ranking.unranked == (0,)


def test_outputs_that_are_not_numbers_are_a_reason():
    y = np.arange(6) % 2
    broken = score(extraction("broken", np.full((6, 3), np.nan, np.float32), y), MEASURED)
    assert "NaN in row 0" in broken.reason


def test_few_examples_per_source_class_and_other_limits_give_warnings(rng):
    y = np.arange(60) % 3
    y[0] = 3
    wide = score(extraction("wide", signal(rng, y, 20, 1.0), y), ("leep", "leave-one-out-leep", "nce"))
    assert any("only 3 examples per source class" in w for w in wide.scores["leep"].warnings)
    assert any("1 of 4 classes has only one example" in w for w in wide.scores["leep"].warnings)
    assert any(
        "source class (fewer than 5): the error of leave-one-out LEEP is rough" in w
        for w in wide.scores["leave-one-out-leep"].warnings
    )
    one = score(extraction("one", signal(rng, y, 60, 1.0), y), ("leep",))
    assert any(w.startswith("only 1 example per source class (") for w in one.scores["leep"].warnings)
    guesses = score(extraction("guesses", softmax(9 * rng.normal(size=(60, 6))), y), ("leep", "leave-one-out-leep"))
    assert any("only 2.5 examples per pair of source and target" in w for w in guesses.scores["leep"].warnings)
    assert not any("source" in w for w in guesses.scores["leave-one-out-leep"].warnings)
    for per_class, few in ((9, True), (10, False)):
        y = np.tile(np.arange(3), per_class)
        warned = score(extraction("few", signal(rng, y, 2, 1.0), y), ("leep",)).scores["leep"].warnings
        assert any(f"only {per_class} examples per target class" in w for w in warned) == few
    y = np.repeat(np.arange(4), [200, 9, 9, 9])  # one large class says nothing of the others
    warned = score(extraction("few", signal(rng, y, 2, 1.0), y), ("leep",)).scores["leep"].warnings
    assert any("only 9 examples per target class" in w for w in warned)
    pair = score(extraction("pair", signal(rng, y, 2, 1.0), y), ("leep",))
    assert any("head with 2 classes" in w for w in pair.scores["leep"].warnings)


@pytest.mark.parametrize("s", [10, 300, 21843])
@pytest.mark.parametrize("sharp", [True, False])
def test_predictions_that_explain_nothing_give_a_warning_about_in_sample_bias(rng, s, sharp):
    y = np.arange(500) % 10
    p = np.full((500, s), 0.02 / s)
    p[np.arange(500), rng.integers(0, s, 500)] += 0.98
    p = p if sharp else np.full((500, s), 1 / s) * rng.uniform(0.5, 1.5, (500, s))
    scores = score(extraction("guesses", p / p.sum(axis=1, keepdims=True), y), (*MEASURED, "nce")).scores
    said = {
        name: any("no better than guessing by class frequency" in w for w in found.warnings)
        for name, found in scores.items()
    }
    assert said == {"leep": True, "leave-one-out-leep": False, "nce": True}
    knowing = score(extraction("knowing", signal(rng, y, 10, 2.0), y), MEASURED).scores["leep"]
    assert not any("no better than guessing" in w for w in knowing.warnings)


@pytest.mark.parametrize(("name", "saturates_at"), [("h-score", "t − 1"), ("sfda", "1")])
def test_a_score_that_noise_reaches_as_well_is_refused(rng, name, saturates_at):
    y = np.arange(60) % 2
    short = score(extraction("short", None, y, rng.normal(size=(60, 80))), (name, "logme"))
    assert short.scores[name].value is None
    assert f"any features, even noise, score {saturates_at}" in short.scores[name].reason
    assert short.scores["logme"].standard_error > 0
    few = score(extraction("few", None, y, rng.normal(size=(60, 30))), (name,))
    assert "only 2 examples per feature" in few.scores[name].warnings[0]
    assert few.scores[name].standard_error is None  # so that it tells no candidates apart


def test_pactran_dirichlet_is_refused_where_its_prior_costs_more_than_predictions_explain(rng):
    # A good head of 300 classes, of which each of 200 rows uses many, and a worse one of 10 that it would put first.
    y = np.arange(200) % 10
    wide = softmax(np.repeat(3 * np.eye(10)[y] + rng.normal(size=(200, 10)), 30, axis=1) + rng.normal(size=(200, 300)))
    narrow = signal(rng, y, 10, 1.5)
    good, poor = (
        score(extraction("x", p, y), ("pactran-dirichlet", "leave-one-out-leep")).scores for p in (wide, narrow)
    )
    assert good["leave-one-out-leep"].value > poor["leave-one-out-leep"].value
    assert good["pactran-dirichlet"].value is None
    assert "such a score says nothing" in good["pactran-dirichlet"].reason
    assert poor["pactran-dirichlet"].value > MEASURES["pactran-dirichlet"].uninformed(y)


def test_a_candidate_without_features_gets_the_other_left_out_log_likelihood(rng):
    y = np.arange(60) % 3
    bare = extraction("bare", signal(rng, y, 4, 1.0), y)
    scores = score(bare, ("ridge-log-likelihood", "ridge", "leave-one-out-leep")).scores
    assert scores["ridge"].value is None
    assert scores["ridge-log-likelihood"].value == scores["leave-one-out-leep"].value
    assert "this is its leave-one-out LEEP, in the same unit" in scores["ridge-log-likelihood"].warnings[-1]
    both = score(extraction("both", bare.probabilities, y, rng.normal(size=(60, 3))), ("ridge-log-likelihood",)).scores
    assert not any("in the same unit" in warning for warning in both["ridge-log-likelihood"].warnings)
    assert MEASURES["ridge-log-likelihood"].unit == MEASURES["leave-one-out-leep"].unit


def fails(inputs, labels):
    raise TypeError("not\nready")


@pytest.mark.parametrize(
    ("influence", "reason"),
    [
        (fails, r"X cannot be computed \(TypeError: not ready\)"),
        (
            lambda f, y: (np.float32(1), np.full(len(y), np.nan)),
            "X cannot be computed, since its influence has values that are not finite",
        ),
        (
            lambda f, y: (np.float32(1), np.ones(3)),
            r"X cannot be computed, since its influence has the shape \(3,\); expected 60 values",
        ),
        (lambda f, y: (np.float32(np.nan), np.zeros(len(y))), "X is nan"),
    ],
)
def test_a_measure_that_fails_does_not_stop_the_others(rng, monkeypatch, influence, reason):
    bad = replace(MEASURES["lfc"], name="x", title="X", influence=influence, shuffled_baseline=False)
    monkeypatch.setitem(MEASURES.data, "x", bad)
    y = np.arange(60) % 3
    result = score(extraction("a", signal(rng, y, 4, 1.0), y, rng.normal(size=(60, 3))), ("x", "leep"))
    assert result.scores["x"].value is None
    assert re.search(reason, result.scores["x"].reason)
    assert result.scores["leep"].standard_error > 0
    assert result.reason is None


def test_a_numpy_value_becomes_a_python_float(rng, monkeypatch):
    good = replace(
        MEASURES["lfc"], name="x", influence=lambda f, y: (np.float32(1), np.zeros(len(y))), shuffled_baseline=False
    )
    monkeypatch.setitem(MEASURES.data, "x", good)
    value = score(extraction("a", None, np.arange(60) % 3, rng.normal(size=(60, 3))), ("x",)).scores["x"].value
    assert type(value) is float


def test_effective_source_classes_counts_those_that_are_used():
    y = np.arange(8) % 2
    p = np.zeros((8, 100), np.float32)
    p[np.arange(8), np.arange(8) % 4] = 1.0
    assert score(extraction("x", p, y), ("nce",)).effective_source_classes == pytest.approx(4)


def test_checks_are_added_once_and_names_are_normal():
    assert with_checks(["leep", "nce", "leep"]) == ("leep", "nce", "leave-one-out-leep")
    assert with_checks(["leave_one_out_leep"]) == ("leave-one-out-leep",)
    assert with_checks(["logme"]) == ("logme",)


def grouped(probabilities, labels, groups):
    return score(replace(extraction("x", probabilities, labels), draws=groups), ["leep", "nce"]).scores


def test_copies_in_a_group_count_once(rng):
    """LEEP of rows that all stand k times is LEEP of the rows, and its error by group is the error of the rows.

    But for what an example adds to its own prediction, of which half is taken out: a copy adds less than its group.
    """
    y = np.arange(200) % 4
    theta = signal(rng, y, 6, 2.0)
    alone = score(extraction("x", theta, y), ["leep"]).scores["leep"]
    copies = grouped(np.repeat(theta, 5, axis=0), np.repeat(y, 5), np.repeat(np.arange(200), 5))["leep"]
    assert copies.value == pytest.approx(alone.value, abs=1e-12)
    assert copies.standard_error == pytest.approx(alone.standard_error, rel=0.01)
    np.testing.assert_allclose(copies.influence, alone.influence, atol=0.02)
    ignored = score(extraction("x", np.repeat(theta, 5, axis=0), np.repeat(y, 5)), ["leep"]).scores["leep"]
    assert ignored.standard_error == pytest.approx(alone.standard_error / np.sqrt(5), rel=0.01)


def test_groups_of_one_change_nothing_and_their_order_does_not_matter(rng):
    y = np.arange(200) % 4
    theta = signal(rng, y, 6, 2.0)
    alone = score(extraction("x", theta, y), ["leep", "nce"]).scores
    for name, found in grouped(theta, y, rng.permutation(200)).items():
        assert found.standard_error == pytest.approx(alone[name].standard_error, rel=1e-12)


def test_an_h_score_that_any_labels_would_have_has_a_warning(rng):
    y = np.arange(160) % 10
    wide = rng.normal(size=(160, 384)) / np.arange(1, 385) ** 0.5  # as of an untrained text encoder
    narrow = (rng.normal(size=(10, 32))[y] + rng.normal(size=(160, 32))) / np.arange(1, 33)
    found = [
        score(extraction("x", None, y, f), ["regularised-h-score"]).scores["regularised-h-score"]
        for f in (wide, narrow)
    ]
    warned = [
        any("with shuffled labels" in text and "do not order by it" in text for text in one.warnings) for one in found
    ]
    assert warned == [True, False]
    shuffled = [measures.regularised_h_score(wide, rng.permutation(y)) / 9 for _ in range(30)]
    assert by_chance(wide, y) == pytest.approx(np.mean(shuffled), abs=0.02)


def test_logme_leaves_out_whole_groups(rng):
    """Its error is a jackknife's: of copies that stand together it must be that of leaving out the originals."""
    y = np.arange(60) % 3
    features = rng.normal(size=(60, 4)) + np.eye(3, 4)[y]
    copies, labels, groups = np.repeat(features, 3, axis=0), np.repeat(y, 3), np.repeat(np.arange(60), 3)
    value, found = MEASURES["logme"].influence_by_draw(copies, labels, groups)
    part = np.random.default_rng(60).permutation(60) % 10
    without = [MEASURES["logme"].function(copies[part[groups] != k], labels[part[groups] != k]) for k in range(10)]
    pseudo = 10 * value - 9 * np.array(without)
    np.testing.assert_allclose(found, pseudo - pseudo.mean(), atol=1e-5)  # both stop iterating at some precision
    assert standard_error(found) > 1.3 * standard_error(MEASURES["logme"].influence(copies, labels)[1])


@pytest.mark.parametrize("name", ["knn", "linear-probe"])
def test_no_example_is_scored_by_others_of_its_group(name, rng):
    y = np.repeat(rng.permutation(np.arange(60) % 2), 6)
    features, groups = np.repeat(rng.normal(size=(60, 100)), 6, axis=0), np.repeat(np.arange(60), 6)
    whole = score(replace(extraction("x", None, y, features), draws=groups), [name]).scores[name]
    leaked = score(extraction("x", None, y, features), [name]).scores[name]
    chance = 0.5 if name == "knn" else -np.log(2)
    assert whole.value < chance + 0.15 < leaked.value
    assert len(whole.influence) == (10 if MEASURES[name].resamples else 60)  # of halves, or of groups


@pytest.mark.parametrize("measure", MEASURES)
def test_two_groups_are_enough(measure, rng):
    y = np.repeat([0, 1], 10)
    theta = signal(rng, y, 2, 2.0)
    found = score(replace(extraction("x", theta, y, rng.normal(size=(20, 3))), draws=y), [measure]).scores[measure]
    assert np.isfinite(found.value)
    assert found.standard_error is None or np.isfinite(found.standard_error)


def test_one_group_has_no_error(rng):
    y = np.arange(50) % 2
    found = grouped(signal(rng, y, 3, 2.0), y, np.zeros(50, dtype=np.int64))["leep"]
    assert found.value is not None
    assert found.standard_error is found.influence is None


def test_one_group_has_no_left_out_score(rng):
    y = np.arange(50) % 2
    one = replace(extraction("x", signal(rng, y, 3, 2.0), y, rng.normal(size=(50, 4))), draws=np.zeros(50, np.int64))
    found = score(one, ["leep", "leave-one-out-leep", "knn", "linear-probe", "ridge", "lfc", "parc", "logme"])
    given = {name for name, one in found.scores.items() if one.value is not None}
    assert given == {"leep", "logme"}
    assert "belong to one draw: there are no others" in found.scores["knn"].reason
    assert found.reason is None


def test_the_floor_of_sentences_is_without_them(rng):
    """Topics of sentences with labels of their own: a score above the floor of words, but not of sentences."""
    number = 80
    draws = np.repeat(np.arange(number), 15)
    y = np.where(rng.random(len(draws)) < 0.8, rng.integers(0, 5, number)[draws], rng.integers(0, 5, len(draws)))
    theta = softmax(rng.normal(size=(len(y), 200)) + 6 * np.eye(200)[rng.permutation(200)[:number]][draws])
    for of, warned in ((draws, True), (None, False)):
        found = score(replace(extraction("x", theta, y), draws=of), ["leep", "leave-one-out-leep"])
        assert (NO_BETTER_THAN_FLOOR in found.scores["leep"].warnings) == warned
    value = found.scores["leave-one-out-leep"].value
    assert value > floor(y) + 0.3
    assert floor(y, draws) < floor(y)


def test_a_score_between_the_floors_of_words_and_of_sentences_is_better_than_the_floor(rng):
    draws = np.repeat(np.arange(30), 8)
    y = (np.arange(30) % 3)[draws]
    theta = softmax(0.4 * np.eye(3)[y] + 0.01 * rng.normal(size=(240, 3)))
    found = score(replace(extraction("x", theta, y), draws=draws), ["leep", "leave-one-out-leep"]).scores
    assert floor(y, draws) + 0.02 < found["leave-one-out-leep"].value < floor(y) - 0.005
    assert NO_BETTER_THAN_FLOOR not in found["leep"].warnings


def test_shuffled_labels_of_sentences_stay_together(rng):
    y = rng.integers(0, 4, 60)
    shuffled = shuffled_labels(y, np.arange(60) // 5)
    before, after = [sorted(map(tuple, labels.reshape(12, 5).tolist())) for labels in (y, shuffled)]
    assert before == after
    assert (y != shuffled).any()
    np.testing.assert_array_equal(shuffled_labels(y, np.arange(60)), shuffled_labels(y, None))
    scattered = rng.permutation(60)
    again = shuffled_labels(y[scattered], scattered // 5)  # by sentence, wherever its words stand
    assert sorted(again[np.argsort(scattered // 5, kind="stable")]) == sorted(y)
    uneven = np.repeat(np.arange(4), [1, 2, 3, 4])
    alike = shuffled_labels(uneven, uneven)
    assert np.array_equal(np.sort(alike), uneven)
    assert (np.diff(alike) != 0).sum() == 3  # four stretches, of one label each


@pytest.mark.parametrize("name", ["lfc", "h-score", "transrate"])
def test_features_of_sentences_with_labels_of_their_own_are_noise(rng, name):
    number, told = 60, 0
    draws = np.repeat(np.arange(number), 10)
    for _ in range(20):
        y = rng.integers(0, 3, number)[draws]
        features = rng.normal(size=(number, 8))[draws] + 0.3 * rng.normal(size=(len(draws), 8))
        found = score(replace(extraction("x", None, y, features), draws=draws), [name]).scores[name]
        told += not any("no better than with shuffled labels" in text for text in found.warnings)
        assert found.value - found.shuffled < 4 * found.standard_error
        assert found.shuffled > 2 * MEASURES[name].function(features, rng.permutation(y)) or name == "lfc"
    assert told <= 4


def sentences(rng, number):
    """Words whose labels and predictions are alike within a sentence, sentences of 1 to 20 words."""
    sizes = rng.integers(1, 21, number)
    groups = np.repeat(np.arange(number), sizes)
    topic, skill = rng.integers(0, 3, number)[groups], rng.normal(1.0, 1.0, number)[groups]
    y = np.where(rng.random(len(groups)) < 0.6, topic, rng.integers(0, 3, len(groups)))
    theta = softmax(skill[:, None] * np.eye(4)[y] + rng.normal(size=(len(y), 4)))
    return theta, y, groups


def test_the_error_by_group_is_that_of_repeated_sampling(rng):
    drawn = [sentences(rng, 150) for _ in range(300)]
    spread = np.std([influence(theta, y)[0] for theta, y, _ in drawn], ddof=1)
    by_sentence = [standard_error(summed_by_draw(influence(theta, y)[1], groups)) for theta, y, groups in drawn]
    by_word = [standard_error(influence(theta, y)[1]) for theta, y, _ in drawn]
    assert np.mean(by_sentence) == pytest.approx(spread, rel=0.12)  # the spread of 300 is itself known to 4 %
    assert np.mean(by_word) < 0.7 * spread  # what words taken for independent would claim


def test_an_error_that_would_not_be_shown_is_not_computed(rng, monkeypatch):
    y = np.arange(120) % 3
    features = rng.normal(size=(120, 40)) + np.eye(3, 40)[y]  # three examples per feature: too few for an error
    expected = MEASURES["sfda"].influence(features, y)[0]

    def fails(*_):
        raise AssertionError

    monkeypatch.setitem(MEASURES.data, "sfda", replace(MEASURES["sfda"], influence=fails))
    found = score(extraction("x", None, y, features), ["sfda"]).scores["sfda"]
    assert (found.value, found.standard_error, found.influence) == (expected, None, None)


def test_a_measure_that_fails_on_shuffled_labels_says_so_and_keeps_its_score(rng, monkeypatch):
    y = np.arange(90) % 3

    def fails(features, labels):
        if not np.array_equal(labels, y):
            raise OverflowError("too many draws")
        return 1.0

    def endless(features, labels):
        return 1.0 if np.array_equal(labels, y) else np.inf

    found = {}
    for function in (fails, endless):
        own = {"function": function, "influence": lambda x, labels: (1.0, rng.permutation(np.arange(90) - 44.5))}
        measure = replace(MEASURES["h-score"], name=function.__name__, **own)
        monkeypatch.setitem(MEASURES, measure.name, measure)
        result = score(extraction("a", None, y, rng.normal(size=(90, 4))), (measure.name,))
        found[measure.name] = result.scores[measure.name]
    assert [(found[name].value, found[name].shuffled) for name in found] == [(1.0, None)] * 2
    assert any(w.endswith("shuffled labels (OverflowError: too many draws)") for w in found["fails"].warnings)
    assert any("is inf with shuffled labels" in w for w in found["endless"].warnings)
