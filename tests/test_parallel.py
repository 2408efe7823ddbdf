"""Threads that share a kernel's work, and BLAS entered from several threads at once."""

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
from minigen.kernels import _memory, _numba, _threads
from minigen.kernels._numba import jit
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
    if threads == 1 or tasks < _threads.FEW * threads * grain:  # so little that each thread gets one share
        assert cut == _threads.shares(tasks, threads, grain)
        return
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes[:-1], default=grain) >= grain
    assert grain > 1 or sizes[-1] <= max(1, tasks / (16 * threads))
    assert sizes[0] == tasks // (2 * threads)  # half of an equal share comes first


@jit
def count_tasks(first, last, done, step):
    for i in range(first, last):
        done[i] += step


def count_in_python(first, last, done, step):
    done[first:last] += step


@pytest.mark.parametrize("worker", [count_tasks, count_in_python], ids=["compiled", "Python"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_task_runs_once_on_any_number_of_threads(monkeypatch, count, worker):
    monkeypatch.setattr(_threads, "_number_of_threads", count)
    for tasks in (0, 1, 5, 1001):
        done = np.zeros(tasks, int)
        for _ in range(20):
            _threads.parallel(tasks, worker, done, 1)
        assert (done == 20).all()
    _threads.parallel(100, worker, done, 1, grain=1000)  # too few to be shared
    assert (done[:100] == 21).all() and (done[100:] == 20).all()


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
    _threads.parallel(8, lambda first, last: None)  # the thread that met the exception still works


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "Python"])
def test_parallel_calls_may_nest_and_come_from_several_threads(monkeypatch, compiled):
    monkeypatch.setattr(_threads, "_number_of_threads", 3)
    done = np.zeros((4, 6, 600), int)

    def outer(first, last, caller):
        for i in range(first, last):
            _threads.parallel(600, count_tasks if compiled else count_in_python, caller[i], 1)

    def call(caller):
        for _ in range(50):
            _threads.parallel(6, outer, caller)

    callers = [threading.Thread(target=call, args=(done[i],)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (done == 50).all()


# ---------------------------------------------------------------- compiled workers: _team.py

compiled_only = pytest.mark.skipif(_numba.numba is None, reason="without Numba, nothing is compiled")


@jit
def in_own_place(me, first, last, sums):
    """Long enough for the other threads to come in."""
    for i in range(first, last):
        total = 0.0
        for j in range(40_000):
            total += np.sqrt(i + j)
        sums[me, 0] += i
        sums[me, 1] += 1 + int(0 * total)


@jit
def double(a, factor, b):
    for i in range(len(a)):
        b[i] = factor * a[i]


@compiled_only
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_worker_that_asks_for_it_is_told_which_thread_runs_it(monkeypatch, count):
    monkeypatch.setattr(_threads, "_number_of_threads", count)
    seen, deadline = set(), time.monotonic() + 20
    while len(seen) < count and time.monotonic() < deadline:
        sums = np.zeros((count, 2), int)
        _threads.parallel(200, in_own_place, sums)
        assert sums.sum(axis=0).tolist() == [199 * 100, 200]
        seen |= set(sums[:, 1].nonzero()[0].tolist())
    assert seen == set(range(count))


@compiled_only
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_worker_without_first_and_last_gets_its_share_of_every_vector(monkeypatch, dtype):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    a = np.arange(1001, dtype=dtype)
    for source in (a, a[100:], a[::2], a[:0]):
        b = np.full_like(source, -1)
        _threads.parallel(len(source), double, source, dtype(2), b)
        np.testing.assert_array_equal(b, 2 * source)
    del source
    assert sys.getrefcount(a) == 2  # a, and the question: no reference is left behind, and none is missing


@jit
def all_kinds(first, last, x, nothing, yes, no, pair, small, y):
    for i in range(first, last):
        y[i] = x[i] + (1 if yes else 0) + (10 if no else 0) + 100 * pair[1] + small
        if nothing is not None:
            y[i] = 0


@compiled_only
def test_a_worker_takes_arguments_of_any_kind(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    for yes in (True, False):
        y = np.zeros(100, np.float32)
        _threads.parallel(100, all_kinds, np.arange(100), None, yes, not yes, (7, 2), np.float32(0.5), y)
        np.testing.assert_array_equal(y, np.arange(100) + (1 if yes else 10) + 200.5)


@jit
def takes_memory(first, last, numbers, done):
    room = np.zeros(numbers[first])
    room[first] = 1
    done[first] = room.sum()


@compiled_only
def test_a_thread_without_memory_is_an_error_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    numbers, done = np.full(8, 10), np.zeros(8, int)
    numbers[4] = 1 << 58
    with pytest.raises(MemoryError, match="takes_memory: no memory"):
        _threads.parallel(8, takes_memory, numbers, done)
    numbers[4] = 10
    first_of_shares = [first for first, _ in _threads.shrinking_shares(8, 2)]
    for _ in range(3):
        done[:] = 0
        _threads.parallel(8, takes_memory, numbers, done)
        assert done.nonzero()[0].tolist() == first_of_shares


@jit
def with_a_result(first, last, x):
    return x


@compiled_only
def test_a_worker_must_return_nothing():
    with pytest.raises(TypeError, match="with_a_result must return nothing, got int64"):
        _threads.parallel(8, with_a_result, 1)


@jit
def slower_in_a_helper(me, first, last, done):
    """The caller takes long enough for a helper to come in, and the helper longer than the caller."""
    for i in range(first, last):
        total = 0.0
        for j in range(400_000 if me else 40_000):
            total += np.sqrt(done[i] + j)
        done[i] = 1 + 0 * total


@compiled_only
def test_whoever_came_in_is_waited_for(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    for _ in range(10):
        done = np.zeros(64)
        _threads.parallel(64, slower_in_a_helper, done)
        assert (done == 1).all()


@compiled_only
def test_helpers_that_sleep_are_woken_and_not_waited_for(monkeypatch):
    from minigen.kernels import _team

    monkeypatch.setattr(_team, "LOOKS", 0)
    team = _team.Team(2)
    for helper in team.helpers:
        while helper.awake.is_set():
            time.sleep(0.001)
    done, cut = np.zeros(1000, int), np.array(_threads.shrinking_shares(1000, 3))
    team.run(cut, count_tasks, (done, 1))
    assert (done == 1).all()
    monkeypatch.setattr(_team, "current_cpu", lambda: None)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)  # nobody who could wake
    _team.Team(2).run(cut, count_tasks, (done, 1))
    assert (done == 2).all()


@compiled_only
def test_a_helper_does_what_is_offered_once_and_nothing_after_the_door_is_closed():
    from minigen.kernels import _team

    team = _team.Team(0)
    done = np.zeros(4, int)
    team.run(np.array([(0, 4)]), count_tasks, (done, 1))  # the board still tells of this call
    assert _team.serve(team.board, 1, 0, 1) == 1
    assert team.board[_team.LEFT, 0] == team.board[_team.DOOR, 0] - _team.CLOSED == 1  # it came too late, and has left
    assert (done == 1).all()
    assert _team.serve(team.board, 1, 1, 1) == 1  # one look: there is no call after this one
    assert team.board[_team.LEFT, 0] == 1


@compiled_only
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not let a thread choose")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: "1")(0)) < 2, reason="one processor")
def test_helpers_keep_off_the_processor_that_they_are_called_from(monkeypatch):
    from minigen.kernels import _team

    team, every = _team.Team(1), os.sched_getaffinity(os.getpid())
    for here in [*every, *every]:
        monkeypatch.setattr(_team, "current_cpu", lambda here=here: here)
        team.run(np.array([(0, 4)]), count_tasks, (np.zeros(4, int), 1))
        assert os.sched_getaffinity(team.helpers[0].thread.native_id) == every - {here}
    assert os.sched_getaffinity(os.getpid()) == every


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_threads_of_its_own():
    code = (
        "import os, numpy as np; from minigen.kernels import _threads, activation; _threads.set_num_threads(2);"
        "x = np.ones(1 << 20, np.float32);"
        "work = lambda: (_threads.parallel(8, lambda a, b: None), activation.silu_numba(x));"
        "work(); child = os.fork(); work();"
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
