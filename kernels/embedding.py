"""Embedding: rows of a table, picked by index.

    y_i = W[index_i]        dW[k] = sum of g_i over all i with index_i = k

An index that occurs often receives many gradients. A stable sort of the indices brings them together,
each row's in their original order; so one thread adds up one row, always in the same order, and the
result has the same bits for any number of threads.

Shapes   w, dw (K, D)   indices (n,) int64 in 0..K-1   y, g (n, D)
Source   Bengio et al., A Neural Probabilistic Language Model, JMLR 2003, section 2 (the table C)
"""

import numpy as np

from ._numba import jit
from ._threads import parallel

# ---------------------------------------------------------------- NumPy: the definition


def embedding_numpy(w, indices):
    return w[indices]


def embedding_grad_numpy(g, indices, rows):
    dw = np.zeros((rows, g.shape[1]), g.dtype)
    np.add.at(dw, indices, g)
    return dw


# ---------------------------------------------------------------- Numba: rows of y forward, rows of W backward


def embedding_numba(w, indices):
    y = np.empty((len(indices), w.shape[1]), w.dtype)
    parallel(len(y), embedding_rows, w, indices, y)
    return y


def embedding_grad_numba(g, indices, rows):
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


# ---------------------------------------------------------------- CUDA: one block a row of W, from the same sort
# The pair embedding.cu is to come.
