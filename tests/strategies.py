"""Hypothesis strategies for the operations' inputs: tuples of float64 arrays whose shapes fit together.

Hypothesis chooses the shapes and one seed; the values come from NumPy by that seed. (Drawing every
element would spend the examples on values, while it is odd shapes that break kernels. Special values
have a test of their own.)
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Values:
    """Where an input's values lie: uniform in [low, high], or standard normal if low is None; at least `gap` from 0."""

    low: float | None = None
    high: float | None = None
    gap: float = 0.0

    def draw(self, rng, shape):
        x = rng.standard_normal(shape) if self.low is None else rng.uniform(self.low, self.high, shape)
        return np.asarray(np.where(abs(x) < self.gap, np.where(x < 0, x - self.gap, x + self.gap), x))


@dataclass(frozen=True)
class Integers:
    """Labels, indices: whole numbers below `high`."""

    high: int

    def draw(self, rng, shape):
        return rng.integers(0, self.high, shape)


class Booleans:
    """Masks."""

    def draw(self, rng, shape):
        return rng.integers(0, 2, shape).astype(bool)


normal = Values()
positive = Values(0.2, 3.0)
nonzero = Values(gap=0.3)
masks = Booleans()


@st.composite
def arrays(draw, shapes, *values):
    """Arrays of the shapes that a strategy draws (a list of shapes), with values[i] for the i-th; normal by default."""
    drawn = draw(shapes)
    rng = np.random.default_rng(draw(seeds))
    return tuple((values[i] if i < len(values) else normal).draw(rng, shape) for i, shape in enumerate(drawn))


def any_shape(values=normal, min_dims=0, max_dims=4, max_side=5):
    """One array of any shape."""
    shapes = st_numpy.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=max_side)
    return arrays(shapes.map(lambda shape: [shape]), values)


def same_shape(*values, max_dims=3):
    """Several arrays of one shape."""
    shapes = st_numpy.array_shapes(min_dims=0, max_dims=max_dims, min_side=1, max_side=4)
    return arrays(shapes.map(lambda shape: [shape] * len(values)), *values)


def broadcastable(*values):
    """Several arrays whose shapes broadcast: axes of length 1 and missing axes on either side."""
    shapes = st_numpy.mutually_broadcastable_shapes(num_shapes=len(values), max_dims=3, max_side=4)
    return arrays(shapes.map(lambda drawn: list(drawn.input_shapes)), *values)


def shaped(*shapes, values=()):
    """Arrays of fixed numbers of axes whose lengths are named by letters: shaped("mk", "kn") is a matrix product.

    The same letter is the same length, 1 to 5, everywhere; a digit is that length itself.
    """
    letters = sorted({c for shape in shapes for c in shape if c.isalpha()})
    lengths = st.fixed_dictionaries({c: st.integers(1, 5) for c in letters})
    return arrays(lengths.map(lambda n: [tuple(n[c] if c.isalpha() else int(c) for c in s) for s in shapes]), *values)


def images(min_side=1, max_side=7, channels=(1, 2, 3, 5), then=lambda channels: []):
    """One batch of images (N, H, W, C), and arrays of the shapes that `then` makes of C: filters, scales, biases."""
    side = st.integers(min_side, max_side)
    shapes = st.tuples(st.integers(1, 3), side, side, st.sampled_from(channels))
    return arrays(shapes.map(lambda shape: [shape, *then(shape[3])]))


@st.composite
def pool_geometries(draw):
    """(image, size, stride, padding): windows that fit, padding at most half of them."""
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    image = tuple(draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(size, padding))
    return image, size, stride, padding


def layouts(x):
    """The same values in the layouts that a caller may hold: transposed, every second element, reversed, read-only."""
    spread = np.zeros([2 * n for n in x.shape], x.dtype)
    spread[tuple(slice(None, None, 2) for _ in x.shape)] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    backwards = tuple(slice(None, None, -1) for _ in x.shape)
    return {
        "transposed": np.array(x, order="F"),
        "strided": spread[tuple(slice(None, None, 2) for _ in x.shape)],
        "reversed": x[backwards].copy()[backwards],
        "read-only": frozen,
    }
