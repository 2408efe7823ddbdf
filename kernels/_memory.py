"""Memory that is used again: fresh pages from the system cost as much as the memory-bound work on them."""

import ctypes
import math
import mmap
import sys
import threading

import numpy as np


def scratch(name, shape, dtype):
    """Memory of this thread, kept from call to call.

    The contents are whatever was there; the next `scratch` of the same name hands out the same memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    held = _scratch.__dict__.get(name)
    if held is None or held.size < size:
        held = _scratch.__dict__[name] = _in_huge_pages(size)
    return held[:size].view(dtype).reshape(shape)


def _in_huge_pages(size):
    """Memory in pages of 2 MB where the system has them: loops that write to 36 places at once, as Winograd's do,
    touch more pages of 4 kB than a processor remembers the addresses of."""
    if size < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    pages = mmap.mmap(-1, size + HUGE_PAGE)
    pages.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(pages, np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE
    return memory[start : start + size]


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
