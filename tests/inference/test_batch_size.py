"""The choice of batch size and memory format: by what the real batches took."""

import pytest

from hf_leep.inference.batch_size import BatchSetting, BatchSizeSearch


def run(search, num_rows, cost):
    """Run all rows; the settings in the order they were used, once a batch."""
    used, done = [], 0
    while done < num_rows:
        setting = search.next_setting()
        if setting is None:
            search.choose([search.best_seconds])
            continue
        used.append(setting)
        search.record(setting, cost(setting))
        done += setting.batch_size
    return used


@pytest.mark.parametrize("best", [BatchSetting(8, True), BatchSetting(32, False)])
def test_the_fastest_setting_runs_the_rest(best):
    search = BatchSizeSearch(None, images=True, on_cpu=True, num_rows=10_000)
    used = run(search, 10_000, lambda setting: 1.0 if setting == best else 2.0)
    assert len(set(used)) == 4
    assert set(used[12:]) == {best} == {search.chosen}


def test_the_first_batch_of_each_setting_only_warms_up():
    search = BatchSizeSearch(None, images=True, on_cpu=True, num_rows=10_000)
    seen = {}

    def cost(setting):
        seen[setting] = seen.get(setting, 0) + 1
        cold = seen[setting] == 1
        if setting == BatchSetting(8, True):
            return 100.0 if cold else 1.0
        return 0.1 if cold else 2.0

    assert run(search, 10_000, cost)[-1] == BatchSetting(8, True)


def test_few_rows_and_a_size_that_is_given_are_not_tried():
    assert set(run(BatchSizeSearch(None, images=True, on_cpu=True, num_rows=500), 500, lambda _: 1.0)) == {
        BatchSetting(16, True)
    }
    assert set(run(BatchSizeSearch(7, images=True, on_cpu=True, num_rows=10**5), 10**5, lambda _: 1.0)) == {
        BatchSetting(7, True)
    }
    assert set(run(BatchSizeSearch(None, images=False, on_cpu=True, num_rows=10**5), 10**5, lambda _: 1.0)) == {
        BatchSetting(32)
    }


def test_processes_choose_what_suits_the_slowest_of_them():
    searches = [BatchSizeSearch(None, images=True, on_cpu=True, num_rows=10**5, num_processes=2) for _ in range(2)]
    slow_at = [BatchSetting(8, True), BatchSetting(32, False)]
    for search, slow in zip(searches, slow_at, strict=True):
        while (setting := search.next_setting()) is not None:
            search.record(setting, {slow: 9.0, BatchSetting(16, True): 2.0}.get(setting, 1.0))
    for search in searches:
        search.choose([s.best_seconds for s in searches])
        assert search.chosen == BatchSetting(32, True)
