"""Memory that begins with a cache line, and is used again: fresh pages from the system cost as much as the memory-bound
work on them."""

import ctypes
import math
import mmap
import sys
import threading
import weakref
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np


def aligned(shape, dtype):
    """An array of whatever was there, which begins with a cache line.

    A vector of 16 floats that lies across the border of two lines is read, and written, as two.
    """
    dtype = np.dtype(dtype)
    memory, start = _whole_lines(math.prod(shape) * dtype.itemsize)
    return np.ndarray(shape, dtype, memory, start)


def scratch(name, shape, dtype):
    """Memory of this thread, kept from call to call.

    The contents are whatever was there; the next `scratch` of the same name hands out the same memory.
    """
    views = _scratch.__dict__.setdefault(name, {})  # a kernel asks for the same few again and again
    if (shape, dtype) not in views:
        size, held = math.prod(shape) * np.dtype(dtype).itemsize, views.get("memory")
        if held is None or held.size < size:
            views.clear()
            held = views["memory"] = _in_huge_pages(size)
        views[shape, dtype] = held[:size].view(dtype).reshape(shape)
    return views[shape, dtype]


@contextmanager
def unchanged_weights():
    """Inside, what kernels derive from weights alone is worked out once and kept: for sampling, where every step meets
    the same weights. Whoever enters promises not to change them before leaving."""
    kept: dict = {}
    token = _derived.set(kept)
    try:
        yield
    finally:
        _derived.reset(token)
        kept.clear()


def derived(name, weights, shape, dtype):
    """Memory for what is derived from an array of weights -> (memory, whether it holds that already).

    Inside `unchanged_weights` it is kept for as long as the array lives; outside it is scratch.
    """
    kept = _derived.get()
    if kept is None:
        return scratch(name, shape, dtype), False
    key = name, id(weights)
    filled = key in kept
    if not filled:  # an array that passes, such as a group's part of the weights, takes its entry along when it goes
        kept[key] = aligned(shape, dtype), weakref.ref(weights, lambda _: kept.pop(key, None))
    return kept[key][0], filled


_derived: ContextVar[dict | None] = ContextVar("derived", default=None)


def _in_huge_pages(size):
    """Memory in pages of 2 MB where the system has them: loops that write to 36 places at once, as Winograd's do,
    touch more pages of 4 kB than a processor remembers the addresses of."""
    if size < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        memory, start = _whole_lines(size)
        return memory[start : start + size]
    pages = mmap.mmap(-1, size + HUGE_PAGE)
    pages.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(pages, np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE
    return memory[start : start + size]


def _whole_lines(size):
    """(memory, start): from its byte `start` on there are `size` bytes, the first of which begins a cache line."""
    memory = np.empty(size + LINE, np.uint8)
    return memory, -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % LINE  # the quickest way to an address


LINE = 64  # bytes
HUGE_PAGE = 1 << 21
_scratch = threading.local()


def keep_freed_memory():
    """Let glibc hand freed arrays out again instead of returning their pages to the system.

    A fresh page costs a fault at its first touch, about as much as the memory-bound work on it.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


keep_freed_memory()
