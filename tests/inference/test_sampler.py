"""Batches are formed first and then assigned to processes: the same batches for any number of them, each row once."""

import numpy as np
import pytest

from hf_leep.inference.batch_size import BatchSizeSearch
from hf_leep.inference.sampler import BatchSampler


def drain(sampler):
    batches = []
    while not sampler.finished:
        batch = sampler.next()
        if batch is not None:
            batches.append(tuple(batch.positions.tolist()))
    return batches


@pytest.mark.parametrize("n", [1, 7, 8, 50, 53])
@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_the_batches_do_not_depend_on_the_number_of_processes(n, num_processes):
    order = np.random.default_rng(0).permutation(n)
    batches_of_all = []
    for index in range(num_processes):
        search = BatchSizeSearch(8, images=False, on_cpu=True, num_rows=n, num_processes=num_processes)
        batches_of_all += drain(BatchSampler(order, search, index, num_processes))
    assert sorted(batches_of_all) == sorted(tuple(order[k : k + 8].tolist()) for k in range(0, n, 8))


def test_a_batch_that_is_too_large_is_halved_like_all_after_it():
    sampler = BatchSampler(np.arange(40), BatchSizeSearch(16, images=False, on_cpu=True, num_rows=40))
    batch = sampler.next()
    sampler.upcoming(1)  # the next one is already being read
    assert sampler.halve(batch)
    assert sampler.halve(sampler.next())
    batches = drain(sampler)
    assert [row for batch in batches for row in batch] == list(range(40))
    assert {len(batch) for batch in batches} == {4}
    assert sampler.max_batch_size == 4


def test_a_batch_of_one_cannot_be_halved():
    sampler = BatchSampler(np.arange(2), BatchSizeSearch(1, images=False, on_cpu=True, num_rows=2))
    assert not sampler.halve(sampler.next())
