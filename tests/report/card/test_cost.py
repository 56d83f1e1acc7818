import numpy as np
import pytest

from hf_leep.report.card.cost import points


def candidates(report, costs, scores):
    first = report["candidates"][0]
    report["candidates"] = [
        {**first, "id": f"m{k}", "rank": k + 1, "num_parameters": cost,
         "scores": {**first["scores"], "leep": {**first["scores"]["leep"], "value": score}}}
        for k, (cost, score) in enumerate(zip(costs, scores, strict=True))
    ]  # fmt: skip
    return report


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_are_those_that_nothing_cheaper_or_equal_matches(report, higher):
    random = np.random.default_rng(7)
    costs, scores = random.integers(1, 9, 40).tolist(), random.integers(-9, 0, 40).astype(float).tolist()
    report["measure_details"]["leep"]["higher_is_better"] = higher
    _, found = points(candidates(report, costs, scores))
    assert [point.cost for point in found] == sorted(costs)
    sign = 1 if higher else -1
    expected = {
        (cost, score)
        for cost, score in zip(costs, scores, strict=True)
        if not any(
            c <= cost and sign * s >= sign * score and (c, s) != (cost, score)
            for c, s in zip(costs, scores, strict=True)
        )
    }
    assert {(point.cost, point.score) for point in found if point.best} == expected


def test_seconds_stand_in_where_parameters_are_not_known(report):
    for candidate in report["candidates"][:2]:
        candidate["num_parameters"] = None
    assert points(report)[0] == "seconds"


def test_candidates_that_were_stopped_or_have_no_score_are_left_out(report):
    report["candidates"][1]["stopped"] = {"look": 0, "behind": "big/resnet", "gap": 0.5, "margin": 0.1}
    assert {point.name for point in points(report)[1]} == {"big/resnet", "weak/resnet"}
    report["candidates"][2]["scores"]["leep"]["value"] = None
    assert points(report) is None
