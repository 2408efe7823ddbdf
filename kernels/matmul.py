"""Matrix product: Y = A B. Every row of Y is computed on its own, so rows may be shared between threads.

Shapes   a (*, M, K)   b (*, K, N)   ->   y (*, M, N), the leading axes broadcast; any strides

BLAS keeps threads of its own, and its idle ones spin: after every product they steal milliseconds
from the kernels that follow. So BLAS is held to one thread, and the rows are shared over the same
pool as everything else.
"""

from functools import cache

import numpy as np

from ._numba import parallel

# ---------------------------------------------------------------- NumPy: the definition


def matmul_numpy(a, b):
    return a @ b


# ---------------------------------------------------------------- CPU: rows, or whole matrices, shared over the threads

SMALL = 4096  # results; below this, waking a thread costs more than it saves


def matmul_numba(a, b):
    single_threaded_blas()
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*leading, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    if y.size <= SMALL:
        np.matmul(a, b, out=y)
    elif leading:
        parallel(
            y.shape[0],
            share_of_batch,
            np.broadcast_to(a, leading + a.shape[-2:]),
            np.broadcast_to(b, leading + b.shape[-2:]),
            y,
        )
    else:
        parallel(y.shape[0], share_of_rows, a, b, y)
    return y


def share_of_batch(first, last, a, b, y):
    np.matmul(a[first:last], b[first:last], out=y[first:last])


def share_of_rows(first, last, a, b, y):
    np.matmul(a[first:last], b, out=y[first:last])


@cache
def single_threaded_blas():
    """Hold the BLAS libraries of this process to one thread each, once."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


# ---------------------------------------------------------------- CUDA: cuBLAS, through CuPy


def matmul_cuda(a, b):
    return a @ b
