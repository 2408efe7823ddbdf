"""Convolution in two dimensions and its two gradients: three products that are one another's transposes.

    forward       y[n,p,q,k]  = r[n,p,q,k] + b[n,k] + sum_{i,j,c} x[n, p s + i d - pad, q s + j d - pad, c] w[i,j,c,k]
    input grad    dx          = the transpose of x -> y: every dy[n,p,q] is spread over the window it came from
    weight grad   dw[i,j,c,k] = sum_{n,p,q} x[n, p s + i d - pad, q s + j d - pad, c] dy[n,p,q,k]

with stride s, dilation d, zeros outside x, and sums over the channels c of k's own group. The bias may be one for all
samples or one for each: a network that tells its layers the noise level adds it there. The residual r, where there is
one, is what the block that ends with this convolution adds its result to.

For one window position (i, j) this is a matrix product of pixels with w[i,j]: the NumPy definition is
a loop over window positions. The fast route (im2col) writes the window of every output pixel into one
row, so that all positions together are one matrix product:

    rows (P Q, KH KW C)  @  w (KH KW C, K)  =  y (P Q, K)

Channels last makes a row a few plain copies: the KW pixels under one line of the window are adjacent.

Shapes   x (N, H, W, C)   w (KH, KW, C / groups, K)   b (K,) or (N, K)   y, r (N, P, Q, K)
         P = (H + 2 pad - d (KH - 1) - 1) // s + 1, Q likewise
         stride, padding, dilation: (vertical, horizontal)
Source   Dumoulin and Visin, A guide to convolution arithmetic, 2016; Chellapilla et al. 2006 (im2col);
         deck 000, "Deep Convolutional (DC) GAN"
"""

import numpy as np

from ._memory import scratch
from ._numba import jit
from ._threads import get_num_threads, parallel, shares
from .arithmetic import add_numba
from .matmul import single_threaded_blas
from .winograd import fits, turned, winograd_input_grad_numba, winograd_numba, winograd_weight_grad_numba

# ---------------------------------------- NumPy: a loop over window positions


def conv2d_numpy(x, w, bias, stride, padding, dilation, groups, residual=None):
    y = np.zeros((x.shape[0], *output_size(x.shape, w.shape, stride, padding, dilation), w.shape[3]), x.dtype)
    padded = _pad(x, padding)
    for i, j, xg, wg, yg in _positions_and_groups(padded, w, y, stride, dilation, groups):
        yg += xg @ wg[i, j]
    y = y if bias is None else y + bias.reshape(-1, 1, 1, w.shape[3])
    return y if residual is None else y + residual


def conv2d_input_grad_numpy(dy, w, size, stride, padding, dilation, groups):
    padded = np.zeros((dy.shape[0], size[0] + 2 * padding[0], size[1] + 2 * padding[1], w.shape[2] * groups), dy.dtype)
    for i, j, dxg, wg, dyg in _positions_and_groups(padded, w, dy, stride, dilation, groups):
        dxg += dyg @ wg[i, j].T
    return np.ascontiguousarray(padded[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]])


def conv2d_weight_grad_numpy(x, dy, window, stride, padding, dilation, groups):
    dw = np.zeros((*window, x.shape[3] // groups, dy.shape[3]), x.dtype)
    padded = _pad(x, padding)
    for i, j, xg, dwg, dyg in _positions_and_groups(padded, dw, dy, stride, dilation, groups):
        dwg[i, j] += np.tensordot(xg, dyg, axes=([0, 1, 2], [0, 1, 2]))
    return dw


def _positions_and_groups(padded, w, y, stride, dilation, groups):
    """(i, j, what x shows at that window position, w, y) for every window position and every group, as views."""
    (sh, sw), (p, q) = stride, y.shape[1:3]
    c, k = padded.shape[3] // groups, y.shape[3] // groups
    for i, j in np.ndindex(w.shape[:2]):
        top, left = i * dilation[0], j * dilation[1]
        seen = padded[:, top : top + sh * (p - 1) + 1 : sh, left : left + sw * (q - 1) + 1 : sw]
        for g in range(groups):
            out = slice(g * k, (g + 1) * k)
            yield i, j, seen[..., g * c : (g + 1) * c], w[..., out], y[..., out]


def _pad(x, padding):
    return np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))


def output_size(x_shape, w_shape, stride, padding, dilation):
    """(P, Q) for an input (N, H, W, C) and weights (KH, KW, ...)."""
    return tuple(
        (x_shape[a + 1] + 2 * padding[a] - dilation[a] * (w_shape[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    )


# ---------------------------------------- CPU: im2col rows, one product; samples shared over threads
# (3x3 in float32 with enough channels goes to winograd.py, which needs a quarter of the multiplications.)

ROWS_BYTES = 1 << 20  # rows of one block of samples: about what stays in a core's L2 cache between writing and use


def conv2d_numba(x, w, bias, stride, padding, dilation, groups, residual=None):
    size = output_size(x.shape, w.shape, stride, padding, dilation)
    if fits(x.dtype, w.shape, size, stride, padding, dilation, groups):
        return winograd_numba(x, w, bias, padding, residual)
    if residual is not None:
        return add_numba(conv2d_numba(x, w, bias, stride, padding, dilation, groups), residual)
    if groups > 1:
        parts = zip(split(x, groups), split(w, groups), split(bias, groups))
        return np.concatenate([conv2d_numba(*part, stride, padding, dilation, 1) for part in parts], axis=3)
    if better_turned(w.shape, stride, padding, dilation):
        y = spread_rows(x, turned(w), size, stride, turned_padding(w.shape, padding), dilation)
        return y if bias is None else y + bias.reshape(-1, 1, 1, w.shape[3])
    return gather_rows(x, w, bias, size, stride, padding, dilation)


def conv2d_input_grad_numba(dy, w, size, stride, padding, dilation, groups):
    if fits(dy.dtype, w.shape, size, stride, padding, dilation, groups):
        return winograd_input_grad_numba(dy, w, padding)
    if groups > 1:
        parts = zip(split(dy, groups), split(w, groups))
        return np.concatenate(
            [conv2d_input_grad_numba(*part, size, stride, padding, dilation, 1) for part in parts], axis=3
        )
    if better_turned(w.shape, stride, padding, dilation):
        return gather_rows(dy, turned(w), None, size, stride, turned_padding(w.shape, padding), dilation)
    return spread_rows(dy, w, size, stride, padding, dilation)


def conv2d_weight_grad_numba(x, dy, window, stride, padding, dilation, groups):
    if fits(x.dtype, (*window, x.shape[3], dy.shape[3]), dy.shape[1:3], stride, padding, dilation, groups):
        return winograd_weight_grad_numba(x, dy, padding)
    if groups > 1:
        parts = zip(split(x, groups), split(dy, groups))
        return np.concatenate(
            [conv2d_weight_grad_numba(*part, window, stride, padding, dilation, 1) for part in parts], axis=3
        )
    shape = (*window, x.shape[3], dy.shape[3])
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
    y = np.empty((x.shape[0], *size, w.shape[3]), x.dtype)
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


def split(a, groups):
    """The channels of each group as arrays of their own; None for every group where there is no bias."""
    return [None] * groups if a is None else [np.ascontiguousarray(part) for part in np.split(a, groups, axis=-1)]


def forward_samples(first, last, x, w, bias, y, stride, padding, dilation):
    weights, k = w.reshape(-1, w.shape[3]), w.shape[3]
    for a, b in blocks(first, last, y, weights):
        rows = window_rows(x[a:b], y.shape, w.shape, stride, padding, dilation)
        out = y[a:b].reshape(-1, k)
        np.matmul(rows, weights, out=out)
        if bias is not None:
            y[a:b] += bias if bias.ndim == 1 else bias[a:b, None, None]


def input_grad_samples(first, last, dy, w, dx, stride, padding, dilation):
    weights, k = w.reshape(-1, w.shape[3]), w.shape[3]
    for a, b in blocks(first, last, dy, weights):
        g = dy[a:b].reshape(-1, k)
        if is_pointwise(w.shape, stride, padding):
            np.matmul(g, weights.T, out=dx[a:b].reshape(-1, w.shape[2]))
            continue
        rows = scratch("rows", (len(g), len(weights)), dy.dtype)
        np.matmul(g, weights.T, out=rows)
        add_rows(rows, dx[a:b], *dy.shape[1:3], *w.shape[:2], *stride, *padding, *dilation)


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


def window_rows(x, y_shape, w_shape, stride, padding, dilation):
    """(n P Q, KH KW C): the window of every output pixel as one row, in this thread's scratch memory."""
    if is_pointwise(w_shape, stride, padding):
        return x.reshape(-1, x.shape[3])
    p, q = y_shape[1:3]
    rows = scratch("rows", (len(x) * p * q, w_shape[0] * w_shape[1] * x.shape[3]), x.dtype)
    copy_rows(x, rows, p, q, *w_shape[:2], *stride, *padding, *dilation)
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


# ---------------------------------------- CUDA: implicit GEMM, one block a tile of y; conv.cu is to come
