"""How a kernel is spread over the cores: ordinary threads that take shares of its tasks until none is left.

A kernel is a plain serial loop over the tasks `first` to `last` (samples, rows, tiles), compiled by `jit` so that it
lets go of Python's global lock while it runs:

    @jit
    def silu_rows(first, last, x, y):
        for i in range(first, last):
            ...

    parallel(len(x), silu_rows, x, y)

One compiled function per kernel is all there is to compile (Numba's own `parallel=True` costs 1.5 s of compilation for
each), and two Python threads may enter at once (its default `workqueue` layer aborts when they do).

Which thread works off a share is left to chance, so a worker writes only what its tasks own. The shares
themselves depend on the number of threads only. `set_num_threads`, or MINIGEN_THREADS, NUMBA_NUM_THREADS or
OMP_NUM_THREADS in the environment, chooses that number; otherwise it is every core we may run on.
"""

import ctypes
import os
import threading
from contextlib import suppress
from functools import lru_cache

import numpy as np

from ._memory import aligned
from ._numba import jit, numba

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


@lru_cache(maxsize=4096)
def shrinking_shares(tasks, threads, grain=1):
    """Cut range(tasks) into contiguous shares for `threads` to take in turn, of at least `grain` tasks each.

    A share is a thread's part of what is left: large ones while there is much to do, small ones at the end, where the
    threads wait for the last. (Polychronopoulos and Kuck, Guided self-scheduling, 1987) Where that is not worth the
    trouble, each thread gets one share.
    """
    if tasks < FEW * threads * grain:
        return shares(tasks, threads, grain)
    grain, cut, first = max(grain, tasks // (SMALLEST * threads)), [], 0
    while first < tasks:
        left = tasks - first
        last = first + min(left, max(grain, left // threads))
        cut.append((first, last))
        first = last
    return cut


FEW = 6  # times the grain: no more than that for each thread is cut into equal shares
SMALLEST = 8  # parts of a thread's fair share that are worth being told apart


def parallel(tasks, worker, *args, grain=1):
    """Run worker(first, last, *args) over range(tasks), the shares getting smaller so that none waits long at the end.

    grain is the fewest tasks that are worth a share (handing one to another thread costs some 10 microseconds).
    The caller's thread works too. An exception in any share is raised here, after all have ended.
    """
    if get_num_threads() == 1 or tasks <= grain:
        if tasks:
            worker(0, tasks, *args)
        return
    cut = shrinking_shares(tasks, get_num_threads(), grain)
    remaining = iter(cut)

    def work():
        for first, last in remaining:
            worker(first, last, *args)

    hired = [_idle.pop() if _idle else Helper() for _ in range(min(get_num_threads(), len(cut)) - 1)]
    here = current_cpu()
    for helper in hired:
        helper.begin(work, here)
    try:
        work()
    finally:
        errors = [helper.end() for helper in hired]
        _idle.extend(hired)
    for error in filter(None, errors):
        raise error


class Helper:
    """A thread that waits until it is told to work, and then works on another processor than whoever told it.

    Two locks are all it waits on: a pool of futures takes twice as long to hand a call over, and that is felt where a
    network of small layers makes hundreds of calls a step. But to wake a thread that sleeps on a lock takes some 50
    microseconds, and the next call mostly comes sooner, though Python may take 200 between two kernels. So before
    either side goes to sleep it watches, for some 250, a number that the other one writes: `calls` counts the calls to
    work, and `answers` says which was the last to be answered. Only the locks decide; the numbers keep their owners
    awake.

    A thread that is woken may be put on the processor of the thread that woke it, and some schedulers leave it there
    for longer than the work lasts: both then take turns, in twice the time, while the other processor idles. So a
    helper keeps off the processor that it is called from.
    """

    avoided = None  # the processor that it keeps off

    def __init__(self):
        self.told, self.done = threading.Lock(), threading.Lock()
        self.told.acquire(), self.done.acquire()
        self.calls, self.answers = aligned((2, 8), np.int64)  # each in a cache line of its own
        self.calls[0] = self.answers[0] = 0
        watch(self.answers, 0, self.calls, 1)  # compiled and loaded here: a thread that did so could meet a fork
        self.thread = threading.Thread(target=self.serve, name="minigen", daemon=True)
        self.thread.start()

    def begin(self, work, here):
        if here != self.avoided:
            self.keep_off(here)
        self.work, self.error = work, None
        self.answered = self.answers[0]
        self.calls[0] += 1
        self.told.release()

    def end(self):
        """Wait for the work to be done -> the exception that ended it, or None.

        Whoever asks has found nothing left to do. A helper that has not woken by now is told to sleep on.
        """
        asleep = self.told.acquire(blocking=False)
        if not asleep:
            watch(self.calls, self.calls[0], self.answers, self.answered)
            self.done.acquire()
        self.work = None
        return None if asleep else self.error

    def serve(self):
        """What the thread runs: stay awake for a while, sleep until told, work, say so."""
        call = self.calls[0]
        while True:
            watch(self.answers, call, self.calls, call, GRACE)
            self.told.acquire()
            call = self.calls[0]
            try:
                self.work()
            except BaseException as error:
                self.error = error
            self.done.release()

    def keep_off(self, here):
        """Leave the processor of the thread that calls, and do not come back."""
        self.avoided, others = here, os.sched_getaffinity(os.getpid()) - {here}
        if others:
            with suppress(OSError):  # where a process may not choose, the scheduler's choice will do
                os.sched_setaffinity(self.thread.native_id, others)


@jit
def write_and_watch(mine, number, theirs, known, looks, wait):
    """Write a number, and look until the other side has written another than the known one; then wait `wait` looks.

    Between looks the processor is offered to whoever else wants it. Python's global lock is let go throughout: the
    number is written only then, so that the other side finds the lock free.
    """
    mine[0] = number
    for _ in range(looks):
        if theirs[0] != known:
            break
        sched_yield()
    for _ in range(wait):
        sched_yield()


def watch(mine, number, theirs, known, wait=0):
    """Stay awake for a while, unless there is no way to (without Numba, Python's lock could not be let go)."""
    if LOOKS:
        write_and_watch(mine, number, theirs, known, LOOKS, wait)


LOOKS = 1000 if numba is not None and hasattr(os, "sched_yield") else 0  # 0.2 to 0.3 microseconds each
GRACE = 15  # looks until the thread that calls is in compiled code: who asks for Python's lock before is put to sleep
if LOOKS:
    sched_yield = numba.types.ExternalFunction("sched_yield", numba.types.intc())


def current_cpu():
    """The processor that this thread runs on; None where the system does not say, or does not let a thread choose."""
    return _sched_getcpu() if _sched_getcpu else None


_sched_getcpu = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
_idle: list[Helper] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked process has the list, but not the threads
