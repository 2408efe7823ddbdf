"""The shared pool of threads, and BLAS entered from several threads at once."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigen
from minigen.kernels import _memory, _threads
from minigen.kernels.matmul import matmul_numba, matmul_numpy


@given(tasks=st.integers(0, 50), parts=st.integers(1, 8), grain=st.integers(1, 9))
def test_shares_cover_every_task_once_in_order(tasks, parts, grain):
    cut = _threads.shares(tasks, parts, grain)
    assert [i for first, last in cut for i in range(first, last)] == list(range(tasks))
    assert len(cut) <= parts
    assert len(cut) == 1 or min(last - first for first, last in cut) >= grain


@given(tasks=st.integers(0, 5000), threads=st.integers(1, 8), grain=st.integers(1, 99))
def test_shrinking_shares_cover_every_task_once_and_end_small(tasks, threads, grain):
    cut = _threads.shrinking_shares(tasks, threads, grain)
    sizes = [last - first for first, last in cut]
    assert [i for first, last in cut for i in range(first, last)] == list(range(tasks))
    if tasks < _threads.FEW * threads * grain:  # so little that each thread gets one share
        assert cut == _threads.shares(tasks, threads, grain)
        return
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes[:-1], default=grain) >= grain
    assert threads == 1 or grain > 1 or sizes[-1] <= max(1, tasks / (8 * threads))
    assert sizes[0] == tasks // threads  # an equal share comes first


def test_every_task_runs_once():
    done = np.zeros(100, int)

    def work(first, last):
        done[first:last] += 1

    _threads.parallel(100, work)
    assert (done == 1).all()


@pytest.mark.parametrize("looks", [0, _threads.LOOKS], ids=["asleep", "awake"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_task_runs_once_on_any_number_of_threads(monkeypatch, count, looks):
    monkeypatch.setattr(_threads, "LOOKS", looks)
    monkeypatch.setattr(_threads, "_number_of_threads", count)
    done = np.zeros(1001, int)

    def work(first, last):
        done[first:last] += 1

    for _ in range(20):
        _threads.parallel(1001, work)
    assert (done == 20).all()


@pytest.mark.parametrize("guilty", [first for first, _ in _threads.shrinking_shares(8, 2)])
def test_an_exception_in_any_share_is_raised_after_all_have_ended(monkeypatch, guilty):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    running = []

    def work(first, last):
        running.append(first)
        if first == guilty:
            raise ValueError(f"share {first}")
        time.sleep(0.01)
        running.remove(first)

    with pytest.raises(ValueError, match=f"share {guilty}"):
        _threads.parallel(8, work)
    assert running == [guilty]
    _threads.parallel(8, lambda first, last: None)  # the helper that met the exception still works


def test_parallel_calls_may_nest_and_come_from_several_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 3)
    done = np.zeros((4, 6, 6), int)

    def outer(first, last, caller):
        for i in range(first, last):

            def inner(start, end, row=caller[i]):
                row[start:end] += 1

            _threads.parallel(6, inner)

    callers = [threading.Thread(target=_threads.parallel, args=(6, outer, done[i])) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (done == 1).all()


def test_a_helper_that_has_not_woken_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)  # nobody who could wake
    asleep = _threads.Helper()
    for _ in range(2):
        asleep.begin(lambda: pytest.fail("nobody is there to work"), None)
        assert asleep.end() is None
    assert asleep.told.locked()  # it would sleep on


@pytest.mark.skipif(not _threads.LOOKS, reason="without Numba, or sched_yield, no thread stays awake")
def test_who_watches_sees_the_other_side_write_long_before_he_would_give_up():
    mine, theirs, seen = np.zeros(1, np.int64), np.zeros(1, np.int64), []

    def watcher():
        _threads.write_and_watch(mine, 1, theirs, 0, 10**9, 0)  # minutes
        seen.append(int(theirs[0]))

    thread = threading.Thread(target=watcher, daemon=True)
    thread.start()
    while not mine[0]:
        time.sleep(0.001)  # it watches, and lets go of Python's lock: else this would not run on
    theirs[0] = 7
    thread.join(timeout=20)
    assert seen == [7]


@pytest.mark.skipif(_threads.current_cpu() is None, reason="the system does not say where a thread runs")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_a_helper_keeps_off_the_processor_that_it_is_called_from():
    helper, every = _threads.Helper(), os.sched_getaffinity(os.getpid())
    for here in [*every, *every]:
        helper.begin(lambda: None, here)
        helper.end()
        assert os.sched_getaffinity(helper.thread.native_id) == every - {here}
    assert os.sched_getaffinity(os.getpid()) == every


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_helpers_of_its_own():
    code = (
        "import os; from minigen.kernels import _threads; _threads.set_num_threads(2);"
        "_threads.parallel(8, lambda a, b: None); child = os.fork();"
        "_threads.parallel(8, lambda a, b: None);"
        "os._exit(0) if child == 0 else print(os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr


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


VARIABLES = ("MINIGEN_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")  # the first that is set decides


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_environment_chooses_the_number_of_threads(monkeypatch, variable):
    for i, name in enumerate(VARIABLES):
        if i < VARIABLES.index(variable):
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(3 + i))
    monkeypatch.setattr(_threads, "_number_of_threads", None)
    assert _threads.get_num_threads() == 3 + VARIABLES.index(variable)
    minigen.set_num_threads(1)
    assert minigen.get_num_threads() == 1


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch, count):
    monkeypatch.setenv("MINIGEN_THREADS", count)
    monkeypatch.setattr(_threads, "_number_of_threads", None)
    with pytest.raises(ValueError, match="MINIGEN_THREADS must be a whole number"):
        _threads.get_num_threads()
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got"):
        minigen.set_num_threads(count)


def test_memory_for_vectors_begins_with_a_cache_line():
    sizes = [1, 100, 1 << 12, 1 << 18, 1 << 20]  # beyond 2 MB scratch comes in huge pages
    held = [_memory.aligned((size, 3), np.float32) for size in sizes]
    held += [_memory.scratch(f"line {size}", (size,), np.float32) for size in sizes]
    assert [memory.ctypes.data % 64 for memory in held] == [0] * len(held)
    assert all(memory.flags.c_contiguous and memory.flags.writeable for memory in held)


def test_scratch_memory_is_kept_and_belongs_to_its_thread():
    first = _memory.scratch("test", (4, 5), np.float32)
    assert _memory.scratch("test", (2, 3), np.float64).ctypes.data == first.ctypes.data
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(_memory.scratch, "test", (4, 5), np.float32).result()
    assert other.ctypes.data != first.ctypes.data
