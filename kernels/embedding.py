"""Embedding: rows of a table, picked by index.

    y_i = W[index_i]        dW[k] = sum of g_i over all i with index_i = k

An index that occurs often receives many gradients. A stable sort of the indices brings them together,
each row's in their original order; so one thread adds up one row, always in the same order, and the
result has the same bits for any number of threads.

Shapes   w, dw (K, D)   indices (n,) int64 in 0..K-1   y, g (n, D)
Source   Bengio et al., A Neural Probabilistic Language Model, JMLR 2003, section 2 (the table C)
"""

import numpy as np

from ._cuda import contiguous, empty, i32, zeros
from ._cuda_elements import fitting, over
from ._numba import jit
from ._threads import parallel
from ._versions import floats

# ---------------------------------------------------------------- NumPy: the definition


def embedding_numpy(w, indices):
    """y: the row of each index."""
    return w[indices]


def embedding_grad_numpy(g, indices, rows):
    """dw, of so many rows; np.add.at adds to a row as often as its index occurs."""
    dw = np.zeros((rows, g.shape[1]), g.dtype)
    np.add.at(dw, indices, g)
    return dw


# ---------------------------------------------------------------- Numba: rows of y forward, rows of W backward


def embedding_numba(w, indices):
    """A thread copies a stretch of y's rows."""
    y = np.empty((len(indices), w.shape[1]), w.dtype)
    parallel(len(y), embedding_rows, w, indices, y)
    return y


def embedding_grad_numba(g, indices, rows):
    """A thread adds up a stretch of dw's rows; no other adds to them."""
    dw = np.empty((rows, g.shape[1]), g.dtype)
    order = np.argsort(indices, kind="stable")
    starts = np.searchsorted(indices[order], np.arange(rows + 1))  # row k owns order[starts[k]:starts[k + 1]]
    parallel(rows, embedding_grad_rows, g, order, starts, dw)
    return dw


@jit
def embedding_rows(first, last, w, indices, y):
    for i in range(first, last):
        for d in range(w.shape[1]):
            y[i, d] = w[indices[i], d]


@jit
def embedding_grad_rows(first, last, g, order, starts, dw):
    for k in range(first, last):
        for d in range(dw.shape[1]):
            dw[k, d] = 0
        for i in order[starts[k] : starts[k + 1]]:
            for d in range(dw.shape[1]):
                dw[k, d] += g[i, d]


# ---------------------------------------------------------------- CUDA: a thread a number of y, or of W's gradient


def embedding_cuda(w, indices, version=None):
    """version 1: a thread a number; 2: four neighbours, where 4 divides D (float32 only)."""
    (w,) = floats("embedding", w=w)
    y = empty((len(indices), w.shape[1]), w)
    over_rows("embedding", version, (w, whole_numbers("embedding", indices)), y)
    return y


def embedding_grad_cuda(g, indices, rows, version=None):
    """As embedding_cuda. The sort is CuPy's."""
    import cupy

    (g,) = floats("embedding_grad", g=g)
    indices = whole_numbers("embedding_grad", indices)
    if not indices.size:
        return zeros((rows, g.shape[1]), g)
    order = cupy.argsort(indices, kind="stable")
    dw = empty((rows, g.shape[1]), g)
    over_rows("embedding_grad", version, (g, order, indices[order]), dw, i32(len(order)))
    return dw


def over_rows(kernel, version, args, new, *lengths):
    """A version that reads fours wants them in every row, so that none lies in two."""
    d = new.shape[1]
    version = fitting(kernel, 1 if version is None and d % 4 else version, (1, 2), args[0], new)
    if version == 2 and d % 4:
        raise ValueError(f"{kernel}: version 2 needs rows of a multiple of 4 numbers, got {d}")
    over(__file__, f"{kernel}_v{version}", version, (*args, new, *lengths, i32(d // 4 if version == 2 else d)), new)


def whole_numbers(kernel, indices):
    """The indices in C order. Raises TypeError unless they are int64."""
    if indices.dtype != np.int64:
        raise TypeError(f"{kernel}: indices must be int64, got {indices.dtype}")
    return contiguous(indices)
