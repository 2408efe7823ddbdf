"""Convolution without rows of whole windows: a product for each tap, of the pixels that it sees.

Every product of convolution sums, over the taps t of the filter, a matrix product of pixels with w[t]. What im2col
copies into rows, a table of addresses can say as well: of a tile of 8 results, and of each tap, the 8 pixels. Only the
weight gradient lays pixels down, a block of them for a tap at a time, since its products read each of them often.

    forward       y[r]  = b + sum over t of x[pixel(r, t)] @ w[t]
    input grad    dx[r] = sum over t of dy[pixel(r, t)] @ w[t]^T     for those t that s divides: see below
    weight grad   dw[t] = sum over r of x[pixel(r, t)] outer dy[r]

The input gradient of a convolution with stride s (a transposed convolution) falls into s x s *phases*. Of pixel h of
dx, the outputs p that saw it satisfy h = p s + i d - pad for a tap i; so the pixels with the same h mod s share their
taps, and each phase is a convolution of its own with stride 1 and a part of the filter.

Rows of a tile are the same pixel of 8 samples where there are as many: then a tap that falls outside the image does so
for all 8 at once, and is left out. Otherwise the 8 are neighbours, and those outside are pointed at zeros.

Shapes   x (N, H, W, C)   w (KH, KW, C, K)   b (K,), (N, K) or None   y (N, P, Q, K);  float32
Source   Dukhan, The Indirect Convolution Algorithm, 2019; Shi et al. 2016 (phases: "sub-pixel" convolution)
"""

import numpy as np

from ._memory import aligned, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel, shares
from .simd.gemm import product
from .simd.indirect import ROWS, over_taps_1, over_taps_2
from .simd.prefetch import fetch
from .turned import turned
from .winograd import add_pieces, rounded

if numba is not None:
    from .simd.vector import LANES

TILES = 32  # tiles of 8 pixels whose tables are made at once: they and their pixels stay in a core's L2 cache
LINE = 64  # bytes of a cache line
PIXELS = 128  # of a block: a stretch of the product, whose sums stay in registers


def indirect_numba(x, w, bias, size, stride, padding, dilation):
    """y: one phase, of all the taps."""
    y = aligned((len(x), *size, w.shape[3]), np.float32)
    taps = [(i * dilation[0] - padding[0], j * dilation[1] - padding[1], t) for t, (i, j) in positions(w)]
    over_taps(x, packed(w), taps, bias, y, size, (0, 0), (1, 1), stride)
    return y


def indirect_input_grad_numba(dy, w, size, stride, padding, dilation):
    """dx, phase by phase."""
    dx = aligned((len(dy), *size, w.shape[2]), np.float32)
    weights = packed(turned(w))
    for phase in np.ndindex(stride):
        taps = []
        for t, position in positions(w):
            down, across = (phase[a] + padding[a] - position[a] * dilation[a] for a in (0, 1))
            if down % stride[0] == across % stride[1] == 0:
                taps.append((down // stride[0], across // stride[1], weights.shape[1] - 1 - t))
        grid = tuple(-(-(size[a] - phase[a]) // stride[a]) for a in (0, 1))
        over_taps(dy, weights, taps, None, dx, grid, phase, stride, (1, 1))
    return dx


def positions(w):
    return enumerate(np.ndindex(w.shape[:2]))


def indirect_weight_grad_numba(x, dy, window, stride, padding, dilation):
    """dw: a thread sums over a piece of the pixels; the pieces are added afterwards, in their order."""
    c, k, threads = x.shape[3], dy.shape[3], get_num_threads()
    taps = np.array([(i * dilation[0] - padding[0], j * dilation[1] - padding[1]) for i, j in np.ndindex(window)])
    pieces = np.array(shares(-(-dy[..., 0].size // PIXELS), threads))
    sums = scratch("sums", (len(pieces), len(taps), rounded(c, ROWS), rounded(k, LANES)), np.float32)
    seen, g = (scratch(name, (threads, PIXELS, sums.shape[a]), np.float32) for name, a in (("seen", 2), ("g", 3)))
    parallel(len(pieces), sum_pieces, pieces, x, dy, taps, stride, sums, seen, g)
    dw = aligned((*window, c, k), np.float32)
    parallel(c, add_pieces, sums, dw.reshape(len(taps), c, k), grain=1 + 2**12 // max(len(taps) * k, 1))
    return dw


def packed(w):
    """The filters as (panels, taps, C, 2 LANES): the columns that one tile of the product reads lie together."""
    kh, kw, c, k = w.shape
    taps = kh * kw
    panels = -(-k // (2 * LANES))
    result = scratch("packed", (panels, taps, c, 2 * LANES), np.float32)
    parallel(panels * taps, pack_tap, w.reshape(taps, c, k), result, grain=1 + 2**10 // c)
    return result


def over_taps(source, w, taps, bias, target, grid, start, target_step, source_step):
    """target[n, start + target_step r] = bias + sum over taps of source[n, source_step r + tap] @ w[tap], r in grid."""
    k = target.shape[3]
    bias = np.zeros((1, k), np.float32) if bias is None else bias.reshape(-1, k)
    taps = np.array(taps, np.int64).reshape(-1, 3)
    zeros = np.zeros(source.shape[3], np.float32)
    tiles, threads = -(-len(source) * grid[0] * grid[1] // ROWS), get_num_threads()
    places, corners = (scratch(name, (threads, 3, TILES * ROWS), np.int64) for name in ("places", "corners"))
    ends = scratch("ends", (threads, 2, TILES, ROWS), np.int64)
    entries = scratch("entries", (threads, TILES, max(len(taps), 1), 1 + ROWS), np.int64)
    counts = scratch("counts", (threads, TILES), np.int64)
    given = source, w, taps, bias, target, grid, start, target_step, source_step, zeros
    parallel(tiles, tiles_over_taps, *given, places, corners, ends, entries, counts, grain=4)


@jit
def place_of(vector, c):
    """The first channel of a vector. The last one ends with the last channel: where LANES does not divide c it
    overlaps the one before, and some channels are worked out twice, to the same result."""
    return min(vector * LANES, c - LANES)


@jit
def pack_tap(first, last, w, result):
    """The taps first..last, counted through all panels."""
    panels, taps, c, _ = result.shape
    for task in range(first, last):
        panel, tap = task // taps, task % taps
        for half in range(2):
            at = place_of(2 * panel + half, w.shape[2])
            for row in range(c):
                for lane in range(LANES):
                    result[panel, tap, row, half * LANES + lane] = w[tap, row, at + lane]


@jit
def tiles_over_taps(
    me, first, last, source, w, taps, bias, target, grid, start, target_step, source_step, zeros,
    places, corners, ends, entries, counts,
):  # fmt: skip
    """The tiles first..last: tables of some of them, then their products, panel by panel of w.

    places, corners, ends, entries, counts: scratch, a part a thread.
    """
    places, corners, ends, entries, counts = places[me], corners[me], ends[me], entries[me], counts[me]
    c, k = source.shape[3], target.shape[3]
    vectors = (k + LANES - 1) // LANES
    for begin in range(first, last, TILES):
        tiles = min(TILES, last - begin)
        list_places(begin * ROWS, tiles * ROWS, len(source), grid, places)
        locate(places, tiles * ROWS, target, start, target_step, corners)
        for i in range(tiles * ROWS):
            ends[0, i // ROWS, i % ROWS] = corners[0, i]
            ends[1, i // ROWS, i % ROWS] = bias.ctypes.data + 4 * k * min(places[0, i], len(bias) - 1)
        locate(places, tiles * ROWS, source, (0, 0), source_step, corners)
        for i in range(tiles):
            mine = corners[:, i * ROWS : (i + 1) * ROWS]
            counts[i] = list_taps(mine[0], mine[1], mine[2], source, taps, 8 * LANES * c, zeros, entries[i])
        if len(taps) == 1:  # every pixel is read once: have all of them on their way into the cache
            for i in range(tiles * ROWS):
                for part in range(0, 4 * c, LINE):
                    fetch(corners[0, i] + part)
        for panel in range(len(w)):
            at = place_of(2 * panel, k)
            second = place_of(2 * panel + 1, k) - at
            for i in range(tiles):
                given = entries[i].ctypes.data, counts[i], c, w[panel].ctypes.data
                results, biases = ends[0, i].ctypes.data, ends[1, i].ctypes.data
                if 2 * panel + 1 < vectors:
                    over_taps_2(*given, biases, results, 4 * at, 4 * second)
                else:
                    over_taps_1(*given, biases, results, 4 * at, 0)


@jit
def list_places(first, count, n, grid, places):
    """(sample, line, column) of results first, first + 1 ... Samples in groups of 8 run fastest, then columns."""
    group = first // (ROWS * grid[0] * grid[1]) * ROWS
    members = min(ROWS, n - group)
    pixel, member = (first - group * grid[0] * grid[1]) // members, (first - group * grid[0] * grid[1]) % members
    line, column = pixel // grid[1], pixel % grid[1]
    for i in range(count):
        places[0, i], places[1, i], places[2, i] = group + member, line, column
        member += 1
        if member == members:
            member, column = 0, column + 1
        if column == grid[1]:
            column, line = 0, line + 1
        if line == grid[0]:
            if group + ROWS >= n:  # a last tile that is not full repeats its last row
                member, line, column = members - 1, grid[0] - 1, grid[1] - 1
            else:
                line, group = 0, group + ROWS
                members = min(ROWS, n - group)


@jit
def locate(places, count, image, start, step, found):
    """found = (address, line, column) of pixel start + step * place of the image; the pixel may lie outside it."""
    _, height, width, c = image.shape
    beginning = image.ctypes.data
    for i in range(count):
        h, v = start[0] + places[1, i] * step[0], start[1] + places[2, i] * step[1]
        found[0, i] = beginning + 4 * c * ((places[0, i] * height + h) * width + v)
        found[1, i], found[2, i] = h, v


@jit
def list_taps(address, line, column, image, taps, tap_bytes, zeros, entries):
    """The table of one tile: of each tap that falls inside the image for any row -> how many those are."""
    _, height, width, c = image.shape
    nothing, count = zeros.ctypes.data, 0
    for t in range(len(taps)):
        down, across, inside = taps[t, 0], taps[t, 1], 0
        entries[count, 0] = taps[t, 2] * tap_bytes
        step = 4 * c * (down * width + across)
        for i in range(ROWS):
            h, v = line[i] + down, column[i] + across
            seen = (h >= 0) & (h < height) & (v >= 0) & (v < width)
            entries[count, 1 + i] = address[i] + step if seen else nothing
            inside += seen
        count += inside > 0
    if count == 0:  # nothing but the bias
        entries[0, 0], entries[0, 1:] = 0, nothing
    return max(count, 1)


@jit
def sum_pieces(me, first, last, pieces, x, dy, taps, stride, sums, seen, g):
    """sums[piece] = the products of the pieces first..last, each a run of blocks of PIXELS pixels.

    seen, g: scratch, a part a thread.
    """
    seen, g, k = seen[me], g[me], dy.shape[3]
    pixels = dy.reshape(dy.shape[0] * dy.shape[1] * dy.shape[2], k)
    for piece in range(first, last):
        sums[piece] = 0
        for begin in range(PIXELS * pieces[piece, 0], min(PIXELS * pieces[piece, 1], len(pixels)), PIXELS):
            count = min(PIXELS, len(pixels) - begin)
            b, b_row = pixels[begin:].ctypes.data, 4 * k
            if k % LANES:
                g[:count, :k] = pixels[begin : begin + count]
                b, b_row = g.ctypes.data, g.strides[0]
            for t in range(len(taps)):
                copy_seen(x, begin, count, dy.shape, taps[t], stride, seen)
                total = sums[piece, t]
                product(
                    seen.ctypes.data, 4, seen.strides[0], b, b_row, total.ctypes.data, total.strides[0],
                    x.shape[3], total.shape[1], count, True, b,
                )  # fmt: skip


@jit
def copy_seen(x, begin, count, y_shape, tap, stride, seen):
    """seen[i] = the pixel of x that result begin + i sees through a tap; 0 outside the image."""
    _, height, width, c = x.shape
    _, p, q, _ = y_shape
    for task in range(begin // q, (begin + count - 1) // q + 1):  # a line of results, or the part of it that is wanted
        h, first, last = task % p * stride[0] + tap[0], max(begin, task * q), min(begin + count, (task + 1) * q)
        rows, column = seen[first - begin : last - begin], first - task * q
        if not 0 <= h < height:
            rows[:, :c] = 0
            continue
        pixels = x[task // p, h]
        for i in range(len(rows)):  # a view of each pixel would take longer than the copy
            v = (column + i) * stride[1] + tap[1]
            inside = 0 <= v < width
            v = v if inside else 0
            for at in range(c):
                rows[i, at] = pixels[v, at] if inside else np.float32(0)
