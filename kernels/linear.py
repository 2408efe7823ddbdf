"""A fully connected layer: a product whose weights are few beside the samples, and its gradients in one go.

    linear        y = x W + b
    linear_grad   dx = g W^T + so_far, dW = x^T g, db = the sum of g's rows, each where it is wanted

Shapes   x (M, K), W (K, N), b (N,), y and g (M, N)

Many samples, as of a 1x1 convolution, are multiplied in tiles by simd/gemm.py: it reads x where it lies, which BLAS
copies first, and its sums start from the bias, or from so_far. With fewer samples, the weights too are read where they
lie: the samples are turned instead, y^T = W^T x^T, and as the left matrix of such a product, whose numbers are taken
one by one, W and W^T do equally well. What fills no tiles is cut into parts for BLAS, as in matmul.py.
"""

import numpy as np

from ._memory import aligned, derived, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel, shares
from .arithmetic import sum_positions_numba
from .matmul import multiply
from .simd.gemm import product, product_from, rounded
from .simd.vector import add_rows, transpose_square
from .turned import fits_squares, turn, turned

if numba is not None:
    from .simd.vector import BYTES, LANES

# ---------------------------------------------------------------- NumPy: the definition


def linear_numpy(x, w, bias):
    """A fully connected layer."""
    return x @ w + bias


def linear_grad_numpy(g, x, w, needs, so_far=None):
    """dx, with so_far added if it is given, dW and db; None for those that `needs`, three booleans, does not want."""
    dx = g @ w.T if needs[0] else None
    return dx if so_far is None else dx + so_far, x.T @ g if needs[1] else None, g.sum(0) if needs[2] else None


# ---------------------------------------------------------------- CPU: in tiles, turned, or in parts


def linear_numba(x, w, bias):
    """A product with a bias."""
    y = aligned((len(x), w.shape[1]), np.result_type(x, w))
    if in_tiles(x, y):
        multiply_in_tiles(x, panels_of(w), y, np.ascontiguousarray(bias, y.dtype)[None])
    elif worth_turning(x, w, y):
        multiply_turned(x, w.T, y, bias[None])
    else:
        multiply([(x, w, y, bias[None])])
    return y


def linear_grad_numba(g, x, w, needs, so_far=None):
    """In tiles; else the parts of dx and dW are given out together, so that threads wait for each other once.

    x may be None where dW is not wanted, and w where dx is not. dx comes last: what is read next is then in the cache.
    """
    dx, dw, db, parts = None, None, None, []
    if needs[1] and in_tiles(x, g, FEW) and x.shape[1] % ROWS == 0:
        dw, db = weight_grad_in_tiles(x, g, needs[2])
    elif needs[1]:
        dw = aligned((x.shape[1], g.shape[1]), g.dtype)
        parts.append((x.T, g, dw, None))
    if needs[2] and db is None:
        db = sum_positions_numba(g[None])[0]
    if needs[0]:
        dx = aligned((len(g), len(w)), g.dtype)
        start = np.zeros((1, len(w)), g.dtype) if so_far is None else np.ascontiguousarray(so_far)
        if in_tiles(g, dx):
            multiply_in_tiles(g, panels_of_turned(w), dx, start)
        elif worth_turning(g, w, dx):
            multiply_turned(g, w, dx, start)
        else:
            parts.append((g, w.T, dx, so_far))
    multiply(parts)
    return dx, dw, db


# ---------------------------------------------------------------- CPU: in tiles of the micro-kernel

MANY = 1024  # samples, from which on the weights are soon rearranged
FEW = 64  # samples, from which on tiles beat BLAS where the weights are not rearranged
ENOUGH = 1 << 20  # multiplications, from which on turning the samples beats BLAS
ROWS = 8  # of the micro-kernel's tile
BLOCK = 64  # samples whose part of y stays in the core's L1 or L2 cache while all columns pass
DEPTH = 128  # samples of a weight gradient that are summed in registers
DEEP = 256  # terms of turned samples that are; so many rows, 2 vectors each, stay in the core's L1 cache
WIDE = 128  # columns of a weight gradient, DEPTH rows of which, or half of them, stay there


def in_tiles(x, y, least=MANY):
    """Whether a product of float32 with samples x, (M, *), and y's columns, (*, N), is large and fills whole tiles."""
    whole = len(x) >= least and len(x) % ROWS == 0 and y.shape[1] % LANES == 0
    return whole and all(a.dtype == np.float32 and a.strides[1] == 4 for a in (x, y))


def multiply_in_tiles(x, panels, y, start):
    """y = x w + start, (M, N) or (1, N), for the panels of w."""
    parallel(-(-len(x) // BLOCK), share_of_blocks, x, panels, start, y)


def worth_turning(x, w, y):
    """Whether samples are turned, of which there may be few: float32, a sample's numbers in order, enough to do."""
    whole = len(x) >= FEW and y.shape[1] % ROWS == 0 and x.strides[1] == x.itemsize
    return whole and x.dtype == w.dtype == np.float32 and len(x) * w.size >= ENOUGH


def multiply_turned(x, left, y, start):
    """y^T = left x^T + start^T: the samples are turned; what they are multiplied by is read through two strides."""
    parallel(-(-len(x) // LANES), share_of_samples, x, left.ctypes.data, *left.strides, start, y, grain=2)


def weight_grad_in_tiles(x, g, with_db):
    """dw, and db on the way. A thread takes some rows of dw; of many samples, a piece, and the pieces are added."""
    (m, c), n, threads = x.shape, g.shape[1], get_num_threads()
    if m >= MANY:
        pieces = [(begin, end, 0, c) for begin, end in shares(m, threads, MANY // 2)]
    else:
        pieces = [(0, m, ROWS * top, ROWS * bottom) for top, bottom in shares(c // ROWS, threads)]
    sums = aligned((len(pieces) if m >= MANY else 1, c, n), np.float32)
    db = np.zeros((len(sums), n if with_db else 0), np.float32)
    depth = DEPTH // 2 if m >= MANY and n > WIDE // 2 else DEPTH
    parallel(len(pieces), share_of_weight_grad, np.array(pieces), x, g, sums, db, depth)
    for array in (sums, db):
        for piece in array[1:]:
            array[0] += piece
    return sums[0], db[0] if with_db else None


def panels_of(w):
    """w (K, N) as (panels, K, 2 LANES): the columns that one tile of the product reads lie together."""
    panels, known = derived("panels", w, (-(-w.shape[1] // (2 * LANES)), len(w), 2 * LANES), np.float32)
    if not known:
        parallel(len(panels), share_of_panels, w, panels, grain=1 + 2**10 // len(w))
    return panels


def panels_of_turned(w):
    """The panels of w^T, square by square where w is made of squares."""
    if not (fits_squares(w[None, None]) and w.flags.c_contiguous):
        return panels_of(turned(w[None, None])[0, 0])
    panels = scratch("panels", (-(-len(w) // (2 * LANES)), w.shape[1], 2 * LANES), np.float32)
    parallel(len(w) // LANES, share_of_turned_panels, w, panels, grain=1 + 2**11 // w.shape[1])
    return panels


@jit
def share_of_panels(first, last, w, panels):
    """2 LANES columns of w a panel; where w has no more, what lies there is never read."""
    for panel in range(first, last):
        begin = panel * 2 * LANES
        for k in range(len(w)):
            for j in range(begin, min(begin + 2 * LANES, w.shape[1])):
                panels[panel, k, j - begin] = w[k, j]


@jit
def share_of_turned_panels(first, last, w, panels):
    """LANES rows of w are as many columns of a panel: its left half or its right one."""
    k = w.shape[1]
    for half in range(first, last):
        target = panels[half // 2].ctypes.data + half % 2 * BYTES
        for at in range(0, k, LANES):
            transpose_square(w[half * LANES :].ctypes.data + 4 * at, 4 * k, target + at * 2 * BYTES, 2 * BYTES)


@jit
def share_of_blocks(first, last, x, panels, start, y):
    """A block of samples at a time passes all panels; the sums begin with the start, which is one row or a row a
    sample."""
    start_row = start.strides[0] if len(start) > 1 else 0
    for begin in range(first * BLOCK, min(last * BLOCK, len(x)), BLOCK):
        rows = min(begin + BLOCK, len(x)) - begin
        for panel in range(len(panels)):
            at = panel * 2 * LANES
            product_from(
                start.ctypes.data + begin * start_row + 4 * at, start_row,
                x[begin:].ctypes.data, x.strides[0], 4, panels[panel].ctypes.data, 2 * BYTES,
                y[begin:].ctypes.data + 4 * at, y.strides[0], rows, min(2 * LANES, y.shape[1] - at), x.shape[1],
            )  # fmt: skip


@jit
def share_of_samples(first, last, x, left, row, step, start, y):
    """2 LANES samples at a time, which stay in the core's caches while the left matrix passes.

    left: its address; row, step: how many bytes apart its rows and columns lie. Where samples do not fill a vector, the
    rest of it is worked out with whatever was there, and left behind.
    """
    (_, k), n = x.shape, y.shape[1]
    turned_x, turned_y = np.empty((k, 2 * LANES), np.float32), np.empty((n, 2 * LANES), np.float32)
    for begin in range(first * LANES, min(last * LANES, len(x)), 2 * LANES):
        samples = min(2 * LANES, min(last * LANES, len(x)) - begin)
        turn(x[begin:], 0, samples, turned_x)
        if len(start) > 1:
            turn(start[begin:], 0, samples, turned_y)
        else:
            for j in range(n):
                turned_y[j] = start[0, j]
        for at in range(0, k, DEEP):
            product(
                left + at * step, row, step, turned_x[at:].ctypes.data, 2 * BYTES, turned_y.ctypes.data,
                2 * BYTES, n, rounded(samples, LANES), min(DEEP, k - at), True,
            )  # fmt: skip
        turn(turned_y, 0, n, y[begin : begin + samples])


@jit
def share_of_weight_grad(first, last, pieces, x, g, sums, db, depth):
    """Rows of x^T g, summed over samples, a stretch of `depth` of them at a time; with the first row, g's own sums.

    A stretch of WIDE columns of g stays in the core's L1 cache while the columns of x pass, 16 of a cache line at once.
    """
    for piece in range(first, last):
        start, stop, top, bottom = pieces[piece]
        dw, total = sums[min(piece, len(sums) - 1)], db[min(piece, len(sums) - 1)]
        for begin in range(start, stop, depth):
            samples = min(depth, stop - begin)
            for at in range(0, g.shape[1], WIDE):
                end, source = min(at + WIDE, g.shape[1]), g[begin:].ctypes.data
                for column in range(at, min(end, len(total)) if top == 0 else at, LANES):
                    add_rows(source + 4 * column, g.strides[0], samples, total[column:].ctypes.data)
                for row in range(top, bottom, 2 * ROWS):
                    product(
                        x[begin:].ctypes.data + 4 * row, 4, x.strides[0], source + 4 * at, g.strides[0],
                        dw[row:].ctypes.data + 4 * at, dw.strides[0], min(2 * ROWS, bottom - row), end - at, samples,
                        begin > start,
                    )  # fmt: skip


# ---------------------------------------------------------------- CUDA: cuBLAS, through CuPy


def linear_cuda(x, w, bias):
    return x @ w + bias


def linear_grad_cuda(g, x, w, needs, so_far=None):
    return linear_grad_numpy(g, x, w, needs, so_far)
