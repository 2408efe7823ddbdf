"""Filters turned round, for the transposes of convolutions and layers, which go from results back to inputs.

    turned(w)[i, j, k, c] = w[KH - 1 - i, KW - 1 - j, c, k]        a layer's W is one such position: turned(W) = W^T

A product reads the rows of what it is given; the columns of a large matrix, read one by one, would be a cache line for
every number. So the matrix is copied, square by square.

Shapes   w (KH, KW, C, K) -> (KH, KW, K, C)
"""

import numpy as np

from ._memory import aligned
from ._numba import jit, numba
from ._threads import parallel
from .simd.vector import transpose_square

if numba is not None:
    from .simd.vector import LANES

ROWS = 16  # of a strip


def turned(w):
    """The filters turned by 180 degrees, input and output channels exchanged: (KH, KW, C, K) -> (KH, KW, K, C)."""
    kh, kw, c, k = w.shape
    result = aligned((kh * kw, k, c), w.dtype)
    strips = -(-c // ROWS)
    turn = turn_squares if fits_squares(w) else turn_numbers
    parallel(kh * kw * strips, turn, w.reshape(kh * kw, c, k), strips, result, grain=1 + 2**15 // max(ROWS * k, 1))
    return result.reshape(kh, kw, k, c)


def fits_squares(w):
    """Whether the channels of w make up squares of LANES x LANES numbers, each of which is turned in registers."""
    return w.dtype == np.float32 and w.shape[2] % LANES == w.shape[3] % LANES == 0


@jit
def turn_numbers(first, last, w, strips, result):
    """result[i] = w[-1 - i]^T of the strips first..last, each ROWS rows of one position, square by square."""
    _, c, k = w.shape
    for task in range(first, last):
        position, c0 = task // strips, task % strips * ROWS
        source, target = w[len(w) - 1 - position], result[position]
        for k0 in range(0, k, 16):
            for b in range(k0, min(k0 + 16, k)):
                for a in range(c0, min(c0 + ROWS, c)):
                    target[b, a] = source[a, b]


@jit
def turn_squares(first, last, w, strips, result):
    """The same for channels that are multiples of LANES: a square is transposed in registers."""
    _, c, k = w.shape
    for task in range(first, last):
        position, top = task // strips, task % strips * ROWS
        source, target = w[len(w) - 1 - position].ctypes.data, result[position].ctypes.data
        for c0 in range(top, min(top + ROWS, c), LANES):
            for k0 in range(0, k, LANES):
                transpose_square(source + 4 * (c0 * k + k0), 4 * k, target + 4 * (k0 * c + c0), 4 * c)
