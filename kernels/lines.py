"""Convolution from or to few channels without copied windows: a line of the image, read through overlapping rows.

The KW pixels under one line of a window are KW C adjacent numbers, and the next window's begin S C numbers further on.
So a line of the image *is* the matrix that im2col (im2col.py) would copy it into; its rows overlap. With one such
matrix for each line i of the window,

    forward        y[n, p] = b + sum over i of  X[n, p S - pad + i] @ w[i]             X (Q, KW C)   w[i] (KW C, K)
    weight grad    dw[i] = sum over n, p of  X[n, p S - pad + i]^T @ dy[n, p]
    input grad     each line of the window adds  dy[n, p] @ w[i]^T  to  X[n, p S - pad + i], overlapping as it is

The micro-kernel reads such a matrix as any other, through two strides. That pays where the channels are few: there
a table of addresses (indirect.py) costs more than what it points at, and so does copying a window's numbers.

With stride 1 each pass is also one of the convolution with the filter turned by 180 degrees, C and K exchanged. So
forward and input gradient *gather* where few channels become many, and *spread* where many become few.

The KH lines under a line of windows are first copied into a strip with the padding around it. Tiles are whole: of
windows beyond the last, and of numbers beyond a window, the strip holds some, and what comes of them is left behind.

Shapes   x (N, H, W, C)   w (KH, KW, C, K)   bias (K,), (N, K) or None   y, dy (N, P, Q, K)   strip (KH, pixels C);
         float32; where few channels are gathered, K whole vectors
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
    """Whether one side has few channels, less than ROWS, and the other whole vectors of them, or is spread."""
    _, _, c, k = w_shape
    straight, around = c < ROWS, becomes_few(w_shape, stride, padding)
    gathers, turned_gathers = straight and k % LANES == 0, around and c % LANES == 0
    fitting = {
        "forward": gathers or around,
        "input grad": turned_gathers or (straight and c <= k),
        "weight grad": gathers or turned_gathers,
    }
    return dtype == np.float32 and dilation == (1, 1) and fitting[which]


def becomes_few(w_shape, stride, padding):
    """Whether y has few channels, fewer than x, and the convolution can be turned round."""
    return w_shape[3] < ROWS and better_turned(w_shape, stride, padding, (1, 1))


def lines_numba(x, w, bias, size, stride, padding):
    """y: lines gathered, or spread where many channels become few."""
    if becomes_few(w.shape, stride, padding):
        return spread_lines(x, turned(w), bias, size, stride, turned_padding(w.shape, padding))
    return gather_lines(x, w, bias, size, stride, padding)


def lines_input_grad_numba(dy, w, size, stride, padding):
    """dx: lines spread, or gathered where few channels become many."""
    if becomes_few(w.shape, stride, padding):
        return gather_lines(dy, turned(w), None, size, stride, turned_padding(w.shape, padding))
    return spread_lines(dy, w, None, size, stride, padding)


def gather_lines(x, w, bias, size, stride, padding):
    """y, of few channels."""
    kh, kw, c, k = w.shape
    y, threads = aligned((len(x), *size, k), np.float32), get_num_threads()
    bias = np.zeros((1, k), np.float32) if bias is None else bias.reshape(-1, k)
    strip = scratch("strip", (threads, kh, length_of_strip(size[1], kw, c, stride[1])), np.float32)
    line = scratch("line", (threads, rounded(size[1], ROWS), k), np.float32)
    given = x, w.reshape(kh, kw * c, k), bias, y, *stride, *padding, strip, line
    parallel(len(x) * size[0], forward_lines, *given, grain=1 + SHARE // max(size[1] * w.size, 1))
    return y


def spread_lines(dy, w, bias, size, stride, padding):
    """dx, of few channels, plus a bias: all taps of a line at once are one product."""
    kh, kw, c, k = w.shape
    dx, threads = aligned((len(dy), *size, c), np.float32), get_num_threads()
    bias = np.zeros((1, c), np.float32) if bias is None else bias.reshape(-1, c)
    taps = np.zeros((k, rounded(kh * kw * c, LANES)), np.float32)
    taps[:, : kh * kw * c] = w.reshape(-1, k).T
    strip = scratch("strip", (threads, 1, rounded(dy.shape[2], ROWS) * k), np.float32)
    rows = scratch("rows", (threads, rounded(dy.shape[2], ROWS), taps.shape[1]), np.float32)
    parallel(len(dy), spread_samples, dy, taps, bias, dx, kh, kw * c, *stride, *padding, strip, rows)
    return dx


def lines_weight_grad_numba(x, dy, window, stride, padding):
    """dw: from lines of x, or of dy where those have fewer channels."""
    shape = (*window, x.shape[3], dy.shape[3])
    if x.shape[3] < ROWS and dy.shape[3] % LANES == 0:
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
        fill_strip(x, 1, n, top * sh - ph, -pw, strip)
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
def spread_samples(me, first, last, dy, taps, bias, dx, kh, length, sh, sw, ph, pw, strip, rows):
    """dx of the samples first..last: a line of dy times all taps, `length` of which lie under a line of the window.
    strip, rows: scratch, a part a thread."""
    strip, rows = strip[me], rows[me]
    (_, height, width, c), (_, p, q, k) = dx.shape, dy.shape
    for n in range(first, last):
        sample, offset = dx[n].reshape(height * width, c), bias[min(n, len(bias) - 1)]
        for pixel in range(len(sample)):
            for channel in range(c):
                sample[pixel, channel] = offset[channel]
        for top in range(p):
            fill_strip(dy, 1, n, top, 0, strip)
            product(
                strip.ctypes.data, 4 * k, 4, taps.ctypes.data, taps.strides[0], rows.ctypes.data, rows.strides[0],
                q, taps.shape[1], k, False, taps.ctypes.data,
            )  # fmt: skip
            for i in range(max(0, ph - top * sh), min(kh, height + ph - top * sh)):
                line = dx[n, top * sh - ph + i].reshape(width * c)
                for tap in range(length):  # of which each window adds to the number window * step + begin, if that is
                    begin, step = tap - pw * c, sw * c
                    left, right = max(0, (step - 1 - begin) // step), min(q, (len(line) - 1 - begin) // step + 1)
                    source, target = rows[left:right, i * length + tap], line[begin + left * step :: step]
                    for at in range(len(source)):
                        target[at] += source[at]


@jit
def sum_pieces(me, first, last, pieces, x, dy, sums, of_sample, sh, sw, ph, pw, strip):
    """sums[piece] = dw of a piece of the samples, each summed apart: of thousands of lines, the sum is long."""
    strip, c, (_, p, q, k) = strip[me], x.shape[3], dy.shape
    for piece in range(first, last):
        total, part = sums[piece].reshape(sums[piece].size), of_sample[piece]
        for n in range(pieces[piece, 0], pieces[piece, 1]):
            for top in range(p):
                fill_strip(x, 1, n, top * sh - ph, -pw, strip)
                for i in range(len(part)):
                    product(
                        strip[i].ctypes.data, 4, 4 * c * sw, dy[n, top].ctypes.data, 4 * k,
                        part[i].ctypes.data, 4 * k, part.shape[1], k, q, top > 0, dy[n, top].ctypes.data,
                    )  # fmt: skip
            numbers = part.reshape(part.size)
            for at in range(len(total) if p else 0):
                total[at] += numbers[at]
