"""A fully connected layer: a product whose weights are few beside the samples, and its gradients in one go.

    linear        y = x W + b
    linear_grad   dx = g W^T + so_far, dW = x^T g, db = the sum of g's rows, each where it is wanted

Shapes   x (M, K), W (K, N), b (N,), y and g (M, N)

Many samples, as of a 1x1 convolution, are multiplied in tiles by simd/gemm.py: it reads x where it lies, which BLAS
copies first, and its sums start from the bias, or from so_far; the weights are rearranged beforehand, for all threads.
With fewer samples that would take a good part of the time, for weights that are met once. So a thread lays down a
panel of them in its own L1 cache, lets all samples pass it, and goes on to the next: W comes from memory once, line by
line. For dW, strips of the left matrix x^T are laid down likewise. What is too little for that, or fills no tiles, is
cut into parts for BLAS, as in matmul.py.
"""

import numpy as np

from ._memory import aligned, derived, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel, shares
from .arithmetic import sum_positions_numba
from .matmul import multiply
from .simd.gemm import ROWS, STRETCH, product, product_from, rounded
from .simd.vector import add_rows, transpose_square
from .turned import fits_squares, turn, turned

if numba is not None:
    from .simd.gemm import COLUMNS, PANEL
    from .simd.vector import BYTES, LANES

    STRIP = max(LANES, ROWS)  # columns of x that are laid down together

# ---------------------------------------------------------------- NumPy: the definition


def linear_numpy(x, w, bias):
    """A fully connected layer."""
    return x @ w + bias


def linear_grad_numpy(g, x, w, needs, so_far=None):
    """dx, with so_far added if it is given, dW and db; None for those that `needs`, three booleans, does not want."""
    dx = g @ w.T if needs[0] else None
    return dx if so_far is None else dx + so_far, x.T @ g if needs[1] else None, g.sum(0) if needs[2] else None


# ---------------------------------------------------------------- CPU: in tiles, by panels, or in parts


def linear_numba(x, w, bias):
    """A product with a bias."""
    y = aligned((len(x), w.shape[1]), np.result_type(x, w))
    start = np.ascontiguousarray(bias, y.dtype)[None]
    if in_tiles(x, y):
        multiply_in_tiles(x, panels_of(w), y, start)
    elif by_panels(x, w, y):
        multiply_by_panels(x, w, False, y, start)
    else:
        multiply([(x, w, y, start)])
    return y


def linear_grad_numba(g, x, w, needs, so_far=None):
    """In tiles; else the parts of dx and dW are given out together, so that threads wait for each other once.

    x may be None where dW is not wanted, and w where dx is not. dx comes last: what is read next is then in the cache.
    """
    dx, dw, db, parts = None, None, None, []
    if needs[1] and sums_in_tiles(x, g):
        dw, db = weight_grad_in_pieces(x, g, needs[2])
    elif needs[1] and by_strips(x, g):
        dw, db = weight_grad_by_strips(x, g, needs[2])
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
        elif by_panels(g, w, dx):
            multiply_by_panels(g, w, True, dx, start)
        else:
            parts.append((g, w.T, dx, so_far))
    multiply(parts)
    return dx, dw, db


# ---------------------------------------------------------------- CPU: in tiles of the micro-kernel

MANY = 1024  # samples, from which on the weights are soon rearranged
FEW = 64  # samples, from which on tiles beat BLAS
ENOUGH = 1 << 19  # multiplications, from which on panels and strips beat BLAS
BLOCK = 64  # samples whose part of x and y, or of x and g, stays in the core's caches while all columns pass


def plain(*arrays):
    """Whether the micro-kernel can read them: float32, the numbers of a row side by side."""
    return all(a.dtype == np.float32 and a.strides[1] == 4 for a in arrays)


def in_tiles(x, y):
    """Whether a product with samples x, (M, *), and y's columns, (*, N), is large and fills whole tiles."""
    return len(x) >= MANY and len(x) % ROWS == y.shape[1] % LANES == 0 and plain(x, y)


def sums_in_tiles(x, g):
    """Whether the weight gradient sums over many samples and fills whole tiles."""
    return len(x) >= MANY and x.shape[1] % ROWS == g.shape[1] % LANES == 0 and plain(x, g)


def by_panels(x, w, y):
    """Whether there are few samples, and enough to do to lay down the weights panel by panel."""
    enough = FEW <= len(x) < MANY and y.size * x.shape[1] >= ENOUGH
    return enough and plain(x, w) and w.flags.c_contiguous


def by_strips(x, g):
    """The same of the weight gradient."""
    return FEW <= len(x) < MANY and x.size * g.shape[1] >= ENOUGH and plain(x, g)


def multiply_in_tiles(x, panels, y, start):
    """y = x w + start, (M, N) or (1, N), for the panels of w."""
    parallel(-(-len(x) // BLOCK), share_of_blocks, x, panels, start, y)


def multiply_by_panels(x, w, is_turned, y, start):
    """y = x w + start, or y = x w^T + start, in panels so narrow that threads share few columns too."""
    wide = min(PANEL, rounded(-(-y.shape[1] // get_num_threads()), LANES))
    parallel(-(-y.shape[1] // wide), share_of_columns, x, w, is_turned, start, y, wide)


def weight_grad_in_pieces(x, g, with_db):
    """dw, and db on the way, of many samples: a thread takes a piece of them, and the pieces are added."""
    (m, c), n = x.shape, g.shape[1]
    pieces = np.array(shares(m, get_num_threads(), MANY // 2))
    sums, db = aligned((len(pieces), c, n), np.float32), np.zeros((len(pieces), n if with_db else 0), np.float32)
    parallel(len(pieces), share_of_samples, pieces, x, g, sums, db)
    for array in (sums, db):
        for piece in array[1:]:
            array[0] += piece
    return sums[0], db[0] if with_db else None


def weight_grad_by_strips(x, g, with_db):
    """dw, and db on the way, of few samples: a strip of dw at a time, whose columns of x are laid down."""
    (m, c), n = x.shape, g.shape[1]
    dw = aligned((rounded(c, ROWS), rounded(n, LANES)), np.float32)
    if n % LANES:  # else the last vector of the last row would be read beyond g's end
        g, given = np.zeros((m, dw.shape[1]), np.float32), g
        g[:, :n] = given
    db = np.zeros(dw.shape[1] if with_db else 0, np.float32)
    parallel(-(-len(dw) // STRIP), share_of_strips, x, g, dw, db)
    return np.ascontiguousarray(dw[:c, :n]), db[:n] if with_db else None


def panels_of(w):
    """w (K, N) as (panels, K, PANEL): the columns that one tile of the product reads lie together."""
    panels, known = derived("panels", w, (-(-w.shape[1] // PANEL), len(w), PANEL), np.float32)
    if not known:
        parallel(len(panels), share_of_panels, w, panels, grain=1 + 2**10 // len(w))
    return panels


def panels_of_turned(w):
    """The panels of w^T, square by square where w is made of squares."""
    if not (fits_squares(w[None, None]) and w.flags.c_contiguous):
        return panels_of(turned(w[None, None])[0, 0])
    panels = scratch("panels", (-(-len(w) // PANEL), w.shape[1], PANEL), np.float32)
    parallel(len(w) // LANES, share_of_turned_panels, w, panels, grain=1 + 2**11 // w.shape[1])
    return panels


@jit
def share_of_panels(first, last, w, panels):
    """PANEL columns of w a panel; where w has no more, what lies there is never read."""
    for panel in range(first, last):
        begin = panel * PANEL
        for k in range(len(w)):
            for j in range(begin, min(begin + PANEL, w.shape[1])):
                panels[panel, k, j - begin] = w[k, j]


@jit
def share_of_turned_panels(first, last, w, panels):
    """LANES rows of w are as many columns of a panel: a vector in each of its rows."""
    k = w.shape[1]
    for part in range(first, last):
        target = panels[part // COLUMNS].ctypes.data + part % COLUMNS * BYTES
        for at in range(0, k, LANES):
            transpose_square(w[part * LANES :].ctypes.data + 4 * at, 4 * k, target + at * 4 * PANEL, 4 * PANEL)


@jit
def share_of_blocks(first, last, x, panels, start, y):
    """A block of samples at a time passes all panels; the sums begin with the start, which is one row or a row a
    sample."""
    start_row = start.strides[0] if len(start) > 1 else 0
    for begin in range(first * BLOCK, min(last * BLOCK, len(x)), BLOCK):
        rows = min(begin + BLOCK, len(x)) - begin
        for panel in range(len(panels)):
            at = panel * PANEL
            product_from(
                start.ctypes.data + begin * start_row + 4 * at, start_row,
                x[begin:].ctypes.data, x.strides[0], 4, panels[panel].ctypes.data, 4 * PANEL,
                y[begin:].ctypes.data + 4 * at, y.strides[0], rows, min(PANEL, y.shape[1] - at), x.shape[1],
                panels[(panel + 1) % len(panels)].ctypes.data,
            )  # fmt: skip


@jit
def share_of_columns(first, last, x, w, is_turned, start, y, wide):
    """So many columns of w, or of w^T, at a time: STRETCH rows of them are laid down as a panel, and all samples pass.

    The sums are kept apart until they are whole. So there is room for what columns beside the last would be, and where
    samples do not fill tiles, the last tile ends with the last of them: what is worked out twice does no harm.
    """
    (m, k), n = x.shape, y.shape[1]
    whole = m // ROWS * ROWS
    panel, sums = np.zeros((STRETCH, PANEL), np.float32), np.zeros((whole + ROWS, PANEL), np.float32)
    for task in range(first, last):
        left, right = task * wide, min((task + 1) * wide, n)
        width = rounded(right - left, LANES)
        for begin in range(0, k, STRETCH):
            depth = min(STRETCH, k - begin)
            if is_turned:
                turn(w[left:, begin:], 0, right - left, panel[:depth])
            else:
                for i in range(depth):
                    source, target = w[begin + i, left:right], panel[i]
                    for j in range(len(source)):
                        target[j] = source[j]
            for top, rows, place in ((0, whole, 0), (m - ROWS, ROWS if whole < m else 0, whole)):
                product(
                    x[top:].ctypes.data + 4 * begin, x.strides[0], 4, panel.ctypes.data, 4 * PANEL,
                    sums[place:].ctypes.data, 4 * PANEL, rows, width, depth, begin > 0, panel.ctypes.data,
                )  # fmt: skip
        for i in range(m):
            row = sums[i if i < whole else i + whole + ROWS - m]
            offset, result = start[min(i, len(start) - 1), left:right], y[i, left:right]
            for j in range(len(result)):
                result[j] = row[j] + offset[j]


@jit
def share_of_strips(first, last, x, g, dw, db):
    """STRIP rows of x^T g at a time, STRETCH samples after STRETCH; with the first rows, g's own sums.

    As columns of x, which are laid down, they take STRIP neighbouring numbers of a sample: with AVX-512 a cache line.
    """
    strip = np.zeros((STRETCH, STRIP), np.float32)
    for task in range(first, last):
        left, right = task * STRIP, min((task + 1) * STRIP, x.shape[1])
        for column in range(0, len(db) if task == 0 else 0, LANES):
            add_rows(g.ctypes.data + 4 * column, g.strides[0], len(g), db[column:].ctypes.data)
        for begin in range(0, len(x), STRETCH):
            depth = min(STRETCH, len(x) - begin)
            for i in range(depth):
                source, target = x[begin + i, left:right], strip[i]
                for j in range(len(source)):
                    target[j] = source[j]
            product(
                strip.ctypes.data, 4, 4 * STRIP, g[begin:].ctypes.data, g.strides[0], dw[left:].ctypes.data,
                dw.strides[0], min(STRIP, len(dw) - left), dw.shape[1], depth, begin > 0, g[begin:].ctypes.data,
            )  # fmt: skip


@jit
def share_of_samples(first, last, pieces, x, g, sums, db):
    """x^T g of the pieces first..last, summed over samples, a block of them at a time; and g's own sums."""
    for piece in range(first, last):
        (start, stop), dw, total = pieces[piece], sums[piece], db[piece]
        for begin in range(start, stop, BLOCK):
            samples, source = min(BLOCK, stop - begin), g[begin:].ctypes.data
            for column in range(0, len(total), LANES):
                add_rows(source + 4 * column, g.strides[0], samples, total[column:].ctypes.data)
            product(
                x[begin:].ctypes.data, 4, x.strides[0], source, g.strides[0], dw.ctypes.data, dw.strides[0],
                x.shape[1], g.shape[1], samples, begin > start, source + samples * g.strides[0],
            )  # fmt: skip


# ---------------------------------------------------------------- CUDA: cuBLAS, through CuPy


def linear_cuda(x, w, bias):
    return x @ w + bias


def linear_grad_cuda(g, x, w, needs, so_far=None):
    return linear_grad_numpy(g, x, w, needs, so_far)
