"""How a kernel is spread over the cores: ordinary threads that take shares of its tasks until none is left.

A kernel is a plain serial loop over the tasks `first` to `last` (samples, rows, tiles), compiled by `jit`:

    @jit
    def silu_rows(first, last, x, y):
        for i in range(first, last):
            ...

    parallel(len(x), silu_rows, x, y)

One compiled function per kernel is all there is to compile (Numba's own `parallel=True` costs 1.5 s of compilation for
each), and two Python threads may enter at once (its default `workqueue` layer aborts when they do). How the threads
work together without waiting for Python's global lock is told in _team.py.

Which thread works off a share is left to chance, so a worker writes only what its tasks own. The shares
themselves depend on the number of threads only. `set_num_threads`, or MINIGEN_THREADS, NUMBA_NUM_THREADS or
OMP_NUM_THREADS in the environment, chooses that number; otherwise it is every core we may run on.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache

import numpy as np

from ._numba import numba

if numba is not None:
    from ._team import Team

_number_of_threads: int | None = None


def get_num_threads():
    """How many threads a kernel is spread over."""
    global _number_of_threads
    if _number_of_threads is None:
        _number_of_threads = _threads_of_environment()
    return _number_of_threads


def set_num_threads(count):
    """Spread kernels over `count` threads from now on. Raises ValueError unless it is an integer of at least 1."""
    global _number_of_threads
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a whole number of at least 1, got {count!r}")
    _number_of_threads = count


def _threads_of_environment():
    for name in ("MINIGEN_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        if asked := os.environ.get(name):
            if not asked.isdigit() or int(asked) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {asked!r}")
            return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(tasks, parts, grain=1):
    """Cut range(tasks) into at most `parts` contiguous, nearly equal shares of at least `grain` tasks."""
    parts = max(1, min(parts, tasks // grain))
    return [(tasks * i // parts, tasks * (i + 1) // parts) for i in range(parts)]


def shrinking_shares(tasks, threads, grain=1):
    """Cut range(tasks) into contiguous shares for `threads` to take in turn, of at least `grain` tasks each.

    A share is half of a thread's part of what is left: large ones while there is much to do, small ones at the end,
    where the threads wait for the last. None is so large that all wait for a thread which happens to be slow, since
    others use its core too. (Hummel, Schonberg and Flynn, Factoring, 1992) Where that is not worth the trouble, each
    thread gets one share.
    """
    if threads == 1 or tasks < FEW * threads * grain:
        return shares(tasks, threads, grain)
    grain, cut, first = max(grain, tasks // (SMALLEST * threads)), [], 0
    while first < tasks:
        left = tasks - first
        last = first + min(left, max(grain, left // (2 * threads)))
        cut.append((first, last))
        first = last
    return cut


FEW = 6  # times the grain: no more than that for each thread is cut into equal shares
SMALLEST = 16  # parts of a thread's fair share that are worth being told apart


@lru_cache(maxsize=4096)
def _cut(tasks, threads, grain):
    return np.array(shrinking_shares(tasks, threads, grain), np.int64)


def parallel(tasks, worker, *args, grain=1):
    """Run worker(first, last, *args) over range(tasks), the shares getting smaller so that none waits long at the end.

    grain is the fewest tasks that are worth a share (handing one to another thread costs some 2 microseconds, and 6
    where Python runs it). The caller's thread works too. An exception in any share is raised here, when all have ended.

    A compiled worker(me, first, last, *args), whose first parameter has that name, is told which of the threads it is
    run by, 0 <= me < get_num_threads(): it may use that part of memory which belongs to no task. One whose first
    parameter is none of these, worker(*args), gets a[first:last] in place of every vector a.
    """
    if not tasks:
        return
    threads = get_num_threads() if tasks > grain else 1
    if not hasattr(worker, "py_func"):
        return _by_python(shrinking_shares(tasks, threads, grain), worker, args)
    idle = _idle.setdefault(threads, [])
    team = idle.pop() if idle else Team(threads - 1)
    try:
        team.run(_cut(tasks, threads, grain), worker, args)
    finally:
        idle.append(team)


_idle: dict[int, list] = {}  # teams that nobody uses, by their number of threads


def _by_python(cut, worker, args):
    """The same for a worker that is not compiled: its shares are handed to a pool of threads.

    Whoever asks has found nothing left to do: what no thread has begun by then is called off.
    """
    remaining = iter(cut)

    def work():
        for first, last in remaining:
            worker(first, last, *args)

    hired = [_pool().submit(work) for _ in range(min(get_num_threads(), len(cut)) - 1)]
    try:
        work()
    finally:
        errors = [helper.exception() for helper in hired if not helper.cancel()]
    for error in filter(None, errors):
        raise error


@cache
def _pool():
    return ThreadPoolExecutor(thread_name_prefix="minigen")


if hasattr(os, "register_at_fork"):  # a forked process has the lists, but not the threads
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_pool.cache_clear)
