"""The matrix product that everything fast is made of: C (+)= A B, a tile of C at a time, held in registers.

    for a tile of `rows` x (`columns` vectors) of C:                rows * columns registers of sums
        for k in range(depth):
            b = the tile's vectors of row k of B                    columns registers
            for each row i:  sum[i] += A[i, k] * b                  one broadcast, columns fused multiply-adds

Every number of A or B that is loaded takes part in columns * LANES or rows multiply-adds; a plain triple loop loads two
numbers for each. A processor that multiplies as fast as it loads still wants few loads, since those that miss the L1
cache are late: a tile of 6 x 4 does 24 multiply-adds for 10 loads, one of 8 x 2 16 for as many, and takes 1.2 times as
long on an Ice Lake Xeon. More sums than 24 there are no registers for, of which AVX-512 has 32; others have 16, and
tiles of 6 x 2.

Around the tiles are two loops. COLUMNS vectors of B's columns are a *panel*, and STRETCH rows of it stay in the core's
L1 cache while all rows of A pass. Where B is read often, it is laid out beforehand panel by panel, (panels, K, PANEL).
Meanwhile the part of B that comes next is asked for, a line in each step, so that it is in the L2 cache when its turn
comes: from beyond, a line takes far longer than a step, and the processor's own guesses end with a page of memory.

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

    COLUMNS = 4 if LANES == 16 else 2  # vectors
    PANEL = COLUMNS * LANES  # numbers in a row of a panel

STRETCH = 128  # rows of a panel: 32 kB with AVX-512
ROWS = 8  # the rows of A and C come in eights, which tiles of 8 rows divide, and those of 6 and 4 together


def _tiles(rows, columns):
    """-> a function that multiplies tile after tile down C's rows, each of so many rows x vectors of columns."""

    @vectors
    def tile(v, start, start_row, a, a_row, a_step, b, b_row, c, c_row, depth, coming):
        a_rows, c_rows = (v.steps(address, step, rows) for address, step in ((a, a_row), (c, c_row)))

        def of_tile(row_addresses):
            return [v.at(row, BYTES * j) for row in row_addresses for j in range(columns)]

        sums = v.if_not_0(
            start,
            lambda: [v.load(place) for place in of_tile(v.steps(start, start_row, rows))],
            [v.constant(0)] * (rows * columns),
        )

        def one_step(k, sums):
            across, down = v.builder.mul(k, a_step), v.builder.mul(k, b_row)
            row_of_b = [v.load(v.at(v.at(b, down), BYTES * j)) for j in range(columns)]
            v.prefetch(v.at(coming, down), level=2)
            following = []
            for i in range(rows):
                number = v.broadcast(v.at(a_rows[i], across))
                following += [v.fma(number, row_of_b[j], sums[i * columns + j]) for j in range(columns)]
            return following

        for total, place in zip(v.loop(depth, sums, one_step), of_tile(c_rows)):
            v.store(total, place)

    @of_integers
    def tiles(start, start_row, a, a_row, a_step, b, b_row, c, c_row, m, depth, coming):
        for i in range(0, m, rows):
            tile(start, start_row, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, coming)
            start += rows * start_row if start else 0
            coming += BYTES  # the first tile asks for the first vector of each row that comes next, and so on

    return tiles


if numba is not None:
    of_6_rows, of_4_rows = _tiles(6, COLUMNS), _tiles(4, COLUMNS)
    of_3_vectors, of_2_vectors, of_1_vector = _tiles(ROWS, 3), _tiles(ROWS, 2), _tiles(ROWS, 1)


@of_integers
def product(a, a_row, a_step, b, b_row, c, c_row, m, n, depth, accumulate, coming):
    """C (m, n) = A B, or C += A B. Addresses, and strides in bytes; n a multiple of LANES, depth >= 1.

    m is rounded up to a multiple of ROWS: A and C have that many. coming: where the next product's B will begin, of
    which the cache is told in time.
    """
    product_from(c if accumulate else 0, c_row, a, a_row, a_step, b, b_row, c, c_row, m, n, depth, coming)


@of_integers
def product_from(start, start_row, a, a_row, a_step, b, b_row, c, c_row, m, n, depth, coming):
    """C = start + A B, where start is an address too, or 0 for none; with start_row 0 its one row serves all of C's."""
    m = rounded(m, ROWS)
    sixes = m - 4 * (-(m // 2) % 3)  # the rows in tiles of 6; what is left are none, one or two tiles of 4
    for j in range(0, n * 4, COLUMNS * BYTES):
        vectors_left, c_j = (n * 4 - j) // BYTES, c + j
        for k in range(0, depth, STRETCH):
            begin, begin_row = (start + j if start else 0), start_row
            if k > 0:
                begin, begin_row = c_j, c_row
            a_k, b_k, steps = a + k * a_step, b + k * b_row + j, min(STRETCH, depth - k)
            following = b_k + STRETCH * b_row
            if k + STRETCH >= depth:
                following = b + j + COLUMNS * BYTES if vectors_left > COLUMNS else coming
            if vectors_left >= COLUMNS:
                of_6_rows(begin, begin_row, a_k, a_row, a_step, b_k, b_row, c_j, c_row, sixes, steps, following)
                begin, a_k, rest = begin + sixes * begin_row if begin else 0, a_k + sixes * a_row, c_j + sixes * c_row
                following += sixes // 6 * BYTES
                of_4_rows(begin, begin_row, a_k, a_row, a_step, b_k, b_row, rest, c_row, m - sixes, steps, following)
            elif vectors_left == 3:
                of_3_vectors(begin, begin_row, a_k, a_row, a_step, b_k, b_row, c_j, c_row, m, steps, following)
            elif vectors_left == 2:
                of_2_vectors(begin, begin_row, a_k, a_row, a_step, b_k, b_row, c_j, c_row, m, steps, following)
            else:
                of_1_vector(begin, begin_row, a_k, a_row, a_step, b_k, b_row, c_j, c_row, m, steps, following)


# ---------------------------------------------------------------- matrices of any size, for use inside a kernel


@jit
def rounded(number, step):
    """The next multiple of step."""
    return (number + step - 1) // step * step


@jit
def matrix(rows, columns, dtype):
    """Zeros, with room for the whole tiles that `multiply` reads and writes, of it or of its transpose.

    Rows that lie a power of two apart would share the same few cache sets: such rows are a vector longer.
    """
    columns = rounded(columns, max(LANES, ROWS))
    return np.zeros((rounded(rows, ROWS), columns + LANES if columns % 128 == 0 else columns), dtype)


def multiply(a, b, c, m, n, depth, accumulate):
    """C = A B, or C += A B, of the first m x depth of A and depth x n of B.

    float32 is multiplied in whole tiles: a, b, c are of `matrix` or its transpose, and what lies in c beside the first
    m x n is overwritten.
    """


@jit
def multiply32(a, b, c, m, n, depth, accumulate):
    """In whole tiles."""
    (a_row, a_step), (b_row, _), (c_row, _) = a.strides, b.strides, c.strides
    if depth > 0:
        product(
            a.ctypes.data, a_row, a_step, b.ctypes.data, b_row, c.ctypes.data, c_row, m, rounded(n, LANES),
            depth, accumulate, b.ctypes.data,
        )  # fmt: skip
    elif not accumulate:
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
