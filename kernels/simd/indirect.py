"""A product whose left-hand rows lie anywhere in memory: their addresses are read from a table.

    over taps      C[r] = bias[r] + sum over entries e of  A[e, r] (depth) @ B[e] (depth, n)      r = 0 ... 7

It is the micro-kernel of gemm.py, with 8 x 2 vectors of sums in registers and one loop more around it. The tables are
those of indirect.py: of 8-byte integers, addresses in bytes.

Source   Dukhan, The Indirect Convolution Algorithm, 2019
"""

from .._numba import numba
from .gemm import ROWS
from .vector import vectors

if numba is not None:
    from .vector import BYTES


def _over_taps(columns):
    """The recipe of "over taps" for so many vectors of columns."""

    @vectors
    def tile(v, entries, count, depth, b, biases, results, at, second):
        """entries: count x (place in B, ROWS addresses of A); biases, results: ROWS addresses.

        at: bytes into a row of C where the first vector of columns lies; second: from there to the other one's.
        """

        def places(table):
            rows = [v.at(v.integer(v.at(table, 8 * i)), at) for i in range(ROWS)]
            return [v.at(row, j) for row in rows for j in [0, second][:columns]]

        sums = [v.load(place) for place in places(biases)]

        def one_entry(e, sums):
            entry = v.at(entries, v.times(e, 8 * (1 + ROWS)))
            b_rows = v.at(b, v.integer(entry))
            a_rows = [v.integer(v.at(entry, 8 * (1 + i))) for i in range(ROWS)]

            def one_step(k, sums):
                down, across = v.at(b_rows, v.times(k, 2 * BYTES)), v.times(k, 4)
                row_of_b = [v.load(v.at(down, BYTES * j)) for j in range(columns)]
                following = []
                for i in range(ROWS):
                    number = v.broadcast(v.at(a_rows[i], across))
                    following += [v.fma(number, row_of_b[j], sums[i * columns + j]) for j in range(columns)]
                return following

            return v.loop(depth, sums, one_step)

        for total, place in zip(v.loop(count, sums, one_entry), places(results)):
            v.store(total, place)

    return tile


over_taps_2, over_taps_1 = _over_taps(2), _over_taps(1)
