"""The number of BLAS threads while a pass is scored."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hf_leep.runs.threads import one_blas_thread


def blas_threads():
    np.linalg.eigvalsh(np.eye(2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two_threads():
    import scipy.linalg  # noqa: F401 - before the limit, which holds for loaded libraries

    with threadpool_limits(limits=2, user_api="blas"):
        yield


def test_blocks_may_be_nested_and_fail():
    with one_blas_thread():
        with pytest.raises(ValueError, match="inner"), one_blas_thread():
            raise ValueError("inner")
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_the_thread_that_set_the_limit_restores_the_number():
    entered, owner_left = threading.Event(), threading.Event()
    seen = []

    def other():
        with one_blas_thread():
            seen.append(blas_threads())
            entered.set()
            owner_left.wait(60)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        assert entered.wait(60)
    assert blas_threads() == {2}
    owner_left.set()
    thread.join(60)
    assert seen == [{1}]
    assert blas_threads() == {2}
