"""The shared pool of threads, and BLAS entered from several threads at once."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.kernels import _numba
from minigen.kernels.matmul import matmul_numba, matmul_numpy


@given(tasks=st.integers(0, 50), parts=st.integers(1, 8), grain=st.integers(1, 9))
def test_shares_cover_every_task_once_in_order(tasks, parts, grain):
    cut = _numba.shares(tasks, parts, grain)
    assert [i for first, last in cut for i in range(first, last)] == list(range(tasks))
    assert len(cut) <= parts
    assert len(cut) == 1 or min(last - first for first, last in cut) >= grain


def test_every_task_runs_once():
    done = np.zeros(100, int)

    def work(first, last):
        done[first:last] += 1

    _numba.parallel(100, work)
    assert (done == 1).all()


def test_an_exception_in_any_share_is_raised_after_all_have_ended():
    ended = []

    def work(first, last):
        if first > 0:
            raise ValueError("share")
        ended.append(first)

    with pytest.raises(ValueError, match="share"):
        _numba.parallel(max(2, _numba.threads()), work)
    assert ended == [0] or _numba.threads() == 1


def test_products_from_several_threads_at_once_are_right():
    """OpenBLAS entered from several threads has given wrong results (numpy issue 29391): 200 products of every kind
    that the kernels take, against the same product computed alone."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        m, k, n = rng.integers(1, 200, 3)
        a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
        a = np.asfortranarray(a) if trial % 3 == 1 else a
        b = np.asfortranarray(b) if trial % 3 == 2 else b
        expected = matmul_numpy(a.astype(np.float64), b.astype(np.float64))
        np.testing.assert_allclose(matmul_numba(a, b), expected, atol=1e-6 * k * 4)


@pytest.mark.parametrize("count", ["1", "3"])
def test_the_number_of_threads_can_be_chosen(count):
    code = "from minigen.kernels._numba import threads; print(threads())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MINIGEN_THREADS": count}, capture_output=True, text=True
    )
    assert done.stdout.strip() == count


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch, count):
    monkeypatch.setenv("MINIGEN_THREADS", count)
    with pytest.raises(ValueError, match="MINIGEN_THREADS must be a whole number"):
        _numba.threads()


def test_scratch_memory_is_kept_and_belongs_to_its_thread():
    first = _numba.scratch("test", (4, 5), np.float32)
    assert _numba.scratch("test", (2, 3), np.float64).ctypes.data == first.ctypes.data
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(_numba.scratch, "test", (4, 5), np.float32).result()
    assert other.ctypes.data != first.ctypes.data
