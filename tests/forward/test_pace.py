"""The choice of batch size and memory format: by what the real batches took."""

import pytest

from hf_leep.forward.pace import Pace, Setting


def run(pace, num_rows, cost):
    """Run all rows; the settings in the order they were used, once a batch."""
    used, done = [], 0
    while done < num_rows:
        following = pace.following
        setting = pace.setting
        used.append(setting)
        pace.took(cost(setting))
        if following is not None:
            assert pace.setting == following
        done += setting.batch_size
    return used


@pytest.mark.parametrize("best", [Setting(8, True), Setting(32, False)])
def test_the_fastest_setting_runs_the_rest(best):
    pace = Pace(None, images=True, on_cpu=True, num_rows=10_000)
    used = run(pace, 10_000, lambda setting: 1.0 if setting == best else 2.0)
    assert len(set(used)) == 4
    assert set(used[12:]) == {best}


def test_the_first_batch_of_each_setting_only_warms_up():
    pace = Pace(None, images=True, on_cpu=True, num_rows=10_000)
    seen = {}

    def cost(setting):
        seen[setting] = seen.get(setting, 0) + 1
        cold = seen[setting] == 1
        if setting == Setting(8, True):
            return 100.0 if cold else 1.0
        return 0.1 if cold else 2.0

    assert run(pace, 10_000, cost)[-1] == Setting(8, True)


def test_few_rows_and_a_size_that_is_given_are_not_tried():
    assert set(run(Pace(None, images=True, on_cpu=True, num_rows=500), 500, lambda _: 1.0)) == {Setting(16, True)}
    assert set(run(Pace(7, images=True, on_cpu=True, num_rows=10**5), 10**5, lambda _: 1.0)) == {Setting(7, True)}
    assert set(run(Pace(None, images=False, on_cpu=True, num_rows=10**5), 10**5, lambda _: 1.0)) == {Setting(32)}


def test_it_halves_down_to_one():
    pace = Pace(None, images=True, on_cpu=True, num_rows=10_000)
    sizes = [pace.setting.batch_size]
    while pace.halve():
        sizes.append(pace.setting.batch_size)
    assert sizes == [16, 8, 4, 2, 1]
