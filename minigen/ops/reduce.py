"""Reductions: many elements to one.  axis: None (all), an integer, or a tuple; keepdims as in NumPy."""

import builtins
from math import prod

from ..autograd import Operation
from ..dispatch import dispatch
from .elementwise import LARGE, sqrt
from .shape import broadcast_to, reshape


class Sum(Operation):
    """y = sum of x over the axes     dy/dx = 1"""

    keeps_inputs = False

    def __init__(self, axes, keepdims):
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x):
        first, last = builtins.min(self.axes, default=0), builtins.max(self.axes, default=-1) + 1
        adjacent = len(self.axes) == last - first and last < x.ndim
        if x.size < LARGE or x.dtype.kind != "f" or not x.flags.c_contiguous or not adjacent:
            return x.sum(self.axes, keepdims=self.keepdims)
        shape = x.shape[:first], x.shape[first:last], x.shape[last:]
        y = dispatch("sum_positions", x.reshape([prod(lengths) for lengths in shape]))
        return y.reshape(shape[0] + (1,) * (self.keepdims * len(shape[1])) + shape[2])

    def backward(self, g, needs):
        return broadcast_to(reshape(g, kept_shape(self.shapes[0], self.axes)), self.shapes[0])


class Extremum(Operation):
    """y = max or min of x over the axes. Elements that tie share the gradient equally."""

    def __init__(self, method, axes, keepdims):
        self.method, self.axes, self.keepdims = method, axes, keepdims

    def forward(self, x):
        return getattr(x, self.method)(self.axes, keepdims=self.keepdims)

    def backward(self, g, needs, x):
        kept = kept_shape(x.shape, self.axes)
        hit = x.data == getattr(x.data, self.method)(self.axes, keepdims=True)
        share = hit / hit.sum(self.axes, keepdims=True)
        return broadcast_to(reshape(g, kept), x.shape) * share.astype(x.dtype)


def sum(x, axis=None, keepdims=False):
    """y = sum_i x_i over the axes."""
    return Sum(normal_axes(x, axis), keepdims)(x)


def mean(x, axis=None, keepdims=False):
    """y = (1/n) sum_i x_i over the axes. Raises ValueError for the mean of nothing."""
    axes = normal_axes(x, axis)
    return sum(x, axes, keepdims) * (1.0 / count(x, axes, "mean"))


def var(x, axis=None, keepdims=False):
    """y = (1/n) sum_i (x_i - mean)^2 over the axes (divisor n)."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def std(x, axis=None, keepdims=False):
    """y = sqrt(var(x)) (divisor n)."""
    return sqrt(var(x, axis, keepdims))


def max(x, axis=None, keepdims=False):
    """y = the largest element over the axes; ties share the gradient equally."""
    axes = normal_axes(x, axis)
    count(x, axes, "max")
    return Extremum("max", axes, keepdims)(x)


def min(x, axis=None, keepdims=False):
    """y = the smallest element over the axes; ties share the gradient equally."""
    axes = normal_axes(x, axis)
    count(x, axes, "min")
    return Extremum("min", axes, keepdims)(x)


def normal_axes(x, axis):
    """axis as a tuple of distinct non-negative integers. Raises ValueError for an axis that x does not have."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -x.ndim <= a < x.ndim for a in axes) or len({a % x.ndim for a in axes}) != len(axes):
        raise ValueError(f"axis must name distinct axes of x, whose shape is {x.shape}; got {axis}")
    return tuple(a % x.ndim for a in axes)


def kept_shape(shape, axes):
    """The shape with the reduced axes kept as length 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def count(x, axes, name):
    n = prod(x.shape[a] for a in axes)
    if n == 0 and x.size == 0:
        raise ValueError(f"{name} over no elements: x.shape={x.shape}, axes={axes}")
    return n
