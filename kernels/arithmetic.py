"""Additions and copies of large arrays: no arithmetic to speak of, only memory to read and write, so all threads help.

    add              y = a + b                                  a, b, y of one shape
    sum_positions    y[n, c] = sum_p x[n, p, c]                 x (N, P, C) -> y (N, C)
    concatenate      y = the arrays end to end along the last axis: (R, C1), (R, C2), ... -> (R, C1 + C2 + ...)
    split            the reverse: (R, C1 + C2 + ...), and the widths (C1, C2, ...) -> (R, C1), (R, C2), ...
    contiguous       y = x, copied so that its elements lie in order: what slices and transposes need once

A network adds wherever two paths meet (skips forward, gradients backward), and the gradient of a bias is a sum over
positions. Operations call these for large arrays only (LARGE in minigen/ops/elementwise.py).
"""

import numpy as np

from ._memory import aligned
from ._numba import jit
from ._threads import parallel

GRAIN = 1 << 14  # elements that are worth a share
BLOCK = 64  # positions that share a partial sum: independent of the number of threads, and so is the result

# ---------------------------------------------------------------- NumPy: the definition


def add_numpy(a, b):
    """Add two arrays of one shape."""
    return a + b


def sum_positions_numpy(x):
    """Add up the positions of every sample and channel."""
    return x.sum(axis=1)


def concatenate_numpy(*arrays):
    """Join arrays of as many rows, side by side."""
    return np.concatenate(arrays, axis=1)


def split_numpy(x, widths):
    """Take apart what concatenate has joined."""
    ends = np.cumsum(widths)
    return tuple(np.ascontiguousarray(x[:, end - width : end]) for width, end in zip(widths, ends))


def contiguous_numpy(x):
    """Lay the elements in order, copying only where they do not lie so."""
    return np.ascontiguousarray(x)


# ---------------------------------------------------------------- CPU: NumPy on a share of the rows, or sums by blocks


def add_numba(a, b):
    """The arrays as flat vectors, of which each thread takes a stretch."""
    y = aligned(a.shape, np.result_type(a, b))
    parallel(a.size, sum_loop, a.reshape(-1), b.reshape(-1), y.reshape(-1), grain=GRAIN)
    return y


def sum_positions_numba(x):
    """In two stages: blocks of positions in x's dtype, then the blocks' sums in float64."""
    n, p, c = x.shape
    blocks = -(-p // BLOCK)
    sums = aligned((n, blocks, c), x.dtype)
    parallel(n * blocks, block_sums, x, sums, grain=1 + GRAIN // (BLOCK * max(c, 1)))
    return sums.sum(axis=1, dtype=np.float64).astype(x.dtype)


def concatenate_numba(*arrays):
    """One array after the other; a thread copies some of the rows."""
    y, at = aligned((len(arrays[0]), sum(a.shape[1] for a in arrays)), np.result_type(*arrays)), 0
    for a in arrays:
        parallel(len(y), copy_columns, a, 0, y, at, a.shape[1], grain=1 + GRAIN // max(a.shape[1], 1))
        at += a.shape[1]
    return y


def split_numba(x, widths):
    """The same the other way round."""
    arrays, at = tuple(aligned((len(x), width), x.dtype) for width in widths), 0
    for a in arrays:
        parallel(len(x), copy_columns, x, at, a, 0, a.shape[1], grain=1 + GRAIN // max(a.shape[1], 1))
        at += a.shape[1]
    return arrays


def contiguous_numba(x):
    """A thread copies a stretch of the first axis."""
    y = aligned(x.shape, x.dtype)
    parallel(len(x), share_of_copy, x, y, grain=1 + GRAIN * len(x) // max(x.size, 1))
    return y


def share_of_copy(first, last, x, y):
    np.copyto(y[first:last], x[first:last])


@jit
def sum_loop(a, b, y):
    for i in range(len(a)):
        y[i] = a[i] + b[i]


@jit
def copy_columns(first, last, source, source_at, target, target_at, width):
    """So many columns of some rows. (NumPy copies short rows in one to two times the time.)"""
    for i in range(first, last):
        numbers, places = source[i, source_at : source_at + width], target[i, target_at : target_at + width]
        for j in range(width):
            places[j] = numbers[j]


@jit
def block_sums(first, last, x, sums):
    """sums[n, block] = the sum over the positions of one block."""
    _, p, c = x.shape
    for task in range(first, last):
        n, block = task // sums.shape[1], task % sums.shape[1]
        total = sums[n, block]
        total[:] = 0
        for i in range(block * BLOCK, min(p, (block + 1) * BLOCK)):
            for k in range(c):
                total[k] += x[n, i, k]


# ---------------------------------------------------------------- CUDA: CuPy's own functions
# They run at the speed of the GPU's memory already, and CuPy's sums are in a fixed order.


def add_cuda(a, b):
    return a + b


def sum_positions_cuda(x):
    return x.sum(axis=1)


def contiguous_cuda(x):
    import cupy

    return cupy.ascontiguousarray(x)


def concatenate_cuda(*arrays):
    import cupy

    return cupy.concatenate(arrays, axis=1)


def split_cuda(x, widths):
    import cupy

    return tuple(map(cupy.ascontiguousarray, cupy.split(x, np.cumsum(widths)[:-1].tolist(), axis=1)))
