"""Max and average pooling: one number for every window of KH x KW pixels, channel by channel.

    max    y[n, i, j, c] = max  over the window of x[n, r, q, c]       dx: dy goes to the cell that held the maximum
    avg    y[n, i, j, c] = sum  over the window of x[n, r, q, c] / (KH KW)    dx: dy / (KH KW) goes to every cell

The window of (i, j) covers rows i SH - PH ... i SH - PH + KH - 1, and columns alike. Of the padding,
max pooling sees -infinity and average pooling zeros that count (so the divisor is always KH KW).
OH = floor((H + 2 PH - KH) / SH) + 1. Of equal maxima the first in row order wins; NaN counts as larger than any number.
The padding is at most half a window, so every window holds a real cell.

Shapes   x, dx (N, H, W, C)    y, dy (N, OH, OW, C)    cell (N, OH, OW, C), the winner's r * W + q
         size, stride, padding: (vertical, horizontal) pairs; image = (H, W)
Source   deck 002, "U-Net" (max pooling in the U-Net); Ronneberger et al., U-Net, 2015
"""

import numpy as np

from ._cuda import C_NAMES, blocks, contiguous, empty, i32, launch, zeros
from ._cuda_channels import over_channels
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, choose, floats


def pooled_length(n, size, stride, padding):
    """How many windows fit along an axis of n cells."""
    return (n + 2 * padding - size) // stride + 1


def _pooled_shape(x, size, stride, padding):
    n, h, w, c = x.shape
    return n, pooled_length(h, size[0], stride[0], padding[0]), pooled_length(w, size[1], stride[1], padding[1]), c


# ---------------------------------------------------------------- NumPy: the definition


def max_pool2d_numpy(x, size, stride, padding):
    """y and cell."""
    _, h, w, _ = x.shape
    windows = _windows(x, size, stride, padding, constant_values=-np.inf)
    # A padding cell wins only where all are -infinity; it then stands for the nearest real cell of its window.
    cells = np.arange(h * w).reshape(1, h, w, 1)
    cells = np.broadcast_to(_windows(cells, size, stride, padding, mode="edge"), windows.shape)
    winner = windows.argmax(axis=-1, keepdims=True)
    cell = np.take_along_axis(cells, winner, axis=-1)[..., 0]
    return np.take_along_axis(windows, winner, axis=-1)[..., 0], cell.astype(np.int32)


def max_pool2d_grad_numpy(dy, cell, image):
    """dx (N, *image, C); windows that overlap may have had the same winner."""
    n, _, _, c = dy.shape
    dx = np.zeros((n, image[0] * image[1], c), dy.dtype)
    np.add.at(dx, (np.arange(n).reshape(-1, 1, 1, 1), cell, np.arange(c)), dy)
    return dx.reshape(n, *image, c)


def avg_pool2d_numpy(x, size, stride, padding):
    """y: every place of the window counts alike, padding as 0."""
    return _windows(x, size, stride, padding).mean(axis=-1, dtype=np.float64).astype(x.dtype)


def avg_pool2d_grad_numpy(dy, image, size, stride, padding):
    """dx (N, *image, C): one slice of it for every place in the window."""
    n, oh, ow, c = dy.shape
    dx = np.zeros((n, image[0] + 2 * padding[0], image[1] + 2 * padding[1], c), dy.dtype)
    for r in range(size[0]):
        for q in range(size[1]):
            dx[:, r : r + oh * stride[0] : stride[0], q : q + ow * stride[1] : stride[1]] += dy / (size[0] * size[1])
    return dx[:, padding[0] : padding[0] + image[0], padding[1] : padding[1] + image[1]]


def _windows(x, size, stride, padding, **how):
    """(N, OH, OW, C, KH * KW): the cells of every window, in row order."""
    padded = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)), **how)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    return windows.reshape(*windows.shape[:4], size[0] * size[1])


# ---------------------------------------------------------------- Numba: one task a sample, inner loops over channels


def max_pool2d_numba(x, size, stride, padding):
    """y and cell, without a copy of the windows."""
    shape = _pooled_shape(x, size, stride, padding)
    y, cell = aligned(shape, x.dtype), aligned(shape, np.int32)
    parallel(len(x), max_pool2d_samples, x, size, stride, padding, y, cell)
    return y, cell


def max_pool2d_grad_numba(dy, cell, image):
    """dx. One thread has all of a sample, so no two add to the same cell."""
    dx = np.zeros((len(dy), image[0] * image[1], dy.shape[3]), dy.dtype)
    parallel(len(dy), max_pool2d_grad_samples, dy, cell, dx)
    return dx.reshape(len(dy), *image, dy.shape[3])


def avg_pool2d_numba(x, size, stride, padding):
    """y, without a copy of the windows; sums in float64."""
    y = aligned(_pooled_shape(x, size, stride, padding), x.dtype)
    parallel(len(x), avg_pool2d_samples, x, size, stride, padding, y)
    return y


def avg_pool2d_grad_numba(dy, image, size, stride, padding):
    """dx. One thread has all of a sample, so no two add to the same cell."""
    dx = np.zeros((len(dy), *image, dy.shape[3]), dy.dtype)
    parallel(len(dy), avg_pool2d_grad_samples, dy, size, stride, padding, dx)
    return dx


@jit
def window(i, size, stride, padding, n):
    """First real cell of window i along an axis of n cells, and the one after its last."""
    start = i * stride - padding
    return max(start, 0), min(start + size, n)


@jit
def max_pool2d_samples(first, last, x, size, stride, padding, y, cell):
    """y and cell of the samples first..last."""
    _, h, w, c = x.shape
    for i in range(first, last):
        for row in range(y.shape[1]):
            top, bottom = window(row, size[0], stride[0], padding[0], h)
            for column in range(y.shape[2]):
                left, right = window(column, size[1], stride[1], padding[1], w)
                for k in range(c):
                    y[i, row, column, k], cell[i, row, column, k] = x[i, top, left, k], top * w + left
                for r in range(top, bottom):
                    for q in range(left, right):
                        for k in range(c):
                            best, candidate = y[i, row, column, k], x[i, r, q, k]
                            # not (a <= b) is a > b, or that one of them is NaN; a NaN already held stays
                            better = not (candidate <= best) and best == best
                            y[i, row, column, k] = candidate if better else best
                            cell[i, row, column, k] = np.int32(r * w + q) if better else cell[i, row, column, k]


@jit
def max_pool2d_grad_samples(first, last, dy, cell, dx):
    for i in range(first, last):
        for row in range(dy.shape[1]):
            for column in range(dy.shape[2]):
                for k in range(dy.shape[3]):
                    dx[i, cell[i, row, column, k], k] += dy[i, row, column, k]


@jit
def avg_pool2d_samples(first, last, x, size, stride, padding, y):
    """y of the samples first..last; an area counts padding too."""
    _, h, w, c = x.shape
    total, area = np.empty(c), size[0] * size[1]
    for i in range(first, last):
        for row in range(y.shape[1]):
            top, bottom = window(row, size[0], stride[0], padding[0], h)
            for column in range(y.shape[2]):
                left, right = window(column, size[1], stride[1], padding[1], w)
                for k in range(c):
                    total[k] = 0
                for r in range(top, bottom):
                    for q in range(left, right):
                        for k in range(c):
                            total[k] += x[i, r, q, k]
                for k in range(c):
                    y[i, row, column, k] = total[k] / area


@jit
def avg_pool2d_grad_samples(first, last, dy, size, stride, padding, dx):
    """dx of the samples first..last."""
    _, h, w, c = dx.shape
    share = dx.dtype.type(1 / (size[0] * size[1]))
    for i in range(first, last):
        for row in range(dy.shape[1]):
            top, bottom = window(row, size[0], stride[0], padding[0], h)
            for column in range(dy.shape[2]):
                left, right = window(column, size[1], stride[1], padding[1], w)
                for r in range(top, bottom):
                    for q in range(left, right):
                        for k in range(c):
                            dx[i, r, q, k] += dy[i, row, column, k] * share


# ---------------------------------------------------------------- CUDA: one thread a result, or four channels of it


def max_pool2d_cuda(x, size, stride, padding, version=None):
    """version 1: a thread a result; 2: four channels of it (float32 only)."""
    (x,), shape = floats("max_pool2d", x=x), _pooled_shape(x, size, stride, padding)
    y, cell = empty(shape, like=x), empty(shape, like=x, dtype=np.int32)
    numbers = *x.shape, *shape[1:3], *size, *stride, *padding
    over_channels(__file__, "max_pool2d", version, (x, y, cell), y, numbers)
    return y, cell


def max_pool2d_grad_cuda(dy, cell, image, version=None):
    """One version: a thread a channel of a sample."""
    (dy,) = floats("max_pool2d_grad", dy=dy)
    check_shapes("max_pool2d_grad", dy.shape, cell=cell)
    choose("max_pool2d_grad", version, {1: None})
    n, oh, ow, c = dy.shape
    dx = zeros((n, *image, c), like=dy)
    if dy.size:
        numbers = map(i32, (n, image[0] * image[1], c, oh * ow))
        args = dy, contiguous(cell, np.int32), dx, *numbers
        launch(__file__, "max_pool2d_grad", blocks(n * c, 256), 256, args, REAL=C_NAMES[dy.dtype.name], PACK=1)
    return dx


def avg_pool2d_cuda(x, size, stride, padding, version=None):
    """Versions as in max_pool2d_cuda."""
    (x,), shape = floats("avg_pool2d", x=x), _pooled_shape(x, size, stride, padding)
    y, numbers = empty(shape, like=x), (*x.shape, *shape[1:3], *size, *stride, *padding)
    return over_channels(__file__, "avg_pool2d", version, (x, y), y, numbers)


def avg_pool2d_grad_cuda(dy, image, size, stride, padding, version=None):
    """version 1: a thread a number of dx; 2: four channels (float32 only)."""
    (dy,) = floats("avg_pool2d_grad", dy=dy)
    n, oh, ow, c = dy.shape
    check_shapes("avg_pool2d_grad", (n, *map(pooled_length, image, size, stride, padding), c), dy=dy)
    dx, numbers = empty((n, *image, c), like=dy), (n, *image, c, oh, ow, *size, *stride, *padding)
    return over_channels(__file__, "avg_pool2d_grad", version, (dy, dx), dx, numbers)
