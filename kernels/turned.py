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
    rows, grain = w.reshape(kh * kw, c, k), 1 + 2**15 // max(ROWS * k, 1)
    parallel(kh * kw * strips, turn_strips, rows, strips, result, grain=grain)
    return result.reshape(kh, kw, k, c)


def fits_squares(w):
    """Whether the channels of w make up squares of LANES x LANES numbers, each of which is turned in registers."""
    return w.dtype == np.float32 and w.shape[2] % LANES == w.shape[3] % LANES == 0


@jit
def turn_strips(first, last, w, strips, result):
    """result[i] = w[-1 - i]^T of the strips first..last, each ROWS rows of one position."""
    for task in range(first, last):
        position, top = task // strips, task % strips * ROWS
        source = w[len(w) - 1 - position]
        turn(source, top, min(top + ROWS, len(source)), result[position])


@jit
def turn(source, top, bottom, target):
    """target[:, top:bottom] = source[top:bottom]^T, as far as target has rows.

    float32 goes square by square through the registers, LANES x LANES numbers each; what is left, number by number.
    """
    for i in range(top, bottom, LANES):
        for j in range(0, len(target), LANES):
            if source.itemsize == 4 and i + LANES <= bottom and j + LANES <= len(target):
                transpose_square(
                    source[i:].ctypes.data + 4 * j, source.strides[0], target[j:].ctypes.data + 4 * i, target.strides[0]
                )
            else:
                for b in range(j, min(j + LANES, len(target))):
                    for a in range(i, min(i + LANES, bottom)):
                        target[b, a] = source[a, b]
