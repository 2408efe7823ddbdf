"""3x3 convolution with a quarter of the multiplications: Winograd's F(4x4, 3x3).

A 3-tap filter slid over 6 numbers gives 4 results. Done directly that is 12 multiplications; seen as a product of
polynomials, evaluated at the points 0, 1, -1, 2, -2 and infinity, multiplied there, and interpolated, it is 6. In
two dimensions a 6x6 tile d of the image, filter w and 4x4 tile Y of the result,

    Y = A^T [ (G w G^T) * (B^T d B) ] A                              36 multiplications in place of 144

where * is elementwise, so that for every one of the 36 points f the sum over channels is a matrix product:

    V[f] (tiles, C) = B^T d B        U[f] (C, K) = G w G^T        M[f] = V[f] U[f]        Y = A^T M A

All three products of convolution have this form (the transforms are linear; transposing them is all there is to do):

    input gradient    the convolution of dy with the filter turned by 180 degrees, C and K exchanged, padding 2 - pad
    weight gradient   dw = the sum over blocks of tiles of  G^T [ V[f]^T (A dy A^T)[f] ] G
    bias gradient     comes along: at the point 1, which belongs to row (1, 1, 1, 1) of A, A dy A^T is the sum of a tile

The tiles are worked off in blocks so small that V and M can stay in the core's L2 cache. A block is a few *runs*, or
lines of tiles; winograd_tiles.py reads and writes them.

Price    the transforms multiply by up to 8 and cancel: float32 errors near 1e-5 of the largest result, against
         1e-6 directly (table in tests/test_winograd.py). float64, in which gradients are checked, never comes here.
Shapes   x (N, H, W, C)   w (3, 3, C, K)   bias (K,), (N, K) or None   y, residual (N, P, Q, K);  float32
         P = H + 2 pad - 2, Q likewise
Source   Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3
"""

from math import gcd

import numpy as np

from ._memory import aligned, derived, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel, shares
from .simd.gemm import product
from .simd.vector import transpose_square
from .simd.winograd_transforms import A_T, B_T, G, add_points_to_filter, filter_to_points
from .turned import fits_squares, turned
from .winograd_tiles import add_residual, fill_strip, place_of_run, read_gradient, read_points, write_result

if numba is not None:
    from .simd.gemm import PANEL
    from .simd.vector import BYTES, LANES

CACHE = 1 << 21  # bytes of filters, from which on they come from beyond the L2 cache (1 to 2 MB) of any core
SHARE = 1 << 22  # multiplications that are worth a share
TILES = 32  # of a block: with 128 channels in and out, V, in whose place M comes, takes 0.6 MB of an L2 cache
AT_1 = 7  # the plane of the point (1, 1)
# The planes whose products do not vanish: of an image doubled by repeating its pixels, 25 (upsample_conv.py).
ALL, OF_DOUBLED = np.ones(36, bool), np.array([i != 2 and j != 2 for i in range(6) for j in range(6)])
ROWS = 32  # input channels whose filters' gradient is worked out at a time: its 36 planes stay in the cache beside V
GAP = 16  # floats between the 36 planes of V, M and U: a power of two apart, they would share the same few cache sets


def fits(dtype, w_shape, y_size, stride, padding, dilation, groups):
    """Whether a convolution should take this route: float32, 3x3, nothing strided, and fewer multiplications.

    Channels must fill at least one vector. A tile costs 36 multiplications however little of it the result needs,
    and its transforms cost about as much as the product saves for results of 2x2.
    """
    tiles = -(-y_size[0] // 4) * -(-y_size[1] // 4)
    return (
        dtype == np.float32 and w_shape[:2] == (3, 3) and stride == dilation == (1, 1) and groups == 1
        and max(padding) <= 2 and min(w_shape[2:]) >= LANES and 36 * tiles < 9 * y_size[0] * y_size[1]
    )  # fmt: skip


# ---------------------------------------------------------------- NumPy: the equations above


def winograd_numpy(x, w, bias, padding, residual=None):
    """Y = A^T [ (G w G^T) * (B^T d B) ] A for every tile."""
    p, q = x.shape[1] + 2 * padding[0] - 2, x.shape[2] + 2 * padding[1] - 2
    down, across = -(-p // 4), -(-q // 4)
    ends = [(pad, 4 * tiles + 2 - size - pad) for pad, tiles, size in zip(padding, (down, across), x.shape[1:3])]
    padded = np.pad(x, ((0, 0), *ends, (0, 0)))
    d = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(1, 2))[:, ::4, ::4]  # (N, down, across, C, 6, 6)
    v = np.einsum("ai,bj,nhwcij->abnhwc", B_T, B_T, d)
    m = np.einsum("abnhwc,abck->abnhwk", v, np.einsum("ai,bj,ijck->abck", G, G, w))
    y = np.einsum("ia,jb,abnhwk->nhiwjk", A_T, A_T, m).reshape(x.shape[0], 4 * down, 4 * across, w.shape[3])
    y = y[:, :p, :q].astype(x.dtype)
    y = y if bias is None else y + bias.reshape(-1, 1, 1, w.shape[3])
    return y if residual is None else y + residual


# ---------------------------------------------------------------- CPU: blocks of tiles, shared over the threads


def winograd_numba(x, w, bias, padding, residual=None, repeats=1):
    """y. With repeats = 2, x has every line and every pixel twice, though not in memory."""
    planes = ALL if repeats == 1 else OF_DOUBLED
    return convolve(x, repeats, transformed_filters(w), w.shape[3], bias, padding, residual, planes)


def winograd_input_grad_numba(dy, w, padding, planes=ALL):
    """dx (N, H, W, C)."""
    u, padding = transformed_turned_filters(w), (2 - padding[0], 2 - padding[1])
    return convolve(dy, 1, u, w.shape[2], None, padding, None, planes)


def convolve(x, repeats, u, k, bias, padding, residual, planes):
    """y (N, P, Q, k), of transformed filters."""
    n, h, width, c = x.shape
    y = aligned((n, repeats * h + 2 * padding[0] - 2, repeats * width + 2 * padding[1] - 2, k), np.float32)
    bias = np.zeros((1, k), np.float32) if bias is None else bias.reshape(-1, k)
    residual = y[:0] if residual is None else residual
    # Every block reads all of U. Where that comes from beyond the cache, there are fewer blocks, twice as large.
    runs, length, per_block = cut_into_runs(y.shape, TILES if u.nbytes < CACHE else 2 * TILES)
    tiles, threads = rounded(length * per_block, 8), get_num_threads()
    strip = scratch("strip", (threads, 6, rounded((4 * length + 2) * c, LANES)), np.float32)
    # M[f] takes the place of V[f - 1], which is in the cache and no longer needed.
    points = scratch("points", (threads, 37, tiles * max(c, rounded(k, LANES)) + GAP), np.float32)
    v, m = points[:, 1:], points[:, :36]
    patch = scratch("patch", (threads, 4, 4, k), np.float32)
    given = x, repeats, u, bias, residual, y, planes, *padding, runs, length, per_block, strip, v, m, patch
    parallel(-(-runs // per_block), forward_blocks, *given, grain=1 + SHARE // (36 * per_block * length * c * k))
    return y


def winograd_weight_grad_numba(x, dy, padding, repeats=1):
    """dw, and db (N, K) for every sample: a thread sums over a piece of the blocks; the pieces are added afterwards."""
    planes = ALL if repeats == 1 else OF_DOUBLED
    c, k = x.shape[3], dy.shape[3]
    runs, length, per_block = cut_into_runs(dy.shape, TILES)
    if runs == 0:
        return np.zeros((3, 3, c, k), np.float32), np.zeros((len(dy), k), np.float32)
    threads, tiles = get_num_threads(), length * per_block
    pieces = np.array(shares(-(-runs // per_block), threads))
    sums = scratch("sums", (len(pieces), 9, c, rounded(k, LANES)), np.float32)
    db = np.zeros((len(pieces), len(dy), k), np.float32)
    strip = scratch("strip", (threads, 6, rounded((4 * length + 2) * c, LANES)), np.float32)
    strip_of_dy = scratch("strip of dy", (threads, 4, rounded(4 * length * k, LANES)), np.float32)
    widths = {"v": tiles * rounded(c, 8), "m": tiles * rounded(k, LANES), "du": ROWS * PANEL}
    v, g, du = (scratch(name, (threads, 36, rounded(width, LANES) + GAP), np.float32) for name, width in widths.items())
    if not planes.all():
        du[:] = 0
    given = pieces, x, repeats, dy, sums, db, planes, *padding, runs, length, per_block, strip, strip_of_dy, v, g, du
    parallel(len(pieces), weight_grad_pieces, *given)
    dw = aligned((9, c, k), np.float32)
    parallel(c, add_pieces, sums, dw, grain=1 + 2**10 // k)
    return dw.reshape(3, 3, c, k), db.sum(axis=0)


def transformed_filters(w):
    """U = G w G^T as (36, panels, C, PANEL): the columns that one tile of the product reads lie together."""
    c, k = w.shape[2:]
    u, known = derived("u", w, (36, rounded(k, PANEL) * c + GAP), np.float32)
    if not known:
        w = np.pad(w, ((0, 0),) * 3 + ((0, -k % LANES),)) if k % LANES else w
        parallel(c, filter_rows, w, u, grain=1 + 2**10 // k)
    return u


def transformed_turned_filters(w):
    """The same of turned(w), which is not laid down where its squares of LANES x LANES numbers can be turned singly."""
    c, k = w.shape[2:]
    if not fits_squares(w):
        return transformed_filters(turned(w))
    u = scratch("u", (36, rounded(c, PANEL) * k + GAP), np.float32)
    parallel(k // LANES, turned_filter_rows, w, u, grain=1 + 2**10 // (LANES * c))
    return u


def rounded(number, step):
    """The next multiple of step."""
    return -(-number // step) * step


def cut_into_runs(y_shape, tiles):
    """(runs in all, tiles in a run, runs in a block) for blocks of about so many tiles, as many for every thread."""
    n, p, q, _ = y_shape
    across = -(-q // 4)
    runs_across = -(-across // tiles)
    length = -(-across // runs_across)
    runs = n * -(-p // 4) * runs_across
    blocks = rounded(-(-runs * length // tiles), get_num_threads())
    per_block = -(-runs // max(blocks, 1))
    whole = 8 // gcd(length, 8)  # so many runs make up eights of tiles, as the product wants them
    return runs, length, per_block // whole * whole or max(per_block, 1)


@jit
def forward_blocks(
    me, first, last, x, repeats, u, bias, residual, y, planes, ph, pw, runs, length, per_block, strip, v, m, patch
):
    """y of the blocks first..last: points of x, a product a plane, pixels.

    strip, v, m, patch: scratch, a part a thread.
    """
    strip, v, m, patch = strip[me], v[me], m[me], patch[me]
    c, k = x.shape[3], (y.shape[3] + LANES - 1) // LANES * LANES
    for block in range(first, last):
        tiles = 0
        for run in range(block * per_block, min(runs, (block + 1) * per_block)):
            n, top, left = place_of_run(run, length, y)
            fill_strip(x, repeats, n, top - ph, left - pw, strip)
            for t in range(length):
                read_points(strip, t, c, v, tiles + t, c)
            tiles += length
        for f in range(36):
            if not planes[f]:
                m[f] = 0
                continue
            for panel in range(0, k, PANEL):
                product(
                    v[f].ctypes.data, 4 * c, 4, u[f].ctypes.data + 4 * panel * c, 4 * PANEL,
                    m[f].ctypes.data + 4 * panel, 4 * k, tiles, min(PANEL, k - panel), c, False,
                    u[f].ctypes.data + 4 * (panel + PANEL) * c,
                )  # fmt: skip
        tiles = 0
        for run in range(block * per_block, min(runs, (block + 1) * per_block)):
            n, top, left = place_of_run(run, length, y)
            for t in range(length):
                offset = bias[min(n, len(bias) - 1)]
                write_result(m, tiles + t, k, offset, patch, y, n, top, left + 4 * t)
            if len(residual):
                add_residual(residual, y, n, top, left, length)
            tiles += length


@jit
def weight_grad_pieces(
    me, first, last, pieces, x, repeats, dy, sums, db, planes, ph, pw, runs, length, per_block,
    strip, strip_of_dy, v, g, du,
):  # fmt: skip
    """sums[piece] = dw and db[piece] = db of the pieces first..last: points of x and of dy; then, ROWS x PANEL
    channels at a time, a product a plane, and its taps G^T dU G. These are summed up: they are a quarter of dU, which
    would leave the cache between one block and the next. strip, strip_of_dy, v, g, du: scratch, a part a thread."""
    strip, strip_of_dy, v, g, du = strip[me], strip_of_dy[me], v[me], g[me], du[me]
    c, k = (x.shape[3] + 7) // 8 * 8, sums.shape[3]
    for piece in range(first, last):
        total = sums[piece]
        total[:] = 0
        for block in range(pieces[piece, 0], pieces[piece, 1]):
            tiles = 0
            for run in range(block * per_block, min(runs, (block + 1) * per_block)):
                n, top, left = place_of_run(run, length, dy)
                fill_strip(x, repeats, n, top - ph, left - pw, strip)
                fill_strip(dy, 1, n, top, left, strip_of_dy)
                for t in range(length):
                    read_points(strip, t, x.shape[3], v, tiles + t, c)
                    read_gradient(strip_of_dy, t, dy.shape[3], g, tiles + t, k)
                    sum_of_tile, total_of_sample = g[AT_1, (tiles + t) * k : (tiles + t + 1) * k], db[piece, n]
                    for at in range(len(total_of_sample)):
                        total_of_sample[at] += sum_of_tile[at]
                tiles += length
            for top in range(0, c, ROWS):
                for left in range(0, k, PANEL):
                    rows, columns = min(ROWS, c - top), min(PANEL, k - left)
                    for f in range(36):
                        if planes[f]:
                            b = g[f].ctypes.data + 4 * left
                            product(
                                v[f].ctypes.data + 4 * top, 4, 4 * c, b, 4 * k, du[f].ctypes.data, 4 * PANEL,
                                rows, columns, tiles, False, b + g.strides[0],
                            )  # fmt: skip
                    add_filters(du, total, top, min(rows, x.shape[3] - top), left, columns)


# ---------------------------------------------------------------- CPU: filters


@jit
def add_filters(du, total, top, rows, left, columns):
    """total (9, C, K) += G^T dU G, for the channels that du is of."""
    for row in range(rows):
        for column in range(0, columns, LANES):
            source = du.ctypes.data + 4 * (PANEL * row + column)
            target = total.ctypes.data + (top + row) * total.strides[1] + 4 * (left + column)
            add_points_to_filter(
                source, 6 * du.strides[0], du.strides[0], target, 3 * total.strides[0], total.strides[0]
            )


@jit
def filter_rows(first, last, w, u):
    """U of the input channels first..last: a vector of output channels at a time."""
    c, k = w.shape[2], w.shape[3]
    for row in range(first, last):
        for at in range(0, k, LANES):
            panel, column = at // PANEL, at % PANEL
            source = w.ctypes.data + 4 * (row * k + at)
            target = u.ctypes.data + 4 * ((panel * c + row) * PANEL + column)
            filter_to_points(source, 3 * w.strides[1], w.strides[1], target, 6 * u.strides[0], u.strides[0])


@jit
def turned_filter_rows(first, last, w, u):
    """U of the turned filters, LANES of whose input channels are a task: LANES x LANES channels at a time, the nine
    taps in reverse order, each square transposed; then a vector of them at a time, as above."""
    c, k = w.shape[2], w.shape[3]
    squares = np.empty((9, LANES, LANES), np.float32)
    for group in range(first, last):
        for at in range(0, c, LANES):
            for tap in range(9):
                source = w.ctypes.data + 4 * (((8 - tap) * c + at) * k + group * LANES)
                transpose_square(source, 4 * k, squares[tap].ctypes.data, BYTES)
            panel, column = at // PANEL, at % PANEL
            for row in range(LANES):
                target = u.ctypes.data + 4 * ((panel * k + group * LANES + row) * PANEL + column)
                filter_to_points(
                    squares.ctypes.data + row * BYTES, 3 * squares.strides[0], squares.strides[0],
                    target, 6 * u.strides[0], u.strides[0],
                )  # fmt: skip


@jit
def add_pieces(first, last, sums, dw):
    """dw of the input channels first..last: the pieces in their order."""
    for row in range(first, last):
        for tap in range(len(dw)):
            total = dw[tap, row]
            for at in range(len(total)):
                total[at] = sums[0, tap, row, at]
            for piece in range(1, len(sums)):
                for at in range(len(total)):
                    total[at] += sums[piece, tap, row, at]


# ---------------------------------------------------------------- CUDA: winograd.cu, version 4 of conv_cuda.py
