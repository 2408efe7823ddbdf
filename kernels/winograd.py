"""3x3 convolution with a quarter of the multiplications: Winograd's F(4x4, 3x3).

A 3-tap filter slid over 6 numbers gives 4 results. Done directly that is 12 multiplications; seen as a product of
polynomials, evaluated at the points 0, 1, -1, 2, -2 and infinity, multiplied there, and interpolated, it is 6. In
two dimensions a 6x6 tile d of the image, filter w and 4x4 tile Y of the result,

    Y = A^T [ (G w G^T) * (B^T d B) ] A                              36 multiplications in place of 144

where * is elementwise, so that for every one of the 36 points f the sum over channels is a matrix product:

    V[f] (tiles, C) = B^T d B        U[f] (C, K) = G w G^T        M[f] = V[f] U[f]        Y = A^T M A

All three products of convolution have this form (the transforms are linear; transposing them is all there is to do):

    input gradient    the convolution of dy with the filter turned by 180 degrees, C and K exchanged, padding 2 - pad
    weight gradient   dw = G^T [ sum over tiles of V[f]^T (A dy A^T)[f] ] G

The tiles are worked off in blocks so small that V[f] and M[f] never leave the core's L2 cache.

Price    the transforms multiply by up to 8 and cancel: float32 errors near 1e-5 of the largest result, against
         1e-6 directly (table in tests/test_winograd.py). float64, in which gradients are checked, never comes here.
Shapes   x (N, H, W, C)   w (3, 3, C, K)   bias (K,) or None   y (N, H + 2 pad - 2, W + 2 pad - 2, K);  float32
Source   Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3
"""

from functools import cache

import numpy as np

from ._numba import jit, numba, parallel, shares, threads
from .simd.gemm import product
from .simd.vector import vectors

B_T = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
       [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
G = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
A = [list(row) for row in zip(*A_T)]

if numba is not None:
    from .simd.vector import BYTES, LANES

CACHE = 1 << 20  # bytes of V and M together: half of a core's L2 cache leaves room for U


def fits(dtype, w_shape, stride, padding, dilation, groups):
    """Whether a convolution can take this route: float32, 3x3, nothing strided, channels that fill vectors."""
    return (
        dtype == np.float32 and w_shape[:2] == (3, 3) and stride == dilation == (1, 1) and groups == 1
        and max(padding) <= 2 and w_shape[2] % LANES == w_shape[3] % LANES == 0 < min(w_shape)
    )  # fmt: skip


# ---------------------------------------------------------------- NumPy: the equations above


def winograd_numpy(x, w, bias, padding):
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
    return y if bias is None else y + bias


# ---------------------------------------------------------------- CPU: the transforms, LANES channels at a time


def combine(v, matrix, vectors):
    """matrix times a list of vectors; the numbers of the matrix are constants, so its zeros cost nothing."""
    results = []
    for row in matrix:
        total = None
        for number, vector in zip(row, vectors):
            if number and total is None:
                total = vector if number == 1 else vector * number
            elif number:
                total = total + vector if number == 1 else v.fma(v.constant(number), vector, total)
        results.append(total)
    return results


def both_sides(v, matrix, tile):
    """matrix tile matrix^T, for a tile given as a list of rows of vectors."""
    columns = [combine(v, matrix, column) for column in zip(*tile)]
    return [combine(v, matrix, row) for row in zip(*columns)]


def load_tile(v, size, source, line, pixel):
    """size x size vectors; `line` and `pixel` are the bytes from one line or pixel to the next."""
    tile = []
    for _ in range(size):
        address, row = source, []
        for _ in range(size):
            row.append(v.load(address))
            address = v.at(address, pixel)
        tile.append(row)
        source = v.at(source, line)
    return tile


def transform_to_points(matrix, size):
    @vectors
    def transform(v, source, line, pixel, target, plane):
        """A tile of size x size pixels -> its values at the 36 points, `plane` bytes apart."""
        for row in both_sides(v, matrix, load_tile(v, size, source, line, pixel)):
            for value in row:
                v.store(value, target)
                target = v.at(target, plane)

    return transform


image_to_points = transform_to_points(B_T, 6)
gradient_to_points = transform_to_points(A, 4)


@vectors
def points_to_result(v, source, plane, bias, target, line, pixel):
    """The values of M at the 36 points -> a tile of 4x4 pixels, plus bias."""
    points = [[None] * 6 for _ in range(6)]
    for f in range(36):
        points[f // 6][f % 6] = v.load(source)
        source = v.at(source, plane)
    offset = v.load(bias)
    for row in both_sides(v, A_T, points):
        address = target
        for value in row:
            v.store(value + offset, address)
            address = v.at(address, pixel)
        target = v.at(target, line)


# ---------------------------------------------------------------- CPU: blocks of tiles, shared over the threads


def winograd_numba(x, w, bias, padding):
    n, h, width, c = x.shape
    k = w.shape[3]
    y = np.empty((n, h + 2 * padding[0] - 2, width + 2 * padding[1] - 2, k), np.float32)
    u = (points_of_filter() @ w.reshape(9, c * k)).reshape(36, c, k)
    bias = np.zeros(k, np.float32) if bias is None else bias
    tiles = n * -(-y.shape[1] // 4) * -(-y.shape[2] // 4)
    blocks, size = cut(tiles, c, k)
    parallel(blocks, forward_blocks, x, u, bias, y, padding[0], padding[1], tiles, size)
    return y


def winograd_input_grad_numba(dy, w, padding):
    turned = np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))
    return winograd_numba(dy, turned, None, (2 - padding[0], 2 - padding[1]))


def winograd_weight_grad_numba(x, dy, padding):
    c, k = x.shape[3], dy.shape[3]
    tiles = len(dy) * -(-dy.shape[1] // 4) * -(-dy.shape[2] // 4)
    blocks, size = cut(tiles, c, k)
    pieces = np.array(shares(blocks, threads()))
    du = np.zeros((len(pieces), 36, c, k), np.float32)  # one sum a thread, added up in the order of the threads
    parallel(len(pieces), weight_grad_pieces, pieces, x, dy, du, padding[0], padding[1], tiles, size)
    return (points_of_filter().T @ du.sum(0).reshape(36, c * k)).reshape(3, 3, c, k)


@cache
def points_of_filter():
    """(36, 9): w (9, ...) -> G w G^T (36, ...)"""
    return np.kron(G, G).astype(np.float32)


def cut(tiles, c, k):
    """(number of blocks, tiles in one): as many as the cache holds, the same work for every thread, whole eights."""
    most = int(np.clip(CACHE // (36 * 4 * (c + k)), 8, 128))
    rounds = max(1, -(-tiles // (most * threads())))
    size = max(8, -(-tiles // (rounds * threads() * 8)) * 8)
    return -(-tiles // size), size


@jit
def forward_blocks(first, last, x, u, bias, y, ph, pw, tiles, size):
    c, k = x.shape[3], y.shape[3]
    # Planes are 16 floats longer than needed: a power of two apart, they would share the same few cache sets.
    v, m = np.zeros((36, size * c + 16), np.float32), np.empty((36, size * k + 16), np.float32)
    pixels, results = np.empty((6, 6, c), np.float32), np.empty((4, 4, k), np.float32)
    for block in range(first, last):
        count = min(size, tiles - block * size)
        for t in range(count):
            n, top, left = place(block * size + t, y)
            read_points(x, n, top - ph, left - pw, pixels, v, t)
        for f in range(36):
            product(v[f].ctypes.data, 4 * c, 4, u[f].ctypes.data, 4 * k, m[f].ctypes.data, 4 * k, size, k, c, False)
        for t in range(count):
            n, top, left = place(block * size + t, y)
            write_result(m, t, bias, results, y, n, top, left)


@jit
def weight_grad_pieces(first, last, pieces, x, dy, du, ph, pw, tiles, size):
    c, k = x.shape[3], dy.shape[3]
    v, g = np.empty((36, size * c + 16), np.float32), np.empty((36, size * k + 16), np.float32)
    pixels, gradients = np.empty((6, 6, c), np.float32), np.empty((4, 4, k), np.float32)
    for piece in range(first, last):
        for block in range(pieces[piece, 0], pieces[piece, 1]):
            count = min(size, tiles - block * size)
            for t in range(count):
                n, top, left = place(block * size + t, dy)
                read_points(x, n, top - ph, left - pw, pixels, v, t)
                read_gradient(dy, n, top, left, gradients, g, t)
            for f in range(36):
                sums = du[piece, f].ctypes.data
                product(v[f].ctypes.data, 4, 4 * c, g[f].ctypes.data, 4 * k, sums, 4 * k, c, k, count, True)


@jit
def place(tile, y):
    """The sample and the upper left pixel of a tile of the result."""
    down, across = (y.shape[1] + 3) // 4, (y.shape[2] + 3) // 4
    return tile // (down * across), tile // across % down * 4, tile % across * 4


@jit
def read_points(x, n, top, left, pixels, v, t):
    """V[:, t] of the 6x6 pixels from (top, left): from the image, or from a copy with zeros beyond the edge."""
    c = x.shape[3]
    source, line = x.ctypes.data + 4 * c * ((n * x.shape[1] + top) * x.shape[2] + left), 4 * c * x.shape[2]
    if not (top >= 0 and left >= 0 and top + 6 <= x.shape[1] and left + 6 <= x.shape[2]):
        copy_inside(x[n], top, left, pixels)
        source, line = pixels.ctypes.data, 6 * 4 * c
    for at in range(0, 4 * c, BYTES):
        image_to_points(source + at, line, 4 * c, v.ctypes.data + 4 * c * t + at, v.strides[0])


@jit
def read_gradient(dy, n, top, left, gradients, g, t):
    """(A dy A^T)[:, t] of the 4x4 pixels from (top, left)."""
    k = dy.shape[3]
    source, line = dy.ctypes.data + 4 * k * ((n * dy.shape[1] + top) * dy.shape[2] + left), 4 * k * dy.shape[2]
    if top + 4 > dy.shape[1] or left + 4 > dy.shape[2]:
        copy_inside(dy[n], top, left, gradients)
        source, line = gradients.ctypes.data, 4 * 4 * k
    for at in range(0, 4 * k, BYTES):
        gradient_to_points(source + at, line, 4 * k, g.ctypes.data + 4 * k * t + at, g.strides[0])


@jit
def write_result(m, t, bias, results, y, n, top, left):
    """The 4x4 pixels from (top, left), as many of them as y has."""
    k = y.shape[3]
    inside = top + 4 <= y.shape[1] and left + 4 <= y.shape[2]
    target = y.ctypes.data + 4 * k * ((n * y.shape[1] + top) * y.shape[2] + left)
    line = 4 * k * y.shape[2]
    if not inside:
        target, line = results.ctypes.data, 4 * 4 * k
    for at in range(0, 4 * k, BYTES):
        source = m.ctypes.data + 4 * k * t + at
        points_to_result(source, m.strides[0], bias.ctypes.data + at, target + at, line, 4 * k)
    if not inside:
        across = min(4, y.shape[2] - left)
        for i in range(min(4, y.shape[1] - top)):
            y[n, top + i, left : left + across] = results[i, :across]


@jit
def copy_inside(image, top, left, patch):
    """patch[i, j] = image[top + i, left + j], and 0 beyond the edge: line by line, pixels of a line being adjacent."""
    height, width, c = image.shape
    size = patch.shape[0]
    lines, rows = image.reshape(height, width * c), patch.reshape(size, size * c)
    first, last = max(0, -left), min(size, width - left)
    for i in range(size):
        row = rows[i]
        if first > 0 or last < size or not 0 <= top + i < height:
            row[:] = 0
        if first < last and 0 <= top + i < height:
            line = lines[top + i, (left + first) * c : (left + last) * c]
            inside = row[first * c : last * c]
            for at in range(len(inside)):
                inside[at] = line[at]


# ---------------------------------------------------------------- CUDA: version 4 of conv.cu, which is to come
