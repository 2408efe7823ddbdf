"""Convolution as one matrix product (im2col): the window of every output pixel is written into one row.

    forward       y = rows @ w                                    rows (P Q, KH KW C)   w (KH KW C, K)   y (P Q, K)
    input grad    rows = dy @ w^T, every row of it added to the window it belongs to
    weight grad   dw = rows^T @ dy

Channels last makes a row a few plain copies: the KW pixels under one line of the window are adjacent. The samples are
shared over the threads, and a thread makes no more rows at a time than stay in its cache. Under a 1x1 window the pixels
are the rows already, and the convolution is a linear layer (linear.py).

Shapes   as in conv.py, without groups; any dtype
Source   Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks for Document Processing, 2006
"""

import numpy as np

from ._memory import aligned, scratch
from ._numba import jit
from ._threads import get_num_threads, parallel, shares
from .linear import linear_grad_numba, linear_numba
from .matmul import single_threaded_blas
from .turned import turned

ROWS_BYTES = 1 << 20  # rows of one block of samples: about what stays in a core's L2 cache between writing and use
NARROW = 8  # fewer channels than this are copied one by one


def im2col_numba(x, w, bias, size, stride, padding, dilation):
    """y: windows gathered, or pixels spread where that makes shorter rows."""
    if is_pointwise(w.shape, stride, padding) and (bias is None or bias.ndim == 1):
        bias = np.zeros(w.shape[3], w.dtype) if bias is None else bias
        return linear_numba(rows_of(x), w[0, 0], bias).reshape(len(x), *size, w.shape[3])
    if better_turned(w.shape, stride, padding, dilation):
        y = spread_rows(x, turned(w), size, stride, turned_padding(w.shape, padding), dilation)
        return y if bias is None else y + bias.reshape(-1, 1, 1, w.shape[3])
    return gather_rows(x, w, bias, size, stride, padding, dilation)


def im2col_input_grad_numba(dy, w, size, stride, padding, dilation):
    """dx: pixels spread, or windows gathered where that makes shorter rows."""
    if is_pointwise(w.shape, stride, padding):
        dx, _, _ = linear_grad_numba(rows_of(dy), None, w[0, 0], (True, False, False))
        return dx.reshape(len(dy), *size, w.shape[2])
    if better_turned(w.shape, stride, padding, dilation):
        return gather_rows(dy, turned(w), None, size, stride, turned_padding(w.shape, padding), dilation)
    return spread_rows(dy, w, size, stride, padding, dilation)


def im2col_weight_grad_numba(x, dy, window, stride, padding, dilation):
    """dw, from windows of x, or of dy where those make shorter rows."""
    shape = (*window, x.shape[3], dy.shape[3])
    if is_pointwise(shape, stride, padding):
        return linear_grad_numba(rows_of(dy), rows_of(x), None, (False, True, False))[1].reshape(shape)
    if better_turned(shape, stride, padding, dilation):
        return turned(sum_rows(dy, x, window, stride, turned_padding(shape, padding), dilation))
    return sum_rows(x, dy, window, stride, padding, dilation)


def better_turned(w_shape, stride, padding, dilation):
    """Whether rows get shorter by turning the convolution round, which needs neighbouring pixels and fewer k than c.

    x -> y gathers windows of x (KH KW C numbers a row), y -> x spreads what each pixel sends (KH KW K numbers). With
    stride 1 either direction is a convolution with the filter turned by 180 degrees, c and k exchanged, and padding
    KH - 1 - pad, so the direction with the shorter rows can always be had.
    """
    kh, kw, c, k = w_shape
    return k < c and stride == dilation == (1, 1) and padding[0] < kh and padding[1] < kw and kh * kw > 1


def turned_padding(w_shape, padding):
    return w_shape[0] - 1 - padding[0], w_shape[1] - 1 - padding[1]


def gather_rows(x, w, bias, size, stride, padding, dilation):
    """y = rows of x's windows @ w + bias"""
    single_threaded_blas()
    y = aligned((x.shape[0], *size, w.shape[3]), x.dtype)
    parallel(len(x), forward_samples, x, w, bias, y, stride, padding, dilation)
    return y


def spread_rows(dy, w, size, stride, padding, dilation):
    """dx = dy @ w^T, every row of it added to the window it belongs to."""
    single_threaded_blas()
    dx = np.zeros((dy.shape[0], *size, w.shape[2]), dy.dtype)
    parallel(len(dy), input_grad_samples, dy, w, dx, stride, padding, dilation)
    return dx


def sum_rows(x, dy, window, stride, padding, dilation):
    """dw = (rows of x's windows)^T @ dy"""
    single_threaded_blas()
    pieces = shares(len(x), get_num_threads())
    dw = np.zeros((len(pieces), *window, x.shape[3], dy.shape[3]), x.dtype)
    parallel(len(pieces), weight_grad_pieces, pieces, x, dy, dw, stride, padding, dilation)
    return dw.sum(0)  # in the order of the pieces: the same for the same number of threads


def forward_samples(first, last, x, w, bias, y, stride, padding, dilation):
    weights, k = w.reshape(-1, w.shape[3]), w.shape[3]
    for a, b in blocks(first, last, y, weights):
        rows = window_rows(x[a:b], y.shape, w.shape, stride, padding, dilation)
        out = y[a:b].reshape(-1, k)
        np.matmul(rows, weights, out=out)
        if bias is not None:
            y[a:b] += bias if bias.ndim == 1 else bias[a:b, None, None]


def input_grad_samples(first, last, dy, w, dx, stride, padding, dilation):
    """dx of the samples first..last, as many at a time as stay in the cache."""
    weights, k = w.reshape(-1, w.shape[3]), w.shape[3]
    for a, b in blocks(first, last, dy, weights):
        g = dy[a:b].reshape(-1, k)
        rows = scratch("rows", (len(g), len(weights)), dy.dtype)
        np.matmul(g, weights.T, out=rows)
        adding = add_narrow_rows if w.shape[2] < NARROW else add_rows
        adding(rows, dx[a:b], *dy.shape[1:3], *w.shape[:2], *stride, *padding, *dilation)


def weight_grad_pieces(first, last, pieces, x, dy, dw, stride, padding, dilation):
    for piece in range(first, last):
        total = dw[piece].reshape(-1, dy.shape[3])
        product = scratch("product", total.shape, dy.dtype)
        for a, b in blocks(*pieces[piece], dy, total):
            rows = window_rows(x[a:b], dy.shape, dw.shape[1:], stride, padding, dilation)
            np.matmul(rows.T, dy[a:b].reshape(-1, dy.shape[3]), out=product)
            total += product


def blocks(first, last, y, weights):
    """Cut first..last into runs of samples whose rows fill about ROWS_BYTES."""
    per_sample = max(1, y.shape[1] * y.shape[2] * len(weights) * y.itemsize)
    step = max(1, ROWS_BYTES // per_sample)
    return [(a, min(a + step, last)) for a in range(first, last, step)]


def is_pointwise(w_shape, stride, padding):
    """A 1x1 window over every pixel: the pixels are the rows already."""
    return w_shape[:2] == (1, 1) and stride == (1, 1) and padding == (0, 0)


def rows_of(pixels):
    """(N, H, W, C) -> (N H W, C)"""
    return pixels.reshape(-1, pixels.shape[-1])


def window_rows(x, y_shape, w_shape, stride, padding, dilation):
    """(n P Q, KH KW C): the window of every output pixel as one row, in this thread's scratch memory."""
    if is_pointwise(w_shape, stride, padding):
        return rows_of(x)
    p, q = y_shape[1:3]
    rows = scratch("rows", (len(x) * p * q, w_shape[0] * w_shape[1] * x.shape[3]), x.dtype)
    copying = copy_narrow_rows if x.shape[3] < NARROW else copy_rows
    copying(x, rows, p, q, *w_shape[:2], *stride, *padding, *dilation)
    return rows


@jit
def copy_rows(x, rows, p, q, kh, kw, sh, sw, ph, pw, dh, dw):
    """One line of the window at a time: without dilation its pixels are adjacent in x as they are in the row."""
    n, height, width, c = x.shape
    lines = x.reshape(n, height, width * c)
    run = kw if dw == 1 else 1  # adjacent pixels
    for r in range(n * p * q):
        sample, top, left = r // (p * q), r // q % p * sh - ph, r % q * sw - pw
        for i in range(kh):
            for j in range(0, kw, run):
                first, last = seen(top + i * dh, height, left + j * dw, width, run)
                row = rows[r, (i * kw + j) * c : (i * kw + j + run) * c]
                if last - first < run:
                    row[:] = 0
                if first < last:
                    v = left + j * dw
                    copy(lines[sample, top + i * dh, (v + first) * c : (v + last) * c], row[first * c : last * c])


@jit
def add_rows(rows, x, p, q, kh, kw, sh, sw, ph, pw, dh, dw):
    """The transpose of copy_rows: every entry of a row is added to the pixel it was copied from."""
    n, height, width, c = x.shape
    lines = x.reshape(n, height, width * c)
    run = kw if dw == 1 else 1
    for r in range(n * p * q):
        sample, top, left = r // (p * q), r // q % p * sh - ph, r % q * sw - pw
        for i in range(kh):
            for j in range(0, kw, run):
                first, last = seen(top + i * dh, height, left + j * dw, width, run)
                if first < last:
                    v, at = left + j * dw, i * kw + j
                    row = rows[r, (at + first) * c : (at + last) * c]
                    add(row, lines[sample, top + i * dh, (v + first) * c : (v + last) * c])


@jit
def copy_narrow_rows(x, rows, p, q, kh, kw, sh, sw, ph, pw, dh, dw):
    """copy_rows for few channels: number by number, as pieces so short are not worth cutting out."""
    n, height, width, c = x.shape
    for line in range(n * p):
        sample, top = line // p, line % p * sh - ph
        for column in range(q):
            row, left = rows[line * q + column], column * sw - pw
            for i in range(kh):
                h = top + i * dh
                for j in range(kw):
                    v, at = left + j * dw, (i * kw + j) * c
                    inside = 0 <= h < height and 0 <= v < width
                    for a in range(c):
                        row[at + a] = x[sample, h, v, a] if inside else 0


@jit
def add_narrow_rows(rows, x, p, q, kh, kw, sh, sw, ph, pw, dh, dw):
    """add_rows for few channels."""
    n, height, width, c = x.shape
    for line in range(n * p):
        sample, top = line // p, line % p * sh - ph
        for column in range(q):
            row, left = rows[line * q + column], column * sw - pw
            for i in range(kh):
                h = top + i * dh
                for j in range(kw):
                    v, at = left + j * dw, (i * kw + j) * c
                    if 0 <= h < height and 0 <= v < width:
                        for a in range(c):
                            x[sample, h, v, a] += row[at + a]


@jit
def seen(h, height, v, width, run):
    """Of the pixels v, ..., v + run - 1 in line h: from which to which (exclusive) they lie inside the image."""
    return (max(0, -v), min(run, width - v)) if 0 <= h < height else (0, 0)


@jit
def copy(source, target):
    for k in range(len(target)):
        target[k] = source[k]


@jit
def add(source, target):
    for k in range(len(target)):
        target[k] += source[k]
