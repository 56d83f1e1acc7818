"""How sure places are, against closed forms from scipy and by drawing samples again."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hf_leep.ranking import scoring, uncertainty
from hf_leep.ranking.correlation import agreement, percentile_interval
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.uncertainty import JointScores, critical_value
from hf_leep.records import Candidate, Result, Score


def sample(rng, means, n, shared=1.0):
    """Scores that are means of n draws each, correlated through what the candidates share."""
    drawn = np.asarray(means) + rng.normal(size=(n, len(means))) + shared * rng.normal(size=(n, 1))
    mean = drawn.mean(axis=0)
    return [Score(float(m), influence=column) for m, column in zip(mean, (drawn - mean).T, strict=True)]


def ranked(scores):
    """Each candidate's place by LogME, which nothing checks, in the order of the scores."""
    ranking = rank([Result(Candidate(str(k)), {"logme": score}) for k, score in enumerate(scores)], "logme")
    return ranking, sorted(ranking.ranked, key=lambda place: place.index)


def test_scores_of_fewer_resamples_than_the_others_have_no_known_error(rng):
    scores = [*sample(rng, [0, 1], 30), *sample(rng, [2], 10)]
    joint = JointScores.of(scores)
    assert joint.num_values == 30
    assert np.isfinite(joint.covariance).tolist() == [[True, True, False], [True, True, False], [False] * 3]


@pytest.mark.parametrize("n", [2, 10, 300, 10**6])
def test_one_interval_reaches_as_far_as_student_says(n):
    assert critical_value(n) == pytest.approx(stats.t.ppf(0.975, n - 1))
    assert critical_value(0) == pytest.approx(stats.norm.ppf(0.975))


def test_every_interval_follows_the_confidence_level(rng, monkeypatch):
    """At 90 % all errors count 1.645 times instead of 1.96 times, or what Student's t and the maximum make of that."""
    n = 10**4
    influence = rng.normal(size=(2, n))
    influence -= influence.mean(axis=1, keepdims=True)
    error = np.std(influence[0] - influence[1], ddof=1) / np.sqrt(n)
    pair = [Score(1.8 * error, 1.0, influence=influence[0]), Score(0.0, 1.0, influence=influence[1])]  # 1.8 errors
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)

    def found():
        ranking, places = ranked(pair)
        return {
            "confidence": ranking.confidence,
            "critical": critical_value(),
            "half width": scoring.half_width(pair[0]),
            "gap": places[1].gap_to_best.half_width / error,
            "tie groups": [place.tie_group for place in places],
            "rank intervals": [place.rank_interval for place in places],
            "Fisher": np.arctanh(agreement(x, y).pearson_interval[1]) - np.arctanh(agreement(x, y).pearson),
            "bootstrap": percentile_interval(np.arange(101.0)),
        }

    def expected(level):
        z, t = stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, n - 1)
        apart = t < 1.8
        return {
            "confidence": level,
            "critical": pytest.approx(z),
            "half width": pytest.approx(t),
            "gap": pytest.approx(t, rel=1e-6),
            "tie groups": [1, 2] if apart else [1, 1],
            "rank intervals": [(1, 1), (2, 2)] if apart else [(1, 2), (1, 2)],
            "Fisher": pytest.approx(z / np.sqrt(27)),
            "bootstrap": pytest.approx((50 * (1 - level), 50 * (1 + level))),
        }

    assert found() == expected(0.95)
    monkeypatch.setattr(uncertainty, "CONFIDENCE", 0.9)
    assert found() == expected(0.9)


def test_errors_that_are_not_in_the_sample_count_in_differences(rng):
    first, second = sample(rng, [0.0, 0.0], 50)
    gap, plain = JointScores.of([first, second]).differences()
    mended = JointScores.of([replace(first, unseen=0.3), replace(second, unseen=0.1)])
    np.testing.assert_allclose(mended.differences()[0], gap)
    assert mended.differences()[1][0, 1] ** 2 == pytest.approx(plain[0, 1] ** 2 + 0.4)
    assert mended.covariance[0, 1] == JointScores.of([first, second]).covariance[0, 1]
