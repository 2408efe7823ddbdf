"""Convolution of few channels without copied windows: a line of the image, read through overlapping rows.

The KW pixels under one line of a window are KW C adjacent numbers, and the next window's begin S C numbers further on.
So a line of the image *is* the matrix that im2col (im2col.py) would copy it into; its rows overlap. With one such
matrix for each line i of the window,

    forward        y[n, p] = b + sum over i of  X[n, p S - pad + i] @ w[i]             X (Q, KW C)   w[i] (KW C, K)
    weight grad    dw[i] = sum over n, p of  X[n, p S - pad + i]^T @ dy[n, p]
    input grad     with stride 1 the convolution of dy with the filter turned by 180 degrees, C and K exchanged

The micro-kernel reads such a matrix as any other, through two strides. That pays where the channels are few: there
a table of addresses (indirect.py) costs more than what it points at, and so does copying a window's numbers.

The KH lines under a line of windows are first copied into a strip with the padding around it. Tiles are whole: of
windows beyond the last, and of numbers beyond a window, the strip holds some, and what comes of them is left behind.

Shapes   x (N, H, W, C)   w (KH, KW, C, K)   bias (K,), (N, K) or None   y, dy (N, P, Q, K)   strip (KH, pixels C);
         float32, K whole vectors
"""

import numpy as np

from ._memory import aligned, scratch
from ._numba import jit, numba
from ._threads import get_num_threads, parallel, shares
from .im2col import better_turned, turned_padding
from .simd.gemm import ROWS, product, product_from, rounded
from .turned import turned
from .winograd_tiles import fill_strip

if numba is not None:
    from .simd.vector import LANES

SHARE = 1 << 17  # multiplications that are worth a share


def fits_lines(which, dtype, w_shape, stride, padding, dilation):
    """Whether a pass goes from few channels, less than ROWS, to whole vectors of them, as it is or turned round."""
    _, _, c, k = w_shape
    straight = c < ROWS and k % LANES == 0
    around = k < ROWS and c % LANES == 0 and better_turned(w_shape, stride, padding, dilation)
    fitting = {"forward": straight, "input grad": around, "weight grad": straight or around}
    return dtype == np.float32 and dilation == (1, 1) and fitting[which]


def lines_numba(x, w, bias, size, stride, padding):
    """y."""
    kh, kw, c, k = w.shape
    y, threads = aligned((len(x), *size, k), np.float32), get_num_threads()
    bias = np.zeros((1, k), np.float32) if bias is None else bias.reshape(-1, k)
    strip = scratch("strip", (threads, kh, length_of_strip(size[1], kw, c, stride[1])), np.float32)
    line = scratch("line", (threads, rounded(size[1], ROWS), k), np.float32)
    given = x, w.reshape(kh, kw * c, k), bias, y, *stride, *padding, strip, line
    parallel(len(x) * size[0], forward_lines, *given, grain=1 + SHARE // max(size[1] * w.size, 1))
    return y


def lines_input_grad_numba(dy, w, size, padding):
    """dx."""
    return lines_numba(dy, turned(w), None, size, (1, 1), turned_padding(w.shape, padding))


def lines_weight_grad_numba(x, dy, window, stride, padding):
    """dw: from lines of x, or of dy where those have fewer channels."""
    shape = (*window, x.shape[3], dy.shape[3])
    if x.shape[3] < dy.shape[3]:
        return sum_lines(x, dy, window, stride, padding)
    return turned(sum_lines(dy, x, window, stride, turned_padding(shape, padding)))


def sum_lines(x, dy, window, stride, padding):
    """dw: a thread sums over a piece of the samples; the pieces are added afterwards, in their order."""
    (kh, kw), (c, k), threads = window, (x.shape[3], dy.shape[3]), get_num_threads()
    pieces = np.array(shares(len(x), threads))
    strip = scratch("strip", (threads, kh, length_of_strip(dy.shape[2], kw, c, stride[1])), np.float32)
    shape = len(pieces), kh, rounded(kw * c, ROWS), k
    sums, of_sample = np.zeros(shape, np.float32), scratch("sample", shape, np.float32)
    parallel(len(pieces), sum_pieces, pieces, x, dy, sums, of_sample, *stride, *padding, strip)
    return sums.sum(axis=0)[:, : kw * c].reshape(kh, kw, c, k)


def length_of_strip(windows, kw, c, stride):
    """Numbers in a line of a strip: under so many windows side by side, rounded up to whole tiles both ways."""
    return (rounded(windows, ROWS) - 1) * stride * c + rounded(kw * c, ROWS)


@jit
def forward_lines(me, first, last, x, w, bias, y, sh, sw, ph, pw, strip, line):
    """The lines first..last of all samples. strip, line: scratch, a part a thread."""
    strip, line = strip[me], line[me]
    (_, p, q, k), c = y.shape, x.shape[3]
    for task in range(first, last):
        n, top = task // p, task % p
        fill_strip(x, n, top * sh - ph, -pw, strip)
        start, start_row = bias[min(n, len(bias) - 1)].ctypes.data, 0
        for i in range(len(w)):
            product_from(
                start, start_row, strip[i].ctypes.data, 4 * c * sw, 4, w[i].ctypes.data, 4 * k,
                line.ctypes.data, 4 * k, len(line), k, w.shape[1], w[i].ctypes.data,
            )  # fmt: skip
            start, start_row = line.ctypes.data, 4 * k
        result, numbers = y[n, top].reshape(q * k), line.reshape(len(line) * k)
        for at in range(len(result)):
            result[at] = numbers[at]


@jit
def sum_pieces(me, first, last, pieces, x, dy, sums, of_sample, sh, sw, ph, pw, strip):
    """sums[piece] = dw of a piece of the samples, each summed apart: of thousands of lines, the sum is long."""
    strip, c, (_, p, q, k) = strip[me], x.shape[3], dy.shape
    for piece in range(first, last):
        total, part = sums[piece].reshape(sums[piece].size), of_sample[piece]
        for n in range(pieces[piece, 0], pieces[piece, 1]):
            for top in range(p):
                fill_strip(x, n, top * sh - ph, -pw, strip)
                for i in range(len(part)):
                    product(
                        strip[i].ctypes.data, 4, 4 * c * sw, dy[n, top].ctypes.data, 4 * k,
                        part[i].ctypes.data, 4 * k, part.shape[1], k, q, top > 0, dy[n, top].ctypes.data,
                    )  # fmt: skip
            numbers = part.reshape(part.size)
            for at in range(len(total) if p else 0):
                total[at] += numbers[at]
