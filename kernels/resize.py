"""Resizing images: every pixel of the result is a weighted sum of at most two rows by two columns of x.

    y[n, i, j, c] = sum over taps u, v of  row_weight[u, i] column_weight[v, j] x[n, row[u, i], column[v, j], c]

The pixel i of OH lies at  s = (i + 1/2) H / OH - 1/2  of x: pixels are little squares, and both images cover
the same square (half-pixel centres).

    nearest     one tap: the pixel that s + 1/2 falls into, of weight 1
    bilinear    two taps: floor(s) of weight 1 - f and floor(s) + 1 of weight f = s - floor(s); s limited to [0, H - 1]

Both are linear in x, so the backward is the transpose: the same taps, read from dy and added into dx.

Shapes   x, dx (N, H, W, C)    y, dy (N, OH, OW, C)    size: (OH, OW) forward, (H, W) backward
         index, weight of an axis (taps, length of the result)
Source   torch's F.interpolate: mode="nearest-exact"; mode="bilinear", align_corners=False, antialias=False
"""

import numpy as np

from ._cuda import empty, i32
from ._cuda_channels import over_channels
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from ._versions import floats


def nearest_taps(n_in, n_out):
    """Exact in integers: floor((i + 1/2) n_in / n_out)."""
    index = (2 * np.arange(n_out) + 1) * n_in // (2 * n_out)
    return index[None], np.ones((1, n_out))


def bilinear_taps(n_in, n_out):
    """The pixels on either side of s; at the edges both are the same."""
    s = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    low = np.floor(s).astype(np.int64)
    return np.stack([low, np.minimum(low + 1, n_in - 1)]), np.stack([1 - (s - low), s - low])


TAPS = {"nearest": nearest_taps, "bilinear": bilinear_taps}


def _taps(mode, image, result, dtype):
    """Row indices, row weights, column indices, column weights, from an image of (H, W) to a result of (OH, OW)."""
    (row, row_weight), (column, column_weight) = (TAPS[mode](n_in, n_out) for n_in, n_out in zip(image, result))
    return row, row_weight.astype(dtype), column, column_weight.astype(dtype)


# ---------------------------------------------------------------- NumPy: the definition


def resize_numpy(x, size, mode):
    """y: for each pair of taps, the pixels of x that all results read."""
    y = np.zeros((len(x), *size, x.shape[3]), x.dtype)
    for row, column, weight in _tap_pairs(*_taps(mode, x.shape[1:3], size, x.dtype)):
        y += weight * x[:, row, column]
    return y


def resize_grad_numpy(dy, size, mode):
    """dx; np.add.at adds to a pixel as often as it was read."""
    dx = np.zeros((len(dy), *size, dy.shape[3]), dy.dtype)
    for row, column, weight in _tap_pairs(*_taps(mode, size, dy.shape[1:3], dy.dtype)):
        np.add.at(dx, (slice(None), row, column), weight * dy)
    return dx


def _tap_pairs(row, row_weight, column, column_weight):
    """For each pair of taps: row indices (OH, 1), column indices (OW,), weights (OH, OW, 1)."""
    for r, a in zip(row, row_weight):
        for q, b in zip(column, column_weight):
            yield r[:, None], q, (a[:, None] * b)[:, :, None]


# ---------------------------------------------------------------- Numba: one task a sample, inner loops over channels


def resize_numba(x, size, mode):
    """y, straight from x: no pair of taps has an array of its own."""
    y = aligned((len(x), *size, x.shape[3]), x.dtype)
    parallel(len(x), resize_samples, x, *_taps(mode, x.shape[1:3], size, x.dtype), y)
    return y


def resize_grad_numba(dy, size, mode):
    """dx. One thread has all of a sample, so no two add to the same pixel."""
    dx = aligned((len(dy), *size, dy.shape[3]), dy.dtype)
    parallel(len(dy), resize_grad_samples, dy, *_taps(mode, size, dy.shape[1:3], dy.dtype), dx)
    return dx


@jit
def resize_samples(first, last, x, row, row_weight, column, column_weight, y):
    """y, samples first..last: the sum of what each pair of taps reads."""
    for n in range(first, last):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[n, i, j, :] = 0
                for u in range(len(row)):
                    for v in range(len(column)):
                        r, q, weight = row[u, i], column[v, j], row_weight[u, i] * column_weight[v, j]
                        for k in range(y.shape[3]):
                            y[n, i, j, k] += weight * x[n, r, q, k]


@jit
def resize_grad_samples(first, last, dy, row, row_weight, column, column_weight, dx):
    """dx, samples first..last: to each pixel is added where a pair of taps has read it."""
    for n in range(first, last):
        dx[n] = 0
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                for u in range(len(row)):
                    for v in range(len(column)):
                        r, q, weight = row[u, i], column[v, j], row_weight[u, i] * column_weight[v, j]
                        for k in range(dy.shape[3]):
                            dx[n, r, q, k] += weight * dy[n, i, j, k]


# ---------------------------------------------------------------- CUDA: one thread a result, or four channels of it


def resize_cuda(x, size, mode, version=None):
    """version 1: a thread a result; 2: four channels of it (float32 only)."""
    n, h, w, c = x.shape
    return _launch("resize", version, x, (n, *size, c), (n, h, w, c, *size), mode)


def resize_grad_cuda(dy, size, mode, version=None):
    """Versions as in resize_cuda, a thread a pixel of dx."""
    n, oh, ow, c = dy.shape
    return _launch("resize_grad", version, dy, (n, *size, c), (n, *size, c, oh, ow), mode)


def _launch(kernel, version, given, shape, numbers, mode):
    """numbers: N, H, W, C, OH, OW, of which the kernel works out its taps, in integers."""
    (given,) = floats(kernel, given=given)
    result = empty(shape, like=given)
    _, h, w, _, oh, ow = numbers
    for n_in, n_out in ((h, oh), (w, ow)):
        i32((2 * n_in + 3) * (2 * n_out + 1))  # above every numerator
    return over_channels(__file__, kernel, version, (given, result), result, numbers, MODE=mode.upper())
