"""Memory asked for ahead of its use.

A loop that streams through memory waits for it unless the processor sees what comes next. It does along a line of
memory, but starts anew with every page of 4 kB, and where a loop writes to several places at once, it may not see a
line at all. Before a core can write to a line it must have that to itself, which takes as long as reading it. So a
sweep over large arrays, or a product whose results go to fresh memory, says beforehand what it will touch.

A fetch is advice: it changes no value, it may be ignored, and an address that nothing lies at does no harm. Too much of
it costs: a loop that moves as much as the memory can (an optimiser's step does) gets slower.
"""

from .._numba import jit
from .vector import vectors

LINE = 64  # bytes of a cache line


@vectors
def fetch(v, address):
    """Have a cache line brought that will be read soon."""
    v.prefetch(address)


@vectors
def fetch_to_write(v, address):
    """Have a cache line brought, and no other core left with a copy of it."""
    v.prefetch(address, to_write=True)


@jit
def will_read(numbers, first, last):
    """Have numbers[first:last] brought, as far as there are such numbers."""
    size = numbers.itemsize
    for at in range(first * size, min(last, len(numbers)) * size, LINE):
        fetch(numbers.ctypes.data + at)


@jit
def will_write(numbers, first, last):
    """The same of numbers that will be written."""
    size = numbers.itemsize
    for at in range(first * size, min(last, len(numbers)) * size, LINE):
        fetch_to_write(numbers.ctypes.data + at)
