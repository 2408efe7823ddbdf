"""Winograd's transforms of one tile, LANES channels at a time: the matrices of winograd.py, applied along both axes.

    image      B^T d B    6x6 pixels -> 36 points        result           A^T M A    36 points -> 4x4 pixels
    filter     G w G^T    3x3 taps   -> 36 points        its gradient     G^T U G    36 points -> 3x3 taps
    gradient   A dy A^T   4x4 pixels -> 36 points

Rows 1, 2 and 3, 4 of a matrix belong to the points 1, -1 and 2, -2. A polynomial's values at p and -p are even part +
odd part and even part - odd part, so each part is worked out once for both. The numbers of the matrices are constants
of the compiled code: their zeros cost nothing.

Source   Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3
"""

from .vector import vectors

B_T = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
       [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
G = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
A, G_T = ([list(row) for row in zip(*matrix)] for matrix in (A_T, G))


def weighted_sum(v, numbers, summands):
    """The sum of number * summand: nothing is emitted for a 0, and no multiplication for a 1."""
    total = None
    for number, summand in zip(numbers, summands):
        if number and total is None:
            total = summand if number == 1 else summand * number
        elif number:
            total = total + summand if number == 1 else v.fma(v.constant(number), summand, total)
    return total


def to_points(v, matrix, vectors):
    """matrix (6, n) times n vectors, for a matrix whose rows 1, 2 and 3, 4 belong to points p, -p."""
    at_0, at_1, _, at_2, _, at_infinity = matrix
    values = [weighted_sum(v, at_0, vectors)]
    for row in (at_1, at_2):
        even, odd = weighted_sum(v, row[::2], vectors[::2]), weighted_sum(v, row[1::2], vectors[1::2])
        values += [even + odd, even - odd]
    return [*values, weighted_sum(v, at_infinity, vectors)]


def from_points(v, matrix, values):
    """matrix (n, 6) times the values at the six points: the transpose of the above."""
    at_0, plus_1, minus_1, plus_2, minus_2, at_infinity = values
    even = [at_0, plus_1 + minus_1, plus_2 + minus_2, at_infinity]
    odd = [at_0, plus_1 - minus_1, plus_2 - minus_2, at_infinity]
    return [
        weighted_sum(v, [row[0], row[1], row[3], row[5]], even if row[1:3] == [row[1]] * 2 else odd) for row in matrix
    ]


def transform(one_axis, matrix, size, adding=False):
    """A recipe: size x size vectors, transformed along both axes, and stored at the target or added to it.

    line, pixel: bytes from one to the next at the source and at the target.
    """

    def recipe(v, source, source_line, source_pixel, target, target_line, target_pixel):
        columns = read_columns(v, one_axis, matrix, size, source, source_line, source_pixel)
        for row in zip(*columns):
            address = target
            for value in one_axis(v, matrix, list(row)):
                v.store(value + v.load(address) if adding else value, address)
                address = v.at(address, target_pixel)
            target = v.at(target, target_line)

    return vectors(recipe)


def read_columns(v, one_axis, matrix, size, source, source_line, source_pixel):
    """size x size vectors, transformed along the first axis: a list of columns."""
    columns = []
    for _ in range(size):
        address, column = source, []
        for _ in range(size):
            column.append(v.load(address))
            address = v.at(address, source_line)
        columns.append(one_axis(v, matrix, column))
        source = v.at(source, source_pixel)
    return columns


image_to_points = transform(to_points, B_T, 6)
gradient_to_points = transform(to_points, A, 4)
filter_to_points = transform(to_points, G, 3)
add_points_to_filter = transform(from_points, G_T, 6, adding=True)


@vectors
def points_to_image(v, source, source_line, source_pixel, target, target_line, target_pixel, offset):
    """A^T M A, plus the same offset for every pixel."""
    columns = read_columns(v, from_points, A_T, 6, source, source_line, source_pixel)
    offset = v.load(offset)
    for row in zip(*columns):
        address = target
        for value in from_points(v, A_T, list(row)):
            v.store(value + offset, address)
            address = v.at(address, target_pixel)
        target = v.at(target, target_line)
