"""Matrix product: Y = A B, by BLAS, shared over the threads.

Shapes   a (*, M, K)   b (*, K, N)   ->   y (*, M, N), the leading axes broadcast; any strides

A product is cut into few parts, because BLAS begins each by copying the matrix that is not cut into its own order:

    rows, columns   of Y, whichever are more
    depth           where K is by far the longest, as in a weight gradient x^T g, which sums over all samples: each
                    thread multiplies a stretch of the depth, and the products are added in the order of the stretches
    batch           each thread takes some of the matrices

BLAS keeps threads of its own, and its idle ones spin: after every product they steal milliseconds from the kernels
that follow. So BLAS is held to one thread, and parts are handed to the same threads as everything else.
"""

from functools import cache

import numpy as np

from ._memory import aligned
from ._threads import get_num_threads, parallel, shares

# ---------------------------------------------------------------- NumPy: the definition


def matmul_numpy(a, b):
    """The product of two matrices, or of two stacks of them."""
    return a @ b


# ---------------------------------------------------------------- CPU: rows, columns, depth or whole matrices, shared

SMALL = 1 << 21  # multiplications; below this, waking a thread costs more than it saves
FEWEST = 128  # rows or columns of a part


def matmul_numba(a, b):
    """Two matrices are cut into parts; a stack is shared matrix by matrix, unless it is small."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = aligned((*leading, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    if not leading:
        multiply([(a, b, y, None)])
    elif y.size * a.shape[-1] <= SMALL:
        single_threaded_blas()
        np.matmul(a, b, out=y)
    else:
        single_threaded_blas()
        a, b = np.broadcast_to(a, leading + a.shape[-2:]), np.broadcast_to(b, leading + b.shape[-2:])
        parallel(len(y), share_of_batch, a, b, y)
    return y


def multiply(products):
    """y = a b + start for each (a, b, y, start), with the parts of all of them given out together.

    start: (M, N), or (1, N) for all rows, or None.
    """
    single_threaded_blas()
    work = sum(y.size * a.shape[1] for a, _, y, _ in products)
    if work <= SMALL or get_num_threads() == 1:
        share_of_parts(0, len(products), products)
        return
    parts, by_depth = [], []
    for a, b, y, start in products:
        start = None if start is None else np.broadcast_to(start, y.shape)
        if a.shape[1] > 8 * max(y.shape):
            stretches = shares(a.shape[1], get_num_threads())
            sums = aligned((len(stretches), *y.shape), y.dtype)
            parts += [(a[:, i:j], b[i:j], part, None) for (i, j), part in zip(stretches, sums)]
            by_depth.append((sums, y, start))
        elif len(y) >= y.shape[1]:
            cut = shares(len(y), 2 * get_num_threads(), FEWEST)
            parts += [(a[i:j], b, y[i:j], None if start is None else start[i:j]) for i, j in cut]
        else:
            cut = shares(y.shape[1], get_num_threads(), FEWEST)
            parts += [(a, b[:, i:j], y[:, i:j], None if start is None else start[:, i:j]) for i, j in cut]
    parallel(len(parts), share_of_parts, parts)
    for sums, y, start in by_depth:
        np.sum(sums, axis=0, out=y)
        if start is not None:
            y += start


def share_of_parts(first, last, parts):
    for a, b, y, start in parts[first:last]:
        np.matmul(a, b, out=y)
        if start is not None:
            y += start


def share_of_batch(first, last, a, b, y):
    np.matmul(a[first:last], b[first:last], out=y[first:last])


@cache
def single_threaded_blas():
    """Hold the BLAS libraries of this process to one thread each, once."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


# ---------------------------------------------------------------- CUDA: cuBLAS, through CuPy
# Here too a plain product is the library's, which reads transposed matrices in place. How such a kernel is built, with
# tiles in shared memory or on tensor cores, shows in conv.cu: a 1x1 convolution is this product.


def matmul_cuda(a, b):
    return a @ b
