"""The transforms of polyphase.py, LANES channels at a time: additions and subtractions alone.

Along one axis, F(2, 2) takes three numbers to three points, two taps (or two gradients) to three, and three points back
to two; with two *phases*, of even and of odd places, each is done for both. In two dimensions that makes 2 x 2 phases
of 3 x 3 points: point (i, j) of phase (a, b) lies at (3 i + j) plane + (2 a + b) part.
"""

from .vector import vectors


def differences(d):
    """B^T d"""
    return [d[0] - d[1], d[1], d[2] - d[1]]


def sums(g):
    """G g, and A y"""
    return [g[0], g[0] + g[1], g[1]]


def pair_sums(m):
    """A^T m, and G^T u"""
    return [m[0] + m[1], m[1] + m[2]]


def both_axes(one_axis, block):
    """A block, as a list of rows, transformed along each row and then down each column."""
    rows = [one_axis(row) for row in block]
    return list(zip(*(one_axis(column) for column in zip(*rows))))


def _each_phase(phases):
    return [(a, b) for a in range(phases) for b in range(phases)]


def _place(v, start, down, i, across, j):
    return v.at(v.at(start, v.times(down, i)), v.times(across, j))


def _to_points(one_axis, count, apart, phases):
    """Of phase (a, b), the count x count pixels from pixel (a, b) on, `apart` pixels from one to the next."""

    @vectors
    def transform(v, source, line, pixel, target, plane, part):
        for a, b in _each_phase(phases):
            block = [
                [v.load(_place(v, source, line, a + apart * i, pixel, b + apart * j)) for j in range(count)]
                for i in range(count)
            ]
            for i, row in enumerate(both_axes(one_axis, block)):
                for j, value in enumerate(row):
                    v.store(value, _place(v, target, plane, 3 * i + j, part, 2 * a + b))

    return transform


def _from_points(apart, phases):
    """The transpose: 3 x 3 points of each phase to 2 x 2 pixels, plus an offset (an address)."""

    @vectors
    def transform(v, source, plane, part, target, line, pixel, offset):
        for a, b in _each_phase(phases):
            block = [[v.load(_place(v, source, plane, 3 * i + j, part, 2 * a + b)) for j in range(3)] for i in range(3)]
            for i, row in enumerate(both_axes(pair_sums, block)):
                for j, value in enumerate(row):
                    place = _place(v, target, line, a + apart * i, pixel, b + apart * j)
                    v.store(value + v.load(offset), place)

    return transform


image_to_points = _to_points(differences, 3, apart=2, phases=2)  # 6 x 6 pixels of x
spread_to_points = _to_points(differences, 3, apart=1, phases=2)  # 4 x 4 pixels of dy, on the way to dx
filter_to_points = _to_points(sums, 2, apart=2, phases=2)  # 4 x 4 taps
gradient_to_points = _to_points(sums, 2, apart=1, phases=1)  # 2 x 2 pixels of dy, on the way to dw
points_to_result = _from_points(apart=1, phases=1)  # 2 x 2 pixels of y
points_to_pixels = _from_points(apart=2, phases=2)  # 4 x 4 pixels of dx, or taps of dw
