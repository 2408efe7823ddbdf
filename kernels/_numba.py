"""The two things every Numba kernel shares: how it is compiled, and how it is spread over the cores.

A kernel is a plain serial loop over the tasks `first` to `last` (samples, rows, tiles):

    @jit
    def silu_rows(first, last, x, y):
        for i in range(first, last):
            ...

    parallel(len(x), silu_rows, x, y)

`jit` releases Python's global lock while the loop runs, so `parallel` can be what it looks like: a
pool of ordinary threads, each given one contiguous share of the tasks. One compiled function per
kernel is all there is to compile (Numba's own `parallel=True` costs 1.5 s of compilation for each),
and two Python threads may enter at once (its default `workqueue` layer aborts when they do).

The shares depend on the number of threads only, so a sum over shares has a fixed order for a fixed
thread count. Set MINIGEN_THREADS to choose the count; the default is every core we may run on.
"""

import hashlib
import math
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

try:
    import numba
except ImportError:  # the NumPy half of every pair still works: dispatch.py falls back to it
    numba = None  # type: ignore[assignment]

# Reassociation lets LLVM vectorise sums. `nnan` and `ninf` are left out on purpose: they let the
# compiler assume that no NaN or infinity exists, and a diverging run would go unseen.
FAST_BUT_HONEST = {"reassoc", "contract", "arcp", "nsz"}


def threads():
    """How many threads a kernel is spread over."""
    asked = os.environ.get("MINIGEN_THREADS", "")
    if asked and (not asked.isdigit() or int(asked) < 1):
        raise ValueError(f"MINIGEN_THREADS must be a whole number of at least 1, got {asked!r}")
    return (
        int(asked)
        if asked
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


def jit(function, fastmath=frozenset(FAST_BUT_HONEST)):
    """Compile `function` at its first call for the dtypes it gets; keep the machine code on disk."""
    if numba is None:
        return function
    return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=set(fastmath))(function)


def jit_in_order(function):
    """`jit` for arithmetic whose order is the point, such as a subtraction in two parts: nothing is reassociated."""
    return jit(function, fastmath={"contract"})


def shares(tasks, parts, grain=1):
    """Cut range(tasks) into at most `parts` contiguous, nearly equal shares of at least `grain` tasks."""
    parts = max(1, min(parts, tasks // grain))
    return [(tasks * i // parts, tasks * (i + 1) // parts) for i in range(parts)]


def parallel(tasks, worker, *args, grain=1):
    """Run worker(first, last, *args) over range(tasks), one contiguous share a thread.

    grain is the fewest tasks that are worth a thread (waking one costs some 20 microseconds).
    The caller's thread works too. An exception in any share is raised here, after all have ended.
    """
    mine, *others = shares(tasks, threads(), grain)
    futures = [_pool().submit(worker, first, last, *args) for first, last in others]
    try:
        worker(*mine, *args)
    finally:
        for future in futures:
            future.exception()
    for future in futures:
        future.result()


def scratch(name, shape, dtype):
    """Memory of this thread, kept from call to call: fresh pages from the system cost as much as the work on them.

    The contents are whatever was there; the next `scratch` of the same name hands out the same memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    held = _scratch.__dict__.get(name)
    if held is None or held.size < size:
        held = _scratch.__dict__[name] = np.empty(size, np.uint8)
    return held[:size].view(dtype).reshape(shape)


_scratch = threading.local()


def keep_freed_memory():
    """Let glibc hand freed arrays out again instead of returning their pages to the system.

    A fresh page costs a fault at its first touch, about as much as the memory-bound work on it.
    """
    import ctypes

    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


keep_freed_memory()


@cache
def _pool():
    return ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="minigen")


def _cache_folder():
    """A folder named by the text of all kernels: Numba does not notice an edit of an imported helper."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    name = f"kernels-{hashlib.sha256(text).hexdigest()[:16]}"
    for root in (os.environ.get("MINIGEN_CACHE"), Path.home() / ".cache" / "minigen"):
        if root and _writable(Path(root) / name):
            return Path(root) / name
    return Path(tempfile.gettempdir()) / f"minigen-{os.getuid() if hasattr(os, 'getuid') else 0}" / name


def _writable(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    except OSError:
        return False


if numba is not None and "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
