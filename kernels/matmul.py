"""Matrix product: Y = A B. The arithmetic is BLAS's; what is ours is how it is shared over the threads.

Shapes   a (*, M, K)   b (*, K, N)   ->   y (*, M, N), the leading axes broadcast; any strides
linear   y = x W + b with x (M, K), W (K, N), b (N,): each thread adds b to its rows while they are in its cache

    rows     every row of Y is computed on its own: each thread takes some (a layer's forward, its input gradient)
    depth    where K is by far the longest, as in a weight gradient x^T dy, which sums over all samples: each thread
             multiplies a stretch of the depth, and the products are added in the order of the stretches
    batch    each thread takes some of the matrices

BLAS keeps threads of its own, and its idle ones spin: after every product they steal milliseconds from the kernels
that follow. So BLAS is held to one thread, and shares are handed to the same threads as everything else.
"""

from functools import cache

import numpy as np

from ._memory import scratch
from ._threads import get_num_threads, parallel, shares

# ---------------------------------------------------------------- NumPy: the definition


def matmul_numpy(a, b):
    return a @ b


def linear_numpy(x, w, bias):
    return x @ w + bias


# ---------------------------------------------------------------- CPU: rows, depth, or whole matrices, shared

SMALL = 1 << 20  # multiplications; below this, waking a thread costs more than it saves


def matmul_numba(a, b):
    single_threaded_blas()
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*leading, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    if y.size * a.shape[-1] <= SMALL:
        np.matmul(a, b, out=y)
    elif leading:
        a, b = np.broadcast_to(a, leading + a.shape[-2:]), np.broadcast_to(b, leading + b.shape[-2:])
        parallel(len(y), share_of_batch, a, b, y)
    elif a.shape[1] > 8 * max(y.shape):
        stretches = shares(a.shape[1], get_num_threads())
        products = scratch("products", (len(stretches), *y.shape), y.dtype)
        parallel(len(stretches), share_of_depth, stretches, a, b, products)
        np.sum(products, axis=0, out=y)
    else:
        parallel(len(y), share_of_rows, a, b, None, y, grain=32)
    return y


def linear_numba(x, w, bias):
    single_threaded_blas()
    y = np.empty((len(x), w.shape[1]), np.result_type(x, w))
    parallel(len(y), share_of_rows, x, w, bias, y, grain=max(32, SMALL // max(1, w.size)))
    return y


def share_of_rows(first, last, a, b, bias, y):
    np.matmul(a[first:last], b, out=y[first:last])
    if bias is not None:
        y[first:last] += bias


def share_of_depth(first, last, stretches, a, b, products):
    for i in range(first, last):
        start, end = stretches[i]
        np.matmul(a[:, start:end], b[start:end], out=products[i])


def share_of_batch(first, last, a, b, y):
    np.matmul(a[first:last], b[first:last], out=y[first:last])


@cache
def single_threaded_blas():
    """Hold the BLAS libraries of this process to one thread each, once."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


# ---------------------------------------------------------------- CUDA: cuBLAS, through CuPy


def matmul_cuda(a, b):
    return a @ b


def linear_cuda(x, w, bias):
    return x @ w + bias
