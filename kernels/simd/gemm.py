"""The matrix product that everything fast is made of: C (+)= A B, a tile of C at a time, held in registers.

    for a tile of ROWS x (COLUMNS vectors) of C, here 8 x 2:        ROWS * COLUMNS registers of sums
        for k in range(depth):
            b = COLUMNS vectors of row k of B                       COLUMNS registers
            for each row i:  sum[i] += A[i, k] * b                  one broadcast, COLUMNS fused multiply-adds

Every number of A and B that is loaded takes part in COLUMNS * LANES or ROWS multiply-adds. With 8 x 2 tiles that
is 16 of them for 10 loads, so the multipliers wait for nothing; a plain triple loop loads two numbers for each.

A is read through two strides, so the same code multiplies by A^T. B's rows are contiguous.

Source   Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, TOMS 2008; BLIS, Van Zee and
         van de Geijn, TOMS 2015 (the "micro-kernel")
"""

import numpy as np

from .._numba import jit, numba
from .vector import of_integers, vectors

if numba is not None:
    from numba import types
    from numba.extending import overload

    from .vector import BYTES, LANES


def _tile(rows, columns, started):
    """A recipe for one tile of C, of so many rows x vectors of columns; if `started`, the sums begin with `start`."""

    @vectors
    def tile(v, start, start_row, a, a_row, a_step, b, b_row, c, c_row, depth):
        a_rows, c_rows, start_rows = [a], [c], [start]
        for _ in range(1, rows):
            a_rows.append(v.at(a_rows[-1], a_row))
            c_rows.append(v.at(c_rows[-1], c_row))
            start_rows.append(v.at(start_rows[-1], start_row))
        starts = [v.at(row, BYTES * j) for row in start_rows for j in range(columns)]
        sums = [v.load(place) if started else v.constant(0) for place in starts]

        def one_step(k, sums):
            across, down = v.builder.mul(k, a_step), v.at(b, v.builder.mul(k, b_row))
            row_of_b = [v.load(v.at(down, BYTES * j)) for j in range(columns)]
            following = []
            for i in range(rows):
                number = v.broadcast(v.at(a_rows[i], across))
                following += [v.fma(number, row_of_b[j], sums[i * columns + j]) for j in range(columns)]
            return following

        places = [v.at(row, BYTES * j) for row in c_rows for j in range(columns)]
        for total, place in zip(v.loop(depth, sums, one_step), places):
            v.store(total, place)

    return tile


tile_8x2, tile_8x1 = _tile(8, 2, False), _tile(8, 1, False)
started_tile_8x2, started_tile_8x1 = _tile(8, 2, True), _tile(8, 1, True)


@of_integers
def product(a, a_row, a_step, b, b_row, c, c_row, m, n, depth, accumulate):
    """C (m, n) = A B, or C += A B. Addresses, and strides in bytes; m a multiple of 8, n of LANES, depth >= 1."""
    product_from(c if accumulate else 0, c_row, a, a_row, a_step, b, b_row, c, c_row, m, n, depth)


@of_integers
def product_from(start, start_row, a, a_row, a_step, b, b_row, c, c_row, m, n, depth):
    """C = start + A B, where start is an address too, or 0 for none; with start_row 0 its one row serves all of C's."""
    for j in range(0, n * 4, 2 * BYTES):
        for i in range(0, m, 8):
            s, at, to = start + i * start_row + j, a + i * a_row, c + i * c_row + j
            if n * 4 - j >= 2 * BYTES:
                if start:
                    started_tile_8x2(s, start_row, at, a_row, a_step, b + j, b_row, to, c_row, depth)
                else:
                    tile_8x2(s, start_row, at, a_row, a_step, b + j, b_row, to, c_row, depth)
            elif start:
                started_tile_8x1(s, start_row, at, a_row, a_step, b + j, b_row, to, c_row, depth)
            else:
                tile_8x1(s, start_row, at, a_row, a_step, b + j, b_row, to, c_row, depth)


# ---------------------------------------------------------------- matrices of any size, for use inside a kernel

DEPTH = 256  # so many rows of B, 2 vectors each, stay in a core's L1 cache while all rows of A pass


@jit
def rounded(number, step):
    """The next multiple of step."""
    return (number + step - 1) // step * step


@jit
def matrix(rows, columns, dtype):
    """Zeros, with room for the whole tiles that `multiply` reads and writes.

    Rows that lie a power of two apart would share the same few cache sets: such rows are a vector longer.
    """
    columns = rounded(columns, LANES)
    return np.zeros((rounded(rows, 8), columns + LANES if columns % 128 == 0 else columns), dtype)


def multiply(a, b, c, m, n, depth, accumulate):
    """C = A B, or C += A B, of the first m x depth of A and depth x n of B.

    float32 is multiplied in whole tiles: a, b, c are of `matrix` or its transpose, and what lies in c beside the first
    m x n is overwritten.
    """


@jit
def multiply32(a, b, c, m, n, depth, accumulate):
    """In whole tiles, DEPTH rows of B at a time."""
    (a_row, a_step), (b_row, _), (c_row, _) = a.strides, b.strides, c.strides
    for k in range(0, depth, DEPTH):
        product(
            a.ctypes.data + k * a_step, a_row, a_step, b.ctypes.data + k * b_row, b_row, c.ctypes.data, c_row,
            rounded(m, 8), rounded(n, LANES), min(DEPTH, depth - k), accumulate or k > 0,
        )  # fmt: skip
    if depth == 0 and not accumulate:
        c[:m, :n] = 0


@jit
def multiply64(a, b, c, m, n, depth, accumulate):
    """Plain loops, as much as gradient checks need."""
    for i in range(m):
        if not accumulate:
            c[i, :n] = 0
        for k in range(depth):
            number, row, sums = a[i, k], b[k], c[i]
            for j in range(n):
                sums[j] += number * row[j]


if numba is not None:

    @overload(multiply)
    def _multiply_by_type(a, b, c, m, n, depth, accumulate):
        product_of_type = multiply32 if c.dtype == types.float32 else multiply64
        return lambda a, b, c, m, n, depth, accumulate: product_of_type(a, b, c, m, n, depth, accumulate)
