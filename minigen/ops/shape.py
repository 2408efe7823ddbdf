"""Moving elements without computing: each operation is linear, and its gradient is the transposed move.

reshape <-> reshape      transpose <-> inverse permutation      broadcast_to <-> sum_to
pad <-> slice            concatenate <-> split                  x[index] <-> scatter-add at index
"""

import numpy as np

from ..autograd import Operation, as_tensors, is_recording
from ..device import device_of, to_device
from ..dispatch import dispatch
from ..tensor import Tensor
from .elementwise import LARGE, sum_to


class Reshape(Operation):
    """The same elements in the same order under another shape."""

    keeps_inputs = False

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        return x.reshape(self.shape)

    def backward(self, g, needs):
        return reshape(g, self.shapes[0])


class Transpose(Operation):
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]"""

    keeps_inputs = False

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, g, needs):
        return transpose(g, tuple(int(i) for i in np.argsort(self.axes)))


class BroadcastTo(Operation):
    """x repeated along new axes and along axes of length 1."""

    keeps_inputs = False

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        return device_of(x).xp.broadcast_to(x, self.shape)

    def backward(self, g, needs):
        return sum_to(g, self.shapes[0])


class Index(Operation):
    """y = x[index], for slices, integers, integer arrays and boolean masks."""

    keeps_inputs = False

    def __init__(self, index):
        self.index = index

    def forward(self, x):
        y = x[self.index]
        # A large view is copied here, once: every kernel that reads it wants its elements in order.
        return y if y.size < LARGE or y.flags.c_contiguous else dispatch("contiguous", y)

    def backward(self, g, needs):
        return ScatterAdd(self.index, self.shapes[0])(g)


class ScatterAdd(Operation):
    """y = 0 of the given shape, then y[index] += g: an element indexed twice receives both. Transpose of Index."""

    keeps_inputs = False

    def __init__(self, index, shape):
        self.index, self.shape = index, shape

    def forward(self, g):
        xp = device_of(g).xp
        y = xp.zeros(self.shape, g.dtype)
        if names_each_once(self.index):
            y[self.index] = g
        elif xp is np:
            np.add.at(y, self.index, g)
        else:  # CuPy's add.at adds in another order, and so to other bits, at every run
            places = xp.arange(y.size).reshape(self.shape)[self.index].reshape(-1)
            y = dispatch("embedding_grad", g.reshape(-1, 1), places, y.size).reshape(self.shape)
        return y

    def backward(self, g, needs):
        return Index(self.index)(g)


class Concatenate(Operation):
    """The inputs end to end along one axis."""

    keeps_inputs = False

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        self.by_rows = self.axis == xs[0].ndim - 1 and sum(x.size for x in xs) >= LARGE
        if not self.by_rows:
            return device_of(xs[0]).xp.concatenate(xs, self.axis)
        y = dispatch("concatenate", *[x.reshape(-1, x.shape[-1]) for x in xs])
        return y.reshape(*xs[0].shape[:-1], y.shape[-1])

    def backward(self, g, needs):
        if self.by_rows and not is_recording():  # one pass over g for all slices
            parts = dispatch("split", g.data.reshape(-1, g.shape[-1]), tuple(shape[-1] for shape in self.shapes))
            return [Tensor(part.reshape(shape)) for part, shape in zip(parts, self.shapes)]
        ends = np.cumsum([shape[self.axis] for shape in self.shapes])
        return [
            g[axis_slice(g.ndim, self.axis, int(end) - shape[self.axis], int(end))] if need else None
            for need, shape, end in zip(needs, self.shapes, ends)
        ]


class Pad(Operation):
    """x surrounded by a constant; widths = ((before, after), ...), one pair an axis."""

    keeps_inputs = False

    def __init__(self, widths, value):
        self.widths, self.value = widths, value

    def forward(self, x):
        return device_of(x).xp.pad(x, self.widths, constant_values=self.value)

    def backward(self, g, needs):
        return g[tuple(slice(before, before + n) for (before, _), n in zip(self.widths, self.shapes[0]))]


def reshape(x, *shape):
    """The same elements under another shape; one entry may be -1. Raises ValueError where the sizes differ."""
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return x if x.shape == shape else Reshape(shape)(x)


def transpose(x, axes=None):
    """Permute the axes; the default reverses them. Raises ValueError unless axes is a permutation."""
    axes = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(f"axes must be a permutation of 0..{x.ndim - 1} for x of shape {x.shape}, got {axes}")
    return Transpose(axes)(x)


def broadcast_to(x, shape):
    """x stretched to `shape` by NumPy's rules. Raises ValueError where they do not allow it."""
    return BroadcastTo(tuple(shape))(x)


def index(x, key):
    """x[key], as in NumPy: slices, integers, integer arrays, boolean masks, None and Ellipsis."""
    keys = key if isinstance(key, tuple) else (key,)
    plain = tuple(index_array(k, like=x) for k in keys)
    return Index(plain if isinstance(key, tuple) else plain[0])(x)


def index_array(k, like):
    """One part of an index: lists, Tensors and arrays as arrays where `like` lives, anything else as it is."""
    k = k.data if hasattr(k, "requires_grad") else np.asarray(k) if isinstance(k, list) else k
    return to_device(k, device_of(getattr(like, "data", like))) if hasattr(k, "dtype") else k


def concatenate(xs, axis=0):
    """xs end to end along `axis`. Raises ValueError for an empty list or shapes that differ elsewhere."""
    if not xs:
        raise ValueError("xs must hold at least one tensor, got none")
    xs = as_tensors("concatenate", xs)
    axis = axis % xs[0].ndim
    return Concatenate(axis)(*xs)


def stack(xs, axis=0):
    """xs of one shape side by side along a new axis."""
    if not xs:
        raise ValueError("xs must hold at least one tensor, got none")
    xs = as_tensors("stack", xs)
    axis = axis % (xs[0].ndim + 1)
    return concatenate([reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in xs], axis)


def split(x, parts, axis=0):
    """x cut along `axis` into `parts` equal pieces, or pieces of the given sizes. Raises ValueError if they misfit."""
    length = x.shape[axis]
    if isinstance(parts, int):
        if parts < 1 or length % parts:
            raise ValueError(f"parts must divide axis {axis} of x: got parts={parts}, x.shape={x.shape}")
        parts = [length // parts] * parts
    if sum(parts) != length:
        raise ValueError(f"the sizes must add up to axis {axis} of x: got {list(parts)}, x.shape={x.shape}")
    ends = np.cumsum(parts)
    return [index(x, axis_slice(x.ndim, axis, int(end) - size, int(end))) for end, size in zip(ends, parts)]


def pad(x, widths, value=0.0):
    """x surrounded by `value`; widths: one (before, after) pair an axis, not negative."""
    widths = tuple((int(before), int(after)) for before, after in widths)
    if len(widths) != x.ndim or min((w for pair in widths for w in pair), default=0) < 0:
        raise ValueError(
            f"widths must be {x.ndim} pairs of non-negative integers for x of shape {x.shape}, got {widths}"
        )
    return Pad(widths, value)(x)


def axis_slice(ndim, axis, start, stop):
    """The index that takes start..stop along one axis and everything along the others."""
    return tuple(slice(start, stop) if i == axis % ndim else slice(None) for i in range(ndim))


def names_each_once(key):
    """Whether an index can name no element twice: one of slices, integers and masks."""
    keys = key if isinstance(key, tuple) else (key,)
    basic = (slice, int, np.integer, type(None), type(Ellipsis))
    return all(isinstance(k, basic) or k.dtype == bool for k in keys)
