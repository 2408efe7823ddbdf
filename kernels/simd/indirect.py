"""Two products whose left-hand rows lie anywhere in memory: their addresses are read from a table.

    over taps      C[r] = bias[r] + sum over entries e of  A[e, r] (depth) @ B[e] (depth, n)      r = 0 ... 7
    over pixels    S (8, n) += sum over entries e of  A[e] (8) outer B[e] (n)

Both are the micro-kernel of gemm.py, with 8 x 2 vectors of sums in registers and one loop more around it or one address
more to load in each round. The tables are those of indirect.py: of 8-byte integers, addresses in bytes.

Source   Dukhan, The Indirect Convolution Algorithm, 2019
"""

from .._numba import numba
from .vector import vectors

if numba is not None:
    from .vector import BYTES

ROWS = 8


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


def _over_pixels(columns):
    """The recipe of "over pixels" for so many vectors of columns."""

    @vectors
    def tile(v, entries, count, a_at, b_at, sums_at):
        """entries: count x (address of A's column, of B's row); a_at, b_at: bytes from there to what is wanted."""
        places = [v.at(sums_at, BYTES * (2 * i + j)) for i in range(ROWS) for j in range(columns)]

        def one_entry(e, sums):
            entry = v.at(entries, v.times(e, 16))
            a, b = v.at(v.integer(entry), a_at), v.at(v.integer(v.at(entry, 8)), b_at)
            row_of_b = [v.load(v.at(b, BYTES * j)) for j in range(columns)]
            following = []
            for i in range(ROWS):
                number = v.broadcast(v.at(a, 4 * i))
                following += [v.fma(number, row_of_b[j], sums[i * columns + j]) for j in range(columns)]
            return following

        for total, place in zip(v.loop(count, [v.load(place) for place in places], one_entry), places):
            v.store(total, place)

    return tile


over_taps_2, over_taps_1 = _over_taps(2), _over_taps(1)
over_pixels_2, over_pixels_1 = _over_pixels(2), _over_pixels(1)
