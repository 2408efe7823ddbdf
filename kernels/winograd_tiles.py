"""Winograd's tiles: out of an image into its 36 planes, and from the planes into an image. See winograd.py.

A run is a line of tiles (or a part of a very long line). Its six lines of pixels (of a gradient: four) are first copied
into a strip that has the padding around it: no transform needs to know about edges, and the image is read line by
line, for which processors fetch ahead, not tile by tile. Results are written where they belong; a tile that reaches
beyond the edge goes by way of a patch of 4x4 pixels.

Channels are worked off a vector at a time: `vectors_of` says how many there are, `place_of` where each begins.

Shapes   x, dy, y, residual (N, H, W, C)   strip (6 or 4, pixels * C)   v, g, m (36, tiles * C)   patch (4, 4, C)
         all float32
"""

from ._numba import jit, numba
from .simd.winograd_transforms import gradient_to_points, image_to_points, points_to_image

if numba is not None:
    from .simd.vector import BYTES, LANES


@jit
def vectors_of(c):
    """How many vectors cover c >= LANES channels."""
    return (c + LANES - 1) // LANES


@jit
def place_of(vector, c):
    """The byte at which a vector of channels begins. The last one ends with the last channel: where LANES does not
    divide c it overlaps the one before, and some channels are worked out twice, to the same result."""
    return min(vector * BYTES, 4 * c - BYTES)


@jit
def place_of_run(run, length, y):
    """The sample and the upper left pixel of a run of tiles of the result."""
    down, across = (y.shape[1] + 3) // 4, ((y.shape[2] + 3) // 4 + length - 1) // length
    return run // (down * across), run // across % down * 4, run % across * length * 4


@jit
def fill_strip(x, repeats, n, top, left, strip):
    """strip[i, j] = x[n, top + i, left + j], and 0 beyond the edge: whole lines, pixels of a line being adjacent.

    repeats: 1, or 2 for the image that has every line and every pixel of x twice.
    """
    height, width, c = x.shape[1] * repeats, x.shape[2] * repeats, x.shape[3]
    pixels = strip.shape[1] // c
    first, last = min(max(0, -left), pixels), max(0, min(pixels, width - left))
    for i in range(len(strip)):
        if not 0 <= top + i < height or first >= last:
            strip[i, :] = 0
            continue
        strip[i, : first * c] = 0
        strip[i, last * c :] = 0
        line = x[n, (top + i) // repeats].reshape(x.shape[2] * c)
        piece = (last - first) * c if repeats == 1 else c
        for j in range(first * c, last * c, piece):
            begin = (left + j // c) // repeats * c
            source, target = line[begin : begin + piece], strip[i, j : j + piece]
            for at in range(len(target)):
                target[at] = source[at]


@jit
def read_points(strip, t, c, v, row, row_length):
    """V[:, row] of tile t of the strip."""
    source, target = strip.ctypes.data + 16 * c * t, v.ctypes.data + 4 * row_length * row
    for vector in range(vectors_of(c)):
        at = place_of(vector, c)
        image_to_points(source + at, strip.strides[0], 4 * c, target + at, 6 * v.strides[0], v.strides[0])


@jit
def read_gradient(strip, t, k, g, row, row_length):
    """(A dy A^T)[:, row] of tile t of the strip."""
    source, target = strip.ctypes.data + 16 * k * t, g.ctypes.data + 4 * row_length * row
    for vector in range(vectors_of(k)):
        at = place_of(vector, k)
        gradient_to_points(source + at, strip.strides[0], 4 * k, target + at, 6 * g.strides[0], g.strides[0])


@jit
def write_result(m, row, row_length, bias, patch, y, n, top, left):
    """The 4x4 pixels from (top, left), plus bias, as many of them as y has."""
    k = y.shape[3]
    whole = top + 4 <= y.shape[1] and left + 4 <= y.shape[2]
    source, target, line = m.ctypes.data + 4 * row_length * row, patch.ctypes.data, 16 * k
    if whole:
        target, line = y.ctypes.data + 4 * k * ((n * y.shape[1] + top) * y.shape[2] + left), 4 * k * y.shape[2]
    for vector in range(vectors_of(k)):
        at = place_of(vector, k)
        points_to_image(source + at, 6 * m.strides[0], m.strides[0], target + at, line, 4 * k, bias.ctypes.data + at)
    if not whole:
        for i in range(min(4, y.shape[1] - top)):
            for j in range(min(4, y.shape[2] - left)):
                for at in range(k):
                    y[n, top + i, left + j, at] = patch[i, j, at]


@jit
def add_residual(residual, y, n, top, left, tiles):
    """Add it to a run of tiles of y, which are still in the cache."""
    _, height, width, k = y.shape
    last = min(left + 4 * tiles, width)
    numbers = (last - left) * k
    for i in range(top, min(top + 4, height)):
        line, added = y[n, i, left:last].reshape(numbers), residual[n, i, left:last].reshape(numbers)
        for at in range(len(line)):
            line[at] += added[at]
