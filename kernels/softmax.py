"""Softmax and its logarithm over the last axis: scores to probabilities.

    softmax      y_j = exp(x_j - top) / total        dx_j = y_j (g_j - sum_i g_i y_i)
    log_softmax  y_j = (x_j - top) - ln total        dx_j = g_j - exp(y_j) sum_i g_i

    top = max_j x_j        total = sum_j exp(x_j - top)

Subtracting the maximum changes nothing in exact arithmetic and keeps exp from overflowing: the
largest term is exp(0) = 1, so 1 <= total <= K. An entry of -inf gets probability 0; a row of nothing
but -inf has no distribution, is 0 / 0, and comes out as NaN.

Shapes   x, y, g, dx (*, K); every row of K is on its own
Source   Goodfellow, Bengio, Courville, Deep Learning, sections 4.1 and 6.2.2.3
"""

from math import prod

import numpy as np

from ._cuda import C_NAMES, blocks, empty, i32, launch
from ._memory import aligned
from ._numba import jit, numba
from ._threads import parallel
from ._versions import check_shapes, choose, float32_only, floats
from .simd.transcendental import by_width, exp

if numba is not None:
    from .simd.transcendental import bits_of, number_of

# ---------------------------------------------------------------- NumPy: the definition


def softmax_numpy(x):
    """Probabilities: none below 0, and 1 in all."""
    e = np.exp(x - _top(x))
    return e / e.sum(-1, keepdims=True)


def softmax_grad_numpy(g, y):
    """dx, from the result y."""
    return y * (g - (g * y).sum(-1, keepdims=True))


def log_softmax_numpy(x):
    """Log-probabilities, finite where the probability itself would round to 0."""
    shifted = x - _top(x)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_softmax_grad_numpy(g, y):
    """dx, from the result y."""
    return g - np.exp(y) * g.sum(-1, keepdims=True)


def _top(x):
    return x.max(-1, keepdims=True, initial=-np.inf)  # `initial` for rows of length 0


# ---------------------------------------------------------------- Numba: the rows shared over the threads
#
# Sums start from a zero of x's own dtype: a plain 0.0 would lift every loop to float64. A row's sum is taken as 8 or
# more sums side by side, in vectors, which keeps float32's rounding small. Rows are indexed, and not made views of: a
# view costs as much as the work on a row of ten.

GRAIN = 1 << 13  # elements that are worth a thread


def _over_rows(worker, *arrays):
    """A new array like the first, with worker(first, last, *arrays, new) run over all arrays as (rows, K)."""
    new = aligned(arrays[0].shape, arrays[0].dtype)
    rows, k = prod(new.shape[:-1]), new.shape[-1]
    parallel(rows, worker, *[a.reshape(rows, k) for a in (*arrays, new)], grain=1 + GRAIN // (k + 1))
    return new


def softmax_numba(x):
    """Three sweeps over a row: its maximum; exponentials and their total; the division."""
    return _over_rows(softmax_rows, x)


def softmax_grad_numba(g, y):
    """Two sweeps: the mean of g; dx."""
    return _over_rows(softmax_grad_rows, g, y)


def log_softmax_numba(x):
    """Three sweeps, of which the second adds up exponentials without keeping them."""
    return _over_rows(log_softmax_rows, x)


def log_softmax_grad_numba(g, y):
    """Two sweeps: the sum of g; dx."""
    return _over_rows(log_softmax_grad_rows, g, y)


@jit
def in_order32(bits):
    """The bits of a float32 as an integer that orders like it, and back."""
    return np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))


@jit
def in_order64(bits):
    """The same for float64."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


in_order = by_width(in_order32, in_order64)


@jit
def largest(x, i, length):
    """max_j x[i, j], j < length, found among bits as integers: integers' maxima vectorise, floats' do not.

    Integers order like the floats of their bits once all bits of a negative one, but for the sign, are flipped.
    A NaN of positive sign is the largest of all. One of negative sign is passed over here, and shows in the
    exp(x_j - top) that it enters.
    """
    top = in_order(bits_of(x.dtype.type(-np.inf)))
    for j in range(length):
        top = max(top, in_order(bits_of(x[i, j])))
    return number_of(in_order(top))


@jit
def softmax_rows(first, last, x, y):
    """y of rows first..last."""
    for i in range(first, last):
        top, total = largest(x, i, x.shape[1]), x.dtype.type(0)
        for j in range(x.shape[1]):
            y[i, j] = exp(x[i, j] - top)
            total += y[i, j]
        share = x.dtype.type(1 / total)
        for j in range(x.shape[1]):
            y[i, j] *= share


@jit
def softmax_grad_rows(first, last, g, y, dx):
    """dx of rows first..last."""
    for i in range(first, last):
        mean = y.dtype.type(0)  # of g under y
        for j in range(y.shape[1]):
            mean += g[i, j] * y[i, j]
        for j in range(y.shape[1]):
            dx[i, j] = y[i, j] * (g[i, j] - mean)


@jit
def log_softmax_rows(first, last, x, y):
    """y of rows first..last."""
    for i in range(first, last):
        top, total = largest(x, i, x.shape[1]), x.dtype.type(0)
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] - top
            total += exp(y[i, j])
        log_total = np.log(total)
        for j in range(x.shape[1]):
            y[i, j] -= log_total


@jit
def log_softmax_grad_rows(first, last, g, y, dx):
    for i in range(first, last):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += g[i, j]
        for j in range(y.shape[1]):
            dx[i, j] = g[i, j] - exp(y[i, j]) * total


# ---------------------------------------------------------------- CUDA: one warp or block a row

LONG = 1024  # numbers in a row above which a whole block takes it


def softmax_cuda(x, version=None):
    """version 1: a thread a row; 2: a warp a row, or a block where it is LONG (float32 only)."""
    return _row_kernel("softmax", version, x=x)


def softmax_grad_cuda(g, y, version=None):
    """Versions as in softmax_cuda."""
    return _row_kernel("softmax_grad", version, g=g, y=y)


def log_softmax_cuda(x, version=None):
    """Versions as in softmax_cuda."""
    return _row_kernel("log_softmax", version, x=x)


def log_softmax_grad_cuda(g, y, version=None):
    """Versions as in softmax_cuda."""
    return _row_kernel("log_softmax_grad", version, g=g, y=y)


def _row_kernel(kernel, version, **arrays):
    arrays = floats(kernel, **arrays)
    x = arrays[0]
    check_shapes(kernel, x.shape, y=arrays[-1])
    version = choose(kernel, version, {1: None, 2: float32_only(x)})
    new, rows, k = empty(x.shape, x), prod(x.shape[:-1]), x.shape[-1]
    if x.size:
        args = (*arrays, new, i32(rows), i32(k))
        if version == 1:
            launch(__file__, f"{kernel}_v1", blocks(rows, 128), 128, args, REAL=C_NAMES[str(x.dtype)])
        elif k <= LONG:
            launch(__file__, f"{kernel}_v2", blocks(rows, 4), 4 * 32, args, ROW=32)
        else:
            launch(__file__, f"{kernel}_v2", rows, 256, args, ROW=256)
    return new
