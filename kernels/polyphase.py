"""4x4 convolution with stride 2 and padding 1, and its transpose, with 9/16 of the multiplications.

A stride of 2 never mixes even and odd places: along one axis, a filter of 4 taps is two filters of 2 taps, one over the
even and one over the odd pixels (its *polyphase components*), with stride 1 and the results added. And two results of a
filter of 2 taps need 3 multiplications, not 4 (Winograd's F(2, 2)):

    y0 = d0 g0 + d1 g1 = m0 + m1        m0 = (d0 - d1) g0        m1 = d1 (g0 + g1)
    y1 = d1 g0 + d2 g1 = m1 + m2        m2 = (d2 - d1) g1

In two dimensions 2x2 pixels of y come from 6x6 of x: 2x2 phases (a, b) of 3x3 points f, 36 products of channels in
place of 64. With B^T, G and A^T as above, for each point a product of matrices:

    forward       M[f] (tiles, K) = sum over phases of V[f,a,b] (tiles, C) U[f,a,b] (C, K)        Y = A^T M A
                  V = B^T d B of the phase's pixels,  U = G w G^T of the phase's taps
    input grad    phases of dx, 2x2 pixels each, from 3x3 pixels of dy and two of the four taps a line, turned:
                  M[f,a,b] (tiles, C) = V[f,a,b] (tiles, K) U[f,a,b] (K, C)        dx[phase] = A^T M A
    weight grad   dU[f,a,b] (C, K) = sum over tiles of V[f,a,b]^T (A dy A^T)[f]        dw[phase] = G^T dU G

The transforms only add and subtract, so errors stay near those of the direct sum. Blocks of tiles stay in the cache.

Shapes   x (N, H, W, C)   w (4, 4, C, K)   bias (K,), (N, K) or None   y (N, P, Q, K), P = (H - 2) // 2 + 1;  float32,
         C and K multiples of LANES
Source   Vaidyanathan, Multirate Systems and Filter Banks, 1993 (polyphase); Winograd, Arithmetic Complexity of
         Computations, 1980; Lavin and Gray, CVPR 2016, section 4
"""

import numpy as np

from ._memory import aligned, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel
from .simd.gemm import product
from .simd.polyphase_transforms import (
    filter_to_points,
    gradient_to_points,
    image_to_points,
    points_to_pixels,
    points_to_result,
    spread_to_points,
)
from .turned import turned
from .winograd import GAP, rounded

if numba is not None:
    from .simd.gemm import PANEL
    from .simd.vector import BYTES, LANES

CACHE = 1 << 20  # bytes of V and M together: half of a core's L2 cache
CHUNK = 512  # tiles between two visits to dU


def fits_polyphase(dtype, w_shape, stride, padding, dilation):
    """4x4, stride 2, padding 1, float32, and channels that fill whole vectors."""
    return (
        dtype == np.float32 and w_shape[:2] == (4, 4) and stride == (2, 2) and padding == dilation == (1, 1)
        and w_shape[2] % LANES == w_shape[3] % LANES == 0
    )  # fmt: skip


def polyphase_numba(x, w, bias, size):
    """y: at each point, the four phases together are one product of depth 4 C."""
    c, k = w.shape[2:]
    y = aligned((len(x), *size, k), np.float32)
    bias = np.zeros((1, k), np.float32) if bias is None else bias.reshape(-1, k)
    tiles, per_block = cut_into_blocks(len(x), size, 2, 4 * c + k)
    own = scratch_of_threads((9,), per_block, 4 * c, k)
    parallel(-(-tiles // per_block), result_blocks, x, points_of_filters(w, True), bias, y, tiles, per_block, *own)
    return y


def polyphase_input_grad_numba(dy, w, size):
    """dx: a product for each point and phase."""
    c, k = w.shape[2:]
    dx = aligned((len(dy), *size, c), np.float32)
    tiles, per_block = cut_into_blocks(len(dy), size, 4, 4 * (c + k))
    given = dy, points_of_filters(turned(w), False), dx, tiles, per_block
    own = scratch_of_threads((9, 4), per_block, k, c)
    parallel(-(-tiles // per_block), gradient_blocks, *given, *own, np.zeros(LANES, np.float32))
    return dx


def polyphase_weight_grad_numba(x, dy):
    """dU is larger than a cache, so it is not gathered block by block: all of it is brought up to date at once, after
    the points of many tiles, and each of its 36 products belongs to one thread."""
    c, k = x.shape[3], dy.shape[3]
    dw = np.zeros((4, 4, c, k), np.float32)
    tiles, _ = cut_into_blocks(len(dy), dy.shape[1:3], 2, 4 * c + k)
    v, g = (scratch(name, (9, CHUNK, length + GAP), np.float32) for name, length in (("v", 4 * c), ("m", k)))
    du = scratch("du", (9, 4, c, k), np.float32)
    patch = patches(max(c, k))
    for start in range(0, tiles, CHUNK):
        count = min(CHUNK, tiles - start)
        parallel(count, points_of_tiles, x, dy, v, g, start, patch, grain=8)
        parallel(36, add_products, v, g, du, count, start > 0)
    if tiles:
        parallel(c, filter_grad_rows, du, dw, np.zeros(LANES, np.float32), grain=1 + 2**10 // k)
    return dw


def points_of_filters(w, together):
    """U, in panels of PANEL columns that one tile of the product reads: (9, panels, 4 C, PANEL), the phases of a
    point together as one deep product; or (9, 4, panels, C, PANEL), a product for each."""
    _, _, c, k = w.shape
    u = scratch("u", (9, 4, -(-k // PANEL) * c * PANEL), np.float32)
    parallel(c, filter_rows, w, u, together, grain=1 + 2**10 // k)
    return u


def cut_into_blocks(n, size, step, numbers):
    """(tiles in all, tiles of a block): a multiple of 8 from 32 to 64 by the numbers that a tile has at each point, or
    fewer where threads would go without."""
    tiles = n * -(-size[0] // step) * -(-size[1] // step)
    most = min(max(CACHE // (9 * 4 * numbers) // 8 * 8, 32), 64)
    return tiles, min(most, rounded(max(1, -(-tiles // (2 * get_num_threads()))), 8))


def scratch_of_threads(planes, tiles, before, after):
    """v, m and patch of every thread: at each point, so many numbers of a tile before the product and after it."""
    shape = get_num_threads(), *planes
    v, m = (scratch(name, (*shape, tiles * n + GAP), np.float32) for name, n in (("v", before), ("m", after)))
    return v, m, patches(max(before, after))


def patches(channels):
    """Room for the 36 pixels that a tile reads, for every thread."""
    return scratch("patch", (get_num_threads(), 36 * channels), np.float32)


@jit
def result_blocks(me, first, last, x, u, bias, y, tiles, per_block, v, m, patch):
    """y of the blocks of tiles first..last: points of x, products, pixels."""
    v, m, patch = v[me], m[me], patch[me]
    c, k = x.shape[3], y.shape[3]
    for block in range(first, last):
        here = min(per_block, tiles - block * per_block)
        for t in range(here):
            n, i, j = place_of_tile(block * per_block + t, y, 2)
            read_image(x, n, i, j, patch, v.ctypes.data + 16 * c * t, v.strides[0])
        for f in range(9):
            for panel in range(0, k, PANEL):
                product(
                    v[f].ctypes.data, 16 * c, 4, u[f].ctypes.data + 16 * c * panel, 4 * PANEL,
                    m[f].ctypes.data + 4 * panel, 4 * k, here, min(PANEL, k - panel), 4 * c, False,
                    u[f].ctypes.data + 16 * c * (panel + PANEL),
                )  # fmt: skip
        for t in range(here):
            n, i, j = place_of_tile(block * per_block + t, y, 2)
            target, line = writable(y, n, 2 * i, 2 * j, 2, patch)
            offset = bias[min(n, len(bias) - 1)].ctypes.data
            for at in range(0, 4 * k, BYTES):
                source = m.ctypes.data + 4 * k * t + at
                points_to_result(source, m.strides[0], 0, target + at, line, 4 * k, offset + at)
            put_back(patch, y, n, 2 * i, 2 * j, 2)


@jit
def gradient_blocks(me, first, last, dy, u, dx, tiles, per_block, v, m, patch, zeros):
    """dx of the blocks of tiles first..last: points of dy, products, pixels."""
    v, m, patch = v[me], m[me], patch[me]
    c, k = dx.shape[3], dy.shape[3]
    for block in range(first, last):
        here = min(per_block, tiles - block * per_block)
        for t in range(here):
            n, i, j = place_of_tile(block * per_block + t, dx, 4)
            source, line = readable(dy, n, 2 * i - 1, 2 * j - 1, 4, patch)
            for at in range(0, 4 * k, BYTES):
                target = v.ctypes.data + 4 * k * t + at
                spread_to_points(source + at, line, 4 * k, target, v.strides[0], v.strides[1])
        for f in range(36):
            a, b, result = v[f // 4, f % 4].ctypes.data, u[f // 4, f % 4].ctypes.data, m[f // 4, f % 4].ctypes.data
            for panel in range(0, c, PANEL):
                product(
                    a, 4 * k, 4, b + 4 * k * panel, 4 * PANEL, result + 4 * panel, 4 * c,
                    here, min(PANEL, c - panel), k, False, b + 4 * k * (panel + PANEL),
                )  # fmt: skip
        for t in range(here):
            n, i, j = place_of_tile(block * per_block + t, dx, 4)
            target, line = writable(dx, n, 4 * i, 4 * j, 4, patch)
            for at in range(0, 4 * c, BYTES):
                source = m.ctypes.data + 4 * c * t + at
                points_to_pixels(source, m.strides[0], m.strides[1], target + at, line, 4 * c, zeros.ctypes.data)
            put_back(patch, dx, n, 4 * i, 4 * j, 4)


@jit
def points_of_tiles(me, first, last, x, dy, v, g, start, patch):
    """V and A dy A^T of the tiles start + first, start + first + 1 ..."""
    k, patch = dy.shape[3], patch[me]
    for t in range(first, last):
        n, i, j = place_of_tile(start + t, dy, 2)
        read_image(x, n, i, j, patch, v[0, t].ctypes.data, v.strides[0])
        source, line = readable(dy, n, 2 * i, 2 * j, 2, patch)
        for at in range(0, 4 * k, BYTES):
            gradient_to_points(source + at, line, 4 * k, g[0, t].ctypes.data + at, g.strides[0], 0)


@jit
def add_products(first, last, v, g, du, tiles, going_on):
    """dU[f, phase] (C, K) += V[f, phase]^T G[f] for the products first..last of 36."""
    _, _, c, k = du.shape
    for task in range(first, last):
        f, phase = task // 4, task % 4
        a, b = v[f].ctypes.data + 4 * c * phase, g[f].ctypes.data
        product(a, 4, v.strides[1], b, g.strides[1], du[f, phase].ctypes.data, 4 * k, c, k, tiles, going_on, b)


@jit
def place_of_tile(tile, image, step):
    """(sample, tile's line, its column) in an image that is cut into tiles of step x step pixels."""
    down, across = (image.shape[1] + step - 1) // step, (image.shape[2] + step - 1) // step
    return tile // (down * across), tile // across % down, tile % across


@jit
def read_image(x, n, i, j, patch, target, plane):
    """One row of V: the tile (i, j) of 2x2 results."""
    c = x.shape[3]
    source, line = readable(x, n, 4 * i - 1, 4 * j - 1, 6, patch)
    for at in range(0, 4 * c, BYTES):
        image_to_points(source + at, line, 4 * c, target + at, plane, 4 * c)


@jit
def is_inside(image, top, left, size):
    """Whether size x size pixels from (top, left) on are all in the image."""
    return top >= 0 and left >= 0 and top + size <= image.shape[1] and left + size <= image.shape[2]


@jit
def readable(image, n, top, left, size, patch):
    """(address, bytes from line to line) of size x size pixels: the image's own, or a copy with zeros around it."""
    _, height, width, c = image.shape
    if is_inside(image, top, left, size):
        return image.ctypes.data + 4 * c * ((n * height + top) * width + left), 4 * c * width
    first, last = min(max(0, -left), size), max(0, min(size, width - left))
    for i in range(size):
        target = patch[i * size * c : (i + 1) * size * c]
        if not 0 <= top + i < height or first >= last:
            target[:] = 0
            continue
        target[: first * c] = 0
        target[last * c :] = 0
        line = image[n, top + i, left + first : left + last].reshape((last - first) * c)
        inside = target[first * c : last * c]
        for at in range(len(inside)):
            inside[at] = line[at]
    return patch.ctypes.data, 4 * c * size


@jit
def writable(image, n, top, left, size, patch):
    """The same for writing: the image's own pixels, or a patch that `put_back` copies from."""
    _, height, width, c = image.shape
    if is_inside(image, top, left, size):
        return image.ctypes.data + 4 * c * ((n * height + top) * width + left), 4 * c * width
    return patch.ctypes.data, 4 * c * size


@jit
def put_back(patch, image, n, top, left, size):
    """Copy what `writable` could not place in the image, as far as the image goes."""
    if is_inside(image, top, left, size):
        return
    _, height, width, c = image.shape
    columns = min(size, width - left)
    for i in range(min(size, height - top)):
        line = image[n, top + i, left : left + columns].reshape(columns * c)
        for at in range(columns * c):
            line[at] = patch[i * size * c + at]


# ---------------------------------------------------------------- CPU: filters


@jit
def filter_rows(first, last, w, u, together):
    """U of the input channels first..last, in the order that points_of_filters describes."""
    c, k = w.shape[2], w.shape[3]
    panels, row_bytes = (k + PANEL - 1) // PANEL, 4 * PANEL
    phase = c * row_bytes if together else u.strides[1]
    for panel in range(panels):
        start = u.ctypes.data + panel * (4 if together else 1) * c * row_bytes
        for row in range(first, last):
            for at in range(PANEL * panel, min(k, PANEL * (panel + 1)), LANES):
                source = w.ctypes.data + 4 * (row * k + at)
                target = start + row * row_bytes + 4 * (at - PANEL * panel)
                filter_to_points(source, w.strides[0], w.strides[1], target, u.strides[0], phase)


@jit
def filter_grad_rows(first, last, du, dw, zeros):
    """dw = G^T dU G for the input channels first..last."""
    k = dw.shape[3]
    for at in range(4 * k * first, 4 * k * last, BYTES):
        source, target = du.ctypes.data + at, dw.ctypes.data + at
        points_to_pixels(source, du.strides[0], du.strides[1], target, dw.strides[0], dw.strides[1], zeros.ctypes.data)
